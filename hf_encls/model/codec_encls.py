"""Codec families: what a representation asks of a neural codec, answered once for each family of transformers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import EncodecConfig, PreTrainedConfig

from .encoding_encls import encode_causal, encode_chunks, stream_causal
from .limits_encls import check_encodec

# The architectures of the published codecs by their rate in hertz, where they differ from the library's default.
PUBLISHED_ENCODEC = {
    24_000: {},
    48_000: {
        "sampling_rate": 48_000,
        "audio_channels": 2,
        "normalize": True,
        "chunk_length_s": 1.0,
        "overlap": 0.01,
        "norm_type": "time_group_norm",
        "use_causal_conv": False,
        "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
    },
}
# Settings that change the latents without changing the shape of a weight.
SILENT_SETTINGS = (
    *("normalize", "chunk_length_s", "overlap", "use_causal_conv", "pad_mode", "norm_type"),
    "dilation_growth_rate",
)


class EncodecAdapter:
    """
    `EncodecModel`: causal and whole at 24 kHz; in chunks, with a look ahead, at 48 kHz.

    An adapter is made of a codec's configuration and holds no weights. It says six things: how latents are made
    (`latents`, `stream`), at which `sampling_rate`, one for how many samples (`hop_length`), of how many channels
    (`latent_size`), with how much `lookahead`, and how a quantizer turns them into codes and back (`codes`, `embed`).
    """

    model_type: ClassVar[str] = "encodec"
    name: ClassVar[str] = "EnCodec"
    config_class: ClassVar[type[PreTrainedConfig]] = EncodecConfig
    policies: ClassVar[tuple[str, ...]] = ("whole", "contiguous", "codec")

    def __init__(self, config: EncodecConfig):
        self.config = config

    @staticmethod
    def check_limits(config: EncodecConfig) -> None:
        """Raise `ValueError` for a codec that cannot be built, or not in memory."""
        check_encodec(config)

    @property
    def sampling_rate(self) -> int:
        """Hertz."""
        return self.config.sampling_rate

    @property
    def hop_length(self) -> int:
        """Samples of one frame."""
        return self.config.hop_length

    @property
    def latent_size(self) -> int:
        """Channels C of the latents."""
        return self.config.hidden_size

    @property
    def bandwidths(self) -> tuple[float, ...]:
        """Kilobits per second that the quantizer can give."""
        return tuple(self.config.target_bandwidths)

    @property
    def default_policy(self) -> str:
        """How a clip goes through the codec where nobody says it: by the codec's chunks, where it has any."""
        return "whole" if self.config.chunk_length_s is None else "contiguous"

    @property
    def lookahead(self) -> int | None:
        """Samples beyond a frame's own that its latents depend on; None where they depend on the whole chunk."""
        return 0 if self.is_causal else None

    @property
    def is_causal(self) -> bool:
        """Whether the convolutions of a whole clip may go in tiles."""
        config = self.config
        return config.use_causal_conv and config.norm_type == "weight_norm" and not config.normalize

    def check_policy(self, policy: str | None) -> None:
        """Raise `ValueError` for a policy that this codec does not have."""
        if policy not in (None, *self.policies):
            raise ValueError(f"expected codec_policy to be one of {', '.join(self.policies)}, found {policy!r}")
        if policy in ("contiguous", "codec") and self.config.chunk_length_s is None:
            raise ValueError(
                f"codec_policy {policy!r} needs a codec with chunk_length_s; this one has none: use 'whole'"
            )
        if policy == "codec" and self.config.chunk_stride is None:
            raise ValueError("codec_policy 'codec' needs a codec with an overlap; this one has none: use 'contiguous'")

    def make(self, keep_quantizer: bool) -> nn.Module:
        """The frozen codec without what classification never uses: the decoder, and the quantizer unless it is kept."""
        # Imported when it is needed: a configuration must load without the models of transformers.
        from transformers import EncodecModel

        # A whole model, not its bare encoder: only that class refills its own buffers after from_pretrained.
        codec = EncodecModel(self.config)
        codec.decoder = None
        if not keep_quantizer:
            codec.quantizer = None
        return codec.requires_grad_(False).eval()

    def as_dict(self) -> dict:
        """The codec's configuration as plain JSON, without where it came from."""
        origin = ("architectures", "transformers_version", "dtype", "_name_or_path")
        return {key: value for key, value in self.config.to_diff_dict().items() if key not in origin}

    def latents(
        self,
        codec: nn.Module,
        waveforms: Sequence[torch.Tensor],
        policy: str,
        dtype: torch.dtype,
        convolutions: Callable[[torch.Tensor], torch.Tensor | None] | None = None,
    ) -> list[torch.Tensor]:
        """Waveforms (N,) -> what the encoder makes of them before the quantizer, (C, F) each, float32.

        `convolutions` is another runtime for the convolutions of whole clips, see `encode_causal`.
        """
        if policy == "whole" and self.is_causal:
            return encode_causal(codec, waveforms, dtype, convolutions)
        chunks = [list(self._chunks(waveform, policy)) for waveform in waveforms]
        flat = iter(encode_chunks(codec, [chunk for clip in chunks for chunk in clip], dtype))
        return [torch.cat([next(flat) for _ in clip], dim=-1) for clip in chunks]

    def stream(
        self, codec: nn.Module, blocks: Iterator[torch.Tensor], policy: str, dtype: torch.dtype
    ) -> Iterator[torch.Tensor]:
        """Blocks (n,) of one clip -> its latents (C, f) piece by piece.

        In constant memory, but for `whole` of a codec that is not causal: there is no other way than to keep the clip.
        """
        if policy == "whole":
            if self.is_causal:
                yield from stream_causal(codec, blocks, dtype)
            else:
                yield self.latents(codec, [torch.cat(list(blocks))], policy, dtype)[0]
            return
        stride = self._stride(policy)
        buffer = None
        for block in blocks:
            buffer = block if buffer is None else torch.cat([buffer, block])
            while len(buffer) > self.config.chunk_length:
                yield encode_chunks(codec, [buffer[: self.config.chunk_length]], dtype)[0]
                buffer = buffer[stride:]
        for chunk in self._chunks(buffer, policy) if buffer is not None else ():
            yield encode_chunks(codec, [chunk], dtype)[0]

    def num_codebooks(self, codec: nn.Module, bandwidth: float) -> int:
        """Codebooks K that a bandwidth comes to. Raises `ValueError` for a bandwidth that the codec does not have."""
        if bandwidth not in self.bandwidths:
            known = ", ".join(f"{each:g}" for each in self.bandwidths)
            raise ValueError(f"expected a bandwidth of {known} kbit/s for this codec, found {bandwidth:g}")
        return codec.quantizer.get_num_quantizers_for_bandwidth(bandwidth)

    def codes(self, codec: nn.Module, latents: torch.Tensor, bandwidth: float) -> torch.Tensor:
        """Latents (C, F) -> codes (K, F) of the K codebooks that `bandwidth` asks for."""
        return codec.quantizer.encode(latents[None], bandwidth)[:, 0]

    def embed(self, codec: nn.Module, codes: torch.Tensor) -> torch.Tensor:
        """Codes (W, K, T) -> the sums of their codebook entries (W, C, T)."""
        return codec.quantizer.decode(codes.long().transpose(0, 1))

    def num_frames(self, num_samples: int, policy: str) -> int:
        """Frames F of a clip, those that overlapping chunks repeat included."""
        if policy != "codec":
            return -(-num_samples // self.hop_length)
        length = self.config.chunk_length
        starts = range(0, num_samples, self._stride(policy))
        return sum(-(-min(length, num_samples - start) // self.hop_length) for start in starts)

    def frame_starts(self, frames, policy: str):
        """Samples at which frames (an array of their numbers) start in the clip."""
        if policy != "codec":
            return frames * self.hop_length
        # Overlapping chunks: frames repeat, so that a frame's time depends on the chunk it is in.
        per_chunk = -(-self.config.chunk_length // self.hop_length)
        return frames // per_chunk * self._stride(policy) + frames % per_chunk * self.hop_length

    def encoder_weights(self, codec: nn.Module) -> dict[str, torch.Tensor]:
        """The weights that decide the latents, by name."""
        return {name: value for name, value in codec.state_dict().items() if name.startswith("encoder.")}

    def codebooks(self, codec: nn.Module) -> dict[str, torch.Tensor]:
        """The quantizer's entries by name; empty where it was dropped."""
        return {name: value for name, value in codec.state_dict().items() if name.endswith("codebook.embed")}

    def unusual_settings(self) -> dict:
        """Settings beside the weights that change the latents, where they differ from the published codec's."""
        published = EncodecConfig(**PUBLISHED_ENCODEC.get(self.sampling_rate, {}))
        settings = {name: getattr(self.config, name) for name in SILENT_SETTINGS}
        return {name: value for name, value in settings.items() if value != getattr(published, name)}

    def _stride(self, policy: str) -> int:
        return self.config.chunk_stride if policy == "codec" else self.config.chunk_length

    def _chunks(self, waveform: torch.Tensor, policy: str) -> Iterator[torch.Tensor]:
        size, stride = len(waveform), len(waveform)
        if policy != "whole":
            size, stride = self.config.chunk_length, self._stride(policy)
        for offset in range(0, len(waveform), stride):
            yield waveform[offset : offset + size]


FAMILIES = {family.model_type: family for family in (EncodecAdapter,)}


def codec_adapter(codec: nn.Module | PreTrainedConfig | Mapping) -> EncodecAdapter:
    """The adapter of a codec, of its configuration, or of that as a dictionary.

    Raises `ValueError`, one line, for a codec of a family that is not known here, and for settings that cannot be built.
    """
    config = codec.config if isinstance(codec, nn.Module) else codec
    kind = config.get("model_type", EncodecAdapter.model_type) if isinstance(config, Mapping) else config.model_type
    if kind not in FAMILIES:
        raise ValueError(f"expected a codec of a known family ({', '.join(FAMILIES)}), found one of {kind!r}")
    family = FAMILIES[kind]
    if not isinstance(config, Mapping):
        return family(config)
    try:
        made = family.config_class(**{key: value for key, value in config.items() if key != "model_type"})
    except StrictDataclassError as error:
        raise ValueError(reason_of(error)) from error
    except TypeError as error:
        raise ValueError(str(error)) from error
    family.check_limits(made)
    return family(made)


def reason_of(error: StrictDataclassError) -> str:
    """What a configuration of the library says is wrong with it, in one line."""
    return " ".join(str(error.__cause__ or error).split())
