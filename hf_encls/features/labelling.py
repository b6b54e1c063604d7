"""Windows of recordings with time-aligned labels: which of them have a label, and what it is."""

import logging
from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from hf_encls.data.labelled import window_labels
from hf_encls.model.configuration_encls import FeatureConfig

logger = logging.getLogger(__name__)


def labels_identity(clips: Dataset) -> list:
    """What the labels of windows depend on besides the sounds, as JSON."""
    columns = (clips["segments"][:], clips["min_overlap"][:])
    return [
        [min_overlap, *([segment[name] for name in ("start", "end", "label")] for segment in segments)]
        for segments, min_overlap in zip(*columns, strict=True)
    ]


def labelled(
    batch: dict, counts: Sequence[int], rows: dict, config: FeatureConfig, num_labels: int
) -> tuple[np.ndarray, dict]:
    """Which of the windows of a batch of recordings, `counts` of each, have a label (W,), and the rows of those, with it."""
    recordings = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    labels = [
        window_labels(recording, config.window_starts_s(count), config.window_s, num_labels)
        for recording, count in zip(recordings, counts, strict=True)
    ]
    rows["label"] = np.concatenate(labels)
    used = rows["label"] >= 0
    return used, {name: np.asarray(values)[used].tolist() for name, values in rows.items()}


def check_labels(windows: Dataset, min_overlap: float) -> None:
    """Raise `ValueError` where no window of recordings has a label; say which classes have none."""
    names = windows.features["label"].names
    found = {names[label] for label in set(windows["label"][:])}
    if not found:
        raise ValueError(
            f"expected windows with a label, found none: no label fills {min_overlap:g} of a window. Take a lower "
            "`min_overlap`, or shorter windows"
        )
    missing = sorted(set(names) - found)
    if missing:
        logger.warning("no window is %s: no such label fills %g of one", ", ".join(missing), min_overlap)
