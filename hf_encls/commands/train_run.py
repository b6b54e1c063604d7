"""One run of training: a split, a network, the Trainer, and what is measured at the end."""

import logging
import shutil
import time
from pathlib import Path

import numpy as np
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from hf_encls.codec.loading import CodecNotFoundError, codec_hash, load_codec
from hf_encls.commands.inputs import Inputs
from hf_encls.commands.train_arguments import EnclsTrainingArguments
from hf_encls.data.splits import enforce, leak_check, make_splits
from hf_encls.features import feature_identity
from hf_encls.hub.configuration_encls import EnclsConfig
from hf_encls.hub.modeling_encls import EnclsForAudioClassification
from hf_encls.memory import keep_freed_memory
from hf_encls.metrics import confusion, evaluate_split, per_class
from hf_encls.results import read_json, save_model, save_results, write_json
from hf_encls.training import EnclsTrainer, FeatureStore, Windows, codebooks_of, history

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
CLIPS = "clips.json"  # which clips were in which part
SETTINGS = "run.json"  # what a run is, so that another one is never resumed by mistake


def train_once(
    inputs: Inputs,
    training_args: EnclsTrainingArguments,
    protocol: str,
    fold: int | None,
    memory_limit_gb: float | None,
    features_s: float,
    about: dict,
) -> dict:
    """Split, train, score and save one model into `training_args.output_dir`; what `results.json` holds.

    `about` goes into the results as it is. Raises `ValueError` where the protocol cannot be kept, or an unfinished or
    another run is in the folder.
    """
    keep_freed_memory()
    folder = Path(training_args.output_dir)
    config, classes = inputs.config, list(inputs.windows.features["label"].names)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    settings = {"protocol": protocol, "fold": fold, "seed": training_args.seed, "classes": classes}
    settings |= {"features": feature_identity(config), "windows": len(inputs.windows)}
    resume_from = _checkpoint(folder, training_args.resume_from_checkpoint, settings)
    set_seed(training_args.seed)

    splits = make_splits(inputs.windows, protocol, seed=training_args.seed, fold=fold)
    leak = leak_check(inputs.windows, splits)
    say(training_args, (f"fold {fold}: " if fold else "") + leak.text())
    enforce(leak, protocol)
    stores = _stores(inputs, splits, memory_limit_gb, training_args)
    model = _network(config, stores["train"])
    processes = f"{training_args.world_size} process{'es' if training_args.world_size > 1 else ''}"
    say(
        training_args,
        f"{config.features}: {len(inputs.windows)} windows of {config.num_bands} x {config.num_frames}; {processes} on "
        f"{training_args.device.type}",
    )
    if training_args.process_index == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(settings, folder / SETTINGS)
    trainer = EnclsTrainer(
        model=model, args=training_args, train_dataset=stores["train"], eval_dataset=stores["validation"]
    )
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=resume_from)
    training_s = time.monotonic() - started

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
        "protocol": protocol,
        "fold": fold,
        "seed": training_args.seed,
        "classes": classes,
        "leak": leak.as_dict(),
        **_scores(trainer, stores, classes),
        "epochs": len(epochs),
        "best_epoch": _best_epoch(epochs),
        "history": epochs,
        "processes": training_args.world_size,
        "device": training_args.device.type,
        **about,
        "times_s": {"features": features_s, "training": training_s, "total": features_s + training_s},
    }
    if trainer.is_world_process_zero():
        _attach(model, inputs)
        save_model(model, config, folder)
        write_json({part: sorted(set(store.clip_ids.tolist())) for part, store in stores.items()}, folder / CLIPS)
        save_results(results, folder)
        if inputs.report is not None:
            inputs.report.save(folder / "left_out.json")
    trainer.accelerator.wait_for_everyone()
    return results


def say(training_args: EnclsTrainingArguments, text: str) -> None:
    """Print, in one process only."""
    if training_args.process_index == 0:
        print(text, flush=True)


def _stores(inputs: Inputs, splits: dict[str, np.ndarray], memory_limit_gb: float | None, training_args) -> dict:
    limit = None if memory_limit_gb is None else int(memory_limit_gb * 1e9)
    device = training_args.device if training_args.device.type == "cuda" else None
    books = codebooks_of(inputs.codec, inputs.config.num_codebooks) if inputs.config.uses_codes else None
    if inputs.stream is not None:
        from hf_encls.streaming import StreamedPart

        seeds = {"train": training_args.seed}
        return {
            part: StreamedPart(inputs.stream, inputs.windows, splits[part], seeds.get(part), books) for part in PARTS
        }
    windows = Windows(inputs.windows, memory_limit_bytes=limit, device=device, codebooks=books)
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


def _best_epoch(epochs: list[dict]) -> int | None:
    scored = [row for row in epochs if "validation_accuracy" in row]
    return max(scored, key=lambda row: row["validation_accuracy"])["epoch"] if scored else None


def _checkpoint(folder: Path, asked: str | None, settings: dict) -> str | None:
    """The checkpoint to go on from. An unfinished run is never overwritten unasked."""
    last = get_last_checkpoint(folder) if folder.is_dir() else None
    if asked and (folder / SETTINGS).is_file():
        there = read_json(folder / SETTINGS)
        other = sorted(name for name in settings if there.get(name) != settings[name])
        if other:
            raise ValueError(
                f"the run in {folder} is another one (it differs in {', '.join(other)}): resume it with its own "
                "settings, or take another --output_dir"
            )
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
