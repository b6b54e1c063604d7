"""README and pages: what they name is there."""

import re
from pathlib import Path

import pytest

from hf_encls.commands.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_are_good(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_and_commands_exist(page):
    text = page.read_text(encoding="utf-8")
    for program in re.findall(r"\b(?:scripts|dataset_scripts|benchmarks)/[a-z0-9_/]+\.(?:py|sh)\b", text):
        assert (ROOT / program).is_file(), program
    for command in re.findall(r"\bhf-encls ([a-z][a-z-]+)\b", text):
        assert command in COMMANDS, command


def test_every_command_has_a_line_in_the_reference():
    text = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`hf-encls {name}`" not in text] == []


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_page_is_in_the_site():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[2:] if str(page.relative_to(ROOT / "docs")) not in site] == []
