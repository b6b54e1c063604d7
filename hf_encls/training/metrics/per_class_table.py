"""Precision, recall and F1 of every class, and the confusion matrix."""

import datasets
import evaluate
import numpy as np

from hf_encls.training.metrics import scores

DESCRIPTION = """Precision, recall, F1 and support of every class, and the confusion matrix (rows: true class)."""

INPUTS = """
Args:
    predictions: for each window, either its class as an integer or its probabilities of all the classes.
    references: for each window, its true class as an integer.
    class_names: names of all the classes, in the order of their numbers; numbers are the names without it.
"""


class PerClassTable(evaluate.Metric):
    """`classes` (one dict for each) and `confusion_matrix` of windows."""

    def _info(self) -> evaluate.MetricInfo:
        others = {"references": datasets.Value("int64")}
        kinds = (datasets.Value("int64"), datasets.Sequence(datasets.Value("float64")))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=[datasets.Features({"predictions": kind} | others) for kind in kinds],
        )

    def _compute(self, predictions, references, class_names=None) -> dict:
        predictions, num_classes = scores.as_classes(predictions)
        if class_names is None:
            class_names = [str(number) for number in range(max(num_classes, int(np.max(references)) + 1))]
        return {
            "classes": scores.per_class(predictions, references, class_names),
            "confusion_matrix": scores.confusion(predictions, references, len(class_names)).tolist(),
        }
