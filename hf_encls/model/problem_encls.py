"""What a model's scores are: probabilities of one class of several (softmax), or of each class by itself (sigmoid)."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig

# transformers' names of problem types; None is the first one.
ONE_LABEL, SEVERAL_LABELS = "single_label_classification", "multi_label_classification"


def check_problem(config: PreTrainedConfig) -> None:
    """Raise `ValueError` for a problem type that is not solved here, and for thresholds that do not fit."""
    if config.problem_type not in (None, ONE_LABEL, SEVERAL_LABELS):
        raise ValueError(
            f"expected problem_type {ONE_LABEL} or {SEVERAL_LABELS}, found {config.problem_type!r}: numbers are not learned "
            "here, give ranges of them as classes"
        )
    thresholds = config.thresholds
    if thresholds is None:
        return
    if not has_several_labels(config):
        raise ValueError(f"thresholds are about problem_type {SEVERAL_LABELS}, found {config.problem_type}")
    if len(thresholds) != config.num_labels or not all(0 <= each <= 1 for each in thresholds):
        raise ValueError(f"expected thresholds from 0 to 1, {config.num_labels} of them, found {thresholds!r:.80}")


def has_several_labels(config: PreTrainedConfig) -> bool:
    """Whether a sound can have several labels at once, or none."""
    return config.problem_type == SEVERAL_LABELS


def thresholds_of(config: PreTrainedConfig) -> Sequence[float]:
    """From which probability on each class is there (L,), of a model of several labels: 0.5 where none was chosen."""
    return [0.5] * config.num_labels if config.thresholds is None else config.thresholds


def probabilities(logits: torch.Tensor, config: PreTrainedConfig) -> torch.Tensor:
    """Scores (..., L) -> probabilities: of all classes together 1, or each from 0 to 1 by itself."""
    return logits.sigmoid() if has_several_labels(config) else logits.softmax(-1)


def window_scores(logits: torch.Tensor, config: PreTrainedConfig) -> torch.Tensor:
    """Scores of windows (W, L) -> their log-probabilities; of several labels log-odds, which they are already."""
    return logits if has_several_labels(config) else logits.log_softmax(-1)


def clip_score(scores: torch.Tensor, config: PreTrainedConfig, count: torch.Tensor | None = None) -> torch.Tensor:
    """`window_scores` of a clip (..., W, L) -> its logits (..., L), of which `probabilities` makes the windows' mean.

    `count` (..., 1) is W where a graph must not know it.
    """
    if has_several_labels(config):
        there, absent = (nn.functional.logsigmoid(each).logsumexp(-2) for each in (scores, -scores))
        return there - absent
    return scores.logsumexp(-2) - (math.log(scores.shape[-2]) if count is None else count.to(scores.dtype).log())


def loss_of(logits: torch.Tensor, labels: torch.Tensor, config: PreTrainedConfig) -> torch.Tensor:
    """Mean loss of scores (B, L): cross entropy for classes (B,), binary cross entropy for labels (B, L) from 0 to 1.

    A label that is NaN is not known, and has no loss. Raises `ValueError` for labels of another shape.
    """
    if not has_several_labels(config):
        return nn.functional.cross_entropy(logits, labels.long())
    if labels.shape != logits.shape:
        raise ValueError(
            f"expected labels of shape {tuple(logits.shape)}, from 0 to 1 for each class, found {tuple(labels.shape)}"
        )
    return binary_loss(logits, labels.to(logits.dtype))


def binary_loss(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Mean binary cross entropy of scores (B, L) over the labels that are known (not NaN), with weights (B, L)."""
    known = ~target.isnan()
    target = torch.where(known, target, 0.0)
    weight = known.to(logits.dtype) if weight is None else torch.where(known, weight, 0.0)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    return loss / known.sum().clamp_min(1)
