"""Clips through a causal encoder in few large operations: on an accelerator each takes as long to start as to run."""

from collections.abc import Sequence

import torch
from torch import nn

from .encoding_encls import encode_causal, receptive_field
from .layers_encls import encoder_layers, lstm_position
from .tiles_encls import Tiling, batch_size, on_device, parts, side_by_side, through, through_filled


def encode_together(codec: nn.Module, waveforms: Sequence[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """As `encode_causal`: clips (N,) -> latents (C, F) to rounding, for a codec that pads by reflection.

    The samples of all clips lie in one block, and so do the frames before the LSTM: tiles and clips are places in it.
    """
    config = codec.config
    frames = [-(-len(waveform) // config.hop_length) for waveform in waveforms]
    # Of so short a clip the last layer's reflection needs the end: each goes alone.
    short = [i for i, count in enumerate(frames) if count < config.last_kernel_size]
    rest = sorted((i for i, count in enumerate(frames) if count >= config.last_kernel_size), key=lambda i: frames[i])
    out: list[torch.Tensor] = [None] * len(waveforms)
    for i in short:
        out[i] = encode_causal(codec, [waveforms[i]], dtype)[0]
    if not rest:
        return out
    layers = encoder_layers(codec, dtype)
    lstm_at = lstm_position(layers)
    hidden, first = _before_lstm(layers[:lstm_at], codec, [waveforms[i] for i in rest], dtype)
    place = dict(zip(rest, first, strict=True))
    for part in parts(rest, side_by_side(codec.device)):
        longest = frames[part[-1]]
        index = _places([place[i] for i in part], longest, codec.device).clamp(max=len(hidden) - 1)
        # Behind the end of a shorter clip come frames of another: what is before them does not change.
        latents = through(layers[lstm_at:], hidden[index].transpose(1, 2)).unbind()
        for i, clip in zip(part, latents, strict=True):
            out[i] = clip if frames[i] == longest else clip[:, : frames[i]]
    return out


def _before_lstm(
    layers: Sequence[nn.Module], codec: nn.Module, waveforms: Sequence[torch.Tensor], dtype: torch.dtype
) -> tuple[torch.Tensor, list[int]]:
    """What the convolutions make of clips: their frames one behind the other, (F + 1, H), and where each clip begins.

    The last row belongs to nobody.
    """
    tiling = Tiling.of(codec.config.sampling_rate, codec.config.hop_length, receptive_field(codec.config))
    channels, device = codec.config.audio_channels, codec.device
    first, total, start = [], 0, 0
    tiles: dict[tuple[int, int], list[tuple[int, int, int]]] = {}  # of one shape: sample, own samples, frame
    for waveform in waveforms:
        first.append(total)
        for position, end, context in tiling.places(len(waveform)):
            before, length = context // tiling.hop, end - position + context
            shape = (tiling.filled(length, before), before)
            frame = total + position // tiling.hop
            tiles.setdefault(shape, []).append((start + position - context, length, frame))
        start, total = start + len(waveform), total + -(-len(waveform) // tiling.hop)
    hidden = None
    samples = torch.cat(list(waveforms))
    together = batch_size(device)
    for (length, before), same in tiles.items():
        for part in parts(same, together):
            at, lengths, frame = zip(*part, strict=True)
            # What lies behind a tile's end changes nothing before it.
            batch = samples[_places(at, length, device).clamp(max=len(samples) - 1)]
            batch = batch[:, None].expand(-1, channels, -1).to(dtype)
            outputs = through(layers, batch) if min(lengths) == length else through_filled(layers, batch, lengths)
            outputs = outputs[:, :, before:].float().transpose(1, 2)  # (B, f, H)
            if hidden is None:
                hidden = outputs.new_zeros(total + 1, outputs.shape[2])
            index = _places(frame, outputs.shape[1], device)
            if min(lengths) < length:
                counts = on_device(torch.tensor([-(-n // tiling.hop) - before for n in lengths]), device)
                index = index.where(torch.arange(outputs.shape[1], device=device) < counts[:, None], total)
            hidden[index] = outputs
    return hidden, first


def _places(first: Sequence[int], count: int, device: torch.device) -> torch.Tensor:
    """(n, count) numbers: `count` in a row from each of `first` on."""
    return on_device(torch.tensor(first), device)[:, None] + torch.arange(count, device=device)
