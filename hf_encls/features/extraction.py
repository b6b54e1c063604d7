"""The map step: clips -> fixed windows of features, computed once and cached, in shards that processes share."""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import datasets
import torch
from datasets import Array2D, Dataset, Features, Value
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel

from hf_encls.data.columns import UNKNOWN, class_names
from hf_encls.features.computing import compute
from hf_encls.features.contents import with_digests
from hf_encls.features.labelling import check_labels, labels_identity
from hf_encls.features.shards import Shard, divide, tidy
from hf_encls.model.codec_encls import codec_adapter
from hf_encls.model.configuration_encls import REPRESENTATIONS, EnclsConfig, FeatureConfig, parse_features
from hf_encls.model.identity_encls import codebook_hash, codec_hash
from hf_encls.model.limits_encls import check_seconds

logger = logging.getLogger(__name__)

FORMAT = 1  # raised when the rows of one identity change
# The same for this precision alone; in 1 some processors computed whole layers wrong, in 2 the LSTM was in float32.
BFLOAT16_FORMAT = 4


def feature_config(
    features: str,
    clips: Dataset | None = None,
    codec: PreTrainedModel | None = None,
    *,
    window_s: float = 1.0,
    step_s: float | None = None,
    **settings,
) -> EnclsConfig:
    """The configuration of features as they will really be made: rounded windows, the codec's identity, mel's rate.

    `window_s` and `step_s` (the window's length where None) are rounded to whole frames, and a rounding is logged. Mel
    uses the commonest sampling rate of `clips`; `log_mel` without a `hop_length` has a frame each 12 ms, made of 23 ms.
    Bands that stay empty are logged. `settings` are other fields of `FeatureConfig` and `EnclsConfig`, such as
    `hop_length`, `codec_id`, `codec_revision`, `codec_policy`, `codec_dtype` and `bandwidth`; None leaves a field as it
    is, and what says nothing about this kind of features is passed over.

    Raises `ValueError` for an unknown kind, a codec that does not fit it, and a window too short for the network;
    `TypeError` for a name that is no field.
    """
    representation, rate = parse_features(features)
    unknown = settings.keys() - {field.name for field in fields(EnclsConfig)} - {"num_labels"}
    if unknown:
        raise TypeError(f"expected fields of EnclsConfig, found {', '.join(sorted(unknown))}")
    foreign = {name for each in REPRESENTATIONS.values() for name in each.options} - set(representation.options)
    settings = {name: value for name, value in settings.items() if value is not None and name not in foreign}
    settings |= {name: float(settings[name]) for name in {"floor_db", "bandwidth"} & settings.keys()}
    unit = 1
    if representation.needs_codec:
        if codec is None:
            kinds = " or ".join(each.kind for each in REPRESENTATIONS.values() if not each.needs_codec)
            raise ValueError(f"{features} needs a codec: give one (load_codec), or take {kinds}")
        unit = codec_adapter(codec).hop_length
        settings |= _codec_settings(codec, rate, representation.integers, settings)
    elif "sampling_rate" not in settings:
        settings["sampling_rate"] = _commonest_rate(clips)
    if not {"n_fft", "hop_length"} & settings.keys():  # who names one means the other that always went with it
        settings |= representation.suggested(settings["sampling_rate"])
    lengths = {"window_s": window_s, "step_s": window_s if step_s is None else step_s}
    for name, value in lengths.items():
        check_seconds(name, value)
        lengths[name] = round(value * settings["sampling_rate"] / unit) * unit / settings["sampling_rate"]
        if abs(lengths[name] - value) > 1e-9:
            logger.warning("%s %g is not a whole number of frames: rounded to %g", name, value, lengths[name])
    config = checked_config(features=features, **lengths, **settings)
    empty = representation.empty_bands(config)
    if empty:
        logger.warning(
            "%d of %d mel bands are empty with `n_fft=%d` at %d Hz (%s): each lies between two bins of the spectrum. A "
            "larger `n_fft` fills them",
            *(len(empty), config.num_bands, config.n_fft, config.sampling_rate, ", ".join(map(str, empty))),
        )
    return config


def _codec_settings(codec: PreTrainedModel, rate: int | None, codes: bool, options: Mapping) -> dict:
    """What a configuration says of the codec that makes its latents or `codes`, where `options` leaves it open."""
    adapter = codec_adapter(codec)
    settings = {
        "sampling_rate": rate or adapter.sampling_rate,
        "frame_length": adapter.hop_length,
        "num_bands": adapter.latent_size,
        "codec_config": adapter.as_dict(),
        "codec_hash": codec_hash(codec),
        "codec_policy": options.get("codec_policy") or adapter.default_policy,
    }
    if codes:
        settings["codebook_hash"] = codebook_hash(codec)
        settings["bandwidth"] = options.get("bandwidth") or adapter.highest_bandwidth
        settings["num_codebooks"] = adapter.num_codebooks(codec, settings["bandwidth"])
    return settings


