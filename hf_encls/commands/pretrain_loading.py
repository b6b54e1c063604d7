"""Pretraining, with a word while what it imports is loaded: minutes, where others are at work."""

import sys

from hf_encls.codec_training.progress import never_silent


def main() -> object:
    """Load `pretrain_codec`, and what its `main` does."""
    with never_silent(lambda line: print(line, file=sys.stderr, flush=True)) as say:
        say("loading PyTorch and transformers")
        from hf_encls.commands.pretrain_codec import main as pretrain
    return pretrain()
