"""Praat's TextGrids, in the long and in the short text format.

Praat reads such a file as a row of numbers, strings in quotes and flags, and passes over all other words: both formats
are the same row.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# A number stands between white space: the one in `intervals [2]:` is none.
TOKEN = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|!.*|(?<!\S)(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)|<(?P<flag>\w+)>'
)


@dataclass
class Tier:
    """A named tier; `segments` are those of its intervals (of its points: without length) that have a text."""

    name: str
    is_intervals: bool
    segments: list[dict] = field(default_factory=list)


def read_textgrid(text: str, tier: str | None = None) -> list[dict]:
    """The labelled intervals of one tier, `{"start", "end", "label"}` in seconds.

    `tier` is its name; None: the only one of intervals, or all where each holds its own name alone, as those of a timeline
    with overlaps do. Raises `ValueError` where that is not clear, and for a file that
    ends too early or is something else than a TextGrid.
    """
    tiers = read_tiers(text)
    if tier is not None:
        chosen = [each for each in tiers if each.name == tier]
        if not chosen:
            names = ", ".join(each.name for each in tiers) or "no tier"
            raise ValueError(f"expected a tier {tier!r}, found {names}")
        return chosen[0].segments
    chosen = [each for each in tiers if each.is_intervals]
    if len(chosen) > 1 and all(
        each.segments and {s["label"] for s in each.segments} == {each.name} for each in chosen
    ):
        return sorted((segment for each in chosen for segment in each.segments), key=lambda each: each["start"])
    if len(chosen) > 1:
        names = ", ".join(each.name for each in chosen)
        raise ValueError(f"expected one tier of intervals, found {names}: name one with `tier`")
    return chosen[0].segments if chosen else []


def read_tiers(text: str) -> list[Tier]:
    """All tiers of a TextGrid. Raises `ValueError` as `read_textgrid`."""
    tokens = _Tokens(text)
    kind = [tokens.text(), tokens.text()]
    if not kind[0].startswith("ooTextFile") or kind[1] != "TextGrid":
        raise ValueError(f"expected a TextGrid, found {kind[1][:40]!r}")
    tokens.number(), tokens.number()
    if tokens.flag() != "exists":
        return []
    tiers = []
    for _ in range(tokens.count()):
        is_intervals = {"IntervalTier": True, "TextTier": False}.get(kind := tokens.text())
        if is_intervals is None:
            raise ValueError(f"expected an IntervalTier or a TextTier, found {kind[:40]!r}")
        tier = Tier(tokens.text(), is_intervals)
        tokens.number(), tokens.number()
        for _ in range(tokens.count()):
            start = tokens.number()
            segment = {
                "start": start,
                "end": tokens.number() if is_intervals else start,
                "label": tokens.text().strip(),
            }
            if segment["label"]:
                tier.segments.append(segment)
        tiers.append(tier)
    return tiers


class _Tokens:
    """The row of values in a text file of Praat, one after the other."""

    def __init__(self, text: str):
        self.tokens: Iterator[re.Match] = (match for match in TOKEN.finditer(text) if match.lastgroup)

    def text(self) -> str:
        return self._next("text", "a text in quotes").replace('""', '"')

    def number(self) -> float:
        return float(self._next("number", "a number"))

    def count(self) -> int:
        number = self.number()
        if number < 0 or number != int(number):
            raise ValueError(f"expected a count, found {number:g}")
        return int(number)

    def flag(self) -> str:
        return self._next("flag", "<exists>")

    def _next(self, kind: str, expected: str) -> str:
        token = next(self.tokens, None)
        if token is None:
            raise ValueError(f"ends too early: expected {expected}")
        if token.lastgroup != kind:
            raise ValueError(f"is damaged: expected {expected}, found {token[0][:40]!r}")
        return token[kind]
