"""A head without layers to train: a window's statistics as one vector, and a linear classifier that is fitted to it."""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn
from transformers import PreTrainedConfig

from .head_encls import Head
from .precision_encls import KeepsPrecision

# The share of a window's covariance that is replaced by a sphere as large (Ledoit and Wolf's shrinkage with a fixed
# share), and what is added of the training windows' own covariance. ESC-10's official folds, one vector per clip: 0.0,
# 0.1 and 0.3 gave 0.84 of mini's latents, 0.75, 0.76 and 0.78 of log-mel. The share bounds how far eigenvalues can be
# apart, whatever the sound, and with it the error of the logarithm; the rest makes silence finite.
SHRINKAGE = 0.3
FLOOR = 0.01
SMALLEST_VARIANCE = 1e-6  # of standardised features: a deviation of 0 has no gradient
ASINH = (1.0, -1 / 6, 3 / 40, -15 / 336, 105 / 3456)  # coefficients of u, u^3, u^5, u^7, u^9


class StatisticsHead(KeepsPrecision, Head):
    """
    Means, deviations, deviations of differences, and the covariance of a window, as one vector with a linear classifier.

    The covariance is taken in the strongest directions of the training windows, whitened, and through the matrix
    logarithm: there a distance is one of ratios, and a linear classifier can use it. Everything is float32, in whatever
    precision the model is.
    """

    kind = "statistics"
    options = {"num_directions": 32}
    text = "A linear classifier of statistics"
    is_fitted = True
    _keep_in_fp32_modules_strict = {"head"}

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.num_directions = num_directions(config)
        size = self.num_features(config)
        self.directions = nn.Buffer(torch.zeros(self.num_directions, config.num_bands))
        self.vector_mean = nn.Buffer(torch.zeros(size))
        self.vector_scale = nn.Buffer(torch.ones(size))
        self.classifier = nn.Linear(size, config.num_labels)

    @classmethod
    def num_features(cls, config: PreTrainedConfig) -> int:
        k = num_directions(config)
        return 3 * config.num_bands + k * (k + 1) // 2

    @classmethod
    def num_values(cls, config: PreTrainedConfig) -> int:
        return 2 * config.num_bands * config.num_frames + 4 * num_directions(config) ** 2

    @torch.no_grad()
    def reset(self) -> None:
        self.directions.copy_(torch.eye(*self.directions.shape))
        self.vector_mean.zero_()
        self.vector_scale.fill_(1.0)

    def features(self, windows: torch.Tensor) -> torch.Tensor:
        return (self._vectors(windows) - self.vector_mean) * self.vector_scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return self.classifier(features)

    @torch.no_grad()
    def measure(self, blocks: Callable[[], Iterator[torch.Tensor]]) -> None:
        if self.num_directions:
            self.directions.copy_(whitening(blocks(), self.num_directions))
        mean, deviation = moments(self._vectors(windows).double().T for windows in blocks())
        self.vector_mean.copy_(mean)
        self.vector_scale.copy_(torch.where(deviation > SMALLEST_VARIANCE, 1 / deviation.clamp_min(1e-12), 1.0))

    def _vectors(self, windows: torch.Tensor) -> torch.Tensor:
        """Standardised windows (W, C, T) -> their statistics (W, D), before these are standardised."""
        with torch.autocast(windows.device.type, enabled=False):
            windows = windows.float()
            mean = windows.mean(-1)
            return torch.cat(self._parts(windows, mean), dim=-1)

    def _parts(self, windows: torch.Tensor, mean: torch.Tensor) -> list[torch.Tensor]:
        """Windows (W, C, T), float32, and their means (W, C) -> the parts of their vectors, (W, ...) each."""
        centred = windows - mean[..., None]
        change = windows[..., 1:] - windows[..., :-1] if windows.shape[-1] > 1 else torch.zeros_like(windows)
        change = change - change.mean(-1, keepdim=True)
        parts = [mean, deviation(centred), deviation(change)]
        return [*parts, self._covariance(centred)] if self.num_directions else parts

    def _covariance(self, centred: torch.Tensor) -> torch.Tensor:
        """Windows (W, C, T) less their means -> the logarithm of their covariance as vectors (W, k (k + 1) / 2)."""
        k = self.num_directions
        white = self.directions @ centred
        covariance = white @ white.transpose(1, 2) / white.shape[-1]
        eye = torch.eye(k, dtype=white.dtype, device=white.device)
        size = (covariance * eye).sum((1, 2), keepdim=True) / k
        least = SHRINKAGE * size + FLOOR
        ratio = 1 + (1 - SHRINKAGE) * k / SHRINKAGE  # no eigenvalue is more than a window's whole variance
        logarithm = matrix_log((1 - SHRINKAGE) * covariance + least * eye, least * ratio, ratio)
        rows, columns = torch.triu_indices(k, k, device=white.device)
        weights = torch.where(rows == columns, 1.0, math.sqrt(2.0))  # so that lengths stay those of the matrices
        return logarithm.flatten(1)[:, rows * k + columns] * weights


