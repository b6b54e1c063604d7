"""Waveform -> codes -> waveform, through an `EncodecModel`."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.nn.utils import parametrize
from transformers import EncodecModel

from hf_encls.codec.codes import Codes, CodesError, Layout, layout_of
from hf_encls.model.encoding_encls import precision, stream_causal
from hf_encls.model.identity_encls import codebook_hash

MIN_SCALE = 1e-8  # as in EncodecModel: silence is not divided by zero
SEGMENT_S = 10.0  # that a causal decoder gets at a time


def layout_of_codec(codec: EncodecModel) -> Layout:
    """The family that a codec belongs to. Raises `CodesError` for one whose codes no family's format holds."""
    config = codec.config
    if not isinstance(codec, EncodecModel):
        raise CodesError(f"expected an EnCodec, whose codes these files hold, found a codec of {config.model_type!r}")
    layout = layout_of(f"encodec_{config.sampling_rate // 1000}khz")
    actual = (
        config.sampling_rate,
        config.hop_length,
        config.audio_channels,
        config.chunk_length,
        config.chunk_stride,
        config.normalize,
        config.use_causal_conv,
        config.norm_type,
    )
    expected = (
        layout.sampling_rate,
        layout.frame_length,
        layout.channels,
        layout.chunk,
        layout.stride,
        layout.scaled,
        layout.chunk is None,
        "weight_norm" if layout.chunk is None else "time_group_norm",
    )
    if actual != expected or config.codebook_size > layout.codebook_size:
        raise CodesError(
            f"expected a codec that is built as {layout.name} (rate, frame, channels, chunk, stride, normalize, "
            f"causal, norm: {expected}; at most {layout.codebook_size} entries), found {actual}, "
            f"{config.codebook_size} entries"
        )
    return layout


@torch.no_grad()
def encode(codec: EncodecModel, blocks: Iterable[np.ndarray], bandwidth: float | None = None) -> Codes:
    """Blocks (n,) of one mono clip at the codec's rate -> its codes, in memory that grows with the codes only.

    `bandwidth` is in kilobits per second, the codec's smallest where None. Mono is doubled for a stereo codec. Raises
    `CodesError` for an empty clip, a codec without a quantizer or of no known family, and an unknown bandwidth.
    """
    layout = layout_of_codec(codec)
    bandwidths = codec.config.target_bandwidths
    bandwidth = bandwidths[0] if bandwidth is None else bandwidth
    if bandwidth not in bandwidths:
        raise CodesError(
            f"expected a bandwidth of {', '.join(f'{b:g}' for b in bandwidths)} kbps, found {bandwidth:g}"
        )
    if codec.quantizer is None:
        raise CodesError("expected a codec with its quantizer, found one whose quantizer was dropped")
    count = [0]

    def counted() -> Iterator[torch.Tensor]:
        for block in blocks:
            count[0] += len(block)
            yield torch.as_tensor(block, dtype=torch.float32, device=codec.device)

    chunks, scales = [], []
    with parametrize.cached(), precision("float32", codec.device):
        if layout.chunk is None:
            for latents in stream_causal(codec, counted(), torch.float32):
                chunks.append(_quantize(codec, latents[None], bandwidth))
            chunks = [np.concatenate(chunks, axis=1)] if chunks else []
        else:
            for chunk in _overlapping(counted(), layout):
                scale = chunk.square().mean().sqrt() + MIN_SCALE
                batch = (chunk / scale).expand(1, layout.channels, -1)
                chunks.append(_quantize(codec, codec.encoder(batch), bandwidth))
                scales.append(float(scale))
    if not chunks:
        raise CodesError("expected at least one sample, found an empty clip")
    return Codes(layout.name, chunks, scales or None, count[0], codebook_hash(codec))


def decode(codec: EncodecModel, codes: Codes) -> np.ndarray:
    """Codes -> waveform (N, channels), float32; errors as in `decode_blocks`."""
    return np.concatenate(list(decode_blocks(codec, codes)))


def decode_blocks(codec: EncodecModel, codes: Codes) -> Iterator[np.ndarray]:
    """Codes -> blocks (n, channels) of the waveform, float32, in memory that does not grow with the clip.

    Chunks that overlap are joined by weights that rise and fall in a straight line, as the codec does. Raises
    `CodesError` for codes of another family, or of other codebooks where both are known.
    """
    layout = layout_of_codec(codec)
    if codec.decoder is None or codec.quantizer is None:
        raise CodesError("expected a whole codec, found one whose decoder or quantizer was dropped")
    if codes.family != layout.name:
        raise CodesError(f"expected codes of {layout.name}, found codes of {codes.family}")
    if codes.codebook_hash is not None and codes.codebook_hash != codebook_hash(codec):
        raise CodesError("these codes were made with the codebooks of another codec: decode them with that one")
    available, size = codec.quantizer.num_quantizers, codec.config.codebook_size
    if codes.num_codebooks > available:
        raise CodesError(f"expected at most {available} codebooks for this codec, found {codes.num_codebooks}")
    largest = max(int(chunk.max()) for chunk in codes.chunks)
    if largest >= size:
        raise CodesError(f"expected codes below {size}, the size of this codec's codebooks, found {largest}")
    return _joined(codec, codes, layout) if layout.chunk else _in_segments(codec, codes, layout)


