"""How often two classes of ESC-10 that a model has never heard are answered `unknown`, each pair of classes in turn.

    python scripts/runs/unheard_classes.py ESC10_FOLDER --features log_mel --heads statistics --window_s 5

Trained on the other eight classes, protocol official, test fold 1. Prints a table and writes unheard.json beside it.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from hf_encls.commands.inputs import FeatureArguments, prepare
from hf_encls.commands.parser import show_warnings
from hf_encls.comparison.few_examples import Kind
from hf_encls.comparison.unheard import SCORES, measure
from hf_encls.files import write_json
from hf_encls.report.tables import markdown_table
from hf_encls.training.arguments import EnclsTrainingArguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", help="ESC-10, or another data set with folds")
    parser.add_argument("--features", default="log_mel")
    parser.add_argument("--codec")
    parser.add_argument("--window_s", type=float, default=1.0)
    parser.add_argument("--hop_length", type=int)
    parser.add_argument("--heads", nargs="+", default=["statistics"])
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--unknown", type=float, default=0.1)
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--cache_dir")
    parser.add_argument("--output", default="unheard.json")
    options = parser.parse_args()
    show_warnings()
    names = ("data_dir", "features", "codec", "window_s", "hop_length", "cache_dir")
    inputs = prepare(FeatureArguments(**{name: getattr(options, name) for name in names}))
    classes, rows = inputs.windows.features["label"].names, []
    for head in options.heads:
        kind = Kind.of(options.features, inputs.windows, inputs.config, head, inputs.codec)
        for first in range(0, len(classes) - 1, 2):
            with tempfile.TemporaryDirectory() as folder:
                args = EnclsTrainingArguments(
                    folder, recipe=options.recipe, unknown=options.unknown, report_to="none", disable_tqdm=True
                )
                division = {"protocol": "official", "fold": options.fold}
                found = measure(
                    kind.windows, kind.config, classes[first : first + 2], args, codec=kind.codec, **division
                )
            rows.append({"input": kind.name, "alpha": options.unknown, **found})
            print(json.dumps(rows[-1]), flush=True)
            write_json({"rows": rows}, Path(options.output))
    print(table(rows))


def table(rows: list[dict]) -> str:
    """The means over the pairs of classes, a row for each input and head."""
    cells = []
    for name in dict.fromkeys(row["input"] for row in rows):
        own = [row for row in rows if row["input"] == name]
        numbers = [
            [row[key] for row in own]
            for key in ("accuracy", "ece", "calibrated_ece", "known_unknown", "unheard_unknown")
        ]
        numbers += [[row["by_truth"][index] for row in own] for index in (0, 1)]
        numbers += [[row["auroc"][score] for row in own] for score in SCORES]
        cells.append([name, *(f"{np.mean(values):.3f}" for values in numbers)])
    head = ["input, head", "accuracy", "ECE as trained", "ECE", "known called unknown", "unheard called unknown"]
    head += ["known, threshold by truth", "unheard, by truth", *(f"AUROC {score}" for score in SCORES)]
    return markdown_table(head, cells)


if __name__ == "__main__":
    main()
