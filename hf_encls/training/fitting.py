"""Heads that are fitted at once: what they measure of the training windows, then a logistic regression."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast, broadcast_object_list
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader

from hf_encls.features.store import FeatureStore
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.model.problem_encls import has_several_labels
from hf_encls.training.augmentation import move_bands
from hf_encls.training.metrics import evaluate_split
from hf_encls.training.recipe import FOR_FITTED, Recipe
from hf_encls.training.trainer import collate

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # scikit-learn's C: the larger, the freer
MOST_ITERATIONS = 500
WINDOWS = 256  # in a block
MOST_WINDOWS = 20_000  # that a regression is fitted to or chosen by: what it sees of more would not fit into memory
FEWEST_WINDOWS = 50  # of these, of each label
NEVER = -1e4  # the bias of a class that training does not have; infinity is no weight


def applied(recipe: Recipe, config: EnclsConfig, protocol: str, say: Callable[[str], object]) -> Recipe:
    """The recipe without what a head, its features or a protocol leaves of `FOR_FITTED` undone; which is said.

    Raises `ValueError` where bands would be moved out of the windows.
    """
    if not config.head_class.is_fitted:
        changed = " and ".join(name for name in FOR_FITTED if getattr(recipe, name) and f",{name}=" in recipe.text)
        if changed:  # a recipe's own values are for whom they concern
            say(f"the head {config.head} is trained in epochs: it leaves {changed} of the recipe undone")
        return replace(recipe, band_shift=0, refit=False)
    say(
        f"the head {config.head} is fitted at once: no epochs, no learning rate, of the recipe class_weights, "
        f"{' and '.join(FOR_FITTED)} alone"
    )
    if recipe.band_shift and not config.representation.ordered:
        say(f"no band_shift: the bands of {config.representation.text} are in no order of pitch")
        recipe = replace(recipe, band_shift=0)
    if recipe.band_shift >= config.num_bands:
        raise ValueError(
            f"expected band_shift of a recipe below the {config.num_bands} bands of the windows, found {recipe.band_shift}"
        )
    if recipe.refit and protocol == "paper":
        say("no refit: under the protocol paper the validation windows are of clips that are tested")
        recipe = replace(recipe, refit=False)
    return recipe


def fit(
    model: EnclsForAudioClassification,
    train: FeatureStore,
    validation: FeatureStore,
    balanced: bool = False,
    clip_votes: bool = True,
    band_shift: int = 0,
) -> dict[str, float]:
    """Fit the head of `model` to the windows of `train`; how free the regression is, the clips of `validation` decide.

    `balanced`: a class counts by the inverse of its share of the training windows, as the recipe's `class_weights`.
    `clip_votes`: False where clips have no class of their own, so that the windows decide. `band_shift`: the classifier is
    fitted to windows moved by so many bands up and down, too; what the head measures, and the validation clips, are as
    they are. Returns `C`, what was chosen, and `validation_loss`, the loss of the validation clips (windows) under it.
    Where `train` has more than `MOST_WINDOWS`, the regression is fitted to about so many, evenly spread: `fit_windows`.

    One process fits, all get its weights. A class without a training window is never said. Raises `ValueError` where only
    one class has any, or, of several labels at once, all windows have the same ones.
    """

    def work() -> dict:
        model.eval()
        model.head.measure(lambda: _blocks(model, train))
        return _fit_classifier(model, train, validation, balanced, clip_votes, band_shift)

    return _in_one_process(model, work)


def refit(
    model: EnclsForAudioClassification,
    windows: FeatureStore,
    strength: float,
    balanced: bool = False,
    clip_votes: bool = True,
    band_shift: int = 0,
    folds: np.ndarray | None = None,
) -> dict[str, float]:
    """Fit the classifier of a `model` that `fit` has fitted once more, to `windows`, those of validation among them.

    What the head measured of the training windows stays. `folds` (n,) (`inner_folds`) are held out in turn, and `C` is the
    one under which a regression of the others tells their clips (windows) with the lowest loss: so many say it more surely
    than those of validation alone. Without folds `C` is `strength`, the one of `fit`; the rest is as there.

    Returns `refit_windows`, how many it was fitted to: of very many as many as `fit`; and where it was chosen anew, `C`,
    `cross_validation_accuracy` and `cross_validation_loss`.
    """

    def work() -> dict:
        moves, rows = _moves(band_shift), _spread(windows, FEWEST_WINDOWS)
        vectors, labels = _vectors(model, windows, rows, moves), windows.labels[rows]
        found = {"C": strength}
        if folds is not None:
            clip_ids = windows.clip_ids[rows] if clip_votes else None
            found = _chosen_by_folds(model, vectors, labels, clip_ids, folds[rows], balanced, moves)
        regression = _regression_of(model, labels, balanced, moves)
        regression.fit(vectors, found["C"] / len(moves))
        _set_classifier(model, regression.classes, regression.weights())
        return {"refit_windows": len(rows)} | found

    return _in_one_process(model, work)


def _chosen_by_folds(
    model: EnclsForAudioClassification,
    vectors: np.ndarray,
    labels: np.ndarray,
    clip_ids: np.ndarray | None,
    folds: np.ndarray,
    balanced: bool,
    moves: Sequence[int],
) -> dict:
    """The `C` under which the windows of a fold are told best by the others; `vectors` are of one move after the other."""
    of_moves = vectors.reshape(len(moves), len(labels), -1)
    predicted = {strength: np.zeros((len(labels), model.config.num_labels)) for strength in STRENGTHS}
    told = folds > 0
    for fold in np.unique(folds[told]):
        learned, held_out = np.flatnonzero(told & (folds != fold)), np.flatnonzero(folds == fold)
        regression = _regression_of(model, labels[learned], balanced, moves)
        taught = np.concatenate(of_moves[:, learned])
        for strength in STRENGTHS:
            regression.fit(taught, strength / len(moves))
            predicted[strength][held_out] = regression.probabilities(of_moves[0, held_out], model.config.num_labels)
    clip_ids = None if clip_ids is None else clip_ids[told]
    scores = {strength: evaluate_split(each[told], labels[told], clip_ids) for strength, each in predicted.items()}
    scores = {strength: each.clip or each.window for strength, each in scores.items()}
    best = min(scores, key=lambda strength: scores[strength].loss)
    return {"C": best} | {f"cross_validation_{name}": getattr(scores[best], name) for name in ("accuracy", "loss")}


def _in_one_process(model: EnclsForAudioClassification, work: Callable[[], dict]) -> dict:
    """What `work` returns, which one process does; all get the weights that it leaves in the head."""
    state = PartialState()
    outcome: list = [{}, None]
    if state.is_main_process:
        try:
            outcome[0] = work()
        except (ValueError, OSError) as error:  # the others would wait for ever
            outcome[1] = error
    if state.num_processes > 1:
        broadcast_object_list(outcome)
        broadcast(list(model.head.state_dict().values()))
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def _fit_classifier(
    model: EnclsForAudioClassification,
    train: FeatureStore,
    validation: FeatureStore,
    balanced: bool,
    clip_votes: bool,
    band_shift: int,
) -> dict:
    moves, rows, held_rows = _moves(band_shift), _spread(train, FEWEST_WINDOWS), _spread(validation)
    regression = _regression_of(model, train.labels[rows], balanced, moves)
    vectors, held_out = _vectors(model, train, rows, moves), _vectors(model, validation, held_rows)
    labels, clip_ids = validation.labels[held_rows], validation.clip_ids[held_rows] if clip_votes else None
    best: dict = {}
    for strength in STRENGTHS:  # freer and freer, each from where the last one ended
        regression.fit(vectors, strength / len(moves))
        scores = evaluate_split(regression.probabilities(held_out, model.config.num_labels), labels, clip_ids)
        loss = (scores.clip or scores.window).loss
        if not best or loss < best["validation_loss"]:
            best = {"C": strength, "validation_loss": loss}
            weights = regression.weights()
    _set_classifier(model, regression.classes, weights)
    return best | ({"fit_windows": len(rows)} if len(rows) < len(train) else {})


def _set_classifier(
    model: EnclsForAudioClassification, classes: Sequence[int], weights: tuple[np.ndarray, np.ndarray]
) -> None:
    weight, bias = (torch.from_numpy(np.asarray(each)).float() for each in weights)
    with torch.no_grad():
        model.head.classifier.weight.zero_()
        model.head.classifier.bias.fill_(NEVER)
        model.head.classifier.weight[classes] = weight.to(model.device)
        model.head.classifier.bias[classes] = bias.to(model.device)


def _moves(band_shift: int) -> tuple[int, ...]:
    """By how many bands the windows that are fitted to are moved."""
    return (0, -band_shift, band_shift) if band_shift else (0,)


def _spread(part: FeatureStore, fewest: int = 0) -> np.ndarray:
    """The rows of a part, of more than `MOST_WINDOWS` so many, evenly spread, and `fewest` of each label that has them."""
    if len(part) <= MOST_WINDOWS:
        return np.arange(len(part))
    rows = _evenly(np.arange(len(part)), MOST_WINDOWS)
    labels = part.labels
    has_each = labels.T == 1 if labels.ndim == 2 else (labels == label for label in np.unique(labels))  # in turn: (n,)
    added = [_evenly(np.flatnonzero(has), fewest) for has in has_each if has[rows].sum() < fewest]
    return np.unique(np.concatenate([rows, *added]))


def _evenly(rows: np.ndarray, number: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, min(number, len(rows))).astype(int)]


def _regression_of(
    model: EnclsForAudioClassification, labels: np.ndarray, balanced: bool, moves: Sequence[int]
) -> "OneLabel | SeveralLabels":
    """That of these labels, which come again with each move."""
    kind = SeveralLabels if has_several_labels(model.config) else OneLabel
    return kind(np.concatenate([labels] * len(moves)), balanced)


def _regression(balanced: bool) -> LogisticRegression:
    return LogisticRegression(max_iter=MOST_ITERATIONS, warm_start=True, class_weight="balanced" if balanced else None)


class OneLabel:
    """A regression of the classes (n,) that training has. Raises `ValueError` where that is one alone."""

    def __init__(self, labels: np.ndarray, balanced: bool):
        self.labels, self.classes = labels, np.unique(labels)
        if len(self.classes) < 2:
            raise ValueError(f"expected training windows of at least two classes, found those of {len(self.classes)}")
        self.regression = _regression(balanced)

    def fit(self, vectors: np.ndarray, strength: float) -> None:
        """Fit to vectors (n, D), as freely as `strength` says."""
        self.regression.set_params(C=strength).fit(vectors, self.labels)

    def probabilities(self, vectors: np.ndarray, num_labels: int) -> np.ndarray:
        """Vectors (n, D) -> (n, L)."""
        predicted = np.zeros((len(vectors), num_labels))
        predicted[:, self.classes] = self.regression.predict_proba(vectors)
        return predicted

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of `classes`, and their biases."""
        weight, bias = self.regression.coef_.copy(), self.regression.intercept_.copy()
        if len(weight) == 1:  # of two classes it has the second one's
            weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
        return weight, bias


