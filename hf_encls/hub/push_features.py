"""Publishing to the Hub: features that others train on. Never audio. Models: push_models.py."""

import copy
import json
import logging
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    DatasetCardData,
    HfApi,
)

from hf_encls import __version__
from hf_encls.codec.facts import CodecFacts
from hf_encls.data.columns import UNKNOWN, WINDOW, class_names, label_array
from hf_encls.data.splits import PROTOCOLS, LeakError, division_rows, enforce, leak_check, make_splits, official_folds
from hf_encls.features.extraction import feature_identity
from hf_encls.features.parquet_windows import write_windows
from hf_encls.hub.commit import Operation, Published, PublishError, push
from hf_encls.hub.pull_features import FACTS
from hf_encls.hub.repository import Repository, check_features, read_facts
from hf_encls.model.codec_encls import FAMILIES
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.report.card_files import CARD
from hf_encls.report.dataset_cards import DataSource, dataset_card
from hf_encls.report.feature_pictures import window_panel
from hf_encls.report.merging import merge, notice
from hf_encls.report.pages import adopted, generated
from hf_encls.report.pictures import Panel, save_feature_picture

logger = logging.getLogger(__name__)

VERSIONS_OF = ("transformers", "torch", "datasets", "soundfile", "soxr")
SHARD_BYTES = 256 << 20


def config_name_of(config: EnclsConfig) -> str:
    """The name of a configuration in a repository: the kind, and the codec's policy where it is not the usual one."""
    usual = FAMILIES[config.codec_family].usual_policy(config.sampling_rate)
    if config.codec_policy in (None, usual):
        return config.feature_name
    return f"{config.feature_name}_{config.codec_policy}"


@dataclass(frozen=True)
class FeatureSet:
    """Windows of features with what their card says of them: one configuration of a data set repository.

    Args:
        windows: as `extract_features` makes them.
        config: how they were made.
        source: where the audio comes from. Source and licence are kept for each configuration; what is left open is
            taken from a configuration of the same source.
        name: of the configuration. None: by the features (`config_name_of`).
        codec: what is known of the codec's training (`codec_facts`): one that was trained on these very clips is named
            so on the card.
        panels: the picture's images: one clip's mel and its latents. Without them the first window that is not silent is
            drawn.
    """

    windows: Dataset
    config: EnclsConfig
    source: DataSource
    name: str | None = None
    codec: CodecFacts | None = None
    panels: Sequence[Panel] = ()

    @property
    def config_name(self) -> str:
        """The name of the configuration in a repository."""
        return self.name or config_name_of(self.config)

    def check(self) -> None:
        """Raise `PublishError` for anything else than windows of `config` under a name that can be a folder's."""
        windows, config, columns = self.windows, self.config, self.windows.column_names
        if set(columns) - {UNKNOWN} != set(WINDOW):
            raise PublishError(
                f"expected windows of features with the columns {', '.join(WINDOW)}, found {', '.join(columns)}: only "
                "features are published, never audio"
            )
        shape, (rows, frames) = tuple(windows.features["input_features"].shape), config.stored_shape
        if shape != (rows, frames):
            raise PublishError(f"expected windows of {rows} x {frames}, found {shape}")
        if not len(windows):
            raise PublishError("expected at least one window, found none")
        if not re.fullmatch(r"[\w.-]+", self.config_name) or set(self.config_name) == {"."}:
            raise PublishError(f"expected a config_name of letters, digits, _ . and -, found {self.config_name!r}")


def push_features(
    features: FeatureSet,
    repo_id: str,
    *,
    replace: bool = False,
    overwrite: bool = False,
    private: bool | None = None,
    token: str | None = None,
) -> Published:
    """Publish windows of features as one configuration of a data set repository.

    Parquet files, a README with `configs:` and `dataset_info:`, the facts of how they were made, and a picture go in
    one commit; other configurations in the repository stay.

    What people wrote in the README stays, and what they changed in our parts of it, unless `overwrite`, which also
    means `replace`. Raises `PublishError` when the rows are not windows of their `config`, when the configuration is
    there already and holds other features or those of another data set (unless `replace`), when the repository holds
    anything else than features of this data set (unless `overwrite`), when its README cannot be merged, and when the Hub
    refuses or does not recover.
    """
    with made(features) as files:
        changes: list[Changes] = []

        def operations(api: HfApi, full_id: str, revision: str) -> list[Operation]:
            repository = Repository.look(api, full_id, "dataset", revision)
            changes[:] = [files.changes(repository, full_id, replace, overwrite)]
            return [
                *(CommitOperationAdd(path, text) for path, text in changes[0].texts.items()),
                *(CommitOperationAdd(path, str(file)) for path, file in changes[0].files.items()),
                *(CommitOperationDelete(path) for path in changes[0].gone),
            ]

        message = f"Features {features.config_name} of {features.source.name}"
        pushed = push(repo_id, "dataset", operations, message, private=private, token=token)
    changes[0].tell()
    return pushed


