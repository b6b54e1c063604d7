"""transformers' arguments with the defaults that suit a small CNN."""

import math
import os
from dataclasses import dataclass

import torch
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from hf_encls.training.defaults import TrainingDefaults
from hf_encls.training.recipe import Recipe

MOST = (1 << 31) - 1  # windows of a batch: far more than any data set has


@dataclass
class EnclsTrainingArguments(TrainingDefaults, TrainingArguments):
    """transformers' TrainingArguments with the defaults that suit a small CNN."""

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
        if self.unknown is not None and not 0 < self.unknown < 1:
            raise ValueError(f"expected `unknown` to be a share above 0 and below 1, found {self.unknown}")
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        if (processes > 1 or self.bf16) and not torch.accelerator.is_available():
            self.use_cpu = True  # without it, each of the processes would train alone, and bf16 would be refused
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"expected `seed` from 0 to {(1 << 32) - 1}, found {self.seed}")
        if not 0 <= self.learning_rate < math.inf:
            raise ValueError(f"expected a finite `learning_rate` of 0 or more, found {self.learning_rate}")
        if not math.isfinite(self.warmup_steps):
            raise ValueError(f"expected finite `warmup_steps`, found {self.warmup_steps}")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if not 1 <= getattr(self, name) <= MOST:
                raise ValueError(f"expected `{name}` from 1 to {MOST}, found {getattr(self, name)}")
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
