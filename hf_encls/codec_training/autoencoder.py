"""The encoder and decoder of an `EncodecModel` as one trainable autoencoder, without the quantizer between them."""

import math

import torch
from torch import Tensor, nn
from transformers import EncodecModel

GAIN = 1.2


class Autoencoder(nn.Module):
    """Shares its weights with the `EncodecModel` it is made from."""

    def __init__(self, codec: EncodecModel) -> None:
        super().__init__()
        self.encoder, self.decoder = codec.encoder, codec.decoder
        self.normalize = codec.config.normalize

    def forward(self, x: Tensor, decode: bool = True) -> tuple[Tensor, Tensor | None]:
        """(B, channels, N) -> latents (B, hidden_size, frames) and the sound again, (B, channels, N), or None.

        As in `EncodecModel.encode`, a codec that normalizes divides by the RMS of the mono mix and multiplies after.
        """
        scale = None
        if self.normalize:
            scale = x.mean(1, keepdim=True).square().mean(-1, keepdim=True).sqrt() + 1e-8
            x = x / scale
        latents = self.encoder(x)
        if not decode:
            return latents, None
        y = self.decoder(latents)[..., : x.shape[-1]]
        return latents, y if scale is None else y * scale


def initialise(codec: EncodecModel, seed: int) -> None:
    """Orthogonal convolutions (gain 1.2, zero bias) and PyTorch's own LSTM initialisation, in place.

    With the library's initialisation the latents of a fresh codec are almost constant over time, and it does not learn
    in any time that a small machine has.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in codec.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                weight = torch.empty_like(module.weight)
                nn.init.orthogonal_(weight, gain=GAIN)
                # Under weight norm, an assignment sets both direction and magnitude.
                if nn.utils.parametrize.is_parametrized(module, "weight"):
                    module.weight = weight
                else:
                    module.weight.data.copy_(weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LSTM):
                module.reset_parameters()


@torch.no_grad()
def run_clip(model: Autoencoder, clip: Tensor, chunk_samples: int | None = None) -> tuple[Tensor, Tensor]:
    """One clip (channels, N), of any length -> latents (hidden_size, frames) and the sound again (channels, N).

    A codec with chunks sees them one by one (the last completed by reflection, since group norm sees padding).
    """
    length = clip.shape[-1]
    if chunk_samples is None or length <= chunk_samples:
        latents, y = model(clip[None])
        return latents[0], y[0]
    missing = math.ceil(length / chunk_samples) * chunk_samples - length
    clip = torch.cat([clip, clip.flip(-1)[..., :missing]], dim=-1) if missing else clip
    chunks = clip.unfold(-1, chunk_samples, chunk_samples).transpose(0, 1)
    latents, y = model(chunks)
    return latents.transpose(0, 1).flatten(1), y.transpose(0, 1).flatten(1)[:, :length]
