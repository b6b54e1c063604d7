"""The map step: clips -> fixed windows of features, computed once and cached, in shards that processes share."""

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import datasets
import numpy as np
import torch
from datasets import Array2D, Dataset, Features, Value
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel

from hf_encls.audio import AudioError, downmix, read, resample
from hf_encls.data.columns import DIVISION, UNKNOWN, class_names
from hf_encls.fast.openvino_tiles import is_worth_it, openvino_convolutions
from hf_encls.features.contents import opened, with_digests
from hf_encls.features.labelling import check_labels, labelled, labels_identity
from hf_encls.features.progress import Progress
from hf_encls.features.shards import Shard, complete, divide
from hf_encls.files import writing
from hf_encls.model.codec_encls import codec_adapter
from hf_encls.model.configuration_encls import REPRESENTATIONS, EnclsConfig, FeatureConfig, parse_features
from hf_encls.model.identity_encls import codebook_hash, codec_hash
from hf_encls.model.limits_encls import check_seconds
from hf_encls.model.representation_encls import Representation

logger = logging.getLogger(__name__)

FORMAT = 1  # raised when the rows of one identity change
# The same for this precision alone; in 1 some processors computed whole layers wrong, in 2 the LSTM was in float32.
BFLOAT16_FORMAT = 3
BATCH_S = 120.0  # seconds of audio that go through the codec together: its LSTM likes a dozen clips side by side
READERS = min(8, os.cpu_count() or 1)  # threads that decode the clips of a batch
SILENCE = 2.0**-15  # a window that stays below one step of 16-bit audio is pure silence


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
        _compute(clips, config, codec, missing, device)
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
        "clips": [
            [row["clip_id"], row["label"], row["group"], row["fold"], row["digest"]]
            for row in clips.remove_columns("audio")
        ],
    }
    if "segments" in clips.column_names:
        identity["labels"] = labels_identity(clips)
    if UNKNOWN in clips.column_names:
        identity[UNKNOWN] = clips[UNKNOWN][:]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    root = Path(cache_dir) if cache_dir else Path(datasets.config.HF_DATASETS_CACHE) / "hf_encls"
    folder = root / f"{config.feature_name}-{key[:16]}"
    return divide(clips["duration_s"], folder, key)


def _compute(
    clips: Dataset, config: FeatureConfig, codec: PreTrainedModel | None, missing: list[Shard], device: str | None
) -> None:
    extractor = None
    audio_s = sum(clips["duration_s"])  # of all clips, whatever is missing: it decides how they are computed
    with Progress(sum(shard.duration_s for shard in missing), config) as progress:

        def compute(shard: Shard) -> None:
            nonlocal extractor  # made for the first shard: there may be none left for this process
            extractor = extractor or Extractor(config, codec, device, audio_s, len(class_names(clips.features)))
            with writing(shard.path):
                _write(clips, config, shard, extractor, progress)

        complete(missing, compute, lambda shard: progress.skip(shard.duration_s))


def _write(clips: Dataset, config: FeatureConfig, shard: Shard, extractor: "Extractor", progress: Progress) -> None:
    work = shard.path.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)  # of a worker that was killed: the lock says that nobody is in it
    work.mkdir()
    part = clips.select(shard.clips)
    # An accelerator takes a whole shard: how many tiles go through it at once is a question of its memory.
    batch_s = BATCH_S if extractor.device.type == "cpu" else shard.duration_s
    per_batch = max(1, round(batch_s * len(part) / max(shard.duration_s, 1e-9)))

    def rows(batch: dict) -> dict:
        out = extractor(batch)
        progress.add(sum(batch["duration_s"]), len(out["start"]))
        return out

    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()  # one bar for all shards instead
    try:
        part.map(
            rows,
            batched=True,
            batch_size=per_batch,
            remove_columns=part.column_names,
            features=feature_columns(config, clips.features["label"], UNKNOWN in clips.features),
            # A codec cannot be pickled, so the library could not make a fingerprint of it.
            new_fingerprint=shard.fingerprint,
            cache_file_name=str(work / "rows.arrow"),
            writer_batch_size=100,
        )
    finally:
        if bars:
            datasets.enable_progress_bars()
    shard.publish(work / "rows.arrow")
    shutil.rmtree(work, ignore_errors=True)


