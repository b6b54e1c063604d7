"""Publishing trained models: the files that `pipeline` needs, the scores and the card, and nothing else."""

import ast
import fnmatch
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from hf_encls.data.splits import LeakError, enforce
from hf_encls.files import write_text
from hf_encls.files.escapes import markdown, python
from hf_encls.files.records import RecordError, read_record
from hf_encls.hub.commit import Operation, Published, PublishError, push
from hf_encls.hub.repository import Repository, check_model
from hf_encls.report.card_files import CARD, read_card
from hf_encls.report.card_scores import eval_results
from hf_encls.report.cards import cards_as_made
from hf_encls.report.codec_texts import ASSETS, ATTRIBUTION, lacks_codec
from hf_encls.report.examples import examples_of
from hf_encls.report.merging import merge, notice
from hf_encls.report.pages import Page, adopted, as_sent, generated, read_page, seal_of
from hf_encls.training.results import RESULTS, Results
from hf_encls.training.resuming import PREVIOUS, SETTINGS

logger = logging.getLogger(__name__)

MODEL_NEEDS = ("config.json", "model.safetensors", "preprocessor_config.json", "README.md")
MODEL_FILES = (
    *MODEL_NEEDS,
    "*_encls.py",
    RESULTS,
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
    overwrite: bool = False,
) -> Published:
    """Publish a trained model in one commit: the files named in `MODEL_FILES`, and nothing else of the folder.

    What of these an earlier push wrote, and the folder no longer has, is deleted in the repository. What people wrote
    there stays: their files, their text and entries in the README, and what they changed in ours, unless `overwrite`. In
    the README that is sent, the examples name the repository; the local one stays as it is. `save_card` names a file for
    a copy of what was sent, with the repository's pictures. Raises `PublishError` when the folder is not a finished
    model, when the model was saved without its codec, when the repository holds something else than a model of hf_encls
    (unless `overwrite`), when a README cannot be merged, or the Hub refuses or does not recover.
    """
    folder = Path(folder)
    results, config = _finished(folder)
    names = model_files(folder)
    local = _local_page(folder, results, config)
    last = {}

    def operations(api: HfApi, full_id: str, revision: str) -> list[Operation]:
        repository = Repository.look(api, full_id, "model", revision)
        check_model(repository, overwrite)
        known = _known(repository)
        kept, files = [], {name: _seal(name, (folder / name).read_bytes) for name in names if name not in MODEL_NEEDS}
        if not overwrite:
            kept = [
                name
                for name in files
                if name in repository.paths and not _is_ours(repository, name, known, files[name])
            ]
        ours = as_sent(_named(local, folder, full_id))
        written = {name: seal for name, seal in files.items() if name not in kept}
        page, by_hand = merge(_page_there(repository), ours, overwrite=overwrite, files=written)
        last.update(card=str(page), kept=by_hand + kept, where=f"{CARD} of {full_id}")
        gone = [path for path in repository.paths if path not in names and path in known]
        return [
            CommitOperationAdd(CARD, last["card"].encode()),
            *(CommitOperationAdd(name, str(folder / name)) for name in names if name != CARD and name not in kept),
            *(CommitOperationDelete(path) for path in gone if _is_ours(repository, path, known)),
        ]

    published = push(repo_id, "model", operations, "Model trained with hf_encls", private=private, token=token)
    if last["kept"]:
        logger.warning(notice(last["kept"], last["where"], "publishing with `overwrite=True`"))
    if save_card is not None:
        card = re.sub(
            r"\]\(((?:examples/)?[\w-]+\.(?:png|wav))\)", rf"]({published.url}/resolve/main/\g<1>)", last["card"]
        )
        write_text(card, save_card)
    return published


def _finished(folder: Path) -> tuple[Results | None, dict]:
    """Results and settings of the model in `folder`. Raises `PublishError` where it is not finished, or lacks its codec."""
    if (folder / PREVIOUS).is_file() or ((folder / SETTINGS).is_file() and not (folder / RESULTS).is_file()):
        raise PublishError(
            f"expected a finished run in {folder}, found one that was interrupted: finish it first, with "
            "`resume_from_checkpoint=last` where it has a checkpoint"
        )
    missing = [name for name in MODEL_NEEDS if not (folder / name).is_file()]
    if missing:
        raise PublishError(f"expected a trained model in {folder}, found no {', '.join(missing)}: train it first")
    results = Results.of(folder) if (folder / RESULTS).is_file() else None
    if results and results.leak:
        try:
            enforce(results.leak, results.protocol)
        except LeakError as error:
            raise PublishError(f"{folder / RESULTS}: {error}") from error
    file = folder / "config.json"
    config = read_record(file, {"features?": str, "codec_id?": (str, None), "codec_config?": (dict, None)})
    try:
        without_codec = lacks_codec(results, config)
    except ValueError as error:
        raise PublishError(f"{file}: {error}") from error
    if without_codec:
        raise PublishError(
            f"expected a model that holds its codec, found one in {folder} that was saved without "
            f"{config.get('codec_id')}: nobody could run it on audio. Train again where that codec can be loaded (a "
            "network, or its folder), or put it in (attach_codec, save_pretrained) and write the card again "
            "(write_model_card); then publish"
        )
    return results, config


