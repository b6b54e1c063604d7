"""Train a classifier on a folder of sounds, or on published features.

    python scripts/train.py                                             # synthetic sounds, no network needed
    accelerate launch scripts/train.py --data_dir my_sounds --features log_mel --output_dir my_model
    torchrun --nproc_per_node 2 scripts/train.py --dataset USER/FEATURES --features encodec_24khz
    python scripts/train.py settings.yaml                               # the same options in one file

Every option of transformers' TrainingArguments works too. The output folder holds the model with its code, results.json,
a confusion matrix, the learning curves of a network, and a card.
"""

import copy
import sys
import time
from pathlib import Path

import transformers
from accelerate import PartialState
from datasets import Dataset

from hf_encls.commands.inputs import Inputs
from hf_encls.commands.inputs import prepare as prepare_features
from hf_encls.commands.parser import show_warnings
from hf_encls.commands.published_inputs import codec_of, published_inputs
from hf_encls.commands.saved_run import origin, train_and_save
from hf_encls.commands.train_arguments import DataArguments, parse
from hf_encls.commands.train_checks import check_clips, check_division
from hf_encls.data.splits import official_folds
from hf_encls.files import writing
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.report.card_files import check_card
from hf_encls.report.codec_texts import plain_warning
from hf_encls.report.run_report import folds_table, usage
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.calibration import check_unknown
from hf_encls.training.places import NOTHING, clear, home_of, occupied, put_in_place, workplace
from hf_encls.training.results import Results, over_folds
from hf_encls.training.resuming import (
    Start,
    begin_folds,
    check_resumable,
    forget_previous,
    plan_folds,
    plan_start,
    refuse_unfinished_folds,
)
from hf_encls.training.settings import asked_settings, run_settings


def main(args: list[str] | None = None) -> Results:
    """Train as `args` (command line arguments) say, and return the results.

    Under the protocol `official` without `--fold`, every fold is trained in a folder of its own, and the results are
    their mean and standard deviation. Raises `ValueError` for what a user can mend; whatever can be told without the
    sounds is told before any of them is read.
    """
    command = list(sys.argv[1:] if args is None else args)
    model_args, data_args, training_args = parse(command)
    show_warnings()
    transformers.utils.logging.disable_progress_bar()  # its bars for weights would break up the one of training
    # Not the Trainer's business: its own push sends checkpoints and a pickle of the arguments.
    push_to_hub, training_args.push_to_hub = training_args.push_to_hub, False
    network = model_args.network()
    folder, resume = Path(training_args.output_dir), training_args.resume_from_checkpoint
    with writing(folder), occupied(folder):
        if resume in NOTHING and not training_args.overwrite:
            refuse_unfinished_folds(folder)
        place = workplace(folder, resume, training_args.overwrite)
        check_resumable(
            place,
            resume,
            asked_settings(training_args, data_args.protocol, data_args.fold, network),
            anew=training_args.overwrite,
            folds=data_args.protocol == "official" and data_args.fold is None,
        )
        check_division(data_args)
        check_unknown(training_args.unknown, EnclsConfig(), data_args.protocol)
        if not training_args.overwrite and (data_args.protocol != "official" or data_args.fold is not None):
            check_card(folder)
        name = training_args.hub_model_id or folder.resolve().name
        if push_to_hub:
            from hf_encls.hub.repository import check_model_target

            check_model_target(name, training_args.hub_token)
        started = time.monotonic()
        inputs = _inputs(data_args, training_args.seed, network)
        features_s = time.monotonic() - started
        if push_to_hub:
            _check_publishable(inputs, _folds(inputs, data_args))
        facts = origin(inputs, command, features_s, secrets=[training_args.hub_token])
        warning = plain_warning(facts["codec"], inputs.dataset)
        if warning and training_args.process_index == 0:
            print(warning, flush=True)
        results = _train(inputs, data_args, training_args, place, facts)
        if push_to_hub and training_args.process_index == 0:
            from hf_encls.hub.push_models import push_model

            print(push_model(folder, name, private=training_args.hub_private_repo, token=training_args.hub_token))
    return results


