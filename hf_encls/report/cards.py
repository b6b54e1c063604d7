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

from hf_encls.records import read_record
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
from hf_encls.report.codec_texts import has_heard as has_heard  # callers ask the cards
from hf_encls.report.tables import class_table, results_table
from hf_encls.training.places import home_of
from hf_encls.training.results import RESULTS, dataset_text, read_results

TEMPLATES = Path(__file__).with_name("templates")
PICTURES = {"curves.png": "Learning curves", "confusion_matrix.png": "Confusion matrix of the test windows"}
SCORES = (
    ("window", "window {}", "num_windows", "windows"),
    ("window_without_silence", "window {} without silence", "num_windows_without_silence", "windows"),
    ("clip", "clip {}", "num_clips", "clips"),
)
PROTOCOL_TEXTS = {
    "clip": "Protocol `clip`: whole clips, and recordings where they are known, are in one part of the split only.",
    "official": "Protocol `official`: the data set's own division.",
    "paper": "Protocol `paper`: windows are divided at random, as in the paper, so that windows of one clip are on "
    "both sides. It leaks: the score says little about clips the model has not heard.",
}
CONFIG_SHAPE = {
    **{"features": str, "sampling_rate": int, "window_s": float, "step_s": float, "hop_length?": (int, None)},
    **{"standardization?": (str, None), "codec_config?": (dict, None)},
}
FEATURE_TEXTS = {"mel": "the power mel spectrogram", "log_mel": "the mel spectrogram in decibels"}


def write_model_card(folder: str | os.PathLike, model: str | None = None) -> Path:
    """Write `README.md` and `.eval_results/*.yaml` from a folder's `results.json` and `config.json`.

    Files of an earlier run in `.eval_results` are removed. Beside a bundled codec's weights goes its ATTRIBUTION.md.
    `model` is the name that the examples use: the folder's own path where it is None. Raises `ValueError` where one of
    the two files is missing.
    """
    folder = Path(folder)
    results, config = _records_of(folder)
    pictures = [name for name in PICTURES if (folder / name).is_file()]
    home = home_of(folder)
    card = model_card(results, config, name=home.resolve().name, model=model or str(home), pictures=pictures)
    write_text(folder / "README.md", str(card))
    found = eval_results(results)
    for old in set(folder.glob(".eval_results/*.yaml")) - {folder / ".eval_results" / name for name in found}:
        old.unlink()
    for name, text in found.items():
        write_text(folder / ".eval_results" / name, text)
    _attribution(folder, None if lacks_codec(results, config) else results.get("codec"))
    return folder / "README.md"


def model_card(
    results: Mapping, config: Mapping, *, name: str, model: str, pictures: Sequence[str] = tuple(PICTURES)
) -> ModelCard:
    """The card of a trained model, with `model-index` in its front matter. `results` is the run's `results.json`."""
    codec = results.get("codec")
    held = None if lacks_codec(results, config) else codec
    data = ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["audio-classification", "hf_encls", str(config.get("features", results["features"]))],
        datasets=[results["dataset_id"]] if results.get("dataset_id") else None,
        metrics=["accuracy", "f1"],
        base_model=codec["id"] if is_hub_id(codec) else None,
        eval_results=_model_index(results) or None,
        **licence(held),
    )
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATES / "model_card.md"),
        name=name,
        model=model,
        config={"window_s": plain(config["window_s"]), "sampling_rate": config["sampling_rate"]},
        dataset=dataset_text(results),
        classes=results["classes"],
        num_classes=len(results["classes"]),
        feature_text=feature_text(config["features"]),
        scores=_score_rows(results),
        protocol=protocol_name(results),
        protocol_text=PROTOCOL_TEXTS.get(results["protocol"], ""),
        leak=leak_text(results),
        lacks_codec=lacks_codec(results, config),
        codec_name=codec_name(codec, results["dataset"]),
        codec_text=codec_text(codec),
        codec_warning=codec_warning(results),
        results_table=results_table(results, markdown=True),
        per_class=class_table(results, markdown=True) if results.get("per_class") else "",
        pictures=[{"file": file, "title": PICTURES[file]} for file in pictures],
        settings=_model_settings(results, config),
        command=shlex.join(map(str, results["command"])) if results.get("command") else "",
        licence_text=licence_text(held),
    )


def _attribution(folder: Path, codec: Mapping | None) -> None:
    """Lay the bundled codec's attribution beside its weights, and take away that of an earlier run."""
    file = folder / ATTRIBUTION
    bundled = [path.read_text(encoding="utf-8") for path in ASSETS.glob(f"*/{ATTRIBUTION}")]
    source = bundled_folder(codec)
    if source and (source / ATTRIBUTION).is_file():
        write_text(file, (source / ATTRIBUTION).read_text(encoding="utf-8"))
    elif file.is_file() and file.read_text(encoding="utf-8") in bundled:
        file.unlink()


