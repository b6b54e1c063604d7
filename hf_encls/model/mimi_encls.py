"""Mimi, and the Pocket TTS audio tokenizer that is built like it: causal convolutions, a causal transformer, a stride."""

import math
import threading
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from .adapter_encls import CodecAdapter
from .encoding_encls import Tiling, reach
from .layers_encls import prepared_layers
from .limits_encls import check_family, check_ratios

_ENTRIES = threading.RLock()  # for those who have transformers compute the entries of codebooks anew
LIMITS = {
    "sampling_rate": (1, 1_000_000),
    "audio_channels": (1, 2),
    "hidden_size": (1, 1 << 14),
    "num_filters": (1, 1 << 12),
    "num_residual_layers": (0, 16),
    "kernel_size": (1, 1 << 10),
    "last_kernel_size": (1, 1 << 10),
    "residual_kernel_size": (1, 1 << 10),
    "dilation_growth_rate": (1, 16),
    "compress": (1, 1 << 12),
    "num_hidden_layers": (1, 256),
    "intermediate_size": (1, 1 << 16),
    "num_attention_heads": (1, 1 << 10),
    "num_key_value_heads": (1, 1 << 10),
    "head_dim": (1, 1 << 12),
    "sliding_window": (1, 1 << 20),
    "num_quantizers": (1, 1 << 10),
    "codebook_size": (2, 1 << 20),
    "codebook_dim": (1, 1 << 14),
    "vector_quantization_hidden_dimension": (1, 1 << 14),
    "latent_dim": (1, 1 << 14),
    "latent_stride": (1, 1 << 10),
}


