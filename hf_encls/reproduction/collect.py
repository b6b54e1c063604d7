"""From finished cells to report.json: every figure of the report, computed here and only here."""

from collections.abc import Mapping, Sequence

from hf_encls.reproduction import paper
from hf_encls.reproduction.finished import Finished, grouped, is_comparable, mean_accuracy, paired
from hf_encls.reproduction.grid import Cell
from hf_encls.reproduction.measures import at_equal_epochs, convergence, mean_and_deviation, share_of_epochs_above
from hf_encls.reproduction.sources import Source

SCORES = [(unit, name) for unit in ("window", "clip") for name in ("accuracy", "loss")]


def cell_rows(cells: Sequence[Cell], runs: Sequence[Finished], failed: Mapping[str, str]) -> list[dict]:
    """One row for each cell: what it is, whether it is finished, its scores, command, versions and times."""
    by_id = {run.cell.id: run for run in runs}
    rows = []
    for cell in cells:
        row = {
            "id": cell.id,
            "dataset": cell.source.key,
            "input": cell.input.key,
            "preset": cell.preset.name,
            "protocol": cell.protocol,
            "fold": cell.fold,
            "seed": cell.seed,
            "status": "finished" if cell.id in by_id else "failed" if cell.id in failed else "not run",
        }
        if cell.id in failed:
            row["reason"] = failed[cell.id]
        if cell.id in by_id:
            kept = "epochs best_epoch leak codec train validation test times_s device versions command".split()
            row |= {name: by_id[cell.id].results[name] for name in kept}
            row["training_s"] = by_id[cell.id].training_s
        rows.append(row)
    return rows


def table_1(runs: Sequence[Finished]) -> list[dict]:
    """Scores of the test part, with the paper's beside them where data set and input are those of its table.

    What an input has over mel or log-mel is the mean over the folds and seeds that both have.
    """
    groups = grouped(runs)
    rows = []
    for key, members in groups.items():
        dataset, preset, protocol, entry = key
        first = members[0].cell
        row = {"dataset": dataset, "preset": preset, "protocol": protocol, "input": entry, "runs": len(members)}
        for unit, name in SCORES:
            row[f"{unit}_{name}"] = mean_and_deviation([run.results["test"][unit][name] for run in members])
        cited = paper.TABLE_1.get(dataset, {}).get(first.input.features)
        row["paper"] = cited
        row["is_comparable"] = bool(cited) and is_comparable(first)
        for name in ("accuracy", "loss"):
            mean = row[f"window_{name}"]["mean"]
            row[f"{name}_difference"] = mean - cited[name] if row["is_comparable"] else None
        for other in ("mel", "log_mel"):
            base = groups.get((dataset, preset, protocol, other))
            pair = paired(members, base) if base and entry != other else None
            row[f"over_{other}"] = pair and pair["difference"]
            row[f"over_{other}_runs"] = pair["runs"] if pair else 0
        rows.append(row)
    return rows


def merit(runs: Sequence[Finished]) -> list[dict]:
    """Window accuracy of each input under each preset and protocol, what the leak adds, what is above log-mel.

    Each accuracy is a dict of `mean`, `deviation` and `count`, each difference one of `paired`: seeds are compared with
    the same seeds only. None where there is nothing.
    """
    groups = grouped(runs)
    rows = []
    for dataset, entry in dict.fromkeys((key[0], key[3]) for key in groups):

        def at(preset: str, protocol: str, who: str = entry, where: str = dataset) -> list[Finished]:
            return groups.get((where, preset, protocol, who), [])

        columns = {
            "paper": at("paper", "paper"),
            "standardized": at("paper+standardized", "paper"),
            "recommended_paper": at("recommended", "paper"),
            "recommended_clip": at("recommended", "clip"),
            "recommended_official": at("recommended", "official"),
        }
        row = {"dataset": dataset, "input": entry}
        for name, members in columns.items():
            scores = [run.results["test"]["window"]["accuracy"] for run in members]
            row[name] = mean_and_deviation(scores) if members else None
        clip, as_written = columns["recommended_clip"], columns["paper"]
        row["leak"] = paired(columns["recommended_paper"], clip)
        row["over_log_mel"] = paired(clip, at("recommended", "clip", "log_mel")) if entry != "log_mel" else None
        row["over_mel_in_paper"] = paired(as_written, at("paper", "paper", "mel")) if entry != "mel" else None
        rows.append(row)
    return rows


