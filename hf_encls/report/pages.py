"""Pages (README.md) that hf_encls and people write together: what is whose, as it stands in the file.

What hf_encls writes of a page lies between marks, each with the seal of its text, so that a change by hand is seen:

    <!-- hf_encls begin scores 0123456789ab -->
    ## Scores
    ...
    <!-- hf_encls end scores -->

A last line, `<!-- hf_encls wrote {...} -->`, tells which parts and which entries of the front matter it wrote: what of
these is not there any more was taken out by hand. All other text is people's own.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import yaml

BEGIN = re.compile(r"<!-- hf_encls begin ([\w-]+) ([0-9a-f]{12}) -->\s*")
END = re.compile(r"<!-- hf_encls end ([\w-]+) -->\s*")
WROTE = re.compile(r"<!-- hf_encls wrote (\{.*\}).*-->\s*")
HINT = "What you change between the marks, or write elsewhere on this page, is kept."
# The Hub's own rule (huggingface_hub.repocard), and front matter with nothing in it.
FRONT = re.compile(r"\s*---(?:\r\n|\r|\n)(?:([\S\s]*?)(?:\r\n|\r|\n))??---[ \t]*(?:\r\n|\n|$)")
TAG = "hf_encls"  # in the front matter of every card that this package writes
UNKNOWN = "0" * 12  # the seal of a part whose text cannot be what was written


@dataclass(frozen=True)
class Piece:
    """A piece of a page's text: a part that hf_encls wrote, with its name, or people's own text (None)."""

    text: str
    name: str | None = None  # "": the place of the last line
    seal: str | None = None  # of the text as it was written

    @property
    def edited(self) -> bool:
        """Whether a part was changed after it was written."""
        return bool(self.name) and self.seal != seal_of(self.text)


@dataclass(frozen=True)
class Wrote:
    """What hf_encls wrote of a page: names of parts, seals of the front matter's entries, files beside the page."""

    parts: Sequence[str] = ()
    head: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # beside the page: path -> seal

    @classmethod
    def read(cls, text: str) -> "Wrote":
        """From the last line's JSON; what is not as it was written counts as nothing."""
        try:
            values = json.loads(text)
            return cls(
                [str(name) for name in values.get("parts", ())],
                {str(key): [str(seal) for seal in seals] for key, seals in dict(values.get("head", {})).items()},
                {str(name): str(seal) for name, seal in dict(values.get("files", {})).items()},
            )
        except (ValueError, TypeError, RecursionError):
            return cls()

    def __str__(self) -> str:
        values = {"parts": list(self.parts), "head": dict(self.head)} | (
            {"files": dict(self.files)} if self.files else {}
        )
        return json.dumps(values).replace(">", r"\u003e")


@dataclass(frozen=True)
class Page:
    """A page, taken apart. `str` puts it together again."""

    head: str = ""  # the front matter as it is written
    front: Mapping = field(default_factory=dict)  # and what it says
    pieces: tuple[Piece, ...] = ()
    wrote: Wrote | None = None
    newline: str = "\n"
    source: str | None = field(default=None, compare=False, repr=False)  # as it was read, where nothing has changed

    @property
    def marked(self) -> bool:
        """Whether there are marks of hf_encls in the text."""
        return self.wrote is not None or any(piece.name for piece in self.pieces)

    @property
    def ours(self) -> bool:
        """Whether hf_encls has written this page: by marks in its text, or by the tag that all its cards have had."""
        tags = self.front.get("tags")
        return self.marked or tags == TAG or (isinstance(tags, list) and TAG in tags)

    @property
    def blank(self) -> bool:
        """Whether there is no text, front matter aside."""
        return not any(piece.text.strip() or piece.name for piece in self.pieces)

    def __str__(self) -> str:
        if self.source is not None:
            return self.source
        end = self.newline
        text = f"---{end}{self.head.rstrip()}{end}---{end}" if self.head.strip() else ""
        for piece in self.pieces:
            if piece.name == "":
                text += f"<!-- hf_encls wrote {self.wrote or Wrote()} {HINT} -->{end}"
            elif piece.name:
                text += f"<!-- hf_encls begin {piece.name} {piece.seal} -->{end}{piece.text}"
                text += f"<!-- hf_encls end {piece.name} -->{end}"
            else:
                text += piece.text
        return text


def read_page(content: bytes | str, where: str) -> Page:
    """Take a page apart. Raises `ValueError`, which names `where` it is, for a page that cannot be merged."""
    try:
        source = content.decode("utf-8") if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        raise ValueError(f"expected {where} to be text in UTF-8, found byte {error.start} that is not") from error
    text = source.removeprefix("\ufeff")
    match = FRONT.match(text)
    head = (match[1] or "") if match else ""
    front = _front(head, where)
    pieces, wrote = _pieces(text[match.end() :] if match else text)
    newline = "\r\n" if text.count("\r\n") > text.count("\n") / 2 else "\n"
    return Page(head, front, pieces, wrote, newline, source)


def generated(text: str) -> Page:
    """The page of a card that was just made: each of its sections is a part of its own."""
    page = read_page(text, "the card")
    parts = [Piece(part, name, seal_of(part)) for name, part in _sections(text_of(page)) if part.strip()]
    return replace(page, pieces=tuple(parts), source=None)


