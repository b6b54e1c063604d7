"""Training an EnCodec's encoder and decoder: the loop, its schedule, and what it measures on the way."""

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import EncodecModel

from hf_encls.codec_training.autoencoder import Autoencoder, run_clip
from hf_encls.codec_training.checkpoints import (
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    stop_now,
    stop_requests,
)
from hf_encls.codec_training.corpus import Corpus, draw_batch
from hf_encls.codec_training.losses import MelDistance, SpectralAnchor, si_sdr, waveform_distance

MAX_VALIDATION_S = 10.0  # of each held-out clip


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


@torch.no_grad()
def measure(model: Autoencoder, corpus: Corpus, codec: EncodecModel) -> dict[str, float | int]:
    """Reconstruction of whole clips (their first 10 s): mel distance and SI-SDR in dB, and how alive the latents are.

    SI-SDR leaves silent clips out. `latent_std` is over everything, `latent_std_over_time` the mean over latents of
    the standard deviation inside a clip: near zero, the encoder gives the same for every sound.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    distance = MelDistance(codec.config.sampling_rate).to(device)
    mels, ratios, moving, latent_all = [], [], [], []
    for clip in corpus.clips:
        x = torch.from_numpy(clip[:, : round(MAX_VALIDATION_S * codec.config.sampling_rate)]).to(device)
        latents, y = run_clip(model, x, codec.config.chunk_length)
        mels.append(distance(x[None], y[None]).item())
        if x.square().mean().sqrt() > 1e-4:
            ratios.append(si_sdr(x, y).mean().item())
        if latents.shape[1] > 1:
            moving.append(latents.std(dim=1).mean().item())
        latent_all.append(latents.flatten()[::16].cpu())
    model.train(was_training)
    return {
        "mel_distance": sum(mels) / len(mels),
        "si_sdr_db": sum(ratios) / max(1, len(ratios)),
        "latent_std": torch.cat(latent_all).std(unbiased=False).item(),
        "latent_std_over_time": sum(moving) / max(1, len(moving)),
        "num_clips": len(mels),
    }


def train_codec(
    codec: EncodecModel,
    recipe: Recipe,
    corpora: Sequence[Corpus],
    shares: Sequence[float],
    held_out: Corpus,
    checkpoints: Path,
    accelerator: Accelerator,
    *,
    log_steps: int = 50,
    eval_steps: int = 500,
    save_steps: int = 500,
    resume: bool = True,
    on_validation: Callable[[int, Autoencoder], object] | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[int, list[dict]]:
    """Train `codec` in place and return (steps done, history).

    After Ctrl-C or SIGTERM, in whichever process, the step is finished and a checkpoint written before all of them end
    as that signal has it. Its encoder and decoder stay on the accelerator's device.

    The newest checkpoint in `checkpoints` is gone on from where `resume`, to the bit on the same machine. Raises
    `ValueError` when it was made with another recipe (`max_steps` may change as long as its fall has not begun).
    """
    if recipe.encoder_steps and not (recipe.anchor_weight > 0 and recipe.anchor_bands > 0):
        raise ValueError("encoder_steps need something for the encoder to follow: set anchor_weight above 0")
    model = Autoencoder(codec)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2))
    step, history = 0, []
    model.to(accelerator.device)
    found = list_checkpoints(checkpoints)
    if found and not resume:  # newer by their numbers than those that come
        if accelerator.is_main_process:
            shutil.rmtree(checkpoints)
        accelerator.wait_for_everyone()
    elif found:
        state = load_checkpoint(found[-1], model, optimizer)
        check_same(recipe, state, found[-1])
        step, history = state["step"], state["history"]
        say(f"resuming after step {step} from {found[-1]}")
    loss_of = CodecLoss(codec, recipe).to(accelerator.device)
    trained, optimizer = accelerator.prepare(model, optimizer)
    trained.train()

    def save() -> None:
        if accelerator.is_main_process:
            save_checkpoint(checkpoints, step, model, optimizer.optimizer, _state(recipe, history))

    started, first = time.monotonic(), step
    seconds = recipe.batch_size * recipe.num_processes * recipe.crop_samples / codec.config.sampling_rate
    with stop_requests() as stop:
        while step < recipe.max_steps:
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate_at(step)
            x = torch.from_numpy(
                draw_batch(
                    corpora,
                    shares,
                    batch_size=recipe.batch_size,
                    crop_samples=recipe.crop_samples,
                    seed=recipe.seed,
                    step=step,
                    rank=accelerator.process_index,
                )
            ).to(accelerator.device)
            latents, y = trained(x, decode=step >= recipe.encoder_steps)
            loss, parts = loss_of(x, latents, y)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(trained.parameters(), recipe.max_grad_norm)
            if not math.isfinite(float(norm)):
                raise ValueError(
                    f"the loss is not finite at step {step}: try a lower --learning_rate than {recipe.learning_rate}"
                )
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            last = step == recipe.max_steps or _any(accelerator, stop())
            logged = step % log_steps == 0 or step in (1, recipe.max_steps)
            if logged:
                history.append({"step": step, **{name: round(float(value), 5) for name, value in parts.items()}})
            if logged or last or step == first + 1:
                pace = (time.monotonic() - started) / (step - first)
                numbers = "  ".join(f"{name} {float(value):.3f}" for name, value in parts.items())
                say(
                    f"step {step}/{recipe.max_steps}  {numbers}"
                    f"  {pace:.2f} s/step  {seconds / pace:.1f}x real time"
                    f"  {_left(pace * (recipe.max_steps - step))} left"
                )
            if accelerator.is_main_process and (step % eval_steps == 0 or step == recipe.max_steps):
                row = {"step": step, "validation": measure(model, held_out, codec)}
                history.append(row)
                say(f"step {step}: {json.dumps(row['validation'])}")
                if on_validation is not None:
                    on_validation(step, model)
            if step % save_steps == 0 or last:
                save()
            if last:
                break
    accelerator.wait_for_everyone()
    if _any(accelerator, stop()):
        say(f"stopped after step {step} of {recipe.max_steps}")
        stop_now(stop())
    return step, history


def _state(recipe: Recipe, history: list[dict]) -> dict:
    return {"recipe": asdict(recipe), "history": history}


def check_same(recipe: Recipe, state: Mapping, path: Path) -> None:
    """Raise `ValueError` where the checkpoint `path`, whose state is given, was made with another recipe."""
    now, saved, step = asdict(recipe), state["recipe"], state["step"]
    changed = {name: (saved.get(name), value) for name, value in now.items() if saved.get(name) != value}
    fall = min(steps["max_steps"] - steps["decay_steps"] for steps in (now, saved))
    if step <= fall:  # the plateau is the same whatever comes after it
        changed = {name: pair for name, pair in changed.items() if name not in ("max_steps", "decay_steps")}
    if changed:
        what = ", ".join(f"{name} was {old}, is {new}" for name, (old, new) in changed.items())
        raise ValueError(
            f"{path} was made with other settings ({what}): use those, another --output_dir, or --overwrite"
        )


def _any(accelerator: Accelerator, asked: int) -> bool:
    """Whether any process was asked to stop: all of them must leave the loop at the same step."""
    if accelerator.num_processes == 1:
        return bool(asked)
    return bool(accelerator.reduce(torch.tensor(float(bool(asked)), device=accelerator.device), "sum") > 0)


def _left(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
