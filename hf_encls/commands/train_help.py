"""`train --help`: ours first and by theme, at once; `--help_all` has transformers' options too, and waits for it."""

import sys

from hf_encls.commands.dataclass_options import help_text, options_of
from hf_encls.commands.train_arguments import DataArguments, ModelArguments
from hf_encls.training.defaults import TrainingDefaults

DESCRIPTION = "Train a classifier on a folder of sounds, or on published features."
THEMES = {
    "sounds": "data_dir data_name labels multi_label min_overlap unlabelled tier label_column groups strict",
    "features": "features window_s step_s hop_length n_fft floor_db codec codec_revision codec_policy codec_dtype "
    "bandwidth cache_dir rescan memory_limit_gb",
    "published features instead of sounds": "dataset dataset_config dataset_revision streaming",
    "what is trained and what is tested": "protocol fold seed",
    "network": "head standardization dropout",
    "training": "recipe num_train_epochs max_steps learning_rate lr_scheduler_type warmup_steps label_smoothing_factor "
    "per_device_train_batch_size per_device_eval_batch_size metric_for_best_model calibrate unknown use_cpu bf16",
    "what is written": "output_dir overwrite resume_from_checkpoint save_total_limit report_to push_to_hub hub_model_id "
    "hub_private_repo hub_token",
}
OURS = "what else is ours"
THEIRS = "transformers' TrainingArguments"
ENDING = """\
All of it may stand in one file instead: train settings.yaml (or .json).
--help_all lists every option of transformers' TrainingArguments too; all of them work."""


def answered(args: list[str] | None = None) -> bool:
    """Print the help where `args` (None: the command line's) ask for it, and say whether they did."""
    args = sys.argv[1:] if args is None else args
    everything = bool({"--help_all", "--help-all"} & set(args))
    if not everything and not {"-h", "--help"} & set(args):
        return False
    print(train_help(everything=everything), end="")
    return True


def train_help(prog: str | None = None, everything: bool = False) -> str:
    """The text of `--help`, with `everything` that of `--help_all`."""
    kinds = (DataArguments, ModelArguments, TrainingDefaults)
    known = {each.name: (each, hint) for kind in kinds for each, hint in options_of(kind)}
    groups = {title: [known.pop(name) for name in names.split() if name in known] for title, names in THEMES.items()}
    theirs = {each.name for each, _ in options_of(TrainingDefaults)}
    groups[OURS] = [known.pop(name) for name in list(known) if name not in theirs]
    if everything:
        from hf_encls.training.arguments import EnclsTrainingArguments

        said = {each.name for options in groups.values() for each, _ in options}
        groups[THEIRS] = [option for option in options_of(EnclsTrainingArguments) if option[0].name not in said]
    prog = prog or sys.argv[0].rpartition("/")[2]
    usage = f"usage: {prog} [-h] [--help_all] [OPTIONS]\n       {prog} SETTINGS.yaml"
    return help_text(usage, DESCRIPTION, {title: each for title, each in groups.items() if each}, ENDING)
