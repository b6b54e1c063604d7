"""What Trainer needs from us: batches as they are, scores of windows and clips, a line for each epoch."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import MethodType

import numpy as np
import torch
from accelerate.optimizer import AcceleratedOptimizer
from transformers import EvalPrediction, PrinterCallback, Trainer
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, SaveStrategy

from hf_encls.features.mixing import StreamedRow, joined
from hf_encls.features.store import FeatureStore
from hf_encls.files import hand_to_disk, writing
from hf_encls.model.problem_encls import has_several_labels, probabilities
from hf_encls.training.augmentation import (
    augment,
    class_weights,
    label_weights,
    soft_binary_cross_entropy,
    soft_cross_entropy,
)
from hf_encls.training.averaging import WeightAverage
from hf_encls.training.epoch_lines import MAP, EpochClock, EpochLines
from hf_encls.training.metrics import evaluate_split
from hf_encls.training.recipe import Recipe
from hf_encls.training.recorded import RecordedStep
from hf_encls.training.resuming import STATE, drop_old_checkpoints

MOST_CHECKPOINTS = 200  # in a run of more epochs they are short, and writing one takes as long as they do


def collate(batch: dict[str, torch.Tensor] | list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A batch as it is; rows of a streamed data set are joined, those of somebody's own data set stacked."""
    if isinstance(batch, dict):
        return batch
    if isinstance(batch[0], StreamedRow):
        return joined(batch)
    return {name: torch.stack([torch.as_tensor(row[name]) for row in batch]) for name in ("input_features", "labels")}


