"""The page as a Hugging Face Space; `hf-encls demo` starts the same one.

Settings are environment variables (in a Space: Settings, Variables): `ENCLS_MODEL`, a model's name on the Hub or a
folder; `ENCLS_REVISION`; `ENCLS_MAX_MINUTES`; `ENCLS_MAX_MB`.
"""

import os

from hf_encls.inference.demo.answers import Limits
from hf_encls.inference.demo.examples import example_files
from hf_encls.inference.demo.page import make_page, settings
from hf_encls.inference.pipeline import EnclsPipeline


def main() -> None:
    """Serve the page until it is stopped."""
    model = os.environ.get("ENCLS_MODEL")
    if not model:
        raise SystemExit("expected the name of a model in the environment variable ENCLS_MODEL")
    limits = Limits(float(os.environ.get("ENCLS_MAX_MINUTES", "10")), float(os.environ.get("ENCLS_MAX_MB", "100")))
    pipe = EnclsPipeline.from_pretrained(model, revision=os.environ.get("ENCLS_REVISION"))
    examples = example_files(model, os.environ.get("ENCLS_REVISION"))
    make_page(pipe, model, limits, examples).launch(share=False, **settings(limits))


if __name__ == "__main__":
    main()
