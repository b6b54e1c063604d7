"""Train a classifier on a folder of sounds, or on published features.

    python scripts/train.py                                             # synthetic sounds, no network needed
    accelerate launch scripts/train.py --data_dir my_sounds --features log_mel --output_dir my_model
    torchrun --nproc_per_node 2 scripts/train.py --dataset USER/FEATURES --features encodec_24khz
    python scripts/train.py settings.yaml                               # the same options in one file

Every option of transformers' TrainingArguments works too. The output folder holds the model with its code, results.json,
the learning curves, a confusion matrix and a card.
"""

import logging
import platform
import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import transformers
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from hf_encls.codec.loading import CodecNotFoundError, codec_facts, codec_hash, load_codec
from hf_encls.commands.inputs import Inputs
from hf_encls.commands.inputs import prepare as prepare_features
from hf_encls.commands.train_arguments import DataArguments, EnclsTrainingArguments, parse
from hf_encls.data.splits import enforce, leak_check, make_splits
from hf_encls.hub.configuration_encls import EnclsConfig
from hf_encls.hub.modeling_encls import EnclsForAudioClassification
from hf_encls.metrics import confusion, evaluate_split, per_class
from hf_encls.results import save_model, save_results, usage, write_json
from hf_encls.training import EnclsTrainer, FeatureStore, Windows, history

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
CLIPS = "clips.json"  # which clips were in which part


def main(args: list[str] | None = None) -> dict:
    """Train as `args` (command line arguments) say, and return what `results.json` holds.

    Raises `ValueError` for what a user can mend.
    """
    command = list(sys.argv[1:] if args is None else args)
    model_args, data_args, training_args = parse(command)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    transformers.utils.logging.disable_progress_bar()  # its bars for weights would break up the one of training
    # Not the Trainer's business: its own push sends checkpoints and a pickle of the arguments.
    push_to_hub, training_args.push_to_hub = training_args.push_to_hub, False
    folder = Path(training_args.output_dir)
    resume_from = _checkpoint(folder, training_args.resume_from_checkpoint)
    set_seed(training_args.seed)
    started = time.monotonic()

    network = {"standardization": model_args.standardization, "dropout": model_args.dropout}
    inputs = _inputs(data_args, network)
    features_s = time.monotonic() - started
    splits = make_splits(inputs.windows, data_args.protocol, seed=training_args.seed, fold=data_args.fold)
    leak = leak_check(inputs.windows, splits)
    _say(training_args, leak.text())
    enforce(leak, data_args.protocol)

    classes = list(inputs.windows.features["label"].names)
    config = inputs.config
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    stores = _stores(inputs, splits, data_args, training_args)
    model = _network(config, stores["train"])
    _say(
        training_args,
        f"{config.features}: {len(inputs.windows)} windows of {config.num_bands} x {config.num_frames}; "
        f"{training_args.world_size} process{'es' if training_args.world_size > 1 else ''} on {training_args.device.type}",
    )
    trainer = EnclsTrainer(
        model=model, args=training_args, train_dataset=stores["train"], eval_dataset=stores["validation"]
    )
    training_started = time.monotonic()
    trainer.train(resume_from_checkpoint=resume_from)
    training_s = time.monotonic() - training_started

    epochs = history(trainer.state.log_history)
    results = {
        "dataset": inputs.dataset,
        "dataset_id": inputs.dataset_id,
        "features": config.features,
        "sampling_rate": config.sampling_rate,
        "window_s": config.window_s,
        "step_s": config.step_s,
        "hop_length": None if config.is_codec else config.hop_length,
        "standardization": config.standardization,
        "protocol": data_args.protocol,
        "fold": data_args.fold,
        "seed": training_args.seed,
        "codec": _codec(inputs, data_args),
        "classes": classes,
        "leak": leak.as_dict(),
        **_scores(trainer, stores, classes),
        "epochs": len(epochs),
        "best_epoch": _best_epoch(epochs),
        "history": epochs,
        "processes": training_args.world_size,
        "device": training_args.device.type,
        "command": ["scripts/train.py", *command],
        "versions": versions(),
    }
    results["times_s"] = {"features": features_s, "training": training_s, "total": time.monotonic() - started}
    if trainer.is_world_process_zero():
        _attach(model, inputs)
        save_model(model, config, folder)
        write_json({part: sorted(set(store.clip_ids.tolist())) for part, store in stores.items()}, folder / CLIPS)
        save_results(results, folder)
        if inputs.report is not None:
            inputs.report.save(folder / "left_out.json")
        print(usage(results, folder, _example(inputs)))
        if push_to_hub:
            from hf_encls.publishing import push_model

            name = training_args.hub_model_id or folder.resolve().name
            print(push_model(folder, name, private=training_args.hub_private_repo, token=training_args.hub_token))
    trainer.accelerator.wait_for_everyone()
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

    windows, config, source = load_published(
        args.dataset,
        args.dataset_config or args.features,
        revision=args.dataset_revision,
        expected={"window_s": args.window_s},
    )
    for name, value in network.items():
        setattr(config, name, value)
    return Inputs(windows, config, source, dataset_id=None if Path(args.dataset).is_dir() else args.dataset)


