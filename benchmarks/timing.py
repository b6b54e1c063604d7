"""Pairs measured in one run: both sides in turns, medians of the repeats, and the machine they were measured on."""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn
from transformers import EncodecConfig, EncodecModel

from hf_encls.model.layers_encls import PackedConv1d

ENCODER_GFLOP_PER_S = 2.98  # the 24 kHz encoder of the full size, per second of audio (counted: convolutions and LSTM)


@dataclass
class Row:
    """One line of the table: `ratio` against `target`; `at_most` says which side of it is right."""

    name: str
    baseline: str
    ratio: float
    target: float | None
    at_most: bool = False
    details: dict = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """Whether the row is as asked."""
        if self.target is None:
            return True
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    def as_dict(self) -> dict:
        return asdict(self) | {"reached": self.reached}


def in_turns(
    sides: dict[str, Callable[[], object]],
    repeats: int,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each side. They take turns, so that a busy moment of the machine meets all of them.

    `time.process_time` as the clock counts what this process computes, whoever else is on the machine: for work of one
    thread that waits for nothing.
    """
    if warm_up:
        for work in sides.values():
            work()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            started = clock()
            work()
            times[name].append(clock() - started)
    return {name: statistics.median(each) for name, each in times.items()}


def matrix_peak(device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """GFLOP/s of a product of two large matrices, the best of 15 and of the ways that this PyTorch knows.

    On CUDA, float32 counts as TF32, which cuDNN's convolutions use by default.
    """
    if torch.device(device).type == "cuda":
        size = 8192
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        peak = 2 * size**3 / _best(lambda: (a @ b, torch.cuda.synchronize())) / 1e9
        torch.set_float32_matmul_precision(precision)
        return peak
    a, b = (torch.randn(1536, 1536).to(dtype) for _ in range(2))
    # Through oneDNN too: on some processors its float32 is twice as fast as that of the matrix product.
    frames = torch.randn(1, 512, 1026).to(dtype)
    conv = PackedConv1d(nn.Conv1d(512, 512, 3), dtype)
    with torch.inference_mode():
        return max(2 * 1536**3 / _best(lambda: a @ b), 2 * 3 * 512 * 512 * 1024 / _best(lambda: conv(frames))) / 1e9


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(15):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def machine() -> dict:
    """What the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def full_size(khz: int = 24) -> EncodecModel:
    """The architecture of facebook/encodec_24khz or _48khz with random weights: speed does not depend on them."""
    config = EncodecConfig()
    if khz == 48:
        config = EncodecConfig(
            target_bandwidths=[3.0, 6.0, 12.0, 24.0],
            sampling_rate=48_000,
            audio_channels=2,
            normalize=True,
            chunk_length_s=1.0,
            overlap=0.01,
            use_causal_conv=False,
            norm_type="time_group_norm",
        )
    torch.manual_seed(0)
    codec = EncodecModel(config).eval()
    for layer in codec.quantizer.layers:  # a fresh model's are all zero
        torch.nn.init.normal_(layer.codebook.embed, std=0.05)
    return codec


def write_clips(folder: Path, count: int, duration_s: float, sampling_rate: int) -> Path:
    """Noise as 16-bit WAV in two class-named folders."""
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / ("a", "b")[index % 2] / f"{index:03d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(round(duration_s * sampling_rate)), sampling_rate)
    return folder


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hf_encls_benchmark_") as name:
        yield Path(name)


def arguments(description: str) -> argparse.Namespace:
    """Options that every row takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("rows", nargs="*", help="rows to measure (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process (default: one, as one core)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side; medians count")
    parser.add_argument(
        "--codec", help="trained 24 kHz codec for the precision of bfloat16 (default: mini, untrained)"
    )
    parser.add_argument("--data_dir", help="class-named folders for it (default: synthetic sounds)")
    parser.add_argument("--hour_s", type=float, default=3600.0, help="seconds of the long file")
    parser.add_argument("--device", help="of the rows for an accelerator (default: the first one, if there is any)")
    parser.add_argument("--gpu_clips", type=int, default=2400, help="clips of 5 s that those rows extract")
    parser.add_argument("--gpu_epochs", type=int, default=1000, help="epochs that they train")
    parser.add_argument("--scale_files", type=int, default=50_000, help="files of the row of many")
    parser.add_argument("--scale_classes", type=int, default=1000, help="classes of the row of many")
    parser.add_argument("--scale_hours", type=float, default=10.0, help="hours of the one long file")
    parser.add_argument("--results_dir", help="where the numbers go (default: beside this file)")
    parser.add_argument("--table", action="store_true", help="only write README.md again, from the saved numbers")
    return parser.parse_args()
