"""Frontends: waveform (N,) -> windows of features (W, C, T). The network behind them knows only C and T."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from transformers import EncodecModel
from transformers.audio_utils import mel_filter_bank

from .configuration_encls import EnclsConfig, encodec_config
from .layers_encls import encoder_layers, lstm_position
from .windows_encls import WindowStream, cut

MIN_POWER = 1e-10  # librosa's and torchaudio's floor for decibels: silence is -100 dB
FRAMES_AT_ONCE = 512  # of a mel spectrogram: they and their bins stay in the cache of a core
TILE_S = 1.0  # audio that goes through the causal convolutions at once: its activations stay in the cache of a core


def make_frontend(config: EnclsConfig) -> nn.Module:
    """The frontend that a configuration asks for."""
    return EncodecFrontend(config) if config.is_codec else MelFrontend(config)


class MelFrontend(nn.Module):
    """Mel spectrogram as in the paper: Hamming window, no centring, windows cut from the waveform first.

    `mel` is power (librosa's `melspectrogram(center=False, window="hamming")`), `log_mel` is 10 log10 of it.
    """

    def __init__(self, config: EnclsConfig):
        super().__init__()
        self.config = config
        filters = mel_filter_bank(
            num_frequency_bins=config.n_fft // 2 + 1,
            num_mel_filters=config.num_bands,
            min_frequency=0.0,
            max_frequency=config.sampling_rate / 2,
            sampling_rate=config.sampling_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        # Persistent: from_pretrained leaves non-persistent buffers unset.
        self.filters = nn.Buffer(torch.from_numpy(filters).float())  # (n_fft // 2 + 1, bands)
        self.taper = nn.Buffer(torch.hamming_window(config.n_fft))  # periodic, as scipy's get_window
        self.groups = list(_filter_groups(filters))

    def windows(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Waveforms of shapes (N,) -> windows of shapes (W, bands, T), float32."""
        window, step = self.config.window_samples, self.config.step_samples
        return [self.spectrum(cut(waveform[None], window, step)[:, 0]) for waveform in waveforms]

    def stream(self, blocks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Blocks (n,) of one clip -> its windows, piece by piece (w, bands, T), in constant memory."""
        cutter = WindowStream(self.config.window_samples, self.config.step_samples)
        for block in blocks:
            pieces = cutter.push(block[None])
            if len(pieces):
                yield self.spectrum(pieces[:, 0])
        pieces = cutter.finish()
        if len(pieces):
            yield self.spectrum(pieces[:, 0])

    def spectrum(self, pieces: torch.Tensor) -> torch.Tensor:
        """(W, samples) -> (W, bands, T)."""
        config = self.config
        frames = config.num_frames
        mel = pieces.new_zeros(config.num_bands, len(pieces), frames)
        # Twice each row: for the squares of the real and of the imaginary part.
        filters = self.filters.repeat_interleave(2, dim=0)
        groups = [(filters[used, bands].T.contiguous(), bands, used) for bands, used in self.groups]
        together = max(1, (FRAMES_AT_ONCE if pieces.device.type == "cpu" else 1 << 16) // frames)
        for start in range(0, len(pieces), together):
            part = pieces[start : start + together]
            bins = torch.fft.rfft((part.unfold(-1, config.n_fft, config.hop_length) * self.taper).flatten(0, 1))
            power = torch.view_as_real(bins).square_().flatten(1).T  # (2 * (n_fft // 2 + 1), w * T)
            columns = mel[:, start : start + together].flatten(1)
            for weights, bands, used in groups:
                torch.mm(weights, power[used], out=columns[bands])
        if config.features == "log_mel":
            mel = mel.clamp_min_(MIN_POWER).log10_().mul_(10)
        return mel.transpose(0, 1).contiguous()


def _filter_groups(filters: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Neighbouring bands, and the parts of bins (2 a bin) that any of them is made of: most of the matrix is zero."""
    for start in range(0, filters.shape[1], 16):
        bands = slice(start, start + 16)
        used = np.flatnonzero(filters[:, bands].any(axis=1))
        if len(used):
            yield bands, slice(2 * int(used[0]), 2 * int(used[-1]) + 2)


class EncodecFrontend(nn.Module):
    """A frozen EnCodec encoder: latents before the quantizer, or the embeddings of their codes.

    The 24 kHz model is causal: a clip is encoded whole, then windowed. The 48 kHz model is not; its policy says how a
    clip is divided, see [`EnclsConfig`]. Mono waveforms are doubled where the codec is stereo.
    """

    def __init__(self, config: EnclsConfig):
        super().__init__()
        self.config = config
        codec_config = encodec_config(config)
        check_codec(codec_config, config)
        # An EncodecModel, not its bare encoder: only that class refills its own buffers after from_pretrained.
        self.codec = EncodecModel(codec_config)
        strip_codec(self.codec, keep_quantizer=config.uses_codes)

    def windows(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Waveforms of shapes (N,) -> windows of shapes (W, C, T), float32."""
        latents = self.latents(waveforms)
        if self.config.uses_codes:
            latents = [self.embed(self.codes(clip)) for clip in latents]
        return [cut(clip, self.config.window_units, self.config.step_units) for clip in latents]

    def code_windows(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Waveforms of shapes (N,) -> windows of their codes (W, K, T), int64: what `embed` makes `windows` of."""
        clips = [self.codes(clip) for clip in self.latents(waveforms)]
        return [cut(clip, self.config.window_units, self.config.step_units) for clip in clips]

    @torch.no_grad()
    def latents(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Waveforms of shapes (N,) -> what the encoder makes of them, (C, F) each, float32."""
        if self.config.codec_policy == "whole" and self._is_tileable:
            return encode_causal(self.codec, waveforms, self._dtype)
        chunks = [list(self._chunks(waveform)) for waveform in waveforms]
        flat = iter(self._encode([chunk for clip in chunks for chunk in clip]))
        return [torch.cat([next(flat) for _ in clip], dim=-1) for clip in chunks]

    @torch.no_grad()
    def stream(self, blocks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Blocks (n,) of one clip -> its windows, piece by piece (w, C, T), in constant memory.

        Under the `whole` policy of a codec that is not causal the clip is kept until its end: there is no other way.
        """
        cutter = WindowStream(self.config.window_units, self.config.step_units)
        for latents in self._stream_latents(blocks):
            if self.config.uses_codes:
                latents = self.embed(self.codes(latents))
            pieces = cutter.push(latents)
            if len(pieces):
                yield pieces
        pieces = cutter.finish()
        if len(pieces):
            yield pieces

    @torch.no_grad()
    def codes(self, latents: torch.Tensor) -> torch.Tensor:
        """(C, F) latents -> (K, F) codes of the K codebooks that the configuration's bandwidth asks for."""
        return self.codec.quantizer.encode(latents[None], self.config.bandwidth)[:, 0]

    @torch.no_grad()
    def embed(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (K, F) or windows of them (W, K, T) -> (C, F) or (W, C, T): the sums of their codebook entries."""
        if codes.ndim == 3:
            return self.codec.quantizer.decode(codes.long().transpose(0, 1))
        return self.codec.quantizer.decode(codes.long()[:, None])[0]

    def copy_codec(self, codec: EncodecModel) -> None:
        """Take over the weights of `codec`, which stays as it is. Raises `ValueError` where it does not fit."""
        check_codec(codec.config, self.config)
        own = self.codec.state_dict()
        self.codec.load_state_dict({name: value for name, value in codec.state_dict().items() if name in own})

    @property
    def _dtype(self) -> torch.dtype:
        return getattr(torch, self.config.codec_dtype)

    @property
    def _is_tileable(self) -> bool:
        codec = self.codec.config
        return codec.use_causal_conv and codec.norm_type == "weight_norm" and not codec.normalize

    def _chunks(self, waveform: torch.Tensor) -> Iterator[torch.Tensor]:
        codec = self.codec.config
        length = len(waveform)
        size = length if self.config.codec_policy == "whole" else codec.chunk_length
        stride = codec.chunk_stride if self.config.codec_policy == "codec" else size
        for offset in range(0, length, stride):
            yield waveform[offset : offset + size]

    def _encode(self, chunks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Chunks (n,) -> latents (C, f). Chunks of one length share a pass; nothing is ever padded (not causal)."""
        layers = encoder_layers(self.codec, self._dtype)
        lstm_at = lstm_position(layers)
        out: list[torch.Tensor] = [None] * len(chunks)
        by_length: dict[int, list[int]] = {}
        for i, chunk in enumerate(chunks):
            by_length.setdefault(len(chunk), []).append(i)
        for indices in by_length.values():
            for part in _parts(indices, batch_size(chunks[0].device)):
                batch = torch.stack([chunks[i] for i in part])[:, None]
                if self.codec.config.normalize:
                    # As EncodecModel._encode_frame: divided by the root mean square of the mono signal.
                    batch = batch / (batch.pow(2).mean(dim=-1, keepdim=True).sqrt() + 1e-8)
                batch = batch.expand(-1, self.codec.config.audio_channels, -1)
                batch = _through(layers[:lstm_at], batch.to(self._dtype))
                for i, clip in zip(part, _through(layers[lstm_at:], batch.float()), strict=True):
                    out[i] = clip
        return out

    def _stream_latents(self, blocks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        if self.config.codec_policy == "whole":
            if self._is_tileable:
                yield from stream_causal(self.codec, blocks, self._dtype)
            else:
                yield self.latents([torch.cat(list(blocks))])[0]
            return
        codec = self.codec.config
        stride = codec.chunk_stride if self.config.codec_policy == "codec" else codec.chunk_length
        buffer = None
        for block in blocks:
            buffer = block if buffer is None else torch.cat([buffer, block])
            while len(buffer) > codec.chunk_length:
                yield self._encode([buffer[: codec.chunk_length]])[0]
                buffer = buffer[stride:]
        for chunk in self._chunks(buffer) if buffer is not None else ():
            yield self._encode([chunk])[0]


def window_starts_s(config: EnclsConfig, count: int) -> np.ndarray:
    """Seconds (count,) at which a clip's windows start."""
    units = np.arange(count) * config.step_units
    if config.codec_policy != "codec":
        return units * config.samples_per_unit / config.sampling_rate
    # Overlapping chunks: frames repeat, so that a frame's time depends on the chunk it is in.
    codec = encodec_config(config)
    per_chunk = -(-codec.chunk_length // codec.hop_length)
    samples = units // per_chunk * codec.chunk_stride + units % per_chunk * codec.hop_length
    return samples / config.sampling_rate


def check_codec(codec_config, config: EnclsConfig) -> None:
    """Raise `ValueError` where a codec and the features asked of it do not fit."""
    if codec_config.sampling_rate != config.sampling_rate:
        raise ValueError(
            f"{config.features} needs a codec of {config.sampling_rate} Hz, found one of {codec_config.sampling_rate} Hz"
        )
    if codec_config.hidden_size != config.num_bands or codec_config.hop_length != config.frame_length:
        raise ValueError(
            f"expected a codec with latents of {config.num_bands} x {config.frame_rate:g} per second, found "
            f"{codec_config.hidden_size} x {codec_config.sampling_rate / codec_config.hop_length:g}"
        )
    if config.codec_policy in ("contiguous", "codec") and codec_config.chunk_length_s is None:
        raise ValueError(
            f"codec_policy {config.codec_policy!r} needs a codec with chunk_length_s; this one has none: use 'whole'"
        )
    if config.codec_policy == "codec" and codec_config.chunk_stride is None:
        raise ValueError("codec_policy 'codec' needs a codec with an overlap; this one has none: use 'contiguous'")


def strip_codec(codec: EncodecModel, keep_quantizer: bool) -> None:
    """Freeze a codec and drop what classification never uses: the decoder, and the quantizer unless codes are asked."""
    codec.decoder = None
    if not keep_quantizer:
        codec.quantizer = None
    codec.requires_grad_(False).eval()


def batch_size(device: torch.device) -> int:
    """Tiles or chunks per pass: one on a CPU, so that it stays in the cache; on an accelerator what memory allows."""
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    return max(8, min(512, free // (192 << 20)))  # a second of a full-size codec needs about 100 MiB of activations


def receptive_field(codec) -> int:
    """Samples of left context that one frame of the convolutions before the LSTM sees beyond its own hop."""
    field, jump = codec.kernel_size - 1, 1
    for ratio in reversed(codec.upsampling_ratios):
        for layer in range(codec.num_residual_layers):
            field += (codec.residual_kernel_size - 1) * codec.dilation_growth_rate**layer * jump
        field += (2 * ratio - 1) * jump - (ratio - 1) * jump
        jump *= ratio
    return field


def encode_causal(codec: EncodecModel, waveforms: Sequence[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """A causal encoder over whole clips (N,), fast: the same latents (C, F) as `codec.encoder` to rounding.

    The convolutions see tiles with enough left context, so that their activations stay in cache and tiles of many
    clips share a pass; the LSTM then sees each clip whole.
    """
    layers = encoder_layers(codec, dtype)
    tiles = [list(_tiles(codec.config, waveform)) for waveform in waveforms]
    flat = iter(_convolve(codec, [tile for clip in tiles for tile in clip], dtype))
    hidden = [torch.cat([next(flat) for _ in clip], dim=-1) for clip in tiles]  # (H, F)
    # Right padding leaves earlier frames of a causal network unchanged, unless a clip is so short that the codec's
    # reflection at its start reaches beyond its end.
    short = [i for i, clip in enumerate(hidden) if clip.shape[-1] < codec.config.last_kernel_size]
    rest = [i for i, clip in enumerate(hidden) if clip.shape[-1] >= codec.config.last_kernel_size]
    rest.sort(key=lambda i: hidden[i].shape[-1])  # little padding
    out: list[torch.Tensor] = [None] * len(hidden)
    together = 16 if codec.device.type == "cpu" else 256  # an accelerator takes as long for few as for many
    for part in [[i] for i in short] + list(_parts(rest, together)):
        batch = nn.utils.rnn.pad_sequence([hidden[i].T for i in part], batch_first=True).transpose(1, 2)
        batch = _through(layers[lstm_position(layers) :], batch)
        for i, latents in zip(part, batch, strict=True):
            out[i] = latents[:, : hidden[i].shape[-1]]
    return out


def stream_causal(
    codec: EncodecModel, blocks: Iterator[torch.Tensor], dtype: torch.dtype, segment_s: float = 10.0
) -> Iterator[torch.Tensor]:
    """As `encode_causal` for one clip that arrives in blocks (n,): latents (C, f) piece by piece, in constant memory."""
    config = codec.config
    hop, context = config.hop_length, _context(config)
    segment = round(segment_s * config.sampling_rate / hop) * hop
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
        # The codec pads the end of a clip in its own way, by reflection: the last piece must be long enough for that.
        enough = segment + round(TILE_S * config.sampling_rate / 2)
        while len(buffer) - position > enough or (not more and len(buffer) > position):
            end = position + segment if len(buffer) - position > enough else len(buffer)
            tiles = list(_tiles(config, buffer[:end], position))
            hidden = torch.cat(_convolve(codec, tiles, dtype), dim=-1)  # (H, f)
            out, state = lstm.lstm(hidden.T[:, None], state)
            hidden = elu((out[:, 0] + hidden.T).T[None])
            latents = last(hidden) if recent is None else last.conv(torch.cat([recent, hidden], dim=-1))
            recent = hidden if recent is None else torch.cat([recent, hidden], dim=-1)
            recent = recent[..., -(config.last_kernel_size - 1) :]
            keep = max(0, end - context)
            buffer, position = buffer[keep:], end - keep
            yield latents[0].float()


def _context(codec) -> int:
    return math.ceil(receptive_field(codec) / codec.hop_length) * codec.hop_length


def _tiles(codec, waveform: torch.Tensor, position: int = 0) -> Iterator[tuple[torch.Tensor, int]]:
    """(tile with its left context, frames of context) from `position` on; the last tile is not shorter than half one."""
    hop, context = codec.hop_length, _context(codec)
    size = max(1, round(TILE_S * codec.sampling_rate / hop)) * hop
    length = len(waveform)
    while position < length:
        end = position + size if length - position >= 1.5 * size else length
        left = min(position, context)
        yield waveform[position - left : end], left // hop
        position = end


def _convolve(
    codec: EncodecModel, tiles: Sequence[tuple[torch.Tensor, int]], dtype: torch.dtype
) -> list[torch.Tensor]:
    """Tiles -> what the layers before the LSTM make of them, (H, f) each, without the context."""
    layers = encoder_layers(codec, dtype)
    layers = layers[: lstm_position(layers)]
    out: list[torch.Tensor] = [None] * len(tiles)
    by_shape: dict[tuple[int, int], list[int]] = {}
    for i, (tile, frames) in enumerate(tiles):
        by_shape.setdefault((len(tile), frames), []).append(i)
    for (_, frames), indices in by_shape.items():
        for part in _parts(indices, batch_size(tiles[0][0].device)):
            batch = torch.stack([tiles[i][0] for i in part])[:, None].expand(-1, codec.config.audio_channels, -1)
            for i, hidden in zip(part, _through(layers, batch.to(dtype)).float(), strict=True):
                out[i] = hidden[:, frames:]
    return out


def _through(layers: Sequence[nn.Module], hidden: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        hidden = layer(hidden)
    return hidden


def _parts(items: Sequence, size: int) -> Iterator[Sequence]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
