"""Published windows that are read as a stream: the same windows, splits, statistics and scores as with all in memory."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, load_dataset
from hub_server import USER
from huggingface_hub import HfApi, hf_hub_download

from hf_encls import EnclsConfig
from hf_encls.commands.train import main
from hf_encls.data.columns import SMALL
from hf_encls.data.splits import make_splits
from hf_encls.features import parquet_windows
from hf_encls.features import streaming as streaming_module
from hf_encls.features.checks import check_values
from hf_encls.features.extraction import feature_columns
from hf_encls.features.parquet_windows import window_groups, write_windows
from hf_encls.features.store import FeatureStore, Windows
from hf_encls.features.streaming import StreamedPart, small_table
from hf_encls.hub.pull_features import FACTS, load_published
from hf_encls.hub.push_features import FeatureSet, push_features
from hf_encls.report.dataset_cards import DataSource
from hf_encls.training.trainer import collate

REPO = f"{USER}/many-windows"
CLASSES = ["high", "low", "mid"]
COUNT = 1200  # several row groups


@pytest.fixture
def published(hub) -> str:
    config = EnclsConfig(
        features="log_mel", sampling_rate=8000, window_s=0.5, step_s=0.5, num_bands=32, n_fft=256,
        id2label=dict(enumerate(CLASSES)),
    )  # fmt: skip
    labels = np.sort(np.arange(COUNT // 4) % 3).repeat(4)  # one class after the other, as folders are read
    windows = np.random.default_rng(0).normal(-40, 5, (COUNT, *config.stored_shape))
    windows[np.arange(COUNT), labels * 10] += 30
    rows = {
        "input_features": windows.astype(np.float16),
        "label": labels,
        "clip_id": [f"{CLASSES[label]}/{number // 4}.wav" for number, label in enumerate(labels)],
        "start": [0.5 * (number % 4) for number in range(COUNT)],
        "group": [f"{number // 4}" for number in range(COUNT)],
        "fold": [0] * COUNT,
        "silent": [False] * COUNT,
    }
    features = Dataset.from_dict(rows, features=feature_columns(config, ClassLabel(names=CLASSES)))
    source = DataSource("Many windows", "CC0", "cc0-1.0", "https://example.org", "Nobody")
    push_features(FeatureSet(features, config, source), REPO)
    return REPO


def test_parts_of_a_stream_are_those_in_memory(published, monkeypatch):
    monkeypatch.setattr(streaming_module, "BUFFER_BYTES", 400_000)  # fewer windows than there are
    everything = load_published(published, "log_mel")[0]
    stream = load_published(published, "log_mel", streaming=True)[0]
    table = small_table(load_published(published, "log_mel", streaming=True, columns=SMALL)[0])
    assert "input_features" not in table.column_names
    assert table["clip_id"][:] == everything["clip_id"][:] and table.features["label"].names == CLASSES
    for protocol in ("clip", "paper"):
        splits, expected = make_splits(table, protocol), make_splits(everything, protocol)
        part = StreamedPart(stream, table, splits["train"], shuffle_seed=0)
        store = FeatureStore(Windows(everything), np.sort(expected["train"]))
        assert len(part) == len(store) and np.array_equal(part.clip_ids, store.clip_ids)
        for found, wanted in zip(part.statistics(), store.statistics(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
        in_order = list(StreamedPart(stream, table, splits["train"]))
        assert torch.equal(torch.stack([row["input_features"] for row in in_order]), store.windows.take(store.rows))
        assert [int(row["labels"]) for row in in_order] == part.labels.tolist() == store.labels.tolist()
        orders = []
        for epoch in range(2):
            part.set_epoch(epoch)
            rows = list(part)
            orders.append([row["input_features"].numpy().tobytes() for row in rows])
            assert sorted(orders[-1]) == sorted(row["input_features"].numpy().tobytes() for row in in_order)
            labels = np.array([int(row["labels"]) for row in rows])
            # Mixed: the first third is not one class.
            assert np.bincount(labels[: len(labels) // 3], minlength=3).max() < 0.9 * (len(labels) // 3)
        assert orders[0] != orders[1]
    with pytest.raises(ValueError, match="each would yield every window"):
        next(iter(torch.utils.data.DataLoader(part, num_workers=1)))


def windows_of(count: int, dtype: str = "float16", shape=(8, 6)) -> Dataset:
    """Numbers that tell windows apart, in clips of three."""
    columns = feature_columns(EnclsConfig(features="log_mel"), ClassLabel(names=CLASSES))
    numbers = np.arange(count * shape[0] * shape[1]).reshape(count, *shape)
    rows = {
        "input_features": (numbers % 2000).astype(dtype),
        "label": np.arange(count) // 3 % 3,
        "clip_id": [f"{number // 3}.wav" for number in range(count)],
        "start": (np.arange(count) % 3).astype(np.float32),
        "group": [f"{number // 3}" for number in range(count)],
        "fold": [0] * count,
        "silent": [False] * count,
    }
    return Dataset.from_dict(rows, features=Features({**columns, "input_features": Array2D(shape, dtype)}))


def stream_of(files) -> tuple:
    """A stream of parquet files, and its small columns."""
    stream = load_dataset("parquet", data_files=[str(file) for file in files], split="train", streaming=True)
    return stream, small_table(stream.select_columns(list(SMALL)))


def batches_of(part: StreamedPart, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    loader = torch.utils.data.DataLoader(part, batch_size=size, collate_fn=collate)
    return [(batch["input_features"], batch["labels"]) for batch in loader]


@pytest.mark.parametrize(("dtype", "buffer"), [("float16", 60_000), ("float32", 5_000), ("uint16", 60_000)])
def test_what_was_published_before_gives_the_same_batches(tmp_path, monkeypatch, dtype, buffer):
    """Lists that are decoded, and numbers that are read from where they lie: files and row groups of uneven sizes.

    The buffer holds some of the windows, or fewer than come at a time.
    """
    monkeypatch.setattr(streaming_module, "BUFFER_BYTES", buffer)
    windows, files = windows_of(1400, dtype), {"before": [], "now": []}
    for first, last in ((0, 600), (600, 901), (901, 1400)):
        part = windows.select(range(first, last))
        for kind, places in files.items():
            places.append(tmp_path / f"{kind}-{first}.parquet")
            part.to_parquet(places[-1], batch_size=256) if kind == "before" else write_windows(part, places[-1])
    rows, found = np.random.default_rng(0).permutation(1400)[:900], {}
    for kind, places in files.items():
        stream, table = stream_of(places)
        assert stream.features == windows.features  # for every other reader they are what they were
        assert (window_groups(stream) is not None) == (kind == "now" and dtype != "uint16")
        part = StreamedPart(stream, table, rows, shuffle_seed=3)
        found[kind] = [*batches_of(part.in_order(), 100), *part.statistics()]
        for epoch in range(2):
            part.set_epoch(epoch)
            found[kind] += batches_of(part, 100)
    assert len(found["now"]) == 3 * 9 + 2
    for now, before in zip(found["now"], found["before"], strict=True):
        assert all(torch.equal(*pair) for pair in zip(now, before, strict=True)), dtype
    assert load_dataset("parquet", data_files=str(files["now"][0]), split="train")[:5] == windows[:5]


@pytest.mark.parametrize("of_the_numbers", ["BYTE_STREAM_SPLIT", "large"])
def test_numbers_that_do_not_lie_as_they_are_are_decoded(tmp_path, monkeypatch, of_the_numbers):
    """Other encodings take as many bytes; and of large groups the lengths would take more memory than they are worth."""
    windows, file = windows_of(520), tmp_path / "windows.parquet"
    if of_the_numbers == "large":
        monkeypatch.setattr(parquet_windows, "LARGEST_GROUP", 1000)
        write_windows(windows, file)
    else:
        split = {"use_dictionary": False, "compression": "none", "use_byte_stream_split": [parquet_windows.LEAF]}
        pq.write_table(windows.data.table, file, row_group_size=256, data_page_size=1 << 30, **split)
    stream, table = stream_of([file])
    assert window_groups(stream) is None
    ((first, _), *_) = batches_of(StreamedPart(stream, table, np.arange(520)), 300)
    assert np.array_equal(first.numpy(), np.asarray(windows["input_features"][:300], np.float16))


def test_a_part_without_windows_and_a_stream_of_none(tmp_path):
    windows = windows_of(20, "uint16")
    write_windows(windows, tmp_path / "windows.parquet")
    stream, table = stream_of([tmp_path / "windows.parquet"])
    assert list(StreamedPart(stream, table, np.arange(0))) == []
    write_windows(windows.select(range(0)), tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="expected windows in the stream of windows, found none"):
        stream_of([tmp_path / "none.parquet"])


def test_bands_and_frames_that_were_exchanged_are_named():
    column = pa.chunked_array([pa.array(np.zeros((3, 4, 8)).tolist())])
    with pytest.raises(ValueError, match=r"mine, row 0 \(a\) has a window that is not 8 x 4 numbers"):
        check_values(column, (8, 4), "mine", 0, list("abcd"))
    column = pa.chunked_array([pa.array([*np.zeros((3, 8, 4)).tolist(), None])])
    with pytest.raises(ValueError, match=r"mine, row 3 \(d\) has no window"):
        check_values(column, (8, 4), "mine", 0, list("abcd"))


def test_published_windows_are_neither_decoded_nor_batched_one_by_one(tmp_path, monkeypatch):
    write_windows(windows_of(600), tmp_path / "windows.parquet")
    stream, table = stream_of([tmp_path / "windows.parquet"])
    part = StreamedPart(stream, table, np.arange(600), shuffle_seed=0)

    def never(*args, **kwargs):
        raise AssertionError("a window was decoded or copied alone")

    monkeypatch.setattr(streaming_module, "readable", never)
    monkeypatch.setattr(parquet_windows.pq, "ParquetFile", never)
    monkeypatch.setattr(torch, "stack", never)
    for of_part in (part, part.in_order()):
        batches = batches_of(of_part, 128)
        assert [len(labels) for _, labels in batches] == [128] * 4 + [88]
        assert batches[0][0].untyped_storage().data_ptr() == batches[1][0].untyped_storage().data_ptr()  # of one block
    rows = list(part.in_order())
    assert set(rows[0]) == {"input_features", "labels"} and rows[0]["input_features"].shape == (8, 6)
    chosen = [250, 3, 4, 5, 599, 255, 256]  # over the edges of blocks, and not in order
    some = collate([rows[number] for number in chosen])
    assert np.array_equal(some["input_features"].numpy(), np.asarray(windows_of(600)["input_features"][:])[chosen])
    assert some["labels"].tolist() == [number // 3 % 3 for number in chosen]


def folder_of(path, monkeypatch, change):
    """A folder of published windows, 3 row groups of 10, of which `change` changed the table's columns or the file."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", path / "cache")
    config = EnclsConfig(
        features="log_mel", sampling_rate=8000, window_s=0.5, step_s=0.5, num_bands=32, n_fft=256,
        id2label=dict(enumerate(CLASSES)),
    )  # fmt: skip
    rows = {
        "input_features": np.random.default_rng(0).normal(size=(30, *config.stored_shape)).astype(np.float16),
        "label": np.arange(30) % 3,
        "clip_id": [f"{number}.wav" for number in range(30)],
        "start": np.zeros(30, np.float32),
        "group": [f"{number}" for number in range(30)],
        "fold": [0] * 30,
        "silent": [False] * 30,
    }
    table = Dataset.from_dict(rows, features=feature_columns(config, ClassLabel(names=CLASSES))).data.table
    (path / "log_mel").mkdir()
    facts = {"config": config.to_dict(), "source": "somebody"}
    (path / "log_mel" / FACTS).write_text(json.dumps(facts))
    (path / "README.md").write_text(
        "---\nconfigs:\n- config_name: log_mel\n  data_files:\n  - {split: train, path: log_mel/*.parquet}\n---\n"
    )
    file = path / "log_mel" / "train-00000-of-00001.parquet"
    pq.write_table(change(table) if callable(change) else table, file, row_group_size=10)
    return file