def _local_page(folder: Path, results: Results | None, config: Mapping) -> Page:
    """The card of the folder, with the marks that it lacks where version 0.1 wrote it."""
    try:
        page = read_card(folder)
    except ValueError as error:
        raise PublishError(str(error)) from error
    cards = cards_as_made(page, results, config, [path.name for path in folder.glob("*.png")])
    return adopted(page, [generated(card) for card in cards])


def _page_there(repository: Repository) -> Page:
    """The same of the card of the repository."""
    cards = cards_as_made(repository.page, _results(repository), repository.json("config.json"), repository.paths)
    return adopted(repository.page, [generated(card) for card in cards])


def _known(repository: Repository) -> dict[str, set[str]]:
    """What earlier pushes wrote beside the card: path -> the seals that it may bear as they wrote it."""
    if repository.page.wrote is not None:
        known = {name: {seal} for name, seal in repository.page.wrote.files.items()}
    elif repository.page.ours:  # version 0.1 noted nothing
        optional = [path for path in repository.paths if path not in MODEL_NEEDS and not path.startswith(EVAL)]
        known = {path: {""} for path in optional if any(_matches(path, item) for item in MODEL_FILES)}
        known[ATTRIBUTION] = {seal_of(file.read_text(encoding="utf-8")) for file in ASSETS.glob(f"*/{ATTRIBUTION}")}
    else:
        return {}
    scores = _scores(repository)  # only those of the results that are there now: others may write such files, too
    known = {path: seals for path, seals in known.items() if not path.startswith(EVAL) or path in scores}
    return known | {path: known.get(path, set()) | {seal_of(text)} for path, text in scores.items()}


def _scores(repository: Repository) -> dict[str, str]:
    """The files in `.eval_results` that come from a repository's own results.json; none where it is not one of ours."""
    results = _results(repository)
    return {EVAL + name: text for name, text in eval_results(results, slug=True).items()} if results else {}


def _results(repository: Repository) -> Results | None:
    """Those of the run that a repository's model came from; None where there are none, or they are of another program."""
    values = repository.json(RESULTS)
    try:
        return Results.from_dict(values) if isinstance(values, Mapping) else None
    except RecordError:
        return None


def _is_ours(repository: Repository, path: str, known: Mapping[str, set[str]], new: str | None = None) -> bool:
    """Whether a file of the repository is as hf_encls wrote it, or is what would be written (its seal: `new`)."""
    seals = known.get(path, set()) | ({new} - {"", None})
    return (
        "" in seals
        or _seal(path, lambda: repository.read(path)) in seals
        or (repository.page.wrote is None and not known)
    )


def _seal(path: str, read: Callable[[], bytes]) -> str:
    """The seal of the texts to which others may add, "" for all other files."""
    return seal_of(read().decode("utf-8", "replace")) if path.startswith(EVAL) or path == ATTRIBUTION else ""


def _named(page: Page, folder: Path, repo_id: str) -> Page:
    """The card of a local folder with the repository's name in its examples, its title and its model index."""
    local, name = folder.resolve().name, repo_id.split("/")[-1]
    quoted = r'model=("(?:[^"\\]|\\.)*")'

    def example(match: re.Match) -> str:
        try:
            path = Path(ast.literal_eval(match[1]))
        except (ValueError, SyntaxError):
            return match[0]
        return f"model={python(repo_id)}" if path.resolve() == folder.resolve() else match[0]

    pieces = []
    for piece in page.pieces:
        text = re.sub(quoted, example, piece.text)
        if piece.name and not piece.edited:
            text = re.sub(quoted, lambda _: f"model={python(repo_id)}", text)
            text = re.sub(
                rf"\A# {re.escape(markdown(local))}$", lambda _: f"# {markdown(name)}", text, flags=re.MULTILINE
            )
        pieces.append(replace(piece, text=text))
    index = yaml.safe_dump([{"name": local}], allow_unicode=True, width=10_000).strip()
    head = re.sub(rf"^{re.escape(index)}$", lambda _: f"- name: {name}", page.head, flags=re.MULTILINE)
    front = read_page(f"---\n{head}\n---\n", CARD).front
    return replace(page, head=head, front=front, pieces=tuple(pieces), source=None)


def model_files(folder: Path) -> list[str]:
    """The files of a model folder that are published, as posix paths."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    examples = examples_of(folder)
    named = set(examples.files if examples else ())  # others in that folder were not given to be published
    return sorted(path for path in paths if path in named or any(_matches(path, pattern) for pattern in MODEL_FILES))


def _matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)
