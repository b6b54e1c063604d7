"""Score timelines, or a model on recordings, against a reference: F1 and error rates of segments and events."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

from hf_encls.commands.classify import expand, load_pipe
from hf_encls.commands.outputs import output, output_file
from hf_encls.commands.parser import Parser, add_model_options
from hf_encls.commands.segment import add_segment_options, segment_settings

EXAMPLES = """examples:
  hf-encls evaluate-timeline said/ --reference labels/ --time_resolution 0.1
  hf-encls evaluate-timeline said.rttm --reference labels.csv --format json
  hf-encls evaluate-timeline recordings/ --reference labels/ --model my_model --smoothing viterbi --ignore nothing

The numbers are those of sed_eval: a segment of --time_resolution has every class that is in any part of it; an event is
found where one of its class begins within --t_collar of it and ends within that or --percentage_of_length of its length.
"""


OF_A_MODEL = (
    *("revision", "device", "assume_codec", "family", "step_s"),
    *("smoothing", "median_s", "switch_penalty", "min_duration_s"),
)


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    from hf_encls.timelines.evaluation import EvaluationSettings, evaluate_timelines
    from hf_encls.timelines.tracks import read_tracks

    parser = _parser()
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    for name in () if options.model else OF_A_MODEL:
        if getattr(options, name) != parser.get_default(name):
            raise ValueError(f"--{name} is about a model: name one with --model, or leave it out")
    names = ("time_resolution", "t_collar", "percentage_of_length", "evaluate_onset", "evaluate_offset")
    settings = EvaluationSettings(**{name: getattr(options, name) for name in names})
    reading = {"tier": options.tier, "column": options.label_column}
    reference = read_tracks(options.reference, **reading)
    predictions = _of_model(options) if options.model else read_tracks(options.timelines)
    pairs = _pairs(reference, predictions)
    classes = {each["label"] for pair in pairs.values() for timeline in pair for each in timeline}
    unknown = sorted(set(options.ignore) - classes)
    if unknown:
        raise ValueError(
            f"expected --ignore to name classes that occur ({', '.join(sorted(classes))}), found {unknown[0]!r}"
        )
    labels = sorted(classes - set(options.ignore))
    if not labels:
        raise ValueError("expected labels to score, found none in the reference and none in the timelines")
    scores = evaluate_timelines(pairs.values(), settings, labels)
    scores = {"recordings": len(pairs), "settings": {name: getattr(settings, name) for name in names}, **scores}
    with output(options.output) as out:
        if options.format == "json":
            out.write(json.dumps(_without_nan(scores), indent=2, ensure_ascii=False) + "\n")
        else:
            out.write(_text(scores))
    return 0


def _parser() -> Parser:
    parser = Parser(prog="hf-encls evaluate-timeline", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "timelines",
        metavar="TIMELINES",
        help="what segment wrote: a folder, file or pattern; with --model: recordings",
    )
    parser.add_argument("--reference", required=True, metavar="LABELS", help="what is right, as for train --labels")
    parser.add_argument("--ignore", nargs="+", default=[], metavar="CLASS", help="classes that are no events")
    parser.add_argument("--tier", metavar="T", help="tier of TextGrids that has the labels of the reference")
    parser.add_argument("--label_column", metavar="C", help="column of tables that has the labels of the reference")
    parser.add_argument("--format", choices=["text", "json"], default="text", help="default: text")
    parser.add_argument("--output", type=output_file, metavar="FILE", help="write here instead of to the terminal")
    rules = parser.add_argument_group("how timelines are scored (sed_eval's names)")
    for name, default, text in (
        ("time_resolution", 1.0, "seconds of a segment"),
        ("t_collar", 0.2, "seconds by which an event may be off"),
        ("percentage_of_length", 0.5, "share of its length by which its end may be off"),
    ):
        rules.add_argument(f"--{name}", type=float, default=default, metavar="X", help=f"{text} (default: {default})")
    for name in ("onset", "offset"):
        edge = "begin" if name == "onset" else "end"
        rules.add_argument(
            f"--no_evaluate_{name}",
            action="store_false",
            dest=f"evaluate_{name}",
            help=f"events may {edge} at any time",
        )
    add_model_options(parser, required=False)
    add_segment_options(parser)
    return parser


def _of_model(options) -> dict[str, list[dict]]:
    """What the model says of every recording, by its name."""
    from hf_encls.model.calibration_encls import UNKNOWN
    from hf_encls.timelines.tracks import recording_name

    pipe, root = load_pipe(options), Path(options.timelines)
    if options.step_s is not None:
        pipe.set_step(options.step_s)
    predictions = {}
    for file in expand([options.timelines]):
        name = file.relative_to(root).as_posix() if root.is_dir() else file.name
        analysis = pipe.analyse(file, family=options.family, assume_codec=options.assume_codec)
        segments = analysis.timeline(**segment_settings(options))
        if analysis.config.window_unknown_below is not None:  # where it is unknown what sounds, nothing is said
            segments = [each for each in segments if each["label"] != UNKNOWN]
        predictions[recording_name(name)] = segments
    return predictions


def _pairs(reference: Mapping, predictions: Mapping) -> dict[str, tuple[list, list]]:
    """Reference and timeline of each recording. Raises `ValueError` where one of the reference has none."""
    if len(reference) == len(predictions) == 1:
        return {next(iter(reference)): (*reference.values(), *predictions.values())}
    by_name: dict[str, list[str]] = {}
    for name in predictions:
        by_name.setdefault(name.rsplit("/", 1)[-1], []).append(name)
    pairs, used = {}, set()
    for name, timeline in reference.items():
        near = by_name.get(name.rsplit("/", 1)[-1], [])
        match = name if name in predictions else near[0] if len(near) == 1 else None
        if match is None or match in used:
            raise ValueError(
                f"expected a timeline of {name!r}, as the reference has, found those of {', '.join(sorted(predictions)[:5])}"
            )
        used.add(match)
        pairs[name] = (timeline, predictions[match])
    unused = sorted(set(predictions) - used)
    if unused:
        print(f"not scored, as the reference does not have them: {', '.join(unused[:8])}", file=sys.stderr)
    return pairs


def _text(scores: Mapping) -> str:
    from hf_encls.report.tables import text_table

    settings = scores["settings"]
    rules = {
        "segment_based": f"segments of {settings['time_resolution']:g} s",
        "event_based": f"events, t_collar {settings['t_collar']:g} s, "
        + (
            f"percentage_of_length {settings['percentage_of_length']:g}"
            if settings["evaluate_offset"]
            else "onsets only"
        )
        + ("" if settings["evaluate_onset"] else ", offsets only"),
    }
    parts = [f"{scores['recordings']} recordings"]
    for kind, rule in rules.items():
        measured = scores[kind]
        rows = [
            ("all", measured["overall"]),
            ("mean of classes", measured["class_wise_average"]),
            *measured["class_wise"].items(),
        ]
        head = ["class", "F1", "precision", "recall", "error rate", "deletions", "insertions", "reference", "found"]
        cells = [
            [
                name,
                *(_number(row["f_measure"][key]) for key in ("f_measure", "precision", "recall")),
                *(_number(row["error_rate"][key]) for key in ("error_rate", "deletion_rate", "insertion_rate")),
                *(f"{row['count'][key]:g}" if "count" in row else "" for key in ("Nref", "Nsys")),
            ]
            for name, row in rows
        ]
        parts += ["", rule, text_table(head, cells)]
    return "\n".join(parts) + "\n"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _without_nan(value):
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
