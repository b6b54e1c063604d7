"""Training an EnCodec's encoder and decoder: the loop and its schedule."""

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import EncodecModel

from hf_encls.codec_training.autoencoder import Autoencoder
from hf_encls.codec_training.checkpoints import (
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    stop_now,
    stop_requests,
)
from hf_encls.codec_training.corpus import TrainingSounds, draw_batch
from hf_encls.codec_training.losses import MelDistance, SpectralAnchor, waveform_distance
from hf_encls.codec_training.measuring import measure
from hf_encls.codec_training.precision import checked_layers
from hf_encls.codec_training.progress import Pace, Say, silent


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which weights come out, given the sounds."""

    max_steps: int
    batch_size: int  # of each process
    crop_samples: int
    learning_rate: float
    warmup_steps: int
    decay_steps: int  # the last ones, in which the rate falls to zero
    mel_weight: float
    waveform_weight: float
    anchor_weight: float
    anchor_bands: int
    encoder_steps: int  # the first ones, in which the encoder alone follows the anchor
    beta1: float
    beta2: float
    max_grad_norm: float
    seed: int
    num_processes: int
    mixed_precision: str

    def rate_at(self, step: int) -> float:
        """The learning rate of step 0, 1, ...: a linear rise, a plateau, a linear fall."""
        rise = (step + 1) / max(1, self.warmup_steps)
        fall = (self.max_steps - step) / max(1, self.decay_steps)
        return self.learning_rate * max(0.0, min(1.0, rise, fall))


class CodecLoss(nn.Module):
    """The weighted sum of mel distance, relative waveform distance and the spectral anchor, and its parts."""

    def __init__(self, codec: EncodecModel, recipe: Recipe) -> None:
        super().__init__()
        config = codec.config
        self.recipe = recipe
        self.mel = MelDistance(config.sampling_rate)
        self.anchor = None
        if recipe.anchor_weight > 0 and recipe.anchor_bands > 0:
            self.anchor = SpectralAnchor(
                config.sampling_rate, math.prod(config.upsampling_ratios), recipe.anchor_bands, config.use_causal_conv
            )

    def forward(self, x: Tensor, latents: Tensor, y: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        parts = {}
        if y is not None:
            parts = {"mel": self.mel(x, y.float()), "waveform": waveform_distance(x, y.float())}
        if self.anchor is not None:
            parts["anchor"] = self.anchor(latents.float(), x)
        loss = sum(getattr(self.recipe, f"{name}_weight") * part for name, part in parts.items())
        return loss, {"loss": loss.detach(), **{name: part.detach() for name, part in parts.items()}}


@dataclass(frozen=True)
class Schedule:
    """What happens between the steps, after how many of them each time, and where checkpoints go."""

    checkpoints: Path
    log_steps: int = 50
    eval_steps: int = 500
    save_steps: int = 500
    resume: bool = True  # from the newest one in `checkpoints`; otherwise what is there goes
    on_validation: Callable[[int, Autoencoder], object] | None = None  # gets the step, too


def train_codec(
    codec: EncodecModel,
    recipe: Recipe,
    sounds: TrainingSounds,
    schedule: Schedule,
    accelerator: Accelerator,
    say: Say = silent,
) -> tuple[int, list[dict]]:
    """Train `codec` in place and return (steps done, history).

    After Ctrl-C or SIGTERM, in whichever process, the step is finished and a checkpoint written before all of them end
    as that signal has it. Its encoder and decoder stay on the accelerator's device.

    A training that resumes is the same to the bit on the same machine. Raises `ValueError` when the checkpoint was made
    with another recipe (`max_steps` may change as long as its fall has not begun).
    """
    if recipe.encoder_steps and not (recipe.anchor_weight > 0 and recipe.anchor_bands > 0):
        raise ValueError("encoder_steps need something for the encoder to follow: set anchor_weight above 0")
    training = _Training(codec, recipe, sounds, schedule, accelerator, say)
    with stop_requests() as stop, _checked(training.model, recipe, codec, accelerator):
        while training.step < recipe.max_steps:
            parts = training.take_step()
            is_last = training.step == recipe.max_steps or _any(accelerator, stop())
            training.log(parts, is_last)
            training.validate()
            training.save(is_last)
            if is_last:
                break
    accelerator.wait_for_everyone()
    if _any(accelerator, stop()):
        say(f"stopped after step {training.step} of {recipe.max_steps}")
        stop_now(stop())
    return training.step, training.history


class _Training:
    """What a step changes, and what is said and written between the steps."""

    def __init__(
        self,
        codec: EncodecModel,
        recipe: Recipe,
        sounds: TrainingSounds,
        schedule: Schedule,
        accelerator: Accelerator,
        say: Say,
    ) -> None:
        self.codec, self.recipe, self.sounds, self.schedule = codec, recipe, sounds, schedule
        self.accelerator, self.say = accelerator, say
        self.model = Autoencoder(codec)
        betas = (recipe.beta1, recipe.beta2)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.learning_rate, betas=betas)
        self.model.to(accelerator.device)
        self.step, self.history = self._resume(optimizer)
        self.loss_of = CodecLoss(codec, recipe).to(accelerator.device)
        self.trained, self.optimizer = accelerator.prepare(self.model, optimizer)
        self.trained.train()
        if self.step < recipe.max_steps:
            say(f"training: steps {self.step + 1} to {recipe.max_steps}, the first is the slowest")
        self.started, self.first_step, self.pace = time.monotonic(), self.step, Pace()

    def _resume(self, optimizer: torch.optim.Optimizer) -> tuple[int, list[dict]]:
        """The step and the history to begin with."""
        existing = list_checkpoints(self.schedule.checkpoints)
        if existing and not self.schedule.resume:  # newer by their numbers than those that come
            if self.accelerator.is_main_process:
                shutil.rmtree(self.schedule.checkpoints)
            self.accelerator.wait_for_everyone()
        elif existing:
            state = load_checkpoint(existing[-1], self.model, optimizer)
            check_same(self.recipe, state, existing[-1])
            self.say(f"resuming after step {state['step']} from {existing[-1]}")
            return state["step"], state["history"]
        return 0, []

    def take_step(self) -> dict[str, Tensor]:
        """One step of the optimizer; returns the parts of the loss."""
        recipe, accelerator = self.recipe, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate_at(self.step)
        batch = draw_batch(
            self.sounds,
            batch_size=recipe.batch_size,
            crop_samples=recipe.crop_samples,
            seed=recipe.seed,
            step=self.step,
            rank=accelerator.process_index,
        )
        x = torch.from_numpy(batch).to(accelerator.device)
        latents, y = self.trained(x, decode=self.step >= recipe.encoder_steps)
        loss, parts = self.loss_of(x, latents, y)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(self.trained.parameters(), recipe.max_grad_norm)
        if not math.isfinite(float(norm)):
            raise ValueError(
                f"the loss is not finite at step {self.step}: try a lower `learning_rate` than {recipe.learning_rate}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return parts

    def log(self, parts: Mapping[str, Tensor], is_last: bool) -> None:
        """A row of the history every `log_steps`; a line then, at both ends, and where nothing was said for long."""
        step, recipe = self.step, self.recipe
        is_logged = step % self.schedule.log_steps == 0 or step in (1, recipe.max_steps)
        if is_logged:
            self.history.append({"step": step, **{name: round(float(value), 5) for name, value in parts.items()}})
        if not (is_logged or is_last or step == self.first_step + 1 or self.pace.due):
            return
        took_s = (time.monotonic() - self.started) / (step - self.first_step)
        samples = recipe.batch_size * recipe.num_processes * recipe.crop_samples
        numbers = "  ".join(f"{name} {float(value):.3f}" for name, value in parts.items())
        self.say(
            f"step {step}/{recipe.max_steps}  {numbers}"
            f"  {took_s:.2f} s/step  {samples / self.codec.config.sampling_rate / took_s:.1f}x real time"
            f"  {_duration(took_s * (recipe.max_steps - step))} left"
        )
        self.pace.said()

    def validate(self) -> None:
        """Measure on the held-out clips every `eval_steps` and at the end."""
        step = self.step
        is_due = step % self.schedule.eval_steps == 0 or step == self.recipe.max_steps
        if not (is_due and self.accelerator.is_main_process):
            return
        scores = measure(self.model, self.sounds.held_out, self.codec, self.say)
        self.history.append({"step": step, "validation": scores})
        self.say(f"step {step}: {json.dumps(scores)}")
        if self.schedule.on_validation is not None:
            self.schedule.on_validation(step, self.model)

    def save(self, is_last: bool) -> None:
        """Write a checkpoint every `save_steps` and at the end."""
        if self.accelerator.is_main_process and (self.step % self.schedule.save_steps == 0 or is_last):
            state = {"recipe": asdict(self.recipe), "history": self.history}
            save_checkpoint(self.schedule.checkpoints, self.step, self.model, self.optimizer.optimizer, state)


def _checked(
    model: Autoencoder, recipe: Recipe, codec: EncodecModel, accelerator: Accelerator
) -> AbstractContextManager[None]:
    if recipe.mixed_precision == "no":
        return nullcontext()
    channels, warns = codec.config.audio_channels, accelerator.is_main_process
    return checked_layers(model, channels, recipe.crop_samples, torch.bfloat16, warns)


def check_same(recipe: Recipe, state: Mapping, path: Path) -> None:
    """Raise `ValueError` where the checkpoint `path`, whose state is given, was made with another recipe."""
    now, saved, step = asdict(recipe), state["recipe"], state["step"]
    changed = {name: (saved.get(name), value) for name, value in now.items() if saved.get(name) != value}
    fall = min(steps["max_steps"] - steps["decay_steps"] for steps in (now, saved))
    if step <= fall:  # the plateau is the same whatever comes after it
        changed = {name: pair for name, pair in changed.items() if name not in ("max_steps", "decay_steps")}
    if changed:
        changes = ", ".join(f"{name} was {old}, is {new}" for name, (old, new) in changed.items())
        raise ValueError(
            f"{path} was made with other settings ({changes}): use those, take another `output_dir`, or say `overwrite=True`"
        )


def _any(accelerator: Accelerator, stop: int) -> bool:
    """Whether any process was asked to stop: all of them must leave the loop at the same step."""
    if accelerator.num_processes == 1:
        return bool(stop)
    return bool(accelerator.reduce(torch.tensor(float(bool(stop)), device=accelerator.device), "sum") > 0)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
