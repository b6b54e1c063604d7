"""Accuracy, loss and macro F1 of clips: each clip's result is the mean of its windows' probabilities."""

import datasets
import numpy as np

from hf_encls.training.metrics import scores, window_metric


class ClipAccuracy(window_metric.WindowMetric):
    """`accuracy`, `macro_f1`, `num_clips` and, from probabilities, `loss` and `ece` of clips."""

    description = (
        "Accuracy, loss, macro F1 and calibration error of clips, by the mean of their windows' probabilities."
    )
    inputs = """    clip_ids: for each window, the id of the clip it was cut from.

Predictions that are classes count as probabilities of one: the clip's class is then the commonest of its windows,
the lower number in a tie, and there is no loss and no calibration error.
"""
    extra = {"clip_ids": datasets.Value("string")}

    def _compute(self, predictions, references, clip_ids) -> dict:
        predictions = np.asarray(predictions)
        are_classes = predictions.ndim == 1
        if are_classes:
            num_classes = 1 + int(max(predictions.max(), np.max(references)))
            predictions = np.eye(num_classes)[predictions]
        split = scores.evaluate_split(predictions, references, clip_ids)
        result = split.clip.as_dict() | {"num_clips": split.num_clips}
        if are_classes:
            del result["loss"], result["ece"]
        return result