class SeveralLabels:
    """A regression of each label by itself (one against the rest), for labels (n, L) of which windows have any number.

    A label that no training window has is never said, one that all have always. Raises `ValueError` where nothing is left.
    """

    def __init__(self, labels: np.ndarray, balanced: bool):
        self.labels = labels
        self.classes = np.flatnonzero((labels == 1).any(axis=0))
        self.learned = [label for label in self.classes if (labels[:, label] == 0).any()]
        if not self.learned:
            raise ValueError("expected training windows that differ in their labels, found the same labels in all")
        self.regressions = {label: _regression(balanced) for label in self.learned}

    def fit(self, vectors: np.ndarray, strength: float) -> None:
        """Fit to vectors (n, D), as freely as `strength` says."""
        for label, regression in self.regressions.items():
            known = ~np.isnan(self.labels[:, label])
            regression.set_params(C=strength).fit(vectors[known], self.labels[known, label] == 1)

    def probabilities(self, vectors: np.ndarray, num_labels: int) -> np.ndarray:
        """Vectors (n, D) -> (n, L)."""
        predicted = np.zeros((len(vectors), num_labels))
        predicted[:, self.classes] = 1.0
        for label, regression in self.regressions.items():
            predicted[:, label] = regression.predict_proba(vectors)[:, 1]
        return predicted

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of `classes`, and their biases."""
        size = next(iter(self.regressions.values())).coef_.shape[1]
        weight, bias = np.zeros((len(self.classes), size)), np.full(len(self.classes), -NEVER)
        for place, label in enumerate(self.classes):
            if label in self.regressions:
                weight[place] = self.regressions[label].coef_[0]
                bias[place] = self.regressions[label].intercept_[0]
        return weight, bias


def _vectors(
    model: EnclsForAudioClassification, part: FeatureStore, rows: np.ndarray, moves: Sequence[int] = (0,)
) -> np.ndarray:
    """What the classifier sees of these windows of a part, (n, D), float64, in the order of its labels; for each move."""
    per_move: list[list[torch.Tensor]] = [[] for _ in moves]
    first = 0
    with torch.inference_mode():
        for windows in _batches(model, part):  # a stream passes by once
            here = rows[(rows >= first) & (rows < first + len(windows))] - first
            first += len(windows)
            if not len(here):
                continue
            for by, vectors in zip(moves, per_move, strict=True):
                moved = move_bands(windows[torch.from_numpy(here).to(windows.device)], by)
                vectors.append(model.head.features(model.standardized(moved)).cpu())
        return torch.cat([block for vectors in per_move for block in vectors]).double().numpy()


def _blocks(model: EnclsForAudioClassification, part: FeatureStore) -> Iterator[torch.Tensor]:
    """The standardised windows of a part (W, C, T), block by block, in the order of its labels."""
    for windows in _batches(model, part):
        yield model.standardized(windows)


def _batches(model: EnclsForAudioClassification, part: FeatureStore) -> Iterator[torch.Tensor]:
    """The same as they are kept."""
    part = part.in_order() if hasattr(part, "in_order") else part
    for batch in DataLoader(part, batch_size=WINDOWS, collate_fn=collate):
        yield batch["input_features"].to(model.device)