def cell(column: str, value, row: int = 17):
    """Puts a value into one cell of a table; into one number of a window where the column is of windows."""

    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(column)
        field, values = table.schema.field(at), table[column].to_pylist()
        if column == "input_features" and value is not None and not isinstance(value, list):
            values[row][3][5] = value
        else:
            values[row] = value
        storage = field.type.storage_type if hasattr(field.type, "storage_type") else field.type
        array = pa.array(values, storage)
        if hasattr(field.type, "storage_type"):
            array = pa.ExtensionArray.from_storage(field.type, array)
        return table.set_column(at, field, array)

    return change


def ragged(table: pa.Table) -> pa.Table:
    """As many numbers as before, but two bands of the window 17 are of other lengths."""
    at, values = table.column_names.index("input_features"), table["input_features"].to_pylist()
    values[17][2].append(values[17][3].pop())
    storage = pa.array(values, table["input_features"].type.storage_type)
    field = table.schema.field(at)
    return table.set_column(at, field, pa.ExtensionArray.from_storage(field.type, storage))


def cut(file, table) -> None:
    file.write_bytes(file.read_bytes()[:20_000])


def null(file, table) -> None:
    values = bytearray(file.read_bytes())
    place = pq.read_metadata(file).row_group(1).column(0)
    values[place.data_page_offset + 60 : place.data_page_offset + 90] = b"\xff" * 30
    file.write_bytes(values)


