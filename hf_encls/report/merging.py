"""What hf_encls writes goes into a page that is there, and what it did not write stays."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from hf_encls.report.front_matter import merged_front, rewritten
from hf_encls.report.pages import Page, Piece, Wrote, ended, own, seal_of, seals_of_front


def merge(
    published: Page,
    ours: Page,
    *,
    overwrite: bool = False,
    always: Collection[str] = (),
    files: Mapping[str, str] | None = None,
) -> tuple[Page, list[str]]:
    """The page that is `published` with `ours` written into it, and what of ours is not in it, in words.

    A part that was changed by hand stays so, and one that was taken out stays out, unless `overwrite`; so do entries of
    the front matter (`merged_front`, for `always` too). Text between the parts stays in any case. Of a page that people
    wrote as a whole only the front matter changes. `files` (path -> seal) are noted as written beside the page.
    """
    wrote, names = published.wrote or Wrote(), [piece.name for piece in ours.pieces]
    front, kept = merged_front(published.front, wrote.head, ours.front, overwrite=overwrite, always=always)
    if not (published.marked or published.blank or overwrite):
        wrote = Wrote(names)  # as if all of it had been taken out by hand
        kept.append("the whole text")
    pieces, edited = _merged_pieces(published, ours, wrote, overwrite)
    kept += [f"the part {name!r}" for name in edited]
    seals = {key: seals for key, seals in seals_of_front(ours.front).items() if key not in always}
    merged = replace(
        published,
        head=rewritten(published.head, front, published.newline),
        front=front,
        pieces=pieces,
        wrote=Wrote(names, seals, dict(files or {})),
        source=None,
    )
    return published if merged == published else merged, kept


def notice(kept: Sequence[str], where: str, todo: str) -> str:
    """What to tell of that which `merge` kept; `todo` is what writes it anew."""
    return f"{where}: changed by hand, and left as it is: {', '.join(kept)}. To have it written anew: {todo}"


def _merged_pieces(published: Page, ours: Page, wrote: Wrote, overwrite: bool) -> tuple[tuple[Piece, ...], list[str]]:
    new = {piece.name: piece for piece in ours.pieces}
    pieces, edited = [], []
    for piece in published.pieces:
        mine = new.get(piece.name)
        if not piece.name:
            pieces.append(piece)
        elif mine and seal_of(mine.text) == seal_of(piece.text):
            pieces.append(replace(piece, seal=mine.seal))
        elif piece.edited and not overwrite:
            pieces.append(piece)
            edited += [piece.name] if mine else []
        elif mine:
            pieces.append(replace(mine, text=ended(mine.text, published.newline)))
        elif own(piece.name):
            pieces.append(piece)
    for place, piece in enumerate(ours.pieces):
        if piece.name not in {each.name for each in pieces} and (overwrite or piece.name not in wrote.parts):
            before = [each.name for each in ours.pieces[:place]]
            _insert(pieces, replace(piece, text=ended(piece.text, published.newline)), before, published.newline)
    if not any(piece.name == "" for piece in pieces):
        if pieces and not pieces[-1].name and not pieces[-1].text.endswith("\n"):
            pieces.append(Piece(published.newline))
        pieces += [Piece(published.newline), Piece("", "")]
    return tuple(pieces), edited


def _insert(pieces: list[Piece], piece: Piece, before: Sequence[str], newline: str) -> None:
    """Behind the last one of `before` that is there, or at the top."""
    places = [index for index, each in enumerate(pieces) if each.name in before]
    place = places[-1] + 1 if places else 0
    pieces[place:place] = [Piece(newline), piece]
