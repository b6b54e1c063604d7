"""Mel spectrograms: the paper's, in power, and the same in decibels."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from .limits_encls import MOST_FILTER_WEIGHTS
from .representation_encls import Representation
from .windows_encls import WindowStream, cut, cut_in_graph

MIN_POWER = 1e-10  # librosa's and torchaudio's floor for decibels: silence is -100 dB
ROUNDING_DB = 2**-5  # of half precision, of levels of 64 to 128 dB
SAMPLES_AT_ONCE = 3 << 15  # of tapered frames: they and their spectra stay in the cache of a core
MOST_PARTS = 768  # of a sum: those of more are made in blocks that depend on the number of columns


class Mel(Representation):
    """Mel power as in the paper: Hamming window, no centring, windows cut from the waveform before the transform.

    librosa's `melspectrogram(center=False, window="hamming")`.
    """

    kind = "mel"
    ordered = True
    options = ("hop_length", "n_fft")
    stored_dtype = "float32"  # power spans more orders of magnitude than float16 has
    text = "the power mel spectrogram"
    axes = ("Mel band", "Power (dB)")

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        filters = mel_filters(config.n_fft, config.num_bands, config.sampling_rate)
        # Persistent: from_pretrained leaves non-persistent buffers unset.
        self.filters = nn.Buffer(torch.from_numpy(filters).float())  # (n_fft // 2 + 1, bands)
        self.taper = nn.Buffer(_taper(config))
        self.groups = list(_filter_groups(filters))
        self._prepared: tuple | None = None  # of `_weights`; never part of a checkpoint
        self._kept: dict[str, _Room] = {}  # the last one, while nobody uses it

    def __getstate__(self) -> dict:
        # Pickled, the views of one memory would come back as memories of their own; given to a process, as its memory too.
        return self.__dict__ | {"_prepared": None, "_kept": {}}

    def reset(self) -> None:
        config = self.config
        filters = mel_filters(config.n_fft, config.num_bands, config.sampling_rate)
        for buffer, value in ((self.filters, torch.from_numpy(filters)), (self.taper, _taper(config))):
            if not getattr(buffer, "_is_hf_initialized", False):  # else it came from a checkpoint
                buffer.copy_(value)

    @classmethod
    def samples_per_unit(cls, config: PreTrainedConfig) -> int:
        return 1

    @classmethod
    def frame_length(cls, config: PreTrainedConfig) -> int:
        return config.hop_length

    @classmethod
    def num_frames(cls, config: PreTrainedConfig, num_samples: int) -> int:
        """Equation (1) of the paper."""
        return (num_samples - config.n_fft) // config.hop_length + 1 if num_samples >= config.n_fft else 0

    @classmethod
    def num_samples(cls, config: PreTrainedConfig, num_frames: int) -> int:
        return config.n_fft + (num_frames - 1) * config.hop_length

    @classmethod
    def validate(cls, config: PreTrainedConfig) -> None:
        if config.codec_policy or config.codec_config:
            raise ValueError(f"{config.features} has no codec: codec_policy and codec_config must be None")
        weights = (config.n_fft // 2 + 1) * config.num_bands
        if weights > MOST_FILTER_WEIGHTS:
            raise ValueError(
                f"expected a mel filter bank of at most {MOST_FILTER_WEIGHTS} weights, found {weights}: n_fft "
                f"{config.n_fft} and num_bands {config.num_bands} ask for too much"
            )

    @classmethod
    def empty_bands(cls, config: PreTrainedConfig) -> list[int]:
        """Bands that lie between two bins of the spectrum, and hear nothing whatever sounds."""
        filters = mel_filters(config.n_fft, config.num_bands, config.sampling_rate)
        return np.flatnonzero(~filters.any(axis=0)).tolist()

    @classmethod
    def levels(cls, windows: np.ndarray) -> np.ndarray:
        return 10 * np.log10(np.maximum(windows, MIN_POWER))

    @classmethod
    def picture(cls, windows: np.ndarray) -> np.ndarray:
        return cls.levels(windows)

    @classmethod
    def louder(cls, windows: torch.Tensor, gain_db: torch.Tensor, floor_db: float | None = None) -> torch.Tensor:
        return windows * 10 ** (gain_db / 10)

    def windows(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        window, step = self.config.window_units, self.config.step_units  # of one sample
        return [self.spectrum(cut(waveform[None], window, step)[:, 0]) for waveform in waveforms]

    def stream(self, blocks: Iterator[torch.Tensor], piece_s: float | None = None) -> Iterator[torch.Tensor]:
        cutter = WindowStream(self.config.window_samples, self.config.step_samples)
        for block in blocks:
            pieces = cutter.push(block[None])
            if len(pieces):
                yield self.spectrum(pieces[:, 0])
        pieces = cutter.finish()
        if len(pieces):
            yield self.spectrum(pieces[:, 0])

    def spectrum(self, pieces: torch.Tensor) -> torch.Tensor:
        """(W, samples) -> (W, bands, T)."""
        # Of the constants and the pieces: looking up attributes of a configuration takes longer than some of the work.
        taper = self.taper
        pieces = pieces.unfold(-1, len(taper), self.config.hop_length)
        mel = pieces.new_empty(len(pieces), self.filters.shape[1], pieces.shape[1])
        if not len(pieces):
            return mel
        (together, size), weights = self._at_once(pieces), self._weights()
        room = self._kept.pop("room", None)  # whoever computes beside us makes another one
        for part, out in zip(pieces.split(together), mel.split(together), strict=True):
            if room is None or room.made_for != (part.shape, size, part.dtype, part.device):
                with torch.inference_mode(False):  # so that it can be written in either mode
                    room = _Room(part, size, weights)
            for start, products in zip(room.starts, room.products, strict=True):
                torch.mul(part.narrow(1, start, size), taper, out=room.tapered)
                torch.square(torch.view_as_real(torch.fft.rfft(room.tapered)), out=room.squares)
                for (weight, _, _), parts, product in zip(weights, room.parts, products, strict=True):
                    if weight is None:
                        product.zero_()
                    else:
                        torch.mm(weight, parts, out=product)
            self.scaled(room.mel, out)
        if pieces.device.type == "cpu":
            self._kept["room"] = room
        return mel

    def _at_once(self, frames: torch.Tensor) -> tuple[int, int]:
        """Of frames (W, T, n_fft): how many windows are transformed at once, and how many frames of each."""
        _, count, n_fft = frames.shape
        if frames.device.type != "cpu":
            return max(1, (1 << 16) // count), count
        if max(used.stop - used.start for _, used in self.groups) > MOST_PARTS:
            return max(1, 512 // count), count
        most = max(1, SAMPLES_AT_ONCE // n_fft)
        return max(1, most // count), math.ceil(count / math.ceil(count / most))

    def windows_in_graph(self, waveforms: torch.Tensor) -> torch.Tensor:
        pieces = cut_in_graph(waveforms, self.config.window_samples, self.config.step_samples)
        # The Fourier transform as a convolution: not every runtime has another one of real numbers.
        kernels = torch.from_numpy(_waves(len(self.taper))).to(waveforms.device) * self.taper
        bins = nn.functional.conv1d(pieces.flatten(0, 1)[:, None], kernels[:, None], stride=self.config.hop_length)
        real, imaginary = bins.chunk(2, dim=1)
        power = (real.square() + imaginary.square()).transpose(1, 2) @ self.filters
        return self.scaled(power.transpose(1, 2).contiguous()).unflatten(0, pieces.shape[:2])

    def _weights(self) -> list[tuple[torch.Tensor | None, slice, slice]]:
        """For each group of bands its weights, None for zeros alone; where the bands and where the parts of bins are.

        Each weight stands there twice: for the square of the real part of a bin, and of the imaginary one.
        """
        filters = self.filters
        state = (filters.data_ptr(), filters.device, 0 if filters.is_inference() else filters._version)
        if self._prepared is None or self._prepared[0] != state:
            twice = filters.detach().repeat_interleave(2, dim=0)
            groups = [
                (twice[used, bands].T.contiguous() if used.stop else None, bands, used) for bands, used in self.groups
            ]
            # The filters are kept beside their address, so that no others can come to lie there.
            self._prepared = (state, filters.detach(), groups)
        return self._prepared[2]

    def scaled(self, power: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Mel power of any shape -> the values of the features, in `out` where it is given; `power` may be overwritten."""
        return power if out is None else out.copy_(power)


