"""REPORT.md from report.json and the template `templates/REPORT.md`; here is how numbers and names stand on the page."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hf_encls.files.escapes import markdown, markdown_block, markdown_code

TEMPLATES = Path(__file__).with_name("templates")
NONE = "\N{EN DASH}"  # what is not there


def render(report: Mapping) -> str:
    """The page as Markdown. Every number in it is a number or a part of a text in `report`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    labels = {
        kind: {row["key"]: markdown(row["label"]) for row in report[f"{kind}s"]} for kind in ("dataset", "input")
    }
    environment.filters |= FILTERS | {kind: names.__getitem__ for kind, names in labels.items()}
    return environment.get_template("REPORT.md").render(report, NONE=NONE)


def _number(spec: str, scale: float = 1) -> Callable[[float | None], str]:
    return lambda value: NONE if value is None else format(scale * value, spec)


def epoch(value: float | None) -> str:
    """An epoch; a mean over seeds may fall between two."""
    return NONE if value is None else f"{value:.1f}".removesuffix(".0")


def listed(values: Iterable[float]) -> str:
    """Numbers with commas between."""
    return ", ".join(f"{value:g}" for value in values) or NONE


def mean(value: Mapping, scale: float = 1) -> str:
    """A mean with its deviation."""
    if value["mean"] is None:
        return NONE
    deviation = "" if value["deviation"] is None else f" ± {scale * value['deviation']:.2f}"
    return f"{scale * value['mean']:.2f}{deviation}"


def counted(text: str, runs: float, usual: float = 1) -> str:
    """A mean with the number of its runs, where that is not the usual one."""
    return text if text == NONE or runs == usual else f"{text} (n = {runs:.0f})"


def spread(values: Sequence[float]) -> str:
    """The lowest and the highest of several measurements."""
    return " to ".join(f"{value:,.2f}" for value in values)


def passes(averages: Mapping | None) -> str:
    """The epoch that passes a baseline, on the raw curve and on the smoothed one, and how many of several runs do."""
    if averages is None:
        return NONE
    runs = f"; {averages['passed']:.0f} and {averages['passed_smoothed']:.0f} of {averages['runs']:.0f}"
    smoothed = epoch(averages["pass_smoothed_epoch"]) + (runs if averages["runs"] > 1 else "")
    return f"{epoch(averages['pass_epoch'])} ({smoothed})"


def row(cells: Iterable[str | None]) -> str:
    """A row of a table."""
    texts = (NONE if cell is None else re.sub(r"(?<!\\)\|", r"\|", cell) for cell in cells)
    return f"| {' | '.join(texts)} |"


def groups(rows: Iterable[Mapping], *names: str) -> list[tuple[object, list[Mapping]]]:
    """The rows by what they have under `names`, in the order in which these come first."""
    members: dict[tuple, list[Mapping]] = {}
    for member in rows:
        members.setdefault(tuple(member[name] for name in names), []).append(member)
    return [(key if len(names) > 1 else key[0], each) for key, each in members.items()]


def epochs(rows: Iterable[Mapping]) -> list[str]:
    """The epochs at which any of the rows has an accuracy, in order: their numbers as texts."""
    return sorted({number for each in rows for number in each["accuracy"]}, key=lambda number: (len(number), number))


FILTERS = {
    "text": markdown,
    "code": markdown_code,
    "block": markdown_block,
    "percent": _number(".2f", 100),
    "points": _number("+.2f", 100),
    "number": _number(".2f"),
    "signed": _number("+.2f"),
    "whole": _number(",.0f"),
    "plain": _number(".0f"),
    "seconds": _number(",.1f"),
    "time": lambda value, values: f"{value:,.2f} ({spread(values)})",
    "score": lambda dataset, row: _number(".2f", 100)(row.get(dataset["key"])),
    "present": lambda names, rows: [name for name in names if any(each[name] is not None for each in rows)],
    **{each.__name__: each for each in (epoch, epochs, listed, mean, counted, spread, passes, row, groups)},
}
