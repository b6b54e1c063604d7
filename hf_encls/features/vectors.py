"""Windows as vectors that can be compared: what the head `statistics` measures of them, which takes no labels."""

from collections.abc import Iterator

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from hf_encls.features.store import ROWS_PER_READ, FeatureStore, Windows, codebooks_of, embed
from hf_encls.model.configuration_encls import EnclsConfig, FeatureConfig
from hf_encls.model.mel_encls import MIN_POWER
from hf_encls.model.statistics_encls import StatisticsHead


class Vectors:
    """The vectors of a folder's windows, and the measure by which other windows become such vectors.

    Means, deviations and the covariance of the bands in the strongest directions, whitened and each shifted and scaled by
    the windows of the folder: what is usual there is near 0.

    Args:
        windows: as `extract_features` makes them.
        config: theirs.
        codec: of windows of codes, whose codebooks they point into.
    """

    def __init__(self, windows: Dataset, config: FeatureConfig, codec: PreTrainedModel | None = None):
        self.config = EnclsConfig.of(config, head=StatisticsHead.kind)
        self.codebooks = codebooks_of(codec, config.num_codebooks) if config.representation.integers else None
        store = Windows(windows, codebooks=self.codebooks)
        silent = np.zeros(len(store), bool) if store.silent is None else store.silent
        heard = np.flatnonzero(~silent)
        if not len(heard):
            raise ValueError("expected windows with a sound in them, found nothing but silence")
        mean, deviation = FeatureStore(store, heard).statistics()
        self.mean, self.scale = mean[:, None], torch.where(deviation > 0, 1 / deviation, 1.0)[:, None]
        self.head = StatisticsHead(self.config)
        with torch.inference_mode():
            self.head.measure(lambda: self._blocks(store, heard))
            self.heard = np.concatenate([self.head.features(each).numpy() for each in self._blocks(store, heard)])
        self.rows = heard

    def of(self, windows: torch.Tensor) -> np.ndarray:
        """Windows as they are kept (W, C, T) -> their vectors (W, D), float32."""
        with torch.inference_mode():
            features = windows if self.codebooks is None else embed(windows, self.codebooks)
            return self.head.features(self._standardized(features)).numpy()

    def _blocks(self, store: Windows, rows: np.ndarray) -> Iterator[torch.Tensor]:
        for at in range(0, len(rows), ROWS_PER_READ):
            yield self._standardized(store.take(rows[at : at + ROWS_PER_READ]))

    def _standardized(self, features: torch.Tensor) -> torch.Tensor:
        return (features.float().cpu() - self.mean) * self.scale
