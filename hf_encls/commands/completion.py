"""Write what completes `hf-encls` with the tab key, for bash, zsh or tcsh; needs the `[completion]` extra.

Every command is asked for its options once, which takes some seconds; the tab key then asks nobody.
"""

import argparse
import importlib

from hf_encls.commands.parser import DESCRIBE, Described, Parser

EXAMPLES = """example, then open a new shell:
  hf-encls completion bash > ~/.local/share/bash-completion/completions/hf-encls"""


def main(args: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = Parser(prog="hf-encls completion", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="whose language it is written in")
    options = parser.parse(args)
    try:
        import shtab
    except ImportError as error:
        raise ValueError("shtab is missing: pip install 'hf_encls[completion]'") from error
    print(shtab.complete(_whole_parser(shtab), options.shell))
    return 0


def _whole_parser(shtab) -> argparse.ArgumentParser:
    """One parser of all commands, with what the values of options are made of."""
    from hf_encls.commands.cli import COMMANDS

    whole = argparse.ArgumentParser(prog="hf-encls")
    commands = whole.add_subparsers()
    for name, command in COMMANDS.items():
        parser = _parser_of(importlib.import_module(command.module).main, name)
        for action in parser._actions:
            # `--data-dir` works as well as `--data_dir`; one of them is offered.
            action.option_strings = [each for each in action.option_strings if "-" not in each.lstrip("-")]
            if action.choices is None and action.nargs != 0 and action.type in (None, str):
                action.complete = shtab.DIRECTORY if action.dest.endswith("_dir") else shtab.FILE
        # A description of several lines would be read as several commands.
        commands.add_parser(name, parents=[parser], add_help=False, help=command.help, description=command.help)
    return whole


def _parser_of(program, name: str) -> Parser:
    try:
        program([name, DESCRIBE] if name in ("encode", "decode") else [DESCRIBE])
    except Described as described:
        return described.parser
    raise AssertionError(f"{name} does not parse its arguments first")
