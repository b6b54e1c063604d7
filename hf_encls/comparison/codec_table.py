"""The table of codecs side by side: from finished cells to Markdown, CSV, JSON and a picture."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_encls.comparison.choice import Candidate, chosen, how_often
from hf_encls.comparison.codec_picture import REFERENCE, save_picture
from hf_encls.comparison.codecs import CELL
from hf_encls.comparison.significance import CONFIDENCE, mcnemar, paired_t, t_interval
from hf_encls.files import write_json, write_text
from hf_encls.files.escapes import csv_row, markdown
from hf_encls.report.tables import markdown_table

COSTS = ("kB/s", "kbit/s of codes", "speed")
TOLD = ("clips told right", "deviation", "95% interval")
COMPARED = ("less log_mel", "p, folds (t)", "p, clips (McNemar)")
TIMES = ("training (s)", "CPU (s)")
SETTINGS = {"window_s": "window (s)", "floor_db": "floor (dB)", "recipe": "recipe"}  # columns where they differ
UNIT = {"clip": "draws of the split", "official": "folds", "paper": "draws of the split"}
CHOSEN = "chosen by validation"
ALL = "all heads"


def table_rows(cells: Sequence[Mapping], features: Mapping[str, Mapping]) -> list[dict]:
    """One row for each protocol, candidate (head, window, floor, recipe) and kind of features, in the order of `cells`.

    Args:
        cells: `features`, `head`, `protocol`, `fold`, `seed`, `clip_accuracy` and `right` (clip id -> bool) of each;
            `window_s`, `floor_db`, `recipe` and `training_s` where they are known.
        features: name -> `kbytes_per_s`, `kbits_per_s`, `x_real_time` and `notes`.

    `accuracy` is over folds, each the mean of its seeds, and over seeds where there are no folds. What is compared with
    `REFERENCE` has the same head, window, recipe, protocol and folds (`REFERENCE` the first of its floors); clips are those
    of the first seed.
    """
    grouped = _grouped(cells, lambda cell: (cell["protocol"], cell["features"], Candidate.of(cell)))
    references: dict[tuple, list] = {}
    for (protocol, name, candidate), members in grouped.items():
        if name == REFERENCE:
            references.setdefault((protocol, replace(candidate, floor_db=None)), members)
    rows = []
    for (protocol, name, candidate), members in grouped.items():
        row = {"protocol": protocol, "features": name, **vars(candidate), **_row(members, features, name)}
        reference = references.get((protocol, replace(candidate, floor_db=None)))
        rows.append(row | (_beside(members, reference) if reference and name != REFERENCE else {}))
    return rows


def chosen_rows(cells: Sequence[Mapping], features: Mapping[str, Mapping]) -> list[dict]:
    """What choosing in each division by its validation clips comes to: of each protocol and kind of features, `among` all
    candidates and among those of each head.

    The arguments are those of `table_rows`. Only where there is a choice. `choices` says what was chosen, and how often;
    `training_s` and `cpu_s` are of all that was trained to choose from. Of cells that do not say how their validation
    clips were told there is no `accuracy`.
    """
    chosen_cells, rows = {}, []
    for (protocol, name), members in _grouped(cells, lambda cell: (cell["protocol"], cell["features"])).items():
        if len(set(map(Candidate.of, members))) < 2:
            continue
        of_heads = _grouped(members, lambda cell: cell["head"])
        for among, group in ({ALL: members} | of_heads if len(of_heads) > 1 else of_heads).items():
            row = {
                "protocol": protocol,
                "features": name,
                "head": f"{CHOSEN}, {among}",
                "among": among,
                **features[name],
            }
            best = chosen(group)
            if best is None:
                rows.append(row)
                continue
            chosen_cells[protocol, name, among] = best
            row |= _row(best, features, name) | {"choices": how_often(best)}
            row |= {key: _all_of(group, key, len(best)) for key in ("training_s", "cpu_s")}
            reference = chosen_cells.get((protocol, REFERENCE, among))
            rows.append(row | (_beside(best, reference) if reference and name != REFERENCE else {}))
    return rows


def _grouped(cells: Sequence[Mapping], key: Callable[[Mapping], Hashable]) -> dict[Any, list[Mapping]]:
    grouped: dict[Any, list[Mapping]] = {}
    for cell in cells:
        grouped.setdefault(key(cell), []).append(cell)
    return grouped


def _row(cells: Sequence[Mapping], features: Mapping[str, Mapping], name: str) -> dict:
    """What a row says of its cells alone."""
    values = list(_units(cells).values())
    return {
        **features[name],
        "relative_speed": features[name]["x_real_time"] / features[REFERENCE]["x_real_time"],
        "accuracy": t_interval(values),
        "deviation": float(np.std(values)),
        **{key: _all_of(cells, key, len(cells)) for key in ("training_s", "cpu_s")},
    }


def _all_of(cells: Sequence[Mapping], key: str, divisions: int) -> float | None:
    """Seconds of all cells for each division; None where they are not known."""
    known = [cell[key] for cell in cells if key in cell]
    return sum(known) / divisions if len(known) == len(cells) else None


def _beside(cells: Sequence[Mapping], reference: Sequence[Mapping]) -> dict:
    """Cells beside those of the reference: the difference over the folds that both have, and both tests."""
    units, others = _units(cells), _units(reference)
    shared = sorted(units.keys() & others.keys())
    pairs = [units[unit] for unit in shared], [others[unit] for unit in shared]
    return {
        "difference": t_interval(np.subtract(*pairs).tolist()),
        "t_p": paired_t(*pairs),
        "mcnemar": mcnemar(_right(cells), _right(reference)),
    }


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


def write_table(rows: Sequence[Mapping], choices: Sequence[Mapping], conditions: Mapping, folder: Path) -> Path:
    """Write `codecs.md`, `codecs.csv`, `codecs.json` and `codecs.png` of `table_rows` and `chosen_rows`; returns the first.

    `conditions`: `dataset`, `clips`, `audio_s` (seconds of all clips), `seeds` and `epochs` (None: each recipe's own).
    """
    write_json({"about": dict(conditions), "rows": list(rows), "chosen": list(choices)}, folder / "codecs.json")
    write_text(_csv([*rows, *(row for row in choices if "accuracy" in row)]), folder / "codecs.csv")
    save_picture(rows, folder / "codecs.png")
    write_text(page(rows, choices, conditions), folder / "codecs.md")
    return folder / "codecs.md"


def page(rows: Sequence[Mapping], choices: Sequence[Mapping], conditions: Mapping) -> str:
    """The Markdown page: tables for each protocol, and what a reader must know of them."""
    epochs = conditions["epochs"]
    trained = "each recipe's own number of epochs" if epochs is None else f"{epochs:g} epochs"
    lines = [
        f"# Codecs on {markdown(conditions['dataset'])}",
        "",
        f"{conditions['clips']} clips, {trained} for heads that have them.",
        "",
    ]
    settings = [name for name in SETTINGS if len({row[name] for row in rows}) > 1]
    texts = {"window_s": "windows of {:g} s", "floor_db": "floor {:g} dB", "recipe": "recipe {}"}
    common = {name: rows[0][name] for name in SETTINGS if name not in settings and rows[0][name] is not None}
    if common:
        lines[2] += f" All rows: {', '.join(texts[name].format(value) for name, value in common.items())}."
    for protocol, of_protocol in _grouped(rows, lambda row: row["protocol"]).items():
        count, several = of_protocol[0]["accuracy"]["count"], [SETTINGS[name] for name in settings]
        head = ("features", "head", *several, *COSTS, *TOLD, *COMPARED, *TIMES)
        cells = [_cells(row, settings) for row in of_protocol]
        lines += [f"## Protocol `{protocol}`: {count} {UNIT[protocol]}", ""]
        lines += [markdown_table(head, cells, 2), ""]
        lines += _page_of_choices([row for row in choices if row["protocol"] == protocol], conditions)
    lines += ["![Clips told right](codecs.png)", ""]
    notes = {row["features"]: row["notes"] for row in rows if row["notes"]}
    lines += [f"- **{markdown(name)}**: {markdown(note)}" for name, each in notes.items() for note in each]
    return "\n".join([*lines, *([""] if notes else []), EXPLAINED])


def _page_of_choices(choices: Sequence[Mapping], conditions: Mapping) -> list[str]:
    """The table of what was chosen by validation; a line for an input of which that is not known."""
    known = [row for row in choices if "accuracy" in row]
    unknown = dict.fromkeys(markdown(row["features"]) for row in choices if "accuracy" not in row)
    lines = []
    if known:
        head = ("features", "among", CHOSEN, *TOLD, *COMPARED, *TIMES, "features (s)")
        cells = [_cells_of_choice(row, conditions["audio_s"]) for row in known]
        lines += [
            "In each division the candidate whose validation clips were told best, scored on its test clips:",
            "",
        ]
        lines += [markdown_table(head, cells, 3), ""]
    if unknown:
        lines += [
            f"No choice by validation of {', '.join(unknown)}: some of the cells were finished by a version that did not "
            f"keep how validation clips were told. Delete these {CELL} to have them trained again.",
            "",
        ]
    return lines


EXPLAINED = f"""kB/s: bytes of the stored features in a second of audio. Speed: how fast features are made of decoded audio,
all rows in turns in one run, relative to {REFERENCE}. The deviation is that of the folds (of the population). The
{CONFIDENCE:.0%} interval is Student's over folds: mean ± t s / √n, n - 1 degrees of freedom. Folds share training clips, so
it is rather too narrow than too wide (Dietterich 1998). Both tests are two-sided and paired with {REFERENCE} under the
same head, window and recipe (with the first of its floors), a choice with that of {REFERENCE} among the same heads:
Student's over folds, McNemar's exact one over clips (of the first seed). With many rows some p are small by chance: nothing
is corrected for that. Training: seconds of the clock for one division, with whatever else the machine had to do; CPU: those
of the process, in which the scoring is too. Of a choice they are those of all its candidates. Features: seconds to make them
of all clips once, without decoding.
"""


def _cells(row: Mapping, settings: Sequence[str]) -> list[str]:
    kbits = row["kbits_per_s"]
    texts = {"window_s": f"{row['window_s']:g}", "recipe": row["recipe"]}
    texts["floor_db"] = "" if row["floor_db"] is None else f"{row['floor_db']:g}"
    return [
        _tagged(row),
        row["head"],
        *(texts[name] for name in settings),
        f"{row['kbytes_per_s']:.1f}",
        "" if kbits is None else f"{kbits:g}",
        f"{row['relative_speed']:.3g}",
        *_told(row),
        *_seconds(row),
    ]


def _cells_of_choice(row: Mapping, audio_s: float) -> list[str]:
    choices = "; ".join(f"{text} ({count})" for text, count in row["choices"])
    features_s = f"{audio_s / row['x_real_time']:.0f}"
    return [_tagged(row), row["among"], markdown(choices), *_told(row), *_seconds(row), features_s]


def _tagged(row: Mapping) -> str:
    return markdown(row["features"]) + ("" if not row["tags"] else f" ({', '.join(row['tags'])})")


def _told(row: Mapping) -> list[str]:
    """How many clips were told right, and how that compares with the reference: the columns TOLD and COMPARED."""
    accuracy, compared = row["accuracy"], ["", "", ""]
    if "difference" in row:
        compared = [f"{row['difference']['mean']:+.3f}", _p(row["t_p"]), _p(row["mcnemar"]["p"])]
    sure = ["", "one run"] if accuracy["low"] is None else [f"{row['deviation']:.3f}", _interval(accuracy)]
    return [f"{accuracy['mean']:.3f}", *sure, *compared]


def _seconds(row: Mapping) -> list[str]:
    """The columns TIMES."""
    return ["" if row[key] is None else f"{row[key]:.1f}" for key in ("training_s", "cpu_s")]


def _interval(values: Mapping) -> str:
    return f"{values['low']:.3f} to {values['high']:.3f}"


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _csv(rows: Sequence[Mapping]) -> str:
    names = ("protocol", "features", "tags", "head", "kbytes_per_s", "kbits_per_s", "x_real_time", "relative_speed")
    names += ("accuracy", "low", "high", "count", "difference", "t_p", "mcnemar_p")
    names += ("deviation", "training_s", "cpu_s", "window_s", "floor_db", "recipe")
    lines = [csv_row(names)]
    for row in rows:
        accuracy, compared = row["accuracy"], row.get("mcnemar", {})
        numbers = [row["kbytes_per_s"], row["kbits_per_s"], row["x_real_time"], row["relative_speed"]]
        numbers += [accuracy[name] for name in ("mean", "low", "high", "count")]
        numbers += [row.get("difference", {}).get("mean"), row.get("t_p"), compared.get("p")]
        numbers += [row[name] for name in ("deviation", "training_s", "cpu_s")]
        numbers += [row.get(name) for name in ("window_s", "floor_db")]
        texts = csv_row([row["protocol"], row["features"], "; ".join(row["tags"]), row["head"]]).rstrip("\n")
        # Numbers are written as they are: a leading minus is no formula here.
        written = ["" if number is None else str(number) for number in numbers]
        lines.append(",".join([texts, *written, csv_row([row.get("recipe", "")])]))
    return "".join(lines)
