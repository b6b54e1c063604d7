# /// script
# requires-python = ">=3.11"
# dependencies = ["hf_encls>=0.2.0.dev0"]
# ///
"""Train a classifier: see `--help` and `hf_encls/commands/train.py`."""

from hf_encls.commands.errors import run_program
from hf_encls.commands.train_help import answered

if __name__ == "__main__" and not answered():
    run_program("hf_encls.commands.train")
