"""How numbers stand on the page; nothing is a dash."""

from collections.abc import Mapping, Sequence

NONE = "\N{EN DASH}"


def passes(row: Mapping, other: str) -> str:
    found = row[other]
    if found is None or row["input"] == other:
        return NONE
    count = ""
    if found["runs"] > 1:
        count = f"; {found['passed']:.0f} and {found['passed_smoothed']:.0f} of {found['runs']:.0f}"
    return f"{epoch_number(found['pass_epoch'])} ({epoch_number(found['pass_smoothed_epoch'])}{count})"


def mean(value: Mapping, scale: float = 1.0) -> str:
    if value["mean"] is None:
        return NONE
    deviation = "" if value["deviation"] is None else f" ± {scale * value['deviation']:.2f}"
    return f"{scale * value['mean']:.2f}{deviation}"


def counted(text: str, runs: float, usual: float = 1) -> str:
    """A mean with the number of its runs, where that is not the usual one."""
    return text if text == NONE or runs == usual else f"{text} (n = {runs:.0f})"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.2f}"


def points(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:+.2f}"


def number(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """The lowest and the highest of several measurements."""
    lowest, highest = values
    return f"{lowest:,.2f} to {highest:,.2f}"


def signed(value: float | None) -> str:
    return NONE if value is None else f"{value:+.2f}"


def whole(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def epoch_number(value: float | None) -> str:
    """An epoch; a mean over seeds may fall between two."""
    return NONE if value is None else f"{value:.1f}".removesuffix(".0")


def seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:,.1f}"


def listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or NONE
