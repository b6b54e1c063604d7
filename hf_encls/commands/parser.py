"""The argument parser of the `hf-encls` commands: unknown names are answered with the near one."""

import argparse
import difflib
import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

DESCRIBE = "--describe_parser"  # as the only argument: the parser comes back in a `Described`


class Described(Exception):
    """Ends a program before its work, with its parser, for whoever wants to know its options."""

    def __init__(self, parser: "Parser"):
        super().__init__("a parser was asked for")
        self.parser = parser


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` without abbreviations, for which `--top-k` is `--top_k` too."""

    def __init__(self, **settings):
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            fromfile_prefix_chars=None,
            **settings,
        )

    def parse(self, args: list[str] | None = None) -> argparse.Namespace:
        """Parsed `args` (None: the command line's); an unknown option ends the program with status 2 and names the
        nearest one.
        """
        args = [underscored(each) for each in (sys.argv[1:] if args is None else args)]
        if args == [DESCRIBE]:
            raise Described(self)
        known = {name for action in self._actions for name in action.option_strings}
        for each in args[: args.index("--") if "--" in args else None]:
            # Before anything else: what seems to be missing may be what was misspelt.
            if re.fullmatch(r"--\w+(=.*)?", each, re.DOTALL) and each.partition("=")[0] not in known:
                self.refuse([each])
        options, rest = self.parse_known_args(args)
        if rest:
            self.refuse(rest)
        return options

    def refuse(self, rest: list[str]) -> NoReturn:
        """End the program because of arguments that no option takes, and name the option that is near."""
        unknown = [each for each in rest if each.startswith("-")]
        if unknown:
            known = [name for action in self._actions for name in action.option_strings]
            self.error(f"unknown option {unknown[0].split('=')[0]}{near(unknown[0], known)}")
        self.error(f"unexpected argument {rest[0]!r}")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, without the whole usage."""
        print(f"error: {message}\nsee {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def underscored(argument: str) -> str:
    """`--top-k=3` -> `--top_k=3`; what is no long option stays."""
    name, equals, value = argument.partition("=")
    return name[:2] + name[2:].replace("-", "_") + equals + value if re.match(r"--\w", name) else argument


def as_options(text: str) -> str:
    """A message of the library in the words of a command: `overwrite=True` is --overwrite, `features=mel` --features mel."""
    return re.sub(r"`(\w+)(?:=([^`\n]*))?`", lambda part: " ".join(filter(None, _option(part[1], part[2]))), text)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return as_options(super().format(record))


def show_warnings() -> None:
    """From here on, warnings that the library logs are lines on stderr, in the words of a command."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _option(name: str, value: str | None) -> tuple[str, str | None]:
    return f"--{name}", None if value == "True" else value


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where a known name is near, otherwise nothing."""
    names = difflib.get_close_matches(name.split("=")[0], list(known), n=1, cutoff=0.6)
    return f"; did you mean {names[0]}?" if names else ""


def device(name: str) -> str:
    """The type of `--device`. Raises `ArgumentTypeError` for one that this machine, or this PyTorch, does not have."""
    import torch

    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        kinds = ["cpu", *([torch.accelerator.current_accelerator().type] if torch.accelerator.is_available() else [])]
        reason = " ".join(str(error).split(".")[0].split())[:120]
        raise argparse.ArgumentTypeError(
            f"expected {' or '.join(kinds)}, which is there, found {name!r} ({reason})"
        ) from error
    return name


def add_checkpoint_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Options of every command that loads a model."""
    parser.add_argument("--model", required=required, metavar="M", help="checkpoint: a folder, or a name on the Hub")
    parser.add_argument("--revision", metavar="R", help="revision of a model on the Hub; pin one that you trust")
    parser.add_argument(
        "--device", type=device, metavar="D", help="cpu, cuda, cuda:1, ... (default: the first accelerator, else cpu)"
    )


def add_model_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Options of every command that runs a model on sources."""
    add_checkpoint_options(parser, required)
    codes = parser.add_argument_group("compressed input (.ecdc files, saved codes)")
    codes.add_argument("--assume_codec", action="store_true", help="the codes are of the model's own codec, trust me")
    codes.add_argument(
        "--family", choices=["encodec_24khz", "encodec_48khz"], help="what saved codes are that do not say it"
    )


def refuse_existing(*paths: str | None, overwrite: bool) -> None:
    """Raise `ValueError` where a file that is to be written is there already, unless `overwrite`."""
    existing = [path for path in paths if path is not None and Path(path).exists()]
    if existing and not overwrite:
        raise ValueError(f"{existing[0]} would be replaced: name another file, or say --overwrite")
