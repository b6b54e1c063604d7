"""What a codec's autoencoder is trained and judged by.

The spectral loss follows EnCodec (Défossez et al., 2022, eq. 2) in comparing mel spectra at several resolutions;
SI-SDR is that of Le Roux et al., 2019.
"""

import torch
from torch import Tensor, nn

from hf_encls.model.mel_encls import mel_filters

FLOOR = 1e-3  # of a mel magnitude: what is quieter is treated as silence
RESOLUTIONS = ((512, 64), (1024, 96), (2048, 128))  # FFT size, mel bands; hops of a quarter


class LogMel(nn.Module):
    """(B, N) -> natural log of mel magnitudes plus `FLOOR`, (B, bands, frames). Short clips are filled with zeros."""

    def __init__(self, sampling_rate: int, n_fft: int, num_bands: int, hop_length: int, center: bool = True) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.center = n_fft, hop_length, center
        bank = mel_filters(n_fft, num_bands, sampling_rate, htk=True)
        self.register_buffer("bank", torch.tensor(bank.T, dtype=torch.float32))
        self.register_buffer("window", torch.hann_window(n_fft))

    def magnitudes(self, x: Tensor) -> Tensor:
        """(B, N) -> magnitudes of the mel bands (B, bands, frames)."""
        if self.center and x.shape[-1] <= self.n_fft // 2:  # too short to be reflected at its ends
            x = nn.functional.pad(x, (0, self.n_fft // 2 + 1 - x.shape[-1]))
        spectrum = torch.stft(
            x.float(), self.n_fft, self.hop_length, window=self.window, center=self.center, return_complex=True
        )
        # Not abs(): its gradient at zero is not defined.
        power = spectrum.real.square() + spectrum.imag.square()
        return self.bank @ (power + 1e-12).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(self.magnitudes(x) + FLOOR)


class MelDistance(nn.Module):
    """Mean absolute difference of log-mel spectra (natural log), averaged over three resolutions; 0 is equal."""

    def __init__(self, sampling_rate: int) -> None:
        super().__init__()
        self.mels = nn.ModuleList(LogMel(sampling_rate, n_fft, bands, n_fft // 4) for n_fft, bands in RESOLUTIONS)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y: (B, channels, N) -> scalar."""
        x, y = x.flatten(0, 1), y.flatten(0, 1)
        return torch.stack([(mel(x) - mel(y)).abs().mean() for mel in self.mels]).mean()


class SpectralAnchor(nn.Module):
    """Draws the first `num_bands` latents towards the log-mel spectrum of their own frame.

    An autoencoder is free to code sound in any basis, and a small one that was trained for an hour finds one in which
    neither the order of the latents nor their values mean much to a classifier. The anchor gives some latents a
    meaning and an order, low to high; the others stay free to carry what the mel spectrum leaves out. A causal codec
    is compared with the samples it has seen by the end of the frame, another with those around it.
    """

    def __init__(self, sampling_rate: int, hop_length: int, num_bands: int, causal: bool, n_fft: int = 1024) -> None:
        super().__init__()
        n_fft *= max(1, round(sampling_rate / 24_000))
        self.num_bands = num_bands
        self.left = n_fft - hop_length if causal else (n_fft - hop_length) // 2
        self.right = n_fft - hop_length - self.left
        self.mel = LogMel(sampling_rate, n_fft, num_bands, hop_length, center=False)

    def target(self, x: Tensor) -> Tensor:
        """(B, channels, N) -> (B, bands, frames), scaled so that silence is -2 and full scale about 2."""
        mono = nn.functional.pad(x.mean(1, keepdim=True), (self.left, self.right), mode="reflect")
        return (self.mel(mono[:, 0]) + 1) / 3

    def forward(self, latents: Tensor, x: Tensor) -> Tensor:
        target = self.target(x)
        frames = min(target.shape[-1], latents.shape[-1])
        return (latents[:, : self.num_bands, :frames] - target[..., :frames]).abs().mean()


def waveform_distance(x: Tensor, y: Tensor) -> Tensor:
    """L1 distance relative to the L1 norm of the original, averaged over items. Levels below -40 dB count as that."""
    level = x.abs().mean(dim=(1, 2)).clamp_min(1e-2)
    return ((x - y).abs().mean(dim=(1, 2)) / level).mean()


def si_sdr(x: Tensor, y: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in decibels of `y` against the original `x`: (..., N) -> (...)."""
    x = x - x.mean(-1, keepdim=True)
    y = y - y.mean(-1, keepdim=True)
    scale = (x * y).sum(-1, keepdim=True) / x.square().sum(-1, keepdim=True).clamp_min(1e-12)
    target = scale * x
    error = (y - target).square().sum(-1).clamp_min(1e-12)
    return 10 * torch.log10(target.square().sum(-1).clamp_min(1e-12) / error)
