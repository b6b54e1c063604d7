"""EnCodec: causal and whole at 24 kHz; in chunks, with a look ahead, at 48 kHz."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import nn
from transformers import EncodecConfig

from .adapter_encls import CodecAdapter, Convolutions, differing
from .encoding_encls import can_fill, encode_causal, encode_chunks, live_piece, stream_causal
from .export_encls import any_length
from .limits_encls import check_encodec
from .tiles_encls import side_by_side
from .together_encls import encode_together

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


class EncodecAdapter(CodecAdapter):
    """`EncodecModel`: its convolutions before the LSTM go in tiles where it is causal."""

    model_type: ClassVar[str] = "encodec"
    name: ClassVar[str] = "EnCodec"
    model_class: ClassVar[str] = "EncodecModel"
    config_name: ClassVar[str] = "EncodecConfig"
    policies: ClassVar[tuple[str, ...]] = ("whole", "contiguous", "codec")
    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "tf32")
    silent_settings: ClassVar[tuple[str, ...]] = (
        *("normalize", "chunk_length_s", "overlap", "use_causal_conv", "pad_mode", "norm_type"),
        "dilation_growth_rate",
    )

    @staticmethod
    def check_limits(config: EncodecConfig) -> None:
        check_encodec(config)

    @property
    def num_quantizers(self) -> int:
        return self.config.num_quantizers

    @property
    def bandwidths(self) -> tuple[float, ...]:
        return tuple(self.config.target_bandwidths)

    @property
    def default_policy(self) -> str:
        return "whole" if self.config.chunk_length_s is None else "contiguous"

    @classmethod
    def usual_policy(cls, sampling_rate: int) -> str:
        return cls(EncodecConfig(**PUBLISHED_ENCODEC.get(sampling_rate, {}))).default_policy

    @property
    def lookahead(self) -> int | None:
        return 0 if self.has_tiles else None

    @property
    def has_tiles(self) -> bool:
        config = self.config
        return config.use_causal_conv and config.norm_type == "weight_norm" and not config.normalize

    def check_policy(self, policy: str | None) -> None:
        if policy not in (None, *self.policies):
            raise ValueError(f"expected codec_policy to be one of {', '.join(self.policies)}, found {policy!r}")
        if policy in ("contiguous", "codec") and self.config.chunk_length_s is None:
            raise ValueError(
                f"codec_policy {policy!r} needs a codec with chunk_length_s; this one has none: use 'whole'"
            )
        if policy == "codec" and self.config.chunk_stride is None:
            raise ValueError("codec_policy 'codec' needs a codec with an overlap; this one has none: use 'contiguous'")

    def encode(self, codec: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        batch = batch[:, None]
        if self.config.normalize:
            batch = batch / (batch.square().mean(dim=-1, keepdim=True).sqrt() + 1e-8)
        return codec.encoder(batch.repeat(1, self.config.audio_channels, 1))

    def latents(
        self,
        codec: nn.Module,
        waveforms: Sequence[torch.Tensor],
        policy: str,
        dtype: torch.dtype,
        convolutions: Convolutions | None = None,
    ) -> list[torch.Tensor]:
        if policy == "whole" and self.has_tiles:
            if codec.device.type == "cpu" or not can_fill(codec):
                return encode_causal(codec, waveforms, dtype, convolutions)
            return encode_together(codec, waveforms, dtype)
        chunks = [list(self._chunks(waveform, policy)) for waveform in waveforms]
        flat = iter(encode_chunks(codec, [chunk for clip in chunks for chunk in clip], dtype))
        return [torch.cat([next(flat) for _ in clip], dim=-1) for clip in chunks]

    def latents_in_graph(self, codec: nn.Module, waveforms: torch.Tensor, policy: str) -> torch.Tensor:
        with any_length(codec.encoder):
            if policy == "whole":
                return self.encode(codec, waveforms)
            size, stride, length = self.config.chunk_length, self._stride(policy), waveforms.shape[-1]
            # Whole chunks share a pass. The last one is short or just whole; of overlapping ones a second may be short.
            whole = torch.sym_max(0, (length - 1 - size + stride) // stride)
            padded = nn.functional.pad(waveforms, (size, size))
            # Zeros go along in front as one chunk more, so that there always is one; its latents are dropped.
            number = torch.arange(whole + 1, device=waveforms.device)[:, None]
            starts = torch.where(number > 0, (number - 1) * stride + size, 0)
            chunks = padded[:, starts + torch.arange(size, device=waveforms.device)]
            frames = self.encode(codec, chunks.flatten(0, 1))[..., : -(-size // self.hop_length)]
            parts = [frames.unflatten(0, chunks.shape[:2]).transpose(1, 2).flatten(2)]
            there = length - whole * stride
            parts.append(self._piece_in_graph(codec, padded, size + whole * stride, there))
            total = (whole * frames.shape[-1]) + -(-there // self.hop_length)
            if stride < size:
                there = torch.sym_max(0, there - stride)
                # Where there is none, a frame of zeros stands in, and nothing of it is kept.
                taken = there + self.hop_length * (1 - torch.sym_min(there, 1))
                parts.append(self._piece_in_graph(codec, padded, size + (whole + 1) * stride, taken))
                total = total + -(-there // self.hop_length)
            return torch.cat(parts, dim=-1)[..., frames.shape[-1] : frames.shape[-1] + total]

    def _piece_in_graph(self, codec: nn.Module, padded: torch.Tensor, start: int, length: int) -> torch.Tensor:
        return self.encode(codec, padded[:, start + torch.arange(length, device=padded.device)])

    def delay(self, policy: str, piece_s: float) -> int | None:
        if policy != "whole":
            return self.config.chunk_length
        return live_piece(self.config, piece_s) if self.has_tiles else None

    def stream(
        self,
        codec: nn.Module,
        blocks: Iterator[torch.Tensor],
        policy: str,
        dtype: torch.dtype,
        piece_s: float | None = None,
        convolutions: Convolutions | None = None,
    ) -> Iterator[torch.Tensor]:
        if policy == "whole":
            if self.has_tiles:
                yield from stream_causal(codec, blocks, dtype, piece_s=piece_s, convolutions=convolutions)
            else:
                yield self.latents(codec, [torch.cat(list(blocks))], policy, dtype)[0]
            return
        # Live sound waits for no more than a chunk; of a recording as many share a pass as `encode_chunks` lets.
        waiting, together = [], 1 if piece_s is not None else side_by_side(codec.device)
        for chunk in self._chunks_of(blocks, policy):
            waiting.append(chunk)
            if len(waiting) == together:
                yield torch.cat(encode_chunks(codec, waiting, dtype), dim=-1)
                waiting = []
        if waiting:
            yield torch.cat(encode_chunks(codec, waiting, dtype), dim=-1)

    def num_codebooks(self, codec: nn.Module, bandwidth: float) -> int:
        if bandwidth not in self.bandwidths:
            known = ", ".join(f"{each:g}" for each in self.bandwidths)
            raise ValueError(f"expected a bandwidth of {known} kbit/s for this codec, found {bandwidth:g}")
        return codec.quantizer.get_num_quantizers_for_bandwidth(bandwidth)

    def codes(self, codec: nn.Module, latents: torch.Tensor, bandwidth: float) -> torch.Tensor:
        return codec.quantizer.encode(latents[None], bandwidth)[:, 0]

    def embed(self, codec: nn.Module, codes: torch.Tensor) -> torch.Tensor:
        return codec.quantizer.decode(codes.long().transpose(0, 1))

    def codebook_entries(self, codec: nn.Module, num_codebooks: int) -> torch.Tensor:
        return torch.stack([layer.codebook.embed for layer in codec.quantizer.layers[:num_codebooks]])

    def num_frames(self, num_samples: int, policy: str) -> int:
        if policy != "codec":
            return -(-num_samples // self.hop_length)
        length = self.config.chunk_length
        starts = range(0, num_samples, self._stride(policy))
        return sum(-(-min(length, num_samples - start) // self.hop_length) for start in starts)

    def frame_starts(self, frames, policy: str):
        if policy != "codec":
            return frames * self.hop_length
        # Overlapping chunks: frames repeat, so that a frame's time depends on the chunk it is in.
        per_chunk = -(-self.config.chunk_length // self.hop_length)
        return frames // per_chunk * self._stride(policy) + frames % per_chunk * self.hop_length

    def codebooks(self, codec: nn.Module) -> dict[str, torch.Tensor]:
        return {name: value for name, value in codec.state_dict().items() if name.endswith("codebook.embed")}

    def unusual_settings(self) -> dict:
        published = EncodecConfig(**PUBLISHED_ENCODEC.get(self.sampling_rate, {}))
        return differing(self.config, published, self.silent_settings)

    def _stride(self, policy: str) -> int:
        return self.config.chunk_stride if policy == "codec" else self.config.chunk_length

    def _chunks_of(self, blocks: Iterator[torch.Tensor], policy: str) -> Iterator[torch.Tensor]:
        """The chunks of a clip that comes in blocks (n,)."""
        size, stride, buffer = self.config.chunk_length, self._stride(policy), None
        for block in blocks:
            buffer = block if buffer is None else torch.cat([buffer, block])
            while len(buffer) > size:
                yield buffer[:size]
                buffer = buffer[stride:]
        if buffer is not None:
            yield from self._chunks(buffer, policy)

    def _chunks(self, waveform: torch.Tensor, policy: str) -> Iterator[torch.Tensor]:
        size, stride = len(waveform), len(waveform)
        if policy != "whole":
            size, stride = self.config.chunk_length, self._stride(policy)
        for offset in range(0, len(waveform), stride):
            yield waveform[offset : offset + size]
