"""Thousands of broken files, and every program that meets them: `tests/fuzz/run.py` says how."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "fuzz" / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_broken_files_are_refused_clearly_or_taken_rightly():
    done = subprocess.run([sys.executable, str(RUN), "--cases", "2000", "--seed", "0"], capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
