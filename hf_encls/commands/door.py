"""What every program does at its door: errors that a user can mend are one message, Ctrl-C is not a stack of lines."""

import sys
from collections.abc import Callable


def run(main: Callable[[], object]) -> None:
    """Call `main`; a `ValueError` ends with its message and status 2, Ctrl-C with status 130."""
    try:
        main()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished is kept", file=sys.stderr)
        sys.exit(130)
