"""Label files and folders: one row for each file, as a table, CSV or JSON lines."""

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TextIO

from hf_encls.commands.outputs import output, output_file
from hf_encls.commands.parser import Parser, add_model_options, as_options
from hf_encls.files.escapes import csv_row, one_line
from hf_encls.files.finding import find_files

EXAMPLES = """examples:
  hf-encls classify song.mp3 field_recordings/ --model my_model
  hf-encls classify *.wav --model my_model --format csv --output labels.csv
  hf-encls classify calls.ecdc --model codes_model          # compressed input, no audio is decoded

A model of several labels at once gives those that a file has, from their thresholds on, or with --top_k the likeliest; in
CSV each has a row of its own, as --labels of training reads them.
A file that cannot be used is one row with its error, and the exit status is 1.
"""


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = Parser(prog="hf-encls classify", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("sources", nargs="+", metavar="FILE_OR_FOLDER", help="audio, .ecdc, saved codes, or folders")
    add_model_options(parser)
    parser.add_argument(
        "--top_k",
        type=int,
        metavar="N",
        help="labels of each file (default: 1; of several labels at once those it has)",
    )
    parser.add_argument("--format", choices=["table", "csv", "jsonl"], default="table", help="default: table")
    parser.add_argument("--output", type=output_file, metavar="FILE", help="write here instead of to the terminal")
    parser.add_argument("--batch_size", type=int, default=8, metavar="N", help="short files at a time (default: 8)")
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    if min(options.batch_size, 1 if options.top_k is None else options.top_k) < 1:
        parser.error("--top_k and --batch_size must be 1 or more")
    files = expand(options.sources)
    pipe = load_pipe(options)
    config, errors = pipe.model.config, 0
    all_present = options.top_k is None and config.problem_type == "multi_label_classification"
    top_k = options.top_k or 1
    with output(options.output) as out:
        write = {"table": _table, "csv": _csv_rows if all_present else _csv, "jsonl": _json_lines}[options.format]
        top_k = min(top_k, config.num_labels)
        rows = write(out, [str(file) for file in files], top_k)
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
            if not isinstance(answer, ValueError):
                answer = answer.present() if all_present else answer.top(top_k)
            rows.send((str(file), answer))
    if errors:
        print(f"{errors} of {len(files)} files could not be classified", file=sys.stderr)
    return 1 if errors else 0


def expand(sources: Sequence[str], suffixes: Collection[str] | None = None) -> list[Path]:
    """Files as they are; of folders every file in them with one of these endings (None: audio and `.ecdc`).

    What had to be passed over is printed. Raises `ValueError` for a folder without any.
    """
    from hf_encls.audio import EXTENSIONS

    kind = "audio files" if suffixes is None else "saved codes"
    suffixes = EXTENSIONS | {".ecdc"} if suffixes is None else suffixes
    files = []
    for source in map(Path, sources):
        if not source.is_dir():
            files.append(source)
            continue
        below = find_files(source, lambda path: path.suffix.lower() in suffixes)
        for row in below.left_out:
            print(f"{source / row['file']}: {row['reason']}", file=sys.stderr)
        if not below.files:
            raise ValueError(f"{source} holds no {kind} (looked for {', '.join(sorted(suffixes))})")
        files += below.files
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


def _table(out: TextIO, names: Sequence[str], top_k: int):
    width = min(60, max(map(len, names)))
    print(f"{'file':<{width}}  label", file=out)
    while True:
        name, answer = yield
        if isinstance(answer, ValueError):
            text = f"ERROR {_one_line(answer)}"
        else:
            text = ", ".join(f"{one_line(each['label'])} {each['score']:.3f}" for each in answer) or "-"
        print(f"{one_line(name):<{width}}  {text}", file=out, flush=True)


def _csv(out: TextIO, names: Sequence[str], top_k: int):
    more = [f"{name}_{i}" for i in range(2, top_k + 1) for name in ("label", "score")]
    out.write(csv_row(["file", "label", "score", *more, "error"]))
    while True:
        name, answer = yield
        if isinstance(answer, ValueError):
            out.write(csv_row([name, *[""] * (2 * top_k), _one_line(answer)]))
        else:
            cells = [cell for each in answer for cell in (each["label"], f"{each['score']:.6f}")]
            out.write(csv_row([name, *cells, ""]))
        out.flush()


def _csv_rows(out: TextIO, names: Sequence[str], top_k: int):
    """A row for each label of a file; one without any for a file that has none."""
    out.write(csv_row(["file", "label", "score", "error"]))
    while True:
        name, answer = yield
        if isinstance(answer, ValueError):
            out.write(csv_row([name, "", "", _one_line(answer)]))
        else:
            for each in answer or [None]:
                out.write(csv_row([name, *([each["label"], f"{each['score']:.6f}"] if each else ["", ""]), ""]))
        out.flush()


def _json_lines(out: TextIO, names: Sequence[str], top_k: int):
    while True:
        name, answer = yield
        row = {"error": _one_line(answer)} if isinstance(answer, ValueError) else {"labels": answer}
        print(json.dumps({"file": name, **row}, ensure_ascii=False), file=out, flush=True)


def _one_line(error: ValueError) -> str:
    return one_line(as_options(str(error)))
