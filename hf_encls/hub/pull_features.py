"""Reading published features: windows to train on, with neither codec nor audio."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datasets import Dataset, IterableDataset, load_dataset
from datasets import config as datasets_config
from datasets.exceptions import DatasetsError
from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    StrictDataclassError,
)

from hf_encls.codec.facts import CodecFacts
from hf_encls.codec.loading import UNTRAINED, codec_facts
from hf_encls.features.checks import check_all_windows, check_columns
from hf_encls.files.checkpoints import unreachable
from hf_encls.files.records import RecordError, read_record, shape_of
from hf_encls.model.configuration_encls import EnclsConfig

FACTS = "encls_features.json"  # beside the parquet files of each configuration
CODEC_SHAPE = {key: shape for key, shape in shape_of(CodecFacts).items() if key != "id"}  # which `config` says
FACTS_SHAPE = {
    **{"config": dict, "source": str, "codec?": (CODEC_SHAPE, None), "num_clips?": (int, None)},
    **{"about_source?": ({"expected_clips?": (int, None), "labels?": (dict, None)}, None)},
}


class PublishedFeatures(NamedTuple):
    """Windows, their configuration, the name of their source, and what is known of the codec; None where there is none."""

    windows: Dataset | IterableDataset
    config: EnclsConfig
    source: str
    codec: CodecFacts | None


def load_published(
    name: str | os.PathLike,
    config_name: str,
    *,
    revision: str | None = None,
    streaming: bool = False,
    columns: Sequence[str] | None = None,
    token: str | None = None,
) -> PublishedFeatures:
    """Windows of a published feature data set (Hub id, or folder), and what it says of them.

    The configuration has no codec in it (`codec_config` is None): training needs none. `columns` are those to read, None:
    all. Raises `ValueError` when there is no such repository or configuration; when a file of it is damaged; and when a
    window could not be trained on (`check_windows`), which of streamed windows is found out when they come.
    """
    name = str(name)
    facts, config, revision = load_facts(name, config_name, revision, token)
    # Of the Hub's data sets the library's own cache, which knows commits.
    cache = _cache_of(Path(name, config_name)) if Path(name).is_dir() else None
    where = f"{name} ({config_name})"
    chosen = {} if columns is None else {"columns": list(columns)}
    place = {"split": "train", "revision": revision, "token": token, "cache_dir": cache}
    try:
        windows = load_dataset(name, config_name, streaming=streaming, **place, **chosen)
    # The last two: of front matter that is YAML of another shape than the library takes for granted.
    except (DatasetsError, pa.ArrowException, ValueError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise ValueError(_damaged(name, config_name, error)) from error
    except (OSError, HfHubHTTPError) as error:
        raise ValueError(_unreachable(name, error)) from error
    files = [] if streaming else windows.cache_files  # none where `datasets` keeps its data in memory
    if revision is not None and files and revision not in files[0]["filename"]:
        raise ValueError(
            f"the Hub cannot be reached, and of {name} ({config_name}) the cache holds the facts of commit "
            f"{revision[:12]} and the windows of another one: try again with the network"
        )
    check_columns(windows.features, config, where, columns)
    if not streaming:
        check_all_windows(windows, where)
    return PublishedFeatures(windows, config, facts["source"], _codec_facts(facts, config.codec_id))


def load_facts(
    name: str, config_name: str, revision: str | None = None, token: str | None = None
) -> tuple[dict, EnclsConfig, str | None]:
    """What a configuration says of itself, its settings, and the commit that says it, None for a folder.

    `num_clips` are those that the windows were cut from. Raises `ValueError` where there is no such configuration.
    """
    if Path(name).is_dir():
        facts_file = Path(name) / config_name / FACTS
        if not facts_file.is_file():
            names = sorted(path.parent.name for path in Path(name).glob(f"*/{FACTS}"))
            raise ValueError(_no_config(name, config_name, names))
        revision = None
    else:
        facts_file = _facts_file(name, config_name, revision, token)
        revision = facts_file.parents[1].name  # windows of the same commit, also when somebody pushes in between
    return *_read_facts(facts_file), revision


def expected_clips(facts: Mapping) -> int | None:
    """How many clips the whole of the data set has that features were made of, as far as they say."""
    return (facts.get("about_source") or {}).get("expected_clips")


def check_expected(config: EnclsConfig, expected: Mapping, where: str) -> None:
    """Raise `ValueError` where the configuration of the features in `where` has other settings than `expected`."""
    for key, value in expected.items():
        actual = getattr(config, key)
        # Lengths were rounded to whole frames when the features were made.
        if abs(actual - value) * config.frame_rate > 0.5 if key.endswith("_s") else actual != value:
            todo = f"leave `{key}` out" if actual is None else f"ask for `{key}={actual}`"
            raise ValueError(
                f"expected features with {key}={value!r}, found {key}={actual!r} in {where}: {todo}, or take other features"
            )


def _cache_of(folder: Path) -> str:
    """Where `datasets` keeps what it reads from a local folder: another place for other files.

    Its own cache knows such a folder by its name and its card alone, and would give the rows of files that were replaced
    since. A new file has another time of change, even where its date was kept.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.parquet")):
        facts = file.stat()
        digest.update(f"{file} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_ino}\n".encode())
    return str(Path(datasets_config.HF_DATASETS_CACHE, f"encls-{digest.hexdigest()[:16]}"))


