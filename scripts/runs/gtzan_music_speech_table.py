"""The table of the README: runs on GTZAN music/speech beside the paper's figures.

python scripts/runs/gtzan_music_speech_table.py RESULTS.json ...
"""

import argparse
import json
import shlex
from pathlib import Path

from hf_encls.reproduction.paper import TABLE_1

NAMES = {"mel": "power mel", "log_mel": "log-mel", "encodec_24khz": "latents of mini (not Meta's)"}


def main() -> None:
    """Print the table, and below it the command of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in parser.parse_args().results]
    by = {(run["features"], run["protocol"]): run for run in runs}
    print(
        "| input | `paper`: test windows | the paper, with Meta's codec | `clip`: test windows | `clip`: test clips |"
    )
    print("| --- | ---: | ---: | ---: | ---: |")
    for features, name in NAMES.items():
        paper, clip = by[features, "paper"]["test"], by[features, "clip"]["test"]
        published = TABLE_1["gtzan_music_speech"].get(features)
        print(
            f"| {name} | {paper['window']['accuracy']:.3f} | {published['accuracy'] if published else ''} "
            f"| {clip['window']['accuracy']:.3f} | {clip['clip']['accuracy']:.3f} |"
        )
    example = next(iter(by.values()))
    print(
        f"\n{example['epochs']} epochs, seed {example['seed']}, hf_encls {example['versions']['hf_encls']}.", end=" "
    )
    print(", ".join(f"`{p}`: {by['mel', p]['test']['num_windows']} test windows" for p in ("paper", "clip")))
    for run in by.values():
        print(f"\n    {shlex.join(['python', *run['command']])}", end="")
    print()


if __name__ == "__main__":
    main()
