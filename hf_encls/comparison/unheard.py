"""How often sounds of classes that a model has never heard are answered `unknown`: some classes are left out of training."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from datasets import ClassLabel, Dataset
from sklearn.metrics import roc_auc_score
from transformers import PreTrainedModel

from hf_encls.features.store import FeatureStore, Windows, codebooks_of
from hf_encls.model.calibration_encls import tempered
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.calibration import threshold
from hf_encls.training.run import train

WINDOWS = 256  # that are classified together
SCORES = ("probability", "probability as trained", "energy", "nearness")  # the higher, the better known


def measure(
    windows: Dataset,
    config: EnclsConfig,
    unheard: Sequence[str],
    args: EnclsTrainingArguments,
    *,
    codec: PreTrainedModel | None = None,
    **division,
) -> dict[str, object]:
    """Train on all classes but `unheard`, and score clips of these beside the test clips of the others.

    `args.unknown` is the share of known clips that may be answered `unknown`; `division` the protocol and the fold. Returns
    `known_unknown` and `unheard_unknown`, the shares of clips that were; `auroc`, of each of `SCORES` the probability that
    a test clip of a known class has a higher one than a clip of an unheard class; the same shares under a threshold that is
    drawn from the probability of the true class (`by_truth`); the accuracy and the numbers of clips. The model is not fitted
    to validation clips, whatever the recipe says: its scores of them are looked at. Raises `ValueError` for classes that
    are not there, where fewer than two are left, and as `train` does.
    """
    names = windows.features["label"].names
    missing = [name for name in unheard if name not in names]
    known = [name for name in names if name not in unheard]
    if missing or not unheard or len(known) < 2:
        raise ValueError(
            f"expected some of {', '.join(names)}, and two of them left, found {', '.join(unheard) or 'none'}"
        )
    if args.unknown is None:
        raise ValueError("expected `unknown`, the share of known sounds that may be answered so, found None")
    labels = np.asarray(windows["label"][:])
    heard = np.isin(labels, [names.index(name) for name in known])
    args = copy.copy(args)
    args.recipe = f"{args.recipe},refit=false"
    run = train(_relabelled(windows.select(np.flatnonzero(heard)), known), config, codec=codec, args=args, **division)
    ids, books = np.asarray(windows["clip_id"][:]), codebooks_of(codec, config.num_codebooks) if codec else None
    parts = {part: np.flatnonzero(heard & np.isin(ids, clips)) for part, clips in run.parts.items()}
    parts["unheard"] = np.flatnonzero(~heard)
    clips = {part: of_clips(run.model, windows.select(rows), books) for part, rows in parts.items()}
    scores = {part: _scores(run.model, of_part, clips["train"]["seen"]) for part, of_part in clips.items()}
    of_truth = [names.index(name) for name in known]
    truth = np.array([of_truth.index(label) for label in clips["validation"]["labels"]])
    by_truth = threshold(clips["validation"]["probabilities"][np.arange(len(truth)), truth], args.unknown)
    sure = {part: scores[part]["probability"] for part in ("test", "unheard")}
    right = np.array(of_truth)[clips["test"]["probabilities"].argmax(1)] == clips["test"]["labels"]
    return {
        "unheard": list(unheard),
        "known_clips": len(sure["test"]),
        "unheard_clips": len(sure["unheard"]),
        "accuracy": float(right.mean()),
        "ece": run.results.test.clip.ece,
        "calibrated_ece": run.results.test.clip.calibrated_ece,
        "known_unknown": _below(sure["test"], run.model.config.clip_unknown_below),
        "unheard_unknown": _below(sure["unheard"], run.model.config.clip_unknown_below),
        "by_truth": [_below(sure[part], by_truth) for part in ("test", "unheard")],
        "auroc": {name: _auroc(scores["test"][name], scores["unheard"][name]) for name in SCORES},
    }


def of_clips(
    model: EnclsForAudioClassification, windows: Dataset, books: torch.Tensor | None = None
) -> dict[str, np.ndarray]:
    """Of each clip: `labels` (n,), `probabilities` (n, L), `as_trained` (n, L), `energy` (n,) and what the classifier sees
    (n, D), the means of its windows. `energy` is the logarithm of the sum of a window's exponentials of logits.
    """
    store = FeatureStore(Windows(windows, codebooks=books), np.arange(len(windows)))
    rows: dict[str, list[torch.Tensor]] = {"as_trained": [], "energy": [], "seen": []}
    with torch.inference_mode():
        for first in range(0, len(store), WINDOWS):
            batch = store.__getitems__(list(range(first, min(first + WINDOWS, len(store)))))
            seen = model.eval().seen(batch["input_features"].to(model.device))
            logits = model.head(seen).double()
            for name, values in zip(rows, (logits.softmax(-1), logits.logsumexp(-1), seen.double()), strict=True):
                rows[name].append(values.cpu())
    _, begin, clip = np.unique(np.asarray(windows["clip_id"][:]), return_index=True, return_inverse=True)
    columns = {}
    for name, parts in rows.items():
        values = torch.cat(parts).numpy()
        sums = np.zeros((len(begin), *values.shape[1:]))
        np.add.at(sums, clip, values)
        columns[name] = sums / np.bincount(clip).reshape(-1, *[1] * (values.ndim - 1))
    columns["labels"] = np.asarray(windows["label"][:])[begin]
    return columns | {"probabilities": tempered(columns["as_trained"], model.config.clip_temperature)}


def _scores(
    model: EnclsForAudioClassification, clips: Mapping[str, np.ndarray], trained: np.ndarray
) -> dict[str, np.ndarray]:
    """Each of `SCORES` of the clips (n,). Nearness: the largest cosine to what the classifier saw of a training clip."""
    directions = [each / np.linalg.norm(each, axis=1, keepdims=True).clip(1e-12) for each in (clips["seen"], trained)]
    values = (
        clips["probabilities"].max(1),
        clips["as_trained"].max(1),
        clips["energy"],
        (directions[0] @ directions[1].T).max(1),
    )
    return dict(zip(SCORES, values, strict=True))


def _relabelled(windows: Dataset, names: Sequence[str]) -> Dataset:
    """The same windows with labels among `names`."""
    numbers = {windows.features["label"].names.index(name): number for number, name in enumerate(names)}
    labels = [numbers[label] for label in windows["label"][:]]
    windows = windows.remove_columns("label").add_column("label", labels)
    return windows.cast_column("label", ClassLabel(names=list(names)))


def _below(confidence: np.ndarray, least: float) -> float:
    return float((confidence < least).mean())


def _auroc(known: np.ndarray, unheard: np.ndarray) -> float:
    return float(roc_auc_score(np.repeat([1, 0], [len(known), len(unheard)]), np.concatenate([known, unheard])))
