"""Frontends: waveform (N,) -> windows of features (W, C, T). The network behind them knows only C and T."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from transformers import EncodecConfig, EncodecModel
from transformers.audio_utils import mel_filter_bank

from .configuration_encls import EnclsConfig, encodec_config
from .encoding_encls import encode_causal, encode_chunks, precision, stream_causal
from .windows_encls import WindowStream, cut

MIN_POWER = 1e-10  # librosa's and torchaudio's floor for decibels: silence is -100 dB
FRAMES_AT_ONCE = 512  # of a mel spectrogram: they and their bins stay in the cache of a core


def make_frontend(config: EnclsConfig) -> nn.Module:
    """The frontend that a configuration asks for."""
    return EncodecFrontend(config) if config.is_codec else MelFrontend(config)


class Frontend(nn.Module):
    """Weights that move with the model, and stay float32 when it is made half: `.half()`, `.to(torch.bfloat16)`."""

    def _apply(self, fn, recurse: bool = True):
        def moved(tensor: torch.Tensor) -> torch.Tensor:
            out = fn(tensor)
            return out if out.dtype == tensor.dtype else tensor.to(out.device)

        return super()._apply(moved, recurse)


class MelFrontend(Frontend):
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
        self.taper = nn.Buffer(
            torch.hamming_window(config.n_fft, dtype=torch.float32)
        )  # periodic, as scipy's get_window
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


class EncodecFrontend(Frontend):
    """A frozen EnCodec encoder: latents before the quantizer, or the embeddings of their codes.

    The 24 kHz model is causal: a clip is encoded whole, then windowed. The 48 kHz model is not; its policy says how a
    clip is divided, see [`EnclsConfig`]. Mono waveforms are doubled where the codec is stereo.
    """

    def __init__(self, config: EnclsConfig):
        super().__init__()
        self.config = config
        codec_config = encodec_config(config)
        config.codec_policy = config.codec_policy or default_policy(codec_config)
        check_codec(codec_config, config)
        # An EncodecModel, not its bare encoder: only that class refills its own buffers after from_pretrained.
        self.codec = EncodecModel(codec_config)
        strip_codec(self.codec, keep_quantizer=config.uses_codes)

    # Another runtime for the convolutions of whole clips, see `encode_causal`. Never part of a checkpoint.
    convolutions = None

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
        with precision(self.config.codec_dtype, self.codec.device):
            return self._latents(waveforms)

    def _latents(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if self.config.codec_policy == "whole" and self.is_tileable:
            return encode_causal(self.codec, waveforms, self._dtype, self.convolutions)
        chunks = [list(self._chunks(waveform)) for waveform in waveforms]
        flat = iter(encode_chunks(self.codec, [chunk for clip in chunks for chunk in clip], self._dtype))
        return [torch.cat([next(flat) for _ in clip], dim=-1) for clip in chunks]

    @torch.no_grad()
    def stream(self, blocks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Blocks (n,) of one clip -> its windows, piece by piece (w, C, T), in constant memory.

        Under the `whole` policy of a codec that is not causal the clip is kept until its end: there is no other way.
        """
        cutter = WindowStream(self.config.window_units, self.config.step_units)
        encoded = self._stream_latents(blocks)
        while True:
            with precision(self.config.codec_dtype, self.codec.device):  # not while others compute
                latents = next(encoded, None)
            if latents is None:
                break
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
        with precision(self.config.codec_dtype, self.codec.device):
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
        return torch.bfloat16 if self.config.codec_dtype == "bfloat16" else torch.float32

    @property
    def is_tileable(self) -> bool:
        codec = self.codec.config
        return codec.use_causal_conv and codec.norm_type == "weight_norm" and not codec.normalize

    def _chunks(self, waveform: torch.Tensor) -> Iterator[torch.Tensor]:
        codec = self.codec.config
        length = len(waveform)
        size = length if self.config.codec_policy == "whole" else codec.chunk_length
        stride = codec.chunk_stride if self.config.codec_policy == "codec" else size
        for offset in range(0, length, stride):
            yield waveform[offset : offset + size]

    def _stream_latents(self, blocks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        if self.config.codec_policy == "whole":
            if self.is_tileable:
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
                yield encode_chunks(self.codec, [buffer[: codec.chunk_length]], self._dtype)[0]
                buffer = buffer[stride:]
        for chunk in self._chunks(buffer) if buffer is not None else ():
            yield encode_chunks(self.codec, [chunk], self._dtype)[0]


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


def default_policy(codec_config: EncodecConfig) -> str:
    """How a clip goes through a codec where nobody says it: by the codec's chunks, where it has any."""
    return "whole" if codec_config.chunk_length_s is None else "contiguous"


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
