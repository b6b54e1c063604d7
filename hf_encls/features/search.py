"""Sounds that are like another one: of every file the windows that are nearest to those of the sound that is looked for."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from hf_encls.audio import AudioError, describe, stream
from hf_encls.data.columns import label_text
from hf_encls.features.computing import Extractor
from hf_encls.features.vectors import Vectors, unit_vectors
from hf_encls.model.codec_encls import codec_adapter
from hf_encls.model.configuration_encls import FeatureConfig

ROWS = 64  # windows of the sound that are compared together
LONGEST_S = 600.0  # of a sound that is looked for


@dataclass(frozen=True)
class Match:
    """A clip that is like the sound: from -1 to 1 how much, when its best window starts, and its label where it has one."""

    clip_id: str
    start_s: float
    similarity: float
    label: str | None


class SoundIndex:
    """The windows of a folder as vectors, to look for sounds that are like one.

    ```python
    >>> clips, _ = scan_folder("my_sounds")
    >>> config = feature_config("log_mel", clips)
    >>> index = SoundIndex(extract_features(clips, config), config)
    >>> index.search("like_this.wav", top_k=5)
    ```

    Args:
        windows: as `extract_features` makes them, or published ones; pure silence among them is passed over.
        config: their configuration.
        codec: the codec that made them, where one did.

    Raises `ValueError` where there is nothing but silence, and where features need a codec that is not given.
    """

    def __init__(self, windows: Dataset, config: FeatureConfig, codec: PreTrainedModel | None = None):
        if config.representation.needs_codec:
            if codec is None:
                raise ValueError(f"{config.feature_name} needs the codec that made it: give it as `codec`")
            config = FeatureConfig.of(config, codec_config=codec_adapter(codec).as_dict())
        self.config, self.codec = config, codec
        self.vectors = Vectors(windows, config, codec)
        rows = self.vectors.rows
        ids = np.asarray(windows["clip_id"][:])[rows]
        order = np.argsort(ids, kind="stable")  # the windows of a clip lie together
        self.clip_ids, self._first = np.unique(ids[order], return_index=True)
        self._units = unit_vectors(self.vectors.heard[order])
        self._starts_s = np.asarray(windows["start"][:], np.float64)[rows][order]
        labels = windows["label"][:]
        self._labels = [
            None if labels[row] in (-1, []) else label_text(windows, labels[row]) for row in rows[order].tolist()
        ]

    def search(
        self, sound: str | os.PathLike | bytes, top_k: int | None = 10, leave_out: Collection[str] = ()
    ) -> list[Match]:
        """The clips that are most like a sound, the best first; None: all of them.

        Each window of the sound has its nearest window in a clip; the clip's similarity is the mean of these cosines.
        `leave_out` are ids of clips that do not count. Raises `AudioError` for a sound that cannot be read, is longer than
        `LONGEST_S` or silent.
        """
        try:
            windows, silent = self._extractor.of_sound(self._read(sound))
            if silent.all():
                raise AudioError("is pure silence: there is nothing to look for")
        except AudioError as error:
            raise AudioError(f"{describe(sound)} {error}") from error
        return self._nearest(windows[torch.from_numpy(~silent)], top_k, set(leave_out))

    @cached_property
    def _extractor(self) -> Extractor:
        return Extractor(self.config, self.codec)

    def _read(self, sound: str | os.PathLike | bytes) -> np.ndarray:
        """(N,) at the features' rate."""
        blocks, left = [], round(LONGEST_S * self.config.sampling_rate)
        for block in stream(sound, self.config.sampling_rate):
            blocks.append(block)
            left -= len(block)
            if left < 0:
                raise AudioError(f"is longer than {LONGEST_S:g} s: cut out what is to be looked for")
        return np.concatenate(blocks)

    def _nearest(self, windows: torch.Tensor, top_k: int | None, leave_out: set[str]) -> list[Match]:
        queries = unit_vectors(self.vectors.of(windows))
        total, best = np.zeros(len(self.clip_ids)), np.full(len(self._units), -np.inf, np.float32)
        for at in range(0, len(queries), ROWS):
            cosines = queries[at : at + ROWS] @ self._units.T  # (windows of the sound, windows of the folder)
            total += np.maximum.reduceat(cosines, self._first, axis=1).sum(axis=0)
            best = np.maximum(best, cosines.max(axis=0))
        similarity = total / len(queries)
        ends = [*self._first[1:], len(best)]
        matches = []
        for clip in np.argsort(-similarity, kind="stable"):
            if top_k is not None and len(matches) >= top_k:
                break
            name = str(self.clip_ids[clip])
            if name not in leave_out:
                window = self._first[clip] + int(best[self._first[clip] : ends[clip]].argmax())
                start_s = round(float(self._starts_s[window]), 3)
                matches.append(Match(name, start_s, float(similarity[clip]), self._labels[window]))
        return matches
