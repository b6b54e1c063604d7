"""Windows in parquet files: written so that their numbers lie side by side, and read from where they lie.

Every reader of parquet finds lists of lists in them. Decoding those costs ten times what reading the bytes does, and says
of windows that are all alike nothing new: their lengths. So these are compared, as bytes, with those of windows as they
should be, and the numbers behind them are taken as they are.
"""

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Array2D, Dataset, DownloadConfig, IterableDataset
from datasets.utils.file_utils import xopen

ROWS_PER_GROUP = 256  # what a reader of one row group holds in memory at least
COLUMN = "input_features"
LEAF = f"{COLUMN}.list.element.list.element"  # the name of its numbers in parquet
# A row group is one page: no lengths lie between its numbers.
PLAIN = {
    "data_page_size": 1 << 30,
    "data_page_version": "1.0",
}
LARGEST_GROUP = 64 << 20  # bytes of numbers: in larger ones Arrow finds out how long lists are
STORED = {"float16": ("FIXED_LEN_BYTE_ARRAY", "FLOAT16"), "float32": ("FLOAT", "NONE")}  # codes are smaller packed
LONGEST_HEADER = 4096  # bytes of what parquet says of a page; it holds the least and the largest number


def write_windows(windows: Dataset, file: Path | io.BytesIO) -> None:
    """Write windows of features as one parquet file, in groups of `ROWS_PER_GROUP`."""
    schema, options = windows.features.arrow_schema, {}
    if windows.features[COLUMN].dtype in STORED:
        # Numbers of this kind hardly shrink, and a dictionary of them takes three times as long to read.
        others = [name for name in schema.names if name != COLUMN]
        packed = dict.fromkeys(others, "snappy") | {LEAF: "none"}
        options = PLAIN | {"use_dictionary": others, "compression": packed}
    with pq.ParquetWriter(file, schema, write_page_index=True, **options) as writer:
        arrow = windows.with_format("arrow")
        for start in range(0, len(windows), ROWS_PER_GROUP):
            writer.write_table(arrow[start : start + ROWS_PER_GROUP].cast(schema), ROWS_PER_GROUP)


@dataclass(frozen=True)
class WindowGroup:
    """A row group of a parquet file whose windows (rows, C, T) can be read from where they lie.

    `start` and `size` are of its numbers and what parquet says of them, in bytes of the file.
    """

    file: str
    number: int
    rows: int
    start: int
    size: int
    token: str | None = None

    def read(self, shape: tuple[int, int], dtype: str) -> np.ndarray | pa.ChunkedArray:
        """The windows (rows, C, T); the column as Arrow decodes it where they are not all alike after all."""
        windows, lengths = np.empty((self.rows, *shape), dtype), _lengths(self.rows, shape)
        before = self.size - windows.nbytes
        if len(lengths) < before <= len(lengths) + LONGEST_HEADER:
            with self._open() as file:
                file.seek(self.start)
                head = file.read(before)
                # Into memory of their own, where they lie as numbers do.
                whole = file.readinto(memoryview(windows).cast("B")) == windows.nbytes
            if whole and head.endswith(lengths) and _body(head) == len(lengths) + windows.nbytes:
                return windows
        with self._open() as file:
            return pq.ParquetFile(file).read_row_group(self.number, [COLUMN])[COLUMN]

    def _open(self):
        return xopen(self.file, "rb", download_config=DownloadConfig(token=self.token))


def window_groups(stream: IterableDataset) -> list[WindowGroup] | None:
    """The row groups of a stream of parquet files in its order; None where their numbers do not lie side by side.

    They do not in what was published before `write_windows` was there, and in the files of other writers.
    """
    column, files = stream.features[COLUMN], _files(stream)
    if not isinstance(column, Array2D) or column.dtype not in STORED or not files:
        return None
    token, groups = next(iter(getattr(stream, "_token_per_repo_id", {}).values()), None), []
    for name in files:
        with xopen(name, "rb", download_config=DownloadConfig(token=token)) as file:
            facts, end = pq.read_metadata(file), file.seek(0, io.SEEK_END)
        for number in range(facts.num_row_groups):
            place = _place(facts, number, tuple(column.shape), column.dtype)
            if place is None or sum(place) > end:
                return None
            groups.append(WindowGroup(str(name), number, facts.row_group(number).num_rows, *place, token))
    return groups


