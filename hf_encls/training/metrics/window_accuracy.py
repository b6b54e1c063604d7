"""Share of windows whose most probable class is the true one."""

from hf_encls.training.metrics import scores, window_metric


class WindowAccuracy(window_metric.WindowMetric):
    """`accuracy` of windows."""

    description = "Accuracy of windows: the share whose most probable class is the true one."

    def _compute(self, predictions, references) -> dict:
        predictions, _ = scores.as_classes(predictions)
        return {"accuracy": float(scores.accuracy_score(references, predictions))}
