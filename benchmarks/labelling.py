"""How many labels `hf-encls label-next` saves: accuracy over the number of labelled clips, against clips drawn at random.

    python benchmarks/labelling.py --data_dir ESC-10 --folds 3 4 5

From no label at all, ten clips are labelled at a time, chosen among three quarters of the clips outside of the test fold
(another three quarters for each seed, the same for both sides). Both sides learn with the same classifier, the linear one of
the head `statistics` on one vector for each clip. The rule and its constants were chosen on folds 1 and 2.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from datasets import Dataset

from hf_encls.commands.inputs import FeatureArguments, Inputs, prepare
from hf_encls.comparison.few_examples import interval
from hf_encls.features.label_next import choose, clip_vectors, predicted
from hf_encls.features.vectors import Vectors
from hf_encls.files import write_text
from hf_encls.report.tables import markdown_table

SIDES = ("label-next", "random")
POOL = 0.75  # of the clips outside of the test fold
RESULTS = Path(__file__).parent / "results" / "labelling.json"


def main(args: list[str] | None = None) -> dict:
    """Run the benchmark; returns its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="a data set with folds: ESC-10, ESC-50")
    parser.add_argument("--inputs", nargs="+", default=["log_mel", "mini"], help="log_mel, or a codec's name")
    parser.add_argument("--folds", nargs="+", type=int, default=[3, 4, 5], help="test folds")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=10, help="clips that are labelled at a time")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--window_s", type=float, default=1.0)
    parser.add_argument("--cache_dir")
    parser.add_argument("--output", default=str(RESULTS), help="numbers as JSON")
    options = parser.parse_args(args)
    counts = [options.batch * (number + 1) for number in range(options.rounds)]
    found = {"command": f"python benchmarks/labelling.py --data_dir {Path(options.data_dir).name}", "labels": counts}
    found |= {"folds": options.folds, "seeds": options.seeds, "inputs": {}}
    for name in options.inputs:
        started = time.perf_counter()
        mel = name in ("log_mel", "mel")
        features = {"features": name} if mel else {"features": "latents", "codec": name}
        place = {"data_dir": options.data_dir, "window_s": options.window_s, "cache_dir": options.cache_dir}
        curves = measure(prepare(FeatureArguments(**place, **features)), options)
        found["inputs"][name] = summary(curves, counts)
        print(f"{name}, {time.perf_counter() - started:.0f} s\n\n{table(found['inputs'][name], counts)}\n", flush=True)
        write_text(json.dumps(found, indent=1) + "\n", options.output)
    return found


def measure(inputs: Inputs, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Accuracy of the clips of a test fold, for each side (seeds, folds, rounds)."""
    curves = {side: np.zeros((options.seeds, len(options.folds), options.rounds)) for side in SIDES}
    for place, fold in enumerate(options.folds):
        clips = _divided(inputs, fold)
        for seed in range(options.seeds):
            for side in SIDES:
                curves[side][seed, place] = curve(clips, side, seed, options)
    return curves


def curve(clips: tuple, side: str, seed: int, options: argparse.Namespace) -> list[float]:
    """Accuracy of test clips after each round of labelling."""
    vectors, labels, tested, truth = clips
    num_labels = labels.max() + 1
    random = np.random.default_rng(seed)
    pool = random.permutation(len(labels))[: round(POOL * len(labels))]
    chosen, probabilities, found = np.zeros(0, int), None, []
    for number in range(options.rounds):
        if side == "random":
            picked = random.permutation(len(pool))[: options.batch]
        else:
            known = vectors[chosen]
            picked = [
                each.index for each in choose(vectors[pool], options.batch, probabilities, known, seed * 100 + number)
            ]
        chosen, pool = np.concatenate([chosen, pool[picked]]), np.delete(pool, picked)
        scores = predicted(vectors[chosen], labels[chosen], np.concatenate([tested, vectors[pool]]), num_labels)
        probabilities = None if scores is None else scores[len(tested) :]
        # A classifier that knows one class says it always.
        said = np.full(len(truth), labels[chosen[0]]) if scores is None else scores[: len(tested)].argmax(axis=1)
        found.append(float((said == truth).mean()))
    return found


def _divided(inputs: Inputs, fold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vectors and labels of the clips outside of the test fold, which alone they are standardised by, and of those in it."""
    folds = np.asarray(inputs.windows["fold"][:])
    rows = np.flatnonzero(folds != fold)
    vectors = Vectors(inputs.windows.select(rows), inputs.config, inputs.codec)
    training = _clips(inputs.windows.select(rows[vectors.rows]), vectors.heard)
    silent = np.asarray(inputs.windows["silent"][:])
    test = inputs.windows.select(np.flatnonzero((folds == fold) & ~silent))
    values = test.with_format("torch")["input_features"][:]
    return *training, *_clips(test, vectors.of(values))


def _clips(windows: Dataset, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids, means = clip_vectors(vectors, windows["clip_id"][:])
    label = dict(zip(windows["clip_id"][:], windows["label"][:]))
    return means, np.array([label[name] for name in ids.tolist()])


def summary(curves: dict[str, np.ndarray], counts: list[int]) -> dict:
    """Of each side the mean accuracy and its deviation over seeds; of their difference its interval of 95 %."""
    found = {}
    for side, values in curves.items():
        seeds = values.mean(axis=1)
        found[side] = {"accuracy": seeds.mean(axis=0).tolist(), "deviation": seeds.std(axis=0, ddof=1).tolist()}
    difference = (curves["label-next"] - curves["random"]).mean(axis=1)
    found["gain"] = difference.mean(axis=0).tolist()
    found["gain_interval"] = [interval(column) for column in difference.T]
    found["gain_by_fold"] = (curves["label-next"] - curves["random"]).mean(axis=(0, 2)).tolist()
    level, random = found["label-next"]["accuracy"], found["random"]["accuracy"]
    found["labels_of_random"] = [_labels_for(score, random, counts) for score in level]
    return found


def _labels_for(score: float, accuracy: list[float], counts: list[int]) -> float | None:
    """How many labels reach a score, between the points of a curve; None where none of them does."""
    for number in range(1, len(counts)):
        below, above = accuracy[number - 1], accuracy[number]
        if below <= score <= above:
            return counts[number - 1] + (counts[number] - counts[number - 1]) * (score - below) / max(
                above - below, 1e-9
            )
    return float(counts[0]) if score <= accuracy[0] else None


def table(found: dict, counts: list[int]) -> str:
    """A row for each side, one for the gain, and one for the labels that random clips need for the same."""

    def texts(side: str) -> list[str]:
        return [f"{a:.3f} ± {d:.3f}" for a, d in zip(found[side]["accuracy"], found[side]["deviation"])]

    gains = [f"{g:+.3f} ({low:+.3f} to {high:+.3f})" for g, (low, high) in zip(found["gain"], found["gain_interval"])]
    needed = ["more than all" if each is None else f"{each:.0f}" for each in found["labels_of_random"]]
    rows = [[side, *texts(side)] for side in SIDES] + [["gain, 95 %", *gains], ["labels that random needs", *needed]]
    return markdown_table(["", *(f"{count} labels" for count in counts)], rows)


if __name__ == "__main__":
    main()
