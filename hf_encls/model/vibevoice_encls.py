"""The acoustic tokenizer of VibeVoice: causal ConvNeXt blocks, no quantizer."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from .adapter_encls import CodecAdapter
from .encoding_encls import TILE_S, Tiling, reach
from .limits_encls import check_family, check_ratios

LIMITS = {
    "channels": (1, 1),
    "hidden_size": (1, 1 << 14),
    "kernel_size": (1, 1 << 8),
    "num_filters": (1, 1 << 12),
    "depths": (0, 64),
    "ffn_expansion": (1, 64),
}
MOST_CONTEXT = 0.2  # of a tile: what goes along with it is computed twice
SAMPLING_RATE = 24_000  # its configuration does not say it, its feature extractor does


class VibeVoiceAdapter(CodecAdapter):
    """`VibeVoiceAcousticTokenizerModel`: causal. Latents are its encoder's, without the noise that `encode` adds. A clip is
    filled up to whole frames with zeros.
    """

    model_type: ClassVar[str] = "vibevoice_acoustic_tokenizer"
    name: ClassVar[str] = "VibeVoice acoustic tokenizer"
    model_class: ClassVar[str] = "VibeVoiceAcousticTokenizerModel"
    config_name: ClassVar[str] = "VibeVoiceAcousticTokenizerConfig"
    quantizer_part: ClassVar[str | None] = None
    silent_settings: ClassVar[tuple[str, ...]] = ("rms_norm_eps", "hidden_act")

    fills: ClassVar[bool] = True

    @staticmethod
    def check_limits(config: PreTrainedConfig) -> None:
        check_ratios("downsampling_ratios", config.downsampling_ratios)
        if len(config.depths) != len(config.downsampling_ratios) + 1:
            raise ValueError(
                f"expected {len(config.downsampling_ratios) + 1} depths, one more than strides, found {len(config.depths)}"
            )
        weights = sum(
            (config.num_filters << i) ** 2 * 2 * config.ffn_expansion * depth for i, depth in enumerate(config.depths)
        )
        weights += sum((config.num_filters << i) ** 2 * 4 * r for i, r in enumerate(config.downsampling_ratios))
        wide = config.num_filters << len(config.downsampling_ratios)
        check_family(config, LIMITS, weights + wide * config.hidden_size * config.kernel_size)

    @property
    def sampling_rate(self) -> int:
        return SAMPLING_RATE

    @property
    def lookahead(self) -> int:
        return 0

    @property
    def lookback(self) -> int:
        return reach(layers(self.config), self.hop_length)[0]

    def encode(self, codec: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return codec.encoder(self.fill(batch)[:, None]).latents.transpose(1, 2)

    def tiles(self, codec: nn.Module) -> tuple[Sequence[nn.Module], Tiling]:
        count, hop, lookback = self._first_stages()
        return _stages(codec)[:count], Tiling.of(self.sampling_rate, hop, lookback)

    def from_tiles(self, codec: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        for stage in _stages(codec)[self._first_stages()[0] :]:
            hidden = stage(hidden)
        return codec.encoder.head(hidden)

    def _first_stages(self) -> tuple[int, int, int]:
        """How many stages see so little that it can go along with every tile, samples of their frames, and their lookback.

        They are most of the work: the later ones have few frames, which see several seconds.
        """
        stages = []
        for count in range(1, len(self.config.depths) + 1):
            hop = math.prod(self.config.downsampling_ratios[: count - 1])
            stages.append((count, hop, reach(layers(self.config, count), hop)[0]))
        return max(
            (each for each in stages if each[2] <= MOST_CONTEXT * TILE_S * self.sampling_rate), default=stages[0]
        )


def layers(config: PreTrainedConfig, stages: int | None = None) -> list[tuple[int, int, int, int]]:
    """Kernel size, stride, dilation and left padding of its convolutions, from the waveform to the latents, or to the end
    of the first `stages`.
    """
    kernel = config.kernel_size
    same = (kernel, 1, 1, kernel - 1)
    out = [same] * (1 + config.depths[0])
    rest = zip(config.downsampling_ratios, config.depths[1:], strict=True)
    for ratio, depth in list(rest)[: None if stages is None else stages - 1]:
        out += [(2 * ratio, ratio, 1, ratio)] + [same] * depth
    return [*out, same] if stages is None else out


def _stages(codec: nn.Module) -> list[nn.Module]:
    return [codec.encoder.stem, *codec.encoder.conv_layers]
