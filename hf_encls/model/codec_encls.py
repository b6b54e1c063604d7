"""Codec families: the adapter of a codec, of its configuration, or of that as a dictionary."""

from collections.abc import Mapping

from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import PreTrainedConfig

from .adapter_encls import CodecAdapter
from .dac_encls import DacAdapter
from .encodec_encls import EncodecAdapter
from .limits_encls import check_dtype
from .mimi_encls import MimiAdapter, PocketTTSAdapter
from .vibevoice_encls import VibeVoiceAdapter
from .xcodec_encls import XcodecAdapter

FAMILIES: dict[str, type[CodecAdapter]] = {
    family.model_type: family
    for family in (EncodecAdapter, DacAdapter, MimiAdapter, PocketTTSAdapter, VibeVoiceAdapter, XcodecAdapter)
}
# Audio tokenizers of transformers that are no source of features here, and why.
REFUSED = {
    "neucodec": "its encoder takes a spectrogram of another extractor beside the waveform",
    "xcodec2": "its encoder takes a spectrogram of another extractor beside the waveform",
    "higgs_audio_v2_tokenizer": "its encoder resamples with torchaudio, which is no dependency here",
}


def codec_adapter(codec: nn.Module | PreTrainedConfig | Mapping) -> CodecAdapter:
    """The adapter of a codec, of its configuration, or of that as a dictionary.

    Raises `ValueError`, one line, for a codec of a family that is not known here, and for settings that cannot be built.
    """
    config = codec.config if isinstance(codec, nn.Module) else codec
    kind = config.get("model_type", EncodecAdapter.model_type) if isinstance(config, Mapping) else config.model_type
    if not is_known(kind):
        raise ValueError(unknown_family(kind))
    family = FAMILIES[kind]
    if not isinstance(config, Mapping):
        return family(config)
    check_dtype(config.get("dtype", config.get("torch_dtype")))
    try:
        codec_config = family.class_of_config()(**{key: value for key, value in config.items() if key != "model_type"})
    except StrictDataclassError as error:
        raise ValueError(reason_of(error)) from error
    except (TypeError, AttributeError) as error:  # the second: a dtype that PyTorch does not have
        raise ValueError(str(error)) from error
    except ZeroDivisionError as error:  # the library divides by heads and strides before it checks them
        raise ValueError(f"expected sizes of at least 1 for {family.name}, found 0 ({error})") from error
    family.check_limits(codec_config)
    return family(codec_config)


def is_known(kind: object) -> bool:
    """Whether a `model_type`, as a file has it, is that of a codec family."""
    return isinstance(kind, str) and kind in FAMILIES


def unknown_family(kind: object) -> str:
    """What is wrong with a model type that is no codec's that is known here."""
    why = f": {REFUSED[kind]}" if isinstance(kind, str) and kind in REFUSED else ""
    return f"expected a codec (model_type {', '.join(FAMILIES)}), found {kind!r}{why}"


def reason_of(error: StrictDataclassError) -> str:
    """What a configuration of the library says is wrong with it, in one line."""
    return " ".join(str(error.__cause__ or error).split())
