"""Accuracy with a few clips of each class: draws of training clips, the same test clips for all of them.

The protocol's test part stays whole. Of its training part each draw puts the clips of every class in an order; the first
n of them train. So the clips of a small count are among those of a larger one, and all inputs and heads get the same. No
epoch is chosen: with a few clips there would be none to choose it by. The one number that the head `statistics` chooses is
chosen on the protocol's validation clips, which is more than it would know in earnest; it is not fitted to them, whatever
the recipe says.
"""

import copy
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, Value
from transformers import PreTrainedModel

from hf_encls.data.columns import require_one_label
from hf_encls.data.splits import TEST, TRAIN, VALIDATION, make_splits
from hf_encls.features.extraction import checked_config
from hf_encls.files.escapes import markdown
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.report.canvas import COLOURS, drawn, new_figure, save_figure
from hf_encls.report.tables import markdown_table
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.run import train

LEAST_STEPS = 300  # of the optimizer: an epoch of ten clips is one
RESAMPLES = 10_000


@dataclass(frozen=True)
class Kind:
    """One line of the curve: windows of an input, and the head that learns from them."""

    name: str
    windows: Dataset
    config: EnclsConfig
    codec: PreTrainedModel | None = None  # for codes

    @classmethod
    def of(cls, name: str, windows: Dataset, config: EnclsConfig, head: str, codec=None) -> "Kind":
        """An input, called `name`, with the head of that name and its own settings."""
        settings = {key: value for key, value in config.to_dict().items() if key not in config.head_class.options}
        config = checked_config(**settings | {"head": head})
        return cls(f"{name}, {head}", windows, config, codec if config.representation.integers else None)


@dataclass(frozen=True)
class ClipPool:
    """Which clips may train, class by class, and the part of every clip."""

    clips: dict[int, list[str]]
    parts: dict[str, int]  # values of the `fold` column: fixed lists

    @classmethod
    def of(cls, windows: Dataset, protocol: str, fold: int | None, seed: int) -> "ClipPool":
        """That of a protocol without leaks. Raises `ValueError` where it cannot be kept."""
        require_one_label(windows, "few examples")
        splits = make_splits(windows, protocol, seed=seed, fold=fold)
        ids, labels = np.asarray(windows["clip_id"][:]), np.asarray(windows["label"][:])
        values = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
        parts = {clip: values[part] for part, rows in splits.items() for clip in ids[rows].tolist()}
        label_of = dict(zip(ids[splits["train"]].tolist(), labels[splits["train"]].tolist()))
        clips: dict[int, list[str]] = {}
        for clip in sorted(label_of):
            clips.setdefault(label_of[clip], []).append(clip)
        return cls(clips, parts)

    @property
    def most(self) -> int:
        """Clips of the smallest class."""
        return min(map(len, self.clips.values()))

    def drawn(self, count: int, draw: int, seed: int) -> set[str]:
        """`count` training clips of each class."""
        random = np.random.default_rng([seed, draw])
        orders = [random.permutation(self.clips[label]) for label in sorted(self.clips)]
        return {clip for order in orders for clip in order[:count].tolist()}

    def only(self, windows: Dataset, chosen: set[str]) -> Dataset:
        """The windows as a data set of fixed lists in which `chosen` trains, and the other training clips are left out."""
        part = {clip: 0 if value == TRAIN and clip not in chosen else value for clip, value in self.parts.items()}
        folds = [part.get(clip, 0) for clip in windows["clip_id"][:]]
        return windows.remove_columns("fold").add_column("fold", folds).cast_column("fold", Value("int32"))


