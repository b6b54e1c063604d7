"""Groups of clips in a table: recordings that only somebody's ear, or `check-labels`, knows to be one."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from datasets import Dataset

from hf_encls.files import write_text
from hf_encls.files.escapes import csv_row, csv_text


def write_groups(groups: Mapping[str, str], path: str | os.PathLike) -> None:
    """Write a table of clips and their groups."""
    write_text("".join(map(csv_row, [("clip_id", "group"), *groups.items()])), path)


def with_groups(clips: Dataset, path: str | os.PathLike) -> Dataset:
    """Clips with the groups that a table names; those that it does not name keep theirs.

    Raises `ValueError` for a file that is no such table, and for one that names none of these clips.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is damaged: expected a table with the columns clip_id and group, {error}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if not rows or rows[0][:2] != ["clip_id", "group"] or any(len(row) < 2 or not row[1] for row in rows[1:]):
        raise ValueError(f"expected a table with the columns clip_id and group in {path}, found {rows[:1]!r:.80}")
    groups = {csv_text(row[0]): csv_text(row[1]) for row in rows[1:]}
    ids = clips["clip_id"][:]
    if not set(groups) & set(ids):
        raise ValueError(f"expected groups of these clips ({ids[0]}, ...) in {path}, found none of them")
    column = [groups.get(clip, group) for clip, group in zip(ids, clips["group"][:], strict=True)]
    order, features = clips.column_names, clips.features
    return clips.remove_columns("group").add_column("group", column).select_columns(order).cast(features)
