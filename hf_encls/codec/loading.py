"""Finding a codec and saying which one it is."""

import json
import os
import re
from pathlib import Path

import torch
from huggingface_hub.errors import HfHubHTTPError
from transformers import EncodecConfig, EncodecModel

from hf_encls.model.identity_encls import codebook_hash as codebook_hash
from hf_encls.model.identity_encls import codec_hash as codec_hash

# The checkpoints that real data is classified with, by the kind of features that names their rate.
DEFAULT_CODECS = {24: "facebook/encodec_24khz", 48: "facebook/encodec_48khz"}
UNTRAINED = "untrained"
TRAINING_FACTS = "codec_training.json"  # written by scripts/pretrain_codec.py beside the weights
ASSETS = Path(__file__).with_name("assets")


class CodecNotFoundError(ValueError):
    """A codec that is neither bundled, nor a folder, nor reachable on the Hub."""


def bundled_codecs() -> list[str]:
    """Short names of the codecs that are installed with the package."""
    return sorted(path.name for path in ASSETS.glob("*") if (path / "config.json").is_file())


def load_codec(name_or_path: str | os.PathLike, revision: str | None = None) -> EncodecModel:
    """Load an `EncodecModel` in float32: a bundled short name, a local folder, or a Hub id.

    The name `untrained` gives a narrow codec with random weights, always the same ones, to compare with. Raises
    `CodecNotFoundError` when it is none of them or cannot be reached; an untrained codec never stands in.
    """
    name = str(name_or_path)
    if name == UNTRAINED:
        return untrained_codec()
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


def is_here(name_or_path: str | os.PathLike) -> bool:
    """Whether a codec needs no fetching: a bundled one, or a folder. Asks nobody.

    Raises `CodecNotFoundError` for what is no folder and cannot be a name on the Hub either.
    """
    name = str(name_or_path)
    if name == UNTRAINED or name in bundled_codecs() or Path(name).is_dir():
        return True
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise CodecNotFoundError(
            f"expected a codec at {name!r}: a folder, {', '.join([*bundled_codecs(), UNTRAINED])}, or USER/NAME on the Hub; "
            "found none of these: check the path"
        )
    return False


def untrained_codec(num_filters: int = 8) -> EncodecModel:
    """A narrow 24 kHz codec with random weights, the same ones at every call. Its latents are random projections."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return EncodecModel(EncodecConfig(num_filters=num_filters)).eval()


def short_name(name_or_path: str | os.PathLike) -> str:
    """What a codec is called in configurations and cards: a folder's last part says enough, and no path leaks."""
    path = Path(name_or_path)
    return path.resolve().name if path.is_dir() else str(name_or_path)


def codec_facts(name_or_path: str | os.PathLike) -> dict:
    """What the codec's folder tells of its training (`codec_training.json`), empty where it tells nothing."""
    name = str(name_or_path)
    if name == UNTRAINED:
        return {"untrained": True}
    folder = ASSETS / name if name in bundled_codecs() else Path(name)
    file = folder / TRAINING_FACTS
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
