"""Accuracy with a few clips of each class, for several inputs and heads: a table and a curve.

    python scripts/few_examples.py --data_dir ESC-10 --fold 1 --hop_length 512 --output_dir few

The test clips are those of the protocol, always the same. Interrupted, the same command goes on where it was; with more
inputs, heads, numbers of clips or draws it adds them. The output folder gets few_examples.json, .md and .png.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hf_encls.commands.feature_arguments import FeatureArguments
from hf_encls.commands.inputs import Inputs, prepare
from hf_encls.commands.outputs import check_folder
from hf_encls.commands.parser import Parser
from hf_encls.data.facts import copy_text
from hf_encls.features.extraction import feature_identity
from hf_encls.files import write_json, write_text, writing
from hf_encls.files.escapes import markdown
from hf_encls.files.records import read_record
from hf_encls.model.configuration_encls import HEADS, REPRESENTATIONS, family_of, parse_features
from hf_encls.report.codec_texts import plain_warning, used_codec
from hf_encls.training.recipe import Recipe

NAME = "few_examples"
MEL_OPTIONS = ("hop_length", "floor_db")  # where an input takes them
SHAPE = {
    "settings": {"recipe": str, "band_shift?": int},
    "rows": [{"kind": str, "clips": int, "draw": int, "accuracy": float, "macro_f1": float, "seconds": float}],
}


def main(args: list[str] | None = None) -> list[dict]:
    """Measure, write table and curve, and return the points of the curve. Raises `ValueError` for what a user can mend."""
    options = _parser().parse(args)
    recipe, folder = Recipe.parse(options.recipe).text, Path(options.output_dir)
    if min(options.clips) < 1 or options.draws < 1:
        raise ValueError(f"expected --clips and --draws of 1 or more, found {min(*options.clips, options.draws)}")
    check_folder(folder, "--output_dir")
    features = [_features(options, name) for name in options.inputs]
    from hf_encls.comparison.few_examples import ClipPool, Kind, measure, picture, summary, table

    inputs = {name: prepare(each) for name, each in zip(options.inputs, features)}
    first = next(iter(inputs.values()))
    pool = ClipPool.of(first.windows, options.protocol, options.fold, options.seed)
    if max(options.clips) > pool.most:
        raise ValueError(
            f"expected --clips of at most {pool.most}, the training clips of the smallest class, found "
            f"{max(options.clips)}"
        )
    kinds = [
        Kind.of(name, each.windows, each.config, head, each.codec)
        for name, each in inputs.items()
        for head in options.heads
    ]
    warnings = [_warning(name, each) for name, each in inputs.items() if _warning(name, each)]
    data = copy_text(first.dataset, first.num_clips, first.expected_clips)
    names = ("protocol", "fold", "seed", "hop_length", "window_s")
    settings = {name: getattr(options, name) for name in names} | {"recipe": recipe, "data": data}
    settings["band_shift"] = Recipe.parse(recipe).band_shift
    file, plan = folder / f"{NAME}.json", {name: getattr(options, name) for name in ("clips", "draws", "seed")}
    settings["features"] = {name: feature_identity(each.config) for name, each in inputs.items()}
    rows, measured = _earlier(file, settings)
    settings["features"] = measured | settings["features"]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)

        def keep(rows: list[dict]) -> None:
            write_json({"settings": settings, "rows": rows}, file)
            last = rows[-1]
            print(f"{last['kind']}: {last['clips']} clips, draw {last['draw']}: {last['accuracy']:.3f}", flush=True)

        rows = measure(kinds, pool, plan | {"recipe": recipe}, rows, keep)
        points = summary(rows)
        fold = "" if options.fold is None else f", fold {options.fold}"
        title = f"{data}: protocol {options.protocol}{fold}, recipe {recipe}"
        note = "Mean accuracy of test clips over draws of the training clips, and its interval of 95 %."
        page = "\n\n".join([f"{markdown(title)}. {note}", table(points), *warnings])
        write_text(f"{page}\n", folder / f"{NAME}.md")
        picture(points, folder / f"{NAME}.png", title)
    print("\n\n".join([table(points), *warnings]))
    return points


def _warning(name: str, inputs: Inputs) -> str:
    """What a reader of the scores must know of the codec first, such as that it has heard the clips."""
    codec = used_codec(inputs.config, inputs.codec_facts, inputs.dataset)
    return f"{name}: {plain_warning(codec, inputs.dataset)}" if plain_warning(codec, inputs.dataset) else ""


def _features(options: argparse.Namespace, name: str) -> FeatureArguments:
    """The features of `log_mel`, or of a codec, `mini`, or of both, `encodec_24khz_codes:mini`."""
    features, _, codec = name.partition(":")
    if not codec and features not in REPRESENTATIONS and family_of(features) is None:
        features, codec = "latents", features
    representation, _ = parse_features(features)
    return FeatureArguments(
        data_dir=options.data_dir,
        data_name=options.data_name,
        features=features,
        codec=codec or None,
        **{name: getattr(options, name) for name in MEL_OPTIONS if name in representation.options},
        window_s=options.window_s,
        cache_dir=options.cache_dir,
    )


def _earlier(file: Path, settings: dict) -> tuple[list[dict], dict]:
    """The rows of an earlier start, and the features of all its inputs; of other inputs than those of now, too.

    Raises `ValueError` where they were measured in another way.
    """
    if not file.is_file():
        return [], {}
    earlier = read_record(file, SHAPE)
    measured = earlier["settings"].get("features", {})
    others = settings.keys() - {"features", "recipe", "band_shift"}
    changed = [name for name in settings if name in others and earlier["settings"].get(name) != settings[name]]
    fitted = any(HEADS[head].is_fitted for row in earlier["rows"] if (head := row["kind"].split(", ")[-1]) in HEADS)
    before, now = _recipe(earlier["settings"], fitted), _recipe(settings, fitted)
    if before != now:
        changed.append(f"recipe ({before.text})")
    changed += [
        f"kind of {name}" for name, value in settings["features"].items() if measured.get(name, value) != value
    ]
    if changed:
        raise ValueError(
            f"what is in {file} was measured with another {', '.join(changed)}: take the same settings, or another "
            "--output_dir"
        )
    return earlier["rows"], measured


def _recipe(settings: Mapping, fitted: bool) -> Recipe:
    """The recipe of settings, without what did nothing; no bands were moved where nothing is said of that."""
    band_shift = settings.get("band_shift", 0) if fitted else 0
    return replace(Recipe.parse(settings["recipe"]), band_shift=band_shift, refit=False)


def _parser() -> Parser:
    parser = Parser(
        prog=f"{NAME}.py",
        description=__doc__,
    )
    parser.add_argument("--data_dir", required=True, help="the folder of clips, as for training")
    parser.add_argument("--data_name", help="which data set it is, as for training (None: recognised)")
    parser.add_argument(
        "--inputs",
        nargs="+",
        default=["log_mel", "mini"],
        help="features (log_mel), a codec (mini) whose latents are taken, or both (codes:mini); default: log_mel mini",
    )
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS), help="default: all")
    parser.add_argument("--clips", nargs="+", type=int, default=[1, 2, 5, 10, 20], help="of each class; 1 2 5 10 20")
    parser.add_argument("--draws", type=int, default=20, help="draws of the training clips; default: 20")
    parser.add_argument("--protocol", choices=("official", "clip"), default="official", help="default: official")
    parser.add_argument("--fold", type=int, help="the test fold under official, where the data set has several")
    parser.add_argument("--seed", type=int, default=0, help="of the draws, and of the division under clip; default: 0")
    parser.add_argument("--recipe", default="recommended", help="as for training; default: recommended")
    parser.add_argument("--hop_length", type=int, help="of mel, as for training")
    parser.add_argument("--floor_db", type=float, help="of log_mel, as for training")
    parser.add_argument("--window_s", type=float, default=1.0, help="as for training; default: 1")
    parser.add_argument("--cache_dir", help="where features are cached, as for training")
    parser.add_argument("--output_dir", default="few_examples", help="default: few_examples")
    return parser
