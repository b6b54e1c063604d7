"""The picture beside the table of codecs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_encls.comparison.choice import Candidate
from hf_encls.comparison.significance import CONFIDENCE
from hf_encls.report.canvas import drawn, look, new_figure, save_figure

REFERENCE = "log_mel"


def save_picture(rows: Sequence[Mapping], path: Path) -> Path:
    """Accuracy of each kind of features with its interval; candidates by colour and mark, a panel for each
    protocol.
    """
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    names = list(dict.fromkeys(row["features"] for row in rows))
    heads = list(dict.fromkeys(_label(row) for row in rows))
    tags = {row["features"]: row["tags"] for row in rows}
    figure = new_figure(8, 1.4 + 0.24 * len(names) * len(protocols) * (1 + len(heads)))
    panels = figure.subplots(len(protocols), 1, sharex=True, squeeze=False)[:, 0]
    for axes, protocol in zip(panels, protocols, strict=True):
        for number, head in enumerate(heads):
            points = [row for row in rows if row["protocol"] == protocol and _label(row) == head]
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


def _label(row: Mapping) -> str:
    return Candidate.of(row).text
