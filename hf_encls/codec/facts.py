"""What is known of a codec beside its weights: which one it is, what it has heard, under which licence it comes.

A licence is that which the codec's own folder or repository states. Where it states none, none is known.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import yaml
from huggingface_hub import hf_hub_download, metadata_load
from huggingface_hub.errors import HfHubHTTPError

from hf_encls.files.checkpoints import HUB_NAME, CheckpointNotFoundError, find_checkpoint
from hf_encls.files.escapes import one_line
from hf_encls.files.records import NULL, Record, read_record

TRAINING_FACTS = "codec_training.json"  # written by scripts/pretrain_codec.py beside the weights
ANCHOR_SHAPE = {"recipe?": ({"anchor_weight?": float, "anchor_bands?": int}, None)}
LONGEST_LICENCE = 100  # letters of its name


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
    anchored_latents: int | None = None  # how many of them were drawn to a log-mel spectrum while it trained
    license: str | None = None
    attribution: str | None = None  # that the licence asks for
    heard_test_clips: bool | None = None  # of the run whose results these facts are in

    @classmethod
    def of_folder(cls, folder: Path, name: str) -> Self:
        """What the folder of a codec called `name` tells of its training, little where it tells nothing.

        Raises `RecordError`.
        """
        file = folder / TRAINING_FACTS
        label = read_record(file, ANCHOR_SHAPE) if file.is_file() else {}
        facts = cls.from_dict({"id": name} | label, file)
        facts.others = {}  # how it was trained
        recipe = label.get("recipe") or {}
        if recipe.get("anchor_weight"):
            facts.anchored_latents = recipe.get("anchor_bands")
        facts.license = facts.license or _stated(folder / "README.md")
        return facts

    def of_training(self) -> dict:
        """What the training of a codec made of it, whatever it is used for: `untrained`, `trained_on`, and the licence."""
        names = ("untrained", "trained_on", "anchored_latents", "license", "attribution")
        return {name: value for name in names if (value := getattr(self, name))}


def with_licence(facts: CodecFacts, revision: str | None = None) -> CodecFacts:
    """The facts of a codec on the Hub with the licence that its card states there, or in the cache.

    None is known where the card states none, and where there is neither network nor a copy. What is known stays.
    """
    if facts.license or facts.untrained or not HUB_NAME.fullmatch(facts.id):
        return facts
    try:  # asked first: a download waits long for a Hub that does not answer
        local = find_checkpoint(facts.id, revision, "a codec", "its licence is unknown")
    except CheckpointNotFoundError:
        local = True
    try:
        card = hf_hub_download(facts.id, "README.md", revision=revision, local_files_only=local)
    except (HfHubHTTPError, OSError):
        return facts
    return replace(facts, license=_stated(Path(card)))


def _stated(card: Path) -> str | None:
    """The licence in the front matter of a card, as the Hub spells it; of `other` the name that it is given."""
    try:
        data = metadata_load(card) if card.is_file() else None
    except (ValueError, OSError, yaml.YAMLError):  # somebody's page, not ours to judge
        return None
    data = data or {}
    licence = data.get("license")
    if licence == "other":
        licence = data.get("license_name") or licence
    licence = ", ".join(map(str, licence)) if isinstance(licence, list) else licence
    return one_line(licence)[:LONGEST_LICENCE] if isinstance(licence, str) and licence not in ("", "unknown") else None
