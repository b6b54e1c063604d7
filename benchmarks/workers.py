"""Extraction by several processes of one thread each, against one such process."""

import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

from timing import Row, full_size, work_folder, write_clips

CLIPS, DURATION_S = 96, 10.0  # four shards


def workers(options: Namespace) -> list[Row]:
    """One, two and four workers over the same clips; what they do before the first shard does not count."""
    with work_folder() as folder:
        full_size(24).save_pretrained(folder / "codec")
        write_clips(folder / "clips", CLIPS, DURATION_S, 24_000)
        seconds, cpu_s = ({}, {})
        for count in (1, 2, 4):
            seconds[count], cpu_s[count] = _run(folder, count)
    details = {"seconds": seconds, "x_real_time": {n: round(CLIPS * DURATION_S / s, 1) for n, s in seconds.items()}}
    together = "extraction by four workers of one thread: CPU seconds of all"
    return [
        Row("extraction by two workers of one thread", "one of them", seconds[1] / seconds[2], 1.5, details=details),
        Row(together, "one of them", cpu_s[4] / cpu_s[1], 1.15, at_most=True, details={"cpu_seconds": cpu_s}),
    ]


def _run(folder: Path, count: int) -> tuple[float, float]:
    """Seconds by the clock, and by the processors of all workers."""
    command = [sys.executable, __file__, str(folder), str(folder / f"cache{count}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(count)
    ]
    for worker in started:
        worker.stdout.readline()  # ready
    begin = time.perf_counter()
    for worker in started:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    cpu_s = [float(worker.stdout.readline() or "nan") for worker in started]
    codes = [worker.wait() for worker in started]
    if any(codes):
        raise RuntimeError("a worker failed")
    return round(time.perf_counter() - begin, 2), round(sum(cpu_s), 2)


def _work(folder: Path, cache: Path) -> None:
    import torch

    from hf_encls.codec.loading import load_codec
    from hf_encls.data.folders import scan_folder
    from hf_encls.features.extraction import extract_features, feature_config

    torch.set_num_threads(1)
    codec = load_codec(folder / "codec")
    clips, _ = scan_folder(folder / "clips")
    config = feature_config("encodec_24khz", clips, codec)
    print("ready", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    extract_features(clips, config, codec, cache)
    print(time.process_time() - before)


if __name__ == "__main__":
    _work(Path(sys.argv[1]), Path(sys.argv[2]))
