"""Precision, recall and F1 of every class, and the confusion matrix."""

import numpy as np

from hf_encls.training.metrics import scores, window_metric


class PerClassTable(window_metric.WindowMetric):
    """`classes` (one dict for each) and `confusion_matrix` of windows."""

    description = "Precision, recall, F1 and support of every class, and the confusion matrix (rows: true class)."
    inputs = (
        "    class_names: names of all the classes, in the order of their numbers; numbers are the names without it.\n"
    )

    def _compute(self, predictions, references, class_names=None) -> dict:
        predictions, num_classes = scores.as_classes(predictions)
        if class_names is None:
            class_names = [str(number) for number in range(max(num_classes, int(np.max(references)) + 1))]
        return {
            "classes": scores.per_class(predictions, references, class_names),
            "confusion_matrix": scores.confusion(predictions, references, len(class_names)).tolist(),
        }
