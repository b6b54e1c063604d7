"""Write a model as one ONNX graph, or as a web page that runs it: waveform in, probabilities of its windows out."""

import sys
from pathlib import Path

from hf_encls.commands.classify import load_pipe
from hf_encls.commands.outputs import check_folder, output_file
from hf_encls.commands.parser import Parser, add_checkpoint_options, refuse_existing
from hf_encls.files import writing

EXAMPLES = """examples:
  hf-encls export --onnx my_model.onnx --model my_model
  hf-encls export --page my_page --model my_model
  python -m http.server --directory my_page

  >>> session = onnxruntime.InferenceSession("my_model.onnx")
  >>> session.run(None, {"waveform": audio})[0]              # (samples,) float32 -> (windows, classes)

The labels and the sampling rate are in the file's metadata, under "encls". The page is a folder of files for any web
server: sounds are decoded and classified in the browser, and leave it nowhere. Its runtime comes from npm, once, and is
checked. Needs: pip install hf_encls[onnx]
"""


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = Parser(prog="hf-encls export", description=__doc__, epilog=EXAMPLES)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--onnx", type=output_file, metavar="FILE", help="the file to write")
    what.add_argument("--page", metavar="FOLDER", help="the new folder of a web page to write")
    add_checkpoint_options(parser)
    parser.add_argument(
        "--runtime", metavar="FILE", help="the page's onnxruntime-web archive, where npm cannot fetch it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file where it is there already")
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    refuse_existing(options.onnx, overwrite=options.overwrite)
    if options.page is not None:
        check_folder(options.page, "--page")
        if Path(options.page).exists() and any(Path(options.page).iterdir()):
            raise ValueError(f"expected --page to be a new folder, found files in {options.page}: name another one")
    elif options.runtime is not None:
        raise ValueError("--runtime is the page's: leave it out, or say --page")
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'hf_encls[onnx]'") from error

    model = load_pipe(options).model
    if options.page is None:
        _write_graph(model, options.onnx)
    else:
        _write_page(model, options)
    return 0


def _write_graph(model, path: str) -> None:
    from hf_encls.inference.onnx import export_onnx

    with writing(path):
        difference = export_onnx(model, path)
    size = Path(path).stat().st_size
    print(f"{path}: {size} bytes, probabilities within {difference:.1e} of PyTorch's")


def _write_page(model, options) -> None:
    from hf_encls.inference.web_page import write_page

    with writing(options.page):
        difference = write_page(model, options.page, Path(options.model).resolve().name, options.runtime)
    size = sum(each.stat().st_size for each in Path(options.page).iterdir())
    print(
        f"{options.page}: {size} bytes, probabilities within {difference:.1e} of PyTorch's; to look at it: "
        f"python -m http.server --directory {options.page}"
    )
