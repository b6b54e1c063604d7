"""Write the cards in model_cards/ from the results.json of runs, each under a name of its own.

    python scripts/train.py --output_dir mini-synthetic
    scripts/runs/gtzan_music_speech.sh MUSIC_SPEECH OUT
    python scripts/runs/model_cards.py mini-synthetic=mini-synthetic/results.json \\
        gtzan-clip-log-mel=OUT/clip_log_mel/results.json ...

Beside results.json a config.json is read, where it is. Pictures and example sounds stay with the model.
"""

import argparse
from pathlib import Path

from hf_encls.files import write_text
from hf_encls.files.records import read_record
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.report.cards import Beside, model_card
from hf_encls.training.results import Results

FROM_RESULTS = ("features", "sampling_rate", "window_s", "step_s", "hop_length", "standardization", "head")


def main() -> None:
    """Write a card for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=RESULTS_JSON")
    parser.add_argument("--output", type=Path, default=Path("model_cards"))
    options = parser.parse_args()
    for run in options.runs:
        name, _, path = run.partition("=")
        results = Results.read(path)
        card = model_card(results, config_of(results, Path(path)), name=name, model=name, beside=Beside(()))
        print(write_text(str(card), options.output / f"{name}.md"))


def config_of(results: Results, path: Path) -> dict:
    """What a card needs of config.json; of a run whose configuration is not there, what its results say of it."""
    if (path.parent / "config.json").is_file():
        return read_record(path.parent / "config.json")
    values = {name: getattr(results, name) for name in FROM_RESULTS}
    held = {"codec_config": {}} if results.codec else {}
    return (
        {name: value for name, value in values.items() if value is not None}
        | held
        | {"model_type": EnclsConfig.model_type}
    )


if __name__ == "__main__":
    main()
