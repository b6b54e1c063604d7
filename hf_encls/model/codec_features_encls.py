"""Features of a frozen neural codec: its latents before the quantizer, and the embeddings of its codes."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from .adapter_encls import CodecAdapter
from .codec_encls import FAMILIES, codec_adapter, unknown_family
from .encoding_encls import precision
from .representation_encls import Representation
from .windows_encls import WindowStream, cut, cut_in_graph, cut_together


class Latents(Representation):
    """What a codec's encoder gives before its quantizer.

    A causal codec encodes a clip whole, then it is windowed. Of one that is not, `codec_policy` says how a clip is
    divided, see [`FeatureConfig`]. Mono waveforms are doubled where the codec is stereo.
    """

    kind = "latents"
    needs_codec = True
    options = ("codec", "codec_id", "codec_revision", "codec_policy", "codec_dtype")
    text = "the latents"
    axes = ("Latent channel", "Latent, less its mean in the window")

    # Another runtime for the convolutions of whole clips, see `encode_causal`. Never part of a checkpoint.
    convolutions = None

    def __init__(self, config: PreTrainedConfig, codec: nn.Module | None = None):
        """`codec` is one to be used itself, frozen and in float32; None: a new one, whose weights are random."""
        super().__init__(config)
        self.adapter = adapter_of(config)
        if codec is not None:
            check_codec(codec, config)
        self.codec = self.adapter.make(keep_quantizer=self.integers) if codec is None else codec

    @classmethod
    def samples_per_unit(cls, config: PreTrainedConfig) -> int:
        return config.frame_length

    @classmethod
    def frame_length(cls, config: PreTrainedConfig) -> int:
        return config.frame_length

    @classmethod
    def num_frames(cls, config: PreTrainedConfig, num_samples: int) -> int:
        return num_samples // config.frame_length

    @classmethod
    def num_samples(cls, config: PreTrainedConfig, num_frames: int) -> int:
        return num_frames * config.frame_length

    @classmethod
    def frames_of_clip(cls, config: PreTrainedConfig, num_samples: int) -> int:
        if config.codec_policy == "codec":
            return adapter_of(config).num_frames(num_samples, config.codec_policy)
        return -(-num_samples // config.frame_length)

    @classmethod
    def window_starts(cls, config: PreTrainedConfig, count: int) -> np.ndarray:
        if config.codec_policy == "codec":
            return adapter_of(config).frame_starts(np.arange(count) * config.step_units, config.codec_policy)
        return super().window_starts(config, count)

    @classmethod
    def resolve(cls, config: PreTrainedConfig) -> None:
        if config.codec_config is not None:
            adapter = codec_adapter(config.codec_config)
            config.codec_family = adapter.model_type
            config.codec_policy = config.codec_policy or adapter.default_policy

    @classmethod
    def validate(cls, config: PreTrainedConfig) -> None:
        if config.codec_family not in FAMILIES:
            raise ValueError(unknown_family(config.codec_family))
        policies = FAMILIES[config.codec_family].policies
        if config.codec_policy not in (None, *policies):
            raise ValueError(
                f"expected codec_policy to be one of {', '.join(policies)}, found {config.codec_policy!r}"
            )
        if config.codec_config is not None:
            try:
                check_codec(codec_adapter(config.codec_config), config)
            except ValueError as error:
                raise ValueError(f"codec_config: {error}") from error

    @classmethod
    def picture(cls, windows: np.ndarray) -> np.ndarray:
        # Channels differ in their means by more than they move: without this every latent looks like a bar code.
        return windows - windows.mean(axis=-1, keepdims=True)

    @property
    def takes_convolutions(self) -> bool:
        config = self.config
        return (
            self.adapter.has_tiles and config.codec_policy == "whole" and config.codec_dtype in ("float32", "bfloat16")
        )

    def windows(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        clips = [self.from_latents(clip) for clip in self.latents(waveforms)]
        if self.codec.device.type == "cpu":
            return [self._cut(clip) for clip in clips]
        return cut_together(clips, self.config.window_units, self.config.step_units)

    @torch.no_grad()
    def latents(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Waveforms of shapes (N,) -> what the encoder makes of them, (C, F) each, float32."""
        policy = self.config.codec_policy
        with precision(self.config.codec_dtype, self.codec.device):
            return self.adapter.latents(self.codec, waveforms, policy, self.dtype, self.convolutions)

    def windows_in_graph(self, waveforms: torch.Tensor) -> torch.Tensor:
        latents = self.adapter.latents_in_graph(self.codec, waveforms, self.config.codec_policy)
        frames = self.from_latents(latents.transpose(0, 1).flatten(1))  # (C, B F): each frame is made by itself
        clips = frames.unflatten(1, (latents.shape[0], latents.shape[2])).transpose(0, 1)
        return cut_in_graph(clips, self.config.window_units, self.config.step_units)

    def stream(self, blocks: Iterator[torch.Tensor], piece_s: float | None = None) -> Iterator[torch.Tensor]:
        return self._stream(blocks, self.from_latents, piece_s)

    @torch.no_grad()
    def _stream(
        self,
        blocks: Iterator[torch.Tensor],
        made_of: Callable[[torch.Tensor], torch.Tensor],
        piece_s: float | None = None,
    ) -> Iterator[torch.Tensor]:
        cutter, policy = WindowStream(self.config.window_units, self.config.step_units), self.config.codec_policy
        encoded = self.adapter.stream(self.codec, blocks, policy, self.dtype, piece_s, self.convolutions)
        while True:
            with precision(self.config.codec_dtype, self.codec.device):  # not while others compute
                latents = next(encoded, None)
            if latents is None:
                break
            pieces = cutter.push(made_of(latents))
            if len(pieces):
                yield pieces
        pieces = cutter.finish()
        if len(pieces):
            yield pieces

    def delay_s(self, piece_s: float) -> float | None:
        samples = self.adapter.delay(self.config.codec_policy, piece_s)
        return None if samples is None else samples / self.config.sampling_rate

    def from_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (C, F) of a clip or of a piece of it -> features (C, F)."""
        return latents

    def copy_codec(self, codec: nn.Module) -> None:
        """Take over the weights of `codec`, which stays as it is. Raises `ValueError` where it does not fit."""
        check_codec(codec, self.config)
        names = self.codec.state_dict()
        self.codec.load_state_dict({name: value for name, value in codec.state_dict().items() if name in names})

    def _cut(self, clip: torch.Tensor) -> torch.Tensor:
        return cut(clip, self.config.window_units, self.config.step_units)

    @property
    def dtype(self) -> torch.dtype:
        """What the codec computes in."""
        return torch.bfloat16 if self.config.codec_dtype == "bfloat16" else torch.float32


class Codes(Latents):
    """The quantizer's codes: stored as integers, embedded as the sums of their codebook entries when they are used."""

    kind = "codes"
    options = (*Latents.options, "bandwidth")
    stored_dtype = "uint16"
    integers = True
    text = "the codes"
    axes = ("Codebook", "Code")

    @classmethod
    def stored_bands(cls, config: PreTrainedConfig) -> int:
        return config.num_codebooks

    @classmethod
    def picture(cls, windows: np.ndarray) -> np.ndarray:
        return windows

    def stored_windows(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Waveforms of shapes (N,) -> windows of their codes (W, K, T), int64: what `embed` makes `windows` of."""
        return [self._cut(self.codes(clip)) for clip in self.latents(waveforms)]

    def stored_stream(self, blocks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        return self._stream(blocks, self.codes)

    @torch.no_grad()
    def codes(self, latents: torch.Tensor) -> torch.Tensor:
        """(C, F) latents -> (K, F) codes of the K codebooks that the configuration's bandwidth asks for."""
        with precision(self.config.codec_dtype, self.codec.device):
            return self.adapter.codes(self.codec, latents, self.config.bandwidth)

    @torch.no_grad()
    def embed(self, stored: torch.Tensor) -> torch.Tensor:
        """Codes (K, F) or windows of them (W, K, T) -> (C, F) or (W, C, T): the sums of their codebook entries."""
        if stored.ndim == 2:
            return self.adapter.embed(self.codec, stored[None])[0]
        return self.adapter.embed(self.codec, stored)

    def from_latents(self, latents: torch.Tensor) -> torch.Tensor:
        return self.embed(self.codes(latents))


def adapter_of(config: PreTrainedConfig) -> CodecAdapter:
    """The adapter of the codec in a configuration. Raises `ValueError` where there is none, or one that does not fit."""
    if config.codec_config is None:
        raise ValueError(
            f"this checkpoint was saved without its codec ({config.codec_id}): it takes input_features; give it the codec "
            "with model.attach_codec(load_codec(...)) to classify waveforms"
        )
    adapter = codec_adapter(config.codec_config)
    check_codec(adapter, config)
    return adapter


def check_codec(codec: nn.Module | CodecAdapter, config: PreTrainedConfig) -> None:
    """Raise `ValueError` where a codec and the features asked of it do not fit."""
    adapter = codec if isinstance(codec, CodecAdapter) else codec_adapter(codec)
    if adapter.model_type != config.codec_family:
        raise ValueError(
            f"{config.feature_name} needs a codec of the family {config.codec_family}, found one of {adapter.model_type}"
        )
    if adapter.sampling_rate != config.sampling_rate:
        raise ValueError(
            f"{config.feature_name} needs a codec of {config.sampling_rate} Hz, found one of {adapter.sampling_rate} Hz"
        )
    if adapter.latent_size != config.num_bands or adapter.hop_length != config.frame_length:
        raise ValueError(
            f"expected a codec with latents of {config.num_bands} x {config.frame_rate:g} per second, found "
            f"{adapter.latent_size} x {adapter.sampling_rate / adapter.hop_length:g}"
        )
    adapter.check_policy(config.codec_policy)
    adapter.check_precision(config.codec_dtype)
