"""Audio to `.ecdc` files or saved codes, and back, through an EnCodec."""

import sys
from collections import Counter
from pathlib import Path

from hf_encls.commands.classify import expand
from hf_encls.commands.outputs import check_file
from hf_encls.commands.parser import Parser, as_options, device
from hf_encls.files import new_file, writing

ENCODE = """Write audio as codes: .ecdc files (the format of EnCodec's reference implementation) or saved codes.

The files say which codebooks they point into, so that a model trained on codes can tell whether they fit it.
"""
ENCODE_EXAMPLES = """examples:
  hf-encls encode clip.wav                                     # clip.ecdc, facebook/encodec_24khz
  hf-encls encode sounds/ --codec mini --bandwidth 3 --output codes/
"""
DECODE = "Write .ecdc files or saved codes as WAV files of 16 bits."
DECODE_EXAMPLES = """examples:
  hf-encls decode clip.ecdc
  hf-encls decode codes/ --codec mini --output decoded/
"""
SAVED = frozenset({".ecdc", ".safetensors", ".npy"})


def main(args: list[str] | None = None) -> int:
    """Run `encode` or `decode`, whichever `args` begins with; returns the exit status."""
    args = list(sys.argv[1:] if args is None else args)
    if args and args[0] == "decode":
        return decode_files(args[1:])
    return encode_files(args[1:] if args and args[0] == "encode" else args)


def encode_files(args: list[str]) -> int:
    """Audio -> codes."""
    parser = Parser(prog="hf-encls encode", description=ENCODE, epilog=ENCODE_EXAMPLES)
    parser.add_argument("sources", nargs="+", metavar="FILE_OR_FOLDER", help="audio, or folders of it")
    parser.add_argument(
        "--codec",
        default="facebook/encodec_24khz",
        metavar="C",
        help="Hub id, folder or bundled name (default: %(default)s)",
    )
    parser.add_argument("--codec_revision", metavar="R", help="revision of the codec on the Hub")
    parser.add_argument("--bandwidth", type=float, metavar="KBPS", help="kilobits per second (default: the highest)")
    parser.add_argument("--format", choices=["ecdc", "safetensors"], default="ecdc", help="default: ecdc")
    _add_output(parser)
    options = parser.parse(args)
    # In a folder, .ecdc files are results of an earlier run, not sounds.
    named = {Path(source) for source in options.sources}
    files = [file for file in expand(options.sources) if file.suffix.lower() != ".ecdc" or file in named]
    if not files:
        raise ValueError(
            f"expected audio in {', '.join(options.sources)}, found .ecdc files only: they are encoded already"
        )
    files, targets = _targets(files, options, f".{options.format}")
    if not files:
        return 0

    from hf_encls.audio import stream
    from hf_encls.codec.bitstream import write_ecdc
    from hf_encls.codec.codes import save_codes
    from hf_encls.codec.coding import encode, layout_of_codec

    codec = _codec(options.codec, options.codec_revision, options.device)
    layout_of_codec(codec)
    bandwidth = options.bandwidth or max(codec.config.target_bandwidths)
    if bandwidth not in codec.config.target_bandwidths:
        parser.error(f"--bandwidth must be one of {', '.join(f'{b:g}' for b in codec.config.target_bandwidths)}")
    write = write_ecdc if options.format == "ecdc" else save_codes

    def one(source: Path, target: Path) -> str:
        codes = encode(codec, stream(source, codec.config.sampling_rate), bandwidth)
        path = write(codes, target)
        size = path.stat().st_size
        return f"{size} bytes, {size / codes.duration_s:.0f} per second"

    return _each(files, targets, one)


