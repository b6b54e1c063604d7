"""Write a model as one ONNX graph: waveform in, probabilities of its windows out, for any length of audio."""

import sys
from pathlib import Path

from hf_encls.commands.classify import load_pipe
from hf_encls.commands.outputs import output_file
from hf_encls.commands.parser import Parser, add_checkpoint_options, refuse_existing
from hf_encls.files import writing

EXAMPLES = """examples:
  hf-encls export --onnx my_model.onnx --model my_model

  >>> session = onnxruntime.InferenceSession("my_model.onnx")
  >>> session.run(None, {"waveform": audio})[0]              # (samples,) float32 -> (windows, classes)

The labels and the sampling rate are in the file's metadata, under "encls". Needs: pip install hf_encls[onnx]
"""


def main(args: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = Parser(prog="hf-encls export", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--onnx", type=output_file, required=True, metavar="FILE", help="the file to write")
    add_checkpoint_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the file where it is there already")
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    refuse_existing(options.onnx, overwrite=options.overwrite)
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{error.name} is missing: pip install 'hf_encls[onnx]'") from error
    from hf_encls.inference.onnx import export_onnx

    model = load_pipe(options).model
    with writing(options.onnx):
        difference = export_onnx(model, options.onnx)
    size = Path(options.onnx).stat().st_size
    print(f"{options.onnx}: {size} bytes, probabilities within {difference:.1e} of PyTorch's")
    return 0
