"""From command line arguments to windows of features: what training, extraction and publishing have in common."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
from accelerate import PartialState
from datasets import Dataset, IterableDataset
from transformers import EncodecModel

from hf_encls.codec.loading import DEFAULT_CODECS, bundled_codecs, codec_facts, load_codec, short_name
from hf_encls.commands.outputs import check_folder, writing
from hf_encls.data.folders import ScanReport
from hf_encls.data.load import load_clips
from hf_encls.data.synthetic import write_synthetic
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.model.configuration_encls import EnclsConfig, codec_khz

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
            "help": "encodec_24khz, encodec_48khz (latents), encodec_24khz_codes, encodec_48khz_codes, mel, log_mel."
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
    clips: Dataset | None = None
    codec_facts: dict = field(default_factory=dict)


def prepare(args: FeatureArguments, **network) -> Inputs:
    """Scan the folder, load the codec, compute the features. `network` goes into the configuration.

    Raises `ValueError` for anything that a user can mend: paths, names, files, lengths.
    """
    check_applies(args, args.features)
    if args.cache_dir is not None:
        check_folder(args.cache_dir, "--cache_dir")
    state = PartialState()
    synthetic = args.data_dir is None
    data_dir = args.data_dir
    if synthetic and args.data_name is not None:
        raise ValueError("--data_name says what --data_dir is and was given without it: give both, or leave it out")
    if synthetic:
        data_dir = SYNTHETIC_FOLDER
        with state.main_process_first(), writing(data_dir):
            write_synthetic(data_dir)
    clips, report, facts = load_clips(data_dir, args.data_name, strict=args.strict)
    if state.is_main_process:
        print(report.text(), flush=True)
    codec, codec_id, told = None, None, {}
    khz = codec_khz(args.features)
    if khz is not None:
        name = args.codec or (_offline_codec(khz) if synthetic else None) or DEFAULT_CODECS.get(khz)
        if name is None:
            raise ValueError(f"no default codec is known for {args.features}: name one with --codec")
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
    with writing(args.cache_dir or datasets.config.HF_DATASETS_CACHE):
        windows = extract_features(clips, config, codec, args.cache_dir, device=state.device)
    name = facts.title if facts else ("synthetic sounds" if synthetic else Path(data_dir).resolve().name)
    return Inputs(windows, config, name, codec, report, facts, clips=clips, codec_facts=told)


def check_applies(args: FeatureArguments, features: str) -> None:
    """Raise `ValueError` for an option of the codec or of mel that says nothing about features of this kind."""
    if codec_khz(features) is None:
        for name in ("codec", "codec_revision", "codec_policy", "codec_dtype", "bandwidth"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name} is about a codec and was given, but {features} needs none: leave it out")
        return
    if args.hop_length is not None:
        raise ValueError(f"--hop_length is about mel and was given, but {features} is of a codec: leave it out")
    if args.bandwidth is not None and not features.endswith("_codes"):
        raise ValueError(
            f"--bandwidth is about codes and was given, but {features} are latents: leave it out, or take --features "
            f"{features}_codes"
        )


def _offline_codec(khz: int) -> str | None:
    if khz != 24:
        return None
    return next(name for name in OFFLINE_CODECS if name in (*bundled_codecs(), "untrained"))
