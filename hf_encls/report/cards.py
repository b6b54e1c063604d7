"""Model cards, written from the JSON files that lie beside them: no number comes from anywhere else."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hf_encls.codec.facts import CodecFacts
from hf_encls.files.escapes import markdown, markdown_block, markdown_code, python
from hf_encls.files.records import RecordError, read_record
from hf_encls.model.codec_encls import FAMILIES
from hf_encls.model.configuration_encls import (
    HEADS,
    EnclsConfig,
    FeatureConfig,
    family_of,
    parse_features,
)
from hf_encls.report.calibration_texts import calibration_text, limit_text
from hf_encls.report.canvas import key_file
from hf_encls.report.card_files import read_card, write_card
from hf_encls.report.card_scores import METRICS, eval_results, leak_text, model_index, score_rows
from hf_encls.report.card_settings import in_words, plain, settings_by_name
from hf_encls.report.codec_texts import (
    ASSETS,
    ATTRIBUTION,
    bundled_folder,
    codec_name,
    codec_text,
    codec_warning,
    is_hub_id,
    lacks_codec,
    licence,
    licence_text,
)
from hf_encls.report.examples import Examples, examples_of
from hf_encls.report.label_texts import labels_text
from hf_encls.report.pages import Page, text_of
from hf_encls.report.tables import class_table, results_table
from hf_encls.training.places import home_of
from hf_encls.training.results import RESULTS, Results
from hf_encls.training.resuming import PREVIOUS

TEMPLATES = Path(__file__).with_name("templates")
CARD_TEMPLATE, OLD_TEMPLATE = "model_card.md", "model_card_0_1.md"
PICTURES = {"curves.png": "Learning curves", "confusion_matrix.png": "Confusion matrix of the test windows"}
PROTOCOL_TEXTS = {
    "clip": "Protocol `clip`: whole clips, and recordings where they are known, are in one part of the split only.",
    "official": "Protocol `official`: the data set's own division.",
    "paper": "Protocol `paper`: windows are divided at random, as in the paper, so that windows of one clip are on "
    "both sides. It leaks: the score says little about clips the model has not heard.",
}
CONFIG_SHAPE = {
    **{"features": str, "sampling_rate": int, "window_s": float, "step_s": float, "hop_length?": (int, None)},
    **{"standardization?": (str, None), "codec_config?": (dict, None), "head?": str, "floor_db?": (float, None)},
}


def write_model_card(
    folder: str | os.PathLike,
    model: str | None = None,
    *,
    results: Results | None = None,
    overwrite: bool = False,
) -> Path:
    """Write `README.md` and `.eval_results/*.yaml` from a folder's `results.json` and `config.json`.

    What people wrote in the README stays, and a part or an entry that they changed stays as they left it, unless
    `overwrite`. Files of an earlier run in `.eval_results` are removed. Beside a bundled codec's weights goes its
    ATTRIBUTION.md. `model` is the name that the examples use: the folder's own path where it is None; `results`, instead
    of `results.json`, those of a run that is being written. Raises `ValueError`
    where one of the two files is missing, where the README cannot be merged, or is somebody's own (unless `overwrite`).
    """
    folder = Path(folder)
    written, config = _records_of(folder, results is None)
    results = written if results is None else results
    home, pictures = home_of(folder), [name for name in PICTURES if (folder / name).is_file()]
    key = key_file(folder / "confusion_matrix.png")
    numbers = key.read_text(encoding="utf-8") if key.is_file() else ""
    name = home.resolve().name
    shown = Beside(pictures, numbers, examples_of(folder))
    card = model_card(results, config, name=name, model=model or str(home), beside=shown)
    beside = {f".eval_results/{name}": text for name, text in eval_results(results).items()}
    beside |= _attribution(None if lacks_codec(results, config) else results.codec)
    return write_card(folder, str(card), beside, _earlier(folder, config), overwrite)


def _earlier(folder: Path, config: Mapping) -> list[tuple[str, dict[str, str]]]:
    """The cards that version 0.1 may have written into a folder, which it did not mark, with the files beside them."""
    page, cards = read_card(folder), []
    for name in (RESULTS, PREVIOUS):
        try:
            results = Results.read(folder / name)
        except RecordError:
            continue
        for card in cards_as_made(page, results, config, [path.name for path in folder.glob("*.png")]):
            beside = {f".eval_results/{name}": text for name, text in eval_results(results, slug=True).items()}
            texts = (path.read_text(encoding="utf-8") for path in ASSETS.glob(f"*/{ATTRIBUTION}"))
            cards += [(card, beside | {ATTRIBUTION: text}) for text in texts]
    return cards


def cards_as_made(page: Page, results: Results | None, config: object, files: Sequence[str]) -> list[str]:
    """The card as it is made of a run, and as version 0.1 made it, under the names that the card which is there has.

    None where that card has marks, and where `config`, the JSON of config.json, is not what a run writes.
    """
    text = text_of(page)
    if page.marked or page.blank or results is None:
        return []
    title, model = re.search(r"^# (.+?)\s*$", text, re.MULTILINE), re.search(r'model="([^"]*)"', text)
    names = {"name": title[1] if title else "model", "model": model[1] if model else "model"}
    try:
        beside = Beside([name for name in PICTURES if name in files])
        return [str(make_card(results, config, **names, beside=beside)) for make_card in (model_card, _card_0_1)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _records_of(folder: Path, with_results: bool = True) -> tuple[Results | None, dict]:
    """`results.json` and `config.json` of a folder. Raises `ValueError` where one is missing or damaged."""
    for path in ([folder / RESULTS] if with_results else []) + [folder / "config.json"]:
        if not path.is_file():
            raise ValueError(
                f"expected {path}, which a training run writes; it is not there, so there is no card to write"
            )
    return Results.of(folder) if with_results else None, read_record(folder / "config.json", CONFIG_SHAPE)


@dataclass(frozen=True)
class Beside:
    """What lies beside a card and is shown on it: pictures, the key to the classes that they call by numbers, examples."""

    pictures: Sequence[str] = tuple(PICTURES)
    numbers: str = ""
    examples: Examples | None = None


def model_card(results: Results, config: Mapping, *, name: str, model: str, beside: Beside = Beside()) -> ModelCard:
    """The card of a trained model, with `model-index` in its front matter."""
    beside = beside or Beside()
    examples = beside.examples
    data = _front(results, config, name, model_index(results))
    if examples:
        data["widget"] = examples.widget()
    facts = _facts(results, config, beside) | {"name": name, "model": model, "examples": examples}
    facts["settings"] = in_words(facts["settings"])
    return ModelCard.from_template(data, template_path=str(TEMPLATES / CARD_TEMPLATE), **facts)


def _card_0_1(results: Results, config: Mapping, *, name: str, model: str, beside: Beside) -> ModelCard:
    """The card as version 0.1 made it, which tells what of a card that has no marks is as it was made."""
    data = _front(results, config, name, model_index(results, slug=True))
    facts = _facts(results, config, beside) | {"name": name, "model": model}
    facts["settings"].pop("mel frame", None)  # it did not tell
    return ModelCard.from_template(data, template_path=str(TEMPLATES / OLD_TEMPLATE), **facts)


def _front(results: Results, config: Mapping, name: str, index: list[EvalResult]) -> ModelCardData:
    return ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["audio-classification", "hf_encls", str(config.get("features", results.features))],
        datasets=[results.dataset_id] if results.dataset_id else None,
        metrics=list(dict.fromkeys(METRICS[metric] for metric in results.metrics if metric in METRICS)),
        base_model=results.codec.id if is_hub_id(results.codec) else None,
        eval_results=index or None,
        **licence(_held(results, config)),
    )


def _held(results: Results, config: Mapping) -> CodecFacts | None:
    """The codec whose weights are in the checkpoint."""
    return None if lacks_codec(results, config) else results.codec


def _facts(results: Results, config: Mapping, beside: Beside) -> dict[str, object]:
    """What the templates tell."""
    codec = results.codec
    return {
        **{"text": markdown, "code": markdown_code, "block": markdown_block, "python": python},
        "config": {"window_s": plain(config["window_s"]), "sampling_rate": config["sampling_rate"]},
        "dataset": results.dataset_text,
        "shown_classes": list(map(markdown, results.classes)),
        "num_classes": len(results.classes),
        "feature_text": feature_text(config),
        "head_text": head_text(config),
        "scores": score_rows(results, config["window_s"]),
        "protocol": results.protocol_text,
        "protocol_text": " ".join(filter(None, [PROTOCOL_TEXTS.get(results.protocol, ""), labels_text(results)])),
        "leak": leak_text(results),
        "lacks_codec": lacks_codec(results, config),
        "codec_name": codec_name(codec, results.dataset),
        "codec_text": codec_text(codec),
        "codec_warning": codec_warning(codec, results.dataset),
        "results_table": results_table(results, markdown=True),
        "probabilities": calibration_text(results),
        "limit": limit_text(results),
        "per_class": class_table(results, markdown=True) if results.per_class else "",
        "numbers": ", ".join(beside.numbers.splitlines()),
        "pictures": [{"file": file, "title": PICTURES[file]} for file in beside.pictures],
        "settings": settings_by_name(results, config),
        "command": shlex.join(results.command),
        "licence_text": licence_text(_held(results, config)),
    }


def _attribution(codec: CodecFacts | None) -> dict[str, str]:
    """The attribution of a bundled codec, which lies beside its weights: file name -> text."""
    source = bundled_folder(codec)
    if source and (source / ATTRIBUTION).is_file():
        return {ATTRIBUTION: (source / ATTRIBUTION).read_text(encoding="utf-8")}
    return {}


def feature_text(config: Mapping) -> str:
    """The features of a configuration in words: of a codec with its rate and family."""
    representation, rate = parse_features(config["features"])
    if not representation.needs_codec:
        return representation.text
    rate = rate or config.get("sampling_rate", FeatureConfig.sampling_rate)
    family = family_of(config["features"]) or config.get("codec_family", FeatureConfig.codec_family)
    return f"{representation.text} of a {rate / 1000:g} kHz {FAMILIES[family].name} encoder"


def head_text(config: Mapping) -> str:
    """The head of a configuration in words. Raises `ValueError` for one that is not known."""
    head = config.get("head", EnclsConfig.head)
    if str(head) not in HEADS:
        raise ValueError(f"expected head to be one of {', '.join(HEADS)}, found {head!r}")
    return HEADS[head].text
