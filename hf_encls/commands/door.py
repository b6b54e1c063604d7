"""What every program does at its door: errors that a user can mend are one message, Ctrl-C is not a stack of lines."""

import sys
from collections.abc import Callable
from pathlib import Path

# What an interrupt leaves, by program; the others say so themselves, or have nothing that is finished.
KEPT = {
    "codec_files": "files that were finished are kept",
    "extract_features": "finished features are in the cache: the same command goes on from there",
    "pretrain_codec": "checkpoints are kept: the same command goes on from the last one",
    "reproduce_paper": "finished cells are kept: the same command goes on from there",
    "train": "finished features and checkpoints are kept",
}


def run(main: Callable[[], object]) -> None:
    """Call `main`; a `ValueError` ends with its message and status 2, Ctrl-C with status 130."""
    try:
        main()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{interrupted(main)}", file=sys.stderr)
        sys.exit(130)


def interrupted(main: Callable) -> str:
    """The line for Ctrl-C: what of the program's work is kept, where that is so."""
    code = getattr(main, "__code__", None)  # not __module__: that is __main__ for a script
    kept = KEPT.get(Path(code.co_filename).stem) if code else None
    return f"interrupted; {kept}" if kept else "interrupted"
