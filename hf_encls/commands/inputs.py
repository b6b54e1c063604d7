"""From command line arguments to windows of features: what training, extraction and publishing have in common."""

import logging
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset, IterableDataset
from transformers import EncodecModel

from hf_encls.codec.loading import bundled_codecs, codec_facts, load_codec, short_name
from hf_encls.codec.published import DEFAULT_CODECS
from hf_encls.data.folders import ScanReport
from hf_encls.data.load import load_clips
from hf_encls.data.synthetic import write_synthetic
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.model.configuration_encls import REPRESENTATIONS, EnclsConfig, parse_features

logger = logging.getLogger(__name__)

SYNTHETIC_FOLDER = "synthetic_sounds"
# Where no network is needed: the bundled codec where there is one.
OFFLINE_CODECS = ("mini", "untrained")


@dataclass
class FeatureArguments:
    """Which audio, and which features of it."""

    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of class-named folders of audio, or of a known data set. None: synthetic sounds."},
    )
    data_name: str | None = field(
        default=None,
        metadata={
            "help": "What data_dir is: esc50, esc10, gtzan_genres, gtzan_music_speech, folder. None: recognised."
        },
    )
    strict: bool = field(
        default=False, metadata={"help": "Stop when a file cannot be used, instead of leaving it out."}
    )
    features: str = field(
        default="encodec_24khz",
        metadata={
            "help": "latents or codes (of --codec), mel, log_mel; encodec_24khz, encodec_48khz: latents at that rate; "
            "encodec_24khz_codes, ...: codes."
        },
    )
    window_s: float = field(default=1.0, metadata={"help": "Length of a window in seconds."})
    step_s: float | None = field(
        default=None, metadata={"help": "Seconds between the starts of windows. None: the window's length."}
    )
    hop_length: int | None = field(
        default=None, metadata={"help": "Samples between the frames of mel features. None: 128."}
    )
    codec: str | None = field(
        default=None,
        metadata={
            "help": "EncodecModel: Hub id, local folder, or a bundled name. None: facebook/encodec_24khz or _48khz; for "
            "the synthetic sounds the bundled codec, which needs no network."
        },
    )
    codec_revision: str | None = field(default=None, metadata={"help": "Revision of the codec on the Hub."})
    codec_policy: str | None = field(
        default=None,
        metadata={
            "help": "How clips go through the codec: whole, contiguous, codec. None: whole at 24 kHz, contiguous at 48."
        },
    )
    codec_dtype: str | None = field(
        default=None, metadata={"help": "Precision of the codec: float32, tf32 (on a GPU) or bfloat16. None: float32."}
    )
    bandwidth: float | None = field(
        default=None, metadata={"help": "Bandwidth of codes in kbit/s. None: the codec's highest."}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Where features are cached. None: beside datasets' cache."}
    )


@dataclass
class Inputs:
    """Windows of features, and all that is known of where they came from.

    Where the windows are streamed, `windows` has only their small columns and `stream` has them all. `codec_facts` is
    what is known of the codec's training (`untrained`, `trained_on`).
    """

    windows: Dataset
    config: EnclsConfig
    dataset: str
    codec: EncodecModel | None = None
    report: ScanReport | None = None
    facts: Any = None
    dataset_id: str | None = None
    stream: IterableDataset | None = None
    stream_name: str | None = None  # for errors
    clips: Dataset | None = None
    codec_facts: dict = field(default_factory=dict)


def prepare(args: FeatureArguments, **network) -> Inputs:
    """Scan the folder, load the codec, compute the features. `network` goes into the configuration.

    Raises `ValueError` for anything that a user can mend: paths, names, files, lengths.
    """
    check_applies(args, args.features)
    state = PartialState()
    synthetic = args.data_dir is None
    data_dir = args.data_dir
    if synthetic and args.data_name is not None:
        raise ValueError("--data_name says what --data_dir is and was given without it: give both, or leave it out")
    if synthetic:
        data_dir = SYNTHETIC_FOLDER
        with state.main_process_first():
            write_synthetic(data_dir)
    clips, report, facts = load_clips(data_dir, args.data_name, strict=args.strict)
    if state.is_main_process:
        print(report.text(), flush=True)
    codec, codec_id, told = None, None, {}
    representation, rate = parse_features(args.features)
    if representation.needs_codec:
        name = args.codec or _default_codec(args.features, rate, offline=synthetic)
        codec = load_codec(name, args.codec_revision)
        codec_id, told = short_name(name), codec_facts(name)
    config = feature_config(
        args.features,
        clips,
        codec,
        window_s=args.window_s,
        step_s=args.step_s,
        hop_length=args.hop_length or 128,
        codec_id=codec_id,
        codec_revision=args.codec_revision,
        codec_policy=args.codec_policy,
        codec_dtype=args.codec_dtype or "float32",
        bandwidth=args.bandwidth,
        **network,
    )
    # Every process takes part; they share the work through the cache folder.
    windows = extract_features(clips, config, codec, args.cache_dir, device=state.device)
    name = facts.title if facts else ("synthetic sounds" if synthetic else Path(data_dir).resolve().name)
    return Inputs(windows, config, name, codec, report, facts, clips=clips, codec_facts=told)


def check_applies(args: FeatureArguments, features: str) -> None:
    """Raise `ValueError` for an unknown kind of features, and for an option that says nothing about this kind."""
    representation, _ = parse_features(features)
    others = {name for each in REPRESENTATIONS.values() for name in each.options} - set(representation.options)
    for name in sorted(others & {each.name for each in fields(args)}):
        if getattr(args, name) is not None:
            where = [each.kind for each in REPRESENTATIONS.values() if name in each.options]
            raise ValueError(
                f"--{name} is about {' and '.join(where)} and was given, but not with {features}: leave it out"
            )


def _default_codec(features: str, rate: int | None, offline: bool) -> str:
    """The codec where none is named: the published one; for sounds made here one that needs no network."""
    rate = rate or 24_000
    if offline and rate == 24_000:
        return next(name for name in OFFLINE_CODECS if name in (*bundled_codecs(), "untrained"))
    if rate not in DEFAULT_CODECS:
        raise ValueError(f"no default codec is known for {features}: name one with --codec")
    return DEFAULT_CODECS[rate]
