"""A feature data set in a folder: what a push would hold, for machines without the Hub or for an upload of one's own."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from hf_encls.files import move_into_place, new_folder, work_folder, write_bytes, writing
from hf_encls.hub.push_features import Changes, FeatureSet, made
from hf_encls.hub.repository import Repository, check_features, read_facts
from hf_encls.report.card_files import CARD


def save_features(
    features: FeatureSet,
    folder: str | os.PathLike,
    *,
    replace: bool = False,
    overwrite: bool = False,
    repo_id: str | None = None,
) -> Path:
    """Write windows of features as one configuration of a data set in a folder; returns the folder.

    It holds what `push_features` would send, and other configurations in it stay: `load_dataset(folder, name)` and
    `load_published` read it. Its card calls it `repo_id`, or by the folder's name. A new folder appears when all is
    in it; in one that is there the configuration's folder is exchanged as a whole, and the card comes last.

    `replace`, `overwrite` and errors as of `push_features`.
    """
    folder = Path(folder)
    with made(features) as files, writing(folder):
        changes = files.changes(Repository.look_into(folder), repo_id or folder.resolve().name, replace, overwrite)
        if not folder.is_dir() or not any(folder.iterdir()):
            with new_folder(folder) as work:
                _write(changes, work)
        else:
            with work_folder(folder) as work:
                _write(changes, work)
                name = features.config_name
                _exchange(work / name, folder / name, [*changes.files, *changes.gone])
                write_bytes(changes.texts[CARD], folder / CARD)
        changes.tell()
    return folder


def check_folder_target(folder: str | os.PathLike, overwrite: bool = False) -> None:
    """Raise `PublishError` where no features can be written into a folder, whatever they are, before they are made."""
    repository = Repository.look_into(Path(folder))
    entries = read_facts(repository)
    check_features(repository, entries, "", entries[0]["source"] if entries else "", overwrite)


def _write(changes: Changes, folder: Path) -> None:
    for path, text in changes.texts.items():
        write_bytes(text, folder / path)
    for path, file in changes.files.items():
        shutil.copyfile(file, folder / path)


def _exchange(new: Path, old: Path, written: Sequence[str]) -> None:
    """Put a folder in the place of another one, with the files of others that are in that."""
    ours = {Path(path).name for path in written}
    for path in old.iterdir() if old.is_dir() else ():
        if path.name not in ours and not (new / path.name).exists():
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, new / path.name)
    if old.is_dir():
        old.rename(new.parent / "old")
    move_into_place(new, old)
