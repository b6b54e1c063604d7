"""Publishing to the Hub: features that others train on, and models that `pipeline` runs. Never audio."""

import fnmatch
import json
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetInfo, IterableDataset, load_dataset
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    DatasetCard,
    DatasetCardData,
    HfApi,
    hf_hub_download,
)
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from hf_encls import __version__
from hf_encls.cards import Source, dataset_card
from hf_encls.features import feature_identity
from hf_encls.hub.configuration_encls import MEL_KINDS, EnclsConfig
from hf_encls.report import Panel, save_feature_picture
from hf_encls.upload import Operation, Published, PublishError, push

FACTS = "encls_features.json"  # beside the parquet files of each configuration
COLUMNS = ("input_features", "label", "clip_id", "start", "group", "fold", "silent")
VERSIONS_OF = ("transformers", "torch", "datasets", "soundfile", "soxr")
SHARD_BYTES = 256 << 20
ROWS_PER_GROUP = 256  # what a reader of one parquet row group holds in memory at least
MODEL_NEEDS = ("config.json", "model.safetensors", "preprocessor_config.json", "README.md")
MODEL_FILES = (
    *MODEL_NEEDS,
    "*_encls.py",
    "results.json",
    "curves.png",
    "confusion_matrix.png",
    "features.png",
    ".eval_results/*.yaml",
)


# --------------------------------------------------------------------------------------------------- models


def push_model(
    folder: str | os.PathLike, repo_id: str, *, private: bool | None = None, token: str | None = None
) -> Published:
    """Publish a trained model in one commit: the files named in `MODEL_FILES`, and nothing else of the folder.

    In the README that is sent, the examples name the repository; the local one stays as it is. Raises `PublishError`
    when the folder is not a finished model, or the Hub refuses or does not recover.
    """
    folder = Path(folder)
    missing = [name for name in MODEL_NEEDS if not (folder / name).is_file()]
    if missing:
        raise PublishError(f"expected a trained model in {folder}, found no {', '.join(missing)}: train it first")
    names = model_files(folder)

    def operations(api: HfApi, found: str, revision: str) -> list[Operation]:
        readme = (folder / "README.md").read_text(encoding="utf-8")
        named = re.sub(r'model="[^"]*"', f'model="{found}"', readme)
        rest = [CommitOperationAdd(name, str(folder / name)) for name in names if name != "README.md"]
        return [CommitOperationAdd("README.md", named.encode()), *rest]

    return push(repo_id, "model", operations, "Model trained with hf_encls", private=private, token=token)


def model_files(folder: Path) -> list[str]:
    """The files of a model folder that are published, as posix paths."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if any(_matches(path, pattern) for pattern in MODEL_FILES))


def _matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


# --------------------------------------------------------------------------------------------------- features


def config_name_of(config: EnclsConfig) -> str:
    """The name of a configuration in a repository: the kind, and the codec's policy where it is not the usual one."""
    usual = "contiguous" if config.features.startswith("encodec_48khz") else "whole"
    if config.codec_policy in (None, usual):
        return config.features
    return f"{config.features}_{config.codec_policy}"


def push_features(
    windows: Dataset,
    config: EnclsConfig,
    repo_id: str,
    source: Source,
    *,
    config_name: str | None = None,
    panels: Sequence[Panel] = (),
    replace: bool = False,
    private: bool | None = None,
    token: str | None = None,
) -> Published:
    """Publish windows of features (as `extract_features` makes them) as one configuration of a data set repository.

    Parquet files, a README with `configs:` and `dataset_info:`, the facts of how they were made, and a picture go in
    one commit; other configurations in the repository stay. `panels` are the picture's images: one clip's mel and its
    latents; without them the first window that is not silent is drawn.

    Raises `PublishError` when the rows are not windows of `config`, when the configuration is there already and holds
    other features (unless `replace`), and when the Hub refuses or does not recover.
    """
    _check_windows(windows, config)
    name = config_name or config_name_of(config)
    if not re.fullmatch(r"[\w.-]+", name):
        raise PublishError(f"expected a config_name of letters, digits, _ . and -, found {name!r}")
    facts = describe_features(windows, config, source, name)
    with tempfile.TemporaryDirectory() as work:
        files = _write_parquet(windows, Path(work), name)
        picture = save_feature_picture(panels or [_panel_of(windows, config)], Path(work) / "picture.png")
        files[f"{name}/picture.png"] = picture

        def operations(api: HfApi, found: str, revision: str) -> list[Operation]:
            there = api.list_repo_files(found, repo_type="dataset", revision=revision)
            others = [
                json.loads(Path(_download(found, path, revision, token)).read_text(encoding="utf-8"))
                for path in there
                if path.endswith(f"/{FACTS}")
            ]
            for other in others:
                if other["config_name"] == name and other["identity"] != facts["identity"] and not replace:
                    raise PublishError(_differs(found, name, other["identity"], facts["identity"]))
            made = [other for other in others if other["config_name"] != name] + [facts]
            made.sort(key=lambda entry: entry["config_name"])
            data = _card_data(found, revision, "README.md" in there, windows, name, files, token)
            card = dataset_card(found, made, source, data)
            old = [path for path in there if fnmatch.fnmatch(path, f"{name}/*.parquet") and path not in files]
            return [
                CommitOperationAdd("README.md", str(card).encode()),
                CommitOperationAdd(f"{name}/{FACTS}", json.dumps(facts, indent=1, ensure_ascii=False).encode()),
                *(CommitOperationAdd(path, str(file)) for path, file in files.items()),
                *(CommitOperationDelete(path) for path in old),
            ]

        message = f"Features {name} of {source.name}"
        return push(repo_id, "dataset", operations, message, private=private, token=token)


