"""X-Codec: a DAC encoder and a speech model side by side, and residual codebooks of what both say."""

import math
from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from .adapter_encls import CodecAdapter, differing
from .dac_encls import DacAdapter
from .limits_encls import check_family, check_ratios

LIMITS = {
    "sample_rate": (1, 1_000_000),
    "kernel_size": (1, 1 << 8),
    "unit_kernel_size": (1, 1 << 8),
    "channel_ratios": (0.01, 16),
    "block_dilations": (1, 1 << 10),
    "codebook_size": (2, 1 << 16),
    "codebook_dim": (1, 1 << 14),
    "target_bandwidths": (0.001, 10_000),
}
SPEECH_LIMITS = {
    "hidden_size": (1, 1 << 14),
    "num_hidden_layers": (1, 256),
    "intermediate_size": (1, 1 << 16),
    "num_attention_heads": (1, 1 << 10),
    "num_conv_pos_embeddings": (1, 1 << 12),
    "num_conv_pos_embedding_groups": (1, 1 << 12),
    "conv_dim": (1, 1 << 14),
    "conv_kernel": (1, 1 << 10),
}
SPEECH_MODELS = ("hubert", "wavlm")
SPEECH_SETTINGS = (
    *("hidden_act", "layer_norm_eps", "num_attention_heads", "conv_stride", "feat_extract_norm"),
    *("feat_extract_activation", "do_stable_layer_norm", "num_conv_pos_embedding_groups"),
)


class XcodecAdapter(CodecAdapter):
    """`XcodecModel`: its speech model sees the whole clip, and so does every frame. Latents are what goes into the
    quantizer. A clip is filled up to whole frames with zeros, as by its own feature extractor.
    """

    model_type: ClassVar[str] = "xcodec"
    name: ClassVar[str] = "X-Codec"
    model_class: ClassVar[str] = "XcodecModel"
    config_name: ClassVar[str] = "XcodecConfig"
    fills: ClassVar[bool] = True
    encoder_parts: ClassVar[tuple[str, ...]] = ("acoustic_encoder", "encoder_semantic", "semantic_model", "fc")
    decoder_parts: ClassVar[tuple[str, ...]] = ("acoustic_decoder", "decoder_semantic", "fc1", "fc2")
    silent_settings: ClassVar[tuple[str, ...]] = ("block_dilations", "strides")

    @staticmethod
    def check_limits(config: PreTrainedConfig) -> None:
        check_family(config, LIMITS)
        if not len(config.target_bandwidths):
            raise ValueError("expected target_bandwidths of at least one number, found none")
        acoustic, speech = config.acoustic_model_config, config.semantic_model_config
        if acoustic.model_type != "dac" or speech.model_type not in SPEECH_MODELS:
            raise ValueError(
                f"expected acoustic_model_config of dac and semantic_model_config of {' or '.join(SPEECH_MODELS)}, found "
                f"{acoustic.model_type!r} and {speech.model_type!r}"
            )
        DacAdapter.check_limits(acoustic)
        check_ratios("conv_stride of semantic_model_config", speech.conv_stride)
        check_ratios("strides", config.strides)
        size = speech.hidden_size
        weights = speech.num_hidden_layers * size * (4 * size + 2 * speech.intermediate_size)
        weights += sum(a * b * k for a, b, k in zip((1, *speech.conv_dim), speech.conv_dim, speech.conv_kernel))
        check_family(speech, SPEECH_LIMITS, weights)
        books = config.num_quantizers * config.codebook_size * config.codebook_dim
        check_family(config, LIMITS, max(config.hidden_size**2, books, size * size * 12 * len(config.strides)))
        hop = math.prod(speech.conv_stride) * math.prod(config.strides)
        if hop != config.hop_length:
            raise ValueError(
                f"expected both encoders to make frames of one length, found {config.hop_length} and {hop}"
            )
        if not 1 <= config.num_quantizers <= 1 << 10:
            raise ValueError(f"expected target_bandwidths of 1 to {1 << 10} codebooks, found {config.num_quantizers}")

    @property
    def sampling_rate(self) -> int:
        return self.config.sample_rate

    @property
    def num_quantizers(self) -> int:
        return self.config.num_quantizers

    @property
    def bandwidths(self) -> tuple[float, ...]:
        return tuple(float(each) for each in self.config.target_bandwidths)

    @property
    def lookahead(self) -> None:
        return None

    def make(self, keep_quantizer: bool) -> nn.Module:
        codec = super().make(keep_quantizer)
        codec.acoustic_decoder = nn.Identity()  # the library asks it for its modules when it loads
        return codec

    def encode(self, codec: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        # As XcodecModel.encode, up to the quantizer.
        padded = self.fill(batch)[:, None]
        speech = codec.encoder_semantic(codec._extract_semantic_features(padded).transpose(1, 2))
        acoustic = codec.acoustic_encoder(padded)
        if acoustic.shape[-1] != speech.shape[-1]:
            acoustic = codec.acoustic_encoder(nn.functional.pad(padded, (codec.pad, codec.pad)))
        return codec.fc(torch.cat([acoustic, speech], dim=1).transpose(1, 2)).transpose(1, 2)

    def num_codebooks(self, codec: nn.Module, bandwidth: float) -> int:
        super().num_codebooks(codec, bandwidth)
        return codec.quantizer.get_num_quantizers_for_bandwidth(bandwidth)

    def codes(self, codec: nn.Module, latents: torch.Tensor, bandwidth: float) -> torch.Tensor:
        return codec.quantizer.encode(latents[None], bandwidth)[:, 0]

    def embed(self, codec: nn.Module, codes: torch.Tensor) -> torch.Tensor:
        return codec.quantizer.decode(codes.long().transpose(0, 1))

    def codebook_entries(self, codec: nn.Module, num_codebooks: int) -> torch.Tensor:
        return torch.stack([each.codebook.embed for each in codec.quantizer.quantizers[:num_codebooks]])

    def codebooks(self, codec: nn.Module) -> dict[str, torch.Tensor]:
        return {name: value for name, value in super().codebooks(codec).items() if name.endswith("codebook.embed")}

    def unusual_settings(self) -> dict:
        usual = self.class_of_config()().semantic_model_config
        speech = differing(self.config.semantic_model_config, usual, SPEECH_SETTINGS)
        return super().unusual_settings() | {f"semantic.{name}": value for name, value in speech.items()}
