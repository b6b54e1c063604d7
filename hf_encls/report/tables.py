"""Tables of results: plain data in, text or Markdown out. The data are those of `results.json`."""

import re
from collections.abc import Mapping, Sequence

from hf_encls.files.escapes import markdown as markdown_text
from hf_encls.files.escapes import one_line

PIPE = re.compile(r"(?<!\\)\|")  # it would end a cell, in code too
SPLITS = ("train", "validation", "test")
WITHOUT_SILENCE = "num_windows_without_silence"
UNITS = (
    ("window", "num_windows", "windows"),
    ("window_without_silence", WITHOUT_SILENCE, "windows without silence"),
    ("clip", "num_clips", "clips"),
)


def results_table(results: Mapping, markdown: bool = False) -> str:
    """Accuracy, macro F1 and loss of each split, per window and per clip, as text or as a Markdown table."""
    rows = []
    for split in SPLITS:
        scores = results.get(split) or {}
        for key, count, unit in UNITS:
            number = scores.get(count)
            nothing_silent = count == WITHOUT_SILENCE and number is not None and number == scores.get("num_windows")
            if not scores.get(key) or nothing_silent:
                continue
            cells = (_score(scores[key], name) for name in ("accuracy", "macro_f1", "loss"))
            rows.append([split, unit, "" if number is None else f"{number:,}", *cells])
    return _table(["split", "unit", "number", "accuracy", "macro F1", "loss"], rows, left=2, markdown=markdown)


def class_table(results: Mapping, markdown: bool = False) -> str:
    """Precision, recall and F1 of each class, from `results["per_class"]`."""
    rows = [
        [
            markdown_text(entry["class"]) if markdown else one_line(entry["class"]),
            f"{entry['support']:,}",
            *(_number(entry.get(name)) for name in ("precision", "recall", "f1")),
        ]
        for entry in results.get("per_class") or []
    ]
    return _table(["class", "number", "precision", "recall", "F1"], rows, left=1, markdown=markdown)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first `left` columns are texts, the others numbers."""
    return _table(head, rows, left=left, markdown=True)


def _score(scores: Mapping, name: str) -> str:
    """A score, with its standard deviation where several runs were put together."""
    deviation = scores.get(f"{name}_std")
    return _number(scores.get(name)) + (f" ± {deviation:.3f}" if deviation is not None else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int, markdown: bool) -> str:
    if markdown:
        rows = [[PIPE.sub(r"\|", " ".join(cell.split())) for cell in row] for row in rows]
        rule = ["---" if index < left else "---:" for index in range(len(head))]
        return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    lines = [
        "  ".join(cell.ljust(w) if index < left else cell.rjust(w) for index, (cell, w) in enumerate(zip(row, widths)))
        for row in [head, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)
