"""The scores and the learning curves of the report, as rows that are means over folds and seeds."""

from collections.abc import Mapping, Sequence

import pandas as pd

from hf_encls.reproduction import paper
from hf_encls.reproduction.cells import KEY, SCORES, SPLIT, mean, mean_and_deviation, paired, where
from hf_encls.reproduction.convergence import at_equal_epochs, convergence, share_of_epochs_above

BASELINES = ("mel", "log_mel")
PASSED = {"passed": "pass_epoch", "passed_smoothed": "pass_smoothed_epoch", "passed_loss": "pass_loss_epoch"}
# Columns of the table of merits: the preset and the protocol of each.
MERITS = {
    "paper": ("paper", "paper"),
    "standardized": ("paper+standardized", "paper"),
    "recommended_paper": ("recommended", "paper"),
    "recommended_clip": ("recommended", "clip"),
    "recommended_official": ("recommended", "official"),
}


def table_1(scores: pd.DataFrame) -> list[dict]:
    """Scores of the test part, with the paper's beside them where data set and input are those of its table.

    What an input has over mel or log-mel is the mean over the folds and seeds that both have.
    """
    rows = []
    for key, own in scores.groupby(KEY, sort=False):
        row = dict(zip(KEY, key)) | {"runs": len(own)} | {name: mean_and_deviation(own[name]) for name in SCORES}
        cited = paper.TABLE_1.get(row["dataset"], {}).get(own.features.iloc[0])
        row |= {"paper": cited, "is_comparable": bool(cited) and own.is_comparable.iloc[0]}
        for name in ("accuracy", "loss"):
            ours = row[f"window_{name}"]["mean"]
            row[f"{name}_difference"] = ours - cited[name] if row["is_comparable"] else None
        for other in BASELINES:
            same = {**dict(zip(KEY, key)), "input": other}
            pair = paired(own, where(scores, **same)) if row["input"] != other else None
            row |= {f"over_{other}": pair and pair["difference"], f"over_{other}_runs": pair["runs"] if pair else 0}
        rows.append(row)
    return rows


def merit(scores: pd.DataFrame) -> list[dict]:
    """Window accuracy of each input under each preset and protocol, what the leak adds, what is above log-mel.

    Each accuracy is a dict of `mean`, `deviation` and `count`, each difference one of `paired`: seeds are compared with
    the same seeds only. None where there is nothing.
    """
    rows = []
    for (dataset, entry), _ in scores.groupby(["dataset", "input"], sort=False):
        own, log_mel, mel = (
            {
                name: where(scores, dataset=dataset, preset=preset, protocol=protocol, input=key)
                for name, (preset, protocol) in MERITS.items()
            }
            for key in (entry, "log_mel", "mel")
        )
        row = {"dataset": dataset, "input": entry}
        for name, members in own.items():
            row[name] = None if members.empty else mean_and_deviation(members.window_accuracy)
        clip = "recommended_clip"
        row["leak"] = paired(own["recommended_paper"], own[clip])
        row["over_log_mel"] = paired(own[clip], log_mel[clip]) if entry != "log_mel" else None
        row["over_mel_in_paper"] = paired(own["paper"], mel["paper"]) if entry != "mel" else None
        rows.append(row)
    return rows


def convergence_table(scores: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell and what it is set `against`: mel and log-mel of the same split, and itself (`own`)."""
    curves = {(*row[KEY], *row[SPLIT]): row.history for _, row in scores.iterrows()}
    rows = []
    for (*group, entry, fold, seed), history in curves.items():
        for against in (*BASELINES, "own"):
            base = curves.get((*group, entry if against == "own" else against, fold, seed))
            if base is not None:
                above = share_of_epochs_above(history, base)
                rows.append([*group, entry, against, above, convergence(history, base)])
    return pd.DataFrame(rows, columns=[*KEY, "against", "above", "found"], dtype=object)


def convergence_rows(scores: pd.DataFrame) -> list[dict]:
    """Convergence of each input against mel and log-mel of the same split, averaged over seeds and folds."""
    table, rows = convergence_table(scores), []
    for key, own in scores.groupby(KEY, sort=False):
        row = dict(zip(KEY, key))
        for other in (*BASELINES, "own"):
            pairs = where(table, **dict(zip(KEY, key)), against=other)
            row[other] = None if pairs.empty else _average(list(pairs.found))
            if other != "own":
                row[f"above_{other}"] = mean(pairs.above) if row["input"] != other else None
        accuracies = [[epoch["validation_accuracy"] for epoch in history] for history in own.history]
        row["epochs"] = max(own.epochs)
        row["final_accuracy"] = mean(each[-1] for each in accuracies)
        row["best_accuracy"] = mean(map(max, accuracies))
        row["paper"] = paper.CONVERGENCE.get(row["dataset"], {}).get(own.features.iloc[0])
        row["is_comparable"] = own.is_comparable.iloc[0]
        rows.append(row)
    return rows


def _average(found: Sequence[Mapping]) -> dict:
    row = {name: mean(one[name] for one in found) for name in found[0]}
    row |= {name: sum(one[epoch] is not None for one in found) for name, epoch in PASSED.items()}
    # The raw epoch and the smoothed one of the same runs: those that pass on both curves.
    both = [one for one in found if None not in (one["pass_epoch"], one["pass_smoothed_epoch"])] or found[:1]
    curves = {"raw": "pass_epoch", "smoothed": "pass_smoothed_epoch"}
    means = {name: mean(one[epoch] for one in both) for name, epoch in curves.items()}
    return row | {"runs": len(found), "both": means | {"runs": len(both)}}


def equal_epochs(scores: pd.DataFrame) -> list[dict]:
    """Validation accuracy after the same number of epochs."""
    rows = []
    for key, own in scores.groupby(KEY, sort=False):
        epochs = pd.DataFrame(list(map(at_equal_epochs, own.history))).dropna(axis="columns")
        accuracy = {epoch: mean(epochs[epoch]) for epoch in epochs}
        rows.append(dict(zip(KEY, key)) | {"runs": len(own), "accuracy": accuracy})
    return rows


def table_2(scores: pd.DataFrame, compared: Sequence[Mapping]) -> list[dict]:
    """The paper's cited comparisons, our own means, and other models with ours of the very same clips.

    `compared` are the rows of `other_models.compare_rows`; `runs` is the number of folds and seeds in a mean.
    """
    rows = [{"kind": "cited", **row} for row in paper.TABLE_2]
    for name in ("paper", "recommended_clip", "recommended_official"):
        preset, protocol = MERITS[name]
        unit = "window" if protocol == "paper" else "clip"
        for entry in dict.fromkeys(scores.input):
            own = where(scores, preset=preset, protocol=protocol, input=entry)
            if not own.empty:
                by_dataset = dict(iter(own.groupby("dataset", sort=False)))
                means = {key: mean(members[f"{unit}_accuracy"]) for key, members in by_dataset.items()}
                about = {"preset": preset, "protocol": protocol, "input": entry, "unit": unit}
                runs = {key: len(members) for key, members in by_dataset.items()}
                rows.append({"kind": "measured", **about, **means, "runs": runs})
    for row in compared:
        kept = {name: row.get(name) for name in ("model", "input", "protocol", "fold", "seed", "reason", "note")}
        about = {name: value for name, value in kept.items() if value is not None} | {"unit": "clip"}
        kind = "compared" if "model" in row else "same_clips"
        rows.append({"kind": kind, **about, row["dataset"]: row["accuracy"]})
    return rows
