"""Whether windows that somebody else computed can be trained on; what cannot is named by its row and clip."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from datasets import Array2D, ClassLabel, Dataset, Features, List, Value

from hf_encls.data.columns import OPTIONAL, UNKNOWN, class_names
from hf_encls.features.extraction import feature_columns
from hf_encls.features.store import arrow_windows
from hf_encls.model.configuration_encls import EnclsConfig

ROWS_PER_CHECK = 1024  # at a time: windows of large sets lie on disk
KNOWN_DTYPES = ("float16", "float32", "uint16")


def check_columns(features: Features, config: EnclsConfig, where: str, chosen: Sequence[str] | None = None) -> None:
    """Raise `ValueError` where a column that features of `config` have is missing, or of another kind or shape.

    `chosen` are the columns that were asked for, None: all.
    """
    label = features.get("label")
    kind = label.feature if isinstance(label, List) else label
    if (chosen is None or "label" in chosen) and not (isinstance(kind, ClassLabel) and kind.names):
        raise ValueError(
            f"expected a column label with the names of the classes in {where}, found {label}: take other data"
        )
    for name, expected in feature_columns(config, label).items():
        if (chosen is not None and name not in chosen) or (name in OPTIONAL and name not in features):
            continue
        column = features.get(name)
        if column is None:
            raise ValueError(f"expected a column {name} in {where}, found {', '.join(features)}: take other data")
        if name == "input_features" and isinstance(column, Array2D) and tuple(column.shape) != config.stored_shape:
            raise ValueError(
                f"{where} contradicts itself: its facts say windows of {config.stored_shape[0]} x "
                f"{config.stored_shape[1]}, its data are {column.shape[0]} x {column.shape[1]}"
            )
        if type(column) is not type(expected) or (name == "input_features" and column.dtype not in KNOWN_DTYPES):
            raise ValueError(f"expected {name} as {expected} in {where}, found {column}: take other data")
        if isinstance(expected, Value) and _kind(column) != _kind(expected):
            raise ValueError(f"expected {name} as {expected.dtype} in {where}, found {column.dtype}: take other data")


def _kind(value: Value) -> str:
    """What a column holds, whatever its precision."""
    dtype = value.dtype.removeprefix("large_")
    return "number" if dtype.startswith(("int", "uint", "float")) else dtype


def check_all_windows(windows: Dataset, where: str, codebook_size: int | None = None) -> None:
    """As `check_windows`, for all of a data set that is called `where`."""
    row = 0
    for batch in windows.data.table.to_batches(max_chunksize=ROWS_PER_CHECK):
        check_windows(pa.table(batch), windows.features, where, row, codebook_size)
        row += len(batch)


def check_groups(windows: Dataset, where: str) -> None:
    """Raise `ValueError` where windows of one clip are of several groups: no protocol could keep them together."""
    groups: dict[str, str] = {}
    for row, (clip, group) in enumerate(zip(windows["clip_id"][:], windows["group"][:], strict=True)):
        if groups.setdefault(clip, group) != group:
            raise ValueError(
                f"{where}, row {row}: expected windows of the clip {clip!r} in one group, found {groups[clip]!r} and "
                f"{group!r}: these features are damaged, take other ones"
            )


def check_windows(
    table: pa.Table, features: Features, where: str, first_row: int = 0, codebook_size: int | None = None
) -> None:
    """Raise `ValueError` for a window (a row of `table`) that could not be trained on.

    `first_row` is the number of the table's first row in the data set. No cell may be empty, no label outside of the
    classes, no start and no value of a window NaN or infinite, no code outside of codebooks of `codebook_size` entries.
    One pass over the values.
    """

    refuse = _refusing(where, first_row, table["clip_id"] if "clip_id" in table.column_names else None)
    for name in table.column_names:
        if table[name].null_count:
            refuse(int(np.argmax(table[name].is_null().to_numpy())), f"has nothing in its column {name}")
    for name in {"label", UNKNOWN} & set(table.column_names):
        column, classes, rows = table[name].combine_chunks(), class_names(features), np.arange(len(table))
        if isinstance(features[name], List):
            rows = np.repeat(rows, column.value_lengths().to_numpy())
            column = column.flatten()
            if column.null_count:
                refuse(
                    int(rows[np.argmax(column.is_null().to_numpy(zero_copy_only=False))]),
                    "has a label without a value",
                )
        labels = column.to_numpy()
        wrong = (labels < 0) | (labels >= len(classes))
        if wrong.any():
            first = int(np.argmax(wrong))
            refuse(int(rows[first]), f"has the label {labels[first]}, expected 0 to {len(classes) - 1}")
    if "start" in table.column_names:
        wrong = ~np.isfinite(table["start"].to_numpy())
        if wrong.any():
            refuse(int(np.argmax(wrong)), "has a start that is not finite")
    if "input_features" in table.column_names:
        _check_values(table["input_features"], tuple(features["input_features"].shape), refuse, codebook_size)


def check_values(
    windows: np.ndarray | pa.ChunkedArray, shape: tuple[int, int], where: str, first_row: int, clip_ids: Sequence
) -> None:
    """As `check_windows`, for windows alone: numbers (n, C, T), or a column of them; `clip_ids` (n,) are theirs."""
    refuse = _refusing(where, first_row, clip_ids)
    if isinstance(windows, np.ndarray):
        _check_finite(windows, 0, refuse)
    else:
        _check_values(windows, shape, refuse, None)


def _refusing(where: str, first_row: int, clip_ids: Sequence | pa.ChunkedArray | None) -> Callable[[int, str], None]:
    def refuse(row: int, reason: str) -> None:
        clip = "" if clip_ids is None else f" ({clip_ids[row]})"
        raise ValueError(f"{where}, row {first_row + row}{clip} {reason}: these features are damaged, take other ones")

    return refuse


def _check_finite(windows: np.ndarray, first: int, refuse: Callable[[int, str], None]) -> None:
    bad = _not_finite(windows)
    if bad is not None:
        refuse(first + bad, "has a window with NaN or infinity in it (too large for its precision?)")


def _check_values(
    column: pa.ChunkedArray, shape: tuple[int, int], refuse: Callable[[int, str], None], codebook_size: int | None
) -> None:
    row = 0
    for chunk in column.chunks:
        if chunk.null_count:
            refuse(row + int(np.argmax(chunk.is_null().to_numpy(zero_copy_only=False))), "has no window")
        lengths = _lengths(chunk, shape[0])
        size = shape[0] * shape[1]
        if lengths is None or (lengths != size).any():
            wrong = 0 if lengths is None else int(np.argmax(lengths != size))
            refuse(row + wrong, f"has a window that is not {shape[0]} x {shape[1]} numbers")
        for view in arrow_windows(pa.chunked_array([chunk]), shape):
            _check_finite(view, row, refuse)
            if codebook_size is not None and view.size and view.max() >= codebook_size:
                wrong = int(np.argmax(view.reshape(len(view), -1).max(axis=1) >= codebook_size))
                refuse(row + wrong, f"has the code {view[wrong].max()}, expected 0 to {codebook_size - 1}")
        row += len(chunk)


def _lengths(chunk: pa.Array, num_bands: int) -> np.ndarray | None:
    """Values in each window (n,), -1 where its bands are others or not alike; None where there is nothing in a cell."""
    storage = chunk.storage if hasattr(chunk, "storage") else chunk
    bands = storage.flatten()
    if bands.null_count or bands.flatten().null_count:
        return None
    inner = bands.value_lengths().to_numpy(zero_copy_only=False)
    outer = storage.value_lengths().to_numpy(zero_copy_only=False)
    if outer.min(initial=len(inner)) == 0:
        return np.zeros(len(storage), np.int64)
    # All bands of a window alike, and as many as it says.
    starts = np.r_[0, outer.cumsum()[:-1]]
    even = (
        np.maximum.reduceat(inner, starts) == np.minimum.reduceat(inner, starts) if len(starts) else np.zeros(0, bool)
    )
    even &= outer == num_bands
    return np.where(even, np.add.reduceat(inner, starts) if len(starts) else 0, -1)


def _not_finite(windows: np.ndarray) -> int | None:
    """The first of the windows (n, C, T) that holds NaN or infinity."""
    if windows.dtype.kind != "f" or not windows.size:
        return None
    # All exponent bits are set: as whole numbers they are the largest of those with their sign. Nothing is copied.
    size = windows.dtype.itemsize
    signed, unsigned = windows.view(f"i{size}"), windows.view(f"u{size}")
    infinity = int(np.array(np.inf, windows.dtype).view(f"u{size}"))
    negative = infinity | 1 << (8 * size - 1)
    if signed.max() < infinity and unsigned.max() < negative:
        return None
    return int(np.argmin(np.isfinite(windows.reshape(len(windows), -1)).all(axis=1)))
