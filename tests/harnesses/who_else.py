"""The README's table "who else says so": `python tests/harnesses/who_else.py` runs what is installed and prints it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "says.jsonl"
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-rs", "-m", "slow", str(Path(__file__).parent)]
        code = subprocess.run(command, env=os.environ | {"HF_ENCLS_SAYS": str(notes)}).returncode
        lines = notes.read_text(encoding="utf-8").splitlines() if notes.is_file() else []
    print("\n| Package | Version | What it says of hf_encls |\n|---|---|---|")
    for row in map(json.loads, lines):
        print(f"| {row['package']} | {row['version']} | {row['found']} |")
    return code


if __name__ == "__main__":
    sys.exit(main())
