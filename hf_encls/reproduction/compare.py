"""Any audio-classification model of the Hub, or of a folder, on the very test clips of our own cells."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from hf_encls.audio import load


@torch.inference_mode()
def clip_accuracy(model_id: str, clips: Sequence[Path], labels: Sequence[str], classes: Sequence[str]) -> dict:
    """Accuracy of a model on whole clips whose true classes are `labels`.

    The model's labels are matched with `classes` by their letters and digits; labels that are none of them do not
    count. Returns `accuracy`, `clips`, `revision` and `matched_classes`; where a class has no label of the model's,
    `accuracy` is None and `reason` says so. No code of the model's repository is ever run.
    """
    extractor = AutoFeatureExtractor.from_pretrained(model_id)
    model = AutoModelForAudioClassification.from_pretrained(model_id, dtype=torch.float32).eval()
    own = {_plain(name): index for index, name in model.config.id2label.items()}
    missing = [name for name in classes if _plain(name) not in own]
    about = {
        "model": model_id if not Path(model_id).is_dir() else Path(model_id).resolve().name,
        "revision": getattr(model.config, "_commit_hash", None),
        "matched_classes": len(classes) - len(missing),
        "clips": len(clips),
    }
    if missing:
        return about | {
            "accuracy": None,
            "reason": f"it has no label for {len(missing)} classes, such as {missing[0]}",
        }
    columns = torch.tensor([int(own[_plain(name)]) for name in classes])
    rate = extractor.sampling_rate
    right = 0
    for path, label in zip(clips, labels, strict=True):
        inputs = extractor(load(path, rate), sampling_rate=rate, return_tensors="pt")
        scores = model(**inputs).logits[0, columns]
        right += classes[int(scores.argmax())] == label
    return about | {"accuracy": right / len(clips)}


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "", str(name).lower())
