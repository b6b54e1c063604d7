"""Which codec it is: checksums of what decides its latents and its codes."""

import hashlib
import json

import torch
from torch import nn

from .codec_encls import codec_adapter


def codec_hash(codec: nn.Module) -> str:
    """SHA-256 of the encoder: names, shapes and float32 bytes of its weights.

    Settings that differ from those of the published codec of its rate count too: the same weights give other latents.
    """
    adapter = codec_adapter(codec)
    changed = adapter.unusual_settings()
    return _digest(adapter.encoder_weights(codec), json.dumps(changed, sort_keys=True) if changed else "")


def codebook_hash(codec: nn.Module) -> str | None:
    """SHA-256 of the codebooks; None for a codec whose quantizer was dropped."""
    books = codec_adapter(codec).codebooks(codec)
    return _digest(books) if books else None


def check_identity(codec: nn.Module, config) -> None:
    """Raise `ValueError` where a configuration names another codec, or other codebooks, than this."""
    for name, identity in (("codec_hash", codec_hash), ("codebook_hash", codebook_hash)):
        expected = getattr(config, name)
        if expected and (actual := identity(codec)) != expected:
            raise ValueError(
                f"expected the codec that made this model's features ({config.codec_id}, {name} {expected[:12]}), found "
                f"one with {name} {(actual or 'none')[:12]}: its weights or settings differ; load that codec, or "
                f"train on features of this one"
            )


def _digest(weights: dict[str, torch.Tensor], settings: str = "") -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().float().contiguous()
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.view(-1).numpy())
    digest.update(settings.encode())
    return digest.hexdigest()
