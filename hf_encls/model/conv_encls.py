"""A head of today: separable convolutions with normalisation, and statistics over time."""

import math
from itertools import pairwise

import torch
from torch import nn
from transformers import PreTrainedConfig

from .head_encls import Head
from .limits_encls import MOST_WEIGHTS
from .precision_encls import convolve

MOST_LAYERS = 8  # each halves what it sees


class ConvHead(Head):
    """
    A strided convolution and strided separable ones, each normalised; mean and deviation over time; dropout; linear.

    Bands in order of pitch are seen as a picture, so that a sound is known again a little higher or lower, and each
    height of it keeps its own statistics. The channels of latents have no order: each layer sees all of them at once, and
    is as wide as the last. Inputs of every size go through: paddings keep at least one frame and one band.
    """

    kind = "conv"
    options = {"conv_channels": (32, 64, 128, 256), "kernel_size": 3, "dropout": 0.2}
    text = "A small network of separable convolutions"

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.is_picture = config.representation.ordered
        kernel = (config.kernel_size if self.is_picture else 1, config.kernel_size)
        stride = (2 if self.is_picture else 1, 2)
        first, *others = channels(config)
        inputs = 1 if self.is_picture else config.num_bands
        layout = {
            "kernel_size": kernel,
            "stride": stride,
            "padding": tuple(size // 2 for size in kernel),
            "bias": False,
        }
        self.stem = nn.Conv2d(inputs, first, **layout)
        self.stem_norm = Norm(first)
        self.blocks = nn.ModuleList()
        for width in others:
            self.blocks.append(Separable(first, width, layout))
            first = width
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.num_features(config), config.num_labels)

    @classmethod
    def num_features(cls, config: PreTrainedConfig) -> int:
        width, height, _ = shapes(config)[-1]
        return 2 * width * height

    @classmethod
    def num_values(cls, config: PreTrainedConfig) -> int:
        return max(config.num_bands * config.num_frames, *map(math.prod, shapes(config)))

    @classmethod
    def validate(cls, config: PreTrainedConfig) -> None:
        if not 2 <= len(config.conv_channels) <= MOST_LAYERS:
            raise ValueError(f"expected 2 to {MOST_LAYERS} conv_channels, found {list(config.conv_channels)}")
        if config.kernel_size % 2 == 0:
            raise ValueError(f"expected an odd kernel_size, found {config.kernel_size}")
        widths, ordered = channels(config), config.representation.ordered
        kernel = config.kernel_size**2 if ordered else config.kernel_size
        weights = widths[0] * kernel * (1 if ordered else config.num_bands)
        weights += sum(before * kernel + before * after for before, after in pairwise(widths))
        if weights > MOST_WEIGHTS:
            raise ValueError(
                f"expected conv_channels of layers with at most {MOST_WEIGHTS} weights, found about {weights}"
            )

    def features(self, windows: torch.Tensor) -> torch.Tensor:
        image = windows[:, None] if self.is_picture else windows[:, :, None]
        hidden = convolve("stem", self.stem, image.to(self.stem.weight.dtype))
        hidden = self.stem_norm(hidden).relu()
        for number, block in enumerate(self.blocks):
            hidden = block(f"blocks.{number}", hidden)
        hidden = hidden.float()
        mean = hidden.mean(-1, keepdim=True)
        deviation = ((hidden - mean).square().mean(-1) + 1e-5).sqrt()
        return torch.cat([mean[..., 0], deviation], dim=1).flatten(1).to(self.classifier.weight.dtype)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(features))


class Norm(nn.BatchNorm2d):
    """Batch normalisation, which also takes a batch of one number: the last one of an epoch, of very short windows."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(W, channels, h, w) -> the same shape. One number has no variance; the running one stands in."""
        if self.training and image[:, 0].numel() == 1:
            settings = (self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
            return nn.functional.batch_norm(image, *settings)
        return super().forward(image)


class Separable(nn.Module):
    """A convolution of each channel by itself, one across channels, a normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, layout: dict):
        super().__init__()
        self.depth = nn.Conv2d(inputs, inputs, groups=inputs, **layout)
        self.depth_norm = Norm(inputs)
        self.point = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = Norm(outputs)

    def forward(self, name: str, image: torch.Tensor) -> torch.Tensor:
        """(W, channels, h, w) -> (W, channels, h / stride, w / stride); `name` is what warnings call the layer."""
        hidden = self.depth_norm(convolve(f"{name}.depth", self.depth, image))
        return self.norm(convolve(f"{name}.point", self.point, hidden)).relu()


def channels(config: PreTrainedConfig) -> tuple[int, ...]:
    """Channels of each layer."""
    if config.representation.ordered:
        return tuple(config.conv_channels)
    return (config.conv_channels[-1],) * len(config.conv_channels)


def shapes(config: PreTrainedConfig) -> list[tuple[int, int, int]]:
    """What each layer makes of a window: channels, height, frames."""
    height, frames, out = config.num_bands if config.representation.ordered else 1, config.num_frames, []
    for width in channels(config):
        height, frames = -(-height // 2), -(-frames // 2)
        out.append((width, height, frames))
    return out
