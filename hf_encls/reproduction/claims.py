"""What the measured figures say of the paper's three claims, and of the places where it can be read in two ways."""

import statistics
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from hf_encls.reproduction import paper
from hf_encls.reproduction.cells import KEY, mean, paired, where
from hf_encls.reproduction.grid import PRESETS

Sides = tuple[float | None, float | None, int]  # the figure of the choice, that of the other reading, runs
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
    scores = {_key(row): row for row in table}
    for row in convergence:
        if row["input"] not in latents or row["mel"] is None or row["preset"] not in PRESETS:
            continue
        about, mel, score = dict(zip(KEY, _key(row))), row["mel"], scores[_key(row)]
        epochs = {name: mel[name] for name in ("pass_epoch", "pass_loss_epoch")}
        last = mel["baseline_best_loss_epoch"]
        passed = mel["passed"] == mel["passed_loss"] == mel["runs"]
        holds = passed and mel["pass_loss_epoch"] <= last
        rows.append(
            {"claim": "epochs", **about, **epochs, "mel_best_loss_epoch": last, "runs": mel["runs"], "holds": holds}
        )
        rows.append(
            {
                "claim": "accuracy",
                **about,
                "over_mel": score["over_mel"],
                "epochs_above": row["above_mel"],
                "over_log_mel": score["over_log_mel"],
                "runs": score["over_mel_runs"],
                "holds": score["over_mel"] > 0 and row["above_mel"] > 0.5,
            }
        )
    times = {(row["dataset"], row["input"]): row for row in timing if "total" in row}
    for (dataset, entry), row in times.items():
        mel = times.get((dataset, "mel"))
        if entry in latents and mel is not None:
            ratios = [_total(own) / _total(base) for own, base in zip(row["rounds"], mel["rounds"], strict=True)]
            rows.append(
                {
                    "claim": "speed",
                    "dataset": dataset,
                    "input": entry,
                    "times_mel_total": statistics.median(ratios),
                    "times_mel_spread": [min(ratios), max(ratios)],
                    "times_mel_classification": row["classification"] / mel["classification"],
                    "holds": statistics.median(ratios) < 1,
                }
            )
    return rows


def ambiguities(scores: pd.DataFrame, convergence: Sequence[Mapping]) -> list[dict]:
    """The paper's open questions with the choice made, and what was measured of the other reading.

    Both figures of a row are of the same folds and seeds; `runs` says how many.
    """
    entries = []
    for question in paper.AMBIGUITIES:
        names, rows = None, {}
        if question["measured"] is not None:
            names, rows = _readings(question["measured"], scores, convergence)
        found = [
            {"dataset": dataset, "input": entry, "chosen": chosen, "other": other, "runs": runs}
            for (dataset, entry), (chosen, other, runs) in rows.items()
            if not chosen is other is None
        ]
        unit = "epoch" if question["measured"] == "smoothed" else "accuracy"
        entries.append({**question, "found": found, "names": names, "unit": unit})
    return entries


def _readings(
    kind: str, scores: pd.DataFrame, convergence: Sequence[Mapping]
) -> tuple[tuple[str, str], dict[tuple[str, str], Sides]]:
    """What the two readings are called, and their figures by data set and input."""
    written = where(scores, **AS_WRITTEN)
    curves = {(row["dataset"], row["input"]): row for row in convergence if AS_WRITTEN.items() <= row.items()}
    if kind == "protocol":
        names = ("windows divided (recommended)", "clips divided (recommended)")
        return names, _sides(where(scores, preset="recommended", protocol="paper"), scores, protocol="clip")
    if kind == "log_mel":
        return ("power", "decibels"), _sides(where(written, input="mel"), scores, input="log_mel")
    if kind == "clip":
        groups = written.groupby(["dataset", "input"], sort=False)
        return ("windows", "clips"), {
            key: (mean(own.window_accuracy), mean(own.clip_accuracy), len(own)) for key, own in groups
        }
    if kind == "best_epoch":
        names = ("validation accuracy of the last epoch", "of the best")
        return names, {
            key: (row["final_accuracy"], row["best_accuracy"], row["own"]["runs"]) for key, row in curves.items()
        }
    if kind == "smoothed":
        both = {key: row["mel"]["both"] for key, row in curves.items() if row["mel"] and row["input"] != "mel"}
        names = ("epoch on the raw curve", "on the smoothed one")
        return names, {key: (one["raw"], one["smoothed"], one["runs"]) for key, one in both.items()}
    return ("preset paper", f"variant {kind}"), _sides(written, scores, preset=f"paper+{kind}")


def _sides(chosen: pd.DataFrame, scores: pd.DataFrame, **changed: str) -> dict[tuple[str, str], Sides]:
    """Each group of `chosen` beside the one that differs from it in `changed`, where they share folds and seeds."""
    sides = {}
    for key, own in chosen.groupby(KEY, sort=False):
        about = dict(zip(KEY, key))
        pair = paired(own, where(scores, **(about | changed)))
        if pair:
            sides[about["dataset"], about["input"]] = (pair["first"], pair["second"], pair["runs"])
    return sides


def _total(part: Mapping[str, float]) -> float:
    return part["representation"] + part["classification"]


def _key(row: Mapping) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)
