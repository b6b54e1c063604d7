"""How well a codec gives clips back that it was not trained on."""

import torch
from transformers import EncodecModel

from hf_encls.codec_training.autoencoder import Autoencoder, run_clip
from hf_encls.codec_training.corpus import Corpus
from hf_encls.codec_training.losses import MelDistance, si_sdr
from hf_encls.codec_training.progress import Say, silent, with_progress

MAX_VALIDATION_S = 10.0  # of each clip
SILENCE_RMS = 1e-4  # below, SI-SDR means nothing


@torch.no_grad()
def measure(model: Autoencoder, corpus: Corpus, codec: EncodecModel, say: Say = silent) -> dict[str, float | int]:
    """Reconstruction of whole clips (their first 10 s): mel distance and SI-SDR in dB, and how alive the latents are.

    SI-SDR leaves silent clips out. `latent_std` is over everything, `latent_std_over_time` the mean over latents of
    the standard deviation inside a clip: near zero, the encoder gives the same for every sound.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    distance = MelDistance(codec.config.sampling_rate).to(device)
    mels, ratios, moving, latent_all = [], [], [], []
    for clip in with_progress(corpus.clips, f"measuring {len(corpus.clips)} clips", say):
        x = torch.from_numpy(clip[:, : round(MAX_VALIDATION_S * codec.config.sampling_rate)]).to(device)
        latents, y = run_clip(model, x, codec.config.chunk_length)
        mels.append(distance(x[None], y[None]).item())
        if x.square().mean().sqrt() > SILENCE_RMS:
            ratios.append(si_sdr(x, y).mean().item())
        if latents.shape[1] > 1:
            moving.append(latents.std(dim=1).mean().item())
        latent_all.append(latents.flatten()[::16].cpu())
    model.train(was_training)
    return {
        "mel_distance": sum(mels) / len(mels),
        "si_sdr_db": sum(ratios) / max(1, len(ratios)),
        "latent_std": torch.cat(latent_all).std(unbiased=False).item(),
        "latent_std_over_time": sum(moving) / max(1, len(moving)),
        "num_clips": len(mels),
    }


@torch.no_grad()
def measure_bandwidths(codec: EncodecModel, corpus: Corpus, say: Say = silent) -> dict[str, dict[str, float]]:
    """Mel distance and SI-SDR of whole clips through `EncodecModel.encode` and `decode`, for every bandwidth."""
    distance = MelDistance(codec.config.sampling_rate).to(codec.device)
    bandwidths = codec.config.target_bandwidths
    scores = {bandwidth: ([], []) for bandwidth in bandwidths}
    clips = with_progress(corpus.clips, f"measuring {len(corpus.clips)} clips at {len(bandwidths)} bandwidths", say)
    for clip in clips:
        x = torch.from_numpy(clip[:, : round(MAX_VALIDATION_S * codec.config.sampling_rate)])[None]
        x = x.to(codec.device)
        # The codebooks follow each other: a lower bandwidth has the first codes of a higher one.
        codes = codec.encode(x, bandwidth=max(bandwidths))
        for bandwidth, (mels, ratios) in scores.items():
            count = codec.quantizer.get_num_quantizers_for_bandwidth(bandwidth)
            y = codec.decode(
                codes.audio_codes[:, :, :count], codes.audio_scales, last_frame_pad_length=codes.last_frame_pad_length
            ).audio_values[..., : x.shape[-1]]
            mels.append(distance(x[..., : y.shape[-1]], y).item())
            if x.square().mean().sqrt() > SILENCE_RMS:
                ratios.append(si_sdr(x[..., : y.shape[-1]], y).mean().item())
    return {
        str(bandwidth): {"mel_distance": sum(mels) / len(mels), "si_sdr_db": sum(ratios) / max(1, len(ratios))}
        for bandwidth, (mels, ratios) in scores.items()
    }