def adopted(page: Page, candidates: Sequence[Page]) -> Page:
    """A page of version 0.1, which set no marks, with the marks that this version would have set.

    `candidates` are the pages as they may have been made, from the facts that lie beside it. A section that is exactly so
    is a part as it was written; one with the same heading only was changed by hand. What was taken out by hand cannot be
    told from what that version did not write. A page without any such section was written by hand as a whole, and stays.
    """
    seals = {(piece.name, piece.seal) for candidate in candidates for piece in candidate.pieces}
    names = {name for name, _ in seals}
    sections = [(name, text, (name, seal_of(text)) in seals) for name, text in _sections(text_of(page))]
    if page.marked or not any(same for *_, same in sections):
        return page
    pieces = [Piece(page.newline)]
    for name, text, same in sections:
        if name in names:
            pieces += [Piece(ended(text, page.newline), name, seal_of(text) if same else UNKNOWN), Piece(page.newline)]
        elif text.strip():
            pieces += [Piece(ended(text, page.newline)), Piece(page.newline)]
    made_head = [
        (key, seal)
        for candidate in candidates
        for key, seals in seals_of_front(candidate.front).items()
        for seal in seals
    ]
    seals_there = seals_of_front(page.front)
    head = {key: [seal for seal in seals if (key, seal) in made_head] for key, seals in seals_there.items()}
    wrote = Wrote([piece.name for piece in pieces if piece.name], {key: seals for key, seals in head.items() if seals})
    return replace(page, pieces=(*pieces, Piece("", "")), wrote=wrote, source=None)


def as_sent(page: Page) -> Page:
    """The page of a folder as it goes to a repository: all of its text is parts, people's own as `text-after-PART`."""
    pieces, last = [], "top"
    for piece in page.pieces:
        if piece.name is None and piece.text.strip():
            name = f"text-after-{last}"
            name += "-too" * any(each.name == name for each in page.pieces)
            pieces.append(Piece(ended(piece.text, "\n"), name, seal_of(piece.text)))
        elif piece.name:
            pieces.append(Piece(piece.text, piece.name, seal_of(piece.text)))
            last = last if own(piece.name) else piece.name
    return replace(page, pieces=tuple(pieces), source=None)


def own(name: str) -> bool:
    """Whether a part is text of people, sent from a folder."""
    return name.startswith("text-after-")


def ended(text: str, newline: str) -> str:
    """A text whose lines end as the page's do, the last one too."""
    return re.sub(r"\r\n|\r|\n", newline, text.strip("\r\n")) + newline


def text_of(page: Page) -> str:
    """All text of a page, without marks and front matter."""
    return "".join(piece.text for piece in page.pieces)


def seal_of(value: object) -> str:
    """Twelve digits that tell a text, or an entry of front matter, from another; line ends and margins aside."""
    if isinstance(value, str):
        value = "\n".join(line.rstrip() for line in value.strip().splitlines())
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def seals_of_front(front: Mapping) -> dict[str, list[str]]:
    """The seals of all entries of a front matter, by key."""
    return {key: [seal_of(entry) for entry in entries(key, value)] for key, value in front.items()}


def entries(key: str, value: object) -> list:
    """A value as a list of entries: the items of a list, one value alone, each metric of a model index."""
    if key == "model-index":
        try:
            return [
                {**result, "metrics": metric}
                for model in value or ()
                for result in model["results"]
                for metric in result["metrics"]
            ]
        except (TypeError, KeyError):
            return [value]
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _front(head: str, where: str) -> dict:
    try:
        front = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 2}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(
            f"expected YAML between the two --- at the top of {where}, found a mistake{line} ({problem}): mend it, nothing "
            "was changed"
        ) from error
    if front is not None and not isinstance(front, dict):
        raise ValueError(
            f"expected `key: value` lines between the two --- at the top of {where}, found "
            f"{type(front).__name__}: mend it, nothing was changed"
        )
    return front or {}


def _pieces(body: str) -> tuple[tuple[Piece, ...], Wrote | None]:
    """A mark that has lost its partner is left out: what follows it is people's own text."""
    lines = body.splitlines(keepends=True)
    pieces: list[Piece] = []
    own_text, wrote, index = "", None, 0
    while index < len(lines):
        begin, seal_line = BEGIN.fullmatch(lines[index]), WROTE.fullmatch(lines[index])
        known = {piece.name for piece in pieces}
        end = _end(lines, index, begin[1]) if begin and begin[1] not in known else None
        if end is not None or (seal_line and wrote is None):
            pieces += [Piece(own_text)] if own_text else []
            own_text = ""
        if end is not None:
            pieces.append(Piece("".join(lines[index + 1 : end]), begin[1], begin[2]))
            index = end
        elif seal_line and wrote is None:
            wrote = Wrote.read(seal_line[1])
            pieces.append(Piece("", ""))
        elif not (begin or seal_line or END.fullmatch(lines[index])):
            own_text += lines[index]
        index += 1
    return (*pieces, *([Piece(own_text)] if own_text else [])), wrote


def _end(lines: Sequence[str], begin: int, name: str) -> int | None:
    for index in range(begin + 1, len(lines)):
        end = END.fullmatch(lines[index])
        if end or BEGIN.fullmatch(lines[index]) or WROTE.fullmatch(lines[index]):
            return index if end and end[1] == name else None
    return None


def _sections(body: str) -> Iterator[tuple[str, str]]:
    """(name, text) of what stands before the first heading, and below each one of the first two levels."""
    name, text, fenced, seen = "top", "", False, set()
    for line in body.splitlines(keepends=True):
        heading = re.match(r"(##?) +(.*)", line)
        if line.startswith("```"):
            fenced = not fenced
        elif heading and not fenced:
            yield name, text.strip() + "\n"
            slug = re.sub(r"[\W_]+", "-", heading[2].lower()).strip("-") or "part"
            name, text = "title" if heading[1] == "#" else slug, ""
            name += "" if name not in seen else f"-{len(seen)}"
            seen.add(name)
        text += line
    yield name, text.strip() + "\n"
