"""What `check-labels` found: a table for people and programs, and a page to listen through."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import soundfile

from hf_encls.files.escapes import csv_row, markdown
from hf_encls.report.tables import markdown_table

TEMPLATES = Path(__file__).with_name("templates")
SHOWN = 60  # findings on the page
SNIPPET_S, SNIPPET_HZ = 4.0, 16_000  # of sound for each
HEAD = ("kind", "clip", "start", "label", "suggested", "score", "other", "reason")
KINDS = {"label": "labels that look wrong", "copy": "copies", "silent": "silence", "clipped": "clipping"}


@dataclass(frozen=True)
class Finding:
    """One thing to look at. `score` is from 0 to 1, the larger the worse; `start_s` is given where windows are judged."""

    kind: str
    clip: str
    label: str
    score: float
    reason: str
    suggested: str = ""
    other: str = ""
    start_s: float | None = None

    def cells(self) -> list[str]:
        """The columns of `HEAD`."""
        start = "" if self.start_s is None else f"{self.start_s:g}"
        return [self.kind, self.clip, start, self.label, self.suggested, f"{self.score:.3f}", self.other, self.reason]


def to_csv(findings: Sequence[Finding]) -> str:
    """All findings, as RFC 4180."""
    return csv_row(HEAD) + "".join(csv_row(each.cells()) for each in findings)


def to_markdown(findings: Sequence[Finding]) -> str:
    """All findings as one Markdown table."""
    return markdown_table(HEAD, [list(map(markdown, each.cells())) for each in findings], left=len(HEAD)) + "\n"


def to_page(findings: Sequence[Finding], title: str, load: Callable[[str], tuple[np.ndarray, int]]) -> str:
    """A self-contained page with the first `SHOWN` findings of each kind and their sounds.

    `load` gives the samples (N,) of a clip, and their rate in hertz.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    sections = []
    for kind, name in KINDS.items():
        of_kind = [each for each in findings if each.kind == kind]
        rows = [
            {"finding": each, "sounds": {clip: snippet(*load(clip), each.start_s) for clip in _clips(each)}}
            for each in of_kind[:SHOWN]
        ]
        if of_kind:
            sections.append({"name": name, "rows": rows, "more": len(of_kind) - len(rows)})
    return environment.get_template("labels.html").render(title=title, sections=sections)


def snippet(samples: np.ndarray, rate: int, start_s: float | None = None) -> str:
    """A few seconds of sound as a data URI, MP3, that every browser plays."""
    from hf_encls.audio import resample

    start = round((start_s or 0.0) * rate)
    piece = samples[start : start + round(SNIPPET_S * rate)]
    if rate != SNIPPET_HZ and len(piece):
        piece = resample(piece, rate, SNIPPET_HZ)
    file = io.BytesIO()
    soundfile.write(file, np.clip(piece, -1, 1), SNIPPET_HZ, format="MP3", subtype="MPEG_LAYER_III")
    return "data:audio/mpeg;base64," + base64.b64encode(file.getvalue()).decode()


def counts(findings: Sequence[Finding]) -> Mapping[str, int]:
    """How many there are of each kind."""
    return {kind: sum(each.kind == kind for each in findings) for kind in KINDS}


def _clips(finding: Finding) -> list[str]:
    return [finding.clip, finding.other] if finding.other else [finding.clip]
