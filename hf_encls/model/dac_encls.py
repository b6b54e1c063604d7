"""DAC, the Descript Audio Codec: convolutions that see both ways, and residual codebooks of few dimensions."""

from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from .adapter_encls import CodecAdapter
from .encoding_encls import reach
from .limits_encls import check_family, check_ratios

LIMITS = {
    "sampling_rate": (1, 1_000_000),
    "encoder_hidden_size": (1, 1 << 12),
    "decoder_hidden_size": (1, 1 << 14),
    "n_codebooks": (1, 1 << 10),
    "codebook_size": (2, 1 << 16),
    "codebook_dim": (1, 1 << 12),
}
DILATIONS = (1, 3, 9)  # of the residual units before each stride


class DacAdapter(CodecAdapter):
    """`DacModel`: a frame sees about as far ahead as back. A clip is filled up to whole frames with zeros, as by its own
    feature extractor.
    """

    model_type: ClassVar[str] = "dac"
    name: ClassVar[str] = "DAC"
    model_class: ClassVar[str] = "DacModel"
    config_name: ClassVar[str] = "DacConfig"

    fills: ClassVar[bool] = True

    @staticmethod
    def check_limits(config: PreTrainedConfig) -> None:
        check_ratios("downsampling_ratios", config.downsampling_ratios)
        width = config.encoder_hidden_size << len(config.downsampling_ratios)
        encoder = sum(
            (config.encoder_hidden_size << i) ** 2 * (24 + 4 * ratio)
            for i, ratio in enumerate(config.downsampling_ratios)
        )
        books = config.n_codebooks * config.codebook_dim * (config.codebook_size + 2 * width)
        decoder = width * config.decoder_hidden_size * 7 + config.decoder_hidden_size**2 * 32
        check_family(config, LIMITS, max(encoder + 3 * width * width, books, decoder))
        if config.codebook_size & (config.codebook_size - 1):
            raise ValueError(f"expected codebook_size to be a power of two, found {config.codebook_size}")

    @property
    def num_quantizers(self) -> int:
        return self.config.n_codebooks

    @property
    def lookahead(self) -> int:
        return reach(layers(self.config), self.hop_length)[1]

    @property
    def lookback(self) -> int:
        return reach(layers(self.config), self.hop_length)[0]

    def encode(self, codec: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return codec.encoder(self.fill(batch)[:, None])

    def codes(self, codec: nn.Module, latents: torch.Tensor, bandwidth: float) -> torch.Tensor:
        return codec.quantizer(latents[None], self.num_codebooks(codec, bandwidth))[1][0]

    def embed(self, codec: nn.Module, codes: torch.Tensor) -> torch.Tensor:
        return codec.quantizer.from_codes(codes.long())[0]

    def codebook_entries(self, codec: nn.Module, num_codebooks: int) -> torch.Tensor:
        quantizers = codec.quantizer.quantizers[:num_codebooks]
        return torch.stack([each.out_proj(each.codebook.weight.T[None])[0].T for each in quantizers])


def layers(config: PreTrainedConfig) -> list[tuple[int, int, int, int]]:
    """Kernel size, stride, dilation and left padding of DAC's convolutions, from the waveform to the latents."""
    out = [(7, 1, 1, 3)]
    for ratio in config.downsampling_ratios:
        out += [(7, 1, dilation, 3 * dilation) for dilation in DILATIONS]
        out.append((2 * ratio, ratio, 1, -(-ratio // 2)))
    return [*out, (3, 1, 1, 1)]