def describe_features(windows: Dataset, config: EnclsConfig, source: Source, config_name: str) -> dict:
    """What `encls_features.json` says: how the features were made, and what there is of each class."""
    names = windows.features["label"].names
    labels = np.asarray(windows["label"][:])
    clips, first = np.unique(np.asarray(windows["clip_id"][:]), return_index=True)
    num_windows, num_clips = (np.bincount(x, minlength=len(names)) for x in (labels, labels[first]))
    return {
        "config_name": config_name,
        "identity": feature_identity(config),
        "config": {key: value for key, value in config.to_diff_dict().items() if key != "transformers_version"}
        | {"window_s": config.window_s, "step_s": config.step_s},
        "shape": [config.num_bands, config.num_frames],
        "dtype": windows.features["input_features"].dtype,
        "classes": names,
        "class_counts": [
            {"class": name, "windows": int(w), "clips": int(c)} for name, w, c in zip(names, num_windows, num_clips)
        ],
        "num_windows": len(windows),
        "num_clips": len(clips),
        "source": source.name,
        "picture": True,
        "versions": {"hf_encls": __version__} | {name: version(name) for name in VERSIONS_OF},
    }


def load_published(
    name: str | os.PathLike,
    config_name: str,
    *,
    revision: str | None = None,
    streaming: bool = False,
    expected: Mapping | None = None,
    token: str | None = None,
) -> tuple[Dataset | IterableDataset, EnclsConfig]:
    """Windows of a published feature data set (Hub id, or folder), and the configuration they were made with.

    The configuration has no codec in it (`codec_config` is None): training needs none. `expected` are settings of the
    configuration that the caller relies on, such as `{"window_s": 1.0}`. Raises `ValueError` when there is no such
    repository or configuration, or when it was made with other settings than `expected`.
    """
    name = str(name)
    if Path(name).is_dir():
        facts_file = Path(name) / config_name / FACTS
        if not facts_file.is_file():
            found = sorted(path.parent.name for path in Path(name).glob(f"*/{FACTS}"))
            raise ValueError(_no_config(name, config_name, found))
        revision = None
    else:
        try:
            # Both parts from one commit, also when somebody pushes in between.
            info = HfApi(token=token).dataset_info(name, revision=revision)
            revision = info.sha
            facts_file = Path(_download(name, f"{config_name}/{FACTS}", revision, token))
        except EntryNotFoundError as error:
            paths = (file.rfilename for file in info.siblings or ())
            found = sorted(path.split("/")[0] for path in paths if path.endswith(f"/{FACTS}"))
            raise ValueError(_no_config(name, config_name, found)) from error
        except (OSError, HfHubHTTPError) as error:
            raise ValueError(f"could not read the data set {name!r} from the Hub: {error}") from error
    facts = json.loads(facts_file.read_text(encoding="utf-8"))
    config = EnclsConfig(**{**facts["config"], "codec_config": None})
    for key, value in (expected or {}).items():
        if getattr(config, key) != value:
            raise ValueError(
                f"expected features with {key}={value!r}, found {key}={getattr(config, key)!r} in {name} "
                f"({config_name}): take another configuration, or leave {key} as it was made"
            )
    windows = load_dataset(name, config_name, split="train", revision=revision, streaming=streaming, token=token)
    shape = tuple(windows.features["input_features"].shape)
    if shape != (config.num_bands, config.num_frames):
        raise ValueError(
            f"{name} ({config_name}) contradicts itself: its facts say windows of {config.num_bands} x "
            f"{config.num_frames}, its data are {shape[0]} x {shape[1]}"
        )
    return windows, config


