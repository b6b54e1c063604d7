"""The scores and the learning curves of the report, as rows that are means over folds and seeds."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from hf_encls.reproduction import paper
from hf_encls.reproduction.cells import KEY, SCORES, SPLIT
from hf_encls.reproduction.convergence import at_equal_epochs, convergence, share_of_epochs_above

BASELINES = ("mel", "log_mel")
PASSED = {"passed": "pass_epoch", "passed_smoothed": "pass_smoothed_epoch", "passed_loss": "pass_loss_epoch"}
# Columns of the table of merits: the preset and the protocol of each.
MERITS = {
    "paper": {"preset": "paper", "protocol": "paper"},
    "standardized": {"preset": "paper+standardized", "protocol": "paper"},
    "recommended_paper": {"preset": "recommended", "protocol": "paper"},
    "recommended_clip": {"preset": "recommended", "protocol": "clip"},
    "recommended_official": {"preset": "recommended", "protocol": "official"},
}
NAMES_OF_COMPARED = ("model", "input", "protocol", "fold", "seed", "reason", "note")


def where(rows: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows that have these values."""
    for name, value in values.items():
        rows = rows[rows[name] == value]
    return rows


def mean_and_deviation(values: Iterable[float | None]) -> dict:
    """`mean`, `deviation` (of a sample; None for fewer than two values) and `count`; None does not count."""
    values = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(values)) if values else None,
        "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "count": len(values),
    }


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is not None."""
    return mean_and_deviation(values)["mean"]


def paired(first: pd.DataFrame, second: pd.DataFrame) -> dict | None:
    """Mean window accuracy of two groups of rows over the folds and seeds that both have; None where they share none.

    Returns `first`, `second`, their `difference`, and `runs`: how many of each it is.
    """
    both = first.merge(second, on=SPLIT, suffixes=("_first", "_second"))
    if both.empty:
        return None
    means = {side: mean(both[f"window_accuracy_{side}"]) for side in ("first", "second")}
    return means | {"difference": means["first"] - means["second"], "runs": len(both)}


def groups(scores: pd.DataFrame) -> list[tuple[dict, pd.DataFrame]]:
    """The cells of one kind, of all folds and seeds, with their `KEY`."""
    return [(dict(zip(KEY, key)), cells) for key, cells in scores.groupby(KEY, sort=False)]


def table_1(scores: pd.DataFrame) -> list[dict]:
    """Scores of the test part, with the paper's beside them where data set and input are those of its table.

    What an input has over mel or log-mel is the mean over the folds and seeds that both have.
    """
    rows = []
    for key, cells in groups(scores):
        row = key | {"runs": len(cells)} | {name: mean_and_deviation(cells[name]) for name in SCORES}
        cited = paper.TABLE_1.get(row["dataset"], {}).get(cells.features.iloc[0])
        row |= {"paper": cited, "is_comparable": bool(cited) and cells.is_comparable.iloc[0]}
        for name in ("accuracy", "loss"):
            measured = row[f"window_{name}"]["mean"]
            row[f"{name}_difference"] = measured - cited[name] if row["is_comparable"] else None
        for baseline in BASELINES:
            pair = paired(cells, where(scores, **key | {"input": baseline})) if row["input"] != baseline else None
            row[f"over_{baseline}"] = pair and pair["difference"]
            row[f"over_{baseline}_runs"] = pair["runs"] if pair else 0
        rows.append(row)
    return rows


def merit(scores: pd.DataFrame) -> list[dict]:
    """Window accuracy of each input under each preset and protocol, what the leak adds, what is above log-mel.

    Each accuracy is a dict of `mean`, `deviation` and `count`, each difference one of `paired`: seeds are compared with
    the same seeds only. None where there is nothing.
    """
    rows = []
    for (dataset, entry), cells in scores.groupby(["dataset", "input"], sort=False):
        of_input = {name: where(cells, **kind) for name, kind in MERITS.items()}
        log_mel = where(scores, dataset=dataset, input="log_mel", **MERITS["recommended_clip"])
        mel = where(scores, dataset=dataset, input="mel", **MERITS["paper"])
        clip = of_input["recommended_clip"]
        means = {
            name: None if each.empty else mean_and_deviation(each.window_accuracy) for name, each in of_input.items()
        }
        differences = {
            "leak": paired(of_input["recommended_paper"], clip),
            "over_log_mel": paired(clip, log_mel) if entry != "log_mel" else None,
            "over_mel_in_paper": paired(of_input["paper"], mel) if entry != "mel" else None,
        }
        rows.append({"dataset": dataset, "input": entry} | means | differences)
    return rows


def convergence_rows(scores: pd.DataFrame) -> list[dict]:
    """Convergence of each input against mel and log-mel of the same split and itself (`own`), over seeds and folds."""
    rows = []
    for key, cells in groups(scores):
        row = dict(key)
        for against in (*BASELINES, "own"):
            baseline = cells if against == "own" else where(scores, **key | {"input": against})
            both = cells.merge(baseline, on=SPLIT, suffixes=("", "_of_baseline"))
            pairs = list(zip(both.history, both.history_of_baseline))
            row[against] = _average([convergence(*pair) for pair in pairs]) if pairs else None
            if against != "own":
                shares = [share_of_epochs_above(*pair) for pair in pairs]
                row[f"above_{against}"] = mean(shares) if row["input"] != against else None
        accuracies = [[epoch["validation_accuracy"] for epoch in history] for history in cells.history]
        row["epochs"] = max(cells.epochs)
        row["final_accuracy"] = mean(each[-1] for each in accuracies)
        row["best_accuracy"] = mean(map(max, accuracies))
        row["paper"] = paper.CONVERGENCE.get(row["dataset"], {}).get(cells.features.iloc[0])
        row["is_comparable"] = cells.is_comparable.iloc[0]
        rows.append(row)
    return rows


def _average(runs: Sequence[Mapping]) -> dict:
    row = {name: mean(run[name] for run in runs) for name in runs[0]}
    row |= {name: sum(run[epoch] is not None for run in runs) for name, epoch in PASSED.items()}
    # The raw epoch and the smoothed one of the same runs: those that pass on both curves.
    both = [run for run in runs if None not in (run["pass_epoch"], run["pass_smoothed_epoch"])] or runs[:1]
    means = {
        "raw": mean(run["pass_epoch"] for run in both),
        "smoothed": mean(run["pass_smoothed_epoch"] for run in both),
    }
    return row | {"runs": len(runs), "both": means | {"runs": len(both)}}


def equal_epochs(scores: pd.DataFrame) -> list[dict]:
    """Validation accuracy after the same number of epochs."""
    rows = []
    for key, cells in groups(scores):
        epochs = pd.DataFrame(list(map(at_equal_epochs, cells.history))).dropna(axis="columns")
        rows.append(key | {"runs": len(cells), "accuracy": {epoch: mean(epochs[epoch]) for epoch in epochs}})
    return rows


def table_2(scores: pd.DataFrame, compared: Sequence[Mapping]) -> list[dict]:
    """The paper's cited comparisons, our own means, and other models with ours of the very same clips.

    `compared` are the rows of `other_models.compare_rows`; `runs` is the number of folds and seeds in a mean.
    """
    rows = [{"kind": "cited", **row} for row in paper.TABLE_2]
    for name in ("paper", "recommended_clip", "recommended_official"):
        unit = "window" if MERITS[name]["protocol"] == "paper" else "clip"
        for entry in dict.fromkeys(scores.input):
            cells = dict(iter(where(scores, **MERITS[name], input=entry).groupby("dataset", sort=False)))
            if cells:
                means = {dataset: mean(each[f"{unit}_accuracy"]) for dataset, each in cells.items()}
                runs = {dataset: len(each) for dataset, each in cells.items()}
                rows.append({"kind": "measured", **MERITS[name], "input": entry, "unit": unit, **means, "runs": runs})
    for row in compared:
        kept = {name: row[name] for name in NAMES_OF_COMPARED if row.get(name) is not None} | {"unit": "clip"}
        kind = "compared" if "model" in row else "same_clips"
        rows.append({"kind": kind, **kept, row["dataset"]: row["accuracy"]})
    return rows