@pytest.mark.parametrize(
    ("change", "damage", "message"),
    [
        (cell("input_features", np.float16("nan"), 300), None, r"my windows, row 300 \(300.wav\) .* NaN or infinity"),
        (cell("input_features", np.float16("-inf"), 299), None, r"my windows, row 299 \(299.wav\) .* NaN or infinity"),
        (ragged, None, r"my windows, row 17 \(17.wav\) has a window that is not 32 x 16 numbers"),
        (lambda table: table, cut, "my windows: a file of windows is damaged or out of reach"),
        (lambda table: table, null, "my windows.* damaged"),
    ],
)
def test_damage_in_numbers_that_lie_side_by_side_is_named(tmp_path, change, damage, message):
    file, count = tmp_path / "windows.parquet", 520
    windows = windows_of(count, shape=(32, 16))
    table = windows.data.table.set_column(
        windows.column_names.index("clip_id"), "clip_id", pa.array([f"{number}.wav" for number in range(count)])
    )
    write_windows(Dataset(change(table)), file)
    stream, small = stream_of([file])
    part = StreamedPart(stream, small, np.arange(count), shuffle_seed=1, where="my windows")
    assert type(part._source).__name__ == "_Groups"
    if damage:
        damage(file, table)
    with pytest.raises(ValueError, match=message) as error:
        list(part)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cell("label", 999), r"row 17 \(17.wav\) has the label 999, expected 0 to 2"),
        (cell("label", -1), r"row 17 .* label -1, expected 0 to 2"),
        (cell("label", None), "row 17 .* nothing in its column label"),
        (cell("clip_id", None), "row 17 .* nothing in its column clip_id"),
        (cell("start", float("nan")), "row 17 .* a start that is not finite"),
        (cell("input_features", np.float16("nan")), r"row 17 \(17.wav\) .* NaN or infinity"),
        (cell("input_features", np.float16("-inf")), "row 17 .* NaN or infinity"),
        (cell("input_features", None), "row 17 .* nothing in its column input_features"),
        (lambda table: table.drop_columns(["group"]), "expected a column group"),
        (lambda table: table.drop_columns(["input_features"]), "expected a column input_features"),
    ],
)
def test_windows_that_cannot_be_trained_on_are_refused(tmp_path, monkeypatch, streaming, change, message):
    folder_of(tmp_path, monkeypatch, change)
    with pytest.raises(ValueError, match=message) as error:
        windows = load_published(tmp_path, "log_mel", streaming=streaming)[0]
        for _ in streaming_module.readable(windows, 10, "my windows"):
            pass
    assert len(str(error.value).splitlines()) == 1
    assert str(tmp_path) in str(error.value) or "my windows" in str(error.value)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("damage", ["half", "empty", "text", "middle"])