def _facts_file(name: str, config_name: str, revision: str | None, token: str | None) -> Path:
    """The facts of a configuration on the Hub; where that cannot be reached, those that are in the cache."""
    place = {"filename": f"{config_name}/{FACTS}", "repo_type": "dataset", "revision": revision}
    try:
        reason = None if constants.HF_HUB_OFFLINE else unreachable(hf_hub_url(name, **place), token)
    except HfHubHTTPError:
        reason = None  # the download will say it
    except HFValidationError as error:
        raise ValueError(_unreachable(name, error)) from error
    if reason and not isinstance(try_to_load_from_cache(name, **place), str):
        raise ValueError(f"{_unreachable(name, reason)}, and there is no copy of it in the cache")
    try:
        return Path(hf_hub_download(name, **place, token=token, local_files_only=bool(reason)))
    except LocalEntryNotFoundError as error:
        raise ValueError(_unreachable(name, error)) from error
    except EntryNotFoundError as error:
        paths = HfApi(token=token).list_repo_files(name, repo_type="dataset", revision=revision)
        names = sorted(path.split("/")[0] for path in paths if path.endswith(f"/{FACTS}"))
        raise ValueError(_no_config(name, config_name, names)) from error
    except (OSError, HfHubHTTPError) as error:
        raise ValueError(_unreachable(name, error)) from error


def _unreachable(name: str, error: Exception | str) -> str:
    return f"could not read the data set {name!r} from the Hub: {error}"


def _damaged(name: str, config_name: str, error: Exception) -> str:
    """A message for parquet files that cannot be read; of a local folder, with the first that is at fault."""
    reason = " ".join(str(error.__cause__ or error).split())
    for path in sorted(Path(name, config_name).glob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                for _ in file.iter_batches():
                    pass
        except (pa.ArrowException, OSError) as fault:
            reason = f"{path} is damaged ({' '.join(str(fault).split())})"
            break
    return f"could not read the windows of {name} ({config_name}): {reason}; get the data set anew"


def _read_facts(file: Path) -> tuple[dict, EnclsConfig]:
    """What is known of the features, and their settings. Raises `ValueError` where the file is damaged."""
    try:
        facts = read_record(file, FACTS_SHAPE)
    except RecordError as error:
        raise RecordError(f"{error}: get the data set anew") from error
    try:
        config = EnclsConfig(**{**facts["config"], "codec_config": None})
    except (ValueError, TypeError, AttributeError, RecursionError, StrictDataclassError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ValueError(
            f"{file} is damaged, it does not describe features ({reason}): get the data set anew"
        ) from error
    return facts, config


def _codec_facts(facts: Mapping, name: str | None) -> CodecFacts | None:
    """What was published of the codec; of features that say nothing, what its name tells."""
    if name == UNTRAINED and not facts.get("codec"):
        return codec_facts(UNTRAINED)
    return None if name is None else CodecFacts.from_dict((facts.get("codec") or {}) | {"id": name})


def _no_config(name: str, config_name: str, names: Sequence[str]) -> str:
    content = f"it has {', '.join(names)}" if names else f"it is no feature data set of hf_encls (no {FACTS} in it)"
    return f"the data set {name} has no configuration {config_name!r} of features: {content}"
