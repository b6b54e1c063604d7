"""What is known of a codec beside its weights: which one it is, what it has heard, under which licence it comes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hf_encls.files.records import NULL, Record, read_record

TRAINING_FACTS = "codec_training.json"  # written by scripts/pretrain_codec.py beside the weights


@dataclass(kw_only=True)
class CodecFacts(Record):
    """A codec, as its own folder, published features and the results of runs tell of it."""

    id: str  # Hub id, bundled name, or what its folder is called
    revision: str | None = field(default=None, metadata=NULL)
    hash: str | None = field(default=None, metadata=NULL)  # of the encoder's weights
    policy: str | None = field(default=None, metadata=NULL)  # how clips go through it
    dtype: str | None = field(default=None, metadata=NULL)  # in which precision
    bandwidth: float | None = field(default=None, metadata=NULL)  # kbit/s, of codes
    untrained: bool | None = None
    trained_on: list[str] | str | None = None  # names of data sets
    license: str | None = None
    attribution: str | None = None  # that the licence asks for
    heard_test_clips: bool | None = None  # of the run whose results these facts are in

    @classmethod
    def of_folder(cls, folder: Path, name: str) -> Self:
        """What the folder of a codec called `name` tells of its training, little where it tells nothing.

        Raises `RecordError`.
        """
        file = folder / TRAINING_FACTS
        facts = cls.from_dict({"id": name} | (read_record(file) if file.is_file() else {}), file)
        facts.others = {}  # how it was trained
        return facts

    def of_training(self) -> dict:
        """What the training of a codec made of it, whatever it is used for: `untrained`, `trained_on`, and the licence."""
        names = ("untrained", "trained_on", "license", "attribution")
        return {name: value for name in names if (value := getattr(self, name))}
