"""Unweighted mean of the classes' F1."""

import datasets
import evaluate
import numpy as np

from hf_encls.training.metrics import scores

DESCRIPTION = """Macro F1 of windows: the unweighted mean of the F1 of the classes that occur."""

INPUTS = """
Args:
    predictions: for each window, either its class as an integer or its probabilities of all the classes.
    references: for each window, its true class as an integer.
"""


class MacroF1(evaluate.Metric):
    """`macro_f1` of windows."""

    def _info(self) -> evaluate.MetricInfo:
        others = {"references": datasets.Value("int64")}
        kinds = (datasets.Value("int64"), datasets.Sequence(datasets.Value("float64")))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=[datasets.Features({"predictions": kind} | others) for kind in kinds],
        )

    def _compute(self, predictions, references) -> dict:
        predictions, num_classes = scores.as_classes(predictions)
        num_classes = max(num_classes, int(np.max(references)) + 1)
        return {"macro_f1": scores.macro_f1(predictions, references, num_classes)}
