"""Model cards, written from the JSON files that lie beside them: no number comes from anywhere else."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
)

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
from hf_encls.model.problem_encls import SEVERAL_LABELS
from hf_encls.report.canvas import key_file
from hf_encls.report.card_files import read_card, write_card
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
    plain_warning,
)
from hf_encls.report.codec_texts import has_heard as has_heard  # callers ask the cards
from hf_encls.report.label_texts import labels_text
from hf_encls.report.pages import Page, text_of
from hf_encls.report.tables import class_table, results_table
from hf_encls.training.places import home_of
from hf_encls.training.results import CLIP_UNIT, HEARD_WINDOWS, RESULTS, WINDOWS, Results, Unit
from hf_encls.training.resuming import PREVIOUS

TEMPLATES = Path(__file__).with_name("templates")
PICTURES = {"curves.png": "Learning curves", "confusion_matrix.png": "Confusion matrix of the test windows"}
SCORE_NAMES = {WINDOWS: "window {}", HEARD_WINDOWS: "window {} without silence", CLIP_UNIT: "clip {}"}
# What the Hub calls metrics; others, such as the loss, are not in the index of a card.
METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "micro_f1": "f1"}
METRICS |= {"mean_average_precision": "mean_average_precision", "macro_auroc": "roc_auc"}
PROTOCOL_TEXTS = {
    "clip": "Protocol `clip`: whole clips, and recordings where they are known, are in one part of the split only.",
    "official": "Protocol `official`: the data set's own division.",
    "paper": "Protocol `paper`: windows are divided at random, as in the paper, so that windows of one clip are on "
    "both sides. It leaks: the score says little about clips the model has not heard.",
}
CONFIG_SHAPE = {
    **{"features": str, "sampling_rate": int, "window_s": float, "step_s": float, "hop_length?": (int, None)},
    **{"standardization?": (str, None), "codec_config?": (dict, None), "head?": str},
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
    card = model_card(results, config, name=name, model=model or str(home), pictures=pictures, numbers=numbers)
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
            beside = {f".eval_results/{name}": text for name, text in eval_results(results).items()}
            texts = (path.read_text(encoding="utf-8") for path in ASSETS.glob(f"*/{ATTRIBUTION}"))
            cards += [(card, beside | {ATTRIBUTION: text}) for text in texts]
    return cards


def cards_as_made(page: Page, results: Results | None, config: object, files: Sequence[str]) -> list[str]:
    """The card as version 0.1 made it of a run, under the names that the card which is there has.

    None where that card has marks, and where `config`, the JSON of config.json, is not what a run writes.
    """
    text = text_of(page)
    if page.marked or page.blank or results is None:
        return []
    title, model = re.search(r"^# (.+?)\s*$", text, re.MULTILINE), re.search(r'model="([^"]*)"', text)
    names = {"name": title[1] if title else "model", "model": model[1] if model else "model"}
    try:
        return [str(model_card(results, config, **names, pictures=[name for name in PICTURES if name in files]))]
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


def model_card(
    results: Results,
    config: Mapping,
    *,
    name: str,
    model: str,
    pictures: Sequence[str] = tuple(PICTURES),
    numbers: str = "",
) -> ModelCard:
    """The card of a trained model, with `model-index` in its front matter.

    `numbers` is the key to the classes that the pictures call by numbers.
    """
    codec = results.codec
    held = None if lacks_codec(results, config) else codec
    data = ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["audio-classification", "hf_encls", str(config.get("features", results.features))],
        datasets=[results.dataset_id] if results.dataset_id else None,
        metrics=list(dict.fromkeys(METRICS[metric] for metric in results.metrics if metric in METRICS)),
        base_model=codec.id if is_hub_id(codec) else None,
        eval_results=_model_index(results) or None,
        **licence(held),
    )
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATES / "model_card.md"),
        text=markdown,
        code=markdown_code,
        block=markdown_block,
        python=python,
        name=name,
        model=model,
        config={"window_s": plain(config["window_s"]), "sampling_rate": config["sampling_rate"]},
        dataset=results.dataset_text,
        shown_classes=list(map(markdown, results.classes)),
        num_classes=len(results.classes),
        feature_text=feature_text(config),
        head_text=head_text(config),
        scores=_score_rows(results),
        protocol=results.protocol_text,
        protocol_text=" ".join(filter(None, [PROTOCOL_TEXTS.get(results.protocol, ""), labels_text(results)])),
        several=results.problem_type == SEVERAL_LABELS,
        leak=leak_text(results),
        lacks_codec=lacks_codec(results, config),
        codec_name=codec_name(codec, results.dataset),
        codec_text=codec_text(codec),
        codec_warning=codec_warning(codec, results.dataset),
        results_table=results_table(results, markdown=True),
        per_class=class_table(results, markdown=True) if results.per_class else "",
        numbers=", ".join(numbers.splitlines()),
        pictures=[{"file": file, "title": PICTURES[file]} for file in pictures],
        settings=_model_settings(results, config),
        command=shlex.join(results.command),
        licence_text=licence_text(held),
    )


def _attribution(codec: CodecFacts | None) -> dict[str, str]:
    """The attribution of a bundled codec, which lies beside its weights: file name -> text."""
    source = bundled_folder(codec)
    if source and (source / ATTRIBUTION).is_file():
        return {ATTRIBUTION: (source / ATTRIBUTION).read_text(encoding="utf-8")}
    return {}


def eval_results(results: Results) -> dict[str, str]:
    """The `.eval_results/*.yaml` files of a run: file name -> content."""
    entries = [
        EvalResultEntry(
            dataset_id=results.dataset_id or _slug(results.dataset),
            task_id=f"{_slug(results.protocol_text)}_{unit.key}_{kind}",
            value=value,
            notes=_notes(results),
        )
        for unit, _, kind, value, _ in _test_scores(results)
        if kind == next(iter(results.metrics))
    ]
    content = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
    return {f"{_slug(results.dataset)}.yaml": content} if entries else {}


def leak_text(results: Results) -> str:
    """The leak count, in the words that stand beside a score."""
    leak = results.leak
    if leak is None:
        return "not measured"
    text = f"{leak.clip_leaks} of {leak.test_windows}"
    if leak.group_leaks != leak.clip_leaks:
        text += f" ({leak.group_leaks} by recording)"
    return text


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


def _notes(results: Results) -> str:
    parts = [results.dataset_text] if results.dataset_text != results.dataset else []
    parts += [f"protocol {results.protocol_text}", f"leak: {leak_text(results)} test windows"]
    parts += [codec_text(results.codec), plain_warning(results.codec, results.dataset)]
    return "; ".join(part.rstrip(".") for part in parts if part)


def _test_scores(results: Results) -> Iterator[tuple[Unit, str, str, float, str]]:
    """(unit, name, kind, value, what it was measured on) of every test score, the same thing never twice."""
    for unit, scores, count in results.test.scored():
        things = "clips" if unit is CLIP_UNIT else "windows"
        for metric, text in results.metrics.items():
            value = getattr(scores, metric)
            if metric in METRICS and value is not None:
                name = SCORE_NAMES[unit].format(text)
                yield unit, name, METRICS[metric], value, f"{count:,} {things}" if count else things


def _score_rows(results: Results) -> list[dict]:
    return [
        {"name": name, "value": f"{value:.3f}", "number": measured_on}
        for _, name, _, value, measured_on in _test_scores(results)
    ]


def _model_index(results: Results) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="Audio Classification",
            dataset_type=results.dataset_id or _slug(results.dataset),
            dataset_name=results.dataset_text,
            dataset_config=results.protocol_text,
            dataset_split="test",
            metric_type=kind,
            metric_name=_metric_name(name, results),
            metric_value=value,
        )
        for _, name, kind, value, _ in _test_scores(results)
    ]


def _metric_name(name: str, results: Results) -> str:
    codec = codec_name(results.codec, results.dataset)
    return f"{name} (protocol {results.protocol_text}; leak {leak_text(results)}; codec {codec})"


def _model_settings(results: Results, config: Mapping) -> dict[str, str]:
    codec = results.codec.as_dict() if results.codec else {}
    settings = {
        "features": markdown_code(config["features"]),
        "sampling rate": f"{config['sampling_rate']} Hz",
        "window and step": f"{plain(config['window_s'])} s and {plain(config['step_s'])} s",
        **({"mel hop": f"{config['hop_length']} samples"} if not codec and config.get("hop_length") else {}),
        **(
            {
                f"codec {key}": markdown_code(value)
                for key, value in codec.items()
                if isinstance(value, str) and key != "attribution"
            }
        ),
        "standardisation": config.get("standardization"),
        "head": results.head and markdown_code(results.head),
        "parameters of the head": results.parameters and f"{results.parameters:,}",
        "recipe": results.recipe and markdown_code(results.recipe),
        "strength of the regression (C)": results.fit and f"{results.fit['C']:g}",
        "seed": results.seed,
        "epochs": results.epochs or None,
        "best epoch": results.best_epoch,
        **{f"{key} (s)": f"{value:.1f}" for key, value in results.times_s.items()},
        **{f"version of {key}": value for key, value in results.versions.items()},
    }
    return {key: str(value).replace("|", "\\|") for key, value in settings.items() if value is not None}


def plain(value: float) -> str:
    """A number without needless zeros."""
    return f"{value:g}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "dataset"
