"""ESC-50's table."""

import csv
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result
from mutations import broken_rows

from targets.audio import features_are_wrong


class Table:
    """`extract` and `validate` with a broken `meta/esc50.csv`."""

    name, share = "csv", 1.5

    def prepare(self, root: Path) -> None:
        from miniature_data import esc50_archive

        esc50_archive(root / "esc", folds=2)

    def case(self, random: Random, root: Path, work: Path) -> Case:
        (work / "esc" / "meta").mkdir(parents=True)
        (work / "esc" / "audio").symlink_to(root / "esc" / "audio")
        path = work / "esc" / "meta" / "esc50.csv"
        path.write_bytes(broken_rows(random, (root / "esc" / "meta" / "esc50.csv").read_text(encoding="utf-8")))
        if random.random() < 0.5:
            args = ["validate", "--data_dir", "esc", "--dataset", "esc50", "--no_checksums", "--most", 3]
            # A miniature is never complete.
            return Case(args, ("esc50.csv", ".wav"), note="validate", accepts="missing")
        args = ["extract", "--data_dir", "esc", "--data_name", "esc50", "--features", "log_mel", "--cache_dir", "c"]
        return Case([*args, "--window_s", 0.4], ("esc50.csv", ".wav"), partial(_possible, path), "extract")


def _possible(path: Path, result: Result) -> str | None:
    from datasets import Dataset

    from hf_encls.data.esc50 import CLASSES

    for file in Path("c").rglob("*.arrow"):
        rows = Dataset.from_file(str(file))
        names = rows.features["label"].names
        for clip, label, fold in zip(rows["clip_id"][:], rows["label"][:], rows["fold"][:]):
            stem = Path(clip).stem.split("-")
            if names[label] != CLASSES[int(stem[3])]:
                return "a class that the file's name denies"
            if fold != int(stem[0]):
                return "a fold that the file's name denies"
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        width = len(next(csv.reader(file)))
        if any(len(row) < 4 or len(row) > width for row in csv.reader(file) if row):
            return "rows of another length"
    return features_are_wrong(Path("c"))
