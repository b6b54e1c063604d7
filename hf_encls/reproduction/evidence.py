"""What the measured figures say of the paper's three claims, and of the places where it can be read in two ways."""

from collections.abc import Mapping, Sequence

from hf_encls.reproduction import paper


def claims(convergence: Sequence[Mapping], table: Sequence[Mapping], timing: Sequence[Mapping]) -> list[dict]:
    """One row for each claim and each latent input of each data set: what was measured, and whether it holds here.

    Claim 1: every run passes mel's final accuracy within its epochs, and its loss is as low as mel's lowest no later
    than mel's own. Claim 2: the test accuracy is above mel's, and the validation accuracy is above mel's at more than
    half of the epochs. Claim 3: representation and classification together take less time.
    """
    rows = []
    scores = {_key(row): row for row in table}
    curves = {_key(row): row for row in convergence}
    for key, row in curves.items():
        dataset, preset, protocol, entry = key
        mel = curves.get((dataset, preset, protocol, "mel"))
        if not entry.startswith("encodec") or mel is None or row["mel"] is None or "+" in preset:
            continue
        about = {"dataset": dataset, "preset": preset, "protocol": protocol, "input": entry}
        against, last = row["mel"], mel["own"]["best_loss_epoch"]
        passed = against["passed"] == against["passed_loss"] == against["runs"]
        rows.append(
            {
                "claim": "epochs",
                **about,
                "pass_epoch": against["pass_epoch"],
                "pass_loss_epoch": against["pass_loss_epoch"],
                "mel_best_loss_epoch": last,
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
                "holds": over > 0 and row["above_mel"] > 0.5,
            }
        )
    times = {(row["dataset"], row["input"]): row for row in timing}
    for (dataset, entry), row in times.items():
        mel = times.get((dataset, "mel"))
        if entry.startswith("encodec") and mel is not None and "total" in row and "total" in mel:
            rows.append(
                {
                    "claim": "speed",
                    "dataset": dataset,
                    "input": entry,
                    "times_mel_total": row["total"] / mel["total"],
                    "times_mel_classification": row["classification"] / mel["classification"],
                    "holds": row["total"] < mel["total"],
                }
            )
    return rows


def ambiguities(table: Sequence[Mapping], merit: Sequence[Mapping], convergence: Sequence[Mapping]) -> list[dict]:
    """The paper's open questions with the choice made, and what was measured of the other reading."""
    scores = {_key(row): row for row in table}
    entries = []
    for question in paper.AMBIGUITIES:
        kind = question["measured"]
        if kind == "protocol":
            found = [_pair(row, row["recommended_paper"], row["recommended_clip"]) for row in merit]
            names = ("windows divided (recommended)", "clips divided (recommended)")
        elif kind == "log_mel":
            found = [_other(row, scores, entry="log_mel") for row in table if _is_paper(row) and row["input"] == "mel"]
            names = ("power", "decibels")
        elif kind == "clip":
            found = [
                _pair(row, row["window_accuracy"]["mean"], row["clip_accuracy"]["mean"])
                for row in table
                if _is_paper(row)
            ]
            names = ("windows", "clips")
        elif kind == "best_epoch":
            found = [_pair(row, row["final_accuracy"], row["best_accuracy"]) for row in convergence if _is_paper(row)]
            names = ("validation accuracy of the last epoch", "of the best")
        elif kind == "smoothed":
            rows = [row for row in convergence if _is_paper(row) and row["mel"] and row["input"] != "mel"]
            found = [_pair(row, row["mel"]["pass_epoch"], row["mel"]["pass_smoothed_epoch"]) for row in rows]
            names = ("epoch on the raw curve", "on the smoothed one")
        elif kind is not None:
            found = [_other(row, scores, preset=f"paper+{kind}") for row in table if _is_paper(row)]
            names = ("preset paper", f"variant {kind}")
        else:
            found, names = [], None
        found = [row for row in found if row["chosen"] is not None or row["other"] is not None]
        if kind not in ("smoothed", "clip", "best_epoch"):
            found = [row for row in found if row["chosen"] is not None and row["other"] is not None]
        entries.append(
            {**question, "found": found, "names": names, "unit": "epoch" if kind == "smoothed" else "accuracy"}
        )
    return entries


def _key(row: Mapping) -> tuple[str, str, str, str]:
    return row["dataset"], row["preset"], row["protocol"], row["input"]


def _is_paper(row: Mapping) -> bool:
    return row["preset"] == "paper" and row["protocol"] == "paper"


def _pair(row: Mapping, chosen: float | None, other: float | None) -> dict:
    return {"dataset": row["dataset"], "input": row["input"], "chosen": chosen, "other": other}


def _other(row: Mapping, scores: Mapping, preset: str | None = None, entry: str | None = None) -> dict:
    other = scores.get((row["dataset"], preset or row["preset"], row["protocol"], entry or row["input"]))
    return _pair(row, row["window_accuracy"]["mean"], other and other["window_accuracy"]["mean"])
