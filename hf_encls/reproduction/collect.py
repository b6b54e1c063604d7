"""From finished cells to report.json: every figure of the report, computed here and only here."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_encls.reproduction import paper
from hf_encls.reproduction.cell import RESULTS
from hf_encls.reproduction.grid import Cell
from hf_encls.reproduction.measures import (
    at_equal_epochs,
    convergence,
    load,
    mean_and_deviation,
    mel_frames,
    share_of_epochs_above,
    sizes,
)
from hf_encls.reproduction.sources import Source

SCORES = [(unit, name) for unit in ("window", "clip") for name in ("accuracy", "loss")]
RATES = (22_050, 44_100)
HOPS = (128, 256)


class Finished:
    """A cell with its results."""

    def __init__(self, cell: Cell, folder: Path):
        self.cell = cell
        self.folder = folder / cell.id
        self.results = json.loads((self.folder / RESULTS).read_text(encoding="utf-8"))

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What its seeds and folds have in common: data set, preset, protocol, input."""
        cell = self.cell
        return cell.source.key, cell.preset.name, cell.protocol, cell.input.key

    @property
    def draw(self) -> tuple[int | None, int]:
        """What must be equal for two cells to have the same split."""
        return self.cell.fold, self.cell.seed


def finished(cells: Sequence[Cell], folder: Path) -> list[Finished]:
    """The cells that have results.

    Raises `ValueError` when two cells of one input were made with different codecs of one name.
    """
    found = [Finished(cell, folder) for cell in cells if (folder / cell.id / RESULTS).is_file()]
    hashes: dict[str, str] = {}
    for run in found:
        codec = run.results["codec"]
        if codec and hashes.setdefault(run.cell.input.key, codec["hash"]) != codec["hash"]:
            raise ValueError(
                f"the cells of {run.cell.input.label} were made with two different codecs of that name "
                f"({hashes[run.cell.input.key][:12]} and {codec['hash'][:12]}): take another --output_dir"
            )
    return found


