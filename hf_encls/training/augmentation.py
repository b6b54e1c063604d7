"""What a recipe does to a training batch (B, C, T), and the loss of labels that are mixed, weighted or smoothed.

All of it is vectorised and happens where the batch lies. The random numbers, a handful for each window, are drawn on the
host by NumPy from the run's seed, the step and the process: they are the same on every device, and a run that goes on
after it was killed draws what it would have drawn.
"""

from collections.abc import Sequence

import numpy as np
import torch

from hf_encls.fast.memory import sent
from hf_encls.model.problem_encls import binary_loss
from hf_encls.model.representation_encls import Representation
from hf_encls.training.recipe import Recipe

Batch = dict[str, torch.Tensor]


def augment(
    batch: Batch,
    recipe: Recipe,
    representation: type[Representation],
    key: Sequence[int],
    floor_db: float | None = None,
) -> Batch:
    """A batch as the recipe changes it; `key` is what its random numbers are drawn from, `floor_db` the features'.

    `batch` has `input_features` (B, C, T) and `labels` (B,); from a `NeighbourStore` also `following` (B, C, T) and
    `shift` (B,). Returns `input_features` (B, C, T) in float32 and `labels`; after mixup also `other_labels` (B,) and
    `share` (B,), how much of each window is of its own label: at least half.
    """
    random = np.random.default_rng(key)
    windows, labels = batch["input_features"], batch["labels"]
    count, device = len(windows), windows.device

    def drawn(values: np.ndarray) -> torch.Tensor:
        return sent(torch.from_numpy(values), device)

    if "following" in batch:
        shift = batch["shift"]  # it stays where it is: reading it would make the device wait
        start = (drawn(random.random(count, np.float32)) * (shift + 1)).long().minimum(shift)
        windows = crop(windows, batch["following"], shift, start)
    windows = windows.float()
    if recipe.gain_db:
        gain = random.uniform(-recipe.gain_db, recipe.gain_db, count).astype(np.float32)
        windows = representation.louder(windows, drawn(gain)[:, None, None], floor_db)
    out = {"labels": labels}
    if recipe.mixup:
        share = random.beta(recipe.mixup, recipe.mixup, count).astype(np.float32)
        share = drawn(np.maximum(share, 1 - share))
        partner = drawn(random.permutation(count))
        windows = torch.lerp(windows[partner], windows, share[:, None, None])
        out |= {"other_labels": labels[partner], "share": share}
    if recipe.time_masks or recipe.band_masks:
        frames = _masks(random, count, recipe.time_masks, windows.shape[2], recipe.mask_share)
        bands = _masks(random, count, recipe.band_masks, windows.shape[1], recipe.mask_share)
        hidden = drawn(frames)[:, None, :] | drawn(bands)[:, :, None]
        windows = torch.where(hidden, windows.mean(dim=(0, 2))[:, None], windows)
    return out | {"input_features": windows}


def crop(windows: torch.Tensor, following: torch.Tensor, shift: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Windows (B, C, T) cut from neighbours: `following` begins `shift` frames (B,), at most T, after `windows`.

    `start` (B,), from 0 to `shift`, is the frame at which each is cut: 0 gives `windows`, `shift` gives `following`.
    """
    frames = windows.shape[2]
    index = start[:, None] + torch.arange(frames, device=windows.device)
    # What both of them have is taken from the first.
    index = torch.where(index < frames, index, index - shift[:, None] + frames)
    both = torch.cat([windows, following], dim=2)
    return both.gather(2, index[:, None].expand_as(windows))


def move_bands(windows: torch.Tensor, by: int) -> torch.Tensor:
    """Windows (B, C, T) whose band c is what c + `by` was: sounds that are lower, or for a negative `by` higher.

    Where nothing moves in, the outermost band stands again.
    """
    bands = windows.shape[1]
    return windows[:, (torch.arange(bands, device=windows.device) + by).clamp(0, bands - 1)] if by else windows


def soft_cross_entropy(
    logits: torch.Tensor, batch: Batch, weights: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """The loss of a batch from `augment`, logits (B, L): torch's `cross_entropy(weight=..., label_smoothing=...)`.

    A mixed window has each of its two labels in its share, in the loss and in the sum of weights that divides it.
    """
    classes = logits.shape[1]
    target = torch.nn.functional.one_hot(batch["labels"], classes).to(logits.dtype)
    if "share" in batch:
        second = torch.nn.functional.one_hot(batch["other_labels"], classes).to(logits.dtype)
        target = torch.lerp(second, target, batch["share"].to(logits.dtype)[:, None])
    weights = logits.new_ones(classes) if weights is None else weights.to(logits.dtype)
    smooth = (1 - smoothing) * target + smoothing / classes
    loss = -(smooth * weights * logits.log_softmax(-1)).sum()
    return loss / (target * weights).sum()


def soft_binary_cross_entropy(
    logits: torch.Tensor, batch: Batch, weights: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """The same of several labels at once, logits and labels (B, L): torch's `binary_cross_entropy_with_logits`.

    `weights` (2, L): of a label that is absent and of one that is there. Of a smoothed label half of the share is each.
    """
    target = batch["labels"].to(logits.dtype)
    if "share" in batch:
        target = torch.lerp(batch["other_labels"].to(logits.dtype), target, batch["share"].to(logits.dtype)[:, None])
    target = (1 - smoothing) * target + smoothing / 2
    return binary_loss(logits, target, None if weights is None else torch.lerp(*weights.to(logits.dtype), target))


def label_weights(labels: np.ndarray) -> torch.Tensor:
    """(2, L) n / (2 n_c) for n windows of which n_c lack label c, and have it: scikit-learn's `balanced` for each label."""
    counts = np.stack([(labels == 0).sum(axis=0), (labels == 1).sum(axis=0)])
    return torch.from_numpy(counts.sum(axis=0) / (2 * counts.clip(min=1))).float()


def class_weights(labels: np.ndarray, classes: int) -> torch.Tensor:
    """(L,) n / (L * n_c) for n labels of which n_c are c: scikit-learn's `balanced`. A class without any counts once."""
    counts = np.bincount(labels, minlength=classes).clip(min=1)
    return torch.from_numpy(len(labels) / (classes * counts)).float()


def _masks(random: np.random.Generator, count: int, masks: int, size: int, share: float) -> np.ndarray:
    """(count, size) which of `size` places are hidden by `masks` stretches of up to `share` of them."""
    hidden = np.zeros((count, size), bool)
    for _ in range(masks):
        length = random.integers(0, int(share * size) + 1, count)
        first = random.integers(0, size - length + 1)
        places = np.arange(size)
        hidden |= (places >= first[:, None]) & (places < (first + length)[:, None])
    return hidden
