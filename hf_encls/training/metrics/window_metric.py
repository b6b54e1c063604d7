"""What the `evaluate` modules of this package have in common: predictions are classes or probabilities of windows."""

import datasets
import evaluate

INPUTS = """
Args:
    predictions: for each window, either its class as an integer or its probabilities of all the classes.
    references: for each window, its true class as an integer.
"""


class WindowMetric(evaluate.Metric):
    """A metric of windows; a subclass says `description`, `inputs` and `extra` columns, and computes."""

    description: str
    inputs: str = ""
    extra: dict[str, datasets.Value] = {}

    def _info(self) -> evaluate.MetricInfo:
        columns = {"references": datasets.Value("int64")} | self.extra
        kinds = (datasets.Value("int64"), datasets.Sequence(datasets.Value("float64")))
        return evaluate.MetricInfo(
            description=self.description,
            citation="",
            inputs_description=INPUTS + self.inputs,
            features=[datasets.Features({"predictions": kind} | columns) for kind in kinds],
        )
