"""README and pages: what they name is there."""

import functools
import importlib.util
import io
import re
import shlex
import subprocess
import tomllib
from contextlib import redirect_stdout, suppress
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from packaging.requirements import Requirement

import hf_encls
from hf_encls.commands.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("readme_blocks", ROOT / ".ci" / "readme.py")
readme_blocks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(readme_blocks)
SKILL = ROOT / "skills" / "hf-encls" / "SKILL.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")), SKILL]
SCRIPTS = {
    "train": "train", "publish": "publish", "compare": "compare", "extract_features": "extract",
    "compare_codecs": "codecs", "reproduce_paper": "reproduce", "pretrain_codec": "pretrain",
}  # fmt: skip


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
    assert [page.name for page in PAGES[2:-1] if str(page.relative_to(ROOT / "docs")) not in site] == []


@functools.cache
def options_of(command: str) -> set[str]:
    """Those that a command's own help names."""
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        main([command, "--help_all" if command == "train" else "--help"])
    return set(re.findall(r"(?<![\w-])--\w+", text.getvalue())) | {"--help"}


def commands_in(text: str) -> list[list[str]]:
    """The commands in a page's blocks of shell, as the words after the program: `["train", "--data_dir", ...]`."""
    found = []
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        for part in re.split(r"\||&&", re.sub(r"\s#.*", "", line)):
            words = shlex.split(part)
            names = [re.fullmatch(r"(?:.*/)?scripts/(\w+)\.py", word) for word in words]
            script = next((number for number, name in enumerate(names) if name and name[1] in SCRIPTS), None)
            if words[:1] == ["hf-encls"]:
                found.append(words[1:])
            elif script is not None:
                found.append([SCRIPTS[names[script][1]], *words[script + 1 :]])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_in_commands_exist(page):
    for command, *words in commands_in(page.read_text(encoding="utf-8")):
        if not command.startswith("-"):
            given = {word.split("=")[0] for word in words if word.startswith("--")}
            assert given <= options_of(command), (command, given - options_of(command))


def test_the_skill_is_one():
    """As agentskills.io has it: the name of its folder, and a description that says what it is for and when."""
    _, front, text = SKILL.read_text(encoding="utf-8").split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["name"] == SKILL.parent.name and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", front["name"])
    assert "Use when" in front["description"] and len(front["description"]) <= 1024
    assert len(commands_in(text)) > 10
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        compile(block, "SKILL.md", "exec")
        names = re.findall(r"from hf_encls import (.+)", block) + re.findall(r"hf_encls\.(\w+)", block)
        assert names and {name for each in names for name in each.split(", ")} <= set(hf_encls.__all__)


def test_the_training_script_names_what_it_needs():
    """Its header is what `uv run` and `hf jobs uv run` install (PEP 723)."""
    lines = (ROOT / "scripts" / "train.py").read_text(encoding="utf-8").split("# ///", 2)[1].splitlines()
    header = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines[1:]))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert header["requires-python"] == project["requires-python"]
    (needed,) = map(Requirement, header["dependencies"])
    assert needed.name == project["name"] and needed.specifier.contains(hf_encls.__version__, prereleases=True)


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
