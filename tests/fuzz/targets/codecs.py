"""Codec folders."""

import shutil
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result
from mutations import broken_json, broken_tensors

from targets.audio import features_are_wrong
from targets.models import weights_are_wrong

FACTS = b'{"trained_on": ["A", "B"], "license": "cc0-1.0", "attribution": "nobody", "untrained": false}'


class Codecs:
    """`encode` and `extract` with a broken codec."""

    name, share = "codecs", 2.0

    def prepare(self, root: Path) -> None:
        import numpy as np
        import soundfile
        from small_models import small_codec

        for khz in (24, 48):
            small_codec(khz).save_pretrained(root / f"codec{khz}")
            (root / f"codec{khz}" / "codec_training.json").write_bytes(FACTS)
        for label in ("x", "y"):
            (root / "sounds" / label).mkdir(parents=True)
            wave = 0.1 * np.random.default_rng(ord(label)).standard_normal(12_000)
            soundfile.write(root / "sounds" / label / "a.wav", wave, 24_000)

    def case(self, random: Random, root: Path, work: Path) -> Case:
        khz, other = random.choice([24, 48]), random.choice([24, 48])
        shutil.copytree(root / f"codec{khz}", work / "codec")
        part = random.choice(["config.json", "config.json", "model.safetensors", "codec_training.json"])
        path = work / "codec" / part
        data = path.read_bytes()
        if part == "model.safetensors":
            path.write_bytes(broken_tensors(random, data, (root / f"codec{other}" / part).read_bytes()))
        else:
            path.write_bytes(broken_json(random, data))
        if random.random() < 0.5:
            args = ["encode", root / "sounds" / "x" / "a.wav", "--codec", "codec", "--output", "a.ecdc"]
        else:
            codes = random.choice(["", "_codes"])
            args = ["extract", "--data_dir", root / "sounds", "--features", f"encodec_{khz}khz{codes}"]
            args += ["--codec", "codec", "--window_s", 0.4, "--cache_dir", "c"]
        check = partial(_possible, root / f"codec{khz}", path)
        return Case(args, ("codec", part), check, f"{khz} {part} {args[0]}")


def _possible(good: Path, path: Path, result: Result) -> str | None:
    from hf_encls.codec.bitstream import read_ecdc

    if Path("a.ecdc").exists():
        read_ecdc("a.ecdc")
    return features_are_wrong(Path("c")) or weights_are_wrong(
        good / "model.safetensors", path.parent / "model.safetensors"
    )
