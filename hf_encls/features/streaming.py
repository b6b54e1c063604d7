"""Training on published windows that are never all here: read from the Hub as a stream, epoch by epoch.

Which window belongs to training, validation or test is decided on the small columns, which are read first. The windows
themselves then pass by in row groups; each part keeps its own.
"""

import copy
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, IterableDataset

from hf_encls.data.columns import label_array, label_rows
from hf_encls.features.checks import check_windows
from hf_encls.features.store import arrow_windows, embed

BUFFER_BYTES = 256 << 20  # of windows that are mixed with each other
ROWS_PER_READ = 256
STREAM = "the stream of windows"  # what errors call a data set whose name was not given


def small_table(stream: IterableDataset, where: str = STREAM) -> Dataset:
    """The columns that say what a window is, of all windows, in the stream's order. `stream` has only those.

    `where` names the data set in errors, as in `readable`.
    """
    tables = list(readable(stream, 10_000, where))
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
    try:
        for table in stream.with_format("arrow").iter(batch_size=batch_size):
            check_windows(table, stream.features, where, row, codebook_size)
            yield table
            row += len(table)
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
        self.stream = stream.reshard()  # a shard for each row group
        rows = np.sort(rows)
        self.labels = label_array(table)[rows]
        self.clip_ids = np.asarray(table["clip_id"][:])[rows]
        self.silent = np.asarray(table["silent"][:])[rows] if "silent" in table.column_names else None
        self.shuffle_seed, self.codebooks = shuffle_seed, codebooks
        self.epoch = 0
        # A window is known by its clip and start, wherever it comes by.
        self._keys = np.sort(_keys(self.clip_ids, np.asarray(table["start"][:], np.float32)[rows]))

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

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """The windows one by one. Raises `ValueError` in a worker of a `DataLoader`: each would yield all of them."""
        if torch.utils.data.get_worker_info() is not None:
            raise ValueError("expected a DataLoader with num_workers=0, found workers: each would yield every window")
        if self.shuffle_seed is None:
            for windows, labels in self._blocks(self.stream):
                yield from self._rows(windows, labels)
            return
        # buffer_size=1: the library mixes the order of the row groups; single windows are mixed below, without copies
        # into Python objects. One row group at a time: several ended each epoch with a pause of five seconds.
        seed = self.shuffle_seed + self.epoch
        stream = self.stream.shuffle(seed=seed, buffer_size=1, max_buffer_input_shards=1)
        random = np.random.default_rng([self.shuffle_seed, self.epoch])
        blocks: list[tuple[torch.Tensor, torch.Tensor]] = []
        for block in self._blocks(stream):
            blocks.append(block)
            if sum(windows.nbytes for windows, _ in blocks) >= BUFFER_BYTES:
                windows, labels = self._mixed(blocks, random)
                half = len(windows) // 2
                yield from self._rows(windows[:half], labels[:half])
                blocks = [(windows[half:], labels[half:])]
        if blocks:
            yield from self._rows(*self._mixed(blocks, random))

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation (C,) of each band, as `FeatureStore.statistics`, in one pass.

        Blocks are joined by Chan, Golub and LeVeque's formula: sums of squares would drown small deviations.
        """
        count, mean, square = 0, 0.0, 0.0
        for windows, _ in self._blocks(self.stream):
            windows = self._embedded(windows).double()
            added = windows.shape[0] * windows.shape[2]
            if not added:
                continue
            block_mean = windows.mean(dim=(0, 2))
            delta = block_mean - mean
            square = (
                square
                + (windows - block_mean[:, None]).square().sum(dim=(0, 2))
                + delta**2 * (count * added / (count + added))
            )
            mean = mean + delta * (added / (count + added))
            count += added
        return mean.float(), (square / count).sqrt().float()

    def _blocks(self, stream: IterableDataset) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Windows of this part (n, C, T) as they are stored, and their labels (n,), block by block."""
        shape = tuple(stream.features["input_features"].shape)
        size = None if self.codebooks is None else self.codebooks.shape[1]
        for table in readable(stream, ROWS_PER_READ, self.where, size):
            keys = _keys(table["clip_id"].to_numpy(), table["start"].to_numpy())
            ours = self._keys[np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)] == keys
            if not ours.any():
                continue
            windows = np.concatenate(arrow_windows(table["input_features"], shape))[ours]
            if self.labels.ndim == 2:
                labels = label_rows(table, self.labels.shape[1])[ours]
            else:
                labels = table["label"].to_numpy()[ours]
            yield torch.from_numpy(windows), torch.from_numpy(labels)

    def _mixed(self, blocks: list, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        windows, labels = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        order = torch.from_numpy(random.permutation(len(windows)))
        return windows[order], labels[order]

    def _rows(self, windows: torch.Tensor, labels: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
        for some, those in zip(windows.split(ROWS_PER_READ), labels.split(ROWS_PER_READ)):
            for window, label in zip(self._embedded(some), those):
                yield {"input_features": window, "labels": label}

    def _embedded(self, windows: torch.Tensor) -> torch.Tensor:
        return windows if self.codebooks is None else embed(windows, self.codebooks)


def _keys(clip_ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n,) int64, one for each window; the same within a process."""
    return np.fromiter((hash(pair) for pair in zip(clip_ids.tolist(), starts.tolist())), np.int64, len(clip_ids))
