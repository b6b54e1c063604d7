"""A run for people: results.json with its pictures and its card, its title, its tables, how to use its model."""

from pathlib import Path

from hf_encls.data.folders import ScanReport
from hf_encls.files.escapes import python
from hf_encls.report.calibration_texts import calibration_table
from hf_encls.report.cards import write_model_card
from hf_encls.report.pictures import save_confusion_matrix, save_curves
from hf_encls.report.tables import results_table
from hf_encls.training.results import Results
from hf_encls.training.resuming import forget_previous
from hf_encls.training.run import Run


def save_results(results: Results, folder: Path) -> None:
    """Write what is made of results, curves.png, confusion_matrix.png, README.md, then results.json.

    It comes last: it says that all of a run is there.
    """
    if results.history:
        curves, best = {results.features: results.history}, {results.features: results.best_epoch}
        metric, name = next(iter(results.metrics.items()))
        save_curves(curves, folder / "curves.png", title(results), best, (metric, name[0].upper() + name[1:]))
    if results.confusion_matrix is not None:  # none where a window has several labels at once
        save_confusion_matrix(results.confusion_matrix, results.classes, folder / "confusion_matrix.png")
    write_model_card(folder, results=results)
    results.write(folder)


def save_run(run: Run, folder: Path, left_out: ScanReport | None) -> None:
    """Write everything that a run leaves; `left_out` are the files that could not be used."""
    run.save_model(folder)
    if left_out is not None:
        left_out.save(folder / "left_out.json")
    save_results(run.results, folder)
    forget_previous(folder)


def title(results: Results) -> str:
    """A run in one line: data, features, codec, protocol."""
    features = results.features + (f" ({results.codec.id})" if results.codec else "")
    fold = f" fold {results.fold}" if results.fold else ""
    return f"{results.dataset_text}, {features}, protocol {results.protocol}{fold}"


def folds_table(results: Results) -> str:
    """The test accuracy (mAP) of every fold, and their mean and standard deviation, as text."""
    metric = next(iter(results.metrics))
    lines = [f"{'fold':<6}{'windows':>10}{'clips':>10}"]
    rows = {
        fold: [getattr(scores, metric) for scores in (run.test.window, run.test.clip)]
        for fold, run in results.folds.items()
    }
    units = (results.test.window, results.test.clip)
    rows["mean"] = [getattr(scores, metric) for scores in units]
    rows["std"] = [scores.deviation(metric) for scores in units]
    lines += [f"{name:<6}{windows:>10.3f}{clips:>10.3f}" for name, (windows, clips) in rows.items()]
    return "\n".join(["", *lines])


def usage(results: Results, folder: Path, example: str | None) -> str:
    """What a run prints last: its scores, and three lines of Python that use the model."""
    lines = ["", title(results), results_table(results), ""]
    if results.unknown is not None or results.test.window.calibrated_ece is not None:
        lines += ["Probabilities (ECE: expected calibration error):", calibration_table(results), ""]
    if not results.holds_codec:
        lines += [
            f"The model is in {folder}. It holds no codec, because {results.codec.id} could not be had: it takes "
            "windows of features (input_features), no sounds, and no pipeline runs it. To put the codec in:",
            "",
            "from hf_encls import EnclsForAudioClassification",
            "from hf_encls.report.cards import write_model_card",
            "from hf_encls.codec.loading import load_codec",
            f"model = EnclsForAudioClassification.from_pretrained({python(folder)})",
            'model.attach_codec(load_codec("FOLDER_OF_THE_CODEC"))',
            f"model.save_pretrained({python(folder)})",
            f"write_model_card({python(folder)})",
        ]
        return "\n".join(lines)
    lines += [f"The model is in {folder}. To use it:", ""]
    lines += [
        "from transformers import pipeline",
        "from hf_encls.audio import load",
        f'print(pipeline("audio-classification", model={python(folder)})(load({python(example or "a_sound.wav")}, '
        f"{results.sampling_rate})))",
    ]
    return "\n".join(lines)
