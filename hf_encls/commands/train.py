"""Train a classifier on a folder of sounds, or on published features.

    python scripts/train.py                                             # synthetic sounds, no network needed
    accelerate launch scripts/train.py --data_dir my_sounds --features log_mel --output_dir my_model
    torchrun --nproc_per_node 2 scripts/train.py --dataset USER/FEATURES --features encodec_24khz
    python scripts/train.py settings.yaml                               # the same options in one file

Every option of transformers' TrainingArguments works too. The output folder holds the model with its code, results.json,
the learning curves, a confusion matrix and a card.
"""

import copy
import logging
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import transformers
from transformers import EncodecModel

from hf_encls.cards import codec_warning, has_heard
from hf_encls.codec.loading import codebook_hash, codec_facts, load_codec
from hf_encls.commands.inputs import Inputs
from hf_encls.commands.inputs import prepare as prepare_features
from hf_encls.commands.train_arguments import DataArguments, parse
from hf_encls.commands.train_run import train_once
from hf_encls.data.splits import official_folds
from hf_encls.hub.configuration_encls import EnclsConfig
from hf_encls.results import folds_table, over_folds, usage, write_json


def main(args: list[str] | None = None) -> dict:
    """Train as `args` (command line arguments) say, and return what `results.json` holds.

    Under the protocol `official` without `--fold`, every fold is trained in a folder of its own, and the results are
    their mean and standard deviation. Raises `ValueError` for what a user can mend.
    """
    command = list(sys.argv[1:] if args is None else args)
    model_args, data_args, training_args = parse(command)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    transformers.utils.logging.disable_progress_bar()  # its bars for weights would break up the one of training
    # Not the Trainer's business: its own push sends checkpoints and a pickle of the arguments.
    push_to_hub, training_args.push_to_hub = training_args.push_to_hub, False
    folder = Path(training_args.output_dir)
    started = time.monotonic()
    inputs = _inputs(data_args, {"standardization": model_args.standardization, "dropout": model_args.dropout})
    features_s = time.monotonic() - started
    folds = official_folds(inputs.windows) if data_args.protocol == "official" and data_args.fold is None else [None]
    if len(folds) > 1 and push_to_hub:
        raise ValueError("expected one model to publish, found one for each fold: name one with --fold")
    codec = _codec(inputs, data_args)
    if training_args.process_index == 0 and codec_warning({"codec": codec, "dataset": inputs.dataset}):
        print(codec_warning({"codec": codec, "dataset": inputs.dataset}).replace("*", "").replace("`", ""), flush=True)
    about = {"codec": codec, "command": ["scripts/train.py", *command], "versions": versions()}
    runs = {}
    for fold in folds:
        own = copy.copy(training_args)
        own.output_dir = str(folder / f"fold-{fold}") if len(folds) > 1 else str(folder)
        chosen = data_args.fold if fold is None else fold
        runs[fold] = train_once(inputs, own, data_args.protocol, chosen, data_args.memory_limit_gb, features_s, about)
    results = runs[folds[0]] if len(folds) == 1 else over_folds(runs)
    if training_args.process_index == 0:
        if len(folds) > 1:
            write_json(results, folder / "results.json")
            print(folds_table(results))
        print(usage(results, folder if len(folds) == 1 else folder / f"fold-{folds[0]}", _example(inputs)))
        if push_to_hub:
            from hf_encls.publishing import push_model

            name = training_args.hub_model_id or folder.resolve().name
            print(push_model(folder, name, private=training_args.hub_private_repo, token=training_args.hub_token))
    return results


def versions() -> dict[str, str]:
    """Versions of what a score depends on."""
    names = ("hf_encls", "torch", "transformers", "datasets", "accelerate", "soundfile", "soxr", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def _inputs(args: DataArguments, network: dict) -> Inputs:
    if args.dataset is None:
        return prepare_features(args, **network)
    if args.data_dir is not None:
        raise ValueError("expected --data_dir (audio) or --dataset (published features), found both")
    from hf_encls.published import load_published

    which = (args.dataset, args.dataset_config or args.features)
    settings = {"revision": args.dataset_revision, "expected": {"window_s": args.window_s}}
    windows, config, source = load_published(*which, **settings, streaming=args.streaming)
    stream = None
    if args.streaming:
        from hf_encls.streaming import SMALL_COLUMNS, small_table

        stream, windows = (
            windows,
            small_table(load_published(*which, **settings, streaming=True, columns=SMALL_COLUMNS)[0]),
        )
    for name, value in network.items():
        setattr(config, name, value)
    codec = _codec_of(config) if config.uses_codes else None
    dataset_id = None if Path(args.dataset).is_dir() else args.dataset
    return Inputs(windows, config, source, codec, dataset_id=dataset_id, stream=stream)


def _codec_of(config: EnclsConfig) -> EncodecModel:
    """The codec that published codes point into. Raises `ValueError` where it cannot be had or is another one."""
    codec = load_codec(config.codec_id, config.codec_revision)
    if codebook_hash(codec) != config.codebook_hash:
        raise ValueError(
            f"expected the codebooks that made these codes ({config.codebook_hash[:12]}), found others in "
            f"{config.codec_id} ({(codebook_hash(codec) or 'none')[:12]})"
        )
    return codec


def _codec(inputs: Inputs, args: DataArguments) -> dict | None:
    config = inputs.config
    if not config.is_codec:
        return None
    facts = codec_facts(args.codec or config.codec_id)
    about = {
        "id": config.codec_id,
        "revision": config.codec_revision,
        "hash": config.codec_hash,
        "policy": config.codec_policy,
        "dtype": config.codec_dtype,
        "bandwidth": config.bandwidth,
    }
    about |= {name: facts[name] for name in ("untrained", "trained_on") if name in facts}
    return about | {"heard_test_clips": has_heard(about, inputs.dataset)}


def _example(inputs: Inputs) -> str | None:
    """A clip for the lines that show how to use the model."""
    if inputs.report is None:
        return None
    return str(Path(inputs.report.data_dir) / inputs.windows[0]["clip_id"])