class EnclsTrainer(Trainer):
    """The Trainer, with a recipe, scores of windows and clips, and the accuracy of training in its log."""

    clip_votes = True  # False: clips have no class of their own

    def __init__(self, *, model, args, **kwargs):
        self._several, self._smoothing = has_several_labels(model.config), args.label_smoothing_factor
        if self._several:
            args = copy.copy(args)
            args.label_smoothing_factor = 0.0  # Trainer can smooth classes alone
            if args.metric_for_best_model == "accuracy":  # what it is where nobody asked for another
                args.metric_for_best_model = MAP
        super().__init__(model=model, args=args, data_collator=collate, compute_metrics=self._scores, **kwargs)
        for callback in (ProgressCallback, PrinterCallback):
            self.remove_callback(callback)
        self.add_callback(EpochLines())
        self._clock = EpochClock()
        self.add_callback(self._clock)
        self._hits: torch.Tensor | None = None
        self._seen = 0
        self._batch_hits: torch.Tensor | None = None
        self._flops: dict[torch.Size, int] = {}
        self._recorded = RecordedStep(self.model, self._forward_and_backward) if self._can_record() else None
        self._evaluated: FeatureStore | None = None
        self.recipe = Recipe.parse(getattr(self.args, "recipe", "paper"))
        self._weights: torch.Tensor | None = None
        if self.recipe.class_weights:
            labels = self.train_dataset.labels
            weights = label_weights(labels) if self._several else class_weights(labels, self.model.config.num_labels)
            self._weights = weights.to(self.args.device)
        self._average: WeightAverage | None = None
        if self.recipe.average and not self.model.head.is_fitted:  # what is fitted takes no steps to average
            self._average = WeightAverage(self.model, self.recipe.average)
            self.add_callback(self._average)
        self._step, self._parts = -1, 0

    def training_step(self, model, inputs, *args, **kwargs):
        if self.recipe.changes_batches:
            # A step may take several batches: each has numbers of its own.
            self._parts = self._parts + 1 if self._step == self.state.global_step else 0
            self._step = self.state.global_step
            key = (self.args.seed, self._step, self._parts, self.args.process_index)
            config = self.model.config
            inputs = augment(self._prepare_inputs(inputs), self.recipe, config.representation, key, config.floor_db)
        if self._recorded is None:
            loss = super().training_step(model, inputs, *args, **kwargs)
            hits = self._batch_hits  # none of several labels
        else:
            model.train()
            loss, hits = self._recorded(self._prepare_inputs(inputs))
        if hits is not None:
            # Summed on the device: reading it every step would make the device wait.
            self._hits = hits.clone() if self._hits is None else self._hits + hits
            self._seen += len(inputs["labels"])
        return loss

    def _forward_and_backward(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        loss = super().training_step(self.model, inputs)
        return loss, self._batch_hits

    def _can_record(self) -> bool:
        """Whether a step is the same operations each time, of this process and one device alone."""
        args = self.args
        return (
            args.device.type == "cuda"
            and not self._several
            and args.world_size == 1
            and args.n_gpu == 1
            and args.gradient_accumulation_steps == 1
            and not (args.fp16 or args.torch_compile or args.gradient_checkpointing or "schedule_free" in args.optim)
            and hasattr(self.train_dataset, "__getitems__")
        )

    def create_scheduler(self, *args, **kwargs):
        optimizer = self.optimizer
        if isinstance(optimizer, AcceleratedOptimizer) and optimizer.scaler is None:
            optimizer.step = MethodType(_plain_step, optimizer)  # its own looks for another library in every step
        return super().create_scheduler(*args, **kwargs)

    def floating_point_ops(self, inputs) -> int:
        shape = inputs["input_features"].shape
        if shape not in self._flops:  # counting the parameters takes longer than a step
            self._flops[shape] = super().floating_point_ops(inputs)
        return self._flops[shape]

    def _get_grad_norm(self, model, grad_norm=None):
        # Trainer measures it for its log, in every step, even where nothing is clipped to it.
        return None if grad_norm is None else super()._get_grad_norm(model, grad_norm=grad_norm)

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        labels = inputs["labels"]  # with label smoothing, Trainer takes them out
        if self._several:
            outputs = model(input_features=inputs["input_features"])
            weights, smoothing = (self._weights, self._smoothing) if model.training else (None, 0.0)
            loss = soft_binary_cross_entropy(outputs.logits, inputs, weights, smoothing)
        elif model.training and (self._weights is not None or "share" in inputs):
            outputs = model(input_features=inputs["input_features"])
            loss = soft_cross_entropy(outputs.logits, inputs, self._weights, self.args.label_smoothing_factor)
        else:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        if model.training and not self._several:
            self._batch_hits = (outputs.logits.detach().argmax(-1) == labels).sum()
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        if "loss" in logs and self._seen:
            logs["accuracy"] = self._hits.item() / self._seen
            self._hits, self._seen = None, 0
            if self._clock.started is not None and self.args.logging_strategy == "epoch":
                logs["epoch_s"] = time.monotonic() - self._clock.started
        super().log(logs, *args, **kwargs)

    def train(self, *args, **kwargs):
        output = super().train(*args, **kwargs)
        self._finish_average()
        self._rotate()  # an earlier process may have been killed before it did
        return output

    def _save_rng_state(self, output_dir) -> None:
        # The last file but the state, which says that the checkpoint is whole: the disk must have the others before.
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            hand_to_disk(Path(output_dir))
        self.accelerator.wait_for_everyone()

    def _save_checkpoint(self, model, trial) -> None:
        # Trainer's rotation goes by dates, which a clock or a broken-off removal may change, and removes before the disk
        # has the new checkpoint.
        if self._is_too_soon():
            return
        checkpoint = Path(self.args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            with writing(checkpoint):
                super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            hand_to_disk(checkpoint / STATE)
            self._rotate()

    def _is_too_soon(self) -> bool:
        """Whether a checkpoint of this epoch would be one too many, and is neither of the best one nor of the last."""
        state, every = self.state, math.ceil(self.args.num_train_epochs / MOST_CHECKPOINTS)
        if self.args.save_strategy != SaveStrategy.EPOCH or self.args.max_steps > 0 or every == 1:
            return False
        is_best = state.best_global_step == state.global_step
        return not is_best and state.global_step < state.max_steps and round(state.epoch) % every > 0

    def _save(self, output_dir=None, state_dict=None) -> None:
        if self._average is None:
            super()._save(output_dir, state_dict)
            return
        with self._average.shown():
            super()._save(output_dir, state_dict)
        if self.args.should_save:
            self._average.save(Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self._average is not None:
            self._average.load(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self._finish_average()  # the best one's takes its place
        super()._load_best_model()

    def _finish_average(self) -> None:
        if self._average is not None:
            self._average.finish()

    def _rotate(self) -> None:
        if self.args.should_save:
            drop_old_checkpoints(
                Path(self.args.output_dir), self.args.save_total_limit, self.state.best_model_checkpoint
            )

    def evaluation_loop(self, dataloader, *args, metric_key_prefix="eval", **kwargs):
        self._evaluated = dataloader.dataset
        with nullcontext() if self._average is None else self._average.shown():
            if isinstance(self._evaluated, FeatureStore) and self._evaluates_at_once():
                return self._evaluate_at_once(dataloader, metric_key_prefix)
            return super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)

    def _evaluates_at_once(self) -> bool:
        """Whether an evaluation is what this Trainer does with ready batches, in one process and while it trains."""
        args = self.args
        asks_for_more = (
            args.include_for_metrics or args.batch_eval_metrics or args.fp16_full_eval or args.bf16_full_eval
        )
        return self.is_in_train and args.world_size == 1 and args.n_gpu <= 1 and not asks_for_more

    def _evaluate_at_once(self, dataloader: torch.utils.data.DataLoader, prefix: str) -> EvalLoopOutput:
        """As Trainer's own loop, to the bit; but nothing is asked of the device before all batches are on their way."""
        torch.utils.data.DataLoader.__iter__(dataloader)  # draws a random number, and later ones are to be the same
        store = dataloader.dataset
        self.model.eval()
        if callable(getattr(self.optimizer, "eval", None)):
            self.optimizer.eval()
        size, scores, losses = self.args.eval_batch_size, [], []
        sizes = [min(size, len(store) - first) for first in range(0, len(store), size)]
        with torch.no_grad(), self.compute_loss_context_manager():
            for first, count in zip(range(0, len(store), size), sizes, strict=True):
                batch = store.rows_from(first, count)
                loss, outputs = self.compute_loss(self.model, batch, return_outputs=True)
                scores.append(outputs.logits)
                losses.append(loss)
                self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        predictions, means = torch.cat(scores).cpu().numpy(), torch.stack(losses).cpu().numpy()
        labels = store.labels
        metrics = self._scores(EvalPrediction(predictions=predictions, label_ids=labels)) if len(store) else {}
        metrics["loss"] = np.repeat(means, sizes).mean().item()
        metrics = {f"{prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(predictions=predictions, label_ids=labels, metrics=metrics, num_samples=len(store))

    def probabilities(self, store: FeatureStore, part: str = "test") -> np.ndarray:
        """(n, num_labels) probabilities of the windows of `store`, in its order. Loggers are told them as of `part`."""
        if hasattr(store, "in_order"):  # a stream that is shuffled for training
            store = store.in_order()
        scores = torch.from_numpy(self.predict(store, metric_key_prefix=part).predictions).double()
        return probabilities(scores, self.model.config).numpy()

    def _scores(self, prediction: EvalPrediction) -> dict[str, float]:
        if not self.model.head.is_fitted and not np.isfinite(prediction.predictions).all():
            raise ValueError(
                "the training went wrong: expected finite scores, found NaN or infinity: try a lower `learning_rate` than "
                f"{self.args.learning_rate}"
            )
        rows = probabilities(torch.from_numpy(prediction.predictions).double(), self.model.config).numpy()
        ids = getattr(self._evaluated, "clip_ids", None)  # somebody's own data set has none
        scores = evaluate_split(rows, prediction.label_ids, ids if self.clip_votes else None)
        metric = MAP if self._several else "accuracy"
        figures = {metric: getattr(scores.window, metric)}
        if scores.clip:
            figures[f"clip_{metric}"] = getattr(scores.clip, metric)
        return {name: value or 0.0 for name, value in figures.items()}


def _plain_step(optimizer: AcceleratedOptimizer, closure: Callable | None = None) -> None:
    """A step of an optimizer of accelerate's that scales no gradients."""
    optimizer.optimizer.step(closure)


def history(log_history: Sequence[dict]) -> list[dict]:
    """Trainer's log as one row per epoch: the numbers of the learning curves."""
    names = {
        "loss": "train_loss",
        "accuracy": "train_accuracy",
        "epoch_s": "epoch_s",  # of training alone
        "eval_loss": "validation_loss",
        "eval_accuracy": "validation_accuracy",
        "eval_clip_accuracy": "validation_clip_accuracy",
        f"eval_{MAP}": f"validation_{MAP}",
        f"eval_clip_{MAP}": f"validation_clip_{MAP}",
    }
    rows: dict[int, dict] = {}
    for entry in log_history:
        if "epoch" not in entry or not any(name in entry for name in names):
            continue
        epoch = round(entry["epoch"])
        row = rows.setdefault(epoch, {"epoch": epoch})
        row.update({new: entry[old] for old, new in names.items() if old in entry})
    return [rows[epoch] for epoch in sorted(rows) if epoch > 0]
