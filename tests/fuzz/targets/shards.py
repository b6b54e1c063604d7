"""The cache of features, which a later start of the same command reads."""

import shutil
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result
from mutations import broken_bytes, broken_json

ARGS = ["extract", "--features", "log_mel", "--window_s", 0.4]


class Shards:
    """`extract` over a broken cache."""

    name, share = "shards", 1.0

    def prepare(self, root: Path) -> None:
        import numpy as np
        import soundfile

        from hf_encls.commands import cli

        for label in ("x", "y"):
            (root / "sounds" / label).mkdir(parents=True)
            for index in range(3):
                wave = 0.1 * np.random.default_rng(index + ord(label)).standard_normal(12_000)
                soundfile.write(root / "sounds" / label / f"{index}.wav", wave, 24_000)
        args = [*ARGS, "--data_dir", root / "sounds", "--cache_dir", root / "cache"]
        assert cli.main([str(each) for each in args]) == 0

    def case(self, random: Random, root: Path, work: Path) -> Case:
        shutil.copytree(root / "cache", work / "cache")
        for _ in range(random.choice([1, 1, 2])):
            path = random.choice(sorted(path for path in (work / "cache").rglob("shard*") if path.suffix != ".lock"))
            kind = random.random()
            if kind < 0.1:
                path.unlink()
            elif kind < 0.15:
                path.unlink()
                path.mkdir()
            elif path.suffix == ".json" and kind < 0.6:
                path.write_bytes(broken_json(random, path.read_bytes()) if path.stat().st_size > 60 else b"{")
            else:
                path.write_bytes(broken_bytes(random, path.read_bytes(), b"ARROW1")[0])
            if not path.exists():
                break
            if path.is_dir():
                break
        args = [*ARGS, "--data_dir", root / "sounds", "--cache_dir", work / "cache"]
        return Case(args, ("shard-", "cache"), partial(_same, root / "cache", work / "cache"))


def _same(good: Path, found: Path, result: Result) -> str | None:
    for path in good.rglob("*.arrow"):
        if (found / path.relative_to(good)).read_bytes() != path.read_bytes():
            return "other features than those of the sounds"
    return None