def convergence_rows(runs: Sequence[Finished]) -> list[dict]:
    """Convergence of each input against mel and log-mel of the same split, averaged over seeds and folds."""
    groups = grouped(runs)
    rows = []
    for (dataset, preset, protocol, entry), members in groups.items():
        row = {"dataset": dataset, "preset": preset, "protocol": protocol, "input": entry}
        for other in ("mel", "log_mel"):
            bases = {run.draw: run for run in groups.get((dataset, preset, protocol, other), [])}
            pairs = [(run, bases[run.draw]) for run in members if run.draw in bases]
            found = [convergence(run.results["history"], base.results["history"]) for run, base in pairs]
            row[other] = _average(found) if found else None
            row[f"above_{other}"] = None
            if found and entry != other:
                shares = [
                    share_of_epochs_above(run.results["history"], base.results["history"]) for run, base in pairs
                ]
                row[f"above_{other}"] = mean_and_deviation(shares)["mean"]
        own = [convergence(run.results["history"], run.results["history"]) for run in members]
        row["own"] = _average(own)
        row["epochs"] = max(run.results["epochs"] for run in members)
        row["final_accuracy"] = mean_and_deviation([one["baseline_final"] for one in own])["mean"]
        row["best_accuracy"] = mean_and_deviation(
            [max(epoch["validation_accuracy"] for epoch in run.results["history"]) for run in members]
        )["mean"]
        first = members[0].cell
        row["paper"] = paper.CONVERGENCE.get(dataset, {}).get(first.input.features)
        row["is_comparable"] = is_comparable(first)
        rows.append(row)
    return rows


def _average(found: Sequence[Mapping]) -> dict:
    out = {name: mean_and_deviation([one[name] for one in found])["mean"] for name in found[0]}
    passed = {"passed": "pass_epoch", "passed_smoothed": "pass_smoothed_epoch", "passed_loss": "pass_loss_epoch"}
    counts = {name: sum(one[which] is not None for one in found) for name, which in passed.items()}
    # The raw epoch and the smoothed one of the same runs: those that pass on both curves.
    both = [one for one in found if None not in (one["pass_epoch"], one["pass_smoothed_epoch"])] or found[:1]
    curves = {"raw": "pass_epoch", "smoothed": "pass_smoothed_epoch"}
    means = {name: mean_and_deviation([one[which] for one in both])["mean"] for name, which in curves.items()}
    return out | counts | {"runs": len(found), "both": means | {"runs": len(both)}}


def equal_epochs(runs: Sequence[Finished]) -> list[dict]:
    """Validation accuracy after the same number of epochs."""
    rows = []
    for (dataset, preset, protocol, entry), members in grouped(runs).items():
        found = [at_equal_epochs(run.results["history"]) for run in members]
        shared = [epoch for epoch in found[0] if all(epoch in one for one in found)]
        means = {epoch: mean_and_deviation([one[epoch] for one in found])["mean"] for epoch in shared}
        about = {"dataset": dataset, "preset": preset, "protocol": protocol, "input": entry, "runs": len(members)}
        rows.append(about | {"accuracy": means})
    return rows


def table_2(runs: Sequence[Finished], compared: Sequence[Mapping], sources: Sequence[Source]) -> list[dict]:
    """The paper's cited comparisons, our own means, and other models with ours of the very same clips.

    `compared` are the rows of `others.compare_rows`; `runs` is the number of folds and seeds in a mean.
    """
    rows = [
        {"kind": "cited", "model": row["model"], **{key: row[key] for key in paper.DATASETS}} for row in paper.TABLE_2
    ]
    groups = grouped(runs)
    for preset, protocol in (("paper", "paper"), ("recommended", "clip"), ("recommended", "official")):
        for entry in dict.fromkeys(key[3] for key in groups):
            unit = "window" if protocol == "paper" else "clip"
            members = {source.key: groups.get((source.key, preset, protocol, entry), []) for source in sources}
            scores = {key: mean_accuracy(own, unit) for key, own in members.items() if own}
            if scores:
                about = {"preset": preset, "protocol": protocol, "input": entry, "unit": unit}
                counts = {key: len(members[key]) for key in scores}
                rows.append({"kind": "measured", **about, **scores, "runs": counts})
    for row in compared:
        kept = {name: row.get(name) for name in ("model", "input", "protocol", "fold", "seed", "reason", "note")}
        about = {name: value for name, value in kept.items() if value is not None} | {"unit": "clip"}
        kind = "compared" if "model" in row else "same_clips"
        rows.append({"kind": kind, **about, row["dataset"]: row["accuracy"]})
    return rows
