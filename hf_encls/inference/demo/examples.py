"""Sounds to try a model with: those of whoever serves the page, or those that were published with the model."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from hf_encls.audio import AudioError, header_duration_s
from hf_encls.report.examples import LISTING, Examples

logger = logging.getLogger(__name__)


def example_files(
    model: str | os.PathLike, revision: str | None = None, sounds: Sequence[str | os.PathLike] | None = None
) -> list[Path]:
    """The files `sounds`, else the examples beside `model`, a folder or a name on the Hub; empty where there are none.

    Raises `ValueError` for one of `sounds` that is none.
    """
    if sounds is not None:
        for path in sounds:
            if not Path(path).is_file():
                raise ValueError(f"expected a sound at {path} for `examples`, found no file")
            try:
                header_duration_s(path)
            except AudioError as error:
                raise ValueError(f"expected a sound at {path} for `examples`: it {error}") from error
        return [Path(path) for path in sounds]
    try:
        listing = _file(model, LISTING, revision)
        return [_file(model, each.file, revision) for each in Examples.read(listing).sounds]
    except (EntryNotFoundError, LocalEntryNotFoundError, FileNotFoundError):
        return []
    except ValueError as error:  # a page without examples is a page, too
        logger.warning("the examples of %s are left out: %s", model, error)
        return []


def _file(model: str | os.PathLike, name: str, revision: str | None) -> Path:
    if not Path(model).is_dir():
        return Path(hf_hub_download(str(model), name, revision=revision))
    path = Path(model) / name
    if not path.is_file():
        raise FileNotFoundError(path)
    return path
