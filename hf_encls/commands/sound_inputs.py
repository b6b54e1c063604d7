"""A folder of any sounds, or published features, as windows; and tables of answers about them."""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path

import datasets

from hf_encls.commands.inputs import FeatureArguments, Inputs, prepare, scan
from hf_encls.commands.parser import show_warnings
from hf_encls.data.facts import title_of
from hf_encls.files import writing
from hf_encls.files.escapes import csv_row, one_line
from hf_encls.hub.pull_features import FACTS
from hf_encls.model.modeling_encls import EnclsForAudioClassification

KINDS = {"window_s": float, "step_s": float, "hop_length": int, "floor_db": float, "bandwidth": float}
OPTIONS = ("features", *KINDS, "codec", "codec_revision", "codec_policy", "codec_dtype", "cache_dir")
FORMATS = ("table", "csv", "json", "jsonl")


def add_feature_options(parser: argparse.ArgumentParser) -> None:
    """The options of `FeatureArguments` that say which features; the value of one that is left out is None."""
    group = parser.add_argument_group("features", "as for training: what is in its cache is used")
    for each in fields(FeatureArguments):
        if each.name in OPTIONS:
            default = "" if each.default is None else f" (default: {each.default})"
            kind = KINDS.get(each.name, str)
            group.add_argument(f"--{each.name}", type=kind, metavar="X", help=f"{each.metadata['help']}{default}")


def sounds_of(where: str, options: argparse.Namespace, **settings) -> Inputs:
    """The windows of a folder of sounds, with or without classes, or of published features: a folder, or a name on the Hub.

    `settings` are others of their configuration, such as `sampling_rate`. What is told meanwhile goes to standard error:
    standard output is for answers. Raises `ValueError` where there is nothing of the kind.
    """
    chosen = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    folder = Path(where)
    show_warnings()
    with redirect_stdout(sys.stderr):
        if folder.is_dir() and not any(folder.glob(f"*/{FACTS}")):
            if any(folder.glob("shard-*-of-*.arrow")):
                raise ValueError(
                    f"{where} is a folder of the cache, which does not say how its features were made: name the folder of "
                    "sounds, whose features are then taken from the cache, or what publish.py wrote with --output_dir"
                )
            return prepare(FeatureArguments(data_dir=where, **chosen), needs_classes=False, **settings)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"expected a folder of sounds or published features at {where!r}, found a file")
        if not folder.exists() and where.count("/") != 1:
            raise ValueError(f"expected a folder of sounds or published features at {where!r}, found nothing")
        return _published(where, chosen)


def sounds_for(where: str, model: EnclsForAudioClassification, cache_dir: str | None) -> Inputs:
    """The windows of a folder of sounds, with or without classes, as a model sees them; its codec is theirs.

    Raises `ValueError` as `sounds_of` does, and for a model without its codec.
    """
    from hf_encls.features.extraction import extract_features

    config, codec = model.config, None
    if config.representation.needs_codec:
        if model.frontend is None:
            raise ValueError(f"this checkpoint was saved without its codec ({config.codec_id}): name another model")
        codec = model.frontend.codec
    show_warnings()
    with redirect_stdout(sys.stderr):
        place = cache_dir or datasets.config.HF_DATASETS_CACHE
        clips, _, facts = scan(FeatureArguments(data_dir=where, cache_dir=cache_dir), where, needs_classes=False)
        with writing(place):
            windows = extract_features(clips, config, codec, cache_dir, device=model.device)
    return Inputs(windows, config, title_of(facts, where), codec, clips=clips)


def _published(where: str, chosen: dict) -> Inputs:
    from hf_encls.commands.published_inputs import codec_of, published_inputs
    from hf_encls.commands.train_arguments import DataArguments
    from hf_encls.hub.pull_features import load_facts

    names = sorted(path.parent.name for path in Path(where).glob(f"*/{FACTS}"))
    if "features" not in chosen and len(names) > 1:
        raise ValueError(f"{where} holds {', '.join(names)}: choose one with --features")
    name = chosen.pop("features", names[0] if names else FeatureArguments.features)
    _, config, _ = load_facts(where, name)
    settings = {"window_s": config.window_s, "features": config.feature_name} | chosen
    inputs = published_inputs(DataArguments(dataset=where, dataset_config=name, **settings), {})
    if config.representation.needs_codec and inputs.codec is None:
        inputs.codec = codec_of(inputs.config, chosen.get("codec"), chosen.get("codec_revision"))
    return inputs


def render(rows: Sequence[dict], format: str) -> str:
    """Rows with the same keys as a table, CSV, JSON or JSON lines; None is an empty cell."""
    if format == "json":
        lines = ",\n".join(f" {json.dumps(row, ensure_ascii=False)}" for row in rows)
        return f"[\n{lines}\n]\n" if rows else "[]\n"
    if format == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    names = list(rows[0]) if rows else []
    cells = [["" if value is None else value for value in row.values()] for row in rows]
    if format == "csv":
        return "".join(map(csv_row, [names, *cells]))
    texts = [names, *([one_line(cell) for cell in row] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*texts)]
    return "".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() + "\n" for row in texts)


def path_of(inputs: Inputs, where: str, clip_id: str) -> str:
    """Where a clip lies, as it is named to a user; of published features its name alone is known."""
    return clip_id if inputs.clips is None else str(Path(where, clip_id))
