"""The paper's experiments, one command: data sets x inputs x presets, and a report beside the paper's figures.

    python scripts/reproduce_paper.py --esc50 ESC-50 --gtzan_genres genres --gtzan_music_speech music_speech
    python scripts/reproduce_paper.py --esc50 my_sounds --codec_24khz mini --epochs 15 --output_dir a_try

Interrupted, even by `kill -9`, the same command goes on where it was. A data set or a codec that is not there is listed
as missing, and the rest runs. The report is in OUTPUT_DIR/report/REPORT.md.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from hf_encls.codec.loading import CodecNotFoundError, codec_facts, load_codec, short_name
from hf_encls.codec.published import DEFAULT_CODECS
from hf_encls.commands import reproduce_cell
from hf_encls.commands.outputs import check_folder
from hf_encls.commands.parser import Parser
from hf_encls.data.splits import PROTOCOLS
from hf_encls.features.extraction import feature_config
from hf_encls.files import writing
from hf_encls.model.configuration_encls import parse_features
from hf_encls.reproduction import paper
from hf_encls.reproduction.data_sets import DataSet, read_data_set
from hf_encls.reproduction.grid import INPUTS, PRESETS, Input, Preset, plan, read_preset, read_variants
from hf_encls.reproduction.runner import check_settings, common_options, run_cells


def main(args: list[str] | None = None) -> Path:
    """Run the grid as `args` say, write the report, return its path.

    Raises `ValueError` for what a user can mend, and `SystemExit` when the report is written but a cell has failed.
    """
    command = list(sys.argv[1:] if args is None else args)
    options = _parser().parse(command)
    folder = Path(options.output_dir)
    check_folder(folder, "--output_dir")
    datasets, missing_datasets = _datasets(_folders(options))
    inputs, missing_inputs = _inputs(options)
    presets = _presets(options, folder / "cells")
    cells = plan(datasets, inputs, presets, options.seeds, options.protocols)
    for title, reason in (*missing_datasets.items(), *((e.label, why) for e, why in missing_inputs.items())):
        print(f"missing: {title} ({reason})", flush=True)
    if not cells:
        raise ValueError("there is nothing to run: name at least one data set folder, such as --esc50 DIR")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with writing(folder), FileLock(folder / ".lock", timeout=0):
            cache_dir = options.cache_dir or str(folder / "cache")
            check_settings(cells, folder / "cells", options.report_only)
            command_of = partial(reproduce_cell.command, cache_dir=cache_dir)
            failed = {} if options.report_only else run_cells(cells, folder / "cells", command_of)
            from hf_encls.reproduction.report import Grid, write_report

            grid = Grid(
                cells,
                datasets,
                missing_datasets,
                inputs,
                missing_inputs,
                presets,
                failed,
                options.seeds,
                command,
                folder,
            )
            page = write_report(grid, options.compare, options.timing_clips)
    except Timeout:
        raise ValueError(f"another start of the grid is working in {folder}: wait for it, or end it") from None
    print(f"The report is {page}", flush=True)
    if failed:
        print(
            f"{len(failed)} of {len(cells)} cells failed; the report says which, and the next start tries them again"
        )
        raise SystemExit(1)
    return page


def _parser() -> Parser:
    parser = Parser(
        description=__doc__,
    )
    data = parser.add_argument_group("data sets: the paper's, or class-named folders in their place")
    for key, place in paper.DATASETS.items():
        data.add_argument(f"--{key}", metavar="DIR", help=f"{place['title']}, or what stands in for it")
    data.add_argument(
        "--data_dir", metavar="NAME=DIR", action="append", default=[], help="another data set, for itself"
    )
    codec = parser.add_argument_group("codecs: Hub id, folder or bundled name; several make several inputs")
    for rate, name in DEFAULT_CODECS.items():
        codec.add_argument(
            f"--codec_{rate // 1000}khz", metavar="CODEC", nargs="+", default=[name], help=f"default: {name}"
        )
    grid = parser.add_argument_group("the grid")
    grid.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS), help="default: both")
    choices = [*PROTOCOLS, *(f"{preset}/{protocol}" for preset in PRESETS for protocol in PROTOCOLS)]
    grid.add_argument(
        "--protocols",
        metavar="PROTOCOL",
        nargs="+",
        choices=choices,
        help="only these of the presets' protocols: paper, clip, official, or one preset's, recommended/clip",
    )
    grid.add_argument("--inputs", nargs="+", choices=INPUTS, default=list(INPUTS), help="default: all four")
    grid.add_argument(
        "--variants", nargs="+", default=["all"], help="the paper's other readings (variants.yaml): names, all or none"
    )
    grid.add_argument(
        "--seeds", nargs="+", type=int, default=[0], help="several give means and deviations (default: 0)"
    )
    grid.add_argument("--epochs", type=int, help="default: the presets' 1000")
    grid.add_argument("--hop_length", type=int, help="hop of mel in samples; default: the presets' 128")
    grid.add_argument("--bf16", action="store_true", help="train in bfloat16 (autocast): faster, not the same numbers")
    out = parser.add_argument_group("output")
    out.add_argument("--output_dir", default="reproduction", help="cells and report (default: reproduction)")
    out.add_argument("--cache_dir", help="where features are cached; default: in the output folder")
    out.add_argument("--compare", metavar="MODEL", nargs="+", default=[], help="other models, on the same test clips")
    out.add_argument(
        "--timing_clips", type=int, default=8, help="test clips to time inference on; 0: none (default: 8)"
    )
    out.add_argument(
        "--report_only",
        action="store_true",
        help="run nothing: report what is finished, with its epochs, hop and precision",
    )
    return parser


def _folders(options: argparse.Namespace) -> dict[str, str | None]:
    folders = {key: getattr(options, key) for key in paper.DATASETS}
    for key, folder in folders.items():
        if folder == "":
            raise ValueError(f"expected a folder at --{key}, found no name")
    for entry in options.data_dir:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder) or "/" in name:
            raise ValueError(f"expected --data_dir NAME=DIR, found {entry!r}")
        folders[name] = folder
    return folders


def _datasets(folders: dict[str, str | None]) -> tuple[list[DataSet], dict[str, str]]:
    datasets, missing = [], {}
    for key, folder in folders.items():
        dataset = None if folder is None else read_data_set(key, folder)
        if dataset is not None:
            datasets.append(dataset)
        else:
            missing[key] = f"give its folder with --{key}" if folder is None else f"no folder at {folder}"
    return datasets, missing


def _inputs(options: argparse.Namespace) -> tuple[list[Input], dict[Input, str]]:
    """The inputs, and those whose codec cannot be loaded, with the reason."""
    inputs, missing = [], {}
    for features in options.inputs:
        representation, rate = parse_features(features)
        if not representation.needs_codec:
            inputs.append(Input(features))
            continue
        for codec in getattr(options, f"codec_{rate // 1000}khz"):
            entry = Input(features, codec, short_name(codec), bool(codec_facts(codec).untrained))
            try:
                loaded = load_codec(codec)
            except CodecNotFoundError as error:
                missing[entry] = str(error)
                continue
            try:
                feature_config(features, codec=loaded)
            except ValueError as error:
                raise ValueError(f"--codec_{rate // 1000}khz {codec}: {error}") from error
            inputs.append(entry)
    names = [entry.key for entry in inputs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"two codecs are called {twice}: name their folders differently")
    return inputs, missing


def _presets(options: argparse.Namespace, folder: Path) -> list[Preset]:
    """The presets and variants with what the user changed; a report alone takes that from the finished cells."""
    changes = {"num_train_epochs": options.epochs, "hop_length": options.hop_length, "bf16": options.bf16 or None}
    if options.report_only:
        unset = [name for name, value in changes.items() if value is None]
        changes |= common_options(folder, options.presets, unset)
    presets = [read_preset(name, changes) for name in options.presets]
    paper_preset = next((preset for preset in presets if preset.name == "paper"), None)
    return presets + (read_variants(options.variants, paper_preset) if paper_preset else [])