def _train(
    inputs: Inputs,
    data_args: DataArguments,
    training_args: EnclsTrainingArguments,
    place: Path,
    facts: dict,
) -> Results:
    """Train every fold in `place` and put what was made where it belongs. `facts`: what `train()` cannot know."""
    is_main, folds = training_args.process_index == 0, _folds(inputs, data_args)
    # All of them before the first one begins: what stands in the way of one is said before anything has changed.
    starts = _starts(inputs, data_args, training_args, folds, place)
    for start in starts.values():
        check_card(start.folder)
    PartialState().wait_for_everyone()  # nobody looks any more at what goes now
    if is_main:
        goes_on = any(start.finished or _is_in(start.checkpoint, place) for start in starts.values())
        if training_args.overwrite and not goes_on:
            clear(place)
        if len(folds) > 1:
            begin_folds(place, starts.values())
    runs = {}
    for fold, start in starts.items():
        if start.finished:
            runs[fold] = Results.of(start.folder)
            if is_main:
                print(f"fold {fold}: finished earlier, its results are in {start.folder}", flush=True)
            continue
        arguments = copy.copy(training_args)
        arguments.output_dir = str(start.folder)
        runs[fold] = train_and_save(inputs, arguments, start, facts, data_args.memory_limit_gb)
    results = runs[folds[0]] if len(folds) == 1 else over_folds(runs)
    if is_main:
        if len(folds) > 1:
            results.write(place)
            forget_previous(place)
            print(folds_table(results))
        put_in_place(place)
        print(usage(results, home_of(starts[folds[0]].folder), _example(inputs)))
    return results


def _folds(inputs: Inputs, args: DataArguments) -> list[int | None]:
    """The folds that are trained, each in a folder of its own; [None] for one run."""
    return official_folds(inputs.windows) if args.protocol == "official" and args.fold is None else [None]


def _is_in(checkpoint: Path | None, place: Path) -> bool:
    return checkpoint is not None and checkpoint.resolve().is_relative_to(place.resolve())


def _inputs(args: DataArguments, seed: int, network: dict) -> Inputs:
    if args.dataset is not None:
        return published_inputs(args, network)

    def check(clips: Dataset) -> None:
        check_clips(clips, args, seed)

    return prepare_features(args, check, **network)


def _starts(
    inputs: Inputs, data_args: DataArguments, training_args: EnclsTrainingArguments, folds: list, place: Path
) -> dict[int | None, Start]:
    """How the run of each fold begins; a fold of None: the only one."""
    resume, anew = training_args.resume_from_checkpoint, training_args.overwrite
    settings = {
        fold: run_settings(
            inputs.windows, inputs.config, training_args, data_args.protocol, data_args.fold if fold is None else fold
        )
        for fold in folds
    }
    if len(folds) > 1:
        return plan_folds(place, resume, settings, anew)
    return {fold: plan_start(place, resume, wanted, anew=anew) for fold, wanted in settings.items()}


def _check_publishable(inputs: Inputs, folds: list) -> None:
    """Raise `ValueError` for what cannot be published, before it is trained. Gets the codec that it will hold."""
    if len(folds) > 1:
        raise ValueError("expected one model to publish, found one for each fold: name one with --fold")
    if inputs.config.representation.needs_codec and inputs.codec is None:
        try:
            inputs.codec = codec_of(inputs.config)
        except ValueError as error:
            raise ValueError(
                f"a model without its codec takes no sounds and is not published: {error}. Or leave --push_to_hub out"
            ) from error


def _example(inputs: Inputs) -> str | None:
    """A clip for the lines that show how to use the model."""
    if inputs.report is None:
        return None
    return str(Path(inputs.report.data_dir) / inputs.windows[0]["clip_id"])