class Extractor:
    """Clips of a batch -> rows of windows. `audio_s`: seconds of audio that are to come; `num_labels`: classes."""

    def __init__(
        self,
        config: FeatureConfig,
        codec: PreTrainedModel | None,
        device: str | torch.device | None = None,
        audio_s: float = 0.0,
        num_labels: int = 0,
    ):
        self.config = config
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.frontend = frontend_of(config, codec).to(self.device).eval()
        self.dtype = np.dtype(config.representation.stored_dtype)
        self.num_labels = num_labels
        if self.device.type == "cpu" and self.frontend.takes_convolutions and is_worth_it(audio_s):
            self.frontend.convolutions = openvino_convolutions(self.frontend.codec, self.frontend.dtype)

    def __call__(self, batch: dict) -> dict:
        with ThreadPoolExecutor(READERS) as pool:
            waveforms = list(pool.map(self._read, batch["audio"], batch["digest"], batch["duration_s"]))
        with torch.inference_mode():
            windows = self.frontend.stored_windows(
                [torch.from_numpy(waveform).to(self.device) for waveform in waveforms]
            )
        counts = [len(clip) for clip in windows]
        repeated = {
            name: [value for value, count in zip(batch[name], counts, strict=True) for _ in range(count)]
            for name in (*DIVISION, UNKNOWN)
            if name in batch
        }
        rows = {
            "start": np.concatenate([self.config.window_starts_s(count) for count in counts]),
            "silent": np.concatenate([self._silent(w, count) for w, count in zip(waveforms, counts, strict=True)]),
            **repeated,
        }
        if "segments" in batch:
            windows, rows = labelled(batch, windows, rows, self.config, self.num_labels)
        values = torch.cat(windows).cpu().numpy()
        self._check(values, np.asarray(rows["clip_id"]))
        return {"input_features": values.astype(self.dtype), **rows}

    def of_sound(self, waveform: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """One sound (N,) at the features' rate -> its windows as they are kept (W, C, T), and which are silence (W,)."""
        with torch.inference_mode():
            (windows,) = self.frontend.stored_windows([torch.from_numpy(waveform).to(self.device)])
        values = windows.cpu().numpy()
        self._check(values, np.repeat("the sound", len(values)))
        silent = self._silent(waveform, len(values))
        kept = values.astype(self.dtype)
        return torch.from_numpy(kept.view(np.int16) if kept.dtype == np.uint16 else kept), silent

    def _check(self, values: np.ndarray, clip_ids: np.ndarray) -> None:
        """Raise `ValueError` where windows (W, C, T) hold what cannot be trained on; the first such clip is named."""
        finite = np.isfinite(values)
        if not finite.all():
            first = clip_ids[np.flatnonzero(~finite.all(axis=(1, 2)))[0]]
            fault = f"expected finite {self.config.feature_name}, found NaN or infinity in those of {first}"
            raise ValueError(
                f"{fault}: the codec's weights or its precision ({self.config.codec_dtype}) do not work here; load the "
                "codec again, or take `codec_dtype=float32`"
                if self.config.representation.needs_codec
                else f"{fault}: is the audio within -1 to 1?"
            )
        largest = np.finfo(np.float16).max
        if self.dtype == np.float16 and values.size and np.abs(values).max() > largest:
            first = clip_ids[np.flatnonzero((np.abs(values) > largest).any(axis=(1, 2)))[0]]
            raise ValueError(
                f"expected latents within float16, found larger ones in those of {first}: is its audio within -1 to 1, "
                "and is this codec trained and loaded whole?"
            )

    def _read(self, audio: dict, digest: str, duration_s: float) -> np.ndarray:
        """(N,) at the features' rate. What is decoded are the very bytes whose checksum is compared."""
        name = audio["path"]
        with opened(audio) as file:
            data = file.read()
        changed = f"{name} changed while features were made: leave the files as they are, and start again"
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError(changed)
        try:
            samples, rate = read(data)
        except AudioError as error:
            raise ValueError(f"{name} {error}; it was fine when the folder was scanned") from error
        if len(samples) / rate != duration_s:
            raise ValueError(changed)
        return resample(downmix(samples), rate, self.config.sampling_rate)

    def _silent(self, waveform: np.ndarray, count: int) -> np.ndarray:
        """Which windows (count,) hold pure silence, the mirrored end of the last one included."""
        length, size = len(waveform), self.config.window_samples
        starts = np.round(self.config.window_starts_s(count) * self.config.sampling_rate).astype(int)
        beyond = np.maximum(0, starts + size - length)
        first = np.maximum(0, np.minimum(starts, length - 1 - beyond))
        return np.array([np.abs(waveform[a : b + size]).max() < SILENCE for a, b in zip(first, starts, strict=True)])


def frontend_of(config: FeatureConfig, codec: PreTrainedModel | None) -> Representation:
    """A frontend with the weights of `codec` in it, ready to compute."""
    frontend = config.representation(config)
    if codec is not None and config.representation.needs_codec:
        frontend.copy_codec(codec)
    return frontend
