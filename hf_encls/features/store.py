"""Windows of features in memory or on disk, handed out as ready batches."""

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel

from hf_encls.data.columns import label_array
from hf_encls.fast.memory import sent
from hf_encls.model.codec_encls import codec_adapter

logger = logging.getLogger(__name__)

ROWS_PER_READ = 256  # windows that are taken at a time where all of them are gone over


class Windows:
    """The windows of a feature data set as one block of memory, or on disk where they are too many for it.

    Args:
        features: a data set with the columns of `extract_features`; its Arrow buffers are read without conversion.
        memory_limit_bytes: larger sets stay on disk (memory-mapped); None puts everything into memory.
        device: where the block lies; to an accelerator only the numbers of a batch's rows are copied. Windows that stay
            on disk are handed out on the host.
        codebooks: (K, entries, C), for windows of codes: they stay codes in memory and are embedded as they are taken.
    """

    def __init__(
        self,
        features: Dataset,
        memory_limit_bytes: int | None = None,
        device: torch.device | str | None = None,
        codebooks: torch.Tensor | None = None,
    ):
        if features._indices is not None:
            features = features.flatten_indices()
        self.views = arrow_windows(
            features.data.column("input_features"), tuple(features.features["input_features"].shape)
        )
        self.ends = np.cumsum([len(view) for view in self.views])
        self.clip_ids = np.asarray(features["clip_id"][:])
        self.starts = np.asarray(features["start"][:], np.float64) if "start" in features.column_names else None
        self.silent = np.asarray(features["silent"][:]) if "silent" in features.column_names else None
        self.nbytes = sum(view.nbytes for view in self.views)
        self.codebooks = None if codebooks is None else codebooks.to(device or "cpu")
        self.block = None
        if memory_limit_bytes is None or self.nbytes <= memory_limit_bytes:
            self.block = torch.empty(len(features), *self.views[0].shape[1:], dtype=_torch_dtype(self.views[0].dtype))
            for view, end in zip(self.views, self.ends, strict=True):
                self.block[end - len(view) : end] = torch.from_numpy(np.array(view))
            self.block = self.block.to(device) if device is not None else self.block
        else:
            logger.warning(
                "%.1f GB of features are more than the %.1f GB allowed: they are read from disk as they are needed",
                self.nbytes / 1e9,
                memory_limit_bytes / 1e9,
            )
        self.device = torch.device("cpu") if self.block is None else self.block.device
        # Classes (n,), or of several labels at once numbers from 0 to 1 (n, L), as the loss takes them.
        self.labels = torch.from_numpy(label_array(features)).to(self.device)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        """(n,) row numbers -> windows (n, C, T), in the precision they are stored in; codes as float32 embeddings."""
        windows = self._stored(rows)
        return windows if self.codebooks is None else embed(windows, self.codebooks)

    def _stored(self, rows: Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        rows = torch.as_tensor(rows)
        if self.block is not None:
            return self.block.index_select(0, rows.to(self.block.device))
        rows = rows.cpu().numpy()
        out = np.empty((len(rows), *self.views[0].shape[1:]), self.views[0].dtype)
        parts = np.searchsorted(self.ends, rows, side="right")
        # Row by row into its place: an index of rows would copy each window twice.
        from_the_end = rows - self.ends[parts]
        for place, (part, row) in enumerate(zip(parts.tolist(), from_the_end.tolist(), strict=True)):
            out[place] = self.views[part][row]
        return torch.from_numpy(out)


def codebooks_of(codec: PreTrainedModel | None, num_codebooks: int) -> torch.Tensor:
    """The first codebooks of a codec, (K, entries, C). Raises `ValueError` where there is none."""
    if codec is None:
        raise ValueError("expected the codec of windows of codes, found none: give it as `codec`")
    with torch.no_grad():
        return codec_adapter(codec).codebook_entries(codec, num_codebooks).float().cpu()


def embed(codes: torch.Tensor, codebooks: torch.Tensor) -> torch.Tensor:
    """Codes (n, K, T) -> (n, C, T): the sums of their codebook entries, as the model's own frontend makes them."""
    total = 0
    for k, book in enumerate(codebooks):
        total = total + nn.functional.embedding(codes[:, k].to(book.device).long(), book)
    return total.transpose(1, 2)


class FeatureStore(torch.utils.data.Dataset):
    """Some rows of `Windows` as a data set that hands out ready batches (`__getitems__`)."""

    def __init__(self, windows: Windows, rows: np.ndarray):
        self.windows = windows
        self.rows = torch.as_tensor(np.asarray(rows, dtype=np.int64)).to(windows.device)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        batch = self.__getitems__([index])
        return {name: value[0] for name, value in batch.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        rows = self.rows[sent(torch.as_tensor(indices), self.rows.device)]
        return {"input_features": self.windows.take(rows), "labels": self.windows.labels[rows]}

    def rows_from(self, first: int, count: int) -> dict[str, torch.Tensor]:
        """The batch of `count` windows in the order of `labels`, from the place `first` on."""
        rows = self.rows[first : first + count]
        return {"input_features": self.windows.take(rows), "labels": self.windows.labels[rows]}

    @property
    def labels(self) -> np.ndarray:
        """True classes (n,), or which of them each window has (n, L): 1, 0, or NaN where it is unknown."""
        return self.windows.labels[self.rows].cpu().numpy()

    @property
    def clip_ids(self) -> np.ndarray:
        """Clip of each window (n,)."""
        return self.windows.clip_ids[self.rows.cpu().numpy()]

    @property
    def silent(self) -> np.ndarray | None:
        """Which windows are pure silence (n,), where it is known."""
        return None if self.windows.silent is None else self.windows.silent[self.rows.cpu().numpy()]

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation (C,) of each band over these windows and their frames, in float64 inside.

        Two passes: the difference of large squares would drown the small deviations of power mel.
        """
        parts = self.rows.split(ROWS_PER_READ)
        count = len(self) * self.windows.views[0].shape[2]
        mean = sum(self.windows.take(part).double().sum(dim=(0, 2)) for part in parts) / count
        square = sum((self.windows.take(part).double() - mean[:, None]).square().sum(dim=(0, 2)) for part in parts)
        return mean.float(), (square / count).sqrt().float()


class NeighbourStore(FeatureStore):
    """As `FeatureStore`; beside each window it hands out one that touches it or overlaps it in its clip.

    `following` is the later one of the two, and begins `shift` frames after `input_features`. A window comes with the
    one after it, the last of a clip with the one before it; one that has neither with itself and a shift of 0. Windows of
    mel that touch have a seam: the frames that would lie across it are in neither.
    """

    def __init__(self, windows: Windows, rows: np.ndarray, window_s: float, frame_rate: float):
        super().__init__(windows, rows)
        # A pair has one label: of recordings with labels in time, the next window may have another.
        labels = np.unique(np.nan_to_num(self.labels, nan=-1), axis=0, return_inverse=True)[1]
        clips = np.unique(self.clip_ids, return_inverse=True)[1] * (1 + np.max(labels, initial=0)) + labels
        first, second, shift = neighbours(clips, windows.starts[self.rows.cpu().numpy()], window_s, frame_rate)
        self.first, self.second = self.rows[first], self.rows[second]
        self.shift = torch.from_numpy(shift).clamp(max=windows.views[0].shape[2]).to(self.rows.device)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        at = sent(torch.as_tensor(indices), self.rows.device)
        return {
            "input_features": self.windows.take(self.first[at]),
            "following": self.windows.take(self.second[at]),
            "shift": self.shift[at],
            "labels": self.windows.labels[self.rows[at]],
        }


def neighbours(
    clip_ids: np.ndarray, starts: np.ndarray, window_s: float, frame_rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of windows (n,) that touch or overlap in their clip: the earlier, the later, and the frames between them.

    Each window stands in the pair of its own place: as the earlier one where something follows it, and of what does the
    latest. `starts` are in seconds, `frame_rate` in frames per second; the frames between are whole ones, as nearly.
    """
    clip = np.unique(clip_ids, return_inverse=True)[1]
    half = 0.5 / frame_rate  # starts are rounded
    place = starts + clip * (starts.max() + 2 * window_s + 1)  # clips lie apart: no window reaches into another
    order = np.argsort(place, kind="stable")
    position = np.argsort(order, kind="stable")
    ordered = place[order]
    after = np.searchsorted(ordered, place + window_s + half, side="right") - 1
    before = np.searchsorted(ordered, place - window_s - half, side="left")
    follows = ordered[after] > place + half
    first, second = order[np.where(follows, position, before)], order[np.where(follows, after, position)]
    return first, second, np.round((starts[second] - starts[first]) * frame_rate).astype(np.int64)


def arrow_windows(column: pa.ChunkedArray, shape: tuple[int, int]) -> list[np.ndarray]:
    """Windows (n, C, T) over Arrow's own buffers, one array for each chunk of their column; nothing is copied."""
    views = []
    for chunk in column.chunks:
        storage = chunk.storage if hasattr(chunk, "storage") else chunk
        if len(storage) == 0:
            continue
        values = storage.flatten().flatten().to_numpy(zero_copy_only=True)
        if values.dtype == np.uint16:  # codes: PyTorch cannot index uint16, and they are far below 2**15
            values = values.view(np.int16)
        views.append(values.reshape(-1, *shape))
    return views


def _torch_dtype(dtype: np.dtype) -> torch.dtype:
    return {"float16": torch.float16, "float32": torch.float32, "int16": torch.int16}[dtype.name]