def grouped(runs: Sequence[Finished]) -> dict[tuple, list[Finished]]:
    """Runs by data set, preset, protocol and input, in their order."""
    groups: dict[tuple, list[Finished]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return groups


def cell_rows(cells: Sequence[Cell], runs: Sequence[Finished], failed: Mapping[str, str]) -> list[dict]:
    """One row for each cell: what it is, whether it is finished, its scores, command, versions and times."""
    by_id = {run.cell.id: run.results for run in runs}
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
            row |= {name: by_id[cell.id][name] for name in kept}
        rows.append(row)
    return rows


def table_1(runs: Sequence[Finished]) -> list[dict]:
    """Scores of the test part, with the paper's beside them where data set and input are those of its table."""
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
            row[f"over_{other}"] = None
            if base and entry != other:
                row[f"over_{other}"] = row["window_accuracy"]["mean"] - _mean_accuracy(base)
        rows.append(row)
    return rows


def is_comparable(cell: Cell) -> bool:
    """Whether the paper's figure is about the same: its data set, complete, and its codec."""
    same_codec = cell.input.codec in (None, paper.CODECS.get(cell.input.features))
    return cell.source.is_original and same_codec


def _mean_accuracy(members: Sequence[Finished], unit: str = "window") -> float:
    return mean_and_deviation([run.results["test"][unit]["accuracy"] for run in members])["mean"]


def merit(runs: Sequence[Finished]) -> list[dict]:
    """Window accuracy of each input under each preset and protocol, what the leak adds, what is above log-mel."""
    groups = {key: _mean_accuracy(members) for key, members in grouped(runs).items()}
    rows = []
    for dataset, entry in dict.fromkeys((key[0], key[3]) for key in groups):

        def at(preset: str, protocol: str, who: str = entry, where: str = dataset) -> float | None:
            return groups.get((where, preset, protocol, who))

        row = {
            "dataset": dataset,
            "input": entry,
            "paper": at("paper", "paper"),
            "standardized": at("paper+standardized", "paper"),
            "recommended_paper": at("recommended", "paper"),
            "recommended_clip": at("recommended", "clip"),
            "recommended_official": at("recommended", "official"),
        }
        row["leak"] = _minus(row["recommended_paper"], row["recommended_clip"])
        row["over_log_mel"] = row["over_mel_in_paper"] = None
        if entry != "log_mel":
            row["over_log_mel"] = _minus(row["recommended_clip"], at("recommended", "clip", "log_mel"))
        if entry != "mel":
            row["over_mel_in_paper"] = _minus(row["paper"], at("paper", "paper", "mel"))
        rows.append(row)
    return rows


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


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
    passed = {"passed": "pass_epoch", "passed_loss": "pass_loss_epoch"}
    counts = {name: sum(one[which] is not None for one in found) for name, which in passed.items()}
    return out | counts | {"runs": len(found)}


def equal_epochs(runs: Sequence[Finished]) -> list[dict]:
    """Validation accuracy after the same number of epochs."""
    rows = []
    for (dataset, preset, protocol, entry), members in grouped(runs).items():
        found = [at_equal_epochs(run.results["history"]) for run in members]
        shared = [epoch for epoch in found[0] if all(epoch in one for one in found)]
        means = {epoch: mean_and_deviation([one[epoch] for one in found])["mean"] for epoch in shared}
        rows.append({"dataset": dataset, "preset": preset, "protocol": protocol, "input": entry, "accuracy": means})
    return rows


def size_rows(cells: Sequence[Cell]) -> list[dict]:
    """Frames and bytes per second of each representation, as the cells use them."""
    rows = []
    for cell in _one_each(cells):
        cited = paper.FRAMES_PER_S.get(cell.input.features)
        rows.append(
            {
                "dataset": cell.source.key,
                "input": cell.input.key,
                "sampling_rate": cell.network().sampling_rate,
                "hop_length": None if cell.network().is_codec else cell.network().hop_length,
                **sizes(cell.network()),
                "paper_frames_per_s": cited,
            }
        )
    return rows


def mel_readings() -> list[dict]:
    """Frames of one second of mel in every reading of the paper: rate, hop, centring."""
    return [
        {
            "sampling_rate": rate,
            "hop_length": hop,
            "frames": mel_frames(rate, 1.0, hop),
            "frames_centred": mel_frames(rate, 1.0, hop, centred=True),
        }
        for rate in RATES
        for hop in HOPS
    ]


def load_rows(runs: Sequence[Finished]) -> list[dict]:
    """Multiply-adds of the network for each input of each data set, and how they compare with mel's."""
    rows, seen = [], {}
    for run in runs:
        cell = run.cell
        if cell.preset.variant or (cell.source.key, cell.input.key) in seen:
            continue
        seen[cell.source.key, cell.input.key] = load(cell.network(), run.results["train"]["num_windows"])
    for (dataset, entry), counts in seen.items():
        mel = seen.get((dataset, "mel"))
        shown = {"per_s_millions": counts["per_s"] / 1e6, "per_epoch_billions": counts["per_epoch"] / 1e9}
        ratio = counts["forward"] / mel["forward"] if mel else None
        rows.append({"dataset": dataset, "input": entry, **counts, **shown, "of_mel": ratio})
    return rows


def _one_each(cells: Sequence[Cell]) -> list[Cell]:
    """The first cell of each data set and input, variants left out."""
    seen: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        if not cell.preset.variant:
            seen.setdefault((cell.source.key, cell.input.key), cell)
    return list(seen.values())


def table_2(runs: Sequence[Finished], compared: Sequence[Mapping], sources: Sequence[Source]) -> list[dict]:
    """The paper's cited comparisons, our best figures without a leak, and the models measured here."""
    rows = [
        {"kind": "cited", "model": row["model"], **{key: row[key] for key in paper.DATASETS}} for row in paper.TABLE_2
    ]
    groups = grouped(runs)
    for preset, protocol in (("paper", "paper"), ("recommended", "clip"), ("recommended", "official")):
        for entry in dict.fromkeys(key[3] for key in groups):
            unit = "window" if protocol == "paper" else "clip"
            scores = {
                source.key: _mean_accuracy(members, unit)
                for source in sources
                if (members := groups.get((source.key, preset, protocol, entry)))
            }
            if scores:
                about = {"preset": preset, "protocol": protocol, "input": entry, "unit": unit}
                rows.append({"kind": "measured", **about, **scores})
    for row in compared:
        about = {"kind": "compared", "model": row["model"], "protocol": row["protocol"], "unit": "clip"}
        rows.append(about | {row["dataset"]: row["accuracy"], "reason": row.get("reason")})
    return rows
