"""transformers' arguments with the defaults that suit a small CNN."""

import os
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from hf_encls.training.recipe import Recipe


@dataclass
class EnclsTrainingArguments(TrainingArguments):
    """transformers' TrainingArguments with the defaults that suit a small CNN."""

    output_dir: str = field(default="encls_model", metadata={"help": "Where the model and its results are written."})
    overwrite: bool = field(
        default=False,
        metadata={"help": "Replace the finished model in output_dir; it stays until the new one is finished."},
    )
    recipe: str = field(
        default="paper",
        metadata={
            "help": "How it is trained. paper: as in the paper. recommended: with random crops, masks, mixup, a schedule, "
            "averaged weights. Changes may follow: recommended,mixup=0,class_weights=false."
        },
    )
    num_train_epochs: float | None = field(
        default=None, metadata={"help": "Passes over the training windows. None: the recipe's (paper: 15)."}
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "Adam's learning rate, the highest of its schedule."})
    lr_scheduler_type: str | None = field(
        default=None, metadata={"help": "Schedule of the learning rate. None: the recipe's (paper: constant)."}
    )
    warmup_steps: float | None = field(
        default=None,
        metadata={"help": "Steps in which the learning rate rises; below 1 a share. None: the recipe's (paper: 0)."},
    )
    label_smoothing_factor: float | None = field(
        default=None, metadata={"help": "Share of a label that goes to all classes. None: the recipe's (paper: 0)."}
    )
    per_device_train_batch_size: int = field(default=64, metadata={"help": "Windows in a training batch."})
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Windows in an evaluation batch."})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Gradients are clipped to this norm; 0: never."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to validate: no, steps, epoch."})
    save_strategy: str = field(
        default="epoch", metadata={"help": "When to write a checkpoint: no, steps, epoch, best."}
    )
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log: no, steps, epoch."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep, the best one included."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best model, not the last."})
    metric_for_best_model: str | None = field(default="accuracy", metadata={"help": "What best means, on validation."})
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more of it is better."})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Leave losses that are no numbers out of the log; looks at each step's loss."}
    )
    report_to: str = field(default="tensorboard", metadata={"help": "Where to log: tensorboard, trackio, none, ..."})
    # Our data set hands out batches of what the model takes, from memory.
    remove_unused_columns: bool = field(default=False, metadata={"help": "Leave as it is: no columns to remove."})
    dataloader_pin_memory: bool = field(default=False, metadata={"help": "Pin host memory; of no use here."})

    def __post_init__(self):
        recipe = Recipe.parse(self.recipe)
        self.recipe = recipe.text
        for name, value in recipe.arguments.items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        if self.dataloader_num_workers:
            raise ValueError(
                f"expected `dataloader_num_workers=0`, found {self.dataloader_num_workers}: the windows lie in memory "
                "already, or on the accelerator, where no worker reaches them, and of a stream each worker would hand out "
                "all windows again. Leave it out"
            )
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        if (processes > 1 or self.bf16) and not torch.accelerator.is_available():
            self.use_cpu = True  # without it, each of the processes would train alone, and bf16 would be refused
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"expected `seed` from 0 to {(1 << 32) - 1}, found {self.seed}")
        super().__post_init__()
        self._check_reports()
        if self.world_size != processes:
            raise ValueError(
                f"expected {processes} processes, as the launcher says, found {self.world_size} working together"
            )

    def _check_reports(self) -> None:
        """Raise `ValueError` for what cannot be logged to: Trainer says so when the features are computed."""
        available = get_available_reporting_integrations()
        for name in self.report_to:
            if not isinstance(name, str) or name not in INTEGRATION_TO_CALLBACK:
                known = ", ".join(INTEGRATION_TO_CALLBACK)
                raise ValueError(f"expected `report_to` none, all, or some of {known}, found {name!r}")
            if name not in (*available, "azure_ml", "flyte"):  # these two are here without being in the library's list
                raise ValueError(
                    f"expected `report_to` to be something installed, found {name!r}: install it, or say none"
                )
