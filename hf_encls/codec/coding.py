"""Waveform -> codes -> waveform, through an `EncodecModel`."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.nn.utils import parametrize
from transformers import EncodecModel

from hf_encls.codec.codes import Codes, CodesError, Layout, layout_of
from hf_encls.codec.loading import codebook_hash
from hf_encls.hub.encoding_encls import stream_causal

MIN_SCALE = 1e-8  # as in EncodecModel: silence is not divided by zero


def layout_of_codec(codec: EncodecModel) -> Layout:
    """The family that a codec belongs to. Raises `CodesError` for one whose codes no family's format holds."""
    config = codec.config
    layout = layout_of(f"encodec_{config.sampling_rate // 1000}khz")
    found = (
        config.sampling_rate,
        config.hop_length,
        config.audio_channels,
        config.chunk_length,
        config.chunk_stride,
        config.normalize,
    )
    expected = (
        layout.sampling_rate,
        layout.frame_length,
        layout.channels,
        layout.chunk,
        layout.stride,
        layout.scaled,
    )
    if found != expected or config.codebook_size > layout.codebook_size:
        raise CodesError(
            f"expected a codec that is built as {layout.name} (rate, frame, channels, chunk, stride, normalize: "
            f"{expected}; at most {layout.codebook_size} entries), found {found}, {config.codebook_size} entries"
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
    with parametrize.cached():
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


@torch.no_grad()
def decode(codec: EncodecModel, codes: Codes) -> np.ndarray:
    """Codes -> waveform (N, channels), float32.

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
    available = codec.quantizer.num_quantizers
    if codes.num_codebooks > available:
        raise CodesError(f"expected at most {available} codebooks for this codec, found {codes.num_codebooks}")
    out = np.zeros((codes.num_samples, layout.channels), np.float32)
    weights = np.zeros((codes.num_samples, 1), np.float32)
    with parametrize.cached():
        for index, chunk in enumerate(codes.chunks):
            numbers = torch.from_numpy(chunk.astype(np.int64)).to(codec.device)
            wave = codec.decoder(codec.quantizer.decode(numbers[:, None]))[0].T.float().cpu().numpy()
            start = index * (layout.stride or 0)
            stop = min(start + len(wave), codes.num_samples)
            weight = _triangle(layout.chunk)[: stop - start, None] if layout.chunk else 1.0
            scale = codes.scales[index] if codes.scales is not None else 1.0
            out[start:stop] += weight * scale * wave[: stop - start]
            weights[start:stop] += weight
    return out / weights


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
