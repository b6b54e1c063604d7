"""Say what sounds when in a file: segments as JSON, CSV, RTTM, Audacity labels or a TextGrid, and a picture."""

import sys
from pathlib import Path

from hf_encls.commands.classify import load_pipe
from hf_encls.commands.outputs import output, output_file
from hf_encls.commands.parser import Parser, add_model_options, as_options
from hf_encls.files import writing

EXAMPLES = """examples:
  hf-encls segment show.flac --model my_model
  hf-encls segment show.flac --model my_model --smoothing viterbi --min_duration_s 1 --output show.TextGrid
  hf-encls segment show.flac --model my_model --format audacity --plot show.png

Windows may overlap: with --step_s 0.25 a model of windows of 1 s says every quarter of a second what it hears, from the
mean of the four windows that cover it.
"""


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    from hf_encls.timelines.formats import EXTENSIONS, FORMATS, render

    parser = Parser(prog="hf-encls segment", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("file", metavar="FILE", help="audio of any length, .ecdc, or saved codes")
    add_model_options(parser)
    parser.add_argument("--format", choices=FORMATS, help="default: what the name of --output says, else json")
    parser.add_argument("--output", type=output_file, metavar="FILE", help="write here instead of to the terminal")
    parser.add_argument(
        "--plot",
        type=output_file,
        metavar="PNG",
        help="draw waveform, segments, class probabilities, and of up to half a minute what spoke for the labels",
    )
    parser.add_argument("--all_scores", action="store_true", help="every class's mean probability in each segment")
    add_segment_options(parser)
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    format = options.format
    if format is None:
        by_name = {extension.lower(): name for name, extension in EXTENSIONS.items()}
        format = by_name.get(Path(options.output or "x.json").suffix.lower(), "json")

    pipe = load_pipe(options)
    if options.step_s is not None:
        pipe.set_step(options.step_s)
    source = {"family": options.family, "assume_codec": options.assume_codec}
    try:
        analysis = pipe.analyse(options.file, **source)
    except ValueError as error:
        print(f"error: {as_options(str(error))}", file=sys.stderr)
        return 1
    segments = analysis.timeline(**segment_settings(options), all_scores=options.all_scores)
    with output(options.output) as out:
        out.write(render(segments, format, name=Path(options.file).name, duration_s=analysis.duration_s))
    if options.plot:
        with writing(options.plot):
            _draw(options, pipe, analysis, segments)
    return 0


def add_segment_options(parser: Parser) -> None:
    """Options of every command that makes segments."""
    shape = parser.add_argument_group("segments")
    shape.add_argument("--step_s", type=float, metavar="S", help="their resolution (default: the model's own step)")
    shape.add_argument("--smoothing", choices=["none", "median", "viterbi"], default="none", help="default: none")
    shape.add_argument("--median_s", type=float, metavar="S", help="length of the median (default: 5 steps)")
    shape.add_argument(
        "--switch_penalty", type=float, default=2.0, metavar="P", help="viterbi: cost of a change in nats (default: 2)"
    )
    shape.add_argument("--min_duration_s", type=float, default=0.0, metavar="S", help="join shorter ones (default: 0)")


def segment_settings(options) -> dict:
    """Those options as settings of a timeline; `step_s` is the pipeline's."""
    return {name: getattr(options, name) for name in ("smoothing", "median_s", "switch_penalty", "min_duration_s")}


def _draw(options, pipe, analysis, segments: list[dict]) -> None:
    from hf_encls.inference.explanation import LONGEST_S, explain
    from hf_encls.inference.picture import Envelope, save_timeline_picture
    from hf_encls.inference.sources import open_source

    sampling_rate = pipe.model.config.sampling_rate
    clip = open_source(options.file, sampling_rate, family=options.family)
    why = envelope = None
    if analysis.duration_s <= LONGEST_S:
        why = explain(options.file, pipe, family=options.family, assume_codec=options.assume_codec)
    if clip.blocks is not None:  # codes have no waveform, and none is decoded for a picture
        envelope = Envelope(sampling_rate)
        for block in clip.blocks:
            envelope.add(block)
    save_timeline_picture(
        options.plot,
        segments,
        analysis.cells(),
        envelope=envelope,
        title=Path(options.file).name,
        why=why,
    )
