"""What makes a run this one and no other: what it is compared by when it is to be gone on with."""

import hashlib
import json
from collections.abc import Mapping

from datasets import Dataset

from hf_encls.data.columns import DIVISION, UNKNOWN, class_names
from hf_encls.features.extraction import feature_identity
from hf_encls.model.configuration_encls import HEAD_OPTIONS, HEADS, EnclsConfig
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.recipe import FOR_FITTED, Recipe, with_whole_recipe

# Of transformers' arguments, those that a result depends on.
OPTIMISATION = (
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
    *("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm"),
    *("label_smoothing_factor", "bf16", "fp16"),
)


def run_settings(
    windows: Dataset, config: EnclsConfig, args: EnclsTrainingArguments, protocol: str, fold: int | None
) -> dict[str, object]:
    """What makes a run this one and no other, as JSON."""
    network = {name: getattr(config, name) for name in ("head", "standardization", *HEAD_OPTIONS)}
    network = {name: list(value) if isinstance(value, tuple) else value for name, value in network.items()}
    return asked_settings(args, protocol, fold, network) | {
        "classes": list(class_names(windows.features)),
        "features": feature_identity(config),
        "windows": len(windows),
        "division": _fingerprint(windows),
    }


def asked_settings(
    args: EnclsTrainingArguments, protocol: str, fold: int | None, network: Mapping
) -> dict[str, object]:
    """The part of `run_settings` that is known before anything is read."""
    devices = args.world_size * args.gradient_accumulation_steps
    recipe = Recipe.parse(args.recipe).settings()
    if not HEADS[network["head"]].is_fitted:
        recipe = {name: value for name, value in recipe.items() if name not in FOR_FITTED}
    return {
        "protocol": protocol,
        "fold": fold,
        "seed": args.seed,
        "recipe": recipe,
        **network,
        **{name: getattr(value := getattr(args, name), "value", value) for name in OPTIMISATION},
        "batch_size": args.train_batch_size * devices,
        "num_train_epochs": args.num_train_epochs,
        "max_steps": args.max_steps,
        "calibrate": args.calibrate,
        "unknown": args.unknown,
    }


def changed_settings(earlier: Mapping, settings: Mapping) -> list[str]:
    """The names, in order, in which a run is another one than the `earlier`, whose settings were written down.

    A name that is missing there was not written down yet when that run began.
    """
    # Version 0.1 had no other head and no recipe.
    earlier, settings = with_whole_recipe({"head": "mnist", "recipe": {}} | earlier), with_whole_recipe(settings)
    return sorted(name for name in settings.keys() & earlier.keys() if earlier[name] != settings[name])


def _fingerprint(windows: Dataset) -> str:
    """SHA-256 of what splits are drawn by: with other labels or groups, clips that trained could become test clips."""
    names = ("start", *DIVISION, *({UNKNOWN} & set(windows.column_names)))
    columns = {name: list(windows[name][:]) for name in names}
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()