@dataclass(frozen=True)
class Changes:
    """What is written into a repository or a folder, by its path there, and what goes.

    `kept` is what people changed in the card, which is `where`.
    """

    texts: dict[str, bytes]
    files: dict[str, Path]
    gone: list[str]
    kept: list[str]
    where: str

    def tell(self) -> None:
        """Say what was kept."""
        if self.kept:
            logger.warning(notice(self.kept, self.where, "publishing with `overwrite=True`"))


@dataclass(frozen=True)
class MadeFiles:
    """The files of features, by their paths in a repository, and their facts."""

    features: FeatureSet
    facts: dict
    files: dict[str, Path]

    def changes(self, repository: Repository, full_id: str, replace: bool, overwrite: bool) -> Changes:
        """What makes them a part of a repository, or a folder, whose card calls it `full_id`.

        Raises `PublishError` where they may not become one.
        """
        features, name = self.features, self.features.config_name
        published = read_facts(repository)
        _check_same(repository.repo_id, published, self.facts, replace or overwrite)
        check_features(repository, published, name, features.source.name, overwrite)
        entry, entries = _joined(published, self.facts, features.source)
        card = dataset_card(full_id, entries, _card_data(repository, features, self.files))
        before = [generated(str(dataset_card(full_id, published, DatasetCardData())))] if published else []
        page, kept = merge(
            adopted(repository.page, before),
            generated(str(card)),
            overwrite=overwrite,
            always=("configs", "dataset_info"),
        )
        facts = json.dumps(entry, indent=1, ensure_ascii=False).encode()
        texts = {CARD: str(page).encode(), f"{name}/{FACTS}": facts}
        gone = [path for path in repository.paths if _is_shard(path, name) and path not in self.files]
        return Changes(texts, self.files, gone, kept, f"{CARD} of {repository.repo_id}")


@contextmanager
def made(features: FeatureSet) -> Iterator[MadeFiles]:
    """Inside, the files of features lie somewhere. Raises `PublishError` as `FeatureSet.check` does."""
    features.check()
    facts = describe_features(features)
    with tempfile.TemporaryDirectory() as work:
        yield MadeFiles(features, facts, _write_files(features, Path(work)))


def describe_features(features: FeatureSet) -> dict:
    """What `encls_features.json` says: how the features were made, and what there is of each class."""
    windows, config, source, codec = features.windows, features.config, features.source, features.codec
    names, labels = class_names(windows.features), label_array(windows)
    clips, clip = np.unique(np.asarray(windows["clip_id"][:]), return_inverse=True)
    if labels.ndim == 2:
        row, labels = np.nonzero(labels == 1)
    else:
        row = np.arange(len(labels))
    # With labels in time, a clip may have windows of several classes.
    pairs = np.unique(np.stack([clip[row], labels]), axis=1)
    num_windows, num_clips = (np.bincount(each, minlength=len(names)) for each in (labels, pairs[1]))
    return {
        "config_name": features.config_name,
        "identity": feature_identity(config),
        "config": {key: value for key, value in config.to_diff_dict().items() if key != "transformers_version"}
        | {"window_s": config.window_s, "step_s": config.step_s},
        "shape": list(config.stored_shape),
        "dtype": windows.features["input_features"].dtype,
        "classes": names,
        "class_counts": [
            {"class": name, "windows": int(w), "clips": int(c)} for name, w, c in zip(names, num_windows, num_clips)
        ],
        "num_windows": len(windows),
        "num_clips": len(clips),
        "leaks": check_protocols(windows),
        "source": source.name,
        "about_source": asdict(source),
        "codec": codec.of_training() if codec else {},  # for the cards of models, too
        "picture": True,
        "versions": {"hf_encls": __version__} | {name: version(name) for name in VERSIONS_OF},
    }