def _files(stream: IterableDataset) -> Sequence[str]:
    """The parquet files that a stream reads one after the other, whole; none where it is of another kind."""
    source = getattr(stream, "_ex_iterable", None)
    builder = getattr(getattr(source, "generate_tables_fn", None), "__self__", None)
    settings = getattr(builder, "config", None)
    if type(settings).__name__ != "ParquetConfig" or settings.filters is not None:
        return ()
    groups = source.kwargs.get("row_groups_list")
    return source.kwargs.get("files", ()) if groups is not None and set(groups) <= {None} else ()


def _place(facts: pq.FileMetaData, number: int, shape: tuple[int, int], dtype: str) -> tuple[int, int] | None:
    """Where in the file the numbers of a row group lie, and how many bytes, where they may lie side by side."""
    group = facts.row_group(number)
    columns = [group.column(index) for index in range(group.num_columns)]
    numbers = next((column for column in columns if column.path_in_schema == LEAF), None)
    if numbers is None or numbers.compression != "UNCOMPRESSED" or numbers.has_dictionary_page:
        return None
    logical = next(
        facts.schema.column(index).logical_type.type
        for index in range(group.num_columns)
        if facts.schema.column(index).path == LEAF
    )
    as_stored = (numbers.physical_type, logical) == STORED[dtype] and 1 <= group.num_rows <= ROWS_PER_GROUP
    if not as_stored or numbers.num_values != group.num_rows * shape[0] * shape[1]:
        return None
    if not {"PLAIN"} <= set(numbers.encodings) <= {"PLAIN", "RLE"}:  # lengths are RLE's; other numbers are no numbers
        return None
    place, size = (
        (numbers.data_page_offset, numbers.total_compressed_size),
        numbers.num_values * np.dtype(dtype).itemsize,
    )
    return place if place[0] > 0 and size < place[1] and size <= LARGEST_GROUP else None


@functools.lru_cache(maxsize=16)
def _lengths(rows: int, shape: tuple[int, int]) -> bytes:
    """What a row group says of the lengths of its lists, where it holds `rows` windows of this shape."""
    # The same of any kind of number: of bits there are the fewest bytes.
    nested, count = pa.array(np.zeros(rows * shape[0] * shape[1], bool)), rows * shape[0] * shape[1]
    for lists, length in ((rows * shape[0], shape[1]), (rows, shape[0])):
        nested = pa.ListArray.from_arrays(pa.array(np.arange(lists + 1, dtype=np.int32) * length), nested)
    file = io.BytesIO()
    pq.write_table(pa.table({COLUMN: nested}), file, use_dictionary=False, compression="none", **PLAIN)
    column = pq.read_metadata(file).row_group(0).column(0)
    data = file.getvalue()[column.data_page_offset :][: column.total_compressed_size]
    return data[len(data) - _body(data) : len(data) - -(-count // 8)]


def _body(page: bytes) -> int | None:
    """The bytes of a data page behind its header, which begins with its kind and sizes; None for another one.

    They are the fields 1, 2 and 3 in Thrift's compact form: a byte 0x15, then the number zigzag, seven bits a byte.
    """
    values, at = [], 0
    for _ in range(3):
        if page[at : at + 1] != b"\x15":
            return None
        value, shift, at = 0, 0, at + 1
        while True:
            byte = page[at]
            value |= (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if byte < 0x80:
                break
        values.append(value >> 1)
    kind, size, packed = values
    return size if kind == 0 and size == packed else None
