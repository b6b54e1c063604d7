"""Finding a codec and saying which one it is."""

import hashlib
import os
from pathlib import Path

import torch
from huggingface_hub.errors import HfHubHTTPError
from transformers import EncodecModel

# The checkpoints that real data is classified with, by the kind of features that names their rate.
DEFAULT_CODECS = {24: "facebook/encodec_24khz", 48: "facebook/encodec_48khz"}
ASSETS = Path(__file__).with_name("assets")


class CodecNotFoundError(ValueError):
    """A codec that is neither bundled, nor a folder, nor reachable on the Hub."""


def bundled_codecs() -> list[str]:
    """Short names of the codecs that are installed with the package."""
    return sorted(path.name for path in ASSETS.glob("*") if (path / "config.json").is_file())


def load_codec(name_or_path: str | os.PathLike, revision: str | None = None) -> EncodecModel:
    """Load an `EncodecModel` in float32: a bundled short name, a local folder, or a Hub id.

    Raises `CodecNotFoundError` when it is none of them or cannot be reached; an untrained codec never stands in.
    """
    name = str(name_or_path)
    source = str(ASSETS / name) if name in bundled_codecs() else name
    try:
        codec, info = EncodecModel.from_pretrained(
            source, revision=revision, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, HfHubHTTPError) as error:
        raise CodecNotFoundError(
            f"expected an EncodecModel at {name!r}, and it could not be loaded ({_first_line(error)}). Without a network: "
            f"copy a checkpoint folder (config.json, model.safetensors) here and name it with --codec DIR, or take "
            f"--codec {' or '.join(bundled_codecs()) or 'DIR'}, or --features log_mel, which needs no codec"
        ) from error
    missing = sorted(key for key in info["missing_keys"] if key.startswith("encoder."))
    if missing:
        raise CodecNotFoundError(
            f"expected the weights of an EncodecModel at {name!r}, found {len(missing)} encoder weights missing "
            f"({', '.join(missing[:3])}, ...): that is another kind of checkpoint"
        )
    return codec.eval()


def codec_hash(codec: EncodecModel) -> str:
    """SHA-256 of the encoder's configuration-independent identity: names, shapes and float32 bytes of its weights."""
    return _digest({name: value for name, value in codec.state_dict().items() if name.startswith("encoder.")})


def codebook_hash(codec: EncodecModel) -> str | None:
    """SHA-256 of the codebooks; None for a codec whose quantizer was dropped."""
    books = {name: value for name, value in codec.state_dict().items() if name.endswith("codebook.embed")}
    return _digest(books) if books else None


def _digest(weights: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().float().contiguous()
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
