"""What is said of a training while it runs: a bar, and a line of scores for each epoch."""

import time

from tqdm.auto import tqdm
from transformers import TrainerCallback

MAP = "mean_average_precision"  # what is best of several labels at once; 0 where validation has none of them


class EpochLines(TrainerCallback):
    """A bar of windows with their rate and the time left, and one line of scores for each epoch."""

    def __init__(self):
        self.bar: tqdm | None = None
        self.train: dict[str, float] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero and not args.disable_tqdm:
            per_step = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
            layout = "{l_bar}{bar}| {n:.0f}/{total:.0f} [{elapsed}<{remaining}, {rate_fmt}]"
            self.bar = tqdm(
                total=state.max_steps * per_step,
                initial=state.global_step * per_step,
                desc="training",
                unit=" windows",
                bar_format=layout,
                mininterval=0.5,
            )
            self.per_step = per_step

    def on_step_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.update(self.per_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.bar is None or not logs:
            return
        if "loss" in logs:
            self.train = dict(logs)
        elif "eval_loss" in logs:
            metric, name = (MAP, "mAP") if f"eval_{MAP}" in logs else ("accuracy", "accuracy")
            clips = f", clips {logs[f'eval_clip_{metric}']:.3f}" if f"eval_clip_{metric}" in logs else ""
            trained = "" if metric == MAP else f", accuracy {self.train.get('accuracy', float('nan')):.3f}"
            self.bar.write(
                f"epoch {logs['epoch']:g}: training loss {self.train.get('loss', float('nan')):.4f}{trained}; "
                f"validation loss {logs['eval_loss']:.4f}, {name} {logs[f'eval_{metric}']:.3f}{clips}"
            )

    def on_train_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class EpochClock(TrainerCallback):
    """Seconds of training since the epoch began; validation and checkpoints do not count."""

    started: float | None = None

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.started = time.monotonic()