def check_protocols(windows: Dataset) -> list[dict]:
    """The leak count of every protocol that these windows can be divided by, official folds added up.

    Raises `LeakError` when `clip` or `official` would leak.
    """
    rows = division_rows(windows)
    leaks = []
    for protocol in PROTOCOLS:
        try:
            folds = official_folds(rows) if protocol == "official" else [None]
            reports = [leak_check(rows, make_splits(rows, protocol, fold=fold)) for fold in folds]
        except LeakError:
            raise
        except ValueError:
            continue  # no official division, or too few clips for this one
        for report in reports:
            enforce(report, protocol)
        counts = (sum(values) for values in zip(*(report.as_dict().values() for report in reports)))
        leaks.append({"protocol": protocol, **dict(zip(reports[0].as_dict(), counts))})
    return leaks


def _what(facts: Mapping) -> dict:
    """What must be the same for features to be replaced without `replace`: how they were made, and of what."""
    return facts["identity"] | {"source": facts["source"], "classes": facts["classes"]}


def _check_same(repo_id: str, published: Sequence[Mapping], facts: Mapping, replace: bool) -> None:
    """Raise `PublishError` where other features have the name of these and are not to be replaced."""
    for entry in published:
        if entry["config_name"] != facts["config_name"] or replace:
            continue
        before, now = _what(entry), _what(facts)
        keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        if keys:
            changes = ", ".join(f"{key} {before.get(key)!r} there and {now.get(key)!r} here" for key in keys)
            raise PublishError(
                f"{repo_id} has other features under the name {entry['config_name']!r} ({changes}): give these another name "
                "(`config_name`, or another repository), or say that they replace what is there (`replace=True`). Nothing "
                "was changed"
            )


def _joined(published: Sequence[Mapping], facts: Mapping, source: DataSource) -> tuple[dict, list[Mapping]]:
    """The facts with all that is known of their source, and those of every configuration with them."""
    for entry in published:
        source = source.completed(DataSource.of_facts(entry))
    entry = {**facts, "about_source": asdict(source)}
    kept = [earlier for earlier in published if earlier["config_name"] != entry["config_name"]]
    return entry, sorted([*kept, entry], key=lambda each: each["config_name"])


def _write_files(features: FeatureSet, work: Path) -> dict[str, Path]:
    """The picture and the parquet files, by their paths in the repository."""
    windows, name = features.windows, features.config_name
    column = windows.features["input_features"]
    count = max(1, math.ceil(len(windows) * math.prod(column.shape) * np.dtype(column.dtype).itemsize / SHARD_BYTES))
    files = {}
    for index in range(count):
        file = work / f"train-{index:05d}-of-{count:05d}.parquet"
        write_windows(windows.shard(count, index, contiguous=True), file)
        files[f"{name}/{file.name}"] = file
    panels = features.panels or [window_panel(windows, features.config)]
    return files | {f"{name}/picture.png": save_feature_picture(panels, work / "picture.png")}


def _is_shard(path: str, name: str) -> bool:
    """Whether a file of a repository is one of those that `_write_files` names so."""
    return re.fullmatch(rf"{re.escape(name)}/train-\d{{5}}-of-\d{{5}}\.parquet", path) is not None


def _card_data(repository: Repository, features: FeatureSet, files: Mapping[str, Path]) -> DatasetCardData:
    """The front matter: `configs` and `dataset_info` of what is there, with ours added or replaced."""
    windows, name = features.windows, features.config_name
    data, old = DatasetCardData(), copy.deepcopy(dict(repository.page.front))
    for key in ("configs", "dataset_info"):
        if key in old:
            data[key] = old[key]
    size = sum(file.stat().st_size for path, file in files.items() if path.endswith(".parquet"))
    bytes_here = windows.data.nbytes
    split = {"name": "train", "num_bytes": bytes_here, "num_examples": len(windows)}
    info = DatasetInfo(features=windows.features, splits=[split], download_size=size, dataset_size=bytes_here)
    ours = {"data_files": [{"split": "train", "path": f"{name}/train-*"}]}
    try:
        DatasetInfosDict({name: info}).to_dataset_card_data(data)
        before = MetadataConfigs.from_dataset_card_data(DatasetCardData(configs=copy.deepcopy(old.get("configs"))))
        MetadataConfigs({name: {**before.get(name, {}), **ours}}).to_dataset_card_data(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PublishError(
            f"expected `configs` and `dataset_info` at the top of {CARD} of {repository.repo_id} as the Hub knows them, "
            f"found a mistake ({error}): mend it there. Nothing was changed"
        ) from error
    return data