def _no_config(name: str, config_name: str, found: Sequence[str]) -> str:
    there = f"it has {', '.join(found)}" if found else f"it is no feature data set of hf_encls (no {FACTS} in it)"
    return f"the data set {name} has no configuration {config_name!r} of features: {there}"


def _differs(repo_id: str, name: str, there: Mapping, here: Mapping) -> str:
    keys = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    changes = ", ".join(f"{key} {there.get(key)!r} there and {here.get(key)!r} here" for key in keys)
    return (
        f"{repo_id} has other features under the name {name!r} ({changes}): give these another config_name, or say "
        "that they replace what is there. Nothing was changed"
    )


def _check_windows(windows: Dataset, config: EnclsConfig) -> None:
    if set(windows.column_names) != set(COLUMNS):
        raise PublishError(
            f"expected windows of features with the columns {', '.join(COLUMNS)}, found "
            f"{', '.join(windows.column_names)}: only features are published, never audio"
        )
    shape = tuple(windows.features["input_features"].shape)
    if shape != (config.num_bands, config.num_frames):
        raise PublishError(f"expected windows of {config.num_bands} x {config.num_frames}, found {shape}")
    if not len(windows):
        raise PublishError("expected at least one window, found none")


def _write_parquet(windows: Dataset, work: Path, name: str) -> dict[str, Path]:
    row_bytes = (
        math.prod(windows.features["input_features"].shape)
        * np.dtype(windows.features["input_features"].dtype).itemsize
    )
    count = max(1, math.ceil(len(windows) * row_bytes / SHARD_BYTES))
    files = {}
    for index in range(count):
        file = work / f"train-{index:05d}-of-{count:05d}.parquet"
        windows.shard(count, index, contiguous=True).to_parquet(file, batch_size=ROWS_PER_GROUP)
        files[f"{name}/{file.name}"] = file
    return files


def _card_data(
    repo_id: str,
    revision: str,
    has_readme: bool,
    windows: Dataset,
    name: str,
    files: Mapping[str, Path],
    token: str | None,
) -> DatasetCardData:
    """The front matter: `configs` and `dataset_info` of what is there, with ours added or replaced."""
    data = DatasetCardData()
    if has_readme:
        old = DatasetCard(Path(_download(repo_id, "README.md", revision, token)).read_text(encoding="utf-8")).data
        for key in ("configs", "dataset_info"):
            if key in old:
                data[key] = old[key]
    size = sum(file.stat().st_size for path, file in files.items() if path.endswith(".parquet"))
    bytes_here = windows.data.nbytes
    split = {"name": "train", "num_bytes": bytes_here, "num_examples": len(windows)}
    info = DatasetInfo(features=windows.features, splits=[split], download_size=size, dataset_size=bytes_here)
    DatasetInfosDict({name: info}).to_dataset_card_data(data)
    MetadataConfigs({name: {"data_files": [{"split": "train", "path": f"{name}/train-*"}]}}).to_dataset_card_data(data)
    return data


def _panel_of(windows: Dataset, config: EnclsConfig) -> Panel:
    heard = np.flatnonzero(~np.asarray(windows["silent"][:]))
    row = windows[int(heard[0]) if len(heard) else 0]
    image = np.asarray(row["input_features"], np.float32)
    title = f"{config.features}: {windows.features['label'].int2str(row['label'])}"
    return feature_panel(image, config, title)


def feature_panel(image: np.ndarray, config: EnclsConfig, title: str) -> Panel:
    """An image (bands, frames) of one window for `report.save_feature_picture`, with its units."""
    duration_s = config.num_frames / config.frame_rate
    if config.features not in MEL_KINDS:
        return Panel(image, title, duration_s, "Latent channel", "Latent value")
    if config.features == "mel":  # power spans too many orders of magnitude for an eye
        image = 10 * np.log10(np.maximum(image, 1e-10))
    return Panel(image, title, duration_s, "Mel band", "Power (dB)")


def _download(repo_id: str, path: str, revision: str, token: str | None) -> str:
    return hf_hub_download(repo_id, path, repo_type="dataset", revision=revision, token=token)
