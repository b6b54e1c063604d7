"""Put codecs side by side on one data set: size, speed, and accuracy with each head, with intervals and paired tests.

    python scripts/compare_codecs.py --data_dir my_sounds --codec facebook/encodec_24khz --codec mini --codec my_dac
    python scripts/compare_codecs.py --data_dir ESC-10 --codec mini --protocol official --features mel latents codes

    python scripts/compare_codecs.py --data_dir ESC-10 --codec mini --heads statistics modulation --window_s 1 5

log_mel is always there, the others are tested against it. With several heads, windows, floors or recipes, each input also
gets what choosing among them by the validation clips alone comes to. Interrupted, the same command goes on where it was: a
finished cell is not trained again. The table is in OUTPUT_DIR/codecs.md, with a picture, as CSV and as JSON.
"""

import argparse
import functools
from itertools import product
from pathlib import Path

from hf_encls.commands.outputs import check_folder
from hf_encls.commands.parser import Parser, as_options
from hf_encls.data.facts import title_of
from hf_encls.data.load import DATA_NAMES, load_clips
from hf_encls.files import writing
from hf_encls.model.configuration_encls import HEADS
from hf_encls.training.recipe import Recipe

KINDS = ("mel", "latents", "codes")
PROTOCOLS = ("clip", "official")
OWN = "recipe"


def main(args: list[str] | None = None) -> Path:
    """Train what is not finished, write the table and return its path. Raises `ValueError` for what a user can mend."""
    options = _parser().parse(args)
    folder = Path(options.output_dir)
    check_folder(folder, "--output_dir")
    # Training takes seconds to import: not for --help.
    from hf_encls.comparison.choice import Candidate
    from hf_encls.comparison.codec_table import chosen_rows, table_rows, write_table
    from hf_encls.comparison.codecs import Work, divisions_of, measure_speed, run_cells
    from hf_encls.training.arguments import EnclsTrainingArguments

    codecs = [_codec(name) for name in dict.fromkeys(options.codec)]  # before any sound is read
    epochs, recipes = _epochs(options.epochs), _recipes(options.recipe)
    clips, report, facts = load_clips(options.data_dir, options.data_name)
    print(as_options(report.text()), flush=True)
    dataset = title_of(facts, options.data_dir)
    divisions = divisions_of(clips, options.protocol, options.folds, options.seeds)
    with writing(folder):
        all_features = _features(options, clips, codecs)
        make = functools.partial(
            EnclsTrainingArguments,
            num_train_epochs=epochs,
            bf16=options.bf16,
            report_to="none",
            disable_tqdm=True,
        )
        work = Work(folder / "cells", make, _say, not options.finished)
        firsts: dict = {}
        for each in all_features:  # what a row of features costs hardly depends on how it is cut
            firsts.setdefault(each.name, each)
        speed = measure_speed(list(firsts.values()), clips, folder)
        cells = []
        for protocol, head, recipe, each in product(options.protocol, options.heads, recipes, all_features):
            of_protocol = [division for division in divisions if division.protocol == protocol]
            candidate = Candidate(head, each.window_s, each.config.floor_db, recipe)
            of_row = list(run_cells(each, candidate, of_protocol, work))
            cells += of_row if len(of_row) == len(of_protocol) else []  # a row is of all its divisions
        if not cells:
            raise ValueError(f"expected a row of finished cells in {work.folder}, found none: leave --finished out")
        rows = {name: each.costs() | {"x_real_time": speed[name]} for name, each in firsts.items()}
        rows = {name: row | _remarks(firsts[name], dataset) for name, row in rows.items()}
        conditions = {"dataset": dataset, "clips": report.used, "epochs": epochs, "seeds": options.seeds}
        conditions["audio_s"] = float(sum(clips["duration_s"]))
        page = write_table(table_rows(cells, rows), chosen_rows(cells, rows), conditions, folder)
    print(page.read_text(encoding="utf-8"))
    print(f"The table is {page}", flush=True)
    return page


def _say(line: str) -> None:
    print(line, flush=True)


def _codec(name: str) -> tuple:
    from hf_encls.codec.facts import with_licence
    from hf_encls.codec.loading import codec_facts, load_codec

    return load_codec(name), with_licence(codec_facts(name))


def _epochs(text: str) -> float | None:
    """The number of epochs; None: each recipe's own."""
    if text == OWN:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"expected --epochs to be a number or `{OWN}`, found {text!r:.80}") from None


def _recipes(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(Recipe.parse(text).text for text in texts))


def decibels(text: str) -> float | None:
    """The value of --floor_db; the parser names this function where it is none."""
    return None if text == "none" else float(text)