def _stores(inputs: Inputs, splits: dict[str, np.ndarray], data_args: DataArguments, training_args) -> dict:
    limit = None if data_args.memory_limit_gb is None else int(data_args.memory_limit_gb * 1e9)
    device = training_args.device if training_args.device.type == "cuda" else None
    windows = Windows(inputs.windows, memory_limit_bytes=limit, device=device)
    return {part: FeatureStore(windows, splits[part]) for part in PARTS}


def _network(config: EnclsConfig, train: FeatureStore) -> EnclsForAudioClassification:
    """The network without its codec: training needs none, and checkpoints are not filled with frozen weights."""
    settings = config.to_dict() | {"codec_config": None}
    model = EnclsForAudioClassification(EnclsConfig(**settings))
    if config.standardization == "band":
        model.set_standardization(*train.statistics())
    return model


def _scores(trainer: EnclsTrainer, stores: dict[str, FeatureStore], classes: list[str]) -> dict:
    out: dict = {}
    for part, store in stores.items():
        probabilities = trainer.probabilities(store)
        out[part] = evaluate_split(probabilities, store.labels, store.clip_ids, store.silent)
    predictions = probabilities.argmax(-1)  # of the last part: test
    out["per_class"] = per_class(predictions, store.labels, classes)
    out["confusion_matrix"] = confusion(predictions, store.labels, len(classes)).tolist()
    return out


def _attach(model: EnclsForAudioClassification, inputs: Inputs) -> None:
    """Put the codec into the finished checkpoint. Features from the Hub name theirs; it must still be that one."""
    config, codec = inputs.config, inputs.codec
    if not config.is_codec:
        return
    if codec is None:
        try:
            codec = load_codec(config.codec_id, config.codec_revision)
        except CodecNotFoundError as error:
            logger.warning("the model is saved without its codec and takes input_features only: %s", error)
            return
        if codec_hash(codec) != config.codec_hash:
            logger.warning(
                "the model is saved without its codec and takes input_features only: %s has other weights (%s) than the "
                "codec that made the features (%s)",
                config.codec_id,
                codec_hash(codec)[:12],
                config.codec_hash[:12],
            )
            return
    model.attach_codec(codec)


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
    return about | {name: facts[name] for name in ("untrained", "trained_on") if name in facts}


def _best_epoch(epochs: list[dict]) -> int | None:
    scored = [row for row in epochs if "validation_accuracy" in row]
    return max(scored, key=lambda row: row["validation_accuracy"])["epoch"] if scored else None


def _checkpoint(folder: Path, asked: str | None) -> str | None:
    """The checkpoint to go on from. An unfinished run is never overwritten unasked."""
    last = get_last_checkpoint(folder) if folder.is_dir() else None
    if asked and asked.lower() not in ("true", "last"):
        if not Path(asked).is_dir():
            raise ValueError(
                f"expected a checkpoint folder at {asked!r}, found none; 'last' takes the newest of the run"
            )
        return asked
    if asked:
        if last is None:
            raise ValueError(f"expected a checkpoint to resume from in {folder}, found none: start without resuming")
        return last
    if last and not (folder / "results.json").is_file():
        raise ValueError(
            f"{folder} holds an unfinished run: go on with --resume_from_checkpoint last, or take another --output_dir"
        )
    if last:  # a finished run is done again: its checkpoints are of no more use
        for old in folder.glob("checkpoint-*"):
            shutil.rmtree(old)
    return None


def _example(inputs: Inputs) -> str | None:
    """A clip for the lines that show how to use the model."""
    if inputs.report is None:
        return None
    return str(Path(inputs.report.data_dir) / inputs.windows[0]["clip_id"])


def _say(training_args: EnclsTrainingArguments, text: str) -> None:
    if training_args.process_index == 0:
        print(text, flush=True)
