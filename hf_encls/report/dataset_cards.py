"""Cards of feature data sets, written from the facts of each configuration (`encls_features.json`)."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from huggingface_hub import DatasetCard, DatasetCardData

from hf_encls.codec.facts import CodecFacts
from hf_encls.codec.loading import UNTRAINED, bundled_codecs
from hf_encls.data.facts import DatasetFacts, copy_text
from hf_encls.files.escapes import markdown, markdown_block, markdown_code, python
from hf_encls.report.cards import TEMPLATES, codec_name, feature_text, plain

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class DataSource:
    """Where the audio of a feature data set comes from."""

    name: str
    licence: str = "not stated by the source"
    licence_id: str = "unknown"  # as the Hub spells it: cc-by-nc-4.0, other, unknown
    url: str | None = None
    citation: str | None = None
    hub_id: str | None = None  # the data set's own id on the Hub, where it has one
    expected_clips: int | None = None  # how many the whole of a known data set has
    labels: dict | None = None  # the rule by which windows got their labels from labels in time

    @classmethod
    def of(cls, facts: DatasetFacts | None, name: str) -> "DataSource":
        """From the facts of a known data set, or of a folder that is called `name`."""
        if facts is None:
            return cls(name)
        description = (facts.title, facts.licence, facts.licence_id, facts.source, facts.citation)
        return cls(*description, expected_clips=facts.num_clips)

    @classmethod
    def of_facts(cls, entry: Mapping) -> "DataSource":
        """From what a configuration's `encls_features.json` says; older ones say the name alone."""
        return cls(**entry.get("about_source") or {"name": entry["source"]})

    def completed(self, source: "DataSource") -> "DataSource":
        """With what `source` says and this leaves open, where both are of the same name."""
        if source.name != self.name:
            return self
        open_fields = [item.name for item in fields(self) if getattr(self, item.name) == item.default]
        if self.licence != DataSource.licence or self.licence_id != DataSource.licence_id:
            open_fields = [name for name in open_fields if not name.startswith("licence")]  # they belong together
        return replace(self, **{name: getattr(source, name) for name in open_fields})


def dataset_card(repo_id: str, entries: Sequence[Mapping], data: DatasetCardData) -> DatasetCard:
    """The card of a feature data set. `entries` is what each configuration's `encls_features.json` says.

    Configurations of several sources stand side by side, each with its licence and its citation.
    """
    configs = [_describe(entry) for entry in entries]
    windows = max(entry["num_windows"] for entry in entries)
    sources = _by_source(entries)
    licences = sorted({source["licence_id"] for source in sources})
    data.license = licences[0] if len(licences) == 1 else licences
    data.task_categories = ["audio-classification"]
    names = list(dict.fromkeys(copied_text(entry) for entry in entries))
    data.pretty_name = f"Audio features of {', '.join(names)}"
    data.size_categories = [next((text for limit, text in SIZES if windows < limit), "n>1M")]
    extended = [f"extended|{source['hub_id']}" if source["hub_id"] else "original" for source in sources]
    data.source_datasets = list(dict.fromkeys(extended))
    data.tags = ["audio", "hf_encls", *sorted({entry["config"]["features"] for entry in entries})]
    return DatasetCard.from_template(
        data,
        template_path=str(TEMPLATES / "dataset_card.md"),
        text=markdown,
        code=markdown_code,
        block=markdown_block,
        python=python,
        name=repo_id.split("/")[-1],
        repo_id=repo_id,
        sources=sources,
        source_names=markdown(", ".join(names)),
        command=shlex.join(
            [
                "accelerate",
                "launch",
                "scripts/train.py",
                "--dataset",
                repo_id,
                "--dataset_config",
                configs[0]["config_name"],
            ]
        ),
        citations=list(dict.fromkeys(source["citation"] for source in sources if source["citation"])),
        configs=configs,
        codecs=sorted(set(filter(None, map(_codec_licence, entries)))),
    )


def _codec_licence(entry: Mapping) -> str | None:
    """The codec of a configuration with its licence, where it is other people's: the bundled ones are this project's own."""
    name, facts = entry["config"].get("codec_id"), entry.get("codec") or {}
    if not name or name in (UNTRAINED, *bundled_codecs()) or facts.get("untrained"):
        return None
    return f"{markdown_code(name)}: {markdown(facts.get('license') or 'unknown here')}"


def copied_text(entry: Mapping) -> str:
    """The source of a configuration as a card names it: a partial copy says so."""
    return copy_text(entry["source"], entry["num_clips"], DataSource.of_facts(entry).expected_clips)


def _by_source(entries: Sequence[Mapping]) -> list[dict]:
    """Every source once, with the names of the configurations made of it."""
    names_of: dict[DataSource, list[str]] = {}
    for entry in entries:
        # Neither how many clips there should be nor how windows got their labels makes it another source.
        source = replace(DataSource.of_facts(entry), expected_clips=None, labels=None)
        names_of.setdefault(source, []).append(entry["config_name"])
    return [asdict(source) | {"configs": names} for source, names in names_of.items()]


def _describe(entry: Mapping) -> dict:
    config = entry["config"]
    codec = CodecFacts.from_dict(entry["codec"] | {"id": config["codec_id"]}) if config.get("codec_id") else None
    keys = ("features", "sampling_rate", "codec_id", "codec_revision", "codec_hash", "codebook_hash", "codec_policy")
    keys += (
        ("codec_dtype", "bandwidth") if config.get("codec_hash") else ("num_bands", "n_fft", "hop_length", "floor_db")
    )
    settings = {key: markdown_code(config[key]) for key in keys if config.get(key) is not None}
    settings |= {f"version of {name}": version for name, version in entry["versions"].items()}
    return {
        **entry,
        "config": {key: plain(value) if key.endswith("_s") else value for key, value in config.items()},
        "text": feature_text(config),
        "shape": " x ".join(map(str, entry["shape"])) + f" {entry['dtype']}",
        "codec": codec_name(codec, entry["source"]).replace("the test clips", "these clips"),
        "num_windows": f"{entry['num_windows']:,}",
        "num_clips": f"{entry['num_clips']:,}",
        "settings": settings,
    }
