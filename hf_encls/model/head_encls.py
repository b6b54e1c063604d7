"""The contract of a head: what turns windows of features into scores of classes, and the facts about it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig


class Head(nn.Module, ABC):
    """
    One way to tell windows apart: standardised windows (W, C, T) in, what it sees of each (W, D), logits (W, num_labels).

    A head is one class. The class itself answers for its facts, given an [`EnclsConfig`], before any weight exists; an
    instance computes. Each window is computed by itself: what else is in the batch changes nothing. The last layer is
    `classifier`, linear over the D features.

    To add one, subclass it, say the facts, make the layers (`classifier` last), write `features`, and name the class in
    `configuration_encls.HEADS`.
    """

    kind: ClassVar[str]
    """What `EnclsConfig.head` calls it."""
    options: ClassVar[Mapping[str, object]] = {}
    """Fields of [`EnclsConfig`] that are about this head, and the values that they have where none is given."""
    text: ClassVar[str]
    """What it is, for people: `A small convolutional network`."""
    is_fitted: ClassVar[bool] = False
    """Whether `measure` and a fit of `classifier` make it, instead of a training in epochs."""

    classifier: nn.Linear

    @classmethod
    @abstractmethod
    def num_features(cls, config: PreTrainedConfig) -> int:
        """D, the size of what the classifier sees of a window."""

    @classmethod
    @abstractmethod
    def num_values(cls, config: PreTrainedConfig) -> int:
        """Numbers of a window's largest layer: windows go through in parts that this decides."""

    @classmethod
    def validate(cls, config: PreTrainedConfig) -> None:
        """Raise `ValueError` for settings that cannot work together."""

    def num_parameters(self) -> int:
        """Numbers that were learned."""
        return sum(weight.numel() for weight in self.parameters())

    def reset(self) -> None:
        """Set what is neither a convolution, a normalisation nor a linear layer to its values before training."""

    def measure(self, blocks: Callable[[], Iterator[torch.Tensor]]) -> None:
        """Take from standardised training windows what `features` needs. `blocks()` gives them anew, (W, C, T) each."""

    @abstractmethod
    def features(self, windows: torch.Tensor) -> torch.Tensor:
        """Standardised windows (W, C, T), float32 -> what the classifier sees (W, D)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """What `features` made (W, D) -> logits (W, num_labels)."""
        return self.classifier(features)
