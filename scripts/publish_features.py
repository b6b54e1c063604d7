"""Publish features on the Hub: see `--help` and `hf_encls/commands/publish_features.py`."""

from hf_encls.commands.door import run
from hf_encls.commands.publish_features import main

if __name__ == "__main__":
    run(main)
