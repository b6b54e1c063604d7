"""What a configuration may ask for: refused before anything is built, because what is built may be larger than memory."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from transformers import EncodecConfig, PreTrainedConfig

FLOATS = ("float16", "bfloat16", "float32", "float64")
MOST_LABELS = 100_000
LONGEST_S = 1e9  # of a window and of a step: thirty years, and its samples can be counted
MOST_WEIGHTS = 1 << 28  # of the last layer: 1 GiB
MOST_CODEC_WEIGHTS = 1 << 26  # of an encoder: ten times the published ones
MOST_FAMILY_WEIGHTS = 1 << 29  # of a whole codec of another family than EnCodec: 2 GiB
MOST_FILTER_WEIGHTS = 1 << 24  # of a mel filter bank, which is computed when the model is made
# Far beyond every published model, and few enough that a network of this size is built in no time.
NETWORK = {
    "sampling_rate": (1, 1_000_000),
    "num_bands": (1, 1 << 16),
    "n_fft": (2, 1 << 20),
    "hop_length": (1, 1 << 20),
    "floor_db": (-100, 100),
    "frame_length": (1, 1 << 20),
    "kernel_size": (1, 1 << 10),
    "pool_size": (1, 1 << 10),
    "conv_channels": (1, 1 << 14),
    "dropout": (0, 1),
    "num_directions": (0, 256),
    "bandwidth": (0, 10_000),
    "num_codebooks": (1, 1 << 10),
    "window_temperature": (0.001, 1000),
    "clip_temperature": (0.001, 1000),
    "window_unknown_below": (0, 1),
    "clip_unknown_below": (0, 1),
}
CODEC = {
    "sampling_rate": (1, 1_000_000),
    "audio_channels": (1, 2),
    "hidden_size": (1, 1 << 14),
    "num_filters": (1, 1 << 12),
    "num_residual_layers": (0, 16),
    "upsampling_ratios": (1, 1 << 10),
    "kernel_size": (1, 1 << 10),
    "last_kernel_size": (1, 1 << 10),
    "residual_kernel_size": (1, 1 << 10),
    "dilation_growth_rate": (1, 16),
    "num_lstm_layers": (1, 32),
    "codebook_size": (2, 1 << 16),
    "codebook_dim": (1, 1 << 14),
    "target_bandwidths": (0.001, 10_000),
    "trim_right_ratio": (0, 1),
    "chunk_length_s": (0.001, 86_400),
    "overlap": (0, 0.999),
}
PAD_MODES = ("reflect", "constant", "replicate", "circular")


def check_numbers(config: PreTrainedConfig, num_labels: int | None) -> None:
    """Raise `ValueError` for a number of a configuration that no model can have. `num_labels`: without their names."""
    _check_ranges(config, NETWORK)
    names = config.id2label
    for count in (num_labels, None if names is None else len(names)):
        if count is not None and (not isinstance(count, int) or not 1 <= count <= MOST_LABELS):
            raise ValueError(f"expected num_labels from 1 to {MOST_LABELS}, found {count!r}")
    if names is not None and set(map(str, names)) != set(map(str, range(len(names)))):
        raise ValueError(f"expected id2label with the keys 0 to {len(names) - 1}, found {_short(list(names))}")
    if names is not None and not all(isinstance(name, str) for name in names.values()):
        raise ValueError("expected id2label with names of classes, found one that is no text")
    check_dtype(config.dtype)


def check_dtype(dtype: object) -> None:
    """Raise `ValueError` for a dtype that weights cannot have; the library takes any name that PyTorch has."""
    if dtype is not None and str(dtype).removeprefix("torch.") not in FLOATS:
        raise ValueError(f"expected dtype to be one of {', '.join(FLOATS)}, found {dtype!r}")


def check_encodec(config: EncodecConfig) -> None:
    """Raise `ValueError` for a codec that cannot be built, or not in memory."""
    _check_ranges(config, CODEC)
    ratios = config.upsampling_ratios
    if not 1 <= len(ratios) <= 12:
        raise ValueError(f"expected 1 to 12 upsampling_ratios, found {len(ratios)}")
    if config.hop_length > 1 << 20:
        raise ValueError(f"expected upsampling_ratios whose product is at most {1 << 20}, found {config.hop_length}")
    if not 1 <= config.compress <= config.num_filters:
        raise ValueError(f"expected compress from 1 to num_filters ({config.num_filters}), found {config.compress}")
    if config.pad_mode not in PAD_MODES:
        raise ValueError(f"expected pad_mode to be one of {', '.join(PAD_MODES)}, found {config.pad_mode!r}")
    if config.trim_right_ratio != 1 and not config.use_causal_conv:
        raise ValueError("expected trim_right_ratio 1 without use_causal_conv")
    if config.codebook_size & (config.codebook_size - 1):
        raise ValueError(f"expected codebook_size to be a power of two, found {config.codebook_size}")
    if not len(config.target_bandwidths) or not 1 <= config.num_quantizers <= 1 << 10:
        raise ValueError(
            f"expected target_bandwidths of 1 to {1 << 10} codebooks, found {_short(list(config.target_bandwidths))}"
        )
    if config.chunk_length_s is not None and config.chunk_length < config.hop_length:
        raise ValueError(f"expected chunk_length_s of at least one frame, found {config.chunk_length_s}")
    weights = _encoder_weights(config)
    books = config.num_quantizers * config.codebook_size * config.codebook_dim
    if max(weights, books) > MOST_CODEC_WEIGHTS:
        raise ValueError(
            f"expected a codec whose encoder and whose codebooks have at most {MOST_CODEC_WEIGHTS} weights each, found "
            f"{weights} and {books}"
        )


def check_seconds(name: str, value: float) -> None:
    """Raise `ValueError` for a window or a step of no length, or of one that no sound has."""
    if not 0 < value <= LONGEST_S:
        raise ValueError(f"expected {name} above 0 and at most {LONGEST_S:g} seconds, found {value}")


def check_last_layer(config: PreTrainedConfig) -> None:
    """Raise `ValueError` for a classifier with more weights than anything needs."""
    weights = config.hidden_size * config.num_labels
    if weights > MOST_WEIGHTS:
        settings = "".join(f", {name} {getattr(config, name)}" for name in config.head_class.options)
        raise ValueError(
            f"expected a last layer of at most {MOST_WEIGHTS} weights, found {weights}: window_s {config.window_s}, "
            f"num_bands {config.num_bands}{settings} and {config.num_labels} labels ask for too much"
        )


def check_family(config: PreTrainedConfig, ranges: dict[str, tuple[float, float]], weights: float = 0) -> None:
    """Raise `ValueError` for a number that no codec can have, and for more weights than an encoder may have."""
    _check_ranges(config, ranges)
    if weights > MOST_FAMILY_WEIGHTS:
        raise ValueError(f"expected a codec of at most {MOST_FAMILY_WEIGHTS} weights, found about {weights}")


def check_ratios(name: str, ratios: Sequence[int]) -> None:
    """Raise `ValueError` for strides that are none, too many or too large."""
    if not 1 <= len(ratios) <= 12 or not all(1 <= ratio <= 1 << 10 for ratio in ratios):
        raise ValueError(f"expected {name} of 1 to 12 strides from 1 to {1 << 10}, found {_short(list(ratios))}")
    if math.prod(ratios) > 1 << 20:
        raise ValueError(f"expected {name} whose product is at most {1 << 20}, found {math.prod(ratios)}")


def check_object(file: Path) -> None:
    """Raise `ValueError` where a JSON file holds something else than an object; the library takes that for granted."""
    if not file.is_file():
        return
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: expected JSON, found something else ({error}); the file is damaged") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file}: expected a JSON object, found a {type(value).__name__}; the file is damaged")


def _check_ranges(config: PreTrainedConfig, ranges: dict[str, tuple[float, float]]) -> None:
    for name, (least, most) in ranges.items():
        value = getattr(config, name, None)  # features alone have no network
        several = list(value) if isinstance(value, Sequence) else [value]
        # Types are the dataclass's to check.
        if any(each is not None and not least <= each <= most for each in several):
            raise ValueError(f"expected {name} from {least} to {most}, found {_short(value)}")


def _encoder_weights(config: EncodecConfig) -> int:
    """Weights of the encoder's layers, biases aside."""
    width = config.num_filters
    count = config.audio_channels * width * config.kernel_size
    for ratio in reversed(config.upsampling_ratios):
        hidden = width // config.compress
        block = width * hidden * (config.residual_kernel_size + 1) + width * width * config.use_conv_shortcut
        count += config.num_residual_layers * block + width * 2 * width * 2 * ratio
        width *= 2
    return count + config.num_lstm_layers * 8 * width * width + width * config.hidden_size * config.last_kernel_size


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
