"""What a run leaves behind: the model with its code, results.json, pictures, the card; each file written whole."""

import json
import os
import platform
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from hf_encls.cards import write_model_card
from hf_encls.hub.configuration_encls import EnclsConfig
from hf_encls.hub.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.hub.modeling_encls import EnclsForAudioClassification
from hf_encls.report import save_confusion_matrix, save_curves
from hf_encls.tables import results_table

RESULTS = "results.json"
CLIPS = "clips.json"  # which clips were in which part


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
    write_json(results, folder / RESULTS)
    if results["history"]:
        save_curves({results["features"]: results["history"]}, folder / "curves.png", title=title(results))
    save_confusion_matrix(results["confusion_matrix"], results["classes"], folder / "confusion_matrix.png")
    write_model_card(folder)


def versions() -> dict[str, str]:
    """Versions of what a score depends on."""
    names = ("hf_encls", "torch", "transformers", "datasets", "accelerate", "soundfile", "soxr", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def public_command(arguments: Sequence[str], secrets: Iterable[str | None] = ()) -> list[str]:
    """A command line as it may be published: options that name a token are left out with their values, and so is every
    argument with one of `secrets` in it; of an absolute path only the last part stays.
    """
    secrets = [secret for secret in secrets if secret]
    shown: list[str] = []
    value_of_token = False
    for argument in arguments:
        is_option = argument.startswith("--")
        name, equals, value = argument.partition("=") if is_option else ("", "", argument)
        if value_of_token and not is_option:
            value_of_token = False
            continue
        value_of_token = "token" in name.lower() and not equals
        if "token" in name.lower():
            continue
        if any(secret in argument for secret in secrets):  # of an option that was abbreviated
            if not is_option and shown and shown[-1].startswith("--"):
                shown.pop()
            continue
        shown.append(name + equals + _without_place(value))
    return shown


def _without_place(text: str) -> str:
    """The last part of an absolute path, anything else as it is."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(text).is_absolute():
            return kind(text).name
    return text


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
    holds_codec = all(run.get("holds_codec", True) for run in runs.values())
    leak = {name: sum(run["leak"][name] for run in runs.values()) for name in common["leak"]}
    folds = {
        str(fold): {"test": run["test"], "leak": run["leak"], "times_s": run["times_s"]} for fold, run in runs.items()
    }
    about = {name: common[name] for name in shared if name in common}
    return about | {"holds_codec": holds_codec, "leak": leak, "test": test, "folds": folds}


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
            "from hf_encls.cards import write_model_card",
            "from hf_encls.codec.loading import load_codec",
            f'model = EnclsForAudioClassification.from_pretrained("{folder}")',
            'model.attach_codec(load_codec("FOLDER_OF_THE_CODEC"))',
            f'model.save_pretrained("{folder}")',
            f'write_model_card("{folder}")',
        ]
        return "\n".join(lines)
    lines += [f"The model is in {folder}. To use it:", ""]
    lines += [
        "from transformers import pipeline",
        "from hf_encls.audio import load",
        f'print(pipeline("audio-classification", model="{folder}")(load("{example or "a_sound.wav"}", '
        f"{results['sampling_rate']})))",
    ]
    return "\n".join(lines)