@torch.no_grad()
def _joined(codec: EncodecModel, codes: Codes, layout: Layout) -> Iterator[np.ndarray]:
    """Chunks of their own, faded into each other where they overlap."""
    out = np.zeros((layout.chunk, layout.channels), np.float32)
    weights = np.zeros((layout.chunk, 1), np.float32)
    # Over whole frames of the first chunk, which is not a full one in a clip that is shorter: as the codec does.
    triangle = _triangle(codes.chunks[0].shape[1] * layout.frame_length)[:, None]
    for index, chunk in enumerate(codes.chunks):
        with parametrize.cached(), precision("float32", codec.device):  # not while others compute
            wave = codec.decoder(_embed(codec, chunk))[0].T.float().cpu().numpy()
        left = codes.num_samples - index * layout.stride
        count = min(len(wave), layout.chunk, left)
        weight = triangle[:count]
        out[:count] += weight * codes.scales[index] * wave[:count]
        weights[:count] += weight
        done = min(layout.stride, left)
        yield out[:done] / weights[:done]
        out, weights = (np.concatenate([x[done:], np.zeros_like(x[:done])]) for x in (out, weights))


@torch.no_grad()
def _in_segments(codec: EncodecModel, codes: Codes, layout: Layout) -> Iterator[np.ndarray]:
    """A causal decoder piece by piece: convolutions see enough frames before, the LSTM goes on from its state."""
    first, lstm, *rest = codec.decoder.layers
    (chunk,) = codes.chunks
    frames, segment = chunk.shape[1], round(SEGMENT_S * layout.sampling_rate / layout.frame_length)
    if codec.config.trim_right_ratio != 1.0:  # then it looks ahead
        segment = frames
    before, context = codec.config.kernel_size - 1, _decoder_context(codec.config)
    state, recent, done = None, None, 0
    for start in range(0, frames, segment):
        left = min(start, before)
        with parametrize.cached(), precision("float32", codec.device):  # not while others compute
            hidden = first(_embed(codec, chunk[:, start - left : start + segment]))[..., left:]  # (1, H, f)
            out, state = lstm.lstm(hidden.permute(2, 0, 1), state)
            hidden = hidden + out.permute(1, 2, 0)
            seen = 0 if recent is None else recent.shape[-1]
            hidden = hidden if recent is None else torch.cat([recent, hidden], dim=-1)
            recent = hidden[..., max(0, hidden.shape[-1] - context) :]
            for layer in rest:
                hidden = layer(hidden)
            wave = hidden[0, :, seen * layout.frame_length :].T.float().cpu().numpy()
        yield wave[: codes.num_samples - done]
        done += len(wave)


def _decoder_context(config) -> int:
    """Frames that a sample behind the LSTM sees before its own."""
    field = float(config.last_kernel_size - 1)  # in samples of the layer's output
    for ratio in reversed(config.upsampling_ratios):
        for layer in range(config.num_residual_layers):
            field += (config.residual_kernel_size - 1) * config.dilation_growth_rate**layer
        field = field / ratio + 1
    return math.ceil(field) + 1


def _embed(codec: EncodecModel, chunk: np.ndarray) -> torch.Tensor:
    """(K, F) -> (1, C, F)."""
    numbers = torch.from_numpy(chunk.astype(np.int64)).to(codec.device)
    return codec.quantizer.decode(numbers[:, None])


def _quantize(codec: EncodecModel, latents: torch.Tensor, bandwidth: float) -> np.ndarray:
    """(1, C, F) -> (K, F) uint16."""
    return codec.quantizer.encode(latents, bandwidth)[:, 0].cpu().numpy().astype(np.uint16)


def _overlapping(blocks: Iterator[torch.Tensor], layout: Layout) -> Iterator[torch.Tensor]:
    """Blocks of a clip -> its chunks: `layout.chunk` samples every `layout.stride`; the last ones are shorter."""
    buffer = None
    for block in blocks:
        buffer = block if buffer is None else torch.cat([buffer, block])
        while len(buffer) >= layout.chunk:
            yield buffer[: layout.chunk]
            buffer = buffer[layout.stride :]
    while buffer is not None and len(buffer):
        yield buffer[: layout.chunk]
        buffer = buffer[layout.stride :]


def _triangle(length: int) -> np.ndarray:
    """Weights of a chunk's samples: 0.5 in the middle, near 0 at both ends, never 0."""
    return (0.5 - np.abs(np.linspace(0, 1, length + 2)[1:-1] - 0.5)).astype(np.float32)
