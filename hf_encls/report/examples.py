"""Example sounds of a model: those that its author published with it, as a file beside the card lists them."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from hf_encls.files.records import Record, RecordError

EXAMPLES, LISTING = "examples", "examples/examples.json"
FILE = re.compile(r"examples/[A-Za-z0-9_-]+\.(wav|png|json)")  # nothing else of a folder is published or served


@dataclass(kw_only=True)
class Example(Record):
    """A sound that may be published: its file below the model's folder, what it is called, what the model answers."""

    file: str
    title: str
    answers: list[dict] = field(default_factory=list, metadata={"shape": [{"label": str, "score": float}]})


@dataclass(kw_only=True)
class Examples(Record):
    """All of them, under which licence they are, and the picture of what is heard when."""

    license: str
    sounds: list[Example]
    picture: str | None = None

    def __post_init__(self):
        for name in (each for each in self.files if not FILE.fullmatch(each)):
            raise RecordError(f"{LISTING} is damaged: expected files in {EXAMPLES}/, found {name!r:.80}")

    @property
    def files(self) -> list[str]:
        """What is published of the folder `examples`: paths below the model's folder."""
        return [LISTING, *(each.file for each in self.sounds), *([self.picture] if self.picture else [])]

    def widget(self) -> list[dict]:
        """What the Hub's page of a model offers to try, and answers where it cannot run the model itself."""
        return [{"src": each.file, "example_title": each.title, "output": each.answers} for each in self.sounds]


def examples_of(folder: Path) -> Examples | None:
    """The examples in a model's folder, None without any. Raises `RecordError` for a damaged listing."""
    return Examples.read(folder / LISTING) if (folder / LISTING).is_file() else None
