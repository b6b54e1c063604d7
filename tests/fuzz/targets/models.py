"""Checkpoints: their configuration, their weights, their extractor."""

import json
import shutil
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result
from mutations import broken_json, broken_tensors

from targets.audio import scores_are_wrong

KINDS = {"mel": "log_mel", "latents": "encodec_24khz", "latents48": "encodec_48khz", "codes": "encodec_24khz_codes"}


class Models:
    """`classify`, `segment`, `embed` and `compare` with a broken checkpoint."""

    name, share = "models", 3.0

    def prepare(self, root: Path) -> None:
        import numpy as np
        import soundfile
        from small_models import save_small_model

        for name, features in KINDS.items():
            save_small_model(root / name, features, window_s=0.4, step_s=0.2)
        wave = 0.1 * np.random.default_rng(0).standard_normal(24_000)
        (root / "sounds" / "x").mkdir(parents=True)
        soundfile.write(root / "sounds" / "x" / "a.wav", wave, 24_000)

    def case(self, random: Random, root: Path, work: Path) -> Case:
        kind, other = random.choice(sorted(KINDS)), random.choice(sorted(KINDS))
        shutil.copytree(root / kind, work / "model")
        part = random.choice(["config.json", "config.json", "model.safetensors", "preprocessor_config.json"])
        path = work / "model" / part
        data = path.read_bytes()
        if part == "model.safetensors":
            path.write_bytes(broken_tensors(random, data, (root / other / part).read_bytes()))
        else:
            path.write_bytes(
                broken_json(random, data) if random.random() < 0.95 else (root / other / part).read_bytes()
            )
        sound = root / "sounds" / "x" / "a.wav"
        program = random.choice(["classify", "classify", "segment", "embed"])
        args = {
            "classify": ["classify", sound, "--model", "model", "--format", "jsonl", "--top_k", 3],
            "segment": ["segment", sound, "--model", "model", "--all_scores"],
            "embed": ["embed", root / "sounds", "--model", "model", "--output", "e.parquet"],
        }[program]
        check = partial(_possible, program, root / kind, path)
        return Case(args, ("model", part), check, f"{kind} {part} {program}")


def _possible(program: str, good: Path, path: Path, result: Result) -> str | None:
    if program == "embed":
        import numpy as np
        import pyarrow.parquet as pq

        values = np.array(pq.read_table("e.parquet")["embedding"].to_pylist(), np.float64)
        wrong = None if np.isfinite(values).all() and values.size else "embeddings that are not finite"
    else:
        rows = json.loads(result.out.splitlines()[0])["labels"] if program == "classify" else json.loads(result.out)
        wrong = scores_are_wrong(rows)
    return wrong or weights_are_wrong(good / "model.safetensors", path.parent / "model.safetensors")


def weights_are_wrong(good: Path, found: Path) -> str | None:
    """What of the weights cannot be loaded as it is: a tensor that is missing, another shape, numbers that are none."""
    from safetensors.torch import load_file

    wanted, there = load_file(good), load_file(found)
    missing = wanted.keys() - there.keys()
    if missing:
        return "weights are missing"
    if any(there[name].shape != each.shape for name, each in wanted.items()):
        return "weights of another shape"
    if any(not there[name].is_floating_point() for name, each in wanted.items() if each.is_floating_point()):
        return "weights that are no floats"
    return None if all(there[name].isfinite().all() for name in wanted) else "weights that are not finite"
