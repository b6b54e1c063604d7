"""Windows as vectors that can be compared: what the head `statistics` measures of them, which takes no labels."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from hf_encls.features.store import ROWS_PER_READ, Windows, codebooks_of, embed
from hf_encls.model.configuration_encls import EnclsConfig, FeatureConfig
from hf_encls.model.mel_encls import MIN_POWER, Mel
from hf_encls.model.statistics_encls import StatisticsHead, moments


class Vectors:
    """The vectors of a folder's windows, and the measure by which other windows become such vectors.

    Means, deviations and the covariance of the bands in the strongest directions, whitened and each shifted and scaled by
    the windows of the folder: what is usual there is near 0.

    Args:
        windows: as `extract_features` makes them, or several such sets, one after the other. Pure silence is passed over.
        config: theirs.
        codec: of windows of codes, whose codebooks they point into.

    Attributes:
        rows: (n,) the numbers of the windows that are not silent.
        heard: (n, D) their vectors, float32.

    Raises `ValueError` where there is nothing but silence.
    """

    def __init__(
        self, windows: Dataset | Sequence[Dataset], config: FeatureConfig, codec: PreTrainedModel | None = None
    ):
        self.config = EnclsConfig.of(config, head=StatisticsHead.kind)
        self.codebooks = codebooks_of(codec, config.num_codebooks) if config.representation.integers else None
        stores = [
            Windows(each) for each in ([windows] if isinstance(windows, Dataset) else windows)
        ]  # codes stay codes
        heard = [np.ones(len(each), bool) if each.silent is None else ~each.silent for each in stores]
        self.rows = np.flatnonzero(np.concatenate(heard))
        if not len(self.rows):
            raise ValueError("expected windows with a sound in them, found nothing but silence")
        self.mean, self.scale = torch.tensor(0.0), torch.tensor(1.0)

        def blocks() -> Iterator[torch.Tensor]:
            for store, rows in zip(stores, map(np.flatnonzero, heard), strict=True):
                for at in range(0, len(rows), ROWS_PER_READ):
                    yield self._seen(store.take(rows[at : at + ROWS_PER_READ]))

        with torch.inference_mode():
            self.mean, self.scale = _standard(blocks())
            self.head = StatisticsHead(self.config)
            self.head.measure(blocks)
            self.heard = np.concatenate([self.head.features(each).numpy() for each in blocks()])

    def of(self, windows: torch.Tensor) -> np.ndarray:
        """Windows as they are kept (W, C, T) -> their vectors (W, D), float32."""
        with torch.inference_mode():
            return np.concatenate(
                [self.head.features(self._seen(part)).numpy() for part in windows.split(ROWS_PER_READ)]
            )

    def _seen(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows as they are kept -> features (W, C, T), standardised; power in decibels."""
        features = (windows if self.codebooks is None else embed(windows, self.codebooks)).float().cpu()
        if self.config.features == Mel.kind:  # power spans too many orders of magnitude for a mean
            features = 10 * features.clamp_min(MIN_POWER).log10()
        return (features - self.mean) * self.scale


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, D) -> those of length 1 in their directions."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _standard(blocks: Iterator[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean, and one over the deviation, of each band (C, 1) over all windows (W, C, T) and their frames."""
    mean, deviation = moments(windows.double().transpose(0, 1).flatten(1) for windows in blocks)
    scale = torch.where(deviation > 0, 1 / deviation.clamp_min(1e-30), 1.0)
    return mean.float()[:, None], scale.float()[:, None]
