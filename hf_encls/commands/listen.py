"""Say what sounds while it sounds: one line for each window of a microphone, a pipe or a file."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hf_encls.commands.classify import load_pipe
from hf_encls.commands.outputs import output, output_file
from hf_encls.commands.parser import Parser, add_checkpoint_options

EXAMPLES = """examples:
  hf-encls listen --model my_model                                   # the microphone; Ctrl-C ends it
  hf-encls listen --model my_model --step_s 0.25 --output heard.csv
  ffmpeg -i URL -f s16le -ac 1 -ar 48000 - | hf-encls listen - --raw_rate 48000 --model my_model
  hf-encls listen a_sound.wav --model my_model

Memory does not grow with the time. The file of --output appears when the listening ends. The
microphone needs: pip install 'hf_encls[live]'
"""
AS_THEY_COME = ("jsonl", "csv", "rttm", "audacity")


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    from hf_encls.timelines.formats import EXTENSIONS

    options = _parser().parse(list(sys.argv[1:] if args is None else args))
    _check(options)
    if options.inputs:
        from hf_encls.inference.live_sources import import_sounddevice

        print(import_sounddevice().query_devices())
        return 0
    if options.model is None:
        raise ValueError("expected a model, found none: name one with --model")
    by_name = {extension.lower(): name for name, extension in EXTENSIONS.items()}
    format = options.format or by_name.get(Path(options.output or "x.csv").suffix.lower(), "csv")

    from hf_encls.inference.live import Listener
    from hf_encls.inference.live_sources import Stop

    if options.source is None:
        from hf_encls.inference.live_sources import import_sounddevice

        import_sounddevice()  # before the model is loaded: what is missing is said at once
    pipe = load_pipe(options)
    if options.step_s is not None:
        pipe.set_step(options.step_s)
    listener, stop = Listener(pipe), Stop()
    with stop.listening():
        blocks = _blocks(options, pipe.model.config.sampling_rate, stop)
        print(
            f"windows of {listener.window_s:g} s every {listener.step_s:g} s; a label comes at most "
            f"{listener.delay_s + options.block_s:.2f} s after the end of its window, and the computing",
            file=sys.stderr,
            flush=True,
        )
        if options.output is None:
            _listen(listener, blocks, None, format)
        else:
            with output(options.output) as out:
                _listen(listener, blocks, out, format)
    print(
        f"heard {listener.duration_s:.1f} s; computing took {listener.computing_s / listener.duration_s:.1%} of it, "
        f"{listener.longest_s:.3f} s at most for one block",
        file=sys.stderr,
    )
    return 0


def _parser() -> Parser:
    from hf_encls.inference.live_sources import SAMPLE_TYPES
    from hf_encls.timelines.formats import FORMATS

    parser = Parser(prog="hf-encls listen", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="a file, or - for raw samples from a pipe (default: the microphone)",
    )
    add_checkpoint_options(parser, required=False)
    parser.add_argument("--step_s", type=float, metavar="S", help="seconds between windows (default: the model's own)")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after that much sound")
    parser.add_argument("--block_s", type=float, default=0.1, metavar="S", help="sound taken at a time (default: 0.1)")
    parser.add_argument("--format", choices=FORMATS, help="of --output (default: what its name says, else csv)")
    parser.add_argument("--output", type=output_file, metavar="FILE", help="write the segments there")
    parser.add_argument(
        "--input", metavar="NAME", help="which microphone, by its name or number (default: the system's)"
    )
    parser.add_argument("--inputs", action="store_true", help="list the microphones, and end")
    raw = parser.add_argument_group("raw samples")
    raw.add_argument("--raw_rate", type=int, metavar="HZ", help="their rate")
    raw.add_argument("--raw_channels", type=int, metavar="N", help="their channels (default: 1)")
    raw.add_argument("--raw_type", choices=SAMPLE_TYPES, help="of a sample (default: s16le)")
    return parser


def _check(options) -> None:
    """Raise `ValueError` for options that do not fit each other."""
    is_raw = options.source == "-"
    for name in ("raw_rate", "raw_channels", "raw_type"):
        if getattr(options, name) is not None and not is_raw:
            raise ValueError(f"--{name} is about raw samples: name - as the source, or leave it out")
    if is_raw and options.raw_rate is None:
        raise ValueError("raw samples do not say their rate: name it with --raw_rate")
    if options.raw_channels is not None and options.raw_channels < 1:
        raise ValueError(f"expected --raw_channels of 1 or more, found {options.raw_channels}")
    if options.input is not None and options.source is not None:
        raise ValueError(f"--input names a microphone, and the sound comes from {options.source}: leave one out")
    if options.format is not None and options.output is None:
        raise ValueError("--format is that of --output: name a file, or leave it out")
    for name in ("block_s", "seconds"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"expected --{name} above 0, found {value}")
    if options.block_s > 60:
        raise ValueError(f"expected --block_s of at most 60, found {options.block_s:g}")


def _of_file(source: str, sampling_rate: int, block_s: float) -> Iterator:
    from hf_encls.audio import AudioError, stream

    try:
        yield from stream(source, sampling_rate, block_s)
    except AudioError as error:
        raise AudioError(f"{source}: {error}") from error


def _blocks(options, sampling_rate: int, stop) -> Iterator:
    from hf_encls.audio import check_rate
    from hf_encls.inference import live_sources

    if options.source is None:
        name = int(options.input) if options.input and options.input.isdigit() else options.input
        blocks = live_sources.microphone_blocks(name, sampling_rate, options.block_s, stop)
    elif options.source == "-":
        check_rate(options.raw_rate)
        layout = (options.raw_type or "s16le", options.raw_channels or 1, (options.raw_rate, sampling_rate))
        blocks = live_sources.raw_blocks(sys.stdin.buffer, *layout, options.block_s, stop)
    else:
        blocks = _of_file(options.source, sampling_rate, options.block_s)
    if options.seconds is not None:
        blocks = live_sources.first_seconds(blocks, options.seconds, sampling_rate)
    return live_sources.until_stopped(blocks, stop)


def _listen(listener, blocks: Iterator, out, format: str) -> None:
    """Print a line for each window, and write segments to `out` as they are finished, or at the end."""
    from hf_encls.files.escapes import one_line
    from hf_encls.inference.live import LiveTimeline
    from hf_encls.timelines.formats import render

    timeline = LiveTimeline(listener.labels, listener.window_s, listener.step_s, listener.config)
    kept: list[dict] = []

    def write(segments: list[dict]) -> None:
        if format not in AS_THEY_COME:
            kept.extend(segments)
        elif segments:
            text = render(segments, format, name="live", labels=listener.labels)
            header = text.split("\n", 1)[0] + "\n"
            is_first = out.tell() == 0
            out.write(text if is_first or format != "csv" else text.removeprefix(header))
            out.flush()

    with closing(blocks):
        for heard in listener(blocks):
            print(f"{heard.start_s:9.2f} {heard.end_s:9.2f}  {heard.score:.3f}  {one_line(heard.label)}", flush=True)
            if out is not None:
                write(timeline.push(heard.as_trained))
    if not listener.num_samples:
        raise ValueError("expected sound, found none")
    if out is None:
        return
    write(timeline.finish(listener.duration_s))
    if format not in AS_THEY_COME:
        out.write(render(kept, format, name="live", duration_s=listener.duration_s))
