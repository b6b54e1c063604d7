"""Prepare GTZAN genres: `--help` lists the options."""

from functools import partial

from hf_encls.commands.errors import run_program
from hf_encls.commands.prepare import main

if __name__ == "__main__":
    run_program(partial(main, dataset="gtzan_genres"))
