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
from hf_encls.data.columns import WINDOW
from hf_encls.data.splits import PROTOCOLS, LeakError, division_rows, enforce, leak_check, make_splits, official_folds
from hf_encls.features.extraction import feature_identity
from hf_encls.hub.commit import Operation, Published, PublishError, push
from hf_encls.hub.pull_features import FACTS
from hf_encls.hub.push_models import push_model as push_model  # callers ask here for both
from hf_encls.hub.repository import Repository, check_features, read_facts
from hf_encls.model.codec_encls import FAMILIES
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.report.card_files import CARD
from hf_encls.report.dataset_cards import Source, dataset_card
from hf_encls.report.feature_pictures import window_panel
from hf_encls.report.merging import merge, notice
from hf_encls.report.pages import adopted, generated
from hf_encls.report.pictures import Panel, save_feature_picture

logger = logging.getLogger(__name__)

VERSIONS_OF = ("transformers", "torch", "datasets", "soundfile", "soxr")
SHARD_BYTES = 256 << 20
ROWS_PER_GROUP = 256  # what a reader of one parquet row group holds in memory at least


def config_name_of(config: EnclsConfig) -> str:
    """The name of a configuration in a repository: the kind, and the codec's policy where it is not the usual one."""
    usual = FAMILIES[config.codec_family].usual_policy(config.sampling_rate)
    if config.codec_policy in (None, usual):
        return config.feature_name
    return f"{config.feature_name}_{config.codec_policy}"


@dataclass
class MadeFeatures:
    """Windows as the files of one configuration of a data set: parquet, a picture, and the facts of how they were made."""

    name: str
    windows: Dataset
    source: Source
    facts: dict
    files: dict[str, Path]

    def changes(self, there: Repository, repo_id: str, replace: bool, overwrite: bool) -> "Changes":
        """What has to be written into a repository or folder. Raises `PublishError` where it may not be."""
        others = read_facts(there)
        for other in others:
            if other["config_name"] == self.name and _what(other) != _what(self.facts) and not (replace or overwrite):
                raise PublishError(_differs(there.repo_id, self.name, _what(other), _what(self.facts)))
        check_features(there, others, self.name, self.source.name, overwrite)
        about = self.source
        for other in others:
            about = about.completed(Source.told(other))
        own = self.facts | {"about_source": asdict(about)}
        made = [other for other in others if other["config_name"] != self.name] + [own]
        made.sort(key=lambda entry: entry["config_name"])
        card = dataset_card(repo_id, made, _card_data(there, self.windows, self.name, self.files))
        before = [generated(str(dataset_card(repo_id, others, DatasetCardData())))] if others else []
        page, kept = merge(
            adopted(there.page, before), generated(str(card)), overwrite=overwrite, always=("configs", "dataset_info")
        )
        texts = {
            CARD: str(page).encode(),
            f"{self.name}/{FACTS}": json.dumps(own, indent=1, ensure_ascii=False).encode(),
        }
        old = [path for path in there.paths if _is_shard(path, self.name) and path not in self.files]
        return Changes(texts, self.files, old, kept, f"{CARD} of {there.repo_id}")


@dataclass
class Changes:
    """Texts and files to write, by their paths, and paths that go; `kept` is what people wrote in `where`, the card."""

    texts: dict[str, bytes]
    files: dict[str, Path]
    gone: list[str]
    kept: list[str]
    where: str

    def tell(self) -> None:
        """Say what was kept."""
        if self.kept:
            logger.warning(notice(self.kept, self.where, "publishing with `overwrite=True`"))


@contextmanager
def making(
    windows: Dataset,
    config: EnclsConfig,
    source: Source,
    config_name: str | None = None,
    codec: CodecFacts | None = None,
    panels: Sequence[Panel] = (),
) -> Iterator[MadeFeatures]:
    """Inside, the files of the features are there. Arguments and errors as of `push_features`."""
    _check_windows(windows, config)
    name = config_name or config_name_of(config)
    if not re.fullmatch(r"[\w.-]+", name) or set(name) == {"."}:
        raise PublishError(f"expected a config_name of letters, digits, _ . and -, found {name!r}")
    facts = describe_features(windows, config, source, name, codec)
    with tempfile.TemporaryDirectory() as work:
        files = _write_parquet(windows, Path(work), name)
        picture = save_feature_picture(panels or [window_panel(windows, config)], Path(work) / "picture.png")
        yield MadeFeatures(name, windows, source, facts, files | {f"{name}/picture.png": picture})


