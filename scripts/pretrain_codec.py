"""Train an EnCodec on a folder of audio: see `--help` and `hf_encls/commands/pretrain_codec.py`."""

from hf_encls.commands.errors import run_program

if __name__ == "__main__":
    run_program("hf_encls.commands.pretrain_loading")
