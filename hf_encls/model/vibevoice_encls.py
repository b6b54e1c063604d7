"""The acoustic tokenizer of VibeVoice: causal ConvNeXt blocks, no quantizer."""

from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from .adapter_encls import CodecAdapter, reach
from .limits_encls import check_family, check_ratios

LIMITS = {
    "channels": (1, 1),
    "hidden_size": (1, 1 << 14),
    "kernel_size": (1, 1 << 8),
    "num_filters": (1, 1 << 12),
    "depths": (0, 64),
    "ffn_expansion": (1, 64),
}
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

    exports: ClassVar[bool] = True

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
    def hop_length(self) -> int:
        return self.config.hop_length

    @property
    def latent_size(self) -> int:
        return self.config.hidden_size

    @property
    def lookahead(self) -> int:
        return 0

    @property
    def lookback(self) -> int:
        return reach(layers(self.config), self.hop_length)[0]

    def encode(self, codec: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(batch, (0, -batch.shape[-1] % self.hop_length))
        return codec.encoder(padded[:, None]).latents.transpose(1, 2)


def layers(config: PreTrainedConfig) -> list[tuple[int, int, int, int]]:
    """Kernel size, stride, dilation and left padding of its convolutions, from the waveform to the latents."""
    kernel = config.kernel_size
    same = (kernel, 1, 1, kernel - 1)
    out = [same] * (1 + config.depths[0])
    for ratio, depth in zip(config.downsampling_ratios, config.depths[1:], strict=True):
        out += [(2 * ratio, ratio, 1, ratio)] + [same] * depth
    return [*out, same]
