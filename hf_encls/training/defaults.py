"""The arguments of training that are ours, or whose defaults are. Importing them brings no PyTorch."""

from dataclasses import dataclass, field


@dataclass
class TrainingDefaults:
    """What suits a small CNN, by the names that transformers' TrainingArguments have, and what these do not have."""

    output_dir: str = field(default="encls_model", metadata={"help": "Where the model and its results are written."})
    overwrite: bool = field(
        default=False,
        metadata={"help": "Replace the finished model in output_dir; it stays until the new one is finished."},
    )
    recipe: str = field(
        default="paper",
        metadata={
            "help": "How it is trained. paper: as in the paper. recommended: with random crops, masks, mixup, a schedule, "
            "averaged weights; a head that is fitted hears moved copies, and at last validation too. Changes may follow: "
            "recommended,mixup=0,class_weights=false."
        },
    )
    calibrate: bool = field(
        default=True,
        metadata={
            "help": "Fit temperatures on the validation part when training is done: probabilities become as high as "
            "answers are often right, and no answer changes. Never under the protocol paper, whose validation clips trained."
        },
    )
    unknown: float | None = field(
        default=None,
        metadata={
            "help": "Answer unknown where no class is probable enough: this share of known sounds (0.05, say) may be "
            "answered so. None: always a class."
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
    seed: int = field(
        default=42, metadata={"help": "Of the division, the first weights and the order of the windows."}
    )
    max_steps: int = field(default=-1, metadata={"help": "End after so many steps, whatever the epochs. -1: never."})
    use_cpu: bool = field(default=False, metadata={"help": "Leave the accelerator alone."})
    bf16: bool = field(default=False, metadata={"help": "Train in bfloat16 where that is precise enough: faster."})
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "Go on from a checkpoint: its folder, or last."}
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Publish the model when it is finished."})
    hub_model_id: str | None = field(
        default=None, metadata={"help": "Its name there, USER/NAME. None: the name of output_dir."}
    )
    hub_private_repo: bool | None = field(default=None, metadata={"help": "Make a new repository private."})
    hub_token: str | None = field(default=None, metadata={"help": "Token of the Hub. None: that of hf auth login."})
