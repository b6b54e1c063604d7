"""Any audio-classification models beside each other on the same test clips, through `evaluate.evaluator`.

Every model hears whole clips at its own sampling rate and answers with one class for each.
"""

import os
from collections.abc import Mapping

import evaluate
import numpy as np
import torch
from datasets import Dataset
from transformers import Pipeline, pipeline

from hf_encls.audio import load
from hf_encls.data.splits import enforce, leak_check, make_splits
from hf_encls.metrics import load_metric


def test_clips(clips: Dataset, protocol: str, *, seed: int = 0, fold: int | None = None) -> Dataset:
    """The clips that training with this protocol, seed and fold keeps for the test.

    Raises `ValueError` for the protocol `paper`: it divides windows, and no whole clip is unheard there.
    """
    if protocol == "paper":
        raise ValueError("the protocol paper divides windows, not clips: compare models under clip or official")
    rows = {name: np.asarray(clips[name][:]) for name in ("clip_id", "group", "fold", "label")}
    rows["start"] = np.zeros(len(clips))
    splits = make_splits(rows, protocol, seed=seed, fold=fold)
    enforce(leak_check(rows, splits), protocol)
    return clips.select(splits["test"])


def compare(
    models: Mapping[str, str | os.PathLike | Pipeline], clips: Dataset, device: str | torch.device | None = None
) -> list[dict]:
    """Accuracy and macro F1 of each model on `clips`, with the time it took.

    Args:
        models: name -> audio-classification pipeline, or the folder or Hub id of a model for one. Remote code is not
            run: a model that needs it comes as a pipeline that the caller has made.
        clips: as `scan_folder` or a data set's loader returns them.
        device: where pipelines are put that are made here.

    Returns one dict for each model: `model`, `accuracy`, `macro_f1`, `num_clips`, `sampling_rate`, `seconds`,
    `clips_per_second`. Raises `ValueError` when a model's classes are not those of the clips.
    """
    names = clips.features["label"].names
    found = []
    for name, model in models.items():
        pipe = model
        if not isinstance(model, Pipeline):
            pipe = pipeline("audio-classification", model=os.fspath(model), device=device)
        label_mapping = _label_mapping(name, pipe, names)
        rate = pipe.feature_extractor.sampling_rate
        scores = evaluate.evaluator("audio-classification").compute(
            # Not the pipeline itself: evaluate 0.4 then asks transformers for a class that version 5 does not have.
            model_or_pipeline=pipe.model,
            feature_extractor=pipe.feature_extractor,
            device=pipe.device,
            data=_at_rate(clips, rate),
            metric=evaluate.combine([load_metric("window_accuracy"), load_metric("window_macro_f1")]),
            input_column="audio",
            label_column="label",
            label_mapping=label_mapping,
        )
        found.append(
            {
                "model": name,
                "accuracy": scores["accuracy"],
                "macro_f1": scores["macro_f1"],
                "num_clips": len(clips),
                "sampling_rate": rate,
                "seconds": scores["total_time_in_seconds"],
                "clips_per_second": scores["samples_per_second"],
            }
        )
    return found


def _label_mapping(name: str, pipe: Pipeline, classes: list[str]) -> dict[str, int]:
    own = set(pipe.model.config.id2label.values())
    if own != set(classes):
        missing, extra = sorted(set(classes) - own), sorted(own - set(classes))
        raise ValueError(
            f"expected {name} to know the {len(classes)} classes of the clips, found {len(missing)} missing "
            f"({', '.join(missing[:5])}) and {len(extra)} others ({', '.join(extra[:5])}): only models of the same "
            "classes can be compared"
        )
    return {label: index for index, label in enumerate(classes)}


def _at_rate(clips: Dataset, sampling_rate: int) -> Dataset:
    """The clips, each decoded when it is asked for."""

    def decode(batch: dict) -> dict:
        return {k: [load(a, sampling_rate) for a in v] if k == "audio" else v for k, v in batch.items()}

    return clips.select_columns(["audio", "label"]).with_transform(decode)
