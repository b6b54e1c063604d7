"""What is measured of a model when its training is done: scores of each part, of each class, and what was best."""

from collections.abc import Mapping, Sequence

import numpy as np

from hf_encls.features.store import FeatureStore
from hf_encls.model.problem_encls import has_several_labels
from hf_encls.training.calibration import calibrate
from hf_encls.training.metrics import (
    best_thresholds,
    clip_probabilities,
    confusion,
    evaluate_split,
    per_class,
    per_label,
)
from hf_encls.training.trainer import MAP, EnclsTrainer


def score_parts(
    trainer: EnclsTrainer,
    stores: Mapping[str, FeatureStore],
    scaled: bool = False,
    predicted: Mapping[str, np.ndarray] | None = None,
) -> dict:
    """What results say of the trained model: its size, its scores on each part, and of each class in the last one, test.

    Of several labels at once the thresholds are chosen on the validation part, of one label the temperatures (where
    `scaled`) and the thresholds of `unknown`; they stay in the model's configuration. `predicted` are probabilities (n, L)
    of parts that were asked for before: of a model that had not yet learned from them.
    """
    config = trainer.model.config
    classes = [config.id2label[index] for index in range(config.num_labels)]
    predicted = dict(predicted or {})
    predicted |= {part: trainer.probabilities(store, part) for part, store in stores.items() if part not in predicted}
    out: dict = {
        "classes": classes,
        "clip_votes": trainer.clip_votes,
        "parameters": trainer.model.head.num_parameters(),
    }
    if has_several_labels(config):
        out["thresholds"] = _thresholds(predicted["validation"], stores["validation"], trainer.clip_votes)
        out["problem_type"], config.thresholds = config.problem_type, out["thresholds"]
    ids = {part: store.clip_ids if trainer.clip_votes else None for part, store in stores.items()}
    unknown = trainer.args.unknown
    if scaled or unknown is not None:
        known = predicted["validation"], stores["validation"].labels, ids["validation"]
        out |= {"calibration": calibrate(*known, scaled, unknown), "unknown": unknown}
        for name, value in out["calibration"].items():
            setattr(config, name, value)
    limits = out.get("calibration"), out.get("thresholds")
    for part, store in stores.items():
        out[part] = evaluate_split(predicted[part], store.labels, ids[part], store.silent, *limits)
    rows, labels = predicted["test"], stores["test"].labels
    if has_several_labels(config):
        return out | {"per_class": per_label(rows, labels, config.thresholds, classes)}
    predictions = rows.argmax(-1)
    out["per_class"] = per_class(predictions, labels, classes)
    return out | {"confusion_matrix": confusion(predictions, labels, len(classes)).tolist()}


def best_epoch(epochs: Sequence[Mapping]) -> int | None:
    """The epoch of the highest validation accuracy, of several labels at once of the highest mAP."""
    for metric in (MAP, "accuracy"):
        scored = [row for row in epochs if f"validation_{metric}" in row]
        if scored:
            return max(scored, key=lambda row: row[f"validation_{metric}"])["epoch"]
    return None


def _thresholds(probabilities: np.ndarray, store: FeatureStore, clip_votes: bool) -> list[float]:
    """Those that are best for clips; for windows where clips have no labels of their own."""
    labels = store.labels
    if clip_votes:
        probabilities, labels, _ = clip_probabilities(probabilities, labels, store.clip_ids)
    return best_thresholds(probabilities, labels)
