"""The files of a class-named folder tree with their labels, and which of them are equal."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hf_encls.audio import EXTENSIONS
from hf_encls.data.known_files import KnownFiles, known_files
from hf_encls.files import checksum
from hf_encls.files.finding import HIDDEN, find_files

# Files that live beside audio and are nobody's clip: not worth a line in the report.
COMPANIONS = frozenset(".txt .md .csv .tsv .json .yaml .yml .pdf .png .jpg .jpeg .gif .html .xml .m3u .log".split())


def roots(data_dir: Path) -> list[Path]:
    """Where a data set may lie: the folder itself, or one in it, as unpacked archives have; not in hidden ones."""
    folders = sorted(path for path in data_dir.glob("*") if path.is_dir() and not path.name.startswith(HIDDEN))
    return [data_dir, *folders]


def clip_id(root: Path, path: Path) -> str:
    """The path below the data set's folder, with forward slashes."""
    return path.relative_to(root).as_posix()


def walk(root: Path) -> tuple[list[tuple[Path, str]], list[dict[str, str]], list[str]]:
    """(file, label) of every file that may be audio, in a fixed order, each once, with rows and warnings as of `find_files`.

    Files beside the class folders have no label.
    """
    below = find_files(root, lambda path: path.parent != root and _may_be_audio(path.name))
    rows = [(path, path.relative_to(root).parts[0]) for path in below.files]
    return sorted(rows, key=lambda row: _order(row[0].relative_to(root))), below.left_out, below.warnings


def _may_be_audio(name: str) -> bool:
    """By its name. A strange one inside a class folder is tried too: it is reported rather than passed over."""
    suffix = Path(name).suffix.lower()
    return suffix in EXTENSIONS or suffix not in COMPANIONS


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
    known = known_files()
    digests = pool.map(lambda path: _digest(path, known), same)
    return {path: first.setdefault(digest, path) for path, digest in zip(same, digests) if digest}


def _digest(path: Path, known: KnownFiles) -> str | None:
    try:
        return known.ask(path, "sha256", lambda: checksum(path))
    except OSError:
        return None
