"""Put audio-classification models side by side on the clips that training keeps for the test.

    python scripts/compare.py --data_dir my_sounds --models my_model some/transformer

The split is the one that the local models were trained with; a test clip that one of them has heard is an error.
The models must know the same classes. A model that needs remote code is not run; those of hf_encls need none here.
"""

from pathlib import Path

from hf_encls.commands.outputs import output_file
from hf_encls.commands.parser import Parser, device
from hf_encls.data.facts import copy_text, title_of
from hf_encls.data.groups import with_groups
from hf_encls.data.load import DATA_NAMES, load_clips
from hf_encls.files import write_json, writing


def main(args: list[str] | None = None) -> dict:
    """Run the program. Returns the rows under `models`, and which clips they are about.

    `clips_known_unheard` of a row counts the test clips that the model's own folder names as its test; None where it
    cannot be known what the model has heard. Raises `ValueError` for what a user can mend.
    """
    options = _parser().parse(args)
    # evaluate, sklearn and transformers' pipelines take seconds to import: not for --help.
    from hf_encls.comparison.models import check_unheard, compare, run_of, split_of, test_clips

    known_runs = {name: run_of(name) for name in options.models}
    runs = {name: run for name, run in known_runs.items() if run is not None}
    protocol, fold, seed = split_of(list(runs.values()), options.protocol, options.fold, options.seed)
    clips, report, facts = load_clips(options.data_dir, options.data_name)
    if options.groups:
        clips = with_groups(clips, options.groups)
    test = test_clips(clips, protocol, seed=seed, fold=fold)
    unheard = {name: check_unheard(run, clips, test) for name, run in runs.items()}
    rows = compare({name: name for name in options.models}, test, device=options.device)
    dataset = title_of(facts, options.data_dir)
    print(copy_text(dataset, report.used, report.expected))
    print(f"{len(test)} of {report.used} clips are the test under {protocol}, {_drawn(protocol, fold, seed)}")
    width = max(len(row["model"]) for row in rows)
    print(f"{'model':<{width}}  accuracy  macro F1  clips/s")
    for row in rows:
        row["clips_known_unheard"] = unheard.get(row["model"])
        numbers = f"{row['accuracy']:8.3f}  {row['macro_f1']:8.3f}  {row['clips_per_second']:7.1f}"
        print(f"{row['model']:<{width}}  {numbers}")
    for row in rows:
        print(_heard(row))
        if row["model"] in runs and runs[row["model"]].codec_warning:
            print(f"{row['model']}: {runs[row['model']].codec_warning}")
    result = {
        "dataset": dataset,
        "clips": report.used,
        "expected_clips": report.expected,
        "protocol": protocol,
        "fold": fold,
        "seed": seed,
        "models": rows,
    }
    if options.output:
        with writing(options.output):
            write_json(result, Path(options.output))
    return result


def _parser() -> Parser:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="the folder of clips, as for training")
    parser.add_argument(
        "--data_name", choices=DATA_NAMES, help="which data set it is, as for training (None: recognised)"
    )
    parser.add_argument("--models", nargs="+", required=True, help="folders or Hub ids of audio-classification models")
    parser.add_argument(
        "--protocol",
        choices=("clip", "official"),
        help="which clips are the test (None: as the local models were trained; clip where there are none)",
    )
    parser.add_argument("--groups", metavar="FILE", help="the table of groups that the local models were trained with")
    parser.add_argument("--fold", type=int, help="the test fold under official (None: that of the local models)")
    parser.add_argument(
        "--seed",
        type=int,
        help="the seed that training drew its split with (None: that of the local models; 42, as in training, without any)",
    )
    parser.add_argument("--device", type=device, help="cpu, cuda, ...; None: an accelerator where there is one")
    parser.add_argument("--output", type=output_file, help="write the rows into this JSON file")
    return parser


def _drawn(protocol: str, fold: int | None, seed: int | None) -> str:
    if protocol == "official":
        return "the data set's lists" if fold is None else f"fold {fold}"
    return f"seed {seed}"


def _heard(row: dict) -> str:
    """What is known of the test clips that a model has heard."""
    if row["clips_known_unheard"] is None:
        return f"{row['model']}: whether it was trained on some of these clips cannot be known from here"
    if row["clips_known_unheard"] < row["num_clips"]:
        unknown = row["num_clips"] - row["clips_known_unheard"]
        return f"{row['model']}: trained on none of these clips; {unknown} of them its run did not have at all"
    return f"{row['model']}: trained on none of these clips, they are its own test"
