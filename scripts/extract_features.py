"""Compute features once, for many trainings: see `--help` and `hf_encls/commands/extract_features.py`."""

from hf_encls.commands.errors import run_program

if __name__ == "__main__":
    run_program("hf_encls.commands.extract_features")
