"""README and pages: what they name is there."""

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

from hf_encls.commands.cli import COMMANDS

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("readme_blocks", ROOT / ".ci" / "readme.py")
readme_blocks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(readme_blocks)
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


def test_badges_are_true():
    badges = re.findall(r"img\.shields\.io/badge/([^)]*)", (ROOT / "README.md").read_text(encoding="utf-8"))
    said = [unquote(badge).replace("--", "-") for badge in badges]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    python = project["requires-python"].removeprefix(">=")
    assert said[0].startswith(f"python-{python} or newer") and project["license"].split()[0] in said[1]
    assert re.search(r"paper-(\S+)-blue", said[2])[1] in citation and len(said) == 3


# ------------------------------------------------------------------------------------------ pasted block after block


def test_every_block_of_the_readme_is_run_after_what_it_needs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = readme_blocks.blocks_of(text)
    assert len(blocks) == len(re.findall(r"^```\w", text, re.MULTILINE)) >= 5
    assert [block.name for block in blocks[:3]] == ["train", None, "test"] and blocks[1].language == "python"
    prepare = {readme_blocks.SOUNDS: "echo sounds are made", readme_blocks.HUB: "echo the Hub is here"}
    script = readme_blocks.script_of(blocks, tmp_path, "somebody", prepare)
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0
    assert script.index("-m pytest") < script.index("sounds are made") < script.index("--data_dir my_sounds")
    assert script.index("the Hub is here") < script.index("encodec_24khz") and "USER/" not in script
    assert script.index("scripts/train.py") < script.index("block_2.py")
    assert (tmp_path / "block_2.py").read_text() == blocks[1].text.replace("USER/", "somebody/")


def test_no_two_commands_of_a_page_write_the_same_model():
    """What is finished is not replaced: the second one would be refused."""
    for page in PAGES:
        blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        made = re.findall(r"train\.py .*--output_dir (\S+)", "\n".join(blocks))
        assert sorted(made) == sorted(set(made)), page


@pytest.mark.parametrize(
    ("page", "said"),
    [("```ruby\nputs 1\n```\n", "ruby"), ("<!-- after: nothing -->\n```bash\ntrue\n```\n", "command: nothing")],
)
def test_a_block_that_cannot_be_run_is_an_error(page, said):
    with pytest.raises(ValueError, match=said):
        readme_blocks.blocks_of(page)


def test_blocks_share_a_shell_and_the_first_that_fails_ends_it(tmp_path):
    page = "```bash\ncd /\n```\n```bash\npwd\n```\n```bash\nfalse | true\n```\n```bash\necho too far\n```\n"
    script = readme_blocks.script_of(readme_blocks.blocks_of(page), tmp_path, "somebody", {})
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "\n/\n" in done.stdout and "too far" not in done.stdout
