"""train(): windows of features in, a trained model and its scores out."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel, set_seed

from hf_encls.data.columns import class_names, label_array, several_labels
from hf_encls.data.splits import (
    LeakReport,
    clips_have_one_label,
    division_rows,
    enforce,
    leak_check,
    make_splits,
    untested,
)
from hf_encls.fast.memory import keep_freed_memory
from hf_encls.features.store import FeatureStore, NeighbourStore, Windows, codebooks_of
from hf_encls.files import write_json
from hf_encls.model.calibration_encls import CALIBRATION, calibration_of
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.model.problem_encls import SEVERAL_LABELS, has_several_labels, thresholds_of
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.calibration import check_unknown, check_validation, hindrance
from hf_encls.training.fitting import applied, fit, refit
from hf_encls.training.inner_folds import inner_folds
from hf_encls.training.metrics import evaluate_split
from hf_encls.training.recipe import Recipe
from hf_encls.training.results import CLIPS, PartScores, Results
from hf_encls.training.resuming import Start, begin, plan_start, seconds_before
from hf_encls.training.saving import save_model
from hf_encls.training.scoring import best_epoch, score_parts
from hf_encls.training.settings import run_settings
from hf_encls.training.trainer import EnclsTrainer, history

REFIT = "refit"  # beside `PARTS`: what a head is fitted to at last


@dataclass
class Run:
    """A trained model and what was measured of it.

    Args:
        model: the network, with the frozen codec in it where one was given.
        results: settings, scores of `train`, `validation` and `test`, the history, the leak: `results.json`.
        parts: the ids of the clips in each part.
    """

    model: EnclsForAudioClassification
    results: Results
    parts: dict[str, list[str]]

    def save(self, folder: str | Path) -> None:
        """Write the checkpoint with its code, `clips.json` and, last, `results.json`."""
        self.save_model(folder)
        self.results.write(Path(folder))

    def save_model(self, folder: str | Path) -> None:
        """The same without `results.json`, which says that all of a run is there."""
        save_model(self.model, self.model.config, Path(folder))
        write_json(self.parts, Path(folder) / CLIPS)


@dataclass
class Execution:
    """How a run is carried out: where its windows are kept, how it begins, whom it tells.

    Args:
        memory_limit_bytes: larger sets stay on disk; None: everything in memory.
        stream: the windows, read anew in each epoch; the data set that `train` is given has their small columns only.
        stream_name: what errors call it.
        start: how the run begins, where that was planned already (`plan_start`).
        say: called, in one process, with the leak count and with what will be trained.
    """

    memory_limit_bytes: int | None = None
    stream: IterableDataset | None = None
    stream_name: str = "the stream of windows"
    start: Start | None = None
    say: Callable[[str], object] = lambda line: None


def train(
    windows: Dataset,
    config: EnclsConfig,
    *,
    protocol: str = "clip",
    fold: int | None = None,
    codec: PreTrainedModel | None = None,
    args: EnclsTrainingArguments | None = None,
    execution: Execution | None = None,
) -> Run:
    """Train a classifier on windows of features, and score it on clips that it has not heard.

    Args:
        windows: what `extract_features` makes, or published features.
        config: how they were made (`feature_config`), and the network.
        protocol: `clip` (60/20/20 of the clips), `official` (the data set's own folds or lists; `fold` says which one
            tests) or `paper` (60/20/20 of the windows: it leaks).
        codec: it is put into the finished checkpoint, which takes sounds then; needed for windows of codes.
        args: of the Trainer, with the recipe; `resume_from_checkpoint` goes on from checkpoints in their `output_dir`.
        execution: how the run is carried out; in memory, and without a word, where nothing is said.

    Every process of a distributed run calls this; each gets the same results. Raises `ValueError` where the protocol
    cannot be kept, an unfinished run in `args.output_dir` would be lost, or the one there has other settings.

    Examples:
        >>> import hf_encls, tempfile
        >>> sounds, folder = tempfile.mkdtemp(), tempfile.mkdtemp()
        >>> _ = hf_encls.write_synthetic(sounds + "/sounds")
        >>> clips, _ = hf_encls.scan_folder(sounds + "/sounds")
        >>> config = hf_encls.feature_config("log_mel", clips, hop_length=1024)
        >>> windows = hf_encls.extract_features(clips, config, cache_dir=sounds)
        >>> args = hf_encls.EnclsTrainingArguments(folder, num_train_epochs=3, report_to="none", disable_tqdm=True)
        >>> run = hf_encls.train(windows, config, args=args)
        >>> 0 <= run.results.test.clip.accuracy <= 1
        True
        >>> run.save(folder)
    """
    args, execution = args or EnclsTrainingArguments(), execution or Execution()
    say = execution.say if args.process_index == 0 else lambda line: None
    start = execution.start or _plan(args, run_settings(windows, config, args, protocol, fold))
    _make_repeatable(args.seed)
    config = _for_labels(config, windows)
    check_unknown(args.unknown, config, protocol, class_names(windows.features))
    splits, leak = _divide(windows, protocol, fold, args.seed, say)
    clip_votes = clips_have_one_label(windows)
    check_validation(args.unknown, windows.select_columns("clip_id").select(splits["validation"]), clip_votes)
    _announce(windows, config, args, say)
    recipe = applied(Recipe.parse(args.recipe), config, protocol, say)
    again = {REFIT: untested(windows, splits)} if recipe.refit else {}
    stores = _stores(windows, config, splits | again, codec, args, execution)
    model = _network(config, stores["train"])
    scaled = _will_calibrate(config, protocol, args, say)
    _begin(start)
    train_windows = _training_windows(stores["train"], splits["train"], model, recipe, say)
    trainer = EnclsTrainer(model=model, args=args, train_dataset=train_windows, eval_dataset=stores["validation"])
    trainer.clip_votes = clip_votes
    folds = _inner_folds(windows, protocol, again[REFIT], say) if again else None
    learned, predicted = _learn(trainer, start, recipe, stores.pop(REFIT, None), folds)
    facts = learned | score_parts(trainer, stores, scaled, predicted) | _settings(config, protocol, fold, args)
    results = Results(**facts, leak=leak, holds_codec=_complete(model, codec))
    return Run(model, results, {part: sorted(set(store.clip_ids.tolist())) for part, store in stores.items()})


def evaluate(model: EnclsForAudioClassification, windows: Dataset, batch_size: int = 256) -> PartScores:
    """Scores of a model on windows of features that it has not seen, as the results of a run have them of a part.

    `windows` has the columns of `extract_features`; the `model` takes `batch_size` of them at a time. Returns `window` and
    `clip` scores (`accuracy`, `loss`, `macro_f1`, and more of several labels at once; None for clips whose windows have
    different labels) and the numbers they stand on. Raises `ValueError` for windows of another shape than the model's, and
    for other classes.

    Examples:
        >>> import hf_encls  # doctest: +SKIP
        >>> hf_encls.evaluate(model, windows).clip.accuracy  # doctest: +SKIP
        0.83
    """
    names, config = class_names(windows.features), model.config
    expected = [config.id2label[index] for index in range(config.num_labels)]
    if names != expected:
        raise ValueError(f"expected windows of the classes {expected}, found {names}: they are of another data set")
    if several_labels(windows) != has_several_labels(config):
        raise ValueError("expected a model and windows of one label each, or of several at once, found one of either")
    thresholds = thresholds_of(config) if has_several_labels(config) else None
    silent = np.asarray(windows["silent"][:]) if "silent" in windows.column_names else None
    clip_ids = np.asarray(windows["clip_id"][:]) if clips_have_one_label(windows) else None
    predicted = probabilities(model, windows, batch_size)
    return evaluate_split(predicted, label_array(windows), clip_ids, silent, calibration_of(config), thresholds)


def probabilities(model: EnclsForAudioClassification, windows: Dataset, batch_size: int = 256) -> np.ndarray:
    """What a model says of windows of features, as `evaluate` takes them: probabilities of the classes as trained (n, L)."""
    codec = getattr(model.frontend, "codec", None)
    books = codebooks_of(codec, model.config.num_codebooks) if model.config.representation.integers else None
    store = FeatureStore(Windows(windows, codebooks=books), np.arange(len(windows)))
    rows = []
    with torch.inference_mode():
        for begin_at in range(0, len(store), batch_size):
            batch = store.__getitems__(list(range(begin_at, min(begin_at + batch_size, len(store)))))
            scores = model.eval().classify(batch["input_features"].to(model.device)).float()
            rows.append(model.probabilities(scores).cpu())
    return torch.cat(rows).numpy()


def _make_repeatable(seed: int) -> None:
    """One seed gives one model, and a broken run ends like a whole one."""
    keep_freed_memory()
    set_seed(seed)
    torch.backends.cudnn.deterministic = True


def _will_calibrate(config: EnclsConfig, protocol: str, args: EnclsTrainingArguments, say: Callable) -> bool:
    """Whether temperatures are fitted after training; where they cannot be, says why."""
    obstacle = hindrance(config, protocol)
    if obstacle and args.calibrate:
        say(f"probabilities stay as trained: {obstacle}")
    return args.calibrate and not obstacle


def _plan(args: EnclsTrainingArguments, settings: dict[str, object]) -> Start:
    return plan_start(Path(args.output_dir), args.resume_from_checkpoint, settings, anew=args.overwrite)


def _inner_folds(windows: Dataset, protocol: str, rows: np.ndarray, say: Callable[[str], object]) -> np.ndarray | None:
    """The folds of the last fit; says who decides how free that is."""
    folds = inner_folds(division_rows(windows), protocol, rows)
    judge = "the validation part" if folds is None else "a cross-validation of all that is not tested"
    say(f"how free the last fit is, {judge} decides")
    return folds


def _begin(start: Start) -> None:
    everyone = PartialState()
    everyone.wait_for_everyone()  # nobody looks any more at what goes now
    if everyone.is_main_process:
        begin(start)
    everyone.wait_for_everyone()


def _divide(
    windows: Dataset, protocol: str, fold: int | None, seed: int, say: Callable[[str], object]
) -> tuple[dict[str, np.ndarray], LeakReport]:
    """The rows of each part, and what leaks from one to another. Raises `LeakError` where nothing may."""
    splits = make_splits(windows, protocol, seed=seed, fold=fold)
    leak = leak_check(windows, splits)
    say((f"fold {fold}: " if fold else "") + leak.text())
    enforce(leak, protocol)
    return splits, leak


def _announce(
    windows: Dataset, config: EnclsConfig, args: EnclsTrainingArguments, say: Callable[[str], object]
) -> None:
    processes = f"{args.world_size} process{'es' if args.world_size > 1 else ''}"
    size = f"{len(windows)} windows of {config.num_bands} x {config.num_frames}"
    say(f"{config.feature_name}: {size}; {processes} on {args.device.type}")


def _settings(config: EnclsConfig, protocol: str, fold: int | None, args: EnclsTrainingArguments) -> dict:
    """What results say of how the model was asked for, and of the machine."""
    return {
        "dataset": "",  # windows do not say what they were cut from
        "features": config.feature_name,
        "sampling_rate": config.sampling_rate,
        "window_s": config.window_s,
        "step_s": config.step_s,
        "hop_length": config.hop_length if "hop_length" in config.representation.options else None,
        "standardization": config.standardization,
        "head": config.head,
        "protocol": protocol,
        "fold": fold,
        "seed": args.seed,
        "recipe": args.recipe,
        "processes": args.world_size,
        "device": args.device.type,
    }


def _stores(
    windows: Dataset,
    config: EnclsConfig,
    splits: dict[str, np.ndarray],
    codec: PreTrainedModel | None,
    args: EnclsTrainingArguments,
    execution: Execution,
) -> dict[str, FeatureStore]:
    """The windows of each part."""
    codebooks = codebooks_of(codec, config.num_codebooks) if config.representation.integers else None
    if execution.stream is not None:
        from hf_encls.features.streaming import StreamedPart

        source, seeds = (execution.stream, windows), {"train": args.seed}
        return {
            part: StreamedPart(*source, splits[part], seeds.get(part), codebooks, where=execution.stream_name)
            for part in splits
        }
    device = args.device if args.device.type == "cuda" else None
    block = Windows(windows, execution.memory_limit_bytes, device, codebooks)
    return {part: FeatureStore(block, splits[part]) for part in splits}


def _training_windows(
    store: torch.utils.data.Dataset,
    rows: np.ndarray,
    model: EnclsForAudioClassification,
    recipe: Recipe,
    say: Callable[[str], object],
) -> torch.utils.data.Dataset:
    """The windows of training as the recipe and the head need them; those of a stream come without their neighbours."""
    if model.head.is_fitted or not recipe.crop:
        return store
    if not isinstance(store, FeatureStore):
        say("no random crops: windows of a stream come without their neighbours")
        return store
    return NeighbourStore(store.windows, rows, model.config.window_s, model.config.frame_rate)


def _for_labels(config: EnclsConfig, windows: Dataset) -> EnclsConfig:
    """The configuration with the windows' classes, one of each or several. Raises `ValueError` where it contradicts."""
    several, names = several_labels(windows), class_names(windows.features)
    if not several and has_several_labels(config):
        raise ValueError(
            f"expected windows of several labels at once (problem_type {SEVERAL_LABELS}), found windows of one label each"
        )
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    labels |= {"problem_type": SEVERAL_LABELS} if several else {}
    return EnclsConfig(**config.to_dict() | labels | dict.fromkeys(("thresholds", *CALIBRATION)))


