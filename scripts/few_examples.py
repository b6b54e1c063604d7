"""Accuracy with a few clips of each class: see `--help` and `hf_encls/commands/few_examples.py`."""

from hf_encls.commands.errors import run_program

if __name__ == "__main__":
    run_program("hf_encls.commands.few_examples")
