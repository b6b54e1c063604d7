"""How a folder of one's own is learned where nothing says how: as measured best on ESC-10's official folds.

The measurement is `scripts/runs/heads_esc10.sh`: in each fold the validation clips alone choose. Of log-mel they chose this
head on one vector for each clip in every fold, mostly with this recipe and this floor.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from datasets import Dataset

from hf_encls.commands.feature_arguments import FeatureArguments
from hf_encls.data.load import FOLDER, recognise
from hf_encls.model.names_encls import parse_features
from hf_encls.training.places import NOTHING
from hf_encls.training.settings import OPTIMISATION

MEASURED = ("latents", "log_mel")  # power mel and codes were not
DEFAULTS = {"head": "modulation", "recipe": "recommended"}
LOG_MEL = {"floor_db": -50.0}
WINDOWS_S = (5.0, 2.0, 1.0)
FILLED = 0.9  # the rest of a window is filled by reflection
# What only a network has: who names one of them asks for a network, and gets the paper's.
OF_NETWORKS = {
    *OPTIMISATION,
    *("dropout", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("eval_strategy", "eval_steps", "save_strategy", "save_steps", "metric_for_best_model", "load_best_model_at_end"),
}


def defaults(options: Mapping[str, object]) -> dict[str, object]:
    """What to add to the `options` of training that were given; nothing where they say how to learn, or what is learned is
    no folder of class-named folders, a known data set, whose numbers stand beside those of others, or not `MEASURED`.
    """
    named = {name for name, value in options.items() if value is not None and value is not False}
    if {"head", "recipe", "dataset", "labels"} & named or OF_NETWORKS & named or options.get("protocol") == "paper":
        return {}
    if options.get("resume_from_checkpoint") not in NOTHING:  # a head that is fitted at once leaves no checkpoint
        return {}
    folder = options.get("data_dir")
    if not folder or not Path(str(folder)).is_dir() or (options.get("data_name") or recognise(str(folder))) != FOLDER:
        return {}
    kind = parse_features(options.get("features") or FeatureArguments.features)[0].kind
    if kind not in MEASURED:
        return {}
    settings = DEFAULTS | (LOG_MEL if kind == "log_mel" else {})
    return {name: value for name, value in settings.items() if name not in named}


def window_for(clips: Dataset) -> float:
    """Seconds of a window for these clips: the longest of `WINDOWS_S` that half of them all but fill, or the shortest."""
    median = float(np.median(clips["duration_s"]))
    return next((seconds for seconds in WINDOWS_S if FILLED * seconds <= median), WINDOWS_S[-1])


def text(settings: Mapping[str, object], chooses_window: bool) -> str:
    """For people: what was added, and how to have something else."""
    named = " ".join(
        f"--{name} {value:g}" if name in LOG_MEL else f"--{name} {value}" for name, value in settings.items()
    )
    windows = ", windows of 5, 2 or 1 s, the longest that half of the clips fill" if chooses_window else ""
    return (
        f"a folder of your own, and nothing says how to learn: {named}{windows}; --head mnist is the paper's network"
    )
