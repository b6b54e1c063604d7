"""Training on published windows that are never all here: read from the Hub as a stream, epoch by epoch.

Which window belongs to training, validation or test is decided on the small columns, which are read first. The windows
themselves then pass by in row groups; each part keeps its own.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, Features, IterableDataset

from hf_encls.data.columns import label_array, label_rows
from hf_encls.features.checks import check_values, check_windows
from hf_encls.features.mixing import ROWS_PER_BLOCK, Block, StreamedRow, mixed
from hf_encls.features.parquet_windows import WindowGroup, window_groups
from hf_encls.features.store import arrow_windows, embed
from hf_encls.model.statistics_encls import moments

BUFFER_BYTES = 256 << 20  # of windows that are mixed with each other
STREAM = "the stream of windows"  # what errors call a data set whose name was not given


def small_table(stream: IterableDataset, where: str = STREAM) -> Dataset:
    """The columns that say what a window is, of all windows, in the stream's order. `stream` has only those.

    `where` names the data set in errors, as in `readable`.
    """
    tables = list(readable(stream, 10_000, where))
    if not tables:
        raise ValueError(f"expected windows in {where}, found none: take other data")
    features = stream.features
    table = pa.concat_tables(tables).cast(features.arrow_schema)
    return Dataset(table)


def readable(
    stream: IterableDataset, batch_size: int, where: str = STREAM, codebook_size: int | None = None
) -> Iterator[pa.Table]:
    """Tables of at most `batch_size` windows as they come, codes of codebooks of `codebook_size` entries.

    Raises `ValueError` for damaged files and windows, with `where`, the name of the data set.
    """
    row = 0
    with _naming(where):
        for table in stream.with_format("arrow").iter(batch_size=batch_size):
            check_windows(table, stream.features, where, row, codebook_size)
            yield table
            row += len(table)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Inside, files that are damaged or out of reach raise `ValueError` with the name of the data set."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the system's: it names the file itself
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{where}: a file of windows is damaged or out of reach ({reason}): get the data set anew"
        ) from error


class StreamedPart(torch.utils.data.IterableDataset):
    """Some rows of a stream of windows; it knows their labels and clips before they come.

    Args:
        stream: the published windows.
        table: their small columns, from `small_table`.
        rows: which rows are of this part.
        shuffle_seed: None leaves them in order. Otherwise row groups come in another order in each epoch, and their
            windows are mixed in a buffer of `BUFFER_BYTES`.
        codebooks: (K, entries, C), for windows of codes.
        where: the data set's name, for errors.
    """

    def __init__(
        self,
        stream: IterableDataset,
        table: Dataset,
        rows: np.ndarray,
        shuffle_seed: int | None = None,
        codebooks: torch.Tensor | None = None,
        where: str = STREAM,
    ):
        self.where = where
        rows = np.sort(rows)
        labels, clip_ids = label_array(table), np.asarray(table["clip_id"][:])
        self.labels, self.clip_ids = labels[rows], clip_ids[rows]
        self.silent = np.asarray(table["silent"][:])[rows] if "silent" in table.column_names else None
        self.shuffle_seed, self.codebooks = shuffle_seed, codebooks
        self.epoch = 0
        with _naming(where):
            groups = window_groups(stream)
        if groups is not None and sum(group.rows for group in groups) == len(table):
            self._source = _Groups(stream.features, groups, np.isin(np.arange(len(table)), rows), labels, clip_ids)
        else:
            keys = _keys(self.clip_ids, np.asarray(table["start"][:], np.float32)[rows])
            self._source = _Tables(stream.reshard(), np.sort(keys), self.labels, codebooks)

    def __len__(self) -> int:
        return len(self.labels)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next: each has an order of its own."""
        self.epoch = epoch

    def in_order(self) -> "StreamedPart":
        """The same windows in the order of `labels` and `clip_ids`, in every epoch."""
        part = copy.copy(self)
        part.shuffle_seed = None
        return part

    def __iter__(self) -> Iterator[StreamedRow]:
        """The windows one by one. Raises `ValueError` in a worker of a `DataLoader`: each would yield all of them."""
        if torch.utils.data.get_worker_info() is not None:
            raise ValueError("expected a DataLoader with num_workers=0, found workers: each would yield every window")
        if self.shuffle_seed is None:
            for windows, labels in self._blocks(None):
                yield from self._rows(windows, labels)
            return
        random = np.random.default_rng([self.shuffle_seed, self.epoch])
        for windows, labels in mixed(self._blocks(self.shuffle_seed + self.epoch), random, BUFFER_BYTES):
            yield from self._rows(windows, labels)

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation (C,) of each band, as `FeatureStore.statistics`, in one pass."""
        mean, deviation = moments(
            self._embedded(windows).double().transpose(0, 1) for windows, _ in self._blocks(None)
        )
        return mean.float(), deviation.float()

    def _blocks(self, seed: int | None) -> Iterator[Block]:
        """The windows of this part as they are stored; with a seed, row groups come in another order."""
        with _naming(self.where):
            yield from self._source.blocks(seed, self.where)

    def _rows(self, windows: torch.Tensor, labels: torch.Tensor) -> Iterator[StreamedRow]:
        for some, those in zip(windows.split(ROWS_PER_BLOCK), labels.split(ROWS_PER_BLOCK)):
            block = {"input_features": self._embedded(some), "labels": those}
            for at in range(len(those)):
                yield StreamedRow(block, at)

    def _embedded(self, windows: torch.Tensor) -> torch.Tensor:
        return windows if self.codebooks is None else embed(windows, self.codebooks)


class _Tables:
    """Blocks as `datasets` decodes them. A window is known by its clip and start, wherever it comes by."""

    def __init__(self, stream: IterableDataset, keys: np.ndarray, labels: np.ndarray, codebooks: torch.Tensor | None):
        self.stream = stream  # a shard for each row group
        self.keys, self.several = keys, labels.shape[1] if labels.ndim == 2 else None
        self.codebook_size = None if codebooks is None else codebooks.shape[1]

    def blocks(self, seed: int | None, where: str) -> Iterator[Block]:
        if not len(self.keys):
            return
        shape = tuple(self.stream.features["input_features"].shape)
        stream = self.stream if seed is None else in_another_order(self.stream, seed)
        for table in readable(stream, ROWS_PER_BLOCK, where, self.codebook_size):
            keys = _keys(table["clip_id"].to_numpy(), table["start"].to_numpy())
            ours = self.keys[np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)] == keys
            if not ours.any():
                continue
            windows = np.concatenate(arrow_windows(table["input_features"], shape))[ours]
            labels = table["label"].to_numpy() if self.several is None else label_rows(table, self.several)
            yield torch.from_numpy(windows), torch.from_numpy(labels[ours])


class _Groups:
    """The same blocks, from where they lie in their files. `ours` says which rows are taken (n,)."""

    def __init__(
        self,
        features: Features,
        groups: Sequence[WindowGroup],
        ours: np.ndarray,
        labels: np.ndarray,
        clip_ids: np.ndarray,
    ):
        self.shape, self.dtype = tuple(features["input_features"].shape), features["input_features"].dtype
        self.groups, self.ours, self.labels, self.clip_ids = groups, ours, labels, clip_ids
        self.starts = np.cumsum([0, *(group.rows for group in groups)])

    def blocks(self, seed: int | None, where: str) -> Iterator[Block]:
        numbers = range(len(self.groups))
        if seed is not None:
            # The library draws the order, as it does for what it reads itself.
            listed = IterableDataset.from_generator(_each, gen_kwargs={"numbers": list(numbers)})
            numbers = (row["number"] for row in in_another_order(listed, seed))
        rest, rows = np.empty((0, *self.shape), self.dtype), np.empty(0, np.int64)
        for number in numbers:
            first, last = self.starts[number : number + 2]
            windows, at = self._read(number, where), np.arange(first, last)
            if len(rest):
                windows, at = np.concatenate([rest, windows]), np.concatenate([rows, at])
            # Blocks are of `ROWS_PER_BLOCK` rows, whatever the row groups are.
            whole = len(at) // ROWS_PER_BLOCK * ROWS_PER_BLOCK
            for start in range(0, whole, ROWS_PER_BLOCK):
                yield from self._taken(windows[start : start + ROWS_PER_BLOCK], at[start : start + ROWS_PER_BLOCK])
            rest, rows = windows[whole:], at[whole:]
        yield from self._taken(rest, rows)

    def _read(self, number: int, where: str) -> np.ndarray:
        windows, first = self.groups[number].read(self.shape, self.dtype), self.starts[number]
        clips = self.clip_ids[first : first + self.groups[number].rows]
        check_values(windows, self.shape, where, first, clips)
        return windows if isinstance(windows, np.ndarray) else np.concatenate(arrow_windows(windows, self.shape))

    def _taken(self, windows: np.ndarray, rows: np.ndarray) -> Iterator[Block]:
        ours = self.ours[rows]
        if not ours.any():
            return
        if not ours.all():
            windows, rows = windows[ours], rows[ours]
        yield torch.from_numpy(windows), torch.from_numpy(self.labels[rows])


def _each(numbers: list[int]) -> Iterator[dict[str, int]]:
    for number in numbers:
        yield {"number": number}


def in_another_order(stream: IterableDataset, seed: int) -> IterableDataset:
    """Its shards mixed; single windows are mixed elsewhere, without copies into Python objects.

    One shard at a time: several ended each epoch with a pause of five seconds.
    """
    return stream.shuffle(seed=seed, buffer_size=1, max_buffer_input_shards=1)


def _keys(clip_ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) int64, one for each window; the same within a process."""
    return np.fromiter((hash(pair) for pair in zip(clip_ids.tolist(), starts.tolist())), np.int64, len(clip_ids))
