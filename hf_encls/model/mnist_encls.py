"""The paper's head: the MNIST convnet on windows as pictures of one colour."""

from functools import reduce

import torch
from torch import nn
from transformers import PreTrainedConfig

from .head_encls import Head
from .precision_encls import convolve


class MnistHead(Head):
    """The MNIST convnet: convolution, ReLU, max-pool, twice; dropout; linear. No padding."""

    kind = "mnist"
    options = {"conv_channels": (32, 64), "kernel_size": 3, "pool_size": 2, "dropout": 0.5}
    text = "A small convolutional network"

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        first, second = config.conv_channels
        self.conv1 = nn.Conv2d(1, first, config.kernel_size)
        self.conv2 = nn.Conv2d(first, second, config.kernel_size)
        self.pool = nn.MaxPool2d(config.pool_size)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.num_features(config), config.num_labels)

    @classmethod
    def num_features(cls, config: PreTrainedConfig) -> int:
        return config.conv_channels[1] * pooled_size(config.num_bands, config) * pooled_size(config.num_frames, config)

    @classmethod
    def num_values(cls, config: PreTrainedConfig) -> int:
        return config.conv_channels[0] * config.num_bands * config.num_frames

    @classmethod
    def validate(cls, config: PreTrainedConfig) -> None:
        if len(config.conv_channels) != 2:
            raise ValueError(f"expected two conv_channels, found {list(config.conv_channels)}")
        if min(pooled_size(config.num_bands, config), pooled_size(config.num_frames, config)) < 1:
            needed = config.pool_size * (config.pool_size + config.kernel_size - 1) + config.kernel_size - 1
            needed_s = config.representation.num_samples(config, needed) / config.sampling_rate
            raise ValueError(
                f"window_s={config.window_s} is too short for the network: {config.num_frames} frames, it needs {needed} "
                f"({needed_s:.3f} s or more)"
            )

    def features(self, windows: torch.Tensor) -> torch.Tensor:
        hidden = windows[:, None].to(self.conv1.weight.dtype)
        if hidden.device.type == "cpu":
            # Channels-last from the start. Of one channel both orders are the same in memory: only strides say which.
            hidden = hidden[:, 0, :, :, None].permute(0, 3, 1, 2)
        hidden = self._pooled(convolve("conv1", self.conv1, hidden))
        return self._pooled(convolve("conv2", self.conv2, hidden)).flatten(1)

    def _pooled(self, maps: torch.Tensor) -> torch.Tensor:
        # ReLU after the pooling is the same, on a quarter of the values.
        graph = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
        if graph or maps.device.type != "cpu" or maps.stride(1) != 1 or maps.shape[1] == 1:
            return self.pool(maps).relu()
        # PyTorch's own also notes where each maximum was, which only a gradient asks for.
        size = self.pool.kernel_size
        height, width = (length // size * size for length in maps.shape[2:])
        rows = reduce(torch.maximum, [maps[:, :, i:height:size] for i in range(size)])
        largest = reduce(torch.maximum, [rows[..., i:width:size] for i in range(size)])
        return largest.relu_() if size > 1 else largest.relu()  # of one by one, the maps are somebody else's too

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(features))


def pooled_size(size: int, config: PreTrainedConfig) -> int:
    """What two rounds of convolution without padding and max-pool leave of `size`."""
    for _ in range(2):
        size = (size - config.kernel_size + 1) // config.pool_size
    return size
