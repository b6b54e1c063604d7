"""Whether the sounds can be divided as the protocol asks, told before anything is computed of them."""

from collections import Counter
from pathlib import Path

from datasets import Dataset

from hf_encls.commands.train_arguments import DataArguments
from hf_encls.data.labelled import approximate_windows
from hf_encls.data.load import FOLDER, recognise
from hf_encls.data.splits import PARTS, division_rows, enforce, leak_check, make_splits, official_folds
from hf_encls.data.walk import walk
from hf_encls.timelines.clip_tables import is_clip_table


def check_division(args: DataArguments) -> None:
    """Raise `ValueError` where the names of the files alone show that the protocol cannot be kept. Opens none of them."""
    if args.dataset is not None or not args.data_dir or not Path(args.data_dir).is_dir():
        return
    if args.protocol == "official" and args.labels is not None and not is_clip_table(args.labels):
        official_folds({"fold": [0]})  # recordings have none
    if args.protocol == "paper" or args.labels is not None or (args.data_name or recognise(args.data_dir)) != FOLDER:
        return
    if args.protocol == "official":
        official_folds({"fold": [0]})  # a plain folder has none
    for label, count in Counter(label for _, label in walk(Path(args.data_dir))[0]).items():
        if count < len(PARTS):
            raise ValueError(
                f"class {label!r} has {count} file{'s' if count > 1 else ''} under {args.data_dir}; it needs at least "
                f"{len(PARTS)}, one each for training, validation and test"
            )


def check_clips(clips: Dataset, args: DataArguments, seed: int) -> None:
    """Raise `ValueError` where these clips cannot be divided as the protocol asks.

    Under `paper` windows are divided; how many there are is known when they are made.
    """
    protocol, fold = args.protocol, args.fold
    if protocol == "paper":
        return
    if "segments" in clips.column_names:
        rows = approximate_windows(clips, args.window_s, args.window_s if args.step_s is None else args.step_s)
        if not len(rows["label"]):
            return  # said, with what to do, when the windows are made
    else:
        rows = division_rows(clips)
    for test_fold in official_folds(rows) if protocol == "official" and fold is None else [fold]:
        enforce(leak_check(rows, make_splits(rows, protocol, seed=seed, fold=test_fold)), protocol)
