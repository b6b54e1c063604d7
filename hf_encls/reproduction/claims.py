"""What the measured figures say of the paper's three claims, and of the places where it can be read in two ways."""

import statistics
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from hf_encls.reproduction import paper
from hf_encls.reproduction.cells import KEY
from hf_encls.reproduction.figures import mean, paired, where
from hf_encls.reproduction.grid import PRESETS

Readings = dict[tuple[str, str], tuple[float | None, float | None, int]]  # (data set, input) -> two figures, runs
AS_WRITTEN = {"preset": "paper", "protocol": "paper"}


def claims(
    convergence: Sequence[Mapping], table: Sequence[Mapping], timing: Sequence[Mapping], latents: Collection[str]
) -> list[dict]:
    """One row for each claim and each latent input of each data set: what was measured, and whether it holds here.

    Claim 1: every run passes mel's final accuracy within its epochs, and its loss is as low as mel's lowest no later
    than mel's own. Claim 2: the test accuracy is above mel's, and the validation accuracy is above mel's at more than
    half of the epochs. Claim 3: representation and classification together take less time, in
    the median of the rounds in which both were measured.
    """
    rows = []
    for row, score in zip(convergence, table, strict=True):  # both are of the same cells
        mel = row["mel"]
        if row["input"] not in latents or mel is None or row["preset"] not in PRESETS:
            continue
        cell = {name: row[name] for name in KEY}
        epochs = {"pass_epoch": mel["pass_epoch"], "pass_loss_epoch": mel["pass_loss_epoch"]}
        epochs |= {"mel_best_loss_epoch": mel["baseline_best_loss_epoch"], "runs": mel["runs"]}
        passed = mel["passed"] == mel["passed_loss"] == mel["runs"]
        sooner = passed and mel["pass_loss_epoch"] <= mel["baseline_best_loss_epoch"]
        rows.append({"claim": "epochs", **cell, **epochs, "holds": sooner})
        accuracy = {"over_mel": score["over_mel"], "epochs_above": row["above_mel"]}
        accuracy |= {"over_log_mel": score["over_log_mel"], "runs": score["over_mel_runs"]}
        better = score["over_mel"] > 0 and row["above_mel"] > 0.5
        rows.append({"claim": "accuracy", **cell, **accuracy, "holds": better})
    times = {(row["dataset"], row["input"]): row for row in timing}
    for (dataset, entry), row in times.items():
        mel = times.get((dataset, "mel"))
        if entry in latents and mel is not None:
            pairs = zip(row["rounds"], mel["rounds"], strict=True)
            ratios = [_total(latent_round) / _total(mel_round) for latent_round, mel_round in pairs]
            speed = {"times_mel_total": statistics.median(ratios), "times_mel_spread": [min(ratios), max(ratios)]}
            speed["times_mel_classification"] = row["classification"] / mel["classification"]
            holds = speed["times_mel_total"] < 1
            rows.append({"claim": "speed", "dataset": dataset, "input": entry, **speed, "holds": holds})
    return rows


def ambiguities(scores: pd.DataFrame, convergence: Sequence[Mapping]) -> list[dict]:
    """The paper's open questions with the choice made, and what was measured of the other reading.

    Both figures of a row are of the same folds and seeds; `runs` says how many.
    """
    rows = []
    for question in paper.AMBIGUITIES:
        names, readings = _readings(question["measured"], scores, convergence)
        measured = [
            {"dataset": dataset, "input": entry, "chosen": chosen, "other": second, "runs": runs}
            for (dataset, entry), (chosen, second, runs) in readings.items()
            if not chosen is second is None
        ]
        unit = "epoch" if question["measured"] == "smoothed" else "accuracy"
        rows.append({**question, "found": measured, "names": names, "unit": unit})
    return rows


def _readings(
    kind: str | None, scores: pd.DataFrame, convergence: Sequence[Mapping]
) -> tuple[tuple[str, str] | None, Readings]:
    """What the two readings are called, and their figures."""
    if kind is None:
        return None, {}
    written = where(scores, **AS_WRITTEN)
    curves = {(row["dataset"], row["input"]): row for row in convergence if AS_WRITTEN.items() <= row.items()}
    if kind == "protocol":
        names = ("windows divided (recommended)", "clips divided (recommended)")
        return names, _beside(where(scores, preset="recommended", protocol="paper"), scores, protocol="clip")
    if kind == "log_mel":
        return ("power", "decibels"), _beside(where(written, input="mel"), scores, input="log_mel")
    if kind == "clip":
        groups = written.groupby(["dataset", "input"], sort=False)
        units = {key: (mean(each.window_accuracy), mean(each.clip_accuracy), len(each)) for key, each in groups}
        return ("windows", "clips"), units
    if kind == "best_epoch":
        names = ("validation accuracy of the last epoch", "of the best")
        ends = {key: (row["final_accuracy"], row["best_accuracy"], row["own"]["runs"]) for key, row in curves.items()}
        return names, ends
    if kind == "smoothed":
        both = {key: row["mel"]["both"] for key, row in curves.items() if row["mel"] and row["input"] != "mel"}
        passed = {key: (each["raw"], each["smoothed"], each["runs"]) for key, each in both.items()}
        return ("epoch on the raw curve", "on the smoothed one"), passed
    return ("preset paper", f"variant {kind}"), _beside(written, scores, preset=f"paper+{kind}")


def _beside(chosen: pd.DataFrame, scores: pd.DataFrame, **changed: str) -> Readings:
    """Each group of `chosen` beside the one that differs from it in `changed`, where they share folds and seeds."""
    readings = {}
    for key, group in chosen.groupby(KEY, sort=False):
        names = dict(zip(KEY, key))
        pair = paired(group, where(scores, **(names | changed)))
        if pair:
            readings[names["dataset"], names["input"]] = (pair["first"], pair["second"], pair["runs"])
    return readings


def _total(part: Mapping[str, float]) -> float:
    return part["representation"] + part["classification"]
