"""The card of a folder, and the small files that are written beside it: what people made of them stays."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_encls.files import write_text
from hf_encls.report.merging import merge, notice
from hf_encls.report.pages import Page, adopted, generated, read_page, seal_of

logger = logging.getLogger(__name__)

CARD = "README.md"


def read_card(folder: Path) -> Page:
    """The card of a folder, an empty one where there is none. Raises `ValueError` where it cannot be merged."""
    file = folder / CARD
    return read_page(file.read_bytes(), str(file)) if file.is_file() else Page()


def check_card(folder: Path) -> Page:
    """The card of a folder, where one can be written there. Raises `ValueError` where it can not be merged or has a text
    of which hf_encls has written nothing.
    """
    page = read_card(folder)
    if not (page.ours or page.blank):
        raise ValueError(
            f"expected no {CARD} in {folder}, or one that hf_encls wrote, found somebody's own: name another folder, or "
            "move it away; write_model_card(FOLDER, overwrite=True) puts a card in front of its text"
        )
    return page


def write_card(
    folder: Path,
    card: str,
    beside: Mapping[str, str],
    earlier: Sequence[tuple[str, Mapping[str, str]]] = (),
    overwrite: bool = False,
) -> Path:
    """Write a generated card, and `beside` (path below the folder -> text), into a folder.

    Files of an earlier call that are not written any more go. What was changed by hand stays, unless `overwrite`, and a
    warning says so. `earlier` are cards, each with what went beside it, as version 0.1 may have written them.
    Raises `ValueError` as `check_card` does, unless `overwrite`.
    """
    earlier_page = read_card(folder) if overwrite else check_card(folder)
    written = {} if earlier_page.wrote is None else {name: {seal} for name, seal in earlier_page.wrote.files.items()}
    for _, files in earlier if earlier_page.wrote is None else ():
        for name, text in files.items():
            written.setdefault(name, set()).add(seal_of(text))
    earlier_page = adopted(earlier_page, [generated(text) for text, _ in earlier])
    seals = {name: seal_of(text) for name, text in beside.items()}
    page, kept = merge(earlier_page, generated(card), overwrite=overwrite, files=seals)
    for name, text in beside.items():
        if overwrite or _seal(folder / name) in {None, seals[name], *written.get(name, ())}:
            write_text(text, folder / name)
        else:
            kept.append(name)
    for name, known in written.items():
        if name not in beside and _seal(folder / name) in known:
            (folder / name).unlink()
    write_text(str(page), folder / CARD)
    if kept:
        logger.warning(notice(kept, str(folder / CARD), f"write_model_card({str(folder)!r}, overwrite=True)"))
    return folder / CARD


def _seal(file: Path) -> str | None:
    """The seal of a text file, None where there is none."""
    return seal_of(file.read_bytes().decode("utf-8", "replace")) if file.is_file() else None