def test_a_damaged_parquet_file_is_one_clear_error(tmp_path, monkeypatch, streaming, damage):
    file = folder_of(tmp_path, monkeypatch, None)
    whole = file.read_bytes()
    middle = whole[: len(whole) // 2] + b"\xff" * 300 + whole[len(whole) // 2 + 300 :]
    file.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "text": b"text" * 99, "middle": middle}[damage])
    with pytest.raises(ValueError, match="damaged.* get the data set anew|NaN or infinity|label") as error:
        for _ in streaming_module.readable(load_published(tmp_path, "log_mel", streaming=streaming)[0], 10):
            pass
    assert type(error.value) is ValueError and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": {}}', '{"source": "x", "config": 3}', "\udcff"])
def test_damaged_facts_are_one_clear_error(tmp_path, monkeypatch, text):
    facts = folder_of(tmp_path, monkeypatch, None).with_name(FACTS)
    facts.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=r"encls_features.json is damaged.* get the data set anew"):
        load_published(tmp_path, "log_mel")


@pytest.mark.slow
def test_training_from_a_stream(published, tmp_path, capsys):
    common = ["--dataset", published, "--features", "log_mel", "--window_s", "0.5", "--report_to", "none"]
    common += ["--num_train_epochs", "2"]
    streamed = main([*common, "--streaming", "--output_dir", str(tmp_path / "streamed")])
    whole = main([*common, "--output_dir", str(tmp_path / "whole")])
    assert streamed.epochs == 2 and len(streamed.history) == 2
    for part in ("train", "validation", "test"):
        assert getattr(streamed, part).num_windows == getattr(whole, part).num_windows
        assert getattr(streamed, part).num_clips == getattr(whole, part).num_clips
    assert streamed.test.window.accuracy > 0.9
    assert (tmp_path / "streamed" / "model.safetensors").is_file()


