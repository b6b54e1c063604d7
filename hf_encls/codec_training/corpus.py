"""The sounds a codec is trained on: whole clips in memory, and batches of crops drawn from them.

A batch depends on the seed, the step and the process only, so a resumed run sees what an unbroken one would.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from hf_encls.audio import EXTENSIONS, AudioError, downmix, read, resample
from hf_encls.codec_training.progress import Pace, Say, silent
from hf_encls.codec_training.sounds import generate_sound
from hf_encls.files.finding import FoundFiles, find_audio, reasons_text, require_folder

SILENCE_RMS = 1e-4
MAX_PEAK = 0.99


@dataclass
class Corpus:
    """Clips (channels, N) in float32 by name, and the files that could not be used."""

    names: list[str] = field(default_factory=list)
    clips: list[np.ndarray] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def duration_s(self, sampling_rate: int) -> float:
        """Seconds of all clips together."""
        return sum(clip.shape[-1] for clip in self.clips) / sampling_rate

    @cached_property
    def odds(self) -> np.ndarray:
        """Cumulative odds (clips,) of being drawn, by length. Made once: the clips must be complete."""
        lengths = np.array([clip.shape[-1] for clip in self.clips], dtype=np.float64)
        odds = (lengths / lengths.sum()).cumsum()
        return odds / odds[-1]

    def split(self, share: float, seed: int) -> tuple["Corpus", "Corpus"]:
        """(training, held-out) clips: at least one is held out, and at least one is not."""
        order = np.random.default_rng([seed, 7]).permutation(len(self.clips))
        count = min(max(1, round(share * len(order))), len(order) - 1)
        return self._pick(sorted(order[count:])), self._pick(sorted(order[:count]))

    def _pick(self, indices: Sequence[int]) -> "Corpus":
        return Corpus([self.names[i] for i in indices], [self.clips[i] for i in indices])


@dataclass
class TrainingSounds:
    """What a codec is trained on: corpora, how often each is drawn from (relative to each other), and held-out clips."""

    corpora: list[Corpus]
    shares: list[float]
    held_out: Corpus = field(default_factory=Corpus)


def sounds_below(root: str | os.PathLike) -> FoundFiles:
    """Every audio file under a folder, nested as deep as may be, or the file itself."""
    root = Path(root)
    if root.is_file():
        return FoundFiles([root])
    sounds = find_audio(require_folder(root, "a folder of audio"))
    if not sounds.files:
        raise ValueError(f"expected audio files under {root} ({' '.join(sorted(EXTENSIONS))}), found none")
    return sounds


def read_corpus(
    roots: Sequence[str | os.PathLike],
    sampling_rate: int,
    num_channels: int,
    max_hours: float | None = None,
    say: Say = silent,
) -> Corpus:
    """Decode and resample every file under `roots` to (channels, N) float32, in memory.

    Broken files are listed in `left_out`. `max_hours` stops reading once so much audio is there; one hour of mono at
    24 kHz takes 346 MB. Raises `ValueError` where nothing usable is found, and for no hours.
    """
    if max_hours is not None and not max_hours > 0:
        raise ValueError(f"expected max_hours above 0, found {max_hours}: leave it out to read everything")
    corpus = Corpus()
    paths = []
    for root in roots:
        below = sounds_below(root)
        paths += below.files
        corpus.left_out += [row | {"file": str(Path(root, row["file"]))} for row in below.left_out]
    pace, done = Pace(), 0
    room = np.inf if max_hours is None else max_hours * 3600 * sampling_rate
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        block = 64  # decoded ahead, so that max_hours bounds the work too
        for start in range(0, len(paths), block):
            part = paths[start : start + block]
            for path, clip in zip(part, pool.map(lambda p: _read(p, sampling_rate, num_channels), part), strict=True):
                done += 1
                if pace.due:
                    say(f"reading sounds: {done} of {len(paths)}")
                    pace.said()
                if isinstance(clip, str):
                    corpus.left_out.append({"file": str(path), "reason": clip})
                elif room > 0:
                    corpus.names.append(str(path))
                    corpus.clips.append(clip)
                    room -= clip.shape[-1]
            if room <= 0:
                break
    if not corpus.clips:
        raise ValueError(f"no usable audio among {len(paths)} files:{reasons_text(corpus.left_out)}")
    return corpus


def generated_corpus(count: int, sampling_rate: int, num_channels: int, seed: int = 0) -> Corpus:
    """`count` generated sounds; with two channels, each is placed between left and right."""
    corpus = Corpus()
    for index in range(count):
        sound = generate_sound(seed, index, sampling_rate)
        gains = np.random.default_rng([seed, index, 5]).uniform(0.4, 1, size=(num_channels, 1)).astype(np.float32)
        corpus.names.append(f"generated {seed}/{index}")
        corpus.clips.append(sound[None] if num_channels == 1 else gains * sound[None])
    return corpus


def draw_batch(
    sounds: TrainingSounds, *, batch_size: int, crop_samples: int, seed: int, step: int, rank: int = 0
) -> np.ndarray:
    """Crops (B, channels, crop_samples) at varied loudness, a quarter of them mixed from two clips.

    Half of the crops keep about their own level, half are set to a random RMS around 0.1; none clips. Inside a corpus,
    clips are drawn by their length.
    """
    rng = np.random.default_rng([seed, step, rank])
    batch = []
    for _ in range(batch_size):
        crop = _loudness(rng, _crop(rng, sounds, crop_samples))
        if rng.random() < 0.25:
            second = _loudness(rng, _crop(rng, sounds, crop_samples))
            crop = crop + rng.uniform(0.2, 1) * second
        crop = crop * rng.choice([-1, 1])
        batch.append(crop * min(1, MAX_PEAK / max(np.abs(crop).max(), 1e-9)))
    return np.stack(batch).astype(np.float32)


def _crop(rng: np.random.Generator, sounds: TrainingSounds, length: int) -> np.ndarray:
    total = sum(sounds.shares)
    corpus = sounds.corpora[rng.choice(len(sounds.corpora), p=[share / total for share in sounds.shares])]
    for _ in range(4):  # silence teaches little: mostly drawn again
        clip = corpus.clips[corpus.odds.searchsorted(rng.random(), side="right")]
        if clip.shape[-1] < length:
            missing = length - clip.shape[-1]
            left = int(rng.integers(0, missing + 1))
            crop = np.pad(clip, ((0, 0), (left, missing - left)))
        else:
            start = int(rng.integers(0, clip.shape[-1] - length + 1))
            crop = clip[:, start : start + length]
        if _rms(crop) > 10 * SILENCE_RMS:
            break
    return crop


def _loudness(rng: np.random.Generator, crop: np.ndarray) -> np.ndarray:
    rms = _rms(crop)
    gain = 10 ** rng.uniform(-0.4, 0.3)
    target_rms = 0.1 * 10 ** rng.normal(0, 0.35)
    return crop * (gain if rng.random() < 0.5 or rms < SILENCE_RMS else target_rms / rms)


def _rms(crop: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(crop, dtype=np.float64))))


def _read(path: Path, sampling_rate: int, num_channels: int) -> np.ndarray | str:
    try:
        samples, file_rate = read(path)
        is_mono = num_channels == 1 or samples.shape[1] == 1
        channels = [downmix(samples)] if is_mono else list(samples.T[:num_channels])
        out = np.stack([resample(np.ascontiguousarray(channel), file_rate, sampling_rate) for channel in channels])
    except (AudioError, OSError) as error:
        return str(error)
    return np.repeat(out, num_channels, axis=0) if len(out) == 1 else out