def decode_files(args: list[str]) -> int:
    """Codes -> audio."""
    parser = Parser(prog="hf-encls decode", description=DECODE, epilog=DECODE_EXAMPLES)
    parser.add_argument("sources", nargs="+", metavar="FILE_OR_FOLDER", help=".ecdc files, saved codes, or folders")
    parser.add_argument("--codec", metavar="C", help="Hub id, folder or bundled name (default: the published one)")
    parser.add_argument("--codec_revision", metavar="R", help="revision of the codec on the Hub")
    parser.add_argument(
        "--family", choices=["encodec_24khz", "encodec_48khz"], help="what saved codes are that do not say it"
    )
    _add_output(parser)
    options = parser.parse(args)
    files = expand(options.sources, SAVED)
    if not files:
        raise ValueError(f"expected .ecdc files or saved codes in {', '.join(options.sources)}, found none")
    files, targets = _targets(files, options, ".wav")

    from hf_encls.audio import open_wav
    from hf_encls.codec.bitstream import read_ecdc
    from hf_encls.codec.codes import load_codes
    from hf_encls.codec.coding import decode_blocks

    codecs = {}

    def one(source: Path, target: Path) -> str:
        saved = source.suffix.lower() in (".safetensors", ".npy")
        codes = load_codes(source, options.family) if saved else read_ecdc(source)
        name = options.codec or f"facebook/{codes.family}"
        if name not in codecs:
            codecs[name] = _codec(name, options.codec_revision, options.device)
        rate, channels = codes.layout.sampling_rate, codes.layout.channels
        with (
            new_file(target) as partial,
            open_wav(partial, rate, channels) as file,
        ):
            for block in decode_blocks(codecs[name], codes):
                file.write(block.clip(-1, 1))
        return f"{codes.duration_s:.2f} s"

    return _each(files, targets, one)


def _add_output(parser: Parser) -> None:
    """The options that both ways have last."""
    parser.add_argument("--output", metavar="PATH", help="a file for one source, a folder for several")
    parser.add_argument(
        "--device", type=device, metavar="D", help="cpu, cuda, ... (default: the first accelerator, else cpu)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")


def _each(files: list[Path], targets: list[Path], convert) -> int:
    """Do `convert` for every file; a `ValueError` is a line, and the others go on."""
    errors = 0
    for source, target in zip(files, targets, strict=True):
        try:
            with writing(target):
                report = convert(source, target)
            print(f"{source} -> {target}: {report}", flush=True)
        except ValueError as error:
            errors += 1
            print(f"{source}: ERROR {as_options(str(error))}", file=sys.stderr)
    return 1 if errors else 0


def _targets(files: list[Path], options, suffix: str) -> tuple[list[Path], list[Path]]:
    """The files to do, and where each goes: beside itself, to the one file named, or into the folder named.

    Files of a folder whose target exists are passed over, so that an interrupted run can be continued; a target is
    written whole or not at all. --overwrite does them again.

    Raises `ValueError` for a target of two files or that is a source, and for one of a file named by itself that
    exists, unless --overwrite.
    """
    targets = _places(files, options.sources, options.output, suffix)
    if options.output is not None:  # before a codec is fetched, and so that nothing takes the place of a device
        check_file(options.output, "--output", or_folder=True)
    for target, count in Counter(targets).items():
        if count > 1:
            both = " and ".join(str(file) for file, each in zip(files, targets, strict=True) if each == target)
            raise ValueError(f"{both} would all be written to {target}: give them one by one, each with its --output")
    sources = {file.resolve() for file in files}
    replaced = [target for target in targets if target.resolve() in sources]
    if replaced:
        raise ValueError(f"{replaced[0]} would be replaced by what is made of it: name another place with --output")
    if options.overwrite:
        return files, targets
    named = set(map(Path, options.sources))
    pairs = list(zip(files, targets, strict=True))
    existing = [target for file, target in pairs if target.exists() and file in named]
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise ValueError(
            f"{existing[0]}{more} would be replaced: name another place with --output, or say --overwrite"
        )
    todo = [(file, target) for file, target in pairs if not target.exists()]
    if len(todo) < len(pairs):
        print(
            f"{len(pairs) - len(todo)} of {len(pairs)} files are there already and are passed over: "
            "--overwrite does them again",
            flush=True,
        )
    return [file for file, _ in todo], [target for _, target in todo]


def _places(files: list[Path], sources: list[str], output: str | None, suffix: str) -> list[Path]:
    if output is None:
        return [file.with_suffix(suffix) for file in files]
    target = Path(output)
    if len(files) == 1 and not Path(sources[0]).is_dir() and target.suffix:
        return [target]
    folders = [Path(source) for source in sources if Path(source).is_dir()]
    targets = []
    for file in files:
        folder = next((each for each in folders if file.is_relative_to(each)), file.parent)
        targets.append(target / file.relative_to(folder).with_suffix(suffix))
    return targets


def _codec(name: str, revision: str | None, device: str | None):
    import torch
    import transformers

    from hf_encls.codec.loading import load_codec

    transformers.utils.logging.disable_progress_bar()
    return load_codec(name, revision).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
