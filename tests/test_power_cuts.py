"""Every call that changes a file fails in turn, in whole commands: what is there stays whole, and again ends the same.

A shim that is compiled here and preloaded (fault_shim.c) counts calls below a folder, those of libsndfile, Arrow and
safetensors too, and makes one of them fail: the disk is full from then on, an error of input and output, a kill in the
middle of a write, a power cut that loses what was not handed to the disk. Commands run in forks of a process that has
everything imported (fault_server.py).
"""

import hashlib
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_models import save_small_model, small_codec

from hf_encls.files import TEMPORARY

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")
ACTIONS = {"full": 1, "error": 2, "killed": 3, "power": 4}
SHARE_S = float(os.environ.get("HF_ENCLS_FAULTS_S", "45"))  # for one kind of run; 0: all that there is
COMPLETE = ("extract", "train")  # each of their calls fails once at least, however long it takes
RESUME = "--resume_from_checkpoint last"

pytestmark = [
    pytest.mark.skipif(not COMPILER or not sys.platform.startswith("linux"), reason="needs a C compiler and Linux")
]


@dataclass
class Run:
    """A command in a folder, and what must be in the folder before."""

    args: list[str]
    before: dict[str, bytes] = field(default_factory=dict)  # of others: must never change
    replaced: dict[str, bytes] = field(default_factory=dict)  # may become what the command makes, and nothing else