def _features(options: argparse.Namespace, clips, codecs: list) -> list:
    """log_mel, then what was asked for, computed or from the cache. Raises `ValueError` where two have one name."""
    from hf_encls.comparison.codecs import Features
    from hf_encls.features.extraction import extract_features

    kinds = [("log_mel", None), *([("mel", None)] if "mel" in options.features else [])]
    for kind in ("latents", "codes"):
        kinds += [(kind, codec) for codec in codecs if kind in options.features]
    names = [_name(kind, codec) for kind, codec in kinds]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"expected codecs of different names, found two called {twice.split()[0]}: rename a folder")
    planned = [each for kind, codec in kinds for each in _planned(options, clips, kind, codec)]
    features = []
    for each in planned:
        print(each["name"], flush=True)
        features.append(
            Features(windows=extract_features(clips, each["config"], each["codec"], options.cache_dir), **each)
        )
    return features


def _name(kind: str, loaded: tuple | None) -> str:
    return f"{loaded[1].id} {kind}" if loaded else kind


def _planned(options: argparse.Namespace, clips, kind: str, loaded: tuple | None) -> list[dict]:
    """All of a row's features but the windows, as often as they are cut in another way; of codes of a codec that has
    none nothing.
    """
    from hf_encls.features.extraction import feature_config
    from hf_encls.model.codec_encls import codec_adapter

    codec, facts = loaded or (None, None)
    if kind == "codes" and not codec_adapter(codec).bandwidths:
        return []
    name, planned = facts.id if facts else None, []
    floors = dict.fromkeys(options.floor_db if kind == "log_mel" else [None])
    for window_s, floor_db in product(dict.fromkeys(options.window_s), floors):
        settings = {"hop_length": options.hop_length, "n_fft": options.n_fft, "floor_db": floor_db, "codec_id": name}
        try:
            config = feature_config(kind, clips, codec, window_s=window_s, **settings)
        except ValueError as error:
            raise ValueError(f"{name or kind}: {error}") from error
        planned.append({"name": _name(kind, loaded), "config": config, "codec": codec, "facts": facts})
        planned[-1]["window_s"] = window_s
    return planned


def _remarks(features, dataset: str) -> dict:
    """What stands beside a codec's name, and what a reader must know of it."""
    from hf_encls.model.codec_encls import codec_adapter
    from hf_encls.report.codec_texts import has_heard

    facts = features.facts
    if facts is None:
        return {"tags": [], "notes": []}
    tags, notes = [], [f"{codec_adapter(features.codec).name}, licence {facts.license or 'unknown'}."]
    if facts.untrained:
        tags += ["untrained"] if "untrained" not in facts.id else []
        notes.append("untrained, its weights are random: it stands in for a codec, and its score says nothing of one.")
    if facts.anchored_latents:
        anchored, size = facts.anchored_latents, features.config.num_bands
        part = "half" if 2 * anchored == size else f"{anchored} of {size}"
        tags.append(f"{part} log-mel")
        notes.append(
            f"{part} of its latents were drawn to a log-mel spectrum while it trained: beside log_mel it answers in part "
            "whether log-mel beats log-mel."
        )
    if has_heard(facts, dataset):
        tags.append("heard these sounds")
        names = [facts.trained_on] if isinstance(facts.trained_on, str) else facts.trained_on
        notes.append(f"it was itself trained on sounds of this data set ({', '.join(names)}), without their labels.")
    return {"tags": tags, "notes": notes}


def _parser() -> Parser:
    parser = Parser(
        description=__doc__,
    )
    parser.add_argument("--data_dir", required=True, help="the folder of clips, as for training")
    parser.add_argument("--data_name", choices=DATA_NAMES, help="which data set it is (None: recognised)")
    parser.add_argument(
        "--codec", action="append", required=True, help="Hub id, folder or bundled name; may be given several times"
    )
    parser.add_argument(
        "--features", nargs="+", choices=KINDS, default=["latents"], help="beside log_mel (default: latents)"
    )
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), default=["mnist"], help="default: mnist")
    parser.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=["clip"], help="default: clip")
    parser.add_argument("--folds", nargs="+", type=int, help="test folds under official (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of split and training (default: 0)")
    parser.add_argument(
        "--recipe", nargs="+", default=["paper"], help="as for training; several are compared (default: paper)"
    )
    parser.add_argument("--epochs", default="30", help=f"a number, or {OWN}: each recipe's own (default: 30)")
    parser.add_argument(
        "--window_s", nargs="+", type=float, default=[1.0], help="of all rows; several are compared (default: 1)"
    )
    parser.add_argument(
        "--floor_db",
        nargs="+",
        type=decibels,
        default=[None],
        help="of log_mel, as for training; several are compared, none is its own (default: none)",
    )
    parser.add_argument("--hop_length", type=int, default=512, help="of mel, in samples (default: 512)")
    parser.add_argument("--n_fft", type=int, help="samples that a frame of mel is made of (default: 512)")
    parser.add_argument(
        "--finished", action="store_true", help="train nothing: a table of the rows of which all cells are finished"
    )
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16 (autocast)")
    parser.add_argument("--output_dir", default="codecs", help="cells and table (default: codecs)")
    parser.add_argument("--cache_dir", help="where features are cached (default: beside datasets' cache)")
    return parser