def _commonest_rate(clips: Dataset | None) -> int:
    """The sampling rate in hertz that most clips have, of equally common ones the highest."""
    rates = Counter(clips["sampling_rate"]) if clips is not None else Counter()
    rate = max(rates, key=lambda hz: (rates[hz], hz)) if rates else 44_100
    if len(rates) > 1:
        logger.warning("mel features at %d Hz, the commonest rate; the other clips are resampled", rate)
    return rate


def checked_config(**settings) -> EnclsConfig:
    """An `EnclsConfig` of these settings. Raises `ValueError` where they cannot work."""
    try:
        return EnclsConfig(**settings)
    except StrictDataclassError as error:  # the library's own kind of error; its cause is ours
        raise ValueError(str(error.__cause__ or error)) from error


def feature_identity(config: FeatureConfig) -> dict:
    """The part of a configuration that makes features what they are: two equal ones can be mixed."""
    identity = {"format": FORMAT, **config.identity()}
    return identity | {"bfloat16_format": BFLOAT16_FORMAT} if config.codec_dtype == "bfloat16" else identity


def feature_columns(config: FeatureConfig, label_feature, unknown: bool = False) -> Features:
    """The columns of a feature data set; one row is one window. `unknown`: some labels are (`data.columns`)."""
    dtype = config.representation.stored_dtype
    return Features(
        {
            "input_features": Array2D(shape=config.stored_shape, dtype=dtype),
            "label": label_feature,
            "clip_id": Value("string"),
            "start": Value("float32"),
            "group": Value("string"),
            "fold": Value("int32"),
            "silent": Value("bool"),
            **({UNKNOWN: label_feature} if unknown else {}),
        }
    )


def extract_features(
    clips: Dataset,
    config: FeatureConfig,
    codec: PreTrainedModel | None = None,
    cache_dir: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
) -> Dataset:
    """Windows of features of all clips, from the cache where they are there already.

    Columns: `input_features` (bands, T), for codes (codebooks, T); `label`, `clip_id`, `start` (seconds), `group`,
    `fold`, `silent`, and `unknown` where clips have it. Several processes may call this at once with one `cache_dir`:
    they share the work and all return the same data set. `device` is where the codec computes, None: an accelerator
    where there is one.

    A file that is another one when it is decoded than it was when it was scanned, or when the cache was asked for its
    features, is refused: no features are kept under the identity of another file.

    Raises `ValueError` when the codec is not the one that `config` names, or a clip's file changed meanwhile.
    """
    if config.representation.needs_codec:
        if codec is None or codec_hash(codec) != config.codec_hash:
            raise ValueError(f"expected the codec with hash {config.codec_hash}, found {codec and codec_hash(codec)}")
        # The policy is decided before it becomes part of the features' identity.
        config = FeatureConfig.of(config, codec_config=codec_adapter(codec).as_dict())
    clips = with_digests(clips)
    shards = plan_shards(clips, config, cache_dir)
    if not shards:
        raise ValueError("expected at least one clip, found none")
    missing = [shard for shard in shards if not shard.is_complete()]
    if missing:
        columns = feature_columns(config, clips.features["label"], UNKNOWN in clips.features)
        compute(clips, config, codec, columns, missing, device)
    tidy(shards)
    windows = datasets.concatenate_datasets([Dataset.from_file(str(shard.path)) for shard in shards])
    if "segments" in clips.column_names:
        check_labels(windows, clips["min_overlap"][0])
    return windows


def plan_shards(clips: Dataset, config: FeatureConfig, cache_dir: str | os.PathLike | None = None) -> list[Shard]:
    """How the work is divided: a function of the clips and the kind of features, never of who does it."""
    clips, names = with_digests(clips), list(class_names(clips.features))
    identity = {
        "features": feature_identity(config),
        "classes": names,
        "clips": list(zip(*(clips[name][:] for name in ("clip_id", "label", "group", "fold", "digest")), strict=True)),
    }
    if "segments" in clips.column_names:
        identity["labels"] = labels_identity(clips)
    if UNKNOWN in clips.column_names:
        identity[UNKNOWN] = clips[UNKNOWN][:]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    root = Path(cache_dir) if cache_dir else Path(datasets.config.HF_DATASETS_CACHE) / "hf_encls"
    folder = root / f"{config.feature_name}-{key[:16]}"
    return divide(clips["duration_s"], folder, key)
