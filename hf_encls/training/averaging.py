"""The average of the weights over the steps: what is validated, kept in checkpoints, and the model in the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel
from transformers import TrainerCallback

TRAINING_WEIGHTS = "training_weights.safetensors"  # of a checkpoint: those that go on training


class WeightAverage(TrainerCallback):
    """The exponential moving average of a model's weights and buffers, updated after each step of the optimizer.

    A checkpoint holds the average as its model, and the weights that train beside it: both go on where they were.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.average: AveragedModel | None = AveragedModel(model, use_buffers=True)
        # On the host: reading it on the device would wait for the device in each step.
        self.average.n_averaged = self.average.n_averaged.cpu()

    def on_train_begin(self, args, state, control, **kwargs):
        # After as many steps there were as many averages.
        self.average.n_averaged.fill_(state.global_step)

    @torch.no_grad()
    def on_step_end(self, args, state, control, **kwargs):
        # Not `update_parameters`, which asks the device how many there were, and so waits for it in each step.
        count = int(self.average.n_averaged)
        decay = min(self.decay, (1 + count) / (10 + count))
        ours, theirs = self.average.module, self.model
        for average, weight in zip(
            (*ours.parameters(), *ours.buffers()), (*theirs.parameters(), *theirs.buffers()), strict=True
        ):
            if count and average.is_floating_point():
                average.lerp_(weight, 1 - decay)
            else:
                average.copy_(weight)
        self.average.n_averaged += 1

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        if self.average is None:
            yield
            return
        training = {name: weight.clone() for name, weight in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.module.state_dict())
        try:
            yield
        finally:
            self.model.load_state_dict(training)

    def save(self, folder: Path) -> None:
        """Write the weights that train, beside the average in a checkpoint."""
        if self.average is not None:
            weights = {name: weight.contiguous() for name, weight in self.model.state_dict().items()}
            save_file(weights, folder / TRAINING_WEIGHTS)

    def load(self, checkpoint: Path) -> None:
        """Go on from a checkpoint whose average the model has already. Raises `ValueError` where it has none."""
        file = checkpoint / TRAINING_WEIGHTS
        if not file.is_file():
            raise ValueError(
                f"expected the weights that train at {file}, found none: begin anew with `overwrite=True`"
            )
        self.average.module.load_state_dict(self.model.state_dict())
        self.model.load_state_dict(load_file(file))

    def finish(self) -> None:
        """Give the model the averaged weights for good; a second time changes nothing."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
            self.average = None
