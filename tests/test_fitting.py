"""Heads that are fitted: to what, what the copies and the second fit are, and that validation is told as unheard."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, load_dataset
from sklearn.linear_model import LogisticRegression
from small_models import CLASSES
from small_runs import train as train_command
from small_runs import write_tones
from small_windows import windows_of

import hf_encls
from hf_encls import EnclsConfig, EnclsTrainingArguments
from hf_encls.comparison import few_examples, unheard
from hf_encls.data.columns import label_column, label_lists
from hf_encls.data.splits import make_splits, untested
from hf_encls.features.extraction import checked_config, feature_config
from hf_encls.features.store import FeatureStore, Windows
from hf_encls.features.streaming import small_table
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.training import fitting, inner_folds
from hf_encls.training.augmentation import move_bands
from hf_encls.training.fitting import MOST_ITERATIONS, STRENGTHS, applied, fit
from hf_encls.training.metrics import evaluate_split
from hf_encls.training.recipe import RECIPES, Recipe
from hf_encls.training.results import Results
from hf_encls.training.resuming import plan_start
from hf_encls.training.run import Execution
from hf_encls.training.settings import asked_settings

LOG_MEL = {"window_s": 0.3, "n_fft": 2048, "hop_length": 512, "num_bands": 40}
LOG_MEL |= {"head": "statistics", "num_directions": 16}


def run_of(windows: Dataset, config: EnclsConfig, folder, recipe: str, lines: list | None = None, **more):
    args = EnclsTrainingArguments(
        str(folder), recipe=recipe, unknown=more.pop("unknown", None), report_to="none", disable_tqdm=True
    )
    execution = Execution(say=(lines if lines is not None else []).append, stream=more.pop("stream", None))
    return hf_encls.train(windows, config, args=args, execution=execution, **more)


def parts_of(run, windows: Dataset) -> dict[str, Dataset]:
    ids = np.asarray(windows["clip_id"][:])
    return {part: windows.select(np.flatnonzero(np.isin(ids, clips))) for part, clips in run.parts.items()}


# -------------------------------------------------------------------------------------------------------- the second fit


def test_validation_is_told_as_by_a_model_that_never_heard_it(tmp_path):
    """Nothing can be learned of noise: who has heard a clip knows it, who has not guesses."""
    config = feature_config("log_mel", **LOG_MEL)
    windows = windows_of(config, loud=0.0)
    once = run_of(windows, config, tmp_path / "once", "recommended,refit=false", unknown=0.2)
    twice = run_of(windows, config, tmp_path / "twice", "recommended", unknown=0.2)
    parts = parts_of(twice, windows)
    scores = {part: hf_encls.evaluate(twice.model, rows) for part, rows in parts.items()}
    assert scores["validation"].clip.accuracy == 1  # it has heard them
    assert twice.results.validation.clip.accuracy < 0.7
    assert twice.results.validation == once.results.validation
    assert twice.results.calibration == once.results.calibration  # the thresholds of `unknown` among it
    assert twice.model.config.clip_unknown_below == once.results.calibration["clip_unknown_below"]
    assert twice.results.test.clip.accuracy == scores["test"].clip.accuracy
    assert twice.results.test != once.results.test
    told = {name: twice.results.fit[name] for name in ("C", "cross_validation_accuracy", "cross_validation_loss")}
    again = {"refit_windows": len(parts["train"]) + len(parts["validation"])}
    assert twice.results.fit == once.results.fit | again | told
    assert told["cross_validation_accuracy"] < 0.7  # each clip is told by those of other folds


def test_of_very_many_windows_a_part_is_fitted_to_in_which_no_class_is_missing(tmp_path, monkeypatch):
    config = feature_config("log_mel", **LOG_MEL | {"head": "modulation"})
    windows = windows_of(config)
    whole = run_of(windows, config, tmp_path / "whole", "recommended")
    monkeypatch.setattr(fitting, "MOST_WINDOWS", 2)  # of three classes
    monkeypatch.setattr(fitting, "FEWEST_WINDOWS", 4)
    monkeypatch.setattr(fitting, "WINDOWS", 3)  # so that blocks are left out whole
    part = run_of(windows, config, tmp_path / "part", "recommended")
    assert 12 <= part.results.fit["fit_windows"] <= 14 and 12 <= part.results.fit["refit_windows"] <= 14
    assert "fit_windows" not in whole.results.fit and whole.results.fit["refit_windows"] > 60
    assert part.results.test.clip.accuracy == whole.results.test.clip.accuracy == 1


@pytest.mark.parametrize("recipe", ["paper,refit=true", "recommended"])
def test_the_second_fit_is_one_to_all_windows_that_are_not_tested(recipe, tmp_path):
    config = feature_config("log_mel", **LOG_MEL)
    windows = windows_of(config, loud=0.3)
    run = run_of(windows, config, tmp_path, recipe, protocol="official", fold=2)
    rows = np.flatnonzero(np.asarray(windows["fold"][:]) != 2)
    assert run.results.fit["refit_windows"] == len(rows)
    raw = torch.from_numpy(np.asarray(windows["input_features"][:], np.float32))[rows]
    moves = (0, -2, 2) if recipe == "recommended" else (0,)
    strength = run.results.fit["C"] / len(moves)
    expected = by_hand(run.model, [moved_by_hand(raw, by) for by in moves], np.asarray(windows["label"][:])[rows])
    check_classifier(run.model, expected(strength))


def test_how_free_the_second_fit_is_the_folds_that_are_not_tested_decide(tmp_path):
    config = feature_config("log_mel", **LOG_MEL)
    windows = windows_of(config, loud=0.3)
    run = run_of(windows, config, tmp_path, "recommended,band_shift=0", protocol="official", fold=2)
    folds, labels = (np.asarray(windows[name][:]) for name in ("fold", "label"))
    raw = torch.from_numpy(np.asarray(windows["input_features"][:], np.float32))
    with torch.no_grad():
        vectors = run.model.head.features(run.model.standardized(raw)).double().numpy()
    losses, rights = {}, {}
    for strength in STRENGTHS:
        scores = np.zeros((len(labels), len(CLASSES)))
        for fold in (1, 3, 4, 5):
            learned = (folds != 2) & (folds != fold)
            regression = LogisticRegression(C=strength, max_iter=2000, tol=1e-7, class_weight="balanced")
            regression.fit(vectors[learned], labels[learned])
            scores[folds == fold] = regression.predict_proba(vectors[folds == fold])
        clips = scores.reshape(-1, 2, len(CLASSES)).mean(1)[folds[::2] != 2]  # two windows each
        truth = labels[::2][folds[::2] != 2]
        losses[strength] = -np.log(clips[np.arange(len(truth)), truth]).mean()
        rights[strength] = (clips.argmax(1) == truth).mean()
    best = min(losses, key=losses.get)
    found = run.results.fit
    assert found["C"] == best and len(set(losses.values())) > 1
    assert found["cross_validation_loss"] == pytest.approx(losses[best], rel=0.01)
    assert found["cross_validation_accuracy"] == pytest.approx(rights[best], abs=1.5 / len(truth))


def test_of_very_many_windows_those_of_validation_decide(tmp_path, monkeypatch):
    config = feature_config("log_mel", **LOG_MEL)
    windows = windows_of(config, loud=0.3)
    once = run_of(windows, config, tmp_path / "once", "recommended,refit=false")
    monkeypatch.setattr(inner_folds, "MOST", 10)
    twice = run_of(windows, config, tmp_path / "twice", "recommended")
    assert twice.results.fit.keys() == once.results.fit.keys() | {"refit_windows"}
    assert twice.results.fit["C"] == once.results.fit["C"]


def moved_by_hand(windows: torch.Tensor, by: int) -> torch.Tensor:
    """Rolled, and the bands that came in from the other side replaced by the outermost one."""
    moved = windows.roll(-by, dims=1)
    if by > 0:
        moved[:, -by:] = windows[:, -1:]
    if by < 0:
        moved[:, :-by] = windows[:, :1]
    return moved


def by_hand(model: EnclsForAudioClassification, copies: list[torch.Tensor], labels: np.ndarray):
    with torch.no_grad():
        vectors = torch.cat([model.head.features(model.standardized(each)) for each in copies]).double().numpy()
    labels = np.concatenate([labels] * len(copies))
    balanced = {"class_weight": "balanced"}  # of a balanced table: nothing
    return lambda strength: LogisticRegression(C=strength, max_iter=2000, tol=1e-7, **balanced).fit(vectors, labels)


def check_classifier(model: EnclsForAudioClassification, expected: LogisticRegression) -> None:
    """Equal as far as an optimizer comes."""
    found, wanted = model.head.classifier.weight.detach().double(), torch.from_numpy(expected.coef_)
    assert (found - wanted).norm() < 0.02 * wanted.norm()


def test_copies_are_windows_moved_by_hand(tmp_path):
    windows = torch.randn(4, 16, 5).half()
    for by in (-3, -1, 0, 2):
        assert torch.equal(move_bands(windows, by), moved_by_hand(windows, by))
    config = feature_config("log_mel", **LOG_MEL)
    data = windows_of(config, loud=0.3)
    run = run_of(data, config, tmp_path, "paper,band_shift=3")
    train = parts_of(run, data)["train"]
    raw = torch.from_numpy(np.asarray(train["input_features"][:], np.float32))
    copies = [moved_by_hand(raw, by) for by in (0, 3, -3)]
    # The three weigh as one, so that C means what it means without them.
    check_classifier(run.model, by_hand(run.model, copies, np.asarray(train["label"][:]))(run.results.fit["C"] / 3))
    plain = run_of(data, config, tmp_path / "plain", "paper")
    assert torch.equal(plain.model.head.directions, run.model.head.directions)  # of the windows as they are
    assert torch.equal(plain.model.head.vector_scale, run.model.head.vector_scale)


def test_without_either_a_fit_is_what_it_was_to_the_bit():
    config = EnclsConfig(features="log_mel", num_labels=3, **LOG_MEL)
    data = windows_of(config, loud=0.1)
    store = Windows(data)
    splits = make_splits(data, "clip", seed=0)
    train, validation = (FeatureStore(store, splits[part]) for part in ("train", "validation"))
    model = EnclsForAudioClassification(config).eval()
    model.set_standardization(*train.statistics())
    found = fit(model, train, validation)
    with torch.no_grad():
        seen = [
            model.head.features(model.standardized(part.rows_from(0, len(part))["input_features"])).double().numpy()
            for part in (train, validation)
        ]
    regression, losses, weights = LogisticRegression(max_iter=MOST_ITERATIONS, warm_start=True), [], []
    for strength in STRENGTHS:
        regression.set_params(C=strength).fit(seen[0], train.labels)
        losses.append(
            evaluate_split(regression.predict_proba(seen[1]), validation.labels, validation.clip_ids).clip.loss
        )
        weights.append(torch.from_numpy(regression.coef_.copy()).float())
    best = int(np.argmin(losses))
    assert found == {"C": STRENGTHS[best], "validation_loss": losses[best]}
    assert torch.equal(model.head.classifier.weight.detach(), weights[best])


def test_recordings_that_are_tested_take_no_part_in_the_second_fit(tmp_path):
    config = feature_config("log_mel", **LOG_MEL)
    data = windows_of(config, loud=0.3)
    table = data.to_dict()
    # Of one recording a clip stands in the fold that is tested, one in the fold that validates.
    tested, validated = (next(row for row, fold in enumerate(table["fold"]) if fold == number) for number in (2, 3))
    clip = table["clip_id"][validated]
    for row, other in enumerate(table["clip_id"]):
        if other == clip:
            table["group"][row] = table["group"][tested]
    data = Dataset.from_dict(table, features=data.features)
    splits = make_splits(data, "official", fold=2)
    assert validated in splits["validation"]
    rows = untested(data, splits)
    assert set(splits["train"]) <= set(rows) and not set(rows) & set(splits["test"])
    assert set(splits["validation"]) - set(rows) == {
        row for row, other in enumerate(table["clip_id"]) if other == clip
    }
    run = run_of(data, config, tmp_path, "recommended", protocol="official", fold=2)
    assert run.results.fit["refit_windows"] == len(rows)


def test_several_labels_have_thresholds_of_clips_that_were_not_heard(tmp_path):
    config = feature_config("log_mel", **LOG_MEL)
    data = windows_of(config, loud=0.0, clips=30)
    sets = label_lists(np.random.default_rng(1).random((30, 3)) < 0.5)
    features = Features({**data.features, "label": label_column(CLASSES, several=True)})
    data = Dataset.from_dict(
        data.to_dict() | {"label": [sets[row // 2] for row in range(len(data))]}, features=features
    )
    once = run_of(data, config, tmp_path / "once", "recommended,refit=false")
    twice = run_of(data, config, tmp_path / "twice", "recommended")
    assert twice.results.thresholds == once.results.thresholds == twice.model.config.thresholds
    assert twice.results.validation == once.results.validation
    heard = hf_encls.evaluate(twice.model, parts_of(twice, data)["validation"]).clip
    assert heard.mean_average_precision > twice.results.validation.clip.mean_average_precision + 0.1
    assert twice.results.fit["refit_windows"] > 0 and twice.results.test != once.results.test


def test_a_stream_is_fitted_twice_as_what_lies_in_memory(tmp_path):
    config = feature_config("log_mel", **LOG_MEL)
    data = windows_of(config, loud=0.3)
    data.to_parquet(tmp_path / "windows.parquet")
    stream = load_dataset("parquet", data_files=str(tmp_path / "windows.parquet"), split="train", streaming=True)
    small = small_table(stream.select_columns([name for name in data.column_names if name != "input_features"]))
    whole = run_of(data, config, tmp_path / "whole", "recommended")
    streamed = run_of(small, config, tmp_path / "streamed", "recommended", stream=stream)
    assert streamed.results.fit == pytest.approx(whole.results.fit, rel=1e-4)
    found, expected = (run.model.head.classifier.weight.detach() for run in (streamed, whole))
    assert (found - expected).norm() < 0.02 * expected.norm()


# --------------------------------------------------------------------------------------------------- where it cannot be


@pytest.mark.parametrize(
    ("features", "head", "protocol", "recipe", "lines", "left"),
    [
        ("log_mel", "statistics", "clip", "recommended", 1, (2, True)),
        ("mel", "modulation", "official", "recommended", 1, (2, True)),
        ("log_mel", "statistics", "clip", "paper", 1, (0, False)),
        ("latents", "statistics", "clip", "recommended", "no band_shift: the bands of the latents", (0, True)),
        ("latents", "statistics", "clip", "paper", 1, (0, False)),
        ("log_mel", "statistics", "paper", "recommended", "no refit: under the protocol paper", (2, False)),
        ("log_mel", "conv", "clip", "recommended", 0, (0, False)),
        ("log_mel", "mnist", "clip", "recommended,mixup=0,band_shift=0", 0, (0, False)),
        (
            "log_mel",
            "conv",
            "clip",
            "recommended,band_shift=3",
            "it leaves band_shift of the recipe undone",
            (0, False),
        ),
        ("log_mel", "mnist", "clip", "paper,refit=true", "it leaves refit of the recipe undone", (0, False)),
        ("log_mel", "conv", "clip", "paper", 0, (0, False)),
    ],
)
def test_what_of_a_recipe_does_nothing_is_said(features, head, protocol, recipe, lines, left):
    said: list[str] = []
    recipe = applied(Recipe.parse(recipe), checked_config(features=features, head=head), protocol, said.append)
    assert (recipe.band_shift, recipe.refit) == left
    if isinstance(lines, int):
        assert len(said) == lines
    else:
        assert lines in said[-1] and "\n" not in said[-1]


def test_bands_that_would_all_be_one_are_refused(tmp_path):
    config = checked_config(features="log_mel", num_bands=4, head="statistics")
    with pytest.raises(ValueError, match="expected band_shift of a recipe below the 4 bands of the windows, found 4"):
        applied(Recipe(band_shift=4), config, "clip", print)
    assert applied(Recipe(band_shift=3), config, "clip", lambda line: None).band_shift == 3


def test_only_training_clips_teach_where_few_or_unheard_ones_are_asked_for(tmp_path, monkeypatch):
    asked = []

    def noted(windows, config, *, args, **more):
        asked.append(Recipe.parse(args.recipe))
        raise InterruptedError

    config = feature_config("log_mel", **LOG_MEL)
    data = windows_of(config, loud=0.3)
    for module in (few_examples, unheard):
        monkeypatch.setattr(module, "train", noted)
    pool = few_examples.ClipPool.of(data, "clip", None, 0)
    with pytest.raises(InterruptedError):
        few_examples.score(few_examples.Kind("log_mel", data, config), pool, pool.drawn(1, 0, 0), "recommended", 0)
    args = EnclsTrainingArguments(str(tmp_path), recipe="recommended", unknown=0.2, report_to="none")
    with pytest.raises(InterruptedError):
        unheard.measure(data, config, CLASSES[:1], args)
    assert [recipe.refit for recipe in asked] == [False, False] and args.recipe == "recommended"


# ------------------------------------------------------------------------------------------------------ what is written


def test_card_and_results_say_it(tmp_path):
    tones = write_tones(tmp_path / "tones")
    train_command(tones, tmp_path / "m", "--head", "modulation", "--recipe", "recommended")
    results = Results.of(tmp_path / "m")
    clips = json.loads((tmp_path / "m" / "clips.json").read_text())
    assert results.fit["refit_windows"] == 3 * (len(clips["train"]) + len(clips["validation"]))
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert (
        f"| windows it was fitted to at last, those of validation among them | {results.fit['refit_windows']} |"
        in card
    )
    assert "The validation part was asked before the model was fitted to it" in card


def test_a_finished_fit_left_no_checkpoint_to_go_on_from(tmp_path):
    settings = asked_settings(EnclsTrainingArguments(str(tmp_path)), "clip", None, {"head": "statistics"})
    (tmp_path / "run.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="found none: start without resuming"):
        plan_start(tmp_path, "last", settings)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ValueError, match="found a finished run, which left none: there is nothing to do"):
        plan_start(tmp_path, "last", settings)
    with pytest.raises(ValueError, match="found none: start without resuming"):
        plan_start(tmp_path, "last", settings | {"num_train_epochs": 1000.0})


def test_a_run_from_before_goes_on_where_the_new_fields_do_nothing(tmp_path):
    args = EnclsTrainingArguments(str(tmp_path), recipe="recommended")
    assert RECIPES["recommended"].refit and RECIPES["recommended"].band_shift
    for head in ("conv", "statistics"):
        folder = tmp_path / head
        folder.mkdir()
        now = asked_settings(args, "clip", None, {"head": head})
        before = json.loads(json.dumps(now))
        before["recipe"] = {
            name: value for name, value in before["recipe"].items() if name not in ("band_shift", "refit")
        }
        (folder / "run.json").write_text(json.dumps(before))
        (folder / "results.json").write_text("{}")
        if head == "conv":
            assert plan_start(folder, "last", now, True).finished
        else:
            with pytest.raises(ValueError, match="differs in recipe"):
                plan_start(folder, "last", now, True)
        (folder / "run.json").write_text(json.dumps(now))
        assert plan_start(folder, "last", now, True).finished
