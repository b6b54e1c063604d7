"""Share of windows whose most probable class is the true one."""

import datasets
import evaluate
import numpy as np

from hf_encls.training.metrics import scores

DESCRIPTION = """Accuracy of windows: the share whose most probable class is the true one."""

INPUTS = """
Args:
    predictions: for each window, either its class as an integer or its probabilities of all the classes.
    references: for each window, its true class as an integer.
"""


class WindowAccuracy(evaluate.Metric):
    """`accuracy` of windows."""

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
        predictions, _ = scores.as_classes(predictions)
        return {"accuracy": float((predictions == np.asarray(references)).mean())}