class LogMel(Mel):
    """The same in decibels, 10 log10 of the power: what is usual, and the honest baseline."""

    kind = "log_mel"
    options = (*Mel.options, "floor_db")
    stored_dtype = "float16"
    text = "the mel spectrogram in decibels"

    @classmethod
    def suggested(cls, sampling_rate: int) -> dict[str, int]:
        """A transform of about 23 ms (1024 samples at 44.1 kHz, which leaves no band empty), half of it to the next."""
        n_fft = 1 << round(math.log2(0.0232 * sampling_rate))
        return {"n_fft": n_fft, "hop_length": max(1, n_fft // 2)}

    @classmethod
    def levels(cls, windows: np.ndarray) -> np.ndarray:
        return windows

    @classmethod
    def louder(cls, windows: torch.Tensor, gain_db: torch.Tensor, floor_db: float | None = None) -> torch.Tensor:
        if floor_db is None:
            floor = least = 10 * np.log10(MIN_POWER)
        else:  # one that half precision does not have is stored as the number next to it
            floor, least = floor_db, floor_db + ROUNDING_DB
        return torch.where(windows > least, (windows + gain_db).clamp_min(floor), windows)

    def scaled(self, power: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        floor_db = self.config.floor_db
        levels = power.clamp_min_(MIN_POWER if floor_db is None else 10 ** (floor_db / 10)).log10_()
        return levels.mul_(10) if out is None else torch.mul(levels, 10, out=out)


class _Room:
    """Memory and views of it for windows of frames (W, T, n_fft), `size` frames of each at once.

    Written again and again it stays in the cache, and making the views takes as long as some of the work.
    """

    def __init__(self, frames: torch.Tensor, size: int, weights: list[tuple[torch.Tensor | None, slice, slice]]):
        self.made_for = frames.shape, size, frames.dtype, frames.device
        windows, count, n_fft = frames.shape
        bins = n_fft // 2 + 1
        # The squares (of real and imaginary parts) lie where the tapered frames were before them.
        memory = frames.new_empty(windows * size * bins * 2)
        self.tapered = memory[: windows * size * n_fft].view(windows, size, n_fft)
        self.squares = memory.view(windows, size, bins, 2)
        columns = memory.view(windows * size, bins * 2).T
        # Of each group of bands.
        self.parts = [columns.narrow(0, used.start, used.stop - used.start) for _, _, used in weights]
        bands = [rows.stop - rows.start for _, rows, _ in weights]
        mel = frames.new_empty(sum(bands), windows * count)
        self.mel = mel.view(sum(bands), windows, count).transpose(0, 1)
        # All blocks have one size, so that these views are for all: the last one has some frames of the one before it.
        self.starts = [min(start, count - size) for start in range(0, count, size)]
        self.products = [mel.narrow(1, windows * start, windows * size).split(bands) for start in self.starts]


def _taper(config: PreTrainedConfig) -> torch.Tensor:
    return torch.hamming_window(config.n_fft, dtype=torch.float32)  # periodic, as scipy's get_window


def _waves(n_fft: int) -> np.ndarray:
    """Cosines and sines (2 bins, n_fft) of the discrete Fourier transform, float32."""
    phase = 2 * np.pi / n_fft * (np.arange(n_fft // 2 + 1)[:, None] * np.arange(n_fft) % n_fft)
    return np.concatenate([np.cos(phase), -np.sin(phase)]).astype(np.float32)


def mel_filters(n_fft: int, num_bands: int, sampling_rate: int, htk: bool = False) -> np.ndarray:
    """Weights (n_fft // 2 + 1, bands), float64, that make mel bands from 0 Hz to half the rate out of a spectrum's bins.

    Triangles on Slaney's scale, each of the area 1 per hertz: librosa's `filters.mel`. With `htk` triangles of the height 1
    on HTK's scale.
    """
    to_mel, to_hz = (_htk_mel, _htk_hz) if htk else (_slaney_mel, _slaney_hz)
    edges = to_hz(np.linspace(to_mel(0.0), to_mel(sampling_rate / 2), num_bands + 2))
    bins = np.linspace(0, sampling_rate * (n_fft // 2) / n_fft, n_fft // 2 + 1)
    slopes = np.expand_dims(edges, 0) - np.expand_dims(bins, 1)
    widths = np.diff(edges)
    filters = np.maximum(0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))
    if not htk:
        filters *= 2.0 / (edges[2:] - edges[:-2])
    return filters


# Slaney's scale is linear up to 1000 Hz (15 mel), then logarithmic: 27 mel for a factor of 6.4.
def _slaney_mel(hz: float) -> float:
    return 15.0 + np.log(hz / 1000.0) * (27.0 / np.log(6.4)) if hz >= 1000.0 else 3.0 * hz / 200.0


def _slaney_hz(mels: np.ndarray) -> np.ndarray:
    hz = 200.0 * mels / 3.0
    above = mels >= 15.0
    hz[above] = 1000.0 * np.exp(np.log(6.4) / 27.0 * (mels[above] - 15.0))
    return hz


def _htk_mel(hz: float) -> float:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _htk_hz(mels: np.ndarray) -> np.ndarray:
    return 700.0 * (np.power(10, mels / 2595.0) - 1.0)


def _filter_groups(filters: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Neighbouring bands, and the parts of bins (2 a bin) that any of them is made of: most of the matrix is zero.

    No parts at all, `slice(0, 0)`, where the bands are empty.
    """
    for start in range(0, filters.shape[1], 16):
        _, used = _group(filters, start, 16)
        # Sums of more parts than that are made in blocks, and halves would round otherwise.
        halves = 96 < used.stop - used.start <= 256
        yield from (
            (_group(filters, each, 8) for each in (start, start + 8)) if halves else [_group(filters, start, 16)]
        )


def _group(filters: np.ndarray, start: int, width: int) -> tuple[slice, slice]:
    used = np.flatnonzero(filters[:, start : start + width].any(axis=1))
    bands = slice(start, min(start + width, filters.shape[1]))
    return bands, slice(2 * int(used[0]), 2 * int(used[-1]) + 2) if len(used) else slice(0, 0)
