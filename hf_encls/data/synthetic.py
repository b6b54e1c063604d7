"""The offline default: a small data set of synthetic sounds, written as class-named folders of WAV.

Six classes that an ear tells apart at once, drawn so that no single number does: every clip has its own pitch,
level, timing, background noise, room tone and, now and then, a click or a hum that belongs to no class. Pitches and
brightness of the classes overlap.

The sounds are frozen: one `VERSION`, one `seed` and one `clips_per_class` give the same files, byte for byte, on one
machine (another processor's sine can differ in the last bit of a 16-bit sample). A change of any sound needs a new
`VERSION`, because scores are compared between runs.
"""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hf_encls.audio import open_wav
from hf_encls.files import new_folder

VERSION = 1
SAMPLING_RATE = 24_000
DURATION_S = (3.0, 5.0)
MARKER = ".hf_encls_synthetic.json"  # written last: a folder that holds it is complete

Rng = np.random.Generator


def write_synthetic(folder: str | os.PathLike, *, clips_per_class: int = 20, seed: int = 0) -> Path:
    """Write `folder/bell/bell_000.wav`, ... (mono, 16 bit, 24 kHz, 3 to 5 s) and return the folder.

    A folder that already holds exactly this data set is left as it is. The files are written beside it and moved into
    place at the end, so an interrupted run leaves no folder that looks finished. Clip number k of a class does not
    depend on `clips_per_class`; another `seed` gives other sounds.

    Raises `ValueError` for fewer than one clip per class, and for a folder that exists and holds anything else.
    """
    if clips_per_class < 1:
        raise ValueError(f"clips_per_class must be at least 1, got {clips_per_class}")
    folder = Path(folder)
    identity = {"version": VERSION, "seed": seed, "clips_per_class": clips_per_class}
    if _is_complete(folder, identity):
        return folder
    _refuse_other(folder, identity)
    try:
        with new_folder(folder) as partial:
            for class_index, (name, sound) in enumerate(SOUNDS.items()):
                (partial / name).mkdir()
                for clip in range(clips_per_class):
                    samples = _clip(sound, np.random.default_rng([VERSION, seed, class_index, clip]))
                    path = partial / name / f"{name}_{clip:03d}.wav"
                    with open_wav(path, SAMPLING_RATE, 1) as file:
                        file.write(samples)
            (partial / MARKER).write_text(json.dumps(identity) + "\n", encoding="utf-8")
    except OSError as error:
        # Two runs at once: the other one was first, and its files are the same.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not _is_complete(folder, identity):
            raise
    return folder


def _is_complete(folder: Path, identity: dict[str, int]) -> bool:
    try:
        return json.loads((folder / MARKER).read_text(encoding="utf-8")) == identity
    except (OSError, ValueError):
        return False


def _refuse_other(folder: Path, identity: dict[str, int]) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    raise ValueError(
        f"{folder} exists and is not the synthetic data set {identity}: name an empty folder, or delete this one"
    )


def _clip(sound: Callable[[Rng, int], np.ndarray], rng: Rng) -> np.ndarray:
    """One clip (N,), peak below 0.9: the sound, randomly tilted, with a background and perhaps a distractor."""
    num_samples = int(rng.uniform(*DURATION_S) * 100) * SAMPLING_RATE // 100  # whole 10 ms: quick transforms
    foreground = _tilt(sound(rng, num_samples), rng.uniform(-2.0, 2.0))
    foreground /= np.sqrt(np.mean(foreground**2)) + 1e-9
    background = _noise(rng, num_samples, slope_db=rng.uniform(-6.0, 0.0))
    background *= 10 ** (-rng.uniform(12.0, 30.0) / 20)
    mixture = foreground + background + _distractor(rng, num_samples)
    return mixture / np.abs(mixture).max() * 10 ** (-rng.uniform(1.0, 16.0) / 20)


def _seconds(num_samples: int) -> np.ndarray:
    return np.arange(num_samples) / SAMPLING_RATE


def _tilt(samples: np.ndarray, db_per_octave: float) -> np.ndarray:
    """Make a sound darker (negative) or brighter, about 1 kHz; flat below 60 Hz."""
    spectrum = np.fft.rfft(samples)
    hz = np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLING_RATE), 60.0)
    return np.fft.irfft(spectrum * 10 ** (db_per_octave * np.log2(hz / 1000.0) / 20), len(samples))


