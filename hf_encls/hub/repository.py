"""A repository as it is at one commit, or a folder: what it holds, and whether hf_encls made it."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from hf_encls.files import TEMPORARY
from hf_encls.hub.commit import PublishError, diagnose
from hf_encls.hub.pull_features import FACTS
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.report.card_files import CARD
from hf_encls.report.pages import Page, read_page

# What the Hub's own pages put into a new repository.
HARMLESS = re.compile(r"\.gitattributes|\.gitignore|LICENSE(\.md|\.txt)?")
OTHER = "Push to a repository of another name"
OTHER_FOLDER = "Take another `output_dir`"


@dataclass(frozen=True)
class Repository:
    """The files of a repository at one commit, or of a folder, and its card. `other` is what to do where it will not do."""

    repo_id: str
    paths: Sequence[str]
    page: Page
    read: Callable[[str], bytes]  # the content of a file
    other: str = OTHER

    @classmethod
    def look(cls, api: HfApi, repo_id: str, repo_type: str, revision: str) -> "Repository":
        """Read what is there. Raises `PublishError` where its card cannot be merged with another."""

        def read(path: str) -> bytes:
            return Path(api.hf_hub_download(repo_id, path, repo_type=repo_type, revision=revision)).read_bytes()

        return cls._of(repo_id, api.list_repo_files(repo_id, repo_type=repo_type, revision=revision), read, OTHER)

    @classmethod
    def look_into(cls, folder: Path) -> "Repository":
        """As `look`, for a folder, which need not be there; of the folders in it the files, and not those of deeper ones."""
        entries = [*folder.glob("*"), *folder.glob("*/*")] if folder.is_dir() else []
        paths = sorted(path.relative_to(folder).as_posix() for path in entries if path.is_file() and _is_meant(path))
        return cls._of(str(folder), paths, lambda path: (folder / path).read_bytes(), OTHER_FOLDER)

    @classmethod
    def _of(cls, name: str, paths: Sequence[str], read: Callable[[str], bytes], alternative: str) -> "Repository":
        try:
            page = read_page(read(CARD), f"{CARD} of {name}") if CARD in paths else Page()
        except ValueError as error:
            raise PublishError(str(error)) from error
        return cls(name, paths, page, read, alternative)

    @property
    def advice(self) -> str:
        """What whoever publishes can do about what is there."""
        return f"{self.other}, or publish with `overwrite=True`: files that are not written stay then, too"

    def json(self, path: str) -> object:
        """What a JSON file says; None where it is not there or is none."""
        try:
            return json.loads(self.read(path)) if path in self.paths else None
        except (ValueError, RecursionError):
            return None

    @property
    def foreign(self) -> list[str]:
        """What it holds besides a card without text and what the Hub's pages put into a new repository."""
        files = [path for path in self.paths if not HARMLESS.fullmatch(path) and path != CARD]
        return files + ([CARD] if not self.page.blank else [])


def check_model(repository: Repository, overwrite: bool) -> None:
    """Raise `PublishError` where a repository holds something else than a model of hf_encls, unless `overwrite`."""
    if overwrite:
        return
    if "config.json" in repository.paths:
        config = repository.json("config.json")
        kind = config.get("model_type") if isinstance(config, dict) else None
        if kind != EnclsConfig.model_type:
            raise PublishError(
                f"expected {repository.repo_id} to be empty or to hold a model of hf_encls, found a model of another kind "
                f"(model_type {kind!r} in config.json). {repository.advice}. Nothing was changed"
            )
    elif repository.foreign and not repository.page.ours:
        raise PublishError(_foreign(repository, "a model"))


def check_model_target(repo_id: str, token: str | None = None) -> None:
    """Raise `PublishError` where a model cannot be pushed to `repo_id` because of what is there.

    What the Hub does not tell now, it will tell when the model is pushed.
    """
    api = HfApi(token=token)
    try:
        full_id = repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"
        repository = Repository.look(api, full_id, "model", api.repo_info(full_id).sha)
    except Exception as error:
        if diagnose(error)[1] is None and not isinstance(error, OSError):
            raise  # not the Hub's doing
        return
    check_model(repository, overwrite=False)


def read_facts(repository: Repository) -> list[dict]:
    """What is said of each configuration of features. Raises `PublishError` where a file of these is damaged."""
    entries = []
    for path in repository.paths:
        if not re.fullmatch(rf"[^/]+/{re.escape(FACTS)}", path):
            continue
        facts = repository.json(path)
        if not isinstance(facts, dict) or not {"config_name", "identity", "source", "classes"} <= set(facts):
            raise PublishError(
                f"expected {path} of {repository.repo_id} to say how its features were made, found a damaged file: put it "
                "right, or delete its folder there. Nothing was changed"
            )
        entries.append(facts)
    return entries


def check_features(
    repository: Repository, entries: Sequence[Mapping], name: str, source: str, overwrite: bool
) -> None:
    """Raise `PublishError` where a repository holds other data sets than that called `source`, unless `overwrite`.

    `entries` are the facts of its configurations; the one called `name` will be replaced. A repository that holds several
    data sets already takes more features of each.
    """
    if overwrite:
        return
    if repository.foreign and not entries and not repository.page.ours:
        raise PublishError(_foreign(repository, "features"))
    sources = sorted({entry["source"] for entry in entries if entry["config_name"] != name})
    if sources and source not in {entry["source"] for entry in entries}:
        raise PublishError(
            f"expected {repository.repo_id} to hold features of {source!r}, found those of {', '.join(map(repr, sources))}: "
            f"one card would be about both. {repository.other}, or publish with `overwrite=True`. Nothing was changed"
        )
    inside = [path for path in repository.paths if path.startswith(f"{name}/")]
    if inside and not any(entry["config_name"] == name for entry in entries):
        raise PublishError(
            f"expected no folder {name} in {repository.repo_id}, or one that hf_encls wrote, found {inside[0]}: give the "
            "features another name with `config_name`, or publish with `overwrite=True`. Nothing was changed"
        )


def _foreign(repository: Repository, kind: str) -> str:
    names = ", ".join(repository.foreign[:3]) + (" and more" if len(repository.foreign) > 3 else "")
    return (
        f"expected {repository.repo_id} to be empty or to hold {kind} of hf_encls, found what hf_encls did not write "
        f"({names}). {repository.advice}. Nothing was changed"
    )


def _is_meant(path: Path) -> bool:
    """Whether a file counts: not what a system or a killed process leaves in a folder."""
    return not path.name.startswith((".DS_Store", TEMPORARY)) and not path.parent.name.startswith(TEMPORARY)
