"""Label files and folders: one row for each file, as a table, CSV or JSON lines."""

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hf_encls.commands.outputs import output_file, writing
from hf_encls.commands.parser import Parser, add_model_options

EXAMPLES = """examples:
  hf-encls classify song.mp3 field_recordings/ --model my_model
  hf-encls classify *.wav --model my_model --format csv --output labels.csv
  hf-encls classify calls.ecdc --model codes_model          # compressed input, no audio is decoded

A file that cannot be used is one row with its error, and the exit status is 1.
"""


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = Parser(prog="hf-encls classify", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("sources", nargs="+", metavar="FILE_OR_FOLDER", help="audio, .ecdc, saved codes, or folders")
    add_model_options(parser)
    parser.add_argument("--top_k", type=int, default=1, metavar="N", help="labels of each file (default: 1)")
    parser.add_argument("--format", choices=["table", "csv", "jsonl"], default="table", help="default: table")
    parser.add_argument("--output", type=output_file, metavar="FILE", help="write here instead of to the terminal")
    parser.add_argument("--batch_size", type=int, default=8, metavar="N", help="short files at a time (default: 8)")
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    if options.top_k < 1 or options.batch_size < 1:
        parser.error("--top_k and --batch_size must be 1 or more")
    files = expand(options.sources)
    pipe = load_pipe(options)
    errors = 0
    with writing(options.output), output(options.output) as out:
        write = {"table": _table, "csv": _csv, "jsonl": _json_lines}[options.format]
        rows = write(out, [str(file) for file in files], min(options.top_k, pipe.model.config.num_labels))
        answers = pipe.analyse_many(
            files,
            batch_size=options.batch_size,
            family=options.family,
            assume_codec=options.assume_codec,
            return_errors=True,
        )
        for index, (file, answer) in enumerate(zip(files, answers, strict=True)):
            if not index:
                next(rows)  # the header comes with the first row: a file without rows is not worth keeping
            errors += isinstance(answer, ValueError)
            rows.send((str(file), answer if isinstance(answer, ValueError) else answer.top(options.top_k)))
    if errors:
        print(f"{errors} of {len(files)} files could not be classified", file=sys.stderr)
    return 1 if errors else 0


def expand(sources: Sequence[str]) -> list[Path]:
    """Files as they are; of folders every audio file and `.ecdc` file in them, at any depth, sorted.

    Raises `ValueError` for a folder without any.
    """
    from hf_encls.audio import EXTENSIONS

    wanted = EXTENSIONS | {".ecdc"}
    files = []
    for source in map(Path, sources):
        if not source.is_dir():
            files.append(source)
            continue
        found = sorted(
            path
            for path in source.rglob("*")
            if path.suffix.lower() in wanted and path.is_file() and not path.name.startswith(".")
        )
        if not found:
            raise ValueError(f"{source} holds no audio files (looked for {', '.join(sorted(wanted))})")
        files += found
    return files


def load_pipe(options):
    """The pipeline that `add_model_options` describes. Raises `ValueError` where there is no such checkpoint."""
    import transformers

    from hf_encls.inference.pipeline import EnclsPipeline

    name = options.model
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        return EnclsPipeline.from_pretrained(name, device=options.device, revision=options.revision)
    except OSError as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"expected a checkpoint at {name!r}, and it could not be loaded: {line}") from error


@contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when it is finished.

    After an interrupt or an error, what was written is kept under the temporary name, which is printed.
    """
    if path is None:
        yield sys.stdout
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            yield file
        partial.replace(target)
    except BaseException:
        if partial.is_file() and partial.stat().st_size:
            print(f"{target} is not finished; what was written is in {partial}", file=sys.stderr)
        else:
            partial.unlink(missing_ok=True)
        raise


def _table(out: TextIO, names: Sequence[str], top_k: int):
    width = min(60, max(map(len, names)))
    print(f"{'file':<{width}}  label", file=out)
    while True:
        name, answer = yield
        if isinstance(answer, ValueError):
            text = f"ERROR {_one_line(answer)}"
        else:
            text = ", ".join(f"{each['label']} {each['score']:.3f}" for each in answer)
        print(f"{name:<{width}}  {text}", file=out, flush=True)


def _csv(out: TextIO, names: Sequence[str], top_k: int):
    writer = csv.writer(out, lineterminator="\n")
    more = [f"{name}_{i}" for i in range(2, top_k + 1) for name in ("label", "score")]
    writer.writerow(["file", "label", "score", *more, "error"])
    while True:
        name, answer = yield
        if isinstance(answer, ValueError):
            writer.writerow([name, *[""] * (2 * top_k), _one_line(answer)])
        else:
            cells = [cell for each in answer for cell in (each["label"], f"{each['score']:.6f}")]
            writer.writerow([name, *cells, ""])
        out.flush()


def _json_lines(out: TextIO, names: Sequence[str], top_k: int):
    while True:
        name, answer = yield
        row = {"error": _one_line(answer)} if isinstance(answer, ValueError) else {"labels": answer}
        print(json.dumps({"file": name, **row}, ensure_ascii=False), file=out, flush=True)


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())
