"""Files below a folder: each found once, whatever links there are."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hf_encls.audio import EXTENSIONS

HIDDEN = (".", "__MACOSX")  # how names begin that nobody means: hidden ones, and what macOS adds to archives


@dataclass
class FoundFiles:
    """Files below a folder in the order of their paths, and what was passed over although it was meant."""

    files: list[Path] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)  # `file`, `kind` (folder, link, file) and `reason`
    warnings: list[str] = field(default_factory=list)


def require_folder(path: str | os.PathLike, what: str) -> Path:
    """`path`, where there is a folder. Raises `ValueError` that says `what` was expected there, and what is."""
    if not Path(path).is_dir():
        kind = "a file" if Path(path).exists() else "nothing"
        raise ValueError(f"expected {what} at {str(path)!r}, found {kind}: check the path")
    return Path(path)


def reasons_text(left_out: Sequence[Mapping[str, str]], most: int = 20) -> str:
    """The first files that were left out, for the end of an error: each on a line of its own, with the reason."""
    return "".join(f"\n  {row['file']}: {row['reason']}" for row in left_out[:most])


def find_audio(root: str | os.PathLike, also: Iterable[str] = ()) -> FoundFiles:
    """Every file below a folder whose name ends as audio does, or in one of `also` (".ecdc"), as `find_files` finds them."""
    suffixes = EXTENSIONS.union(also)
    return find_files(root, lambda path: path.suffix.lower() in suffixes)


def find_files(root: str | os.PathLike, is_wanted: Callable[[Path], bool]) -> FoundFiles:
    """Every wanted file below a folder, at any depth, each file and each folder once, whatever links there are.

    Hidden ones are passed over. Links are followed after everything else, so that a file belongs to the folder it lies
    in. A link to a file that is found already, to nothing or to itself, what is no regular file, and a folder that
    cannot be read come back in `left_out`, a link to a folder that is read already in `warnings`.
    """
    root = Path(root)
    walk = _Walk(root, is_wanted)
    folders: list[Path] = [root]
    while folders or walk.links:
        if folders:
            folders += walk.read(folders.pop(0))
        else:
            folders += walk.follow(walk.links.pop(0))
    walk.result.files.sort()
    return walk.result


class _Walk:
    """One walk over a tree. Paths in what it reports are below the root, with forward slashes."""

    def __init__(self, root: Path, is_wanted: Callable[[Path], bool]):
        self.root, self.real, self.is_wanted = root, root.resolve(), is_wanted
        self.result, self.links = FoundFiles(), []
        self.folders, self.files = {self.real}, {}

    def read(self, folder: Path) -> list[Path]:
        """Take the files of a folder; returns the folders in it."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self._leave_out(folder, "folder", f"this folder cannot be read: {error.strerror}")
            return []
        folders = []
        for entry in entries:
            path = folder / entry.name
            is_folder = _is_folder(entry)
            if entry.name.startswith(HIDDEN) or not (is_folder or self.is_wanted(path)):
                continue
            if entry.is_symlink():
                self.links.append(path)
            elif is_folder:
                folders.append(path)
                self.folders.add(path.resolve())
            else:
                self._take(path)
        return folders

    def follow(self, link: Path) -> list[Path]:
        """Take the file that a link leads to; returns the folder, if it is one and nobody has been there."""
        if not link.is_dir():
            self._take(link)
            return []
        target = link.resolve()
        if target in self.folders or self.real.is_relative_to(target):
            self.result.warnings.append(
                f"{self._name(link)} is a link to {target}, which is read already: passed over"
            )
            return []
        self.folders.add(target)
        return [link]

    def _take(self, path: Path) -> None:
        """Add a file, unless it was found under another name."""
        if not path.is_file():  # a pipe would be waited for
            is_link = path.is_symlink()
            reason = "this link leads to itself or nowhere" if is_link else "this is no regular file"
            self._leave_out(path, "link" if is_link else "file", reason)
            return
        first = self.files.setdefault(path.resolve(), path)
        if first is path:
            self.result.files.append(path)
        else:
            self._leave_out(path, "link", f"is the same file as {self._name(first)}, by a link: it is used once")

    def _leave_out(self, path: Path, kind: str, reason: str) -> None:
        self.result.left_out.append({"file": self._name(path), "kind": kind, "reason": reason})

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False
