"""The cells of the grid: which runs there are, in which order, with which settings."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path

import yaml

from hf_encls.data.splits import official_folds
from hf_encls.files.records import Record, RecordError, read_record
from hf_encls.model.configuration_encls import EnclsConfig, parse_features
from hf_encls.reproduction.data_sets import DataSet

PRESETS = ("paper", "recommended")
INPUTS = ("mel", "log_mel", "encodec_24khz", "encodec_48khz")
FOLDER = Path(__file__).with_name("presets")
SETTINGS = "arguments.json"  # in a cell's folder
MEL_NAMES = {"mel": "mel (power)", "log_mel": "log-mel (dB)"}


@dataclass(frozen=True)
class Input:
    """One representation: a kind of features, and the codec that makes it."""

    features: str
    codec: str | None = None  # as `codec`
    codec_name: str | None = None  # what tables and pictures call it
    untrained: bool = False

    @property
    def key(self) -> str:
        """A short name that can stand in a path."""
        return self.features if self.codec is None else f"{self.features}-{self.codec_name.replace('/', '--')}"

    @property
    def label(self) -> str:
        """What tables and pictures say; the codec is always named."""
        if self.codec is None:
            return MEL_NAMES[self.features]
        untrained = ", untrained" if self.untrained and "untrained" not in self.codec_name else ""
        _, rate = parse_features(self.features)
        return f"{rate / 1000:g} kHz ({self.codec_name}{untrained})"


@dataclass(frozen=True)
class Preset:
    """How the cells of one preset or variant are trained: options of scripts/train.py."""

    name: str
    protocols: tuple[str, ...]
    inputs: tuple[str, ...]
    options: Mapping[str, object]
    variant: str | None = None


@dataclass(frozen=True)
class Cell:
    """One run: data set x input x protocol (and fold) x preset x seed."""

    dataset: DataSet
    input: Input
    preset: Preset
    protocol: str
    fold: int | None
    seed: int

    @property
    def id(self) -> str:
        """The cell's name and its folder below `cells/`."""
        fold = "" if self.fold is None else f"-fold{self.fold}"
        return f"{self.dataset.key}/{self.preset.name}/{self.protocol}{fold}/{self.input.key}/seed{self.seed}"

    @property
    def place(self) -> dict[str, str | int | None]:
        """Where it stands in the grid, as rows of the report say it."""
        place = {"dataset": self.dataset.key, "input": self.input.key, "preset": self.preset.name}
        return place | {"protocol": self.protocol, "fold": self.fold, "seed": self.seed}

    @property
    def title(self) -> str:
        """The cell for a person."""
        fold = "" if self.fold is None else f" fold {self.fold}"
        return (
            f"{self.dataset.label} | {self.preset.name} | protocol {self.protocol}{fold} | {self.input.label} | "
            f"seed {self.seed}"
        )

    @property
    def settings(self) -> "CellSettings":
        """What the cell is trained with."""
        options = dict(self.preset.options)
        if self.input.codec is not None:
            options.pop("hop_length", None)  # of mel
        return CellSettings(
            data_dir=str(Path(self.dataset.data_dir).resolve()),
            data_name=self.dataset.data_name,
            features=self.input.features,
            codec=self.input.codec,
            protocol=self.protocol,
            fold=self.fold,
            seed=self.seed,
            options=options,
        )

    def network(self) -> EnclsConfig:
        """The configuration of the network, for counting; a codec's weights play no part in it."""
        _, rate = parse_features(self.input.features)
        names = ("window_s", "step_s", "hop_length")
        options = {name: self.preset.options[name] for name in names if name in self.preset.options}
        options |= {"sampling_rate": rate or self.dataset.sampling_rate, "num_labels": len(self.dataset.classes)}
        return EnclsConfig(features=self.input.features, **options)


OPTIONS_SHAPE = {"hop_length?": (int, None), "*": (str, float, bool, None)}


@dataclass(kw_only=True)
class CellSettings(Record):
    """What a cell is trained with, as its folder keeps it: a finished one counts for these settings alone."""

    data_dir: str  # its full path
    data_name: str | None = None
    features: str
    codec: str | None = None
    protocol: str
    fold: int | None = None
    seed: int
    options: dict = field(
        default_factory=dict, metadata={"shape": OPTIONS_SHAPE}
    )  # of the preset, by the names that scripts/train.py has for them

    @classmethod
    def read(cls, path: str | os.PathLike) -> "CellSettings":
        """The settings in a file, of version 0.1 too, which kept a command line. Raises `RecordError`."""
        values = read_record(path)
        try:
            return cls.from_dict(_without_dashes(values) if "--features" in values else values, path)
        except (ValueError, yaml.YAMLError, AttributeError) as error:
            if isinstance(error, RecordError):
                raise
            raise RecordError(f"{path} is damaged: {' '.join(str(error).split())}") from error

    def flat(self) -> dict[str, object]:
        """Every setting that is not None, by the name of its option."""
        values = self.as_dict()
        return values | values.pop("options")

    def options_of_train(self) -> list[str]:
        """The options of scripts/train.py that train the same."""
        return [text for name, value in self.flat().items() for text in (f"--{name}", str(value))]


