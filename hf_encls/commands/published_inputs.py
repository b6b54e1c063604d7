"""Training on published features: their windows, their configuration, and the codec they came from."""

from dataclasses import fields
from pathlib import Path

from transformers import PreTrainedModel

from hf_encls.codec.loading import load_codec
from hf_encls.commands.inputs import Inputs, check_applies
from hf_encls.commands.train_arguments import DataArguments
from hf_encls.data.columns import SMALL, UNKNOWN
from hf_encls.features.checks import check_all_windows, check_groups
from hf_encls.hub.pull_features import check_expected, expected_clips, load_facts, load_published
from hf_encls.model.codec_encls import codec_adapter
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.identity_encls import codebook_hash, codec_hash

COMPARED = ("step_s", "hop_length", "n_fft", "floor_db", "codec_revision", "codec_policy", "codec_dtype", "bandwidth")
ABOUT_AUDIO = (
    *(
        "data_name",
        "labels",
        "multi_label",
        "min_overlap",
        "unlabelled",
        "tier",
        "label_column",
        "groups",
        "strict",
        "cache_dir",
    ),
    "rescan",
)


def published_inputs(args: DataArguments, network: dict) -> Inputs:
    """The windows of `args.dataset`. `network` goes into the configuration.

    Raises `ValueError` where the features are others than the options ask for, and for options about audio: there is
    none.
    """
    if args.data_dir is not None:
        raise ValueError("expected --data_dir (audio) or --dataset (published features), found both")
    for name in ABOUT_AUDIO:
        if getattr(args, name):
            raise ValueError(
                f"--{name} is about reading audio and was given with --dataset, whose features are ready: leave it out"
            )
    place = (args.dataset, args.dataset_config or args.features)
    facts, config, revision = load_facts(*place, args.dataset_revision)
    where = f"{place[0]} ({place[1]})"
    check_expected(config, {"window_s": args.window_s}, where)
    _compare(args, config, " ".join(place))
    codec = codec_of(config, args.codec, args.codec_revision) if args.codec or config.representation.integers else None
    published = load_published(*place, revision=revision, streaming=args.streaming)
    windows, config = published.windows, published.config
    stream = None
    if args.streaming:
        from hf_encls.features.streaming import small_table

        stream = windows
        columns = [*SMALL, *({UNKNOWN} & set(stream.features))]
        small = load_published(*place, revision=revision, streaming=True, columns=columns)
        windows = small_table(small.windows, where)
    elif config.representation.integers:
        check_all_windows(windows, where, codec_adapter(codec).codebook_size)
    check_groups(windows, where)
    config = EnclsConfig.of(config, **network)
    dataset_id = None if Path(args.dataset).is_dir() else args.dataset
    return Inputs(
        windows,
        config,
        published.source,
        codec,
        dataset_id=dataset_id,
        stream=stream,
        stream_name=where,
        codec_facts=published.codec,
        num_clips=facts.get("num_clips"),
        expected_clips=expected_clips(facts),
        labels=(facts.get("about_source") or {}).get("labels"),
    )


def codec_of(config: EnclsConfig, name: str | None = None, revision: str | None = None) -> PreTrainedModel:
    """The codec that made published features, from where it says or from `name`.

    Raises `ValueError` where it cannot be had or is another one.
    """
    name, revision = (name, revision) if name else (config.codec_id, config.codec_revision)
    codec = load_codec(name, revision)
    hashes = {"encoder": (config.codec_hash, codec_hash(codec))}
    if config.representation.integers:
        hashes["codebooks"] = (config.codebook_hash, codebook_hash(codec))
    for part, (expected, actual) in hashes.items():
        if actual != expected:
            raise ValueError(
                f"expected the codec that made these features ({config.codec_id}, {part} {_short(expected)}), found another "
                f"one at {name} ({part} {_short(actual)}): name the folder of the right one with --codec"
            )
    return codec


def _compare(args: DataArguments, config: EnclsConfig, where: str) -> None:
    default = next(field.default for field in fields(args) if field.name == "features")
    if args.features not in (default, config.features, config.feature_name):
        actual = config.feature_name
        raise ValueError(f"expected features {args.features}, found {actual} in {where}: take one of the two")
    check_applies(args, config.feature_name)
    settings = {name: getattr(args, name) for name in COMPARED if getattr(args, name) is not None}
    if args.codec:  # it is compared by its weights, wherever it comes from
        settings.pop("codec_revision", None)
    check_expected(config, settings, where)


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"
