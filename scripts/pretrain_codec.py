"""Train an EnCodec on a folder of audio: see `--help` and `hf_encls/commands/pretrain_codec.py`."""

import sys

from hf_encls.codec_training.progress import never_silent
from hf_encls.commands.door import run

if __name__ == "__main__":
    with never_silent(lambda line: print(line, file=sys.stderr, flush=True)) as say:
        say("loading PyTorch and transformers")  # minutes, where others are at work
        from hf_encls.commands.pretrain_codec import main

    run(main)
