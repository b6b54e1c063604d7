"""What labels call the recordings of a folder."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path


class RecordingNames:
    """Recordings by what labels call them: their path below the folder, their name, either without its ending."""

    def __init__(self, recordings: Sequence[Path], root: Path):
        self.by_name = defaultdict(set)
        for path in recordings:
            relative = path.relative_to(root)
            for name in (relative, relative.with_suffix(""), Path(path.name), Path(path.stem)):
                self.by_name[name.as_posix()].add(path)

    def find(self, name: str) -> Path | None:
        """The recording that is called `name`. Raises `ValueError` where there are several."""
        name = name.replace("\\", "/").removeprefix("./")
        for each in (name, name.rsplit("/", 1)[-1]):
            paths = sorted(self.by_name.get(each, ()))
            if len(paths) > 1:
                raise ValueError(
                    f"labels of {name!r} could be of {paths[0]} or of {paths[1]}: call the recordings by different names, "
                    "or put the labels into folders as the recordings are"
                )
            if paths:
                return paths[0]
        return None

    def of_labels(self, file: Path, base: Path) -> Path | None:
        """The recording of a file of labels, by the names that are left when its endings go one by one."""
        name = file.relative_to(base).as_posix()
        while "." in name.rsplit("/", 1)[-1].lstrip("."):
            name = name.rpartition(".")[0]
            path = self.find(name)
            if path is not None:
                return path
        return None
