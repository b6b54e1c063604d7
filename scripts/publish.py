"""Publish features or a model on the Hub: see `--help` and `hf_encls/commands/publish.py`."""

from hf_encls.commands.errors import run_program

if __name__ == "__main__":
    run_program("hf_encls.commands.publish")
