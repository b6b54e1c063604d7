"""Generated sounds for the pretraining of a codec: pitches, sweeps, noises and knocks beside recordings.

They are not the offline data set (`hf_encls.data.synthetic`): no code and no seed is shared, and there are no classes.
"""

import numpy as np

Rng = np.random.Generator


def generate_sound(seed: int, index: int, sampling_rate: int, duration_s: float = 4.0) -> np.ndarray:
    """Sound number `index` of series `seed`: mono float32 (N,) with peak at most 0.9.

    A few events of one to three kinds lie over a quiet floor of noise. The same arguments give the same sound.
    """
    rng = np.random.default_rng([0x50D5, seed, index])
    num_samples = round(duration_s * sampling_rate)
    out = _noise(rng, num_samples, sampling_rate) * 10 ** rng.uniform(-4, -1.5)
    for kind in rng.choice(len(KINDS), size=rng.integers(1, 4), replace=False):
        for _ in range(rng.integers(1, 5)):
            length = int(rng.uniform(0.05, 1.0) * num_samples)
            start = rng.integers(0, num_samples - length + 1)
            event = KINDS[kind](rng, length, sampling_rate)
            level = 10 ** rng.uniform(-1.2, 0) / max(np.abs(event).max(), 1e-6)
            out[start : start + length] += level * event * _envelope(rng, length, sampling_rate)
    return (rng.uniform(0.1, 0.9) * out / max(np.abs(out).max(), 1e-6)).astype(np.float32)


def _time(num_samples: int, sampling_rate: int) -> np.ndarray:
    return np.arange(num_samples) / sampling_rate


def _pitch(rng: Rng, sampling_rate: int, low: float = 60.0, high: float = 0.4) -> float:
    """A frequency in hertz, evenly over octaves, up to `high` times the sampling rate."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high * sampling_rate))))


def _envelope(rng: Rng, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Attack and decay (or release) of random steepness."""
    t = _time(num_samples, sampling_rate)
    attack = np.minimum(1, t / 10 ** rng.uniform(-3, -1))
    if rng.random() < 0.5:
        return attack * np.exp(-t * 10 ** rng.uniform(0, 1.3))
    return attack * np.minimum(1, (t[-1] - t if num_samples else t) / 10 ** rng.uniform(-2.5, -1))


def _tone(rng: Rng, num_samples: int, sampling_rate: int) -> np.ndarray:
    t = _time(num_samples, sampling_rate)
    depth, rate = rng.uniform(0, 1), rng.uniform(1, 40)
    am = 1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * rate * t))
    return am * np.sin(2 * np.pi * _pitch(rng, sampling_rate) * t + rng.uniform(0, 6.28))


def _fm(rng: Rng, num_samples: int, sampling_rate: int) -> np.ndarray:
    t = _time(num_samples, sampling_rate)
    carrier = _pitch(rng, sampling_rate, high=0.25)
    modulator = carrier * rng.choice([0.25, 0.5, 1, 1.41, 2, 3.5]) if rng.random() < 0.6 else rng.uniform(2, 12)
    index = rng.uniform(0.2, 6) if modulator > 20 else rng.uniform(0.01, 0.1) * carrier / modulator
    return np.sin(2 * np.pi * carrier * t + index * np.sin(2 * np.pi * modulator * t))


def _chirp(rng: Rng, num_samples: int, sampling_rate: int) -> np.ndarray:
    start, end = _pitch(rng, sampling_rate), _pitch(rng, sampling_rate)
    sweep = start * (end / start) ** np.linspace(0, 1, num_samples)
    return np.sin(2 * np.pi * np.cumsum(sweep) / sampling_rate)


def _stack(rng: Rng, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Harmonics over a gliding fundamental, with a formant-like bump: voices, strings, engines."""
    base = _pitch(rng, sampling_rate, low=40, high=0.04)
    glide = np.exp(np.linspace(rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), num_samples))
    vibrato = 1 + rng.uniform(0, 0.03) * np.sin(2 * np.pi * rng.uniform(3, 8) * _time(num_samples, sampling_rate))
    phase = 2 * np.pi * np.cumsum(base * glide * vibrato) / sampling_rate
    bump, tilt, odd = _pitch(rng, sampling_rate, 200, 0.3), rng.uniform(0.3, 1.5), rng.random() < 0.3
    out = np.zeros(num_samples)
    for harmonic in range(1, min(40, int(0.42 * sampling_rate / (1.4 * base))) + 1):
        if odd and harmonic % 2 == 0:
            continue
        gain = harmonic**-tilt * (0.2 + np.exp(-(np.log2(harmonic * base / bump) ** 2)))
        out += gain * np.sin(harmonic * phase + rng.uniform(0, 6.28))
    return out


def _noise(rng: Rng, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Noise of a random colour, often limited to a band."""
    spectrum = np.fft.rfft(rng.standard_normal(max(num_samples, 2)))
    hz = np.fft.rfftfreq(max(num_samples, 2), 1 / sampling_rate)
    spectrum *= np.maximum(hz, 20.0) ** -rng.uniform(0, 1.2)
    if rng.random() < 0.6:
        centre, octaves = _pitch(rng, sampling_rate, 100), rng.uniform(0.2, 2)
        spectrum *= np.exp(-((np.log2(np.maximum(hz, 1) / centre) / octaves) ** 2))
    noise = np.fft.irfft(spectrum, max(num_samples, 2))[:num_samples]
    return noise / max(np.abs(noise).max(initial=0), 1e-9)


def _pulses(rng: Rng, num_samples: int, sampling_rate: int) -> np.ndarray:
    """A train of bursts or of ringing clicks, regular or scattered."""
    out = np.zeros(num_samples)
    gap = 10 ** rng.uniform(-2, -0.3) * sampling_rate
    length = min(num_samples, max(8, int(10 ** rng.uniform(-3, -1) * sampling_rate)))
    t = _time(length, sampling_rate)
    decay = np.exp(-5 * np.arange(length) / length)
    ring = np.sin(2 * np.pi * _pitch(rng, sampling_rate, 150) * t)
    body = decay * (ring if rng.random() < 0.5 else rng.standard_normal(length))
    position, jitter = rng.uniform(0, gap), rng.random() * (rng.random() < 0.5)
    while position < num_samples:
        start = int(position)
        piece = body[: num_samples - start]
        out[start : start + len(piece)] += rng.uniform(0.3, 1) * piece
        position += gap * (1 + jitter * rng.uniform(-0.9, 3))
    return out


def _click(rng: Rng, num_samples: int, sampling_rate: int) -> np.ndarray:
    out = np.zeros(num_samples)
    out[rng.integers(0, num_samples, size=rng.integers(1, 12))] = rng.choice([-1.0, 1.0])
    return out


KINDS = (_tone, _fm, _chirp, _stack, _noise, _pulses, _click)
