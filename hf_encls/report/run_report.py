"""A run for people: results.json with its pictures and its card, its title, its tables, how to use its model."""

import json
from pathlib import Path

from hf_encls.files import write_json
from hf_encls.files.escapes import python
from hf_encls.report.cards import write_model_card
from hf_encls.report.pictures import save_confusion_matrix, save_curves
from hf_encls.report.tables import results_table
from hf_encls.training.results import RESULTS, dataset_text


def save_results(results: dict, folder: Path) -> None:
    """Write what is made of results, curves.png, confusion_matrix.png, README.md, then results.json.

    It comes last: it says that all of a run is there.
    """
    results = json.loads(json.dumps(results))  # as they will be read
    if results["history"]:
        features, best = results["features"], results.get("best_epoch")
        save_curves({features: results["history"]}, folder / "curves.png", title(results), {features: best})
    save_confusion_matrix(results["confusion_matrix"], results["classes"], folder / "confusion_matrix.png")
    write_model_card(folder, results=results)
    write_json(results, folder / RESULTS)


def title(results: dict) -> str:
    """A run in one line: data, features, codec, protocol."""
    codec = results.get("codec")
    features = results["features"] + (f" ({codec['id']})" if codec else "")
    fold = f" fold {results['fold']}" if results.get("fold") else ""
    return f"{dataset_text(results)}, {features}, protocol {results['protocol']}{fold}"


def folds_table(results: dict) -> str:
    """The test accuracy of every fold, and their mean and standard deviation, as text."""
    lines = [f"{'fold':<6}{'windows':>10}{'clips':>10}"]
    for fold, run in results["folds"].items():
        lines.append(f"{fold:<6}{run['test']['window']['accuracy']:>10.3f}{run['test']['clip']['accuracy']:>10.3f}")
    for name, key in (("mean", "accuracy"), ("std", "accuracy_std")):
        lines.append(f"{name:<6}{results['test']['window'][key]:>10.3f}{results['test']['clip'][key]:>10.3f}")
    return "\n".join(["", *lines])


def usage(results: dict, folder: Path, example: str | None) -> str:
    """What a run prints last: its scores, and three lines of Python that use the model."""
    lines = ["", title(results), results_table(results), ""]
    if not results.get("holds_codec", True):
        lines += [
            f"The model is in {folder}. It holds no codec, because {results['codec']['id']} could not be had: it takes "
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
        f"{results['sampling_rate']})))",
    ]
    return "\n".join(lines)
