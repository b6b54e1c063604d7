"""What the measured figures say of the paper's three claims, and of the places where it can be read in two ways."""

import statistics
from collections.abc import Mapping, Sequence

from hf_encls.reproduction import paper
from hf_encls.reproduction.finished import Finished, grouped, mean_accuracy, paired


def claims(convergence: Sequence[Mapping], table: Sequence[Mapping], timing: Sequence[Mapping]) -> list[dict]:
    """One row for each claim and each latent input of each data set: what was measured, and whether it holds here.

    Claim 1: every run passes mel's final accuracy within its epochs, and its loss is as low as mel's lowest no later
    than mel's own. Claim 2: the test accuracy is above mel's, and the validation accuracy is above mel's at more than
    half of the epochs. Claim 3: representation and classification together take less time, in
    the median of the rounds in which both were measured.
    """
    rows = []
    scores = {_key(row): row for row in table}
    curves = {_key(row): row for row in convergence}
    for key, row in curves.items():
        dataset, preset, protocol, entry = key
        if not entry.startswith("encodec") or row["mel"] is None or "+" in preset:
            continue
        about = {"dataset": dataset, "preset": preset, "protocol": protocol, "input": entry}
        against = row["mel"]
        last = against["baseline_best_loss_epoch"]
        passed = against["passed"] == against["passed_loss"] == against["runs"]
        rows.append(
            {
                "claim": "epochs",
                **about,
                "pass_epoch": against["pass_epoch"],
                "pass_loss_epoch": against["pass_loss_epoch"],
                "mel_best_loss_epoch": last,
                "runs": against["runs"],
                "holds": passed and against["pass_loss_epoch"] <= last,
            }
        )
        over = scores[key]["over_mel"]
        rows.append(
            {
                "claim": "accuracy",
                **about,
                "over_mel": over,
                "epochs_above": row["above_mel"],
                "over_log_mel": scores[key]["over_log_mel"],
                "runs": scores[key]["over_mel_runs"],
                "holds": over > 0 and row["above_mel"] > 0.5,
            }
        )
    times = {(row["dataset"], row["input"]): row for row in timing}
    for (dataset, entry), row in times.items():
        mel = times.get((dataset, "mel"))
        if entry.startswith("encodec") and mel is not None and "total" in row and "total" in mel:
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


def ambiguities(runs: Sequence[Finished], convergence: Sequence[Mapping]) -> list[dict]:
    """The paper's open questions with the choice made, and what was measured of the other reading.

    Both figures of a row are of the same folds and seeds; `runs` says how many.
    """
    groups = grouped(runs)
    written = {key: members for key, members in groups.items() if key[1:3] == ("paper", "paper")}
    curves = [row for row in convergence if (row["preset"], row["protocol"]) == ("paper", "paper")]
    entries = []
    for question in paper.AMBIGUITIES:
        kind = question["measured"]
        found, names = [], None
        if kind == "protocol":
            found = [
                _row(key, paired(members, groups.get((key[0], "recommended", "clip", key[3]), [])))
                for key, members in groups.items()
                if key[1:3] == ("recommended", "paper")
            ]
            names = ("windows divided (recommended)", "clips divided (recommended)")
        elif kind == "log_mel":
            found = [
                _row(key, paired(members, written.get((*key[:3], "log_mel"), [])))
                for key, members in written.items()
                if key[3] == "mel"
            ]
            names = ("power", "decibels")
        elif kind == "clip":
            found = [
                _row(key, _pair(mean_accuracy(members), mean_accuracy(members, "clip"), len(members)))
                for key, members in written.items()
            ]
            names = ("windows", "clips")
        elif kind == "best_epoch":
            found = [
                _row(_key(row), _pair(row["final_accuracy"], row["best_accuracy"], row["own"]["runs"]))
                for row in curves
            ]
            names = ("validation accuracy of the last epoch", "of the best")
        elif kind == "smoothed":
            both = {_key(row): row["mel"]["both"] for row in curves if row["mel"] and row["input"] != "mel"}
            found = [_row(key, _pair(one["raw"], one["smoothed"], one["runs"])) for key, one in both.items()]
            names = ("epoch on the raw curve", "on the smoothed one")
        elif kind is not None:
            found = [
                _row(key, paired(members, groups.get((key[0], f"paper+{kind}", *key[2:]), [])))
                for key, members in written.items()
            ]
            names = ("preset paper", f"variant {kind}")
        found = [row for row in found if row and not row["chosen"] is row["other"] is None]
        unit = "epoch" if kind == "smoothed" else "accuracy"
        entries.append({**question, "found": found, "names": names, "unit": unit})
    return entries


def _total(part: Mapping[str, float]) -> float:
    return part["representation"] + part["classification"]


def _key(row: Mapping) -> tuple[str, str, str, str]:
    return row["dataset"], row["preset"], row["protocol"], row["input"]


def _pair(chosen: float | None, other: float | None, runs: int) -> dict:
    return {"first": chosen, "second": other, "runs": runs}


def _row(key: tuple[str, str, str, str], pair: Mapping | None) -> dict | None:
    """A row of an answer; None where nothing is to be set side by side."""
    about = {"dataset": key[0], "input": key[3]}
    return pair and about | {"chosen": pair["first"], "other": pair["second"], "runs": pair["runs"]}