def num_directions(config: PreTrainedConfig) -> int:
    """k, the directions in which the covariance is taken; features have no more than bands."""
    return min(config.num_directions, config.num_bands)


def deviation(centred: torch.Tensor) -> torch.Tensor:
    """Values (..., T) less their mean -> their standard deviation (...), a little above 0."""
    return (centred.square().mean(-1) + SMALLEST_VARIANCE).sqrt()


def moments(blocks: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Blocks (C, ...) of float64 -> mean and standard deviation (C,) of all that they hold.

    They are joined by Chan, Golub and LeVeque's formula: sums of squares would drown small deviations.
    """
    count, mean, square = 0, 0.0, 0.0
    for block in blocks:
        n = block[0].numel()
        if not n:
            continue
        within = tuple(range(1, block.ndim))
        block_mean = block.mean(within, keepdim=True)
        delta = block_mean.flatten() - mean
        square = square + (block - block_mean).square().sum(within) + delta.square() * (count * n / (count + n))
        mean, count = mean + delta * (n / (count + n)), count + n
    return mean, (square / count).sqrt()


def whitening(blocks: Iterator[torch.Tensor], k: int) -> torch.Tensor:
    """Windows (W, C, T), block by block -> the directions (k, C) of most variance, along each of which it becomes 1."""
    count, mean, scatter = 0, 0.0, 0.0
    for windows in blocks:
        frames = windows.double().transpose(0, 1).flatten(1)  # (C, W T)
        n, block_mean = frames.shape[1], frames.mean(1)
        delta = block_mean - mean
        frames = frames - block_mean[:, None]
        scatter = (
            scatter + frames @ frames.T + delta.outer(delta) * (count * n / (count + n))
            if count
            else frames @ frames.T
        )
        mean, count = mean + delta * (n / (count + n)), count + n
    values, vectors = torch.linalg.eigh(scatter / count)
    values, vectors = values[-k:].flip(0), vectors[:, -k:].flip(1)
    # Directions in which nothing happens, of bands that never change, stay silent.
    scale = torch.where(values > 1e-6 * values[0].clamp_min(1e-12), values.clamp_min(1e-24).rsqrt(), 0.0)
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()  # an eigenvector's own is anybody's choice
    return (vectors * signs * scale).T.float()


def matrix_log(matrices: torch.Tensor, most: torch.Tensor, ratio: float) -> torch.Tensor:
    """The logarithms (W, k, k) of symmetric matrices with eigenvalues from `most / ratio` to `most` (W, 1, 1).

    By products alone, which every runtime has: three square roots by the iteration of Newton and Schulz, then
    log(A) = 8 asinh((A^(1/8) - A^(-1/8)) / 2) as a series. Off by less than 1e-4 in float32 (ratio up to 1000).
    """
    eye = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    root, inverse, least = matrices / most, eye, 1 / ratio
    for _ in range(3):
        root, inverse = square_root(root, eye, least)
        least = math.sqrt(least)
    middle = ratio ** (1 / 16)  # in which the eigenvalues lie on both sides of 1, where the series is best
    half = 0.5 * (root * middle - inverse / middle)
    square, series = half @ half, ASINH[-1] * eye
    for coefficient in reversed(ASINH[:-1]):
        series = series @ square + coefficient * eye
    return 8 * (half @ series) + (most.log() - 0.5 * math.log(ratio)) * eye


def square_root(matrices: torch.Tensor, eye: torch.Tensor, least: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The square roots of symmetric matrices (W, k, k) with eigenvalues from `least` to 1, and the inverses of these."""
    root, inverse = matrices, eye.expand_as(matrices)
    while True:
        step = 1.5 * eye - 0.5 * (inverse @ root)
        root, inverse = root @ step, step @ inverse
        least *= (1.5 - 0.5 * least) ** 2  # what the smallest eigenvalue of `inverse @ root` becomes
        if 1 - least < 1e-7:
            return root, inverse
