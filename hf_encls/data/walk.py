"""Finding the files of a class-named folder tree: each of them once, whatever links and copies there are."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hf_encls.audio import EXTENSIONS

# Files that live beside audio and are nobody's clip: not worth a line in the report.
COMPANIONS = frozenset(".txt .md .csv .tsv .json .yaml .yml .pdf .png .jpg .jpeg .gif .html .xml .m3u .log".split())


def clip_id(root: Path, path: Path) -> str:
    """The path below the data set's folder, with forward slashes."""
    return path.relative_to(root).as_posix()


def walk(root: Path) -> tuple[list[tuple[Path, str]], list[dict[str, str]], list[str]]:
    """(file, label) of every file that may be audio, in a fixed order, each file and each folder once.

    Links are followed after everything else, so that a file belongs to the folder it lies in. Links to files that
    are read already come back as rows of `left_out`, such links to folders as warnings.
    """
    real = root.resolve()
    folders, links = [root], []
    seen_folders, seen_files = {real}, {}
    found, left_out, warnings = [], [], []
    while folders or links:
        if folders:
            folder = folders.pop(0)
        else:
            folder = links.pop(0)
            if not folder.is_dir():
                _take(root, folder, seen_files, found, left_out)
                continue
            target = folder.resolve()
            if target in seen_folders or real.is_relative_to(target):
                warnings.append(f"{clip_id(root, folder)} is a link to {target}, which is read already: passed over")
                continue
            seen_folders.add(target)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            reason = f"this folder cannot be read: {error.strerror}"
            left_out.append({"file": clip_id(root, folder), "kind": "folder", "reason": reason})
            continue
        for entry in entries:
            path = folder / entry.name
            if _is_folder(entry):
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                (links if entry.is_symlink() else folders).append(path)
                if not entry.is_symlink():
                    seen_folders.add(path.resolve())
            elif folder != root and _may_be_audio(entry.name):  # files beside the class folders have no label
                if entry.is_symlink():
                    links.append(path)
                else:
                    _take(root, path, seen_files, found, left_out)
    return sorted(found, key=lambda row: _order(row[0].relative_to(root))), left_out, warnings


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _take(root: Path, path: Path, seen: dict[Path, Path], found: list, left_out: list) -> None:
    """Add a file, unless it was found under another name."""
    try:
        first = seen.setdefault(path.resolve(), path)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        left_out.append(
            {"file": clip_id(root, path), "kind": "link", "reason": "this link leads to itself or nowhere"}
        )
        return
    if first is path:
        found.append((path, path.relative_to(root).parts[0]))
    else:
        reason = f"is the same file as {clip_id(root, first)}, by a link: it is used once"
        left_out.append({"file": clip_id(root, path), "kind": "link", "reason": reason})


def _may_be_audio(name: str) -> bool:
    """By its name. A strange one inside a class folder is tried too: it is reported rather than passed over."""
    suffix = Path(name).suffix.lower()
    return not name.startswith(".") and (suffix in EXTENSIONS or suffix not in COMPANIONS)


def _order(relative: Path) -> list[tuple[bool, str]]:
    """Sorts files of a folder before those of the folders in it."""
    return [*((True, part) for part in relative.parts[:-1]), (False, relative.name)]


def equal_files(paths: Sequence[Path], pool: ThreadPoolExecutor) -> dict[Path, Path]:
    """path -> the first of the files that are equal to it; only files of one size are read for it."""
    by_size = defaultdict(list)
    for path in paths:
        try:
            by_size[path.stat().st_size].append(path)
        except OSError:
            continue  # decoding it says what is wrong
    same = [path for members in by_size.values() if len(members) > 1 for path in members]
    first: dict[str, Path] = {}
    return {path: first.setdefault(digest, path) for path, digest in zip(same, pool.map(_digest, same)) if digest}


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
