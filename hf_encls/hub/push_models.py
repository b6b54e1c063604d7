"""Publishing trained models: the files that `pipeline` needs, the scores and the card, and nothing else."""

import fnmatch
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from hf_encls.data.splits import LeakReport, enforce
from hf_encls.hub.commit import Operation, Published, PublishError, push
from hf_encls.records import read_record
from hf_encls.report.cards import eval_results, write_text
from hf_encls.report.codec_texts import ATTRIBUTION, lacks_codec
from hf_encls.training.results import RESULTS, read_results
from hf_encls.training.resuming import PREVIOUS, SETTINGS

MODEL_NEEDS = ("config.json", "model.safetensors", "preprocessor_config.json", "README.md")
MODEL_FILES = (
    *MODEL_NEEDS,
    "*_encls.py",
    "results.json",
    "curves.png",
    "confusion_matrix.png",
    ATTRIBUTION,
    ".eval_results/*.yaml",
)
EVAL = ".eval_results/"  # other programs and people put scores there, too


def push_model(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    save_card: str | os.PathLike | None = None,
) -> Published:
    """Publish a trained model in one commit: the files named in `MODEL_FILES`, and nothing else of the folder.

    Such files of an earlier push that the folder no longer has are deleted in the repository; in `.eval_results`, those
    of the results there. In the README that is sent, the examples name the repository; the local one stays as it is.
    `save_card` names a file for a copy of what was sent, with the repository's pictures. Raises `PublishError` when the
    folder is not a finished model, when the model was saved without its codec, or the Hub refuses or does not recover.
    """
    folder = Path(folder)
    if (folder / PREVIOUS).is_file() or ((folder / SETTINGS).is_file() and not (folder / RESULTS).is_file()):
        raise PublishError(
            f"expected a finished run in {folder}, found one that was interrupted: finish it first, with "
            "--resume_from_checkpoint last where it has a checkpoint"
        )
    missing = [name for name in MODEL_NEEDS if not (folder / name).is_file()]
    if missing:
        raise PublishError(f"expected a trained model in {folder}, found no {', '.join(missing)}: train it first")
    names = model_files(folder)
    results = read_results(folder) if RESULTS in names else {}
    _check_leak(results)
    config = read_record(
        folder / "config.json", {"features?": str, "codec_id?": (str, None), "codec_config?": (dict, None)}
    )
    if lacks_codec(results, config):
        raise PublishError(
            f"expected a model that holds its codec, found one in {folder} that was saved without "
            f"{config.get('codec_id')}: nobody could run it on audio. Train again where that codec can be loaded (a "
            "network, or its folder), or put it in (attach_codec, save_pretrained) and write the card again "
            "(write_model_card); then publish"
        )
    sent = {}

    def operations(api: HfApi, found: str, revision: str) -> list[Operation]:
        sent["card"] = _named((folder / "README.md").read_text(encoding="utf-8"), folder.resolve().name, found)
        there = api.list_repo_files(found, revision=revision)
        old = [path for path in there if path not in names and any(_matches(path, item) for item in MODEL_FILES)]
        if any(path.startswith(EVAL) for path in old):
            ours = _eval_files(api, found, revision) if RESULTS in there else set()
            old = [path for path in old if not path.startswith(EVAL) or path in ours]
        return [
            CommitOperationAdd("README.md", sent["card"].encode()),
            *(CommitOperationAdd(name, str(folder / name)) for name in names if name != "README.md"),
            *(CommitOperationDelete(path) for path in old),
        ]

    published = push(repo_id, "model", operations, "Model trained with hf_encls", private=private, token=token)
    if save_card is not None:
        write_text(
            Path(save_card), re.sub(r"\]\((\w+\.png)\)", rf"]({published.url}/resolve/main/\g<1>)", sent["card"])
        )
    return published


def _eval_files(api: HfApi, repo_id: str, revision: str) -> set[str]:
    """The files in `.eval_results` that come from a repository's own results.json; none where it is not one of ours."""
    results = Path(api.hf_hub_download(repo_id, RESULTS, revision=revision)).read_bytes()
    try:
        return {EVAL + name for name in eval_results(json.loads(results))}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def _named(readme: str, local: str, repo_id: str) -> str:
    """The card of a local folder with the repository's name in its examples, its title and its model index."""
    readme = re.sub(r'model="[^"]*"', f'model="{repo_id}"', readme)
    return re.sub(rf"^(# |- name: ){re.escape(local)}$", rf"\g<1>{repo_id.split('/')[-1]}", readme, flags=re.MULTILINE)


def model_files(folder: Path) -> list[str]:
    """The files of a model folder that are published, as posix paths."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if any(_matches(path, pattern) for pattern in MODEL_FILES))


def _check_leak(results: Mapping) -> None:
    if results.get("leak"):
        enforce(LeakReport(**results["leak"]), results["protocol"])


def _matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)
