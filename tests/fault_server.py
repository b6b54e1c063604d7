"""Runs commands of the package in forked processes of which one call that changes a file fails (see fault_shim.c).

A process of its own with the shim preloaded, so that everything is imported once. Each line of its input is a JSON object
with `args` of `hf-encls`, `folder` (the working folder, below which calls fail), `target`, `action`, `output` (a file for
what is printed) and perhaps `log`; each line of its output one with `status` (negative: the signal) and `count`.
"""

import ctypes
import gc
import importlib
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

SHIM = ctypes.CDLL(os.environ["LD_PRELOAD"])
SHIM.faults_count.restype = ctypes.c_long
PRELOADED = (
    *("hf_encls.commands.cli", "hf_encls.commands.extract_features", "hf_encls.commands.train"),
    *("hf_encls.commands.export", "hf_encls.commands.codec_files", "hf_encls.commands.pretrain_codec"),
    *("hf_encls.inference.onnx", "hf_encls.inference.pipeline", "hf_encls.report.pictures", "hf_encls.codec.coding"),
    *(
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "onnx",
        "onnxruntime",
        "scipy.signal",
        "sklearn.metrics",
    ),
)
LIMIT_S = 60


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    import torch
    from tqdm import tqdm

    from hf_encls.features import shards

    torch.set_num_threads(1)
    # tqdm's own lock is shared by forks: a child killed with it in its hands stops all later ones.
    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())
    gc.disable()
    gc.freeze()
    shards.SHARD_S = 3.0
    answers = os.fdopen(os.dup(1), "w")
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked.get("warm"):  # here, not in a child: what is imported late is there for all children then
            command_line(asked)
            print(json.dumps({"status": 0, "count": 0}), file=answers, flush=True)
            continue
        counter, end = os.pipe()
        child = os.fork()
        if not child:
            os.close(counter)
            run(asked, end)
        os.close(end)
        with os.fdopen(counter) as counts:
            status = wait(child)
            count = counts.read().strip()
        print(json.dumps({"status": status, "count": int(count or 0)}), file=answers, flush=True)


def command_line(asked: dict) -> None:
    kept = [os.dup(1), os.dup(2)]
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    here = Path.cwd()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(asked["folder"])
    sys.modules["hf_encls.commands.cli"].main(asked["args"])
    sys.stdout.flush()
    os.chdir(here)
    os.dup2(kept[0], 1)
    os.dup2(kept[1], 2)
    for descriptor in (output, *kept):
        os.close(descriptor)
    gc.collect()
    gc.freeze()


def wait(child: int) -> int:
    """The exit status of a child; one that takes too long is killed and gives -99."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -99


def run(asked: dict, end: int) -> None:
    """The child: everything it prints goes to a file, clocks stand still, and one call fails."""
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if asked.get("log") else -1
    os.chdir(asked["folder"])
    Path("tmp").mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(Path("tmp").absolute())
    if asked["args"][0] == "train":
        time.time = lambda: 1.7e9  # results hold durations: all are nothing
        time.monotonic = time.perf_counter = lambda: 0.0
    status = 70
    try:
        SHIM.faults_arm(asked["folder"].encode(), asked["target"], asked["action"], log)
        status = sys.modules["hf_encls.commands.cli"].main(asked["args"])
    except BaseException:
        traceback.print_exc()
    finally:
        os.write(end, str(SHIM.faults_count()).encode())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
