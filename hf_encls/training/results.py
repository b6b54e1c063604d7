"""What was measured of a run: `results.json`, its keys, its units and its rules."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Self

import numpy as np

from hf_encls.codec.facts import CodecFacts
from hf_encls.data.facts import copy_text
from hf_encls.data.splits import PROTOCOLS, LeakReport
from hf_encls.files import write_json
from hf_encls.files.records import NULL, Record, RecordError, read_record
from hf_encls.model.problem_encls import SEVERAL_LABELS

RESULTS = "results.json"
CLIPS = "clips.json"  # which clips were in which part
CLIPS_SHAPE = {"*": [str]}
LABELS_SHAPE = {"min_overlap": float, "unlabelled": str}
SHOWN = {"accuracy": "accuracy", "macro_f1": "macro F1", "loss": "loss"}
SHOWN_OF_SEVERAL = {
    **{"mean_average_precision": "mAP", "macro_auroc": "macro AUROC", "macro_f1": "macro F1", "micro_f1": "micro F1"},
    "loss": "loss",
}
EPOCH_SHAPE = {"epoch": float, "*": (float, None)}
CLASS_SHAPE = {"class": str, "support": int, "*": (float, None)}


@dataclass(kw_only=True)
class Scores(Record):
    """How well the classes of some windows, or of some clips, were told.

    Over several folds these are means, and each has its standard deviation (of the population) beside it.
    """

    accuracy: float  # of 1; of several labels at once, the share with all of them right
    loss: float  # nats
    macro_f1: float | None = None  # of 1
    ece: float | None = (
        None  # of 1, see `metrics.calibration_error`; this and the loss are of probabilities as trained
    )
    calibrated_loss: float | None = None  # nats, under the temperature
    calibrated_ece: float | None = None  # of 1, under the temperature
    coverage: float | None = None  # of 1: the share that is not answered `unknown`
    # Of several labels at once:
    mean_average_precision: float | None = None  # of 1
    macro_auroc: float | None = None  # of 1
    micro_f1: float | None = None  # of 1

    @classmethod
    def metrics(cls) -> list[str]:
        """The names of what is measured."""
        return [each.name for each in fields(cls) if each.name != "others"]

    def deviation(self, metric: str) -> float | None:
        """The standard deviation of a metric over the folds; None for one run."""
        return self.others.get(f"{metric}_std")

    @classmethod
    def mean(cls, scores: list["Scores"]) -> "Scores":
        """The mean of each metric that all of them have, with its deviation."""
        columns = {metric: [getattr(each, metric) for each in scores] for metric in cls.metrics()}
        columns = {metric: np.array(values) for metric, values in columns.items() if None not in values}
        means = {metric: values.mean().item() for metric, values in columns.items()}
        return cls(**means, others={f"{metric}_std": values.std().item() for metric, values in columns.items()})


@dataclass(frozen=True)
class Unit:
    """What is scored: a key of `PartScores`, and how many there are of it."""

    key: str
    text: str
    count: str


WINDOWS = Unit("window", "windows", "num_windows")
HEARD_WINDOWS = Unit("window_without_silence", "windows without silence", "num_windows_without_silence")
CLIP_UNIT = Unit("clip", "clips", "num_clips")
UNITS = (WINDOWS, HEARD_WINDOWS, CLIP_UNIT)


@dataclass(kw_only=True)
class PartScores(Record):
    """The scores of one part, and the numbers that they stand on."""

    window: Scores
    clip: Scores | None = field(default=None, metadata=NULL)  # None: clips have no class, see `Results.clip_votes`
    num_windows: int | None = None
    num_clips: int | None = None
    window_without_silence: Scores | None = None  # None: it is not known what is silent, or all is
    num_windows_without_silence: int | None = None

    def scored(self) -> Iterator[tuple[Unit, Scores, int | None]]:
        """Each unit that has scores, and how many there are of it; the same thing never twice: where nothing is silent,
        windows without silence are left out.
        """
        for unit in UNITS:
            scores, count = getattr(self, unit.key), getattr(self, unit.count)
            nothing_silent = unit is HEARD_WINDOWS and count is not None and count == self.num_windows
            if scores is not None and not nothing_silent:
                yield unit, scores, count


@dataclass(kw_only=True)
class FoldResults(Record):
    """What the results of all folds say of each."""

    test: PartScores
    leak: LeakReport | None = None
    times_s: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Results(Record):
    """Everything that `results.json` says of a run, or of all folds of one.

    Results of earlier versions have less, those of all folds have no history and only a `test` of means.
    """

    dataset: str  # its name
    dataset_id: str | None = field(default=None, metadata=NULL)  # on the Hub
    clips: int | None = field(default=None, metadata=NULL)
    expected_clips: int | None = field(default=None, metadata=NULL)  # how many the whole of a known data set has
    features: str
    sampling_rate: int | None = None
    window_s: float | None = None
    step_s: float | None = None
    hop_length: int | None = field(default=None, metadata=NULL)  # samples; of mel
    standardization: str | None = None
    head: str | None = None
    parameters: int | None = None  # of the head
    recipe: str | None = None  # how it was trained, as `Recipe.parse` reads it
    protocol: str
    fold: int | None = field(default=None, metadata=NULL)
    seed: int
    classes: list[str]
    problem_type: str | None = None  # transformers' name; None: one label each
    thresholds: list[float] | None = None  # from which probability on each class is there, chosen on validation
    labels: dict | None = field(
        default=None, metadata={"shape": (LABELS_SHAPE, None)}
    )  # in time: how windows got theirs
    clip_votes: bool = True  # False: labels are in time, and only windows have scores
    leak: LeakReport | None = None
    train: PartScores | None = None
    validation: PartScores | None = None
    test: PartScores
    per_class: list[dict] | None = field(default=None, metadata={"shape": ([CLASS_SHAPE], None)})  # of test windows
    confusion_matrix: list[list[int]] | None = None  # of test windows; rows: true class
    epochs: int | None = None
    best_epoch: int | None = field(
        default=None, metadata=NULL
    )  # of the highest validation accuracy (mAP); the paper preset keeps the last one
    history: list[dict] | None = field(default=None, metadata={"shape": ([EPOCH_SHAPE], None)})  # a row for each epoch
    calibration: dict[str, float] | None = None  # temperatures and thresholds, by their names in `EnclsConfig`
    unknown: float | None = None  # the share of known sounds that may be answered `unknown`
    # Of a head that is fitted: `C`, and the loss of the validation clips under the first one. `fit_windows`: to how many
    # windows, where not to all. `refit_windows`: how many windows, those of validation among them, it was fitted to at last;
    # the scores of validation are of before. `cross_validation_...`: of the clips that are not tested, each told by a
    # regression of the other folds, under the `C` of this last fit.
    fit: dict[str, float] | None = None
    processes: int | None = None
    device: str | None = None
    holds_codec: bool = True  # whether the model takes sounds, on the day of training
    times_s: dict[str, float] = field(default_factory=dict)
    codec: CodecFacts | None = field(default=None, metadata=NULL)
    command: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    folds: dict[str, FoldResults] | None = None

    @classmethod
    def from_dict(cls, values: Mapping, where: str | os.PathLike = "the results") -> Self:
        """As of any record; a seed below 0 divides nothing. Raises `RecordError`."""
        results = super().from_dict(values, where)
        if results.seed < 0:
            raise RecordError(f"{where} is damaged: expected seed to be 0 or more, found {results.seed}")
        return results

    @classmethod
    def of(cls, folder: Path) -> "Results":
        """The results of a run, or of the folds of one, as `train` left them in `folder`. Raises `RecordError`."""
        return cls.read(folder / RESULTS)

    def write(self, folder: Path) -> None:
        """Write `results.json` into `folder`."""
        write_json(self.as_dict(), folder / RESULTS)

    def with_origin(self, *, times_s: Mapping[str, float], **origin: object) -> "Results":
        """The same with what `train()` cannot know: the data set, the codec, the command, and seconds of earlier work."""
        times_s = {**times_s, **self.times_s}
        return replace(self, **origin, times_s=times_s | {"total": sum(times_s.values())})

    @property
    def metrics(self) -> dict[str, str]:
        """What tables show of a score, and what people call it; the first one is the one that matters."""
        return SHOWN_OF_SEVERAL if self.problem_type == SEVERAL_LABELS else SHOWN

    @property
    def dataset_text(self) -> str:
        """The data set as it stands beside its scores: a partial copy says so. Older results name it alone."""
        return copy_text(self.dataset, self.clips, self.expected_clips)

    @property
    def protocol_text(self) -> str:
        """The protocol, with the fold where there is one."""
        return self.protocol + (f", fold {self.fold}" if self.fold is not None else "")


def is_results(values: object) -> bool:
    """Whether `train` wrote this JSON object, and no other program that calls its file results.json, too."""
    if not isinstance(values, Mapping) or not {"dataset", "protocol", "seed"} <= values.keys():
        return False
    codec = values.get("codec")
    return values["protocol"] in PROTOCOLS and (codec is None or (isinstance(codec, Mapping) and "id" in codec))


def read_clips(folder: Path) -> dict[str, list[str]]:
    """The ids of the clips of each part of a run in `folder`; nothing where it does not tell. Raises `RecordError`."""
    return read_record(folder / CLIPS, CLIPS_SHAPE) if (folder / CLIPS).is_file() else {}


def over_folds(runs: Mapping[int, Results]) -> Results:
    """Results of all folds as one: mean and standard deviation (of the population) of each test score.

    The first fold's results say what the runs have in common.
    """
    tests = [run.test for run in runs.values()]
    scores = {unit.key: [each for test in tests if (each := getattr(test, unit.key)) is not None] for unit in UNITS}
    of_one_run = (
        "train",
        "validation",
        "per_class",
        "confusion_matrix",
        "thresholds",
        "best_epoch",
        "history",
        "calibration",
        "fit",
        "processes",
        "device",
    )
    leaks = [run.leak for run in runs.values()]
    return replace(
        next(iter(runs.values())),
        **dict.fromkeys(of_one_run),
        fold=None,
        times_s={},
        holds_codec=all(run.holds_codec for run in runs.values()),
        leak=None if None in leaks else LeakReport.total(leaks),
        test=PartScores(**{key: Scores.mean(each) for key, each in scores.items() if each}),
        folds={
            str(fold): FoldResults(test=run.test, leak=run.leak, times_s=run.times_s) for fold, run in runs.items()
        },
    )
