"""What a run leaves behind: the model with its code, results.json, pictures, the card; each file written whole."""

import json
import os
import tempfile
from pathlib import Path

from hf_encls.cards import write_model_card
from hf_encls.hub.configuration_encls import EnclsConfig
from hf_encls.hub.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.hub.modeling_encls import EnclsForAudioClassification
from hf_encls.report import results_table, save_confusion_matrix, save_curves


def save_model(model: EnclsForAudioClassification, config: EnclsConfig, folder: Path) -> None:
    """Write the checkpoint, the feature extractor and the code that runs them into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model.cpu()
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as work:
        model.save_pretrained(work)
        EnclsFeatureExtractor(sampling_rate=config.sampling_rate).save_pretrained(work)
        # The weights are written readable by their owner only; they get the rights of any new file here.
        mask = os.umask(0)
        os.umask(mask)
        for file in Path(work).iterdir():
            if file.is_file():
                file.chmod(0o666 & ~mask)
                os.replace(file, folder / file.name)


def save_results(results: dict, folder: Path) -> None:
    """Write results.json, then what is made of it: curves.png, confusion_matrix.png, README.md."""
    write_json(results, folder / "results.json")
    if results["history"]:
        save_curves({results["features"]: results["history"]}, folder / "curves.png", title=title(results))
    save_confusion_matrix(results["confusion_matrix"], results["classes"], folder / "confusion_matrix.png")
    write_model_card(folder)


def title(results: dict) -> str:
    """A run in one line: data, features, codec, protocol."""
    codec = results.get("codec")
    features = results["features"] + (f" ({codec['id']})" if codec else "")
    fold = f" fold {results['fold']}" if results.get("fold") else ""
    return f"{results['dataset']}, {features}, protocol {results['protocol']}{fold}"


def write_json(value: object, path: Path) -> None:
    """Write JSON under a temporary name, then rename it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def usage(results: dict, folder: Path, example: str | None) -> str:
    """What a run prints last: its scores, and three lines of Python that use the model."""
    lines = ["", title(results), results_table(results), "", f"The model is in {folder}. To use it:", ""]
    lines += [
        "from transformers import pipeline",
        "from hf_encls.audio import load",
        f'print(pipeline("audio-classification", model="{folder}")(load("{example or "a_sound.wav"}", '
        f"{results['sampling_rate']})))",
    ]
    return "\n".join(lines)
