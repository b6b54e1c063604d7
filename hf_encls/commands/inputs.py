"""From command line arguments to windows of features: what training, extraction and publishing have in common."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import datasets
from accelerate import PartialState
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel

from hf_encls.codec.facts import CodecFacts, with_licence
from hf_encls.codec.loading import bundled_codecs, codec_facts, is_here, load_codec, short_name
from hf_encls.codec.published import DEFAULT_CODECS, DEFAULT_HZ
from hf_encls.commands.feature_arguments import FeatureArguments
from hf_encls.commands.outputs import check_folder
from hf_encls.commands.own_folder import window_for
from hf_encls.commands.parser import as_options
from hf_encls.data.facts import DatasetFacts, title_of
from hf_encls.data.folders import ScanReport
from hf_encls.data.groups import with_groups
from hf_encls.data.known_files import remembering
from hf_encls.data.labelled import TimeLabels
from hf_encls.data.load import FOLDER, load_clips, load_sounds, module_of
from hf_encls.data.synthetic import write_synthetic
from hf_encls.features.contents import with_digests
from hf_encls.features.extraction import checked_config, extract_features, feature_config
from hf_encls.files import writing
from hf_encls.model.configuration_encls import REPRESENTATIONS, EnclsConfig, family_of, parse_features
from hf_encls.model.encodec_encls import EncodecAdapter
from hf_encls.model.limits_encls import check_seconds

logger = logging.getLogger(__name__)

SYNTHETIC_FOLDER = "synthetic_sounds"
# Where no network is needed: the bundled codec where there is one.
OFFLINE_CODECS = ("mini", "untrained")
HIGHEST_HZ = 768_000  # no audio has a higher rate


@dataclass
class Inputs:
    """Windows of features, and all that is known of where they came from.

    Where the windows are streamed, `windows` has only their small columns and `stream` has them all. `codec_facts` is
    what is known of the codec's training.
    """

    windows: Dataset
    config: EnclsConfig
    dataset: str
    codec: PreTrainedModel | None = None
    report: ScanReport | None = None
    facts: Any = None
    dataset_id: str | None = None
    stream: IterableDataset | None = None
    stream_name: str | None = None  # for errors
    clips: Dataset | None = None
    codec_facts: CodecFacts | None = None
    num_clips: int | None = None
    labels: dict | None = None  # the rule by which windows got their labels from labels in time
    expected_clips: int | None = None  # how many the data set has, where it is a known one


def prepare(
    args: FeatureArguments,
    check_clips: Callable[[Dataset], object] | None = None,
    needs_classes: bool = True,
    **network,
) -> Inputs:
    """Scan the folder, load the codec, compute the features. `network` goes into the configuration.

    `check_clips` is called with the clips before anything is fetched or computed for them. `needs_classes`: False where
    any folder of sounds will do. Raises `ValueError` for
    anything that a user can mend: paths, names, files, lengths.
    """
    codec, config = check_options(args, **network)
    state = PartialState()
    synthetic = args.data_dir is None
    data_dir = args.data_dir
    if synthetic:
        data_dir = SYNTHETIC_FOLDER
        with state.main_process_first(), writing(data_dir):
            write_synthetic(data_dir)
    labels = args.time_labels()
    clips, report, facts = scan(args, data_dir, labels, needs_classes)
    if check_clips is not None:
        check_clips(clips)
    if args.window_of_clips:
        args, config = replace(args, window_s=window_for(clips)), None
        if state.is_main_process:
            print(f"windows of {args.window_s:g} s", flush=True)
    name = _codec_asked_for(args)
    if name is not None and codec is None:
        codec = load_codec(name, args.codec_revision)
    if config is None:
        config = _config(args, clips, codec, **network)
    # Every process takes part; they share the work through the cache folder.
    with writing(args.cache_dir or datasets.config.HF_DATASETS_CACHE):
        windows = extract_features(clips, config, codec, args.cache_dir, device=state.device)
    title = "synthetic sounds" if synthetic else title_of(facts, data_dir)
    return Inputs(
        windows,
        config,
        title,
        codec,
        report,
        facts,
        clips=clips,
        codec_facts=None if name is None else with_licence(codec_facts(name), args.codec_revision),
        num_clips=report.used,
        labels=labels.rule() if "segments" in clips.column_names else None,
        expected_clips=report.expected,
    )


def scan(
    args: FeatureArguments, data_dir: str, labels: TimeLabels | None = None, needs_classes: bool = True
) -> tuple[Dataset, ScanReport, DatasetFacts | None]:
    """The clips of a folder with their checksums, the report of what was left out, which is printed, and its facts.

    Raises `ValueError` as `load_clips` does.
    """
    load, cache_dir = load_clips if needs_classes else load_sounds, args.cache_dir or datasets.config.HF_DATASETS_CACHE
    with writing(cache_dir), remembering(data_dir, Path(cache_dir) / "hf_encls", args.rescan):
        clips, report, facts = load(data_dir, args.data_name, strict=args.strict, labels=labels)
        clips = with_digests(clips)
    if args.groups is not None:
        clips = with_groups(clips, args.groups)
    if PartialState().is_main_process:
        print(as_options(report.text()), flush=True)
    return clips, report, facts


def check_options(args: FeatureArguments, **network) -> tuple[PreTrainedModel, EnclsConfig] | tuple[None, None]:
    """Raise `ValueError` for what is wrong with these options whatever the sounds are, before a file of them is read.

    Returns the codec and the configuration where that codec is on this machine; nothing is fetched.
    """
    if args.data_dir is None and args.data_name is not None:
        raise ValueError("--data_name says what --data_dir is and was given without it: give both, or leave it out")
    args.time_labels()
    if args.data_name not in (None, FOLDER):
        module_of(args.data_name)
    if args.cache_dir is not None:
        check_folder(args.cache_dir, "--cache_dir")
    if args.data_dir == "":
        raise ValueError("expected a folder at --data_dir, found no name")
    check_applies(args, args.features)
    for option in ("window_s", "step_s"):
        if getattr(args, option) is not None:
            check_seconds(f"`{option}`", getattr(args, option))
    if args.hop_length is not None and args.hop_length < 1:
        raise ValueError(f"expected --hop_length of 1 or more, found {args.hop_length}")
    if args.n_fft is not None and args.n_fft < 2:
        raise ValueError(f"expected --n_fft of 2 or more, found {args.n_fft}")
    name = _codec_asked_for(args)
    if name is not None and is_here(name):
        codec = load_codec(name, args.codec_revision)
        return codec, _config(args, None, codec, **network)
    lengths = {"window_s": args.window_s, "step_s": args.window_s if args.step_s is None else args.step_s}
    if name is None:  # the rate of mel is that of the sounds: what is too short at any rate is told now
        rate = {"sampling_rate": HIGHEST_HZ, "hop_length": args.hop_length or 128, "n_fft": args.n_fft or 512}
        rate |= {"floor_db": args.floor_db}
        checked_config(features=args.features, **lengths, **rate | network)
    else:
        precision = {"codec_policy": args.codec_policy, "codec_dtype": args.codec_dtype or "float32"}
        rate = {"sampling_rate": parse_features(args.features)[1] or DEFAULT_HZ}
        checked_config(features=args.features, **lengths, **precision, **rate | network)
    return None, None


def _codec_asked_for(args: FeatureArguments) -> str | None:
    """The codec that makes these features: the published one where none is named; for sounds made here one that needs no
    network. None where they need none.
    """
    representation, rate = parse_features(args.features)
    if not representation.needs_codec or args.codec is not None:
        return args.codec
    rate = rate or DEFAULT_HZ
    if family_of(args.features) not in (None, EncodecAdapter.model_type):
        raise ValueError(f"no default codec is known for {args.features}: name one with --codec")
    if args.data_dir is None and rate == DEFAULT_HZ:
        return next(name for name in OFFLINE_CODECS if name in (*bundled_codecs(), "untrained"))
    if rate not in DEFAULT_CODECS:
        raise ValueError(f"no default codec is known for {args.features}: name one with --codec")
    return DEFAULT_CODECS[rate]


def _config(args: FeatureArguments, clips: Dataset | None, codec: PreTrainedModel | None, **network) -> EnclsConfig:
    name = _codec_asked_for(args)
    options = {option for each in REPRESENTATIONS.values() for option in each.options} - {"codec"}
    settings = {field.name: getattr(args, field.name) for field in fields(args) if field.name in options}
    return feature_config(
        args.features,
        clips,
        codec,
        window_s=args.window_s,
        step_s=args.step_s,
        codec_id=None if name is None else short_name(name),
        **settings,
        **network,
    )


def check_applies(args: FeatureArguments, features: str) -> None:
    """Raise `ValueError` for an unknown kind of features, and for an option that says nothing about this kind."""
    representation, _ = parse_features(features)
    foreign = {name for each in REPRESENTATIONS.values() for name in each.options} - set(representation.options)
    for name in sorted(foreign & {each.name for each in fields(args)}):
        if getattr(args, name) is not None:
            where = [each.kind for each in REPRESENTATIONS.values() if name in each.options]
            raise ValueError(
                f"--{name} is about {' and '.join(where)} and was given, but not with {features}: leave it out"
            )
