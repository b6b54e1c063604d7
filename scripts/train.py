"""Train a classifier: see `--help` and `hf_encls/commands/train.py`."""

from hf_encls.commands.door import run
from hf_encls.commands.train_help import answered

if __name__ == "__main__" and not answered():
    from hf_encls.commands.train import main

    run(main)
