"""Which candidate a division would have taken: chosen by its validation clips, and only then scored on its test clips."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PAPER = "paper"


@dataclass(frozen=True)
class Candidate:
    """One way to learn from an input: the head, how its windows are cut, and how it is trained.

    Args:
        head: as `EnclsConfig.head`.
        window_s: seconds of a window, as asked for.
        floor_db: of log_mel; None: its own, and that of every other input.
        recipe: as for training.
    """

    head: str
    window_s: float = 1.0
    floor_db: float | None = None
    recipe: str = PAPER

    @classmethod
    def of(cls, cell: Mapping) -> "Candidate":
        """That of a cell; what a cell does not say is as it is by default."""
        return cls(**{name: cell[name] for name in cls.__annotations__ if name in cell})

    def differing(self) -> list[str]:
        """The settings beside the head that are not as they are by default, as words."""
        words = [] if self.window_s == 1 else [f"{self.window_s:g} s"]
        words += [] if self.floor_db is None else [f"{self.floor_db:g} dB"]
        return words if self.recipe == PAPER else [*words, self.recipe]

    @property
    def text(self) -> str:
        """For people: `statistics, 5 s, -50 dB, recommended`."""
        return ", ".join([self.head, *self.differing()])

    @property
    def folder(self) -> str:
        """Where cells of these settings lie below their head; empty for the defaults."""
        return "-".join(self.differing()).replace(" ", "").replace(",", "-")


def chosen(cells: Sequence[Mapping]) -> list[Mapping] | None:
    """Of each division (fold and seed) of one input the cell whose validation clips were told best, in the order of `cells`.

    Of equally good ones the one with the lower loss of the validation clips, then the one that comes first. Nothing else is
    looked at. None where a cell does not say how its validation clips were told: earlier versions did not keep it.
    """
    if not all({"validation_accuracy", "validation_loss"} <= cell.keys() for cell in cells):
        return None
    divisions: dict[tuple, list[Mapping]] = {}
    for cell in cells:
        divisions.setdefault((cell["fold"], cell["seed"]), []).append(cell)
    return [min(each, key=_worse) for each in divisions.values()]


def _worse(cell: Mapping) -> tuple[float, float]:
    return -cell["validation_accuracy"], cell["validation_loss"]


def how_often(cells: Sequence[Mapping]) -> list[tuple[str, int]]:
    """What was chosen, and in how many divisions, the commonest first."""
    return Counter(Candidate.of(cell).text for cell in cells).most_common()
