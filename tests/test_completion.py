"""The tab key: what `hf-encls completion` writes, in a real shell."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hf_encls.commands import cli

pty = pytest.importorskip("pty")
pytest.importorskip("shtab", reason="needs the extra: pip install 'hf_encls[completion]'")


class Terminal:
    """An interactive bash at a terminal."""

    def __init__(self, folder: Path):
        self.master, slave = pty.openpty()
        settings = {"PATH": os.environ["PATH"], "PS1": "$ ", "TERM": "dumb", "HOME": str(folder)}
        command = ["bash", "--norc", "--noprofile", "-i"]
        self.shell = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=settings, start_new_session=True
        )
        os.close(slave)

    def type(self, keys: str, until: str, timeout_s: float = 60.0) -> str:
        """Press keys, and read the screen until a regular expression is on it."""
        os.write(self.master, keys.encode())
        seen, end = "", time.monotonic() + timeout_s
        while not re.search(until, seen):
            assert time.monotonic() < end, seen
            if select.select([self.master], [], [], 0.2)[0]:
                seen += os.read(self.master, 65536).decode(errors="replace")
        return seen

    def close(self) -> None:
        """End the shell."""
        os.write(self.master, b"\x15exit\n")
        self.shell.wait(20)
        os.close(self.master)


@pytest.mark.slow  # every command is imported for its options
@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_tab_key_completes_commands_options_choices_and_files(tmp_path):
    script = tmp_path / "hf-encls.bash"
    command = [sys.executable, "-m", "hf_encls.commands.cli", "completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-500:]
    script.write_text(done.stdout)
    (tmp_path / "my_sounds").mkdir()
    (tmp_path / "my_text.txt").touch()
    terminal = Terminal(tmp_path)
    try:
        terminal.type("source hf-encls.bash; echo re''ady\n", r"ready")
        for typed, completed in (
            ("hf-encls eva\t", r"evaluate-timeline "),
            ("hf-encls train --learning_r\t", r"--learning_rate "),
            ("hf-encls train --adam_beta1\t", r"--adam_beta1 "),
            ("hf-encls classify --format js\t", r"--format json"),
            ("hf-encls codecs --protocol off\t", r"official "),
            ("hf-encls train --data_dir my_\t", r"--data_dir my_sounds"),  # no file is a folder
            ("hf-encls extract --hop\t", r"--hop_length "),
        ):
            terminal.type(typed, completed)
            terminal.type("\x15", r"")
        listed = terminal.type("hf-encls \t\t", r"validate[^$]*\$ hf-encls ")  # all of it: then the line comes again
        assert all(name in listed for name in ("classify", "train", "publish"))
    finally:
        terminal.close()


def test_another_shell_is_refused(capsys):
    assert cli.main(["completion", "dash"]) == 2
    assert "invalid choice: 'dash'" in capsys.readouterr().err
