"""The contract of a representation: what turns waveforms into windows of features, and the facts about them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from transformers import PreTrainedConfig

from .export_encls import ExportError
from .precision_encls import KeepsPrecision


class Representation(KeepsPrecision, ABC):
    """
    One way to see a sound: waveforms (N,) in, windows (W, C, T) out. The network behind it knows only C and T.

    A representation is one class. The class itself answers for its facts, given a [`FeatureConfig`], before any weight
    exists; an instance computes. Its weights move with the model and stay float32 when it is made half (`.half()`,
    `.to(torch.bfloat16)`): the features must not change with the network's precision.

    To add one, subclass it, say the facts, write `windows` and `stream`, and name the class in
    `configuration_encls.REPRESENTATIONS`.
    """

    kind: ClassVar[str]
    """What `FeatureConfig.features` calls it."""
    needs_codec: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()
    """Settings that mean something to this representation, and not to every other."""
    stored_dtype: ClassVar[str] = "float16"
    """NumPy's name of the type in which windows are kept on disk."""
    integers: ClassVar[bool] = False
    """Whether windows are stored as integers, which `embed` turns into features."""
    ordered: ClassVar[bool] = False
    """Whether the bands are in an order, of pitch: neighbours are alike."""
    text: ClassVar[str]
    """What it is, for people: `the latents`."""
    axes: ClassVar[tuple[str, str]]
    """Names of the bands and of the values, for pictures."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.config = config

    @classmethod
    @abstractmethod
    def samples_per_unit(cls, config: PreTrainedConfig) -> int:
        """Samples in one unit of the window grid: the windows start and end at whole units."""

    @classmethod
    @abstractmethod
    def frame_length(cls, config: PreTrainedConfig) -> int:
        """Samples from one frame to the next."""

    @classmethod
    @abstractmethod
    def num_frames(cls, config: PreTrainedConfig, num_samples: int) -> int:
        """Frames T of `num_samples` that are encoded together."""

    @classmethod
    @abstractmethod
    def num_samples(cls, config: PreTrainedConfig, num_frames: int) -> int:
        """The fewest samples that give `num_frames`."""

    @classmethod
    def frame_centre(cls, config: PreTrainedConfig) -> float:
        """Samples from a frame's start to its centre."""
        return 0.5 * cls.num_samples(config, 1)

    @classmethod
    def stored_bands(cls, config: PreTrainedConfig) -> int:
        """Rows of a stored window."""
        return config.num_bands

    @classmethod
    def frames_of_clip(cls, config: PreTrainedConfig, num_samples: int) -> int:
        """Frames of a whole clip, those of its reflected end left out."""
        return max(1, cls.num_frames(config, num_samples))

    @classmethod
    def window_starts(cls, config: PreTrainedConfig, count: int) -> np.ndarray:
        """Samples (count,) at which a clip's first `count` windows start."""
        return np.arange(count) * config.step_samples

    @classmethod
    def suggested(cls, sampling_rate: int) -> dict[str, int]:
        """What is taken for new features of sounds at a rate in hertz, where nothing is asked for.

        A configuration that leaves it open has the values of its class: those of every checkpoint that there is.
        """
        return {}

    @classmethod
    def resolve(cls, config: PreTrainedConfig) -> None:
        """Fill in, once, what a new configuration leaves open."""

    @classmethod
    def empty_bands(cls, config: PreTrainedConfig) -> list[int]:
        """Bands that are always silent, whatever sounds."""
        return []

    @classmethod
    def validate(cls, config: PreTrainedConfig) -> None:
        """Raise `ValueError` for settings that cannot work together."""

    @classmethod
    def levels(cls, windows: np.ndarray) -> np.ndarray:
        """Windows or clips (..., C, T) as values of which a mean says something: power spans too many orders for one."""
        return windows

    @classmethod
    def picture(cls, windows: np.ndarray) -> np.ndarray:
        """Windows or clips (..., C, T) as values that an eye can tell apart."""
        return windows

    def reset(self) -> None:
        """Fill buffers that follow from the settings, where they were made without values (on the meta device)."""

    @classmethod
    def louder(cls, windows: torch.Tensor, gain_db: torch.Tensor, floor_db: float | None = None) -> torch.Tensor:
        """Windows (W, C, T) of the same sounds made louder by `gain_db` (W, 1, 1); unchanged where that is not known.

        `floor_db` is their configuration's.
        """
        return windows

    @property
    def takes_convolutions(self) -> bool:
        """Whether another runtime may compute the convolutions: set as `convolutions`, see `encode_causal`."""
        return False

    @abstractmethod
    def windows(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Waveforms of shapes (N,) -> windows of shapes (W, C, T), float32."""

    def windows_in_graph(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Waveforms of one length (B, N) -> their windows (B, W, C, T), in operations of a graph for any N.

        For `torch.export`: no `if` and no loop that the length decides. Raises `ExportError` where there is no such way.
        """
        raise ExportError(f"{self.text} cannot be exported: no graph of them is known")

    @abstractmethod
    def stream(self, blocks: Iterator[torch.Tensor], piece_s: float | None = None) -> Iterator[torch.Tensor]:
        """Blocks (n,) of one clip -> the windows of that clip, piece by piece (w, C, T), in constant memory.

        Of live sound `piece_s` says how many seconds may be waited for, so that more of it is computed together.
        """

    def delay_s(self, piece_s: float) -> float | None:
        """Seconds that a window of live sound is behind its last sample at most, computing aside; None: until the end."""
        return 0.0

    def stored_windows(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Waveforms of shapes (N,) -> windows as they are kept: (W, C, T), or integers that `embed` reads."""
        return self.windows(waveforms)

    def stored_stream(self, blocks: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """As `stream`, of windows as they are kept."""
        return self.stream(blocks)

    def embed(self, stored: torch.Tensor) -> torch.Tensor:
        """Stored windows (W, K, T) -> features (W, C, T)."""
        return stored
