"""Accuracy, loss and macro F1 of clips: each clip's result is the mean of its windows' probabilities."""

import datasets
import evaluate
import numpy as np

from hf_encls.training.metrics import scores

DESCRIPTION = """Accuracy, loss and macro F1 of clips; a clip's result is the mean of its windows' probabilities."""

INPUTS = """
Args:
    predictions: for each window, either its class as an integer or its probabilities of all the classes.
    references: for each window, its true class as an integer.
    clip_ids: for each window, the id of the clip it was cut from.

Predictions that are classes count as probabilities of one: the clip's class is then the commonest of its windows,
the lower number in a tie, and there is no loss.
"""


class ClipAccuracy(evaluate.Metric):
    """`accuracy`, `macro_f1`, `num_clips` and, from probabilities, `loss` of clips."""

    def _info(self) -> evaluate.MetricInfo:
        others = {"references": datasets.Value("int64"), "clip_ids": datasets.Value("string")}
        kinds = (datasets.Value("int64"), datasets.Sequence(datasets.Value("float64")))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=[datasets.Features({"predictions": kind} | others) for kind in kinds],
        )

    def _compute(self, predictions, references, clip_ids) -> dict:
        predictions = np.asarray(predictions)
        are_classes = predictions.ndim == 1
        if are_classes:
            num_classes = 1 + int(max(predictions.max(), np.max(references)))
            predictions = np.eye(num_classes)[predictions]
        split = scores.evaluate_split(predictions, references, clip_ids)
        result = split["clip"] | {"num_clips": split["num_clips"]}
        if are_classes:
            del result["loss"]
        return result