def test_a_head_is_fitted_to_a_stream_as_to_what_lies_in_memory(published, tmp_path):
    common = ["--dataset", published, "--features", "log_mel", "--window_s", "0.5", "--report_to", "none"]
    common += ["--head", "statistics"]
    streamed = main([*common, "--streaming", "--output_dir", str(tmp_path / "streamed")])
    whole = main([*common, "--output_dir", str(tmp_path / "whole")])
    assert streamed.epochs == 0 and streamed.fit == pytest.approx(whole.fit, rel=1e-3)
    assert streamed.test.window.loss == pytest.approx(whole.test.window.loss, rel=1e-3)
    assert streamed.test.window.accuracy > 0.9


def test_a_recipe_on_a_stream_leaves_the_crops_out_and_says_so(published, tmp_path, capsys):
    common = [
        "--dataset",
        published,
        "--features",
        "log_mel",
        "--window_s",
        "0.5",
        "--report_to",
        "none",
        "--streaming",
    ]
    common += ["--recipe", "recommended,average=0.9", "--num_train_epochs", "1"]
    results = main([*common, "--output_dir", str(tmp_path / "streamed")])
    assert "no random crops: windows of a stream come without their neighbours" in capsys.readouterr().out
    assert results.recipe == "recommended,average=0.9" and results.epochs == 1


def test_streaming_needs_published_features(tmp_path):
    with pytest.raises(ValueError, match="--streaming reads published features"):
        main(["--streaming", "--output_dir", str(tmp_path)])


