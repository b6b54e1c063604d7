"""Options that are the fields of dataclasses: their help, which waits for nothing, and their parsing, by transformers."""

import shutil
import textwrap
from argparse import SUPPRESS
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from hf_encls.commands.parser import Parser

VALUES = {int: "N", float: "X", str: "TEXT"}
COLUMN = 30  # where the texts of help begin


def parse_dataclasses(
    kinds: Iterable[type], args: list[str] | None, description: str, prog: str | None = None
) -> tuple[Any, ...]:
    """One of each of the dataclasses `kinds`, from `args` (None: the command line's).

    An unknown option ends the program with status 2 and names the nearest one; so does a value that is none.
    """
    return of_options(kinds, given_options(kinds, args, description, prog))


def given_options(
    kinds: Iterable[type], args: list[str] | None, description: str, prog: str | None = None
) -> dict[str, Any]:
    """The options that `args` give, without those that are left as they are. It ends the program as `parse_dataclasses`."""
    parser = dataclass_parser(kinds, description, prog)
    for action in parser._actions:
        action.default = SUPPRESS
    return vars(parser.parse(args))


def of_options(kinds: Iterable[type], options: Mapping[str, Any]) -> tuple[Any, ...]:
    """One of each of the dataclasses, from the values of their fields by name; what is not there is as it is by default."""
    names = [{each.name for each in fields(kind) if each.init} & options.keys() for kind in kinds]
    return tuple(kind(**{name: options[name] for name in each}) for kind, each in zip(kinds, names, strict=True))


def dataclass_parser(kinds: Iterable[type], description: str, prog: str | None = None, **settings) -> Parser:
    """What parses the fields of dataclasses as transformers does: `HfArgumentParser`, with our answers to mistakes."""
    from transformers import HfArgumentParser

    class DataclassParser(Parser, HfArgumentParser):
        def format_help(self) -> str:
            groups: dict[str, list] = {}
            for kind in kinds:
                title = (kind.__doc__ or kind.__name__).splitlines()[0].rstrip(".")
                groups[title] = options_of(kind)
            return help_text(f"usage: {self.prog} [-h] [OPTIONS]", description, groups)

    return DataclassParser(dataclass_types=kinds, description=description, prog=prog, **settings)


def options_of(kind: type, names: Iterable[str] | None = None) -> list[tuple[Field, type]]:
    """Fields of a dataclass that are options, all or those named, each with its type."""
    hints, options = get_type_hints(kind), {each.name: each for each in fields(kind) if each.init}
    return [(options[name], hints[name]) for name in (options if names is None else names)]


def help_text(usage: str, description: str, groups: Mapping[str, list[tuple[Field, type]]], epilog: str = "") -> str:
    """The text of `--help`: each group with its title, each option with its value, what it does, and its default."""
    width = max(60, min(shutil.get_terminal_size().columns - 2, 120))
    lines = [usage, "", *textwrap.wrap(description, width), ""]
    for title, options in groups.items():
        lines.append(f"{title}:")
        for option, hint in options:
            lines += _lines(option, hint, width)
        lines.append("")
    lines += [paragraph for text in epilog.splitlines() for paragraph in textwrap.wrap(text, width)]
    return "\n".join(lines).rstrip() + "\n"


def _lines(option: Field, hint: type, width: int) -> list[str]:
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not NoneType]
    value = next((VALUES[kind] for kind in kinds if kind in VALUES), "" if bool in kinds else "TEXT")
    name = f"  --{option.name} {value}".rstrip()
    texts = [" ".join(str(option.metadata.get("help", "")).split()).replace("%%", "%"), _default(option)]
    body = textwrap.wrap(" ".join(filter(None, texts)), width - COLUMN) or [""]
    first = [name] if len(name) > COLUMN - 2 else []
    body = body if first else [f"{name:<{COLUMN}}{body[0]}", *body[1:]]
    start = 0 if first else 1
    return first + body[:start] + [" " * COLUMN + line for line in body[start:]]


def _default(option: Field) -> str:
    if option.default is MISSING and option.default_factory is MISSING:
        return "Required."
    if option.default is MISSING or option.default is None or option.default is False or option.default == "":
        return ""
    return f"({'true' if option.default is True else option.default})"
