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
def says() -> Callable[[str, str], None]:
    """Note a line for the table of `who_else.py`: the package, and what it found."""

    def noted(package: str, found: str) -> None:
        if place := os.environ.get("HF_ENCLS_SAYS"):
            with open(place, "a", encoding="utf-8") as file:
                file.write(json.dumps({"package": package, "version": version(package), "found": found}) + "\n")

    return noted
