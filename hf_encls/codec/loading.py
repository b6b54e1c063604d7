"""Finding a codec and saying which one it is."""

import os
import re
from pathlib import Path

import torch
from huggingface_hub.errors import HfHubHTTPError
from transformers import EncodecConfig, EncodecModel, PreTrainedConfig, PreTrainedModel

from hf_encls.codec.facts import CodecFacts
from hf_encls.files.checkpoints import find_checkpoint
from hf_encls.files.records import read_record
from hf_encls.model.codec_encls import codec_adapter, is_known, unknown_family
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.limits_encls import check_object
from hf_encls.model.loading_encls import check_weights, readable, where_of

UNTRAINED = "untrained"
ASSETS = Path(__file__).with_name("assets")


class CodecNotFoundError(ValueError):
    """A codec that is neither bundled, nor a folder, nor reachable on the Hub, or is not whole."""


def bundled_codecs() -> list[str]:
    """Short names of the codecs that are installed with the package."""
    return sorted(path.name for path in ASSETS.glob("*") if (path / "config.json").is_file())


def load_codec(name_or_path: str | os.PathLike, revision: str | None = None) -> PreTrainedModel:
    """Load a codec of a known family, frozen and in float32.

    `name_or_path` is a bundled short name, a local folder, or a Hub id, of which `revision` names the commit. The name
    `untrained` gives a narrow codec with random weights, always the same ones, to compare with. A checkpoint without any
    weights of the decoder, or of the quantizer, gives a codec without that part.

    Raises `CodecNotFoundError`, a line that names the file, when it is none of them, cannot be reached, or is not whole;
    an untrained codec never stands in.
    """
    name = str(name_or_path)
    if name == UNTRAINED:
        return untrained_codec()
    source = str(ASSETS / name) if name in bundled_codecs() else name
    where = where_of(source)
    try:
        config, local = _read_config(source, revision)
        adapter = codec_adapter(config)
        with readable(where):
            codec, info = adapter.class_of_model().from_pretrained(
                source,
                config=config,
                revision=revision,
                local_files_only=local,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # the library's error names no tensor
                output_loading_info=True,
            )
        for part in adapter.droppable_parts():
            keys = {f"{part}.{key}" for key in getattr(codec, part).state_dict()}
            if keys <= set(info["missing_keys"]):
                setattr(codec, part, None)
                info["missing_keys"] = set(info["missing_keys"]) - keys
        check_weights(codec, info, where)
    except ValueError as error:
        raise CodecNotFoundError(str(error)) from error
    except (OSError, HfHubHTTPError) as error:
        raise CodecNotFoundError(
            f"expected a codec at {name!r}, and it could not be loaded ({_first_line(error)}): {_instead()}"
        ) from error
    return codec.eval().requires_grad_(False)


def codec_config(name_or_path: str | os.PathLike) -> EncodecConfig:
    """The configuration of an EnCodec: in a JSON file, or of one that `load_codec` knows. Raises `CodecNotFoundError`."""
    name = str(name_or_path)
    try:
        if Path(name).is_file():
            return _checked({"model_type": EncodecConfig.model_type} | read_record(name), Path(name))
        config = _read_config(str(ASSETS / name) if name in bundled_codecs() else name, None)[0]
        if not isinstance(config, EncodecConfig):
            raise ValueError(f"expected the configuration of an EnCodec at {name}, found one of {config.model_type!r}")
        return config
    except (ValueError, OSError) as error:
        raise CodecNotFoundError(str(error)) from error


def _read_config(source: str, revision: str | None) -> tuple[PreTrainedConfig, bool]:
    """(the configuration, whether the checkpoint is on this machine)."""
    local = find_checkpoint(source, revision, "a codec", _instead())
    file = Path(source) / "config.json"
    check_object(file)
    values, _ = PreTrainedConfig.get_config_dict(source, revision=revision, local_files_only=local)
    return _checked(values, file), local


def _checked(values: dict, file: Path) -> PreTrainedConfig:
    kind = values.get("model_type")  # none where there is no such file: the library then takes its defaults
    if not is_known(kind):
        advice = (
            "; a classifier is no codec: give it as `model`" if kind == EnclsConfig.model_type else f"; {_instead()}"
        )
        raise ValueError(f"{file}: {unknown_family(kind)}{advice}")
    try:
        return codec_adapter(values).config
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _instead() -> str:
    names = [f"{name}, which is bundled" for name in bundled_codecs()]
    choices = [*names, "a folder with config.json and model.safetensors of a codec", "USER/NAME on the Hub"]
    return f"give {'; or '.join(choices)}; or take log-mel features, which need no codec"


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
        return EncodecModel(EncodecConfig(num_filters=num_filters)).eval().requires_grad_(False)


def short_name(name_or_path: str | os.PathLike) -> str:
    """What a codec is called in configurations and cards: a folder's last part says enough, and no path leaks."""
    path = Path(name_or_path)
    return path.resolve().name if path.is_dir() else str(name_or_path)


def codec_facts(name_or_path: str | os.PathLike) -> CodecFacts:
    """What is known of a codec without its weights: what its folder tells. Raises `RecordError` where that is damaged.

    Of a codec on the Hub nobody is asked: `with_licence` does.
    """
    name = str(name_or_path)
    if name == UNTRAINED:
        return CodecFacts(id=name, untrained=True)
    return CodecFacts.of_folder(ASSETS / name if name in bundled_codecs() else Path(name), short_name(name))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
