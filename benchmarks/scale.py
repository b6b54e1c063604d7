"""Many files, many classes, one long file: time grows as they do, and memory does not grow with them."""

import json
import resource
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import soundfile
from timing import Row, work_folder

RATE = 16_000
SMALLER = 4  # how much smaller the first of two sizes is


def scale(options: Namespace) -> list[Row]:
    """Each kind in two sizes, in processes of their own: CPU time for each unit, and memory at the peak."""
    sizes = {"files": options.scale_files, "classes": options.scale_classes, "hours": options.scale_hours}
    rows = []
    for kind, size in sizes.items():
        small, large = _measured(kind, size / SMALLER), _measured(kind, size)
        ratio = large["cpu_s"] / small["cpu_s"] / SMALLER
        details = {"cpu_s": [small["cpu_s"], large["cpu_s"]], "peak_mb": [small["peak_mb"], large["peak_mb"]]}
        name, against = f"log_mel features of {size:g} {kind}", f"{size / SMALLER:g} {kind}"
        rows.append(Row(f"{name}: CPU time of each", against, ratio, 1.2, at_most=True, details=details))
        grown = large["peak_mb"] - small["peak_mb"]
        rows.append(Row(f"{name}: MB more at the peak", against, grown, 200.0, at_most=True, details=details))
    return rows


def _measured(kind: str, size: float) -> dict:
    command = [sys.executable, __file__, kind, str(size)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def write_sounds(folder: Path, kind: str, size: float) -> Path:
    """`size` files of 0.1 s in ten classes, two such files in each of `size` classes, or one file of `size` hours beside
    a short one."""
    noise = (0.1 * np.random.default_rng(0).standard_normal(RATE * 10)).astype(np.float32)
    if kind == "hours":
        for label in ("a", "b"):
            (folder / label).mkdir(parents=True)
        soundfile.write(folder / "b" / "short.wav", noise, RATE)
        with soundfile.SoundFile(folder / "a" / "long.flac", "w", RATE, 1) as file:
            for _ in range(round(size * 360)):
                file.write(noise)
        return folder
    classes = 10 if kind == "files" else round(size)
    for number in range(round(size) if kind == "files" else 2 * classes):
        path = folder / f"{number % classes:04d}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise[number : number + RATE // 10], RATE)
    return folder


def features_of(sounds: Path, cache: Path) -> dict:
    """Scan and extract; returns how many windows there are, the CPU seconds, and the megabytes of memory at the peak."""
    from hf_encls.data.folders import scan_folder
    from hf_encls.features.extraction import extract_features, feature_config

    before = time.process_time()
    clips, _ = scan_folder(sounds)
    windows = extract_features(clips, feature_config("log_mel", clips, hop_length=512), cache_dir=cache)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "windows": len(windows),
        "cpu_s": round(time.process_time() - before, 2),
        "peak_mb": round(peak_kb / 1024),
    }


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    with work_folder() as folder:
        print(
            json.dumps(features_of(write_sounds(folder / "sounds", sys.argv[1], float(sys.argv[2])), folder / "cache"))
        )
