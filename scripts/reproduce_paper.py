"""Reproduce the paper: see `--help` and `hf_encls/commands/reproduce_paper.py`."""

from hf_encls.commands.errors import run_program

if __name__ == "__main__":
    run_program("hf_encls.commands.reproduce_paper")
