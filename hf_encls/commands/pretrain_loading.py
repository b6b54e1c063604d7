"""What pretraining imports, with a word while that lasts: minutes, where others are at work."""

import sys
from collections.abc import Callable

from hf_encls.codec_training.progress import never_silent


def load() -> Callable[..., object]:
    """The `main` of `pretrain_codec`."""
    with never_silent(lambda line: print(line, file=sys.stderr, flush=True)) as say:
        say("loading PyTorch and transformers")
        from hf_encls.commands.pretrain_codec import main
    return main
