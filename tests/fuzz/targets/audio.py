"""Sound files, alone and as one of a folder."""

import json
import math
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result
from mutations import broken_bytes

FORMATS = {
    **{"pcm16.wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "pcm24.wav": ("WAVEX", "PCM_24")},
    **{"ulaw.wav": ("WAV", "ULAW"), "adpcm.wav": ("WAV", "IMA_ADPCM"), "a.flac": ("FLAC", "PCM_16")},
    **{"a.ogg": ("OGG", "VORBIS"), "a.opus": ("OGG", "OPUS"), "a.mp3": ("MP3", "MPEG_LAYER_III")},
    **{"a.aiff": ("AIFF", "PCM_16"), "a.au": ("AU", "PCM_16"), "a.caf": ("CAF", "PCM_16"), "a.w64": ("W64", "PCM_16")},
    **{"a.rf64": ("RF64", "PCM_16"), "a.voc": ("VOC", "PCM_16"), "a.sph": ("NIST", "PCM_16")},
    **{"a.paf": ("PAF", "PCM_16"), "a.ircam": ("IRCAM", "PCM_16")},
}
# Their headers say how long they are.
COUNTED = ("pcm16.wav", "float.wav", "pcm24.wav", "a.flac", "a.aiff", "a.au", "a.w64", "a.rf64", "a.voc", "a.sph")
RATE = 24_000


class Audio:
    """`classify`, `segment`, `embed` and `extract` with one broken sound."""

    name, share = "audio", 3.0

    def prepare(self, root: Path) -> None:
        import numpy as np
        import soundfile
        from small_models import save_small_model

        save_small_model(root / "model", "log_mel", window_s=0.4, step_s=0.2)
        random = np.random.default_rng(0)
        (root / "sounds").mkdir()
        for index, (name, (kind, subtype)) in enumerate(FORMATS.items()):
            wave = 0.2 * random.standard_normal((round(RATE * (0.5 + 0.1 * (index % 4))), 1 + index % 2))
            soundfile.write(root / "sounds" / name, wave.clip(-0.9, 0.9), RATE, format=kind, subtype=subtype)
        for label in ("x", "y"):
            (root / "folder" / label).mkdir(parents=True)
            for index in range(2):
                wave = 0.1 * random.standard_normal(12_000)
                soundfile.write(root / "folder" / label / f"good{index}.wav", wave, RATE)

    def case(self, random: Random, root: Path, work: Path) -> Case:
        names = sorted(FORMATS)
        name, other = random.choice(names), random.choice(names)
        data = (root / "sounds" / name).read_bytes()
        broken, how = broken_bytes(random, data, (root / "sounds" / other).read_bytes())
        short = how == "truncate" and name in COUNTED and len(data) - len(broken) > 64
        program = random.choice(["classify", "classify", "segment", "embed", "extract"])
        note = f"{name} {how} {program}"
        if program in ("embed", "extract"):
            for file in root.glob("folder/*/*"):
                copy = work / "folder" / file.relative_to(root / "folder")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.symlink_to(file)
            path = work / "folder" / "x" / name
            path.write_bytes(broken)
            if program == "embed":
                args = ["embed", "folder", "--model", root / "model", "--output", "e.parquet"]
                return Case(args, (name,), partial(_embedded, short), note)
            args = ["extract", "--data_dir", "folder", "--features", "log_mel", "--window_s", 0.4, "--cache_dir", "c"]
            return Case(args, (name,), partial(_extracted, short, name), note)
        path = work / name
        path.write_bytes(broken)
        if program == "classify":
            args = ["classify", path, "--model", root / "model", "--format", "jsonl"]
            return Case(args, (name,), partial(_classified, short), note)
        args = ["segment", path, "--model", root / "model", "--all_scores"]
        return Case(args, (name,), partial(_segmented, short, path), note)


def scores_are_wrong(labels: list[dict]) -> str | None:
    """What cannot be in an answer of labels and scores."""
    if not labels or not all(isinstance(each["label"], str) for each in labels):
        return "labels that are no text"
    if not all(math.isfinite(each["score"]) and -1e-6 <= each["score"] <= 1 + 1e-5 for each in labels):
        return "scores that are no probabilities"
    return None


def _classified(short: bool, result: Result) -> str | None:
    rows = [json.loads(line) for line in result.out.splitlines()]
    if len(rows) != 1 or "labels" not in rows[0]:
        return "no row with labels"
    return scores_are_wrong(rows[0]["labels"]) or ("a truncated file" if short else None)


def _segmented(short: bool, path: Path, result: Result) -> str | None:
    from hf_encls.audio import inspect

    segments = json.loads(result.out)
    ends = [0.0, *(each["end"] for each in segments)]
    if any(a != each["start"] or not each["end"] > a for a, each in zip(ends, segments)):
        return "segments that do not follow each other"
    if abs(ends[-1] - inspect(path).duration_s) > 0.01:
        return "segments that do not end with the sound"
    return scores_are_wrong(segments) or ("a truncated file" if short else None)


def _embedded(short: bool, result: Result) -> str | None:
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table("e.parquet")
    if table.num_rows != 5:
        return "not a row for each file"
    values = np.array(table["embedding"].to_pylist())
    if not np.isfinite(values).all() or min(table["duration_s"].to_pylist()) <= 0:
        return "embeddings that are not finite"
    return "a truncated file" if short else None


def _extracted(short: bool, name: str, result: Result) -> str | None:
    wrong = features_are_wrong(Path("c"))
    if wrong or " 5 clips" in result.out:
        return wrong or ("a truncated file" if short else None)
    return None if " 4 clips" in result.out and name in result.out else "good clips are missing"


def features_are_wrong(cache: Path) -> str | None:
    """What cannot be in a cache of features."""
    import numpy as np
    from datasets import Dataset

    for file in cache.rglob("*.arrow"):
        rows = Dataset.from_file(str(file))
        if not np.isfinite(np.array(rows["input_features"][:], np.float64)).all():
            return "features that are not finite"
        if not 0 <= min(rows["label"][:]) <= max(rows["label"][:]) < rows.features["label"].num_classes:
            return "labels of no class"
    return None
