"""Put models side by side: see `--help` and `hf_encls/commands/compare.py`."""

from hf_encls.commands.errors import run_program

if __name__ == "__main__":
    run_program("hf_encls.commands.compare")
