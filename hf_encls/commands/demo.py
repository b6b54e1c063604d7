"""Serve a page to try a model: drop or record a sound, see scores, the timeline and the features."""

import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from hf_encls.commands.classify import load_pipe
from hf_encls.commands.parser import Parser, add_checkpoint_options

EXAMPLES = """examples:
  hf-encls demo --model my_model
  hf-encls demo --model my_model --port 8000 --max_minutes 30

The page works offline, loads nothing from elsewhere, and is seen on this machine only unless --host says otherwise.
Sounds stay in a folder that goes when the page is stopped. Needs: pip install 'hf_encls[demo]'
"""


def main(args: list[str] | None = None) -> int:
    """Run the program until it is interrupted; returns its exit status."""
    from hf_encls.inference.demo.answers import Limits

    parser = Parser(prog="hf-encls demo", description=__doc__, epilog=EXAMPLES)
    add_checkpoint_options(parser)
    page_options = parser.add_argument_group("the page")
    page_options.add_argument(
        "--host", default="127.0.0.1", metavar="H", help="where to listen (default: 127.0.0.1; 0.0.0.0: everywhere)"
    )
    page_options.add_argument(
        "--examples",
        nargs="+",
        metavar="FILE",
        help="sounds to try the model with (default: those that were published with it)",
    )
    page_options.add_argument("--port", type=int, metavar="P", help="default: the first free one from 7860")
    page_options.add_argument(
        "--max_minutes",
        type=float,
        default=Limits.max_minutes,
        metavar="M",
        help="longest sound (default: %(default)g)",
    )
    page_options.add_argument(
        "--max_mb", type=float, default=Limits.max_mb, metavar="MB", help="largest file (default: %(default)g)"
    )
    options = parser.parse(list(sys.argv[1:] if args is None else args))
    limits = Limits(options.max_minutes, options.max_mb)

    from hf_encls.inference.demo.examples import example_files
    from hf_encls.inference.demo.page import import_gradio, listening, make_page, serve

    import_gradio()  # before the model is loaded: what is missing is said at once
    at = listening(options.host, options.port)
    pipe = load_pipe(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that the folder goes
    with tempfile.TemporaryDirectory(prefix="hf_encls_demo_") as folder, suppress(KeyboardInterrupt):
        os.environ["GRADIO_TEMP_DIR"] = folder  # the default is one folder for all users of the machine
        examples = example_files(options.model, options.revision, options.examples)
        page = make_page(pipe, Path(options.model).resolve().name, limits, examples)
        host, port = at.getsockname()[:2]
        print(f"http://{host}:{port}\nCtrl-C stops it.", flush=True)
        serve(page, limits, at)
    return 0
