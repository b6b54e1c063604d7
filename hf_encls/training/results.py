"""What a run leaves behind: the model with its code, and its numbers; each file written whole."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from hf_encls.data.facts import copy_text
from hf_encls.files import move_into_place, work_folder, writing
from hf_encls.files.records import read_record
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.model.modeling_encls import EnclsForAudioClassification

RESULTS = "results.json"
CLIPS = "clips.json"  # which clips were in which part
SCORES_SHAPE = {"accuracy": float, "loss": float, "macro_f1?": float, "*": (float, None)}
PART_SHAPE = {"window": SCORES_SHAPE, "clip": SCORES_SHAPE, "window_without_silence?": (SCORES_SHAPE, None), "*": int}
CODEC_SHAPE = {
    **{"id": str, "hash?": (str, None), "policy?": (str, None), "dtype?": (str, None), "revision?": (str, None)},
    **{"bandwidth?": (float, None), "untrained?": bool, "trained_on?": ([str], str), "license?": (str, None)},
    **{"attribution?": (str, None), "heard_test_clips?": bool},
}
LEAK_SHAPE = {"test_windows": int, "clip_leaks": int, "group_leaks": int}
# What readers rely on; results of earlier versions have less.
RESULTS_SHAPE = {
    **{
        "dataset": str,
        "dataset_id?": (str, None),
        "features": str,
        "protocol": str,
        "fold?": (int, None),
        "seed": int,
    },
    **{"head?": str, "parameters?": int},
    **{"classes": [str], "codec?": (CODEC_SHAPE, None), "leak?": (LEAK_SHAPE, None), "holds_codec?": bool},
    **{
        "train?": PART_SHAPE,
        "validation?": PART_SHAPE,
        "test": PART_SHAPE,
        "epochs?": int,
        "best_epoch?": (int, None),
    },
    **{"history?": [{"epoch": float, "*": (float, None)}], "command?": [str], "versions?": {"*": str}, "device?": str},
    **{"per_class?": [{"class": str, "support": int, "*": (float, None)}], "times_s?": {"*": float}},
    **{"confusion_matrix?": [[int]], "folds?": {"*": {"test": PART_SHAPE}}},
}
CLIPS_SHAPE = {"*": [str]}


def save_model(model: EnclsForAudioClassification, config: EnclsConfig, folder: Path) -> None:
    """Write the checkpoint, the feature extractor and the code that runs them into `folder`."""
    model.cpu()
    with writing(folder), work_folder(folder) as work:
        model.save_pretrained(work)
        EnclsFeatureExtractor(sampling_rate=config.sampling_rate).save_pretrained(work)
        for file in sorted(work.iterdir()):
            if file.is_file():
                move_into_place(file, folder / file.name)


def versions() -> dict[str, str]:
    """Versions of what a score depends on."""
    names = ("hf_encls", "torch", "transformers", "datasets", "accelerate", "soundfile", "soxr", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def public_command(arguments: Sequence[str], secrets: Iterable[str | None] = ()) -> list[str]:
    """A command line as it may be published: options that name a token are left out with their values, and so is every
    argument with one of `secrets` in it; of an absolute path only the last part stays. Whether the run was resumed is
    left out too: the command is the one that makes the same results from nothing.
    """
    secrets = [secret for secret in secrets if secret]
    shown: list[str] = []
    value_left_out = False
    for argument in arguments:
        is_option = argument.startswith("--")
        name, equals, value = argument.partition("=") if is_option else ("", "", argument)
        if value_left_out and not is_option:
            value_left_out = False
            continue
        is_left_out = "token" in name.lower() or name.startswith("--resu")  # it may be abbreviated
        value_left_out = is_left_out and not equals
        if is_left_out:
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


def read_results(folder: Path) -> dict:
    """The results of a run, or of the folds of one, as `train` left them in `folder`. Raises `RecordError`."""
    return read_record(folder / RESULTS, RESULTS_SHAPE)


def read_clips(folder: Path) -> dict[str, list[str]]:
    """The ids of the clips of each part of a run in `folder`; nothing where it does not tell. Raises `RecordError`."""
    return read_record(folder / CLIPS, CLIPS_SHAPE) if (folder / CLIPS).is_file() else {}


def dataset_text(results: Mapping) -> str:
    """The data set of a run as it stands beside its scores: a partial copy says so. Older results name it alone."""
    return copy_text(results["dataset"], results.get("clips"), results.get("expected_clips"))


def over_folds(runs: dict[int, dict]) -> dict:
    """Results of all folds as one: mean and standard deviation (of the population) of each test score.

    The first fold's results say what the runs have in common.
    """
    common = next(iter(runs.values()))
    shared = (
        "dataset",
        "dataset_id",
        "clips",
        "expected_clips",
        "features",
        "sampling_rate",
        "window_s",
        "step_s",
        "hop_length",
        "standardization",
        "head",
        "parameters",
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
