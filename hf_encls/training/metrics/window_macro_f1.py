"""Unweighted mean of the classes' F1."""

from hf_encls.training.metrics import scores, window_metric


class MacroF1(window_metric.WindowMetric):
    """`macro_f1` of windows."""

    description = "Macro F1 of windows: the unweighted mean of the F1 of the classes that occur."

    def _compute(self, predictions, references) -> dict:
        predictions, _ = scores.as_classes(predictions)
        return {"macro_f1": scores.macro_f1(predictions, references)}
