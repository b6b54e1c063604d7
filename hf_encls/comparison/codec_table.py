"""The table of codecs side by side: from finished cells to Markdown, CSV, JSON and a picture."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from hf_encls.comparison.significance import CONFIDENCE, mcnemar, paired_t, t_interval
from hf_encls.files import write_json, write_text
from hf_encls.files.escapes import csv_row, markdown
from hf_encls.report.canvas import drawn, look, new_figure, save_figure
from hf_encls.report.tables import markdown_table

REFERENCE = "log_mel"
HEAD = ("features", "head", "kB/s", "kbit/s of codes", "speed", "clips told right", "95% interval")
HEAD += ("less log_mel", "p, folds (t)", "p, clips (McNemar)")
UNIT = {"clip": "draws of the split", "official": "folds", "paper": "draws of the split"}


def table_rows(cells: Sequence[Mapping], features: Mapping[str, Mapping]) -> list[dict]:
    """One row for each protocol, head and kind of features, in the order of `cells`.

    Args:
        cells: `features`, `head`, `protocol`, `fold`, `seed`, `clip_accuracy` and `right` (clip id -> bool) of each.
        features: name -> `kbytes_per_s`, `kbits_per_s`, `x_real_time` and `notes`.

    `accuracy` is over folds, each the mean of its seeds, and over seeds where there are no folds. What is compared with
    `REFERENCE` has the same head, protocol and folds; clips are those of the first seed.
    """

    def key(cell: Mapping) -> tuple[str, str, str]:
        return cell["protocol"], cell["head"], cell["features"]

    grouped = {name: list(group) for name, group in groupby(cells, key)}
    fastest = features[REFERENCE]["x_real_time"]
    rows = []
    for (protocol, head, name), members in grouped.items():
        units, right = _units(members), _right(members)
        row = {"protocol": protocol, "features": name, "head": head, **features[name]}
        row |= {
            "relative_speed": features[name]["x_real_time"] / fastest,
            "accuracy": t_interval(list(units.values())),
        }
        reference = grouped.get((protocol, head, REFERENCE))
        if reference and name != REFERENCE:
            reference_units = _units(reference)
            shared = sorted(units.keys() & reference_units.keys())
            pairs = [units[unit] for unit in shared], [reference_units[unit] for unit in shared]
            row["difference"] = t_interval(np.subtract(*pairs).tolist())
            row["t_p"] = paired_t(*pairs)
            row["mcnemar"] = mcnemar(right, _right(reference))
        rows.append(row)
    return rows


def _units(cells: Sequence[Mapping]) -> dict[tuple, float]:
    """Accuracy of each fold, the mean of its seeds; of each seed where there are no folds."""
    accuracies: dict[tuple, list[float]] = {}
    for cell in cells:
        unit = ("seed", cell["seed"]) if cell["fold"] is None else ("fold", cell["fold"])
        accuracies.setdefault(unit, []).append(cell["clip_accuracy"])
    return {unit: float(np.mean(values)) for unit, values in accuracies.items()}


def _right(cells: Sequence[Mapping]) -> dict[str, bool]:
    first = cells[0]["seed"]
    return {clip: right for cell in cells if cell["seed"] == first for clip, right in cell["right"].items()}


def write_table(rows: Sequence[Mapping], conditions: Mapping, folder: Path) -> Path:
    """Write `codecs.md`, `codecs.csv`, `codecs.json` and `codecs.png`; returns the first.

    `conditions`: `dataset`, `clips`, `divisions` (how many folds or seeds of each protocol) and `epochs`.
    """
    write_json({"about": dict(conditions), "rows": list(rows)}, folder / "codecs.json")
    write_text(_csv(rows), folder / "codecs.csv")
    save_picture(rows, folder / "codecs.png")
    write_text(page(rows, conditions), folder / "codecs.md")
    return folder / "codecs.md"


def page(rows: Sequence[Mapping], conditions: Mapping) -> str:
    """The Markdown page: a table for each protocol, and what a reader must know of it."""
    lines = [
        f"# Codecs on {markdown(conditions['dataset'])}",
        "",
        f"{conditions['clips']} clips, {conditions['epochs']:g} epochs for heads that have them.",
        "",
    ]
    for protocol, group in groupby(rows, lambda row: row["protocol"]):
        of_protocol = list(group)
        count = of_protocol[0]["accuracy"]["count"]
        lines += [
            f"## Protocol `{protocol}`: {count} {UNIT[protocol]}",
            "",
            markdown_table(HEAD, map(_cells, of_protocol), 2),
            "",
        ]
    lines += ["![Clips told right](codecs.png)", ""]
    notes = {row["features"]: row["notes"] for row in rows if row["notes"]}
    lines += [f"- **{markdown(name)}**: {markdown(note)}" for name, each in notes.items() for note in each]
    return "\n".join([*lines, *([""] if notes else []), EXPLAINED])


EXPLAINED = f"""kB/s: bytes of the stored features in a second of audio. Speed: how fast features are made of decoded audio,
all rows in turns in one run, relative to {REFERENCE}. The {CONFIDENCE:.0%} interval is Student's over folds:
mean ± t s / √n, n - 1 degrees of freedom. Folds share training clips, so it is rather too narrow than too wide
(Dietterich 1998). Both tests are two-sided and paired with {REFERENCE} under the same head: Student's over folds, McNemar's
exact one over clips (of the first seed). With many rows some p are small by chance: nothing is corrected for that.
"""


def _cells(row: Mapping) -> list[str]:
    accuracy = row["accuracy"]
    interval = [_interval(accuracy)] if accuracy["low"] is not None else ["one run"]
    compared = ["", "", ""]
    if "difference" in row:
        compared = [f"{row['difference']['mean']:+.3f}", _p(row["t_p"]), _p(row["mcnemar"]["p"])]
    kbits = row["kbits_per_s"]
    return [
        markdown(row["features"]) + ("" if not row["tags"] else f" ({', '.join(row['tags'])})"),
        row["head"],
        f"{row['kbytes_per_s']:.1f}",
        "" if kbits is None else f"{kbits:g}",
        f"{row['relative_speed']:.3g}",
        f"{accuracy['mean']:.3f}",
        *interval,
        *compared,
    ]


def _interval(values: Mapping) -> str:
    return f"{values['low']:.3f} to {values['high']:.3f}"


def _half(values: Mapping) -> float:
    return 0.0 if values["high"] is None else values["high"] - values["mean"]


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _csv(rows: Sequence[Mapping]) -> str:
    names = ("protocol", "features", "tags", "head", "kbytes_per_s", "kbits_per_s", "x_real_time", "relative_speed")
    names += ("accuracy", "low", "high", "count", "difference", "t_p", "mcnemar_p")
    lines = [csv_row(names)]
    for row in rows:
        accuracy, compared = row["accuracy"], row.get("mcnemar", {})
        numbers = [row["kbytes_per_s"], row["kbits_per_s"], row["x_real_time"], row["relative_speed"]]
        numbers += [accuracy[name] for name in ("mean", "low", "high", "count")]
        numbers += [row.get("difference", {}).get("mean"), row.get("t_p"), compared.get("p")]
        texts = csv_row([row["protocol"], row["features"], "; ".join(row["tags"]), row["head"]]).rstrip("\n")
        # Numbers are written as they are: a leading minus is no formula here.
        lines.append(",".join([texts, *("" if number is None else str(number) for number in numbers)]) + "\n")
    return "".join(lines)


def save_picture(rows: Sequence[Mapping], path: Path) -> Path:
    """Accuracy of each kind of features with its interval; heads by colour and mark, a panel for each protocol."""
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    names = list(dict.fromkeys(row["features"] for row in rows))
    heads = list(dict.fromkeys(row["head"] for row in rows))
    tags = {row["features"]: row["tags"] for row in rows}
    figure = new_figure(8, 1.4 + 0.24 * len(names) * len(protocols) * (1 + len(heads)))
    panels = figure.subplots(len(protocols), 1, sharex=True, squeeze=False)[:, 0]
    for axes, protocol in zip(panels, protocols, strict=True):
        for number, head in enumerate(heads):
            points = [row for row in rows if row["protocol"] == protocol and row["head"] == head]
            shift = 0.6 * ((number + 0.5) / len(heads) - 0.5)
            middle = [row["accuracy"]["mean"] for row in points]
            ends = [
                [abs((row["accuracy"][end] or mean) - mean) for row, mean in zip(points, middle)]
                for end in ("low", "high")
            ]
            places = [names.index(row["features"]) + shift for row in points]
            colour, mark = look(number).colour, "osDv^PX"[number % 7]
            axes.errorbar(middle, places, xerr=ends, fmt=mark, color=colour, capsize=3, label=head)
            for row, mean in zip(points, middle):
                if row["features"] == REFERENCE:
                    axes.axvline(mean, color=colour, linewidth=0.8, linestyle=":")
        labels = [f"{name} ({', '.join(tags[name])})" if tags[name] else name for name in names]
        axes.set_yticks(range(len(names)), [drawn(name, 60) for name in labels])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_title(f"protocol {protocol}", fontsize=10, loc="left")
        axes.grid(axis="x", alpha=0.3)
    panels[-1].set_xlabel(f"clips told right (mean, {CONFIDENCE:.0%} interval; dotted: {REFERENCE})")
    if len(heads) > 1:
        panels[0].legend(title="head", fontsize=8)
    return save_figure(figure, path)
