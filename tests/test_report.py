"""Tables say what the numbers say, pictures are whole PNG files, and smoothing is TensorBoard's."""

import numpy as np
import pytest

from hf_encls.report.canvas import shorten
from hf_encls.report.pictures import (
    Panel,
    save_confusion_matrix,
    save_curves,
    save_feature_picture,
    smooth,
)
from hf_encls.report.tables import class_table, results_table
from hf_encls.training.results import Results

SCORES = {
    "window": {"accuracy": 0.75, "loss": 0.91, "macro_f1": 0.74},
    "clip": {"accuracy": 0.8125, "loss": 0.7, "macro_f1": None},
    "window_without_silence": None,
    "num_windows": 1993,
    "num_clips": 400,
}


def results_with(test: dict) -> Results:
    run = {"dataset": "sounds", "features": "log_mel", "protocol": "clip", "seed": 0, "classes": ["a|b"]}
    return Results.from_dict(run | {"test": test})


def is_png(path) -> bool:
    data = path.read_bytes()
    return data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")


def test_smoothing_is_debiased():
    # s1 = x1; s2 = (0.8 * 0.2 x1 + 0.2 x2) / (1 - 0.8^2)
    assert smooth([1.0, 3.0], 0.8) == pytest.approx([1.0, (0.16 * 1 + 0.2 * 3) / 0.36])
    assert smooth([2.0] * 30, 0.8) == pytest.approx([2.0] * 30)
    assert smooth([1.0, np.nan, 3.0], 0.8)[2] == pytest.approx((0.16 * 1 + 0.2 * 3) / 0.36)
    assert list(smooth([1.0, 5.0], 0.0)) == [1.0, 5.0]
    with pytest.raises(ValueError, match="weight"):
        smooth([1.0], 1.0)


@pytest.mark.parametrize("epochs", [1, 12])
@pytest.mark.parametrize("runs", [1, 3])
def test_curves_of_one_run_or_several(tmp_path, epochs, runs):
    history = [
        {"epoch": e, "train_loss": 1 / e, "train_accuracy": None, "validation_accuracy": 1 - 1 / e}
        for e in range(1, epochs + 1)
    ]
    path = save_curves({f"run {number}": history for number in range(runs)}, tmp_path / "new" / "curves.png")
    assert is_png(path)
    assert [file.name for file in path.parent.iterdir()] == ["curves.png"]  # no temporary file is left


def test_curves_without_an_epoch_are_refused(tmp_path):
    with pytest.raises(ValueError, match="history"):
        save_curves({"run": []}, tmp_path / "curves.png")


@pytest.mark.parametrize("size", [2, 26])
def test_confusion_matrix(tmp_path, size):
    names = [f"a class with a name that is much too long for a picture, number {number}" for number in range(size)]
    assert is_png(save_confusion_matrix(np.eye(size, dtype=int) * 3, names, tmp_path / "matrix.png"))


def test_confusion_matrix_of_other_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"3 x 3.*\(2, 2\)"):
        save_confusion_matrix(np.eye(2, dtype=int), ["a", "b", "c"], tmp_path / "matrix.png")


def test_mel_beside_latents(tmp_path):
    mel = Panel(np.full((128, 341), -80.0), "Mel", 1.0, "Mel band", "Power (dB)")  # silence: one value everywhere
    latents = Panel(np.random.default_rng(0).standard_normal((128, 75)), "Latents", 1.0, "Channel", "Value")
    assert is_png(save_feature_picture([mel, latents], tmp_path / "features.png", "dog: 1-2.wav"))
    with pytest.raises(ValueError, match=r"\(75,\)"):
        save_feature_picture([Panel(np.zeros(75), "x", 1.0, "", "")], tmp_path / "no.png")


def test_tables_as_text_and_markdown():
    results = results_with(SCORES)
    results.per_class = [{"class": "a|b", "support": 7, "precision": 1, "recall": 0.5, "f1": 0.667}]
    text = results_table(results)
    assert text.splitlines()[2].split() == ["test", "windows", "1,993", "0.750", "0.740", "0.910"]
    assert text.splitlines()[3].split() == ["test", "clips", "400", "0.812", "0.700"]
    assert len(text.splitlines()) == 4  # no line for what was not measured
    assert (
        results_table(results, markdown=True).splitlines()[2] == "| test | windows | 1,993 | 0.750 | 0.740 | 0.910 |"
    )
    assert "| a\\|b | 7 | 1.000 | 0.500 | 0.667 |" in class_table(results, markdown=True)


def test_tables_of_several_folds_show_the_deviation():
    mean = {"accuracy": 0.75, "accuracy_std": 0.0124, "loss": 1.0}
    folds = {"window": mean, "window_without_silence": {"accuracy": 0.8, "loss": 1.0}, "clip": mean}
    text = results_table(results_with(folds))
    assert "0.750 ± 0.012" in text and "windows without silence" in text
    same = SCORES | {"window_without_silence": SCORES["window"], "num_windows_without_silence": 1993}
    assert "silence" not in results_table(results_with(same))  # nothing is silent: said once


def test_long_names_keep_both_ends():
    assert shorten("short") == "short"
    short = shorten("washing machine in the cellar, running slowly")
    assert len(short) == 28 and short.startswith("washing") and short.endswith("slowly")


@pytest.mark.parametrize("epochs, best", [(12, 7), (1, 1)])
def test_curves_say_that_they_are_smoothed_mark_the_best_epoch_and_end_with_the_numbers(
    tmp_path, monkeypatch, epochs, best
):
    from matplotlib.figure import Figure

    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: (seen.append(self), path.touch()))
    history = [
        {"epoch": e, "validation_loss": 1 / e, "validation_accuracy": 1 - 0.5 / e} for e in range(1, epochs + 1)
    ]
    save_curves({"mel": history}, tmp_path / "curves.png", "ESC-10", {"mel": best})
    accuracy, loss = seen[0].axes
    assert ("smoothed by 0.8" in seen[0].get_suptitle()) == (epochs > 1)
    assert f"epoch {best}: {1 - 0.5 / best:.3f}" in [text.get_text() for text in accuracy.texts]
    assert f"epoch {best}: {1 / best:.3f}" in [text.get_text() for text in loss.texts]
    assert epochs == 1 or accuracy.get_xlim() == loss.get_xlim() == (1, epochs)