def eval_results(results: Mapping) -> dict[str, str]:
    """The `.eval_results/*.yaml` files of a run: file name -> content."""
    entries = [
        EvalResultEntry(
            dataset_id=results.get("dataset_id") or _slug(results["dataset"]),
            task_id=f"{_slug(protocol_name(results))}_{key}_accuracy",
            value=value,
            notes=_notes(results),
        )
        for key, _, kind, value, _ in _test_scores(results)
        if kind == "accuracy"
    ]
    content = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
    return {f"{_slug(results['dataset'])}.yaml": content} if entries else {}


def protocol_name(results: Mapping) -> str:
    """The protocol, with the fold where there is one."""
    return results["protocol"] + (f", fold {results['fold']}" if results.get("fold") is not None else "")


def leak_text(results: Mapping) -> str:
    """The leak count, in the words that stand beside a score."""
    leak = results.get("leak")
    if not leak:
        return "not measured"
    text = f"{leak['clip_leaks']} of {leak['test_windows']}"
    if leak["group_leaks"] != leak["clip_leaks"]:
        text += f" ({leak['group_leaks']} by recording)"
    return text


def feature_text(features: str) -> str:
    """A kind of features in words."""
    if features in FEATURE_TEXTS:
        return FEATURE_TEXTS[features]
    rate = re.sub(r"\D", "", features)
    what = "the codes" if features.endswith("_codes") else "the latents"
    return f"{what} of a {rate} kHz EnCodec encoder"


def _notes(results: Mapping) -> str:
    parts = [dataset_text(results)] if dataset_text(results) != results["dataset"] else []
    parts += [f"protocol {protocol_name(results)}", f"leak: {leak_text(results)} test windows"]
    parts += [codec_text(results.get("codec")), codec_warning(results).replace("*", "").replace("`", "")]
    return "; ".join(part.rstrip(".") for part in parts if part)


def _test_scores(results: Mapping) -> Iterator[tuple[str, str, str, float, str]]:
    """(key, name, kind, value, what it was measured on) of every test score, the same thing never twice."""
    test = results.get("test") or {}
    for key, name, count, unit in SCORES:
        if key == "window_without_silence" and test.get(count) and test[count] == test.get("num_windows"):
            continue
        for metric, text, kind in (("accuracy", "accuracy", "accuracy"), ("macro_f1", "macro F1", "f1")):
            value = (test.get(key) or {}).get(metric)
            if value is not None:
                yield key, name.format(text), kind, value, f"{test[count]:,} {unit}" if test.get(count) else unit


def _score_rows(results: Mapping) -> list[dict]:
    return [
        {"name": name, "value": f"{value:.3f}", "number": measured_on}
        for _, name, _, value, measured_on in _test_scores(results)
    ]


def _model_index(results: Mapping) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="Audio Classification",
            dataset_type=results.get("dataset_id") or _slug(results["dataset"]),
            dataset_name=dataset_text(results),
            dataset_config=protocol_name(results),
            dataset_split="test",
            metric_type=kind,
            metric_name=_metric_name(name, results),
            metric_value=value,
        )
        for _, name, kind, value, _ in _test_scores(results)
    ]


def _metric_name(name: str, results: Mapping) -> str:
    codec = codec_name(results.get("codec"), results["dataset"])
    return f"{name} (protocol {protocol_name(results)}; leak {leak_text(results)}; codec {codec})"


def _model_settings(results: Mapping, config: Mapping) -> dict[str, str]:
    codec = results.get("codec") or {}
    settings = {
        "features": f"`{config['features']}`",
        "sampling rate": f"{config['sampling_rate']} Hz",
        "window and step": f"{plain(config['window_s'])} s and {plain(config['step_s'])} s",
        **({"mel hop": f"{config['hop_length']} samples"} if not codec and config.get("hop_length") else {}),
        **(
            {
                f"codec {key}": f"`{value}`"
                for key, value in codec.items()
                if isinstance(value, str) and key != "attribution"
            }
        ),
        "standardisation": config.get("standardization"),
        "seed": results.get("seed"),
        "epochs": results.get("epochs"),
        "best epoch": results.get("best_epoch"),
        **{f"{key} (s)": f"{value:.1f}" for key, value in (results.get("times_s") or {}).items()},
        **{f"version of {key}": value for key, value in (results.get("versions") or {}).items()},
    }
    return {key: str(value).replace("|", "\\|") for key, value in settings.items() if value is not None}


def plain(value: float) -> str:
    return f"{value:g}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "dataset"


def _records_of(folder: Path) -> tuple[dict, dict]:
    """The results and the configuration in a model's folder."""
    for path in (folder / RESULTS, folder / "config.json"):
        if not path.is_file():
            raise ValueError(
                f"expected {path}, which a training run writes; it is not there, so there is no card to write"
            )
    return read_results(folder), read_record(folder / "config.json", CONFIG_SHAPE)


def write_text(path: Path, text: str) -> None:
    """Write under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