def _noise(rng: Rng, num_samples: int, slope_db: float) -> np.ndarray:
    """Noise (N,) of unit power with a spectral slope in dB per octave."""
    samples = _tilt(rng.uniform(-1.0, 1.0, num_samples), slope_db)
    return samples / np.sqrt(np.mean(samples**2))


def _glide(rng: Rng, num_samples: int, depth: float, points: int = 6) -> np.ndarray:
    """A slow random curve (N,) between 1 - depth and 1 + depth."""
    knots = rng.uniform(-depth, depth, points)
    return 1.0 + np.interp(np.linspace(0, points - 1, num_samples), np.arange(points), knots)


def _tone(hz: np.ndarray, amplitudes: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Harmonics 1, 2, ... of a changing fundamental `hz` (N,), read from a table of one period.

    Harmonics that would come above 11 kHz at the highest pitch are left out.
    """
    harmonics = np.arange(1, len(amplitudes) + 1)[:, None]
    heard = harmonics * hz.max() < 11_000
    turn = np.linspace(0.0, 1.0, 4097)
    table = np.sum(heard * amplitudes[:, None] * np.sin(2 * np.pi * harmonics * turn + phases[:, None]), axis=0)
    return np.interp(np.cumsum(hz) / SAMPLING_RATE % 1.0, turn, table)


def _add(target: np.ndarray, event: np.ndarray, at: int) -> None:
    at = max(at, 0)
    event = event[: max(len(target) - at, 0)]
    target[at : at + len(event)] += event


def _distractor(rng: Rng, num_samples: int) -> np.ndarray:
    """Something that says nothing about the class: clicks, mains hum, a far-away beep, or (mostly) nothing."""
    out = np.zeros(num_samples)
    kind = rng.integers(6)
    if kind == 0:
        for _ in range(rng.integers(1, 6)):
            decay = np.exp(-_seconds(400) * rng.uniform(400, 1500))
            _add(out, rng.uniform(0.5, 2.0) * decay * rng.uniform(-1, 1, 400), int(rng.integers(num_samples)))
    elif kind == 1:
        hum = _tone(np.full(num_samples, rng.choice([50.0, 60.0])), 1 / np.arange(1, 6), rng.uniform(0, 6.28, 5))
        out += rng.uniform(0.05, 0.25) * hum
    elif kind == 2:
        length = int(rng.uniform(0.1, 0.4) * SAMPLING_RATE)
        beep = np.sin(2 * np.pi * rng.uniform(500, 3000) * _seconds(length)) * np.hanning(length)
        _add(out, rng.uniform(0.2, 0.7) * beep, int(rng.integers(num_samples)))
    return out


def _bell(rng: Rng, num_samples: int) -> np.ndarray:
    """Strokes on one bell: partials that are no harmonics, each with its own decay."""
    out = np.zeros(num_samples)
    pitch_hz = 10 ** rng.uniform(np.log10(250), np.log10(1100))
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 2.66, 3.01, 4.17, 5.43]) * rng.uniform(0.99, 1.01, 10)
    weights = rng.uniform(0.3, 1.0, 10) / np.arange(1, 11) ** rng.uniform(0.3, 0.9)
    decays = rng.uniform(1.0, 3.0) * (1 + 0.5 * np.arange(10))
    t = _seconds(num_samples)
    heard = ratios * pitch_hz < 11_000
    partials = zip(weights[heard], decays[heard], ratios[heard], strict=True)
    stroke = sum(w * np.exp(-d * t) * np.sin(2 * np.pi * pitch_hz * r * t) for w, d, r in partials)
    at = rng.uniform(0.0, 0.3)
    while at < num_samples / SAMPLING_RATE:
        _add(out, rng.uniform(0.5, 1.0) * stroke, int(at * SAMPLING_RATE))
        at += rng.uniform(0.5, 1.3)
    return out


def _birdsong(rng: Rng, num_samples: int) -> np.ndarray:
    """Groups of short whistles that slide up or down."""
    out = np.zeros(num_samples)
    base_hz = rng.uniform(1400, 4200)
    at = rng.uniform(0.0, 0.3)
    while at < num_samples / SAMPLING_RATE:
        slide, length_s, gap_s = rng.uniform(-0.5, 0.6), rng.uniform(0.05, 0.16), rng.uniform(0.03, 0.12)
        for _ in range(rng.integers(2, 8)):
            length = int(length_s * SAMPLING_RATE)
            hz = base_hz * rng.uniform(0.85, 1.2) * (1 + slide * np.linspace(0, 1, length) ** rng.uniform(0.6, 1.6))
            note = np.sin(2 * np.pi * np.cumsum(hz) / SAMPLING_RATE) * np.hanning(length)
            _add(out, rng.uniform(0.4, 1.0) * note, int(at * SAMPLING_RATE))
            at += length_s + gap_s
        at += rng.uniform(0.15, 0.6)
    return out


def _engine(rng: Rng, num_samples: int) -> np.ndarray:
    """A motor: many harmonics of a low, drifting rate, uneven from stroke to stroke, with noise in its rhythm."""
    hz = rng.uniform(28, 90) * _glide(rng, num_samples, rng.uniform(0.05, 0.3))
    strength = np.exp(-np.arange(60) / rng.uniform(6, 25)) * rng.uniform(0.3, 1.0, 60)
    motor = _tone(hz, strength, rng.uniform(0, 6.28, 60))
    strokes = 0.5 + 0.5 * np.sin(np.pi * np.cumsum(hz) / SAMPLING_RATE + rng.uniform(0, 6.28))
    motor /= np.abs(motor).max()
    hiss = 0.3 * _noise(rng, num_samples, slope_db=rng.uniform(-6, -1))
    return (motor + hiss * strokes) * (0.6 + 0.4 * strokes)


def _knocking(rng: Rng, num_samples: int) -> np.ndarray:
    """Knocks on wood: short resonances with a noisy start, in bursts."""
    out = np.zeros(num_samples)
    modes_hz = rng.uniform(120, 500) * np.array([1.0, 1.6, 2.4, 3.9, 6.1]) * rng.uniform(0.92, 1.08, 5)
    decay, length = rng.uniform(25, 70), int(0.25 * SAMPLING_RATE)
    t = _seconds(length)
    weights = rng.uniform(0.2, 1.0, 5)
    at = rng.uniform(0.0, 0.3)
    while at < num_samples / SAMPLING_RATE:
        interval_s = rng.uniform(0.12, 0.28)
        for _ in range(rng.integers(2, 6)):
            knock = sum(
                w * np.exp(-decay * (1 + 0.4 * k) * t) * np.sin(2 * np.pi * f * t)
                for k, (w, f) in enumerate(zip(weights, modes_hz, strict=True))
            )
            knock = knock + 0.8 * np.exp(-350 * t) * rng.uniform(-1, 1, length)
            _add(out, rng.uniform(0.5, 1.0) * knock, int(at * SAMPLING_RATE))
            at += interval_s * rng.uniform(0.9, 1.1)
        at += rng.uniform(0.2, 0.7)
    return out


def _rain(rng: Rng, num_samples: int) -> np.ndarray:
    """Noise that swells a little, and drops: many short ringing clicks of every pitch."""
    out = 0.25 * _noise(rng, num_samples, slope_db=rng.uniform(-4, 2)) * _glide(rng, num_samples, 0.3)
    for _ in range(int(rng.uniform(40, 150) * num_samples / SAMPLING_RATE)):
        length = int(rng.uniform(0.004, 0.02) * SAMPLING_RATE)
        t = _seconds(length)
        drop = np.exp(-t * rng.uniform(250, 900)) * np.sin(2 * np.pi * rng.uniform(700, 7000) * t)
        _add(out, rng.exponential(0.5) * drop, int(rng.integers(num_samples)))
    return out


def _siren(rng: Rng, num_samples: int) -> np.ndarray:
    """A tone with harmonics that rises and falls, smoothly or between two pitches."""
    t = _seconds(num_samples)
    low_hz, ratio = rng.uniform(350, 900), rng.uniform(1.25, 2.0)
    cycle = np.sin(2 * np.pi * rng.uniform(0.3, 3.0) * t + rng.uniform(0, 6.28))
    if rng.uniform() < 0.4:
        cycle = np.tanh(6 * cycle)
    hz = low_hz * ratio ** (0.5 + 0.5 * cycle)
    amplitudes = rng.uniform(0.2, 1.0, 8) / np.arange(1, 9) ** rng.uniform(0.4, 1.4)
    return _tone(hz, amplitudes, rng.uniform(0, 6.28, 8)) * _glide(rng, num_samples, 0.3)


# The order is part of the seed of each clip: new classes go at the end, with a new VERSION.
SOUNDS: dict[str, Callable[[Rng, int], np.ndarray]] = {
    "bell": _bell,
    "birdsong": _birdsong,
    "engine": _engine,
    "knocking": _knocking,
    "rain": _rain,
    "siren": _siren,
}
