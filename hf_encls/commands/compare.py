"""Put audio-classification models side by side on the clips that training keeps for the test.

    python scripts/compare.py --data_dir my_sounds --models my_model some/transformer --protocol clip

The models must know the same classes. A model that needs remote code is not run; those of hf_encls need none here.
"""

import argparse
from pathlib import Path

from hf_encls.data.load import load_clips
from hf_encls.results import write_json


def main(args: list[str] | None = None) -> dict:
    """Run the program. Returns the rows under `models`, and which clips they are about.

    Raises `ValueError` for what a user can mend.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="the folder of clips, as for training")
    parser.add_argument("--models", nargs="+", required=True, help="folders or Hub ids of audio-classification models")
    parser.add_argument("--protocol", default="clip", choices=("clip", "official"), help="which clips are the test")
    parser.add_argument("--fold", type=int, help="the test fold under official")
    parser.add_argument("--seed", type=int, default=0, help="the seed that training drew its split with")
    parser.add_argument("--device", help="cpu, cuda, ...; None: an accelerator where there is one")
    parser.add_argument("--output", help="write the rows into this JSON file")
    options = parser.parse_args(args)
    # evaluate, sklearn and transformers' pipelines take seconds to import: not for --help.
    from hf_encls.metrics.compare import compare, test_clips

    clips, report, facts = load_clips(options.data_dir)
    test = test_clips(clips, options.protocol, seed=options.seed, fold=options.fold)
    rows = compare({name: name for name in options.models}, test, device=options.device)
    print(f"{len(test)} of {report.used} clips are the test under {options.protocol}")
    width = max(len(row["model"]) for row in rows)
    print(f"{'model':<{width}}  accuracy  macro F1  clips/s")
    for row in rows:
        numbers = f"{row['accuracy']:8.3f}  {row['macro_f1']:8.3f}  {row['clips_per_second']:7.1f}"
        print(f"{row['model']:<{width}}  {numbers}")
    dataset = facts.title if facts else Path(options.data_dir).resolve().name
    result = {
        "dataset": dataset,
        "protocol": options.protocol,
        "fold": options.fold,
        "seed": options.seed,
        "models": rows,
    }
    if options.output:
        write_json(result, Path(options.output))
    return result
