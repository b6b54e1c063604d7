"""Prepare ESC-10, also out of a full copy of ESC-50: `--help` lists the options."""

from functools import partial

from hf_encls.commands.door import run
from hf_encls.commands.prepare import main

if __name__ == "__main__":
    run(partial(main, dataset="esc10"))