class Server:
    """Forks commands with a fault in them."""

    def __init__(self, shim: Path):
        environment = os.environ | {"LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fault_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert json.loads(self.process.stdout.readline())["ready"]

    def __call__(self, folder: Path, args: list[str], target=0, action="error", log: Path | None = None, warm=False):
        """(exit status, how many calls there were, what was printed)."""
        output = folder.with_name(folder.name + ".output")
        asked = {"args": args, "folder": str(folder), "target": target, "action": ACTIONS[action]}
        asked |= {"output": str(output), "log": log and str(log), "warm": warm}
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        return answer["status"], answer["count"], output.read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    shim = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(
        [COMPILER, "-O2", "-shared", "-fPIC", "-o", shim, HERE / "fault_shim.c", "-ldl", "-lpthread"], check=True
    )
    servers = [Server(shim) for _ in range(SERVERS)]
    yield servers
    for server in servers:
        server.process.stdin.close()
        server.process.wait(30)


@pytest.fixture(scope="module")
def given(tmp_path_factory, servers) -> Path:
    """What runs read: sounds, a codec, a classifier, codes, finished features."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    for label, hertz in (("low", 200), ("high", 3000)):
        (folder / "sounds" / label).mkdir(parents=True)
        for number in range(5):
            times = np.arange(rng.integers(14_000, 24_000)) / 16_000
            sound = 0.3 * np.sin(2 * np.pi * hertz * times) + 0.02 * rng.standard_normal(len(times))
            soundfile.write(folder / "sounds" / label / f"{number}.wav", sound, 16_000)
    codec = small_codec(24)
    codec.save_pretrained(folder / "codec")
    (folder / "codec.json").write_text(json.dumps(codec.config.to_dict()))
    save_small_model(folder / "classifier", "log_mel")
    (folder / "work").mkdir()
    for server in servers:
        shutil.rmtree(folder / "codes", ignore_errors=True)
        for kind in ("extract", "encode"):
            server(folder / "work", run_of(kind, folder).args, warm=True)
        shutil.move(folder / "work" / "codes", folder / "codes")
    status, _, text = servers[0](folder / "work", [*run_of("train", folder).args, "--max_steps", "1"])
    assert status == 0, text
    return folder


def run_of(kind: str, given: Path) -> Run:
    """The commands whose every call fails in turn."""
    sounds, codec = str(given / "sounds"), str(given / "codec")
    if kind == "extract":
        args = ["extract", "--data_dir", sounds, "--features", "encodec_24khz", "--codec", codec]
        other = {"cache/encodec_24khz-0123456789abcdef/shard-00000-of-00001.arrow": b"another data set's"}
        return Run([*args, "--window_s", "0.5", "--cache_dir", "cache"], other)
    if kind == "train":
        args = ["train", "--data_dir", sounds, "--features", "log_mel", "--window_s", "0.3", "--num_train_epochs", "3"]
        args += ["--report_to", "none", "--use_cpu", "--output_dir", "model", "--cache_dir", str(given / "features")]
        return Run(args, {"model/notes.txt": b"mine", "other_model/model.safetensors": b"finished"})
    if kind == "export":
        args = ["export", "--onnx", "out/model.onnx", "--model", str(given / "classifier"), "--overwrite"]
        return Run(args, {"out/other.onnx": b"other"}, {"out/model.onnx": b"earlier"})
    if kind == "encode":
        args = ["encode", sounds, "--codec", codec, "--output", "codes"]
        return Run(args, {"codes/other.ecdc": b"other"})
    if kind == "decode":
        return Run(
            ["decode", str(given / "codes"), "--codec", codec, "--output", "decoded"], {"decoded/a.wav": b"other"}
        )
    args = ["pretrain", "--config", str(given / "codec.json"), "--data_dir", str(given / "sounds" / "low")]
    args += [
        "--max_steps",
        "2",
        "--batch_size",
        "1",
        "--crop_s",
        "0.3",
        "--save_steps",
        "1",
        "--eval_steps",
        "2",
        "--cpu",
    ]
    return Run([*args, "--output_dir", "codec"], {"codec/notes.txt": b"mine"})


def contents(folder: Path) -> dict[str, str]:
    """name -> checksum of every file in a folder that a run leaves; locks and what goes when others write are nothing."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        # training_args.bin says how its process was started: resumed, or not.
        if (
            path.is_file()
            and not name.startswith("tmp/")
            and path.suffix != ".lock"
            and path.name != "training_args.bin"
        ):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def lay_out(folder: Path, run: Run) -> None:
    for name, data in (run.before | run.replaced).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def again(server: Server, folder: Path, run: Run) -> str:
    """Do what a person does after an interrupted run; returns what is wrong, or nothing."""
    status, _, text = server(folder, run.args)
    if status == 2 and RESUME in text:
        status, _, text = server(folder, [*run.args, *RESUME.split()])
    if status == 2 and "--overwrite" in text and RESUME not in text:
        return ""  # it says that all is there already: whether that is so is looked at next
    return "" if status == 0 else f"again: status {status}: {text[-1500:]}"


def faulty(server: Server, folder: Path, run: Run, expected: dict[str, str], target: int, action: str) -> str:
    """Run with one fault, look, run again, compare; returns what is wrong, or nothing."""
    lay_out(folder, run)
    status, _, text = server(folder, run.args, target, action)
    if status == -99:
        return "hangs"
    last = (text.strip().splitlines() or [""])[-1]
    said = last.split(":", 1)[-1].strip()
    is_named = bool({"/", "'"} & set(said)) or (folder / said.split(":")[0]).exists()
    if action in ("full", "error") and status != 0 and not is_named:
        return f"names no file: {last}"
    for name, data in (run.before | run.replaced).items():
        now = hashlib.sha256((folder / name).read_bytes()).hexdigest() if (folder / name).is_file() else None
        if now != hashlib.sha256(data).hexdigest() and not (name in run.replaced and now == expected[name]):
            return f"{name} is not what it was"
    wrong = again(server, folder, run)
    if wrong:
        return wrong
    found = contents(folder)
    left = [name for name in found if TEMPORARY in name]
    if left:
        return f"left behind: {left}"
    differ = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return f"differ: {differ}" if differ else ""


KINDS = ("extract", "train", "export", "encode", "decode", "pretrain")
SERVERS = 2  # work side by side


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_fails_in_turn(kind, servers, given, tmp_path):
    run = run_of(kind, given)
    expected = undisturbed(servers[0], run, tmp_path)
    calls = (tmp_path / "log").read_text().splitlines()
    cases = [(number, action) for number in range(1, len(calls) + 1) for action in ACTIONS]
    random.Random(0).shuffle(cases)
    # Each call once, with one fault or another, comes first.
    cases.sort(key=lambda case: list(ACTIONS).index(case[1]) != case[0] % len(ACTIONS))
    needed = len(calls) if kind in COMPLETE else 0
    begin, counts, wrong = time.monotonic(), Counter(), []
    free = queue.SimpleQueue()
    for server in servers:
        free.put(server)

    def one(done: int, number: int, action: str) -> None:
        if SHARE_S and done >= needed and time.monotonic() - begin > SHARE_S:
            return
        folder, server = tmp_path / f"case-{done}", free.get()
        reason = faulty(server, folder, run, expected, number, action)
        free.put(server)
        counts[action] += 1
        if reason:
            wrong.append(f"{action} at {calls[number - 1]}: {reason}")
        shutil.rmtree(folder)

    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(lambda case: one(*case), [(done, *case) for done, case in enumerate(cases)]))
    print(
        f"\n{kind}: {len(calls)} calls, {sum(counts.values())} of {len(cases)} faults {dict(counts)}, {len(wrong)} wrong"
    )
    assert not wrong, "\n".join(wrong[:40])


def undisturbed(server: Server, run: Run, tmp_path: Path) -> dict[str, str]:
    """Checksums of what a run leaves that nobody disturbs; its calls are in `log`."""
    folder = tmp_path / "undisturbed"
    lay_out(folder, run)
    status, _, text = server(folder, run.args, log=tmp_path / "log")
    assert status == 0, text
    return contents(folder)
