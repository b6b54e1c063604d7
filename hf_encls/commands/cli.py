"""The command `hf-encls`: every program of the package by its name.

Exit status: 0 all went well, 1 a file could not be used (it is named), or the disk, the memory or the Hub failed, 2 wrong
arguments, 130 interrupted, 143 terminated.
"""

import importlib
import sys
from dataclasses import dataclass

from hf_encls.commands.errors import exit_status
from hf_encls.commands.parser import near


@dataclass(frozen=True)
class Command:
    """A program: the module whose `main` it is, what it does, and the module that answers `--help` sooner."""

    module: str
    help: str
    help_module: str | None = None


GROUPS = {
    "use a model": {
        "classify": Command("hf_encls.commands.classify", "label files and folders"),
        "segment": Command("hf_encls.commands.segment", "say what sounds when in a file"),
        "listen": Command("hf_encls.commands.listen", "say what sounds while it sounds"),
        "evaluate-timeline": Command("hf_encls.commands.evaluate_timeline", "score timelines against a reference"),
        "search": Command("hf_encls.commands.search", "look for sounds that are like one"),
        "embed": Command("hf_encls.commands.embed", "write embeddings of a folder, and a map of them"),
        "export": Command("hf_encls.commands.export", "write a model as one ONNX graph, or as a web page"),
        "demo": Command("hf_encls.commands.demo", "serve a page to try a model"),
    },
    "make a model": {
        "train": Command(
            "hf_encls.commands.train", "train a classifier on class-named folders", "hf_encls.commands.train_help"
        ),
        "extract": Command("hf_encls.commands.extract_features", "compute and cache features"),
        "validate": Command("hf_encls.commands.validate", "compare a folder with a data set's published facts"),
        "check-labels": Command("hf_encls.commands.check_labels", "look for wrong labels, copies, silence, clipping"),
        "label-next": Command("hf_encls.commands.label_next", "say which files to label next"),
        "publish": Command(
            "hf_encls.commands.publish", "send a model or features to the Hub, or features to a folder"
        ),
        "compare": Command("hf_encls.commands.compare", "put models side by side on the same test clips"),
        "codecs": Command("hf_encls.commands.compare_codecs", "put codecs side by side: size, speed, accuracy"),
        "reproduce": Command("hf_encls.commands.reproduce_paper", "run the paper's experiments and report them"),
    },
    "the codec": {
        "encode": Command("hf_encls.commands.codec_files", "audio -> .ecdc files or saved codes"),
        "decode": Command("hf_encls.commands.codec_files", ".ecdc files or saved codes -> audio"),
        "pretrain": Command("hf_encls.commands.pretrain_codec", "train a codec on any folder of audio"),
    },
    "the shell": {
        "completion": Command("hf_encls.commands.completion", "write what completes these commands with the tab key"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main(args: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    args = list(sys.argv[1:] if args is None else args)
    if not args or args[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if args else 2
    if args[0] in ("-V", "--version"):
        import hf_encls

        print(f"hf-encls {hf_encls.__version__}")
        return 0
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        print(f"error: unknown command {name!r}{near(name, COMMANDS)}\nsee hf-encls --help", file=sys.stderr)
        return 2
    return _run(name, rest)


def overview() -> str:
    """The text of `hf-encls --help`."""
    lines = ["usage: hf-encls COMMAND [OPTIONS]", "", "Audio classification on EnCodec latents.", ""]
    for group, commands in GROUPS.items():
        lines.append(f"{group}:")
        lines += [f"  {name:<18} {command.help}" for name, command in commands.items()]
        lines.append("")
    lines.append("hf-encls COMMAND --help says more; hf-encls --version says which one this is.")
    return "\n".join(lines)


def _run(name: str, args: list[str]) -> int:
    command = COMMANDS[name]
    argv, sys.argv = sys.argv, [f"hf-encls {name}", *args]  # what argparse calls the program

    def call() -> int | None:
        if command.help_module and importlib.import_module(command.help_module).answered(args):
            return 0
        # Its imports take seconds, and may fail or be interrupted as its work may.
        program = importlib.import_module(command.module).main
        status = program([name, *args] if name in ("encode", "decode") else args)
        if isinstance(status, dict):  # the comparison of `validate` says whether all is well
            return 0 if status.get("ok", True) else 1
        return status

    try:
        status = exit_status(call, command.module)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = argv
    return status


if __name__ == "__main__":
    sys.exit(main())
