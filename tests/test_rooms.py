"""Imports go down only, from room to room; what is imported is declared as a dependency."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Low to high: a file imports from its own room and from those above it in this list. Every file has a place.
ROOMS = (
    *(
        "audio",
        "files",
        "timelines",
        "model",
        "fast",
        "data",
        "codec",
        "codec_training",
        "features",
        "training",
        "report",
        "hub",
    ),
    *("inference", "embeddings", "comparison", "reproduction", "commands"),
)
ROOT_FILES = {"__init__.py", "embeddings.py"}  # the last one under the name that HEAR's tools are given
RANK = {room: rank for rank, room in enumerate(ROOMS)}


def imports(file: Path) -> Iterator[str]:
    """The absolute names that a file imports, those inside functions too: `hf_encls.data.load`, `numpy`, ..."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            folder = ROOT.joinpath(*node.module.split("."))
            # `from hf_encls.data import esc50` asks for a module.
            yield from (f"{node.module}.{name.name}" for name in node.names if (folder / f"{name.name}.py").is_file())


def modules() -> dict[str, Path]:
    """Every file of the package by its name below it: `data.load`."""
    package = ROOT / "hf_encls"
    files = sorted(package.rglob("*.py"))
    return {".".join(file.relative_to(package).with_suffix("").parts): file for file in files}


def test_every_file_has_a_room():
    rooms = {name.split(".")[0] for name in modules()} - {"__init__"}
    assert not rooms - set(RANK), "say in ROOMS where these belong"
    assert {file.name for file in (ROOT / "hf_encls").glob("*.py")} == ROOT_FILES, "the root holds rooms"


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down_only(room):
    for name, file in modules().items():
        if name.split(".")[0] != room:
            continue
        for target in imports(file):
            inner = target.removeprefix("hf_encls").removeprefix(".")
            if not target.startswith("hf_encls") or not inner:  # the package itself: its version
                continue
            assert RANK[inner.split(".")[0]] <= RANK[room], f"hf_encls.{name} imports {target}, which is above"


def test_scripts_hold_nothing_but_the_call_of_a_command():
    for file in (*ROOT.glob("scripts/*.py"), *ROOT.glob("dataset_scripts/*.py")):
        ours = {name for name in imports(file) if name.startswith("hf_encls")}
        assert ours and all(name.startswith("hf_encls.commands") for name in ours), file


def test_nobody_imports_a_script():
    for name, file in modules().items():
        assert not {target.split(".")[0] for target in imports(file)} & {"scripts", "dataset_scripts", "tests"}, name


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = ("onnx", "demo", "live", "fast", "completion", "mteb")
    optional = [item for name in extras for item in project["optional-dependencies"][name]]
    declared = {plain(re.match(r"[\w.-]+", item)[0]) for item in (*project["dependencies"], *optional)}
    distributions = packages_distributions()
    for name, file in modules().items():
        for top in {target.split(".")[0] for target in imports(file)} - sys.stdlib_module_names - {"hf_encls"}:
            found = {plain(item) for item in distributions.get(top, [top])}
            assert found & declared, f"hf_encls.{name} imports {top}, which pyproject.toml does not declare"


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
