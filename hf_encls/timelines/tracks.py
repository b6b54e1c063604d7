"""Where labels lie: a folder of files, one file, or a pattern; and the timelines in them by the names of recordings."""

import glob
import os
import re
from pathlib import Path

from hf_encls.audio import EXTENSIONS
from hf_encls.files.finding import find_files
from hf_encls.timelines.reading import read_timeline

ENDINGS = frozenset(".txt .csv .tsv .rttm .textgrid .json .jsonl .lab .ann".split())
RAVEN = re.compile(r"\.Table\.\d+\.selections$")


def label_files(where: str) -> tuple[list[Path], Path]:
    """The files of labels at `where`, and the folder below which they lie. Raises `ValueError` where there are none."""
    path = Path(where)
    if path.is_file():
        return [path], path.parent
    if path.is_dir():
        files = find_files(path, lambda each: each.suffix.lower() in ENDINGS).files
        if not files:
            raise ValueError(f"expected files of labels below {where} ({', '.join(sorted(ENDINGS))}), found none")
        return files, path
    if glob.has_magic(where):
        names = glob.glob(where, recursive=True)  # noqa: PTH207 - a pattern may be absolute
        files = sorted(Path(name) for name in names if Path(name).is_file())
        if files:
            return files, Path(os.path.commonpath([file.parent for file in files]))
    raise ValueError(f"expected a folder, a file or a pattern of labels at {where!r}, found nothing")


def read_tracks(where: str, *, tier: str | None = None, column: str | None = None) -> dict[str, list[dict]]:
    """The timelines at `where` by the name of their recording, without endings: `show` for `show.wav`.

    A file is of the recording that it is called after, its rows are of those that they name. Raises `ValueError` as
    `label_files` and `read_timeline`, and where two files are of one recording.
    """
    files, base = label_files(where)
    tracks: dict[str, list[dict]] = {}
    for file in files:
        segments = read_timeline(file, tier=tier, column=column)
        name_of_file = recording_name(file.relative_to(base).with_suffix("").as_posix())
        timelines: dict[str, list[dict]] = {} if segments else {name_of_file: []}
        for segment in segments:
            name = recording_name(segment["file"].replace("\\", "/")) if "file" in segment else name_of_file
            timelines.setdefault(name, []).append(segment)
        for name, timeline in timelines.items():
            if name in tracks:
                raise ValueError(
                    f"expected one timeline of {name}, found two in {where}, the second one in {file.name}"
                )
            tracks[name] = timeline
    return tracks


def recording_name(name: str) -> str:
    """A recording's name without what says that it is one: `day/show` for `day/show.wav` and for Raven's tables of it."""
    name = RAVEN.sub("", name)
    return name.rpartition(".")[0] if Path(name).suffix.lower() in EXTENSIONS else name
