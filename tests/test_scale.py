"""Many files, many classes, a long file, in small; in full size: benchmarks/scale.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "scale.py"


def measured(kind: str, size: float) -> dict:
    command = [sys.executable, str(BENCHMARK), kind, str(size)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sizes", "windows"), [("files", (100, 800), 1), ("classes", (50, 400), 2), ("hours", (0.2, 1.6), 3600)]
)
def test_time_is_linear_and_memory_flat(kind, sizes, windows):
    small, large = (measured(kind, size) for size in sizes)
    about = round(sizes[1] * windows)
    assert about <= large["windows"] <= about + 15
    assert large["cpu_s"] <= 8 * small["cpu_s"] + 1
    assert large["peak_mb"] <= small["peak_mb"] + 150
