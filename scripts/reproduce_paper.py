"""Reproduce the paper: see `--help` and `hf_encls/commands/reproduce_paper.py`."""

from hf_encls.commands.errors import run_program
from hf_encls.commands.reproduce_paper import main

if __name__ == "__main__":
    run_program(main)
