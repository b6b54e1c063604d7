"""Every block of the README, pasted in order: `python3 .ci/readme.py [PAGE]` in a clone that nothing was done in.

Shell blocks go into one shell, as a person pastes them, so that an environment that is active stays it. Python blocks are
run as files. A block behind `<!-- after: NAME -->` comes right after the one behind `<!-- command: NAME -->`, where the
text around it sends the reader. Nothing is left out: what a block needs from outside has a stand-in, which is named in
the output:

    my_sounds, USER, the Hub: see STAND_INS

A block of a language that is none of these is an error. What the blocks make is removed at the end, but for .venv.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"((?:<!--[^>]*-->\s*)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEPT = {".venv"}
# What a block names -> what stands there, for people.
STAND_INS = {
    r"\bmy_sounds\b": "my_sounds: 60 generated clips in six class folders stand for the user's own",
    r"\bUSER/": "USER: the name of the loopback Hub's user",
    r"\bUSER/|\bencodec_24khz\b|\bfacebook/": "huggingface.co: the Hub of tests/hub_server.py on loopback; Meta's codec is "
    "there an untrained one of fewer filters under the same name",
}
SOUNDS, USER_NAME, HUB = STAND_INS


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the names in the comments before it."""

    language: str
    text: str
    name: str | None = None
    after: str | None = None

    def needs(self, what: str) -> bool:
        """Whether it names, outside of comments, something that has a stand-in."""
        return re.search(what, re.sub(r"(?:^|(?<=\s))#.*", "", self.text)) is not None


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page in the order in which they run. Raises `ValueError` for what cannot be run."""
    found = []
    for comments, language, text in FENCE.findall(page):
        marks = dict(re.findall(r"<!--\s*(command|after):\s*(\S+)\s*-->", comments))
        found.append(Block(language, text, marks.get("command"), marks.get("after")))
    unknown = [block for block in found if block.language not in ("bash", "python")]
    if unknown:
        raise ValueError(f"expected blocks of bash or python, found {unknown[0].language!r}: {unknown[0].text!r:.80}")
    missing = {block.after for block in found if block.after} - {block.name for block in found}
    if missing:
        raise ValueError(f"expected a block behind <!-- command: {missing.pop()} -->, found none")
    ordered = []
    for block in found:
        if block.after is None:
            ordered.append(block)
            ordered += [later for later in found if block.name and later.after == block.name]
    return ordered


def script_of(blocks: list[Block], folder: Path, user: str, prepare: dict[str, str]) -> str:
    """One shell script of all blocks; `prepare` are shell lines for stand-ins, which come before the first block that
    needs them. Python files are written into `folder`.
    """
    lines, ready = ["set -euo pipefail"], set()
    for number, block in enumerate(blocks, 1):
        for what, text in prepare.items():
            if block.needs(what) and what not in ready:
                lines.append(text)
                ready.add(what)
        text = block.text.replace("USER/", f"{user}/")
        lines += [
            f"cat <<'THE_BLOCK'\n\n== block {number}: {block.language} ==\n{text.rstrip()}\n==\nTHE_BLOCK",
            "SECONDS=0",
        ]
        if block.language == "python":
            file = folder / f"block_{number}.py"
            file.write_text(text, encoding="utf-8")
            text = f'.venv/bin/python "{file}"\n'
        lines += [text.rstrip(), f'echo "== block {number}: $SECONDS s =="']
    return "\n".join(lines) + "\n"


def hub_lines(hub: object, home: Path, codec: Path) -> str:
    """Shell lines after which the loopback Hub is the Hub, and holds the codec that `codec` gets."""
    variables = "\n".join(f"export {name}='{value}'" for name, value in hub.environment(str(home)).items())
    return (
        f"{variables}\n.venv/bin/python - <<'PYTHON'\n"
        "from huggingface_hub import HfApi\n"
        "from transformers import EncodecConfig, EncodecFeatureExtractor, EncodecModel\n"
        f"EncodecModel(EncodecConfig(num_filters=8)).save_pretrained({str(codec)!r})\n"
        f"EncodecFeatureExtractor().save_pretrained({str(codec)!r})\n"
        "HfApi().create_repo('facebook/encodec_24khz')\n"
        f"HfApi().upload_folder(repo_id='facebook/encodec_24khz', folder_path={str(codec)!r})\n"
        "PYTHON"
    )


SOUNDS_LINES = ".venv/bin/python -c 'import hf_encls; hf_encls.write_synthetic(\"my_sounds\", clips_per_class=10)'"


@contextmanager
def cleaned() -> Iterator[None]:
    """What comes into the clone meanwhile goes again, but for `KEPT`."""
    before = {path.name for path in ROOT.iterdir()}
    try:
        yield
    finally:
        for path in ROOT.iterdir():
            if path.name not in before | KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def main(page: str = "README.md") -> int:
    """Run the blocks of a page, and return the exit status of the first one that fails."""
    sys.path.insert(0, str(ROOT / "tests"))
    import hub_server

    blocks = blocks_of((ROOT / page).read_text(encoding="utf-8"))
    for what, text in STAND_INS.items():
        if any(block.needs(what) for block in blocks):
            print(f"stand-in: {text}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work, cleaned():
        folder = Path(work)
        for hub in hub_server.serve():
            prepare = {SOUNDS: SOUNDS_LINES, HUB: hub_lines(hub, folder / "hf_home", folder / "codec")}
            script = script_of(blocks, folder, hub_server.USER, prepare)
            environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
            status = subprocess.run(["bash", "-c", script], cwd=ROOT, env=environment).returncode
    print(f"{page}: {len(blocks)} blocks in {time.monotonic() - started:.0f} s, status {status}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
