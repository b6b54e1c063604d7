"""The contract of a codec family: what a representation asks of a neural codec, whichever it is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from .encoding_encls import Tiling, convolve_in_tiles, encode_by_length, piece_in_context, stream_in_context
from .export_encls import any_length

ORIGIN = ("architectures", "transformers_version", "dtype", "_name_or_path")  # of a codec's configuration
LONG_S = 60.0  # a clip longer than this goes through the codec in pieces, where a frame sees a bounded context
Convolutions = Callable[[torch.Tensor, int], torch.Tensor | None]


class CodecAdapter(ABC):
    """
    One family of neural codecs: waveforms (N,) in, latents (C, F) out, and codes where there is a quantizer.

    An adapter is made of a codec's configuration and holds no weights. It says how latents are made (`encode`; `latents`
    and `stream` follow from it), at which `sampling_rate`, one for how many samples (`hop_length`), of how many channels
    (`latent_size`), how far a frame sees (`lookback`, `lookahead`), and how a quantizer turns them into codes and back.

    To add a family, subclass it, say the facts, and name the class in `codec_encls.FAMILIES`.
    """

    model_type: ClassVar[str]
    """The library's name of the family; features are called after it."""
    name: ClassVar[str]
    """What people call it."""
    model_class: ClassVar[str]
    """Its class in transformers."""
    config_name: ClassVar[str]
    """The class of its configuration there."""
    policies: ClassVar[tuple[str, ...]] = ("whole",)
    """How a clip may go through the codec."""
    precisions: ClassVar[tuple[str, ...]] = ("float32", "tf32")
    """What it may compute in."""
    encoder_parts: ClassVar[tuple[str, ...]] = ("encoder",)
    """Its modules that make the latents."""
    decoder_parts: ClassVar[tuple[str, ...]] = ("decoder",)
    """Its modules that classification never uses; a checkpoint may lack them."""
    quantizer_part: ClassVar[str | None] = "quantizer"
    """Its module that makes codes; None for a family without one."""
    silent_settings: ClassVar[tuple[str, ...]] = ()
    """Settings that change the latents without changing the shape of a weight."""
    fills: ClassVar[bool] = False
    """Whether a clip is filled up to whole frames with zeros."""

    def __init__(self, config: PreTrainedConfig):
        self.config = config

    @staticmethod
    @abstractmethod
    def check_limits(config: PreTrainedConfig) -> None:
        """Raise `ValueError` for a codec that cannot be built, or not in memory."""

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
    @abstractmethod
    def lookahead(self) -> int | None:
        """Samples beyond a frame's own that its latents depend on; None where they depend on the whole chunk."""

    @property
    def lookback(self) -> int | None:
        """Samples before a frame's own that its latents depend on; None where they depend on all there are."""
        return None

    @property
    def audio_channels(self) -> int:
        """Channels that it hears; mono is repeated."""
        return getattr(self.config, "audio_channels", 1)

    @property
    def codebook_size(self) -> int:
        """Entries of a codebook."""
        return self.config.codebook_size

    @property
    def num_quantizers(self) -> int:
        """Codebooks of the codec; 0 for a family without codes."""
        return 0

    @property
    def bandwidths(self) -> tuple[float, ...]:
        """Kilobits per second that the quantizer can give: of one codebook, of two, ..."""
        per_codebook = (
            math.log2(self.codebook_size) * self.sampling_rate / self.hop_length / 1000 if self.num_quantizers else 0
        )
        return tuple(round(per_codebook * (k + 1), 3) for k in range(self.num_quantizers))

    @property
    def highest_bandwidth(self) -> float:
        """Kilobits per second of all codebooks. Raises `ValueError` for a family without any."""
        if not self.bandwidths:
            raise ValueError(f"{self.name} has no quantizer, and so no codes: take latents")
        return max(self.bandwidths)

    @property
    def default_policy(self) -> str:
        """How a clip goes through the codec where nobody says it."""
        return self.policies[0]

    @classmethod
    def usual_policy(cls, sampling_rate: int) -> str:
        """The default policy of the family's published codec of a rate in hertz."""
        return cls.policies[0]

    @property
    def has_tiles(self) -> bool:
        """Whether another runtime may compute the convolutions of a whole clip, in tiles."""
        return False

    def check_policy(self, policy: str | None) -> None:
        """Raise `ValueError` for a policy that this codec does not have."""
        if policy not in (None, *self.policies):
            raise ValueError(
                f"expected codec_policy to be one of {', '.join(self.policies)} for {self.name}, found {policy!r}"
            )

    def check_precision(self, name: str) -> None:
        """Raise `ValueError` for a precision that this codec is not computed in."""
        if name not in self.precisions:
            raise ValueError(
                f"expected codec_dtype {' or '.join(self.precisions)} for {self.name}, found {name!r}: it is not checked "
                "in another precision"
            )

    @classmethod
    def class_of_model(cls) -> type[nn.Module]:
        """Its class in transformers. Raises `ValueError` where the installed version has none."""
        return _of_transformers(cls.model_class)

    @classmethod
    def class_of_config(cls) -> type[PreTrainedConfig]:
        """The class of its configuration in transformers. Raises `ValueError` where the installed version has none."""
        return _of_transformers(cls.config_name)

    def make(self, keep_quantizer: bool) -> nn.Module:
        """The frozen codec without what classification never uses: the decoder, and the quantizer unless it is kept."""
        # A whole model, not its bare encoder: only that class refills its own buffers after from_pretrained.
        codec = self.class_of_model()(self.config)
        dropped = self.decoder_parts if keep_quantizer or not self.quantizer_part else self.droppable_parts()
        for part in dropped:
            setattr(codec, part, None)
        return codec.requires_grad_(False).eval()

    @classmethod
    def droppable_parts(cls) -> tuple[str, ...]:
        """The modules that latents do without."""
        return (*cls.decoder_parts, *((cls.quantizer_part,) if cls.quantizer_part else ()))

    def as_dict(self) -> dict:
        """The codec's configuration as plain JSON, without where it came from."""
        return _without_origin(self.config.to_diff_dict())

    @abstractmethod
    def encode(self, codec: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        """Waveforms of one length (B, N) -> latents (B, C, F), as the model's own encoder makes them."""

    def fill(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Waveforms (..., N) as the encoder wants them: of whole frames, where it `fills`."""
        missing = -waveforms.shape[-1] % self.hop_length if self.fills else 0
        # In a graph that is exported it is a symbol, which may be 0 for another length.
        return (
            nn.functional.pad(waveforms, (0, missing)) if isinstance(missing, torch.SymInt) or missing else waveforms
        )

    def latents_in_graph(self, codec: nn.Module, waveforms: torch.Tensor, policy: str) -> torch.Tensor:
        """Waveforms of one length (B, N) -> latents (B, C, F), as `latents`, in operations of a graph for any N."""
        with any_length(codec):
            return self.encode(codec, waveforms)

    def tiles(self, codec: nn.Module) -> tuple[Sequence[nn.Module], Tiling] | None:
        """The layers with which `encode` begins, where they are causal and faster in tiles, and how those are cut."""
        return None

    def from_tiles(self, codec: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """What the layers of `tiles` make of clips of one length (B, H, f) -> latents (B, C, F): the rest of `encode`."""
        raise NotImplementedError

    def _encode_all(self, codec: nn.Module, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        tiles = self.tiles(codec)
        if tiles is None:
            return encode_by_length(lambda batch: self.encode(codec, batch), waveforms, self.sampling_rate)
        layers, tiling = tiles
        filled = [self.fill(waveform) for waveform in waveforms]
        hidden = convolve_in_tiles(layers, tiling, filled, self.audio_channels)
        return encode_by_length(lambda batch: self.from_tiles(codec, batch), hidden, self.sampling_rate / tiling.hop)

    def latents(
        self,
        codec: nn.Module,
        waveforms: Sequence[torch.Tensor],
        policy: str,
        dtype: torch.dtype,
        convolutions: Convolutions | None = None,
    ) -> list[torch.Tensor]:
        """Waveforms (N,) -> what the encoder makes of them before the quantizer, (C, F) each, float32.

        `convolutions` is another runtime for the convolutions of whole clips, where `has_tiles`.
        """
        is_long = [self._is_bounded and len(waveform) > LONG_S * self.sampling_rate for waveform in waveforms]
        short = [waveform for waveform, long in zip(waveforms, is_long, strict=True) if not long]
        encoded = iter(self._encode_all(codec, short))
        return [
            torch.cat(list(self.stream(codec, iter([waveform]), policy, dtype)), dim=-1) if long else next(encoded)
            for waveform, long in zip(waveforms, is_long, strict=True)
        ]

    def stream(
        self,
        codec: nn.Module,
        blocks: Iterator[torch.Tensor],
        policy: str,
        dtype: torch.dtype,
        piece_s: float | None = None,
        convolutions: Convolutions | None = None,
    ) -> Iterator[torch.Tensor]:
        """Blocks (n,) of one clip -> its latents (C, f) piece by piece.

        In constant memory where a frame sees so far and no farther; else there is no other way than to keep the clip.
        `piece_s` asks for pieces of about that length, for live sound; None: of the quickest. `convolutions`: see `latents`.
        """
        if not self._is_bounded:
            yield self.latents(codec, [torch.cat(list(blocks))], policy, dtype)[0]
            return
        yield from stream_in_context(
            lambda clip: self._encode_all(codec, [clip])[0],
            blocks,
            self.sampling_rate,
            self.hop_length,
            (self.lookback, self.lookahead),
            piece_s,
        )

    def delay(self, policy: str, piece_s: float) -> int | None:
        """Samples that must have come at most before those of a piece become latents; None: the whole clip."""
        if not self._is_bounded:
            return None
        context = (self.lookback, self.lookahead)
        right = -(-self.lookahead // self.hop_length) * self.hop_length
        return piece_in_context(piece_s, self.sampling_rate, self.hop_length, context) + right

    @property
    def _is_bounded(self) -> bool:
        return self.lookback is not None and self.lookahead is not None

    def num_codebooks(self, codec: nn.Module, bandwidth: float) -> int:
        """Codebooks K that a bandwidth comes to. Raises `ValueError` for a bandwidth that the codec does not have."""
        if bandwidth > self.highest_bandwidth or bandwidth not in self.bandwidths:
            known = ", ".join(f"{each:g}" for each in self.bandwidths)
            raise ValueError(f"expected a bandwidth of {known} kbit/s for this codec, found {bandwidth:g}")
        return self.bandwidths.index(bandwidth) + 1

    def codes(self, codec: nn.Module, latents: torch.Tensor, bandwidth: float) -> torch.Tensor:
        """Latents (C, F) -> codes (K, F) of the K codebooks that `bandwidth` asks for."""
        raise NotImplementedError

    def embed(self, codec: nn.Module, codes: torch.Tensor) -> torch.Tensor:
        """Codes (W, K, T) -> the sums of their codebook entries (W, C, T)."""
        raise NotImplementedError

    def codebook_entries(self, codec: nn.Module, num_codebooks: int) -> torch.Tensor:
        """The entries of the first codebooks as `embed` adds them, (K, entries, C)."""
        raise NotImplementedError

    def num_frames(self, num_samples: int, policy: str) -> int:
        """Frames F of a clip, those that overlapping chunks repeat included."""
        return -(-num_samples // self.hop_length)

    def frame_starts(self, frames, policy: str):
        """Samples at which frames (an array of their numbers) start in the clip."""
        return frames * self.hop_length

    def encoder_weights(self, codec: nn.Module) -> dict[str, torch.Tensor]:
        """The weights that decide the latents, by name."""
        return _weights_of(codec, self.encoder_parts)

    def codebooks(self, codec: nn.Module) -> dict[str, torch.Tensor]:
        """The quantizer's weights by name; empty where there is none."""
        return _weights_of(codec, (self.quantizer_part,)) if self.quantizer_part else {}

    def unusual_settings(self) -> dict:
        """Settings beside the weights that change the latents, where they differ from the published codec's."""
        return differing(self.config, self.class_of_config()(), self.silent_settings)


def _of_transformers(name: str) -> type:
    # Looked up when it is needed: older versions lack some, and a configuration must load without the models.
    import transformers

    if not hasattr(transformers, name):
        raise ValueError(
            f"expected a transformers that has {name}, found {transformers.__version__}: install a newer one"
        )
    return getattr(transformers, name)


def _without_origin(values: dict) -> dict:
    kept = {key: value for key, value in values.items() if key not in ORIGIN}
    return {key: _without_origin(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _weights_of(codec: nn.Module, parts: Sequence[str]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in codec.state_dict().items() if name.split(".")[0] in parts}


def differing(actual: PreTrainedConfig, usual: PreTrainedConfig, names: Sequence[str]) -> dict:
    """Those of the named settings in which two configurations differ, as JSON has them: a tuple is a list there."""

    def plain(config: PreTrainedConfig, name: str):
        value = getattr(config, name, None)
        return list(value) if isinstance(value, tuple) else value

    return {name: plain(actual, name) for name in names if plain(actual, name) != plain(usual, name)}
