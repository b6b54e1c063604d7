"""Accuracy with a few clips of each class: see `--help` and `hf_encls/commands/few_examples.py`."""

from hf_encls.commands.errors import run_program
from hf_encls.commands.few_examples import main

if __name__ == "__main__":
    run_program(main)
