"""One run of training: a split, a network, the Trainer, and what is measured at the end."""

import logging
import time

import numpy as np
from accelerate import PartialState
from transformers import set_seed

from hf_encls.commands.inputs import Inputs
from hf_encls.commands.published_inputs import codec_of
from hf_encls.commands.train_arguments import EnclsTrainingArguments
from hf_encls.data.splits import enforce, leak_check, make_splits
from hf_encls.fast.memory import keep_freed_memory
from hf_encls.features.extraction import feature_identity
from hf_encls.features.store import FeatureStore, Windows, codebooks_of
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.report.run_report import save_results
from hf_encls.training.metrics import confusion, evaluate_split, per_class
from hf_encls.training.results import CLIPS, save_model, write_json
from hf_encls.training.resuming import Start, begin, forget_previous, seconds_before
from hf_encls.training.trainer import EnclsTrainer, history

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
# Of transformers' arguments, those that a result depends on.
OPTIMISATION = (
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
    *("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm"),
    *("label_smoothing_factor", "bf16", "fp16"),
)


def run_settings(
    inputs: Inputs, training_args: EnclsTrainingArguments, protocol: str, fold: int | None
) -> dict[str, object]:
    """What makes a run this one and no other, as JSON."""
    config = inputs.config
    devices = training_args.world_size * training_args.gradient_accumulation_steps
    return {
        "protocol": protocol,
        "fold": fold,
        "seed": training_args.seed,
        "classes": list(inputs.windows.features["label"].names),
        "features": feature_identity(config),
        "windows": len(inputs.windows),
        "standardization": config.standardization,
        "dropout": config.dropout,
        **{name: getattr(value := getattr(training_args, name), "value", value) for name in OPTIMISATION},
        "batch_size": training_args.train_batch_size * devices,
        "num_train_epochs": training_args.num_train_epochs,
        "max_steps": training_args.max_steps,
    }


def train_once(
    inputs: Inputs,
    training_args: EnclsTrainingArguments,
    start: Start,
    memory_limit_gb: float | None,
    features_s: float,
    about: dict,
) -> dict:
    """Split, train, score and save one model into `start.folder`; what `results.json` holds.

    `about` goes into the results as it is. Raises `ValueError` where the protocol cannot be kept.
    """
    keep_freed_memory()
    folder, protocol, fold = start.folder, start.settings["protocol"], start.settings["fold"]
    config, classes = inputs.config, start.settings["classes"]
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
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
        f"{config.feature_name}: {len(inputs.windows)} windows of {config.num_bands} x {config.num_frames}; {processes} on "
        f"{training_args.device.type}",
    )
    everyone = PartialState()
    everyone.wait_for_everyone()  # nobody looks any more at what goes now
    if everyone.is_main_process:
        begin(start)
    everyone.wait_for_everyone()
    trainer = EnclsTrainer(
        model=model, args=training_args, train_dataset=stores["train"], eval_dataset=stores["validation"]
    )
    before_s = seconds_before(start.checkpoint)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=None if start.checkpoint is None else str(start.checkpoint))
    training_s = before_s + time.monotonic() - started

    epochs = history(trainer.state.log_history)
    results = {
        "dataset": inputs.dataset,
        "dataset_id": inputs.dataset_id,
        "features": config.feature_name,
        "sampling_rate": config.sampling_rate,
        "window_s": config.window_s,
        "step_s": config.step_s,
        "hop_length": config.hop_length if "hop_length" in config.representation.options else None,
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
        "holds_codec": inputs.codec is not None
        or not config.representation.needs_codec,  # False: it takes features only
        "times_s": {"features": features_s, "training": training_s, "total": features_s + training_s},
    }
    if trainer.is_world_process_zero():
        results["holds_codec"] = _attach(model, inputs)
        save_model(model, config, folder)
        write_json({part: sorted(set(store.clip_ids.tolist())) for part, store in stores.items()}, folder / CLIPS)
        save_results(results, folder)
        forget_previous(folder)
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
    books = codebooks_of(inputs.codec, inputs.config.num_codebooks) if inputs.config.representation.integers else None
    if inputs.stream is not None:
        from hf_encls.features.streaming import StreamedPart

        seeds = {"train": training_args.seed}
        return {
            part: StreamedPart(
                inputs.stream, inputs.windows, splits[part], seeds.get(part), books, where=inputs.stream_name
            )
            for part in PARTS
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


def _attach(model: EnclsForAudioClassification, inputs: Inputs) -> bool:
    """Put the codec into the finished checkpoint, so that it takes sounds; False where it cannot be had."""
    if not inputs.config.representation.needs_codec:
        return True
    try:
        model.attach_codec(codec_of(inputs.config) if inputs.codec is None else inputs.codec)
    except ValueError as error:
        logger.warning("the model is saved without its codec and takes input_features only: %s", error)
        return False
    return True


def _best_epoch(epochs: list[dict]) -> int | None:
    scored = [row for row in epochs if "validation_accuracy" in row]
    return max(scored, key=lambda row: row["validation_accuracy"])["epoch"] if scored else None