def offline(monkeypatch) -> None:
    for name in ("huggingface_hub.constants.HF_HUB_OFFLINE", "datasets.config.HF_HUB_OFFLINE"):
        monkeypatch.setattr(name, True)


def test_features_that_are_in_the_cache_need_no_hub(published, hub, monkeypatch):
    with monkeypatch.context() as context:
        offline(context)
        with pytest.raises(ValueError, match="could not read the data set"):
            load_published(published, "log_mel")
    first = load_published(published, "log_mel").windows
    asked = len(hub.requests)
    offline(monkeypatch)
    again = load_published(published, "log_mel")
    assert len(hub.requests) == asked
    assert again.windows["clip_id"][:] == first["clip_id"][:] and again.config.features == "log_mel"
    with pytest.raises(ValueError, match="could not read the data set"):
        load_published(published, "mel")


def test_facts_and_windows_in_the_cache_are_of_one_commit(published, monkeypatch):
    load_published(published, "log_mel")
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="NOTES", repo_id=published, repo_type="dataset")
    hf_hub_download(published, f"log_mel/{FACTS}", repo_type="dataset")  # the newer facts, without their windows
    offline(monkeypatch)
    with pytest.raises(ValueError, match="the windows of another one"):
        load_published(published, "log_mel")


@pytest.mark.parametrize("change", [cell("label", 999), cell("input_features", np.float16("nan"))])
def test_training_on_a_stream_names_the_data_set(tmp_path, monkeypatch, change):
    from hf_encls.commands.train import main

    folder_of(tmp_path, monkeypatch, change)
    args = ["--dataset", str(tmp_path), "--dataset_config", "log_mel", "--window_s", "0.5", "--streaming"]
    with pytest.raises(ValueError, match=rf"{tmp_path} \(log_mel\), row 17 .* these features are damaged"):
        main([*args, "--report_to", "none", "--output_dir", str(tmp_path / "model")])


@pytest.mark.parametrize(
    "configs", ["[log_mel]", "3", "[{config_name: log_mel, data_files: 7}]", "[{config_name: [x]}]"]
)
def test_front_matter_of_another_shape_is_one_clear_error(tmp_path, monkeypatch, configs):
    folder_of(tmp_path, monkeypatch, None)
    (tmp_path / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    with pytest.raises(ValueError, match=f"windows of {tmp_path}") as error:
        load_published(tmp_path, "log_mel")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("more", [[], ["--streaming"]])
def test_a_clip_of_two_groups_is_refused_with_its_row(tmp_path, monkeypatch, more):
    from hf_encls.commands.train import main

    folder_of(tmp_path, monkeypatch, cell("clip_id", "16.wav"))
    args = ["--dataset", str(tmp_path), "--dataset_config", "log_mel", "--window_s", "0.5", *more]
    with pytest.raises(
        ValueError, match=rf"{tmp_path} \(log_mel\), row 17: expected windows of the clip '16.wav' in one"
    ):
        main([*args, "--report_to", "none", "--output_dir", str(tmp_path / "model")])


@pytest.mark.parametrize("keep_date", [False, True])
def test_a_folder_gives_the_windows_that_it_holds_now(tmp_path, monkeypatch, keep_date):
    file = folder_of(tmp_path, monkeypatch, None)
    before, date = load_published(tmp_path, "log_mel").windows, file.stat()
    table = pq.read_table(file)
    at = table.column_names.index("clip_id")
    new = tmp_path / "new"
    pq.write_table(table.set_column(at, "clip_id", pa.array([f"{number}.ogg" for number in range(30)])), new)
    new.replace(file)
    if keep_date:
        os.utime(file, ns=(date.st_atime_ns, date.st_mtime_ns))
    assert load_published(tmp_path, "log_mel").windows["clip_id"][:3] == ["0.ogg", "1.ogg", "2.ogg"]
    assert before["clip_id"][:2] == ["0.wav", "1.wav"]  # what was loaded stays
    again = load_published(tmp_path, "log_mel").windows
    assert again.cache_files == load_published(tmp_path, "log_mel").windows.cache_files  # and is read once
