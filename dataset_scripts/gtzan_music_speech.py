"""Prepare GTZAN music/speech: `--help` lists the options."""

from hf_encls.commands.errors import run_program

if __name__ == "__main__":
    run_program("hf_encls.commands.prepare", dataset="gtzan_music_speech")