def _without_dashes(arguments: Mapping[str, str]) -> dict[str, object]:
    values = {name.removeprefix("--"): text for name, text in arguments.items() if name != "--report_to"}
    texts = {each.name for each in fields(CellSettings) if each.name not in ("fold", "seed")}
    known = {name: values.pop(name) for name in texts & values.keys()}
    typed = {name: yaml.safe_load(text) for name, text in values.items()}
    if parse_features(known["features"])[0].needs_codec:
        typed.pop("hop_length", None)  # it said nothing about a codec's features
    numbers = {name: typed.pop(name) for name in ("fold", "seed") if name in typed}
    return known | numbers | {"data_dir": str(Path(known["data_dir"]).resolve()), "options": typed}


def read_preset(name: str, changes: Mapping[str, object]) -> Preset:
    """The preset `paper` or `recommended`, with `changes` to its options (None leaves one as it is)."""
    values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    options = values["options"] | {key: value for key, value in changes.items() if value is not None}
    return Preset(name, tuple(values["protocols"]), tuple(values["inputs"]), options)


def read_variants(names: Sequence[str], paper: Preset) -> list[Preset]:
    """The preset `paper` with one thing changed: one for each name of variants.yaml.

    Raises `ValueError` for a name that is not there.
    """
    known = yaml.safe_load((FOLDER / "variants.yaml").read_text(encoding="utf-8"))
    names = list(known) if list(names) == ["all"] else [] if list(names) == ["none"] else names
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"expected `variants` to be all, none, or among {', '.join(known)}; found {unknown[0]!r}")
    variants = []
    for name in names:
        options = paper.options | known[name]["options"]
        if options != paper.options:  # with a hop_length of 256 the variant hop_256 is the preset itself
            variants.append(Preset(f"paper+{name}", paper.protocols, tuple(known[name]["inputs"]), options, name))
    return variants


def plan(
    datasets: Sequence[DataSet],
    inputs: Sequence[Input],
    presets: Sequence[Preset],
    seeds: Sequence[int],
    protocols: Sequence[str] | None = None,
) -> list[Cell]:
    """The cells in the order in which they run: the first seed of the presets as they are named, then variants of the
    first seed, then the other seeds.

    `protocols` (`clip`, or `recommended/clip` for one preset) leaves out what is not in it. A data set without an
    official division has no cells of that protocol.
    """
    cells = []
    for seed, preset in product(seeds, presets):
        if preset.variant and seed != seeds[0]:
            continue
        for protocol, dataset in product(preset.protocols, datasets):
            if protocols is not None and not {protocol, f"{preset.name}/{protocol}"} & set(protocols):
                continue
            cells += [
                Cell(dataset, entry, preset, protocol, fold, seed)
                for fold, kind, entry in product(folds(dataset, protocol), preset.inputs, inputs)
                if entry.features == kind
            ]
    return cells


def not_run(cells: Sequence[Cell], datasets: Sequence[DataSet], presets: Sequence[Preset]) -> list[str]:
    """What of the whole grid has no cell among `cells`: presets, protocols and variants, by name.

    `presets` are those of the run, with the options that the user changed.
    """
    run = {(cell.preset.name, cell.protocol) for cell in cells}
    names = []
    for preset in (read_preset(name, {}) for name in PRESETS):
        left_out = [protocol for protocol in preset.protocols if (preset.name, protocol) not in run]
        if len(left_out) == len(preset.protocols):
            names.append(f"preset {preset.name}")
            continue
        for protocol in left_out:
            divided = any(folds(dataset, protocol) for dataset in datasets)
            names.append(f"{preset.name}/{protocol}" + ("" if divided else " (no official division)"))
    paper = next((preset for preset in presets if preset.name == "paper"), read_preset("paper", {}))
    ran = {cell.preset.variant for cell in cells}
    left_out = [variant.variant for variant in read_variants(["all"], paper) if variant.variant not in ran]
    return names + ([f"variants {', '.join(left_out)}"] if left_out else [])


def folds(dataset: DataSet, protocol: str) -> list[int | None]:
    """The folds that a protocol is run with; none where the data set has no official division."""
    if protocol != "official":
        return [None]
    try:
        return official_folds({"fold": dataset.folds})
    except ValueError:
        return []
