"""What all pictures share: colours, the names of classes, fonts, and files that appear when they are whole."""

import logging
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hf_encls.files import new_file, write_text
from hf_encls.files.escapes import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

# M. A. Petroff's ten (arXiv:2107.02270), which people with any colour vision tell apart best.
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
HATCHES = ("", "///", "...", "xxx", "---", "ooo", "\\\\\\", "+++", "|||", "OO")
MARKERS = "osv^DPX*<>"
MAX_NAME = 28  # characters of a class name that a picture shows


class Look(NamedTuple):
    """What tells a class from the others: its colour, and from the eleventh on its hatch or mark too."""

    colour: str
    hatch: str
    marker: str


def look(index: int) -> Look:
    """The look of class 0, 1, ...; a hundred are different."""
    turn = index // len(COLOURS) % len(HATCHES)
    return Look(COLOURS[index % len(COLOURS)], HATCHES[turn], MARKERS[turn])


# --------------------------------------------------------------------------------------------------- names


def shorten(name: str, length: int = MAX_NAME) -> str:
    """The name, with its middle left out where it is longer than `length` characters."""
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[: length - 1 - half]}…{name[-half:] if half else ''}"


def drawn(text: object, length: int = MAX_NAME) -> str:
    """Any text as matplotlib shows it: on one line, not too long, and `$` is no mathematics."""
    return shorten(one_line(text), length).replace("$", r"\$")


def class_names(names: Sequence[str], length: int = MAX_NAME) -> list[str]:
    """What pictures call the classes: their names, or `class 3` where no font here has the characters (see `key`)."""
    unknown = key(names)
    stand_ins = {name: stand_in for stand_in, name in unknown.items()}
    return [stand_ins.get(one_line(name)) or drawn(name, length) or "(no name)" for name in names]


def key(names: Sequence[str]) -> dict[str, str]:
    """`class 3` -> the name of class 3, of the classes whose names no font of this machine can draw."""
    return {f"class {number}": one_line(name) for number, name in enumerate(names) if families(one_line(name)) is None}


def key_text(unknown: Mapping[str, str]) -> str:
    """A key as text: `class 0 = ..., class 3 = ...`."""
    return ", ".join(f"{stand_in} = {name}" for stand_in, name in unknown.items())


# --------------------------------------------------------------------------------------------------- fonts


def families(text: str) -> tuple[str, ...] | None:
    """The font families that draw a text together, matplotlib's own first; None where characters have none here."""
    return _families(frozenset(ord(character) for character in text if not character.isspace()))


@lru_cache(maxsize=1024)
def _families(characters: frozenset[int]) -> tuple[str, ...] | None:
    from matplotlib import font_manager

    default = font_manager.findfont("DejaVu Sans")
    missing = characters - _characters(default)
    chosen = ["DejaVu Sans"]
    if missing:
        # The fewest fonts: always the one that has the most of what is left. Names decide between equals.
        regular = (f for f in font_manager.fontManager.ttflist if f.style == "normal" and f.weight in (400, "normal"))
        fonts = {font.name: font.fname for font in sorted(regular, key=lambda font: (font.name, font.fname))}
        while missing:
            best = max(fonts, key=lambda name: len(missing & _characters(fonts[name])), default=None)
            if best is None or not missing & _characters(fonts[best]):
                return None
            missing -= _characters(fonts[best])
            chosen.append(best)
    return tuple(chosen)


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[int]:
    """The code points that a font file draws; none where it cannot be read, or says by boxes what it lacks."""
    from matplotlib.font_manager import get_font

    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(font.get_charmap()) if font.scalable and "Last Resort" not in font.family_name else frozenset()


def _choose_fonts(figure: "Figure") -> None:
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_ticklabels(which="both")  # sets their texts
    for text in figure.findobj(Text):
        chosen = families(one_line(text.get_text()))
        if chosen is not None and len(chosen) > 1:
            text.set_fontfamily(list(chosen))


# --------------------------------------------------------------------------------------------------- files


def new_figure(width: float, height: float) -> "Figure":
    """A figure of inches that no pyplot knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(
    figure: "Figure", path: str | os.PathLike, classes: Iterable[str] = (), dpi: int = 110, tight: bool = False
) -> Path:
    """Write the PNG under a temporary name in its folder, then move it into place.

    Where a picture calls some of `classes` by numbers (`class_names`), the file `PICTURE.classes.txt` beside it says
    which they are.
    """
    path = Path(path)
    _choose_fonts(figure)
    unknown = key(list(classes))
    beside = key_file(path)
    if unknown:
        logger.warning("No font of this machine draws some names, so %s has numbers: %s", path.name, key_text(unknown))
        write_text(key_text(unknown).replace(", class ", "\nclass ") + "\n", beside)
    else:
        beside.unlink(missing_ok=True)
    options = {"bbox_inches": "tight"} if tight else {}
    with warnings.catch_warnings(), new_file(path) as file:
        # Of titles and file names; classes have their key.
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        try:
            figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None}, **options)
        except ValueError as error:  # numbers without measure: more pixels than a picture can have
            raise ValueError(f"{path} cannot be drawn: {error}") from error
    return path


def key_file(picture: Path) -> Path:
    """Where the key to a picture's numbers is, if it needs one."""
    return picture.with_name(f"{picture.stem}.classes.txt")