def score(kind: Kind, pool: ClipPool, chosen: set[str], recipe: str, seed: int) -> dict[str, float]:
    """Accuracy and macro F1 of test clips, after training on `chosen` alone; and the seconds that it took."""
    windows = pool.only(kind.windows, chosen)
    count = sum(clip in chosen for clip in windows["clip_id"][:])
    with tempfile.TemporaryDirectory() as folder:
        args = EnclsTrainingArguments(
            folder,
            recipe=f"{recipe},refit=false",  # the validation part has more than a few clips
            seed=seed,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            report_to="none",
            disable_tqdm=True,
        )
        args.max_steps = max(LEAST_STEPS, math.ceil(args.num_train_epochs * math.ceil(count / args.train_batch_size)))
        run = train(windows, copy.copy(kind.config), protocol="official", codec=kind.codec, args=args)
    scores = run.results.test.clip
    return {"accuracy": scores.accuracy, "macro_f1": scores.macro_f1, "seconds": run.results.times_s["training"]}


def measure(
    kinds: Sequence[Kind],
    pool: ClipPool,
    plan: dict,
    rows: list[dict],
    keep: Callable[[list[dict]], object],
) -> list[dict]:
    """A row for each kind, number of clips and draw; those in `rows` are there already.

    `plan` holds `clips` (numbers of clips), `draws`, `recipe` and `seed`. `keep` is called with all rows after each.
    """
    rows = list(rows)
    known = {(row["kind"], row["clips"], row["draw"]) for row in rows}
    for draw in range(plan["draws"]):  # all kinds come along together
        for count in plan["clips"]:
            chosen = pool.drawn(count, draw, plan["seed"])
            for kind in kinds:
                if (kind.name, count, draw) in known:
                    continue
                scores = score(kind, pool, chosen, plan["recipe"], plan["seed"] + draw)
                rows.append({"kind": kind.name, "clips": count, "draw": draw, **scores})
                keep(rows)
    return rows


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the mean over draws lies with 95 %: percentiles of the means of draws with replacement."""
    values = np.asarray(values, np.float64)
    means = values[np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def summary(rows: Sequence[dict]) -> list[dict]:
    """Mean accuracy of each kind and number of clips, its interval, and how many draws it is of."""
    points = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        for count in sorted({row["clips"] for row in rows if row["kind"] == kind}):
            draws = [row for row in rows if (row["kind"], row["clips"]) == (kind, count)]
            values = [row["accuracy"] for row in draws]
            low, high = interval(values)
            seconds = float(np.mean([row["seconds"] for row in draws]))
            points.append({"kind": kind, "clips": count, "draws": len(draws), "accuracy": float(np.mean(values))})
            points[-1] |= {"low": low, "high": high, "seconds": seconds}
    return points


def table(points: Sequence[dict]) -> str:
    """A row for each kind, a column for each number of clips, as Markdown: the mean, and of several draws its interval."""
    counts = sorted({point["clips"] for point in points})
    cells = {
        (p["kind"], p["clips"]): f"{p['accuracy']:.3f}"
        + (f" ({p['low']:.3f} to {p['high']:.3f})" if p["draws"] > 1 else "")
        for p in points
    }
    kinds = dict.fromkeys(point["kind"] for point in points)
    head = ["input, head", *(f"{count} clip{'s' * (count > 1)}" for count in counts)]
    return markdown_table(
        head, [[markdown(kind), *(cells.get((kind, count), "") for count in counts)] for kind in kinds]
    )


def picture(points: Sequence[dict], path: Path, title: str) -> Path:
    """The curve: accuracy over the number of clips of each class, with the intervals of the means."""
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    counts = sorted({point["clips"] for point in points})
    for index, kind in enumerate(dict.fromkeys(point["kind"] for point in points)):
        line = sorted((point for point in points if point["kind"] == kind), key=lambda point: point["clips"])
        x, style = [point["clips"] for point in line], ("-", "--", ":", "-.")[index // len(COLOURS) % 4]
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(x, [point["accuracy"] for point in line], style, marker="o", color=colour, label=drawn(kind, 60))
        axes.fill_between(x, [p["low"] for p in line], [p["high"] for p in line], color=colour, alpha=0.15, lw=0)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set(xlabel="Training clips of each class", ylabel="Accuracy of test clips", ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    figure.suptitle(drawn(title, 110), fontsize=11)
    return save_figure(figure, path)
