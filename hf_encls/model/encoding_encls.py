"""The codec's encoder over clips of any length: chunks of one length together, or tiles where it is causal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from .layers_encls import encoder_layers, lstm_position
from .tiles_encls import TILE_S, Tiling, batch_size, parts, side_by_side, through, through_filled

PASS_S = 5.0  # audio that goes through an encoder without tiles at once, on a CPU: 20 took 1.4 times as long with DAC
SEGMENT_S = 10.0  # the least that a piece of a stream brings to it


@contextmanager
def precision(name: str, device: torch.device) -> Iterator[None]:
    """Inside, a codec computes in what `codec_dtype` names.

    Whatever autocast is around it, that of a training in bfloat16 say, has no say. And on a GPU PyTorch takes TF32 for
    float32 convolutions unasked.
    """
    if torch.compiler.is_compiling():
        yield
        return
    with torch.autocast(device.type, enabled=False), _float32_convolutions(name, device):
        yield


@contextmanager
def _float32_convolutions(name: str, device: torch.device) -> Iterator[None]:
    if device.type != "cuda" or name == "bfloat16":
        yield
        return
    cudnn, tf32 = torch.backends.cudnn, name == "tf32"
    kept = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
    try:
        cudnn.allow_tf32 = tf32  # the older flag must agree with the newer ones, or reading it is an error
        cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "tf32" if tf32 else "ieee"
        yield
    finally:
        cudnn.allow_tf32 = kept[0] == "tf32"
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = kept


def receptive_field(codec) -> int:
    """Samples of left context that one frame of the convolutions before the LSTM sees beyond its own hop."""
    field, jump = codec.kernel_size - 1, 1
    for ratio in reversed(codec.upsampling_ratios):
        for layer in range(codec.num_residual_layers):
            field += (codec.residual_kernel_size - 1) * codec.dilation_growth_rate**layer * jump
        field += (2 * ratio - 1) * jump - (ratio - 1) * jump
        jump *= ratio
    return field


def encode_chunks(codec: nn.Module, chunks: Sequence[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """Chunks (n,), each encoded by itself -> latents (C, f). Those of one length share a pass; nothing is ever padded."""
    layers = encoder_layers(codec, dtype)
    lstm_at = lstm_position(layers)
    out: list[torch.Tensor] = [None] * len(chunks)
    by_length: dict[int, list[int]] = {}
    for i, chunk in enumerate(chunks):
        by_length.setdefault(len(chunk), []).append(i)
    for indices in by_length.values():
        hidden = []
        for part in parts(indices, batch_size(codec.device)):
            batch = torch.stack([chunks[i] for i in part])[:, None]
            if codec.config.normalize:
                # As EncodecModel._encode_frame: divided by the root mean square of the mono signal.
                batch = batch / (batch.pow(2).mean(dim=-1, keepdim=True).sqrt() + 1e-8)
            batch = batch.expand(-1, codec.config.audio_channels, -1)
            hidden += through(layers[:lstm_at], batch.to(dtype)).float()
        together = side_by_side(codec.device)
        for part, batch in zip(parts(indices, together), parts(hidden, together), strict=True):
            for i, latents in zip(part, through(layers[lstm_at:], torch.stack(batch)), strict=True):
                out[i] = latents
    return out


def encode_by_length(
    encode: Callable[[torch.Tensor], torch.Tensor], waveforms: Sequence[torch.Tensor], sampling_rate: int
) -> list[torch.Tensor]:
    """Waveforms (N,) -> latents (C, F) by an encoder of (B, N); those of one length share a pass; nothing is padded.

    What goes in may be frames (H, f) as well, `sampling_rate` is how many there are in a second.
    """
    out: list[torch.Tensor] = [None] * len(waveforms)
    by_length: dict[int, list[int]] = {}
    for i, waveform in enumerate(waveforms):
        by_length.setdefault(waveform.shape[-1], []).append(i)
    for length, indices in by_length.items():
        seconds = PASS_S if waveforms[indices[0]].device.type != "cuda" else batch_size(waveforms[indices[0]].device)
        for part in parts(indices, max(1, int(seconds * sampling_rate / length))):
            for i, latents in zip(part, encode(torch.stack([waveforms[i] for i in part])).float(), strict=True):
                out[i] = latents
    return out


def piece_in_context(piece_s: float, sampling_rate: int, hop_length: int, context: tuple[int, int]) -> int:
    """Samples of the pieces of `stream_in_context`."""
    around = sum(-(-samples // hop_length) * hop_length for samples in context)
    return -(-max(round(piece_s * sampling_rate), 2 * around) // hop_length) * hop_length


def convolve_in_tiles(
    layers: Sequence[nn.Module], tiling: Tiling, waveforms: Sequence[torch.Tensor], channels: int
) -> list[torch.Tensor]:
    """Waveforms (N,) -> what causal `layers` make of them, (H, f) each: tile by tile, those of all clips side by side.

    Mono is repeated for as many `channels` as they take.
    """
    tiles = [list(tiling.cut(waveform)) for waveform in waveforms]
    flat = iter(_convolve(layers, [tile for clip in tiles for tile in clip], channels))
    return [torch.cat([next(flat) for _ in clip], dim=-1) for clip in tiles]


def stream_in_context(
    encode: Callable[[torch.Tensor], torch.Tensor],
    blocks: Iterator[torch.Tensor],
    sampling_rate: int,
    hop_length: int,
    context: tuple[int, int],
    piece_s: float | None = None,
) -> Iterator[torch.Tensor]:
    """Blocks (n,) of one clip -> latents (C, f) piece by piece, by an encoder of (N,) whose frames see a bounded context.

    `context` is how many samples before and after its own a frame sees. Pieces are several times as long as that, and at
    least `piece_s` (`SEGMENT_S` where None).
    """
    left, right = (-(-samples // hop_length) * hop_length for samples in context)
    segment = piece_in_context(SEGMENT_S if piece_s is None else piece_s, sampling_rate, hop_length, context)
    buffer, position = None, 0  # position: samples of the buffer already encoded
    for block in blocks:
        buffer = block if buffer is None else torch.cat([buffer, block])
        while len(buffer) - position > segment + right:
            end = position + segment
            yield encode(buffer[: end + right])[:, position // hop_length : end // hop_length].float()
            keep = max(0, end - left)
            buffer, position = buffer[keep:], end - keep
    if buffer is not None and len(buffer) > position:
        yield encode(buffer)[:, position // hop_length :].float()


def encode_causal(
    codec: nn.Module,
    waveforms: Sequence[torch.Tensor],
    dtype: torch.dtype,
    convolutions: Callable[[torch.Tensor, int], torch.Tensor | None] | None = None,
) -> list[torch.Tensor]:
    """A causal encoder over whole clips (N,), fast: the same latents (C, F) as `codec.encoder` to rounding.

    The convolutions see tiles with enough left context, so that their activations stay in cache and tiles of many
    clips share a pass; the LSTM then sees each clip whole. `convolutions` is another runtime for a tile (1, channels, n)
    behind so many frames of context, which need not be right; where it returns None the tile goes through PyTorch.
    """
    layers = encoder_layers(codec, dtype)
    tiles = [list(_tiling(codec.config).cut(waveform)) for waveform in waveforms]
    flat = [tile for clip in tiles for tile in clip]
    before_lstm, channels = layers[: lstm_position(layers)], codec.config.audio_channels
    tiling = _tiling(codec.config) if can_fill(codec) else None
    flat = iter(_convolve(before_lstm, flat, channels, dtype, convolutions, tiling))
    hidden = [torch.cat([next(flat) for _ in clip], dim=-1) for clip in tiles]  # (H, F)
    # Right padding leaves earlier frames of a causal network unchanged, unless a clip is so short that the codec's
    # reflection at its start reaches beyond its end.
    short = [i for i, clip in enumerate(hidden) if clip.shape[-1] < codec.config.last_kernel_size]
    rest = [i for i, clip in enumerate(hidden) if clip.shape[-1] >= codec.config.last_kernel_size]
    rest.sort(key=lambda i: hidden[i].shape[-1])  # little padding
    out: list[torch.Tensor] = [None] * len(hidden)
    for part in [[i] for i in short] + list(parts(rest, side_by_side(codec.device))):
        batch = nn.utils.rnn.pad_sequence([hidden[i].T for i in part], batch_first=True).transpose(1, 2)
        batch = through(layers[lstm_position(layers) :], batch)
        for i, latents in zip(part, batch, strict=True):
            out[i] = latents[:, : hidden[i].shape[-1]]
    return out


def stream_causal(
    codec: nn.Module,
    blocks: Iterator[torch.Tensor],
    dtype: torch.dtype,
    segment_s: float = SEGMENT_S,
    piece_s: float | None = None,
    convolutions: Callable[[torch.Tensor, int], torch.Tensor | None] | None = None,
) -> Iterator[torch.Tensor]:
    """As `encode_causal` for one clip that arrives in blocks (n,): latents (C, f) piece by piece, in constant memory.

    Pieces of `segment_s` wait for the half of a tile that follows; with `piece_s`, for live sound, nothing waits for more
    than a piece of that length, or of the codec's last kernel where that is more.
    """
    config, tiling = codec.config, _tiling(codec.config)
    hop, context = tiling.hop, tiling.context
    segment = round(segment_s * config.sampling_rate / hop) * hop if piece_s is None else live_piece(config, piece_s)
    layers = encoder_layers(codec, dtype)
    lstm, elu, last = layers[lstm_position(layers) :]
    state, recent, buffer, position = None, None, None, 0  # position: samples of the buffer already encoded
    blocks = iter(blocks)
    more = True
    while more:
        block = next(blocks, None)
        more = block is not None
        if more:
            buffer = block if buffer is None else torch.cat([buffer, block])
        elif buffer is None:
            return
        # The codec pads the end of a clip in its own way, by reflection: the last piece must be long enough for that. With
        # its context it is; half a tile more is quicker.
        enough = segment + round(TILE_S * config.sampling_rate / 2) if piece_s is None else segment - 1
        while len(buffer) - position > enough or (not more and len(buffer) > position):
            end = position + segment if len(buffer) - position > enough else len(buffer)
            tiles = list(tiling.cut(buffer[:end], position))
            hidden = _convolve(layers[: lstm_position(layers)], tiles, config.audio_channels, dtype, convolutions)
            hidden = torch.cat(hidden, dim=-1)  # (H, f)
            out, state = lstm.lstm(hidden.T[:, None], state)
            hidden = elu((out[:, 0] + hidden.T).T[None])
            latents = last(hidden) if recent is None else last.conv(torch.cat([recent, hidden], dim=-1))
            recent = hidden if recent is None else torch.cat([recent, hidden], dim=-1)
            recent = recent[..., max(0, recent.shape[-1] - config.last_kernel_size + 1) :]  # none for a kernel of 1
            keep = max(0, end - context)
            buffer, position = buffer[keep:], end - keep
            yield latents[0].float()


def live_piece(codec, piece_s: float) -> int:
    """Samples of the pieces in which `stream_causal` takes live sound: whole frames, as many as its last kernel reflects."""
    frames = max(round(piece_s * codec.sampling_rate / codec.hop_length), codec.last_kernel_size)
    return max(frames * codec.hop_length, _tiling(codec).context)


def can_fill(codec: nn.Module) -> bool:
    """Whether tiles may be filled up (`Tiling.filled`): the codec reflects, and no graph of standard operators is drawn."""
    return codec.config.pad_mode == "reflect" and not (torch.compiler.is_compiling() or torch.jit.is_tracing())


def _tiling(codec) -> Tiling:
    return Tiling.of(codec.sampling_rate, codec.hop_length, receptive_field(codec))


def tile_lengths(codec) -> tuple[int, int]:
    """Samples of the first tile of a long clip, and of those that follow with their context."""
    tiling = _tiling(codec)
    return tiling.size, tiling.size + min(tiling.size, tiling.context)


def _convolve(
    layers: Sequence[nn.Module],
    tiles: Sequence[tuple[torch.Tensor, int]],
    channels: int,
    dtype: torch.dtype = torch.float32,
    convolutions: Callable[[torch.Tensor, int], torch.Tensor | None] | None = None,
    tiling: Tiling | None = None,
) -> list[torch.Tensor]:
    """Tiles -> what the layers make of them, (H, f) each, without the context.

    With their `tiling`, those of nearly one length are filled up to it; what they make of their own samples is the same.
    """
    out: list[torch.Tensor] = [None] * len(tiles)
    by_shape: dict[tuple[int, int], list[int]] = {}
    for i, (tile, frames) in enumerate(tiles):
        length = tiling.filled(len(tile), frames) if tiling else len(tile)
        by_shape.setdefault((length, frames), []).append(i)
    together = batch_size(tiles[0][0].device)
    for (length, frames), indices in by_shape.items():
        for part in parts(indices, together):
            lengths = [len(tiles[i][0]) for i in part]
            is_filled = min(lengths) < length
            if is_filled:
                batch = torch.stack([nn.functional.pad(tiles[i][0], (0, length - n)) for i, n in zip(part, lengths)])
            else:
                batch = torch.stack([tiles[i][0] for i in part])
            batch = batch[:, None].expand(-1, channels, -1)
            hidden = convolutions(batch, frames) if convolutions and not is_filled else None
            if hidden is None:
                batch = batch.to(dtype)
                hidden = (through_filled(layers, batch, lengths) if is_filled else through(layers, batch)).float()
            for i, n, latents in zip(part, lengths, hidden, strict=True):
                out[i] = latents[:, frames : -(-n // tiling.hop)] if is_filled else latents[:, frames:]
    return out


def reach(layers: Sequence[tuple[int, int, int, int]], hop_length: int) -> tuple[int, int]:
    """Samples before and after a frame's own that it depends on.

    `layers` are convolutions in the order of the signal: kernel size, stride, dilation, padding on the left.
    """
    first = last = 0
    for kernel, stride, dilation, padding in reversed(layers):
        first = first * stride - padding
        last = last * stride - padding + (kernel - 1) * dilation
    return max(0, -first), max(0, last - (hop_length - 1))
