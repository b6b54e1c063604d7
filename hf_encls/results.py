"""What a run leaves behind: the model with its code, results.json, pictures, the card; each file written whole."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from hf_encls.cards import write_model_card
from hf_encls.hub.configuration_encls import EnclsConfig
from hf_encls.hub.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.hub.modeling_encls import EnclsForAudioClassification
from hf_encls.report import save_confusion_matrix, save_curves
from hf_encls.tables import results_table


def save_model(model: EnclsForAudioClassification, config: EnclsConfig, folder: Path) -> None:
    """Write the checkpoint, the feature extractor and the code that runs them into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.cpu()
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as work:
        model.save_pretrained(work)
        EnclsFeatureExtractor(sampling_rate=config.sampling_rate).save_pretrained(work)
        # The weights are written readable by their owner only; they get the rights of any new file here.
        mask = os.umask(0)
        os.umask(mask)
        for file in Path(work).iterdir():
            if file.is_file():
                file.chmod(0o666 & ~mask)
                os.replace(file, folder / file.name)


def save_results(results: dict, folder: Path) -> None:
    """Write results.json, then what is made of it: curves.png, confusion_matrix.png, README.md."""
    write_json(results, folder / "results.json")
    if results["history"]:
        save_curves({results["features"]: results["history"]}, folder / "curves.png", title=title(results))
    save_confusion_matrix(results["confusion_matrix"], results["classes"], folder / "confusion_matrix.png")
    write_model_card(folder)


def title(results: dict) -> str:
    """A run in one line: data, features, codec, protocol."""
    codec = results.get("codec")
    features = results["features"] + (f" ({codec['id']})" if codec else "")
    fold = f" fold {results['fold']}" if results.get("fold") else ""
    return f"{results['dataset']}, {features}, protocol {results['protocol']}{fold}"


def write_json(value: object, path: Path) -> None:
    """Write JSON under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> dict:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def over_folds(runs: dict[int, dict]) -> dict:
    """Results of all folds as one: mean and standard deviation (of the population) of each test score.

    The first fold's results say what the runs have in common.
    """
    common = next(iter(runs.values()))
    shared = (
        "dataset",
        "dataset_id",
        "features",
        "sampling_rate",
        "window_s",
        "step_s",
        "hop_length",
        "standardization",
    )
    shared += ("protocol", "seed", "codec", "classes", "epochs", "command", "versions")
    test: dict = {}
    for unit in ("window", "window_without_silence", "clip"):
        scored = [run["test"][unit] for run in runs.values() if run["test"].get(unit)]
        for metric in ("accuracy", "loss", "macro_f1") if scored else ():
            values = np.array([scores[metric] for scores in scored])
            test.setdefault(unit, {})[metric] = values.mean().item()
            test[unit][f"{metric}_std"] = values.std().item()
    leak = {name: sum(run["leak"][name] for run in runs.values()) for name in common["leak"]}
    folds = {
        str(fold): {"test": run["test"], "leak": run["leak"], "times_s": run["times_s"]} for fold, run in runs.items()
    }
    return {name: common[name] for name in shared if name in common} | {"leak": leak, "test": test, "folds": folds}


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
    lines = ["", title(results), results_table(results), "", f"The model is in {folder}. To use it:", ""]
    lines += [
        "from transformers import pipeline",
        "from hf_encls.audio import load",
        f'print(pipeline("audio-classification", model="{folder}")(load("{example or "a_sound.wav"}", '
        f"{results['sampling_rate']})))",
    ]
    return "\n".join(lines)
