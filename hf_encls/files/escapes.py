"""Text inside other formats: a class or a file may be called anything, and stays text wherever its name goes.

Markdown (which may hold HTML), Python and CSV are written in several rooms; the formats that one file alone writes have
their escapes there.
"""

import re
from collections.abc import Sequence

ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;", "$": "&#36;", "@": "&#64;"}
LINKS = re.compile(r"(?i)(?<=www)\.|(?<=http):|(?<=https):|(?<=ftp):")  # Markdown finds these by itself
FORMULA = re.compile(r"'*\s*[=+\-@\uff0b\uff0d\uff1d\uff20]|'*[\t\r\n]")


def one_line(text: object) -> str:
    """The text with line breaks, tabs and characters that steer a terminal as single spaces."""
    visible = "".join(" " if character.isspace() or not _shown(character) else character for character in str(text))
    return " ".join(visible.split())


def _shown(character: str) -> bool:
    return character.isprintable() or character in "\u200c\u200d"  # joiners, which some scripts spell with


def markdown(text: object) -> str:
    """The text as one line of Markdown that shows it: no markup, table, HTML, mathematics or link comes of it."""
    text = re.sub(r"[&<>\\$@]", lambda match: ENTITIES[match[0]], one_line(text))
    text = LINKS.sub(lambda match: f"&#{ord(match[0])};", text)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # inside a word it means nothing
    text = re.sub(r"(?<!&)#(?!\d+;)|[`*\[\]|~]", r"\\\g<0>", text)
    # At the start of a line: headings, lists and rules.
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", re.sub(r"^[-+=!]", r"\\\g<0>", text))


def markdown_code(text: object) -> str:
    """The text as code within a line of Markdown."""
    text = one_line(text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{space}{text or ' '}{space}{fence}"


def markdown_block(text: str) -> str:
    """The text as a block of code, as it is."""
    fence = "`" * max(3, max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{fence}\n{text}\n{fence}"


def python(text: object) -> str:
    """A Python literal of the text, in double quotes where `repr` would choose single ones."""
    literal = repr(str(text))
    return literal if literal[0] == '"' else '"' + literal[1:-1].replace('"', '\\"') + '"'


def csv_cell(text: object) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe goes before what begins like one.

    What looks like that already gets one more, so that taking one away gives the text back.
    """
    text = str(text)
    return f"'{text}" if FORMULA.match(text) else text


def csv_text(cell: str) -> str:
    """The text of a cell that `csv_cell` made; what it would not have changed stays."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell


def csv_row(cells: Sequence[object]) -> str:
    """One row as in RFC 4180, with a line feed at its end, all cells as `csv_cell` makes them.

    Python's own writer leaves a carriage return unquoted where rows end with line feeds.
    """
    texts = map(csv_cell, cells)
    return (
        ",".join('"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text for text in texts) + "\n"
    )
