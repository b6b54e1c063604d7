"""How many planted faults `hf-encls check-labels` finds: exchanged labels, copies coded anew, copies that were cut.

    python benchmarks/label_faults.py --data_dir ESC-10 --folds 1 2 3 4 5

Each fold is a data set of its own, in which a tenth of the labels is exchanged, and copies of others are planted: a tenth in
another format and level, and a tenth for each length that is cut out of a clip. What is found beside is counted as well:
of labels and copies that nobody planted.
"""

import argparse
import csv
import json
import shlex
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

from hf_encls.audio import read
from hf_encls.commands.check_labels import main as check_labels
from hf_encls.data.load import load_clips
from hf_encls.files import write_text

CODED = (".ogg", ".mp3", ".wav", ".flac")
CUTS = {"half": 0.5, "quarter": 0.25}  # of a clip's length
RESULTS = Path(__file__).parent / "results" / "label_faults.json"


def main(args: list[str] | None = None) -> dict:
    """Run the benchmark; returns its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="a data set with folds: ESC-10, ESC-50")
    parser.add_argument("--inputs", nargs="+", default=["log_mel", "mini"], help="log_mel, or a codec's name")
    parser.add_argument("--folds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default=str(RESULTS), help="numbers as JSON")
    options = parser.parse_args(args)
    clips, _, _ = load_clips(options.data_dir)
    command = ["python", "benchmarks/label_faults.py", "--data_dir", Path(options.data_dir).name]
    command += ["--inputs", *options.inputs, "--folds", *map(str, options.folds)]
    found: dict = {"command": shlex.join(command), "folds": {}}
    for fold in options.folds:
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "clips"
            planted = plant(clips.filter(lambda each, fold=fold: each["fold"] == fold), folder, [options.seed, fold])
            for name in options.inputs:
                features = (
                    ["--features", "log_mel"] if name == "log_mel" else ["--features", "latents", "--codec", name]
                )
                table = Path(work) / "found.csv"
                place = ["--data_dir", str(folder), "--data_name", "folder", "--cache_dir", str(Path(work) / "cache")]
                check_labels([*place, *features, "--output", str(table)])
                with table.open(newline="") as file:
                    scores = score(list(csv.DictReader(file)), planted)
                found["folds"].setdefault(name, {})[fold] = scores
                print(f"fold {fold}, {name}: {json.dumps(scores)}", flush=True)
        write_text(json.dumps(found, indent=1) + "\n", options.output)
    for name, folds in found["folds"].items():
        total = {
            kind: [sum(each[kind][i] for each in folds.values()) for i in (0, 1)]
            for kind in next(iter(folds.values()))
        }
        print(f"{name}, all folds: " + ", ".join(f"{kind} {a} of {b}" for kind, (a, b) in total.items()))
    return found


def plant(clips, folder: Path, seed: list[int]) -> dict[str, set]:
    """Write clips into class-named folders with faults among them; returns these, by their kind."""
    rng, names = np.random.default_rng(seed), clips.features["label"].names
    files = []
    for row in clips:
        file = folder / names[row["label"]] / Path(row["audio"]["path"]).name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(row["audio"]["path"], file)
        files.append(file)
    chosen, share = rng.permutation(len(files)), max(1, len(files) // 10)
    kinds = ["coded", *CUTS, "label"]
    parts = dict(zip(kinds, np.split(chosen[: share * len(kinds)], len(kinds)), strict=True))
    planted: dict[str, set] = {kind: set() for kind in kinds}
    for kind in ("coded", *CUTS):
        for number, index in enumerate(parts[kind]):
            samples, rate = read(files[index])
            if kind in CUTS:
                length = round(len(samples) * CUTS[kind])
                start = rng.integers(0, len(samples) - length + 1)
                samples = samples[start : start + length]
            copy = files[index].with_name(f"{kind}_{number}{CODED[number % len(CODED)]}")
            soundfile.write(copy, np.clip(samples * 0.5, -1, 1), rate)
            planted[kind].add(tuple(sorted(path.relative_to(folder).as_posix() for path in (files[index], copy))))
    for index in parts["label"]:
        other = rng.choice([name for name in names if name != files[index].parent.name])
        target = files[index].rename(folder / other / files[index].name)
        planted["label"].add(target.relative_to(folder).as_posix())
    return planted


def score(rows: list[dict], planted: dict[str, set]) -> dict[str, tuple[int, int]]:
    """Of each kind how many were found, and how many there were; `other` ones were found beside, of all that were found."""
    pairs = {(row["clip"], row["other"]) for row in rows if row["kind"] == "copy"}
    labels = {row["clip"] for row in rows if row["kind"] == "label"}
    found = {kind: pairs & planted[kind] for kind in ("coded", *CUTS)}
    # Two copies of one clip are copies of each other.
    twice = Counter(name for kind in found for pair in planted[kind] for name in pair)
    others = [pair for pair in pairs if not any(pair in planted[kind] for kind in found)]
    others = [pair for pair in others if max(twice[name] for name in pair) < 2]
    return {
        **{kind: (len(values), len(planted[kind])) for kind, values in found.items()},
        "label": (len(labels & planted["label"]), len(planted["label"])),
        "other pairs": (len(others), len(pairs)),
        "other labels": (len(labels - planted["label"]), len(labels)),
    }


if __name__ == "__main__":
    main()
