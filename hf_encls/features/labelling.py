"""Windows of recordings with time-aligned labels: which of them have a label, and what it is."""

import logging
from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from hf_encls.data.columns import class_names, label_array, label_lists, several_labels
from hf_encls.data.labelled import window_label_sets, window_labels
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
    batch: dict, starts_s: Sequence[np.ndarray], rows: dict, config: FeatureConfig, num_labels: int
) -> tuple[np.ndarray, dict]:
    """Which windows of recordings have a label (W,), and their rows with it or several; `starts_s` are those of each."""
    recordings = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    labels, used = [], []
    for recording, starts in zip(recordings, starts_s, strict=True):
        where = (recording, starts, config.window_s, num_labels)
        if isinstance(recording["label"], list):
            label_sets, kept = window_label_sets(*where)
            labels += label_lists(label_sets[kept])
        else:
            classes = window_labels(*where)
            kept = classes >= 0
            labels += classes[kept].tolist()
        used.append(kept)
    every = np.concatenate(used)
    others = {name: np.asarray(values)[every].tolist() for name, values in rows.items() if name != "label"}
    return every, {name: labels if name == "label" else others[name] for name in rows}


def check_labels(windows: Dataset, min_overlap: float) -> None:
    """Raise `ValueError` where no window of recordings has a label; say which classes have none."""
    names, labels = class_names(windows.features), label_array(windows)
    present = labels.any(axis=0).nonzero()[0] if several_labels(windows) else set(labels.tolist())
    present_names = {names[label] for label in present}
    if not present_names:
        raise ValueError(
            f"expected windows with a label, found none: no label fills {min_overlap:g} of a window. Take a lower "
            "`min_overlap`, or shorter windows"
        )
    missing = sorted(set(names) - present_names)
    if missing:
        logger.warning("no window is %s: no such label fills %g of one", ", ".join(missing), min_overlap)