def push_features(
    windows: Dataset,
    config: EnclsConfig,
    repo_id: str,
    source: Source,
    *,
    config_name: str | None = None,
    codec: CodecFacts | None = None,
    panels: Sequence[Panel] = (),
    replace: bool = False,
    overwrite: bool = False,
    private: bool | None = None,
    token: str | None = None,
) -> Published:
    """Publish windows of features (as `extract_features` makes them) as one configuration of a data set repository.

    Parquet files, a README with `configs:` and `dataset_info:`, the facts of how they were made, and a picture go in
    one commit; other configurations in the repository stay. `codec` is what is known of its training (`codec_facts`):
    a codec that was trained on these very clips is named so on the card. `panels` are the picture's images: one
    clip's mel and its latents; without them the first window that is not silent is drawn. Source and licence are kept
    for each configuration; what `source` leaves open is taken from a configuration of the same source.

    What people wrote in the README stays, and what they changed in our parts of it, unless `overwrite`, which also
    means `replace`. Raises `PublishError` when the rows are not windows of `config`, when the configuration is there
    already and holds other features or those of another data set (unless `replace`), when the repository holds anything
    else than features of this data set (unless `overwrite`), when its README cannot be merged, and when the Hub refuses
    or does not recover.
    """
    with making(windows, config, source, config_name, codec, panels) as made:
        last = []

        def operations(api: HfApi, found: str, revision: str) -> list[Operation]:
            there = Repository.look(api, found, "dataset", revision)
            changes = made.changes(there, found, replace, overwrite)
            last[:] = [changes]
            return [
                *(CommitOperationAdd(path, text) for path, text in changes.texts.items()),
                *(CommitOperationAdd(path, str(file)) for path, file in changes.files.items()),
                *(CommitOperationDelete(path) for path in changes.gone),
            ]

        message = f"Features {made.name} of {source.name}"
        published = push(repo_id, "dataset", operations, message, private=private, token=token)
    last[0].tell()
    return published


def describe_features(
    windows: Dataset, config: EnclsConfig, source: Source, config_name: str, codec: CodecFacts | None = None
) -> dict:
    """What `encls_features.json` says: how the features were made, and what there is of each class."""
    names = windows.features["label"].names
    labels = np.asarray(windows["label"][:])
    clips, clip = np.unique(np.asarray(windows["clip_id"][:]), return_inverse=True)
    pairs = np.unique(
        np.stack([clip, labels]), axis=1
    )  # with labels in time, a clip may have windows of several classes
    num_windows, num_clips = (np.bincount(each, minlength=len(names)) for each in (labels, pairs[1]))
    return {
        "config_name": config_name,
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
    found = []
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
        found.append({"protocol": protocol, **dict(zip(reports[0].as_dict(), counts))})
    return found


def _what(facts: Mapping) -> dict:
    """What must be the same for features to be replaced unasked: how they were made, and of what."""
    return facts["identity"] | {"source": facts["source"], "classes": facts["classes"]}


def _differs(repo_id: str, name: str, there: Mapping, here: Mapping) -> str:
    keys = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    changes = ", ".join(f"{key} {there.get(key)!r} there and {here.get(key)!r} here" for key in keys)
    return (
        f"{repo_id} has other features under the name {name!r} ({changes}): give these another name (`config_name`, or "
        "another repository), or say that they replace what is there (`replace=True`). Nothing was changed"
    )


def _check_windows(windows: Dataset, config: EnclsConfig) -> None:
    if set(windows.column_names) != set(WINDOW):
        raise PublishError(
            f"expected windows of features with the columns {', '.join(WINDOW)}, found "
            f"{', '.join(windows.column_names)}: only features are published, never audio"
        )
    shape, (rows, frames) = tuple(windows.features["input_features"].shape), config.stored_shape
    if shape != (rows, frames):
        raise PublishError(f"expected windows of {rows} x {frames}, found {shape}")
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


def _is_shard(path: str, name: str) -> bool:
    """Whether a file of a repository is one of those that `_write_parquet` names so."""
    return re.fullmatch(rf"{re.escape(name)}/train-\d{{5}}-of-\d{{5}}\.parquet", path) is not None


def _card_data(there: Repository, windows: Dataset, name: str, files: Mapping[str, Path]) -> DatasetCardData:
    """The front matter: `configs` and `dataset_info` of what is there, with ours added or replaced."""
    data, old = DatasetCardData(), copy.deepcopy(dict(there.page.front))
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
            f"expected `configs` and `dataset_info` at the top of {CARD} of {there.repo_id} as the Hub knows them, found a "
            f"mistake ({error}): mend it there. Nothing was changed"
        ) from error
    return data
