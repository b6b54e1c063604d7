"""Which codec it is: checksums of what decides its latents and its codes."""

import hashlib
import json

import torch
from transformers import EncodecModel

# Settings that change the latents without changing the shape of a weight, as in the two published codecs.
MONO = {
    "normalize": False,
    "chunk_length_s": None,
    "overlap": None,
    "use_causal_conv": True,
    "pad_mode": "reflect",
    "norm_type": "weight_norm",
    "dilation_growth_rate": 2,
}
STEREO = MONO | {
    "normalize": True,
    "chunk_length_s": 1.0,
    "overlap": 0.01,
    "use_causal_conv": False,
    "norm_type": "time_group_norm",
}


def codec_hash(codec: EncodecModel) -> str:
    """SHA-256 of the encoder: names, shapes and float32 bytes of its weights.

    Settings that differ from those of the published codec of its rate count too: the same weights give other latents.
    """
    weights = {name: value for name, value in codec.state_dict().items() if name.startswith("encoder.")}
    published = STEREO if codec.config.sampling_rate == 48_000 else MONO
    settings = {name: getattr(codec.config, name) for name in published}
    changed = {name: value for name, value in settings.items() if value != published[name]}
    return _digest(weights, json.dumps(changed, sort_keys=True) if changed else "")


def codebook_hash(codec: EncodecModel) -> str | None:
    """SHA-256 of the codebooks; None for a codec whose quantizer was dropped."""
    books = {name: value for name, value in codec.state_dict().items() if name.endswith("codebook.embed")}
    return _digest(books) if books else None


def check_identity(codec: EncodecModel, config) -> None:
    """Raise `ValueError` where a configuration names another codec, or other codebooks, than this."""
    for name, found in (("codec_hash", codec_hash), ("codebook_hash", codebook_hash)):
        expected = getattr(config, name)
        if expected and found(codec) != expected:
            raise ValueError(
                f"expected the codec that made this model's features ({config.codec_id}, {name} {expected[:12]}), found "
                f"one with {name} {(found(codec) or 'none')[:12]}: its weights or settings differ; load that codec, or "
                f"train on features of this one"
            )


def _digest(weights: dict[str, torch.Tensor], settings: str = "") -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().float().contiguous()
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    digest.update(settings.encode())
    return digest.hexdigest()
