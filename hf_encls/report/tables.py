"""Tables of results, as text or Markdown."""

import re
from collections.abc import Sequence

from hf_encls.data.splits import PARTS
from hf_encls.files.escapes import markdown as markdown_text
from hf_encls.files.escapes import one_line
from hf_encls.training.results import Results, Scores

PIPE = re.compile(r"(?<!\\)\|")  # it would end a cell, in code too


def results_table(results: Results, markdown: bool = False) -> str:
    """The scores of each split (`Results.metrics`), per window and per clip, as text or as a Markdown table."""
    rows = []
    for part in PARTS:
        part_scores = getattr(results, part)
        for unit, scores, count in part_scores.scored() if part_scores else ():
            cells = (score_text(scores, name) for name in results.metrics)
            rows.append([part, unit.text, "" if count is None else f"{count:,}", *cells])
    return _table(["split", "unit", "number", *results.metrics.values()], rows, left=2, markdown=markdown)


def class_table(results: Results, markdown: bool = False) -> str:
    """Precision, recall and F1 of each class; of several labels at once also what does not need its threshold."""
    columns = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if results.thresholds is not None:
        columns |= {"average_precision": "AP", "auroc": "AUROC", "threshold": "threshold"}
    rows = [
        [
            markdown_text(entry["class"]) if markdown else one_line(entry["class"]),
            f"{entry['support']:,}",
            *(_number(entry.get(name)) for name in columns),
        ]
        for entry in results.per_class or []
    ]
    return _table(["class", "number", *columns.values()], rows, left=1, markdown=markdown)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first `left` columns are texts, the others numbers."""
    return _table(head, rows, left=left, markdown=True)


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """The same for a terminal."""
    return _table(head, [[one_line(cell) for cell in row] for row in rows], left=left, markdown=False)


def score_text(scores: Scores, metric: str) -> str:
    """A score, with its standard deviation where several runs were put together."""
    deviation = scores.deviation(metric)
    return _number(getattr(scores, metric)) + (f" ± {deviation:.3f}" if deviation is not None else "")


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
