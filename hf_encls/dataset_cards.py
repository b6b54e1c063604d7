"""Cards of feature data sets, written from the facts of each configuration (`encls_features.json`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from huggingface_hub import DatasetCard, DatasetCardData

from hf_encls.cards import TEMPLATES, codec_name, feature_text, plain
from hf_encls.data.facts import DatasetFacts

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class Source:
    """Where the audio of a feature data set comes from."""

    name: str
    licence: str = "not stated by the source"
    licence_id: str = "unknown"  # as the Hub spells it: cc-by-nc-4.0, other, unknown
    url: str | None = None
    citation: str | None = None
    hub_id: str | None = None  # the data set's own id on the Hub, where it has one

    @classmethod
    def of(cls, facts: DatasetFacts | None, name: str) -> "Source":
        """From the facts of a known data set, or of a folder that is called `name`."""
        if facts is None:
            return cls(name)
        return cls(facts.title, facts.license_text, facts.license, facts.source, facts.citation)


def dataset_card(repo_id: str, made: Sequence[Mapping], source: Source, data: DatasetCardData) -> DatasetCard:
    """The card of a feature data set. `made` is what each configuration's `encls_features.json` says."""
    configs = [_describe(entry) for entry in made]
    windows = max(entry["num_windows"] for entry in made)
    data.license = source.licence_id
    data.task_categories = ["audio-classification"]
    data.pretty_name = f"Audio features of {source.name}"
    data.size_categories = [next((text for limit, text in SIZES if windows < limit), "n>1M")]
    data.source_datasets = [f"extended|{source.hub_id}"] if source.hub_id else ["original"]
    data.tags = ["audio", "hf_encls", *sorted({entry["config"]["features"] for entry in made})]
    return DatasetCard.from_template(
        data,
        template_path=str(TEMPLATES / "dataset_card.md"),
        name=repo_id.split("/")[-1],
        repo_id=repo_id,
        source=asdict(source),
        configs=configs,
        # Only those of other people: the bundled ones are this project's own.
        codecs=sorted({f"`{id}`" for entry in made if "/" in (id := entry["config"].get("codec_id") or "")}),
    )


def _describe(entry: Mapping) -> dict:
    config = entry["config"]
    codec = entry["codec"] | {"id": config["codec_id"]} if config.get("codec_id") else None
    keys = ("features", "sampling_rate", "codec_id", "codec_revision", "codec_hash", "codebook_hash", "codec_policy")
    keys += ("codec_dtype", "bandwidth") if config.get("codec_hash") else ("num_bands", "n_fft", "hop_length")
    settings = {key: f"`{config[key]}`" for key in keys if config.get(key) is not None}
    settings |= {f"version of {name}": version for name, version in entry["versions"].items()}
    return {
        **entry,
        "config": {key: plain(value) if key.endswith("_s") else value for key, value in config.items()},
        "text": feature_text(config["features"]),
        "shape": " x ".join(map(str, entry["shape"])) + f" {entry['dtype']}",
        "codec": codec_name(codec, entry["source"]).replace("the test clips", "these clips"),
        "num_windows": f"{entry['num_windows']:,}",
        "num_clips": f"{entry['num_clips']:,}",
        "settings": settings,
    }
