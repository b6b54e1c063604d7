"""What the harnesses share: where other projects' archives are kept, and who wants to know what they said."""

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def archives(tmp_path_factory) -> Path:
    """Where source archives are unpacked: `HF_ENCLS_HARNESSES`, to keep them, or a temporary folder."""
    place = Path(os.environ.get("HF_ENCLS_HARNESSES") or tmp_path_factory.mktemp("archives"))
    place.mkdir(parents=True, exist_ok=True)
    return place


@pytest.fixture
def says() -> Callable[..., None]:
    """Note for the table of `who_else.py` what a package found, and how often; equal findings are added up there."""

    def noted(package: str, found: str, count: int = 1) -> None:
        if place := os.environ.get("HF_ENCLS_SAYS"):
            line = {"package": package, "version": version(package), "found": found, "count": count}
            with open(place, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    return noted