def _network(config: EnclsConfig, train: FeatureStore) -> EnclsForAudioClassification:
    """The network without its codec: training needs none, and checkpoints are not filled with frozen weights."""
    model = EnclsForAudioClassification(EnclsConfig(**config.to_dict() | {"codec_config": None}))
    if config.standardization == "band":
        model.set_standardization(*train.statistics())
    return model


def _complete(model: EnclsForAudioClassification, codec: PreTrainedModel | None) -> bool:
    """Put the codec into a model that takes no sounds without one; whether it takes sounds then."""
    model.cpu()
    if codec is not None and model.config.representation.needs_codec:
        model.attach_codec(codec)
    return model.frontend is not None


def _learn(
    trainer: EnclsTrainer,
    start: Start,
    recipe: Recipe,
    refit_windows: FeatureStore | None,
    folds: np.ndarray | None,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Train or fit the trainer's model: what results say of the way there, with the seconds that it took.

    Beside it the probabilities of parts that the model had not heard when it was asked, and has now.
    """
    before_s, started = seconds_before(start.checkpoint), time.monotonic()
    facts, predicted = {}, {}
    if trainer.model.head.is_fitted:
        model, train, validation = trainer.model, trainer.train_dataset, trainer.eval_dataset
        options = {"balanced": recipe.class_weights, "clip_votes": trainer.clip_votes, "band_shift": recipe.band_shift}
        facts["fit"] = fit(model, train, validation, **options)
        if refit_windows is not None:
            predicted["validation"] = trainer.probabilities(validation, "validation")
            facts["fit"] |= refit(model, refit_windows, facts["fit"]["C"], **options, folds=folds)
    else:
        with warnings.catch_warnings():
            # Several processes: gradients lie in memory as images do (channels last), which costs a copy at most.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            trainer.train(resume_from_checkpoint=None if start.checkpoint is None else str(start.checkpoint))
    epochs = history(trainer.state.log_history)
    training_s = before_s + time.monotonic() - started
    facts |= {"epochs": len(epochs), "best_epoch": best_epoch(epochs), "history": epochs}
    return facts | {"times_s": {"training": training_s}}, predicted