class MimiAdapter(CodecAdapter):
    """`MimiModel`: causal. Latents are what its encoder gives to the quantizer: convolutions, transformer and stride.

    The transformer's layers see a window of frames, so that a frame sees 80 s back and no farther.
    """

    model_type: ClassVar[str] = "mimi"
    name: ClassVar[str] = "Mimi"
    model_class: ClassVar[str] = "MimiModel"
    config_name: ClassVar[str] = "MimiConfig"
    silent_settings: ClassVar[tuple[str, ...]] = (
        *("pad_mode", "dilation_growth_rate", "hidden_act", "norm_eps", "sliding_window", "num_attention_heads"),
        *("num_key_value_heads", "head_dim", "rope_parameters"),
    )

    @staticmethod
    def check_limits(config: PreTrainedConfig) -> None:
        check_ratios("upsampling_ratios", config.upsampling_ratios)
        size = config.hidden_size
        wide = config.num_filters << len(config.upsampling_ratios)
        heads = (config.num_attention_heads + config.num_key_value_heads) * config.head_dim
        transformer = config.num_hidden_layers * size * 2 * (heads + config.intermediate_size)
        convolutions = config.num_filters * config.kernel_size + wide * size * (
            config.last_kernel_size + config.kernel_size
        )
        for i, ratio in enumerate(reversed(config.upsampling_ratios)):
            width = config.num_filters << i
            block = width * width * (config.residual_kernel_size + 2) * config.num_residual_layers
            convolutions += block + 4 * width * width * ratio
        books = getattr(config, "num_quantizers", 0) * getattr(config, "codebook_size", 0)
        check_family(
            config,
            LIMITS,
            max(transformer, convolutions, books * max(1, getattr(config, "vector_quantization_hidden_dimension", 1))),
        )
        if not config.use_causal_conv:
            raise ValueError("expected use_causal_conv: this codec's transformer is causal, its convolutions are not")
        if config.encoder_config is None:
            raise ValueError("expected a codec with its encoder, found encoder_config null: it cannot make latents")
        if config.sampling_rate != config.frame_rate * config.frame_size:
            raise ValueError(
                f"expected frame_rate {config.sampling_rate / config.frame_size:g}, which its strides make, found "
                f"{config.frame_rate:g}"
            )
        if config.encodec_frame_rate * math.prod(config.upsampling_ratios) != config.sampling_rate:
            raise ValueError(
                f"expected a sampling_rate that is a multiple of the {math.prod(config.upsampling_ratios)} samples of "
                f"upsampling_ratios, found {config.sampling_rate}"
            )

    @property
    def hop_length(self) -> int:
        return self.config.frame_size

    @property
    def latent_size(self) -> int:
        return self.config.latent_dim

    @property
    def num_quantizers(self) -> int:
        return self.config.num_quantizers

    @property
    def lookahead(self) -> int:
        return 0

    @property
    def lookback(self) -> int:
        return reach(layers(self.config), self.hop_length)[0]

    def encode(self, codec: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        batch = batch[:, None].expand(-1, self.config.audio_channels, -1)
        return codec.encoder(batch, use_streaming=False).latents

    def tiles(self, codec: nn.Module) -> tuple[Sequence[nn.Module], Tiling]:
        hop = math.prod(self.config.upsampling_ratios)
        tiling = Tiling.of(self.sampling_rate, hop, reach(convolutions(self.config), hop)[0])
        return prepared_layers(codec.encoder.encoder_seanet, self.sampling_rate), tiling

    def from_tiles(self, codec: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        encoder = codec.encoder
        seen = encoder.encoder_transformer(hidden.transpose(1, 2), use_cache=False).last_hidden_state
        return encoder.downsample(seen.transpose(1, 2))

    @property
    def bandwidths(self) -> tuple[float, ...]:
        # The semantic codebooks come first, and all of them.
        return super().bandwidths[self._least - 1 :]

    @property
    def _least(self) -> int:
        return self.config.num_semantic_quantizers

    def num_codebooks(self, codec: nn.Module, bandwidth: float) -> int:
        return super().num_codebooks(codec, bandwidth) + self._least - 1

    def codes(self, codec: nn.Module, latents: torch.Tensor, bandwidth: float) -> torch.Tensor:
        with _ENTRIES:
            _forget_entries(codec)
            return codec.quantizer.encode(latents[None], self.num_codebooks(codec, bandwidth))[:, 0]

    def embed(self, codec: nn.Module, codes: torch.Tensor) -> torch.Tensor:
        with _ENTRIES:
            _forget_entries(codec)
            return codec.quantizer.decode(codes.long())

    def codebook_entries(self, codec: nn.Module, num_codebooks: int) -> torch.Tensor:
        quantizer, entries = codec.quantizer, []
        with _ENTRIES:
            _forget_entries(codec)
            for part in (quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer):
                for layer in part.layers:
                    book = layer.codebook.embed.T[None]
                    entries.append((book if part.output_proj is None else part.output_proj(book))[0].T)
        return torch.stack(entries[:num_codebooks])


class PocketTTSAdapter(MimiAdapter):
    """`PocketTTSAudioTokenizerModel`: as Mimi, without a quantizer."""

    model_type: ClassVar[str] = "pocket_tts_audio_tokenizer"
    name: ClassVar[str] = "Pocket TTS audio tokenizer"
    model_class: ClassVar[str] = "PocketTTSAudioTokenizerModel"
    config_name: ClassVar[str] = "PocketTTSAudioTokenizerConfig"
    decoder_parts: ClassVar[tuple[str, ...]] = ("decoder", "latent_proj")
    quantizer_part: ClassVar[str | None] = None

    @property
    def num_quantizers(self) -> int:
        return 0

    @property
    def bandwidths(self) -> tuple[float, ...]:
        return ()

    @property
    def _least(self) -> int:
        return 1


def convolutions(config: PreTrainedConfig) -> list[tuple[int, int, int, int]]:
    """Kernel size, stride, dilation and left padding from the waveform to the transformer."""
    out = [(config.kernel_size, 1, 1, config.kernel_size - 1)]
    for ratio in reversed(config.upsampling_ratios):
        for layer in range(config.num_residual_layers):
            dilation = config.dilation_growth_rate**layer
            out.append((config.residual_kernel_size, 1, dilation, (config.residual_kernel_size - 1) * dilation))
        out.append((2 * ratio, ratio, 1, ratio))
    return [*out, (config.last_kernel_size, 1, 1, config.last_kernel_size - 1)]


def layers(config: PreTrainedConfig) -> list[tuple[int, int, int, int]]:
    """The same to the latents; the transformer, each of whose layers sees a window of frames, counts as one convolution."""
    back = config.num_hidden_layers * (config.sliding_window - 1)
    stride = config.latent_stride
    return [*convolutions(config), (back + 1, 1, 1, back), (2 * stride, stride, 1, stride)]


def _forget_entries(codec: nn.Module) -> None:
    """A codebook keeps its entries once they were asked for, also when its weights or its device are others by now."""
    for module in codec.quantizer.modules():
        if hasattr(module, "_embed"):
            module._embed = None
