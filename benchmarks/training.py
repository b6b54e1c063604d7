"""Reading batches, the Trainer's step, what saving costs, and training on more than memory holds."""

import shutil
import statistics
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, Value, load_dataset, load_from_disk
from timing import Row, in_turns, work_folder
from transformers import TrainerCallback

from hf_encls.fast.memory import keep_freed_memory
from hf_encls.features.parquet_windows import write_windows
from hf_encls.features.store import FeatureStore, Windows
from hf_encls.features.streaming import StreamedPart, small_table
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.mnist_encls import MnistHead
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.trainer import EnclsTrainer, collate

CLASSES = 50


def reading(options: Namespace) -> list[Row]:
    """Shuffled batches of 128 from a saved feature data set."""
    with work_folder() as folder:
        features = saved(folder, 4000)
        order = np.random.default_rng(0).permutation(len(features))
        batches = [order[start : start + 128].tolist() for start in range(0, 3968, 128)]
        plain = features.with_format("torch", columns=["input_features", "label"])
        in_memory = FeatureStore(Windows(features), np.arange(len(features)))
        on_disk = FeatureStore(Windows(features, memory_limit_bytes=0), np.arange(len(features)))
        few = batches[:4]
        np.save(folder / "windows.npy", in_memory.windows.block.numpy())
        mapped, labels = np.load(folder / "windows.npy", mmap_mode="r"), in_memory.windows.labels
        times = in_turns(
            {
                "plain": lambda: [plain[batch] for batch in few],
                "memory": lambda: [in_memory.__getitems__(batch) for batch in batches],
                "disk": lambda: [on_disk.__getitems__(batch) for batch in batches],
                "memmap": lambda: [(torch.from_numpy(mapped[batch]), labels[batch]) for batch in batches],
            },
            3 * options.repeats,
        )
        rates = {
            "plain": 128 * len(few) / times["plain"],
            "memory": 128 * len(batches) / times["memory"],
            "disk": 128 * len(batches) / times["disk"],
            "memmap": 128 * len(batches) / times["memmap"],
        }
    details = {"windows_per_s": {name: round(rate) for name, rate in rates.items()}}
    name = "reading training batches"
    return [
        Row(f"{name}, in memory", 'with_format("torch")', rates["memory"] / rates["plain"], 5.0, details=details),
        Row(f"{name}, memory-mapped", 'with_format("torch")', rates["disk"] / rates["plain"], 5.0, details=details),
        Row(f"{name}, memory-mapped", "numpy's memmap", rates["disk"] / rates["memmap"], 0.9, details=details),
    ]


def trainer_step(options: Namespace) -> list[Row]:
    """One epoch of the reference CNN through the Trainer, and the same batches through a bare loop."""
    keep_freed_memory()  # as the train program does
    with work_folder() as folder:
        windows = Windows(saved(folder, 2560))
        store = FeatureStore(windows, np.arange(len(windows)))
        batches = [
            {name: value.clone() for name, value in store.__getitems__(part.tolist()).items()}
            for part in np.random.default_rng(0).permutation(len(store)).reshape(-1, 128)
        ]

        def bare() -> float:
            torch.manual_seed(0)
            model = network()
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
            model.train()
            ends = []
            for batch in batches:
                model(**batch).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                ends.append(time.perf_counter())
            return (ends[-1] - ends[0]) / (len(ends) - 1)

        def through_trainer() -> float:
            torch.manual_seed(0)
            run, ends = trainer(folder / "run", store, 1, per_device_train_batch_size=128), []
            run.add_callback(Steps(ends))
            run.train()
            return (ends[-1] - ends[0]) / (len(ends) - 1)

        pairs = [(bare(), through_trainer()) for _ in range(options.repeats + 1)][1:]
    bare_s, trainer_s = (statistics.median(side) for side in zip(*pairs, strict=True))
    details = {"milliseconds": {"bare": round(1e3 * bare_s, 2), "trainer": round(1e3 * trainer_s, 2)}}
    details["trainer_windows_per_s"] = round(128 / trainer_s)
    return [Row("Trainer step, batch 128", "a bare loop", trainer_s / bare_s, 1.10, at_most=True, details=details)]


def cnn_step(options: Namespace) -> list[Row]:
    """Training steps and inference of the CNN on 64 windows, and the same network in the order of the paper. CPU time."""
    keep_freed_memory()
    model = network()
    batch = {"input_features": torch.randn(64, 128, 75), "labels": torch.randint(0, CLASSES, (64,))}
    ours = MnistHead.features

    def plain(head: MnistHead, windows: torch.Tensor) -> torch.Tensor:
        hidden = head.pool(head.conv1(windows[:, None]).relu())
        return head.pool(head.conv2(hidden).relu()).flatten(1)

    def run(features, train: bool, bf16: bool) -> None:
        MnistHead.features = features
        model.train(train)  # dropout is no part of inference: drawing it took as long as a convolution
        with torch.set_grad_enabled(train), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(**batch).loss
        if train:
            loss.backward()

    rows = []
    for work, train, targets in (("training step", True, (1.5, 2.5)), ("inference", False, (2.4, 4.5))):
        sides = {"plain": (plain, False), "float32": (ours, False), "bfloat16": (ours, True)}
        times = in_turns(
            {name: (lambda side=side, train=train: run(side[0], train, side[1])) for name, side in sides.items()},
            3 * options.repeats,
            clock=time.process_time,
        )
        details = {"milliseconds": {name: round(1e3 * value, 1) for name, value in times.items()}}
        for dtype, target in zip(("float32", "bfloat16"), targets, strict=True):
            name = f"CNN {work}, {dtype}, 64 windows"
            rows.append(Row(name, "channels first, float32", times["plain"] / times[dtype], target, details=details))
    MnistHead.features = ours
    return rows


def streaming(options: Namespace) -> list[Row]:
    """An epoch of training from a stream of parquet, and one from memory."""
    keep_freed_memory()
    with work_folder() as folder:
        features = saved(folder, 2560)
        write_windows(features, folder / "windows.parquet")
        stream = streamed(folder / "windows.parquet")
        rows = np.arange(len(features))
        parts = {"memory": FeatureStore(Windows(features), rows), "stream": stream}

        def epoch(name: str) -> None:
            torch.manual_seed(0)
            trainer(folder / name, parts[name], 1, per_device_train_batch_size=128).train()

        times = in_turns({name: (lambda name=name: epoch(name)) for name in parts}, options.repeats, warm_up=False)
    details = {"windows_per_s": {name: round(len(rows) / value) for name, value in times.items()}}
    name = "an epoch of training from streaming=True"
    return [Row(name, "from memory", times["stream"] / times["memory"], None, at_most=True, details=details)]


def stream_reading(options: Namespace) -> list[Row]:
    """Batches of 128 from a stream of parquet as it is published, and from lists that are decoded. CPU time."""
    keep_freed_memory()
    with work_folder() as folder:
        features = saved(folder, 2560)
        write_windows(features, folder / "windows.parquet")
        features.to_parquet(folder / "lists.parquet", batch_size=256)
        loaders = {
            name: torch.utils.data.DataLoader(streamed(folder / f"{name}.parquet"), batch_size=128, collate_fn=collate)
            for name in ("windows", "lists")
        }
        sides = {name: (lambda loader=loader: sum(1 for _ in loader)) for name, loader in loaders.items()}
        times = in_turns(sides, options.repeats, clock=time.process_time)
    rates = {name: round(len(features) / value) for name, value in times.items()}
    name, details = "reading a stream, shuffled", {"windows_per_s": rates}
    return [
        Row(f"{name}: windows per second of one core", "a number", rates["windows"], 40_000.0, details=details),
        Row(name, "lists, as published before", rates["windows"] / rates["lists"], None, details=details),
    ]


def streamed(file: Path) -> StreamedPart:
    """All windows of a parquet file as a stream that is shuffled."""
    stream = load_dataset("parquet", data_files=str(file), split="train", streaming=True)
    table = small_table(stream.select_columns(["label", "clip_id", "start"]))
    return StreamedPart(stream, table, np.arange(len(table)), 0)


class Steps(TrainerCallback):
    """Notes when each step ended."""

    def __init__(self, ends: list[float]):
        self.ends = ends

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append(time.perf_counter())


def allocator(options: Namespace) -> list[Row]:
    """A training step as PyTorch runs it, and after `keep_freed_memory`, in this order: it cannot be undone."""
    torch.manual_seed(0)
    model = network().train()
    batch = {"input_features": torch.randn(64, 128, 75), "labels": torch.randint(0, CLASSES, (64,))}

    def step() -> None:
        model(**batch).loss.backward()

    before = in_turns({"step": step}, 5 * options.repeats)["step"]
    if not keep_freed_memory():
        return []
    after = in_turns({"step": step}, 5 * options.repeats)["step"]
    details = {"milliseconds": {"before": round(1e3 * before, 1), "after": round(1e3 * after, 1)}}
    return [
        Row(
            "forward and backward of 64 windows, freed memory kept",
            "given back",
            before / after,
            None,
            details=details,
        )
    ]


def checkpoints(options: Namespace) -> list[Row]:
    """100 short epochs with a checkpoint, a log and a validation each; and the same without saving."""
    keep_freed_memory()
    with work_folder() as folder:
        windows = Windows(saved(folder, 384))
        store, validation = FeatureStore(windows, np.arange(320)), FeatureStore(windows, np.arange(320, 384))

        def run(name: str, **settings) -> float:
            shutil.rmtree(folder / name, ignore_errors=True)
            torch.manual_seed(0)
            session = trainer(
                folder / name,
                store,
                100,
                eval_dataset=validation,
                eval_strategy="epoch",
                report_to="tensorboard",
                **settings,
            )
            started = time.perf_counter()
            session.train()
            return time.perf_counter() - started

        saving = {"save_strategy": "epoch", "save_total_limit": 2, "logging_strategy": "epoch"}
        with_saving = run("saving", **saving)
        without = run("plain", save_strategy="no", logging_strategy="no")
        size = sum(file.stat().st_size for file in next((folder / "saving").glob("checkpoint-*")).iterdir())
    details = {"seconds": {"saving": round(with_saving, 1), "without": round(without, 1)}, "checkpoint_bytes": size}
    name = "checkpoints and log of 100 short epochs (5 steps of 64)"
    return [Row(name, "the same without", with_saving / without, 1.15, at_most=True, details=details)]


def trainer(folder: Path, store, epochs: int, **settings) -> EnclsTrainer:
    """Our Trainer over the windows of `store`, without validation, checkpoints and log where `settings` ask for none."""
    defaults = {
        "use_cpu": True,
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
    }
    arguments = EnclsTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        load_best_model_at_end=False,
        disable_tqdm=True,
        **{**defaults, **{k: v for k, v in settings.items() if k != "eval_dataset"}},
    )
    return EnclsTrainer(
        model=network(), args=arguments, train_dataset=store, eval_dataset=settings.get("eval_dataset")
    )


def network() -> EnclsForAudioClassification:
    """The reference CNN for 128 x 75 and 50 classes, without a codec."""
    return EnclsForAudioClassification(EnclsConfig(features="encodec_24khz", num_labels=CLASSES))


def saved(folder: Path, count: int) -> Dataset:
    """A feature data set as extraction writes it, on disk."""
    rng = np.random.default_rng(0)
    columns = Features(
        {
            "input_features": Array2D((128, 75), "float16"),
            "label": ClassLabel(num_classes=CLASSES),
            "clip_id": Value("string"),
            "start": Value("float32"),
        }
    )

    def rows(indices: list[int]) -> dict:
        return {
            "input_features": rng.standard_normal((len(indices), 128, 75)).astype(np.float16),
            "label": [index // 5 % CLASSES for index in indices],
            "clip_id": [str(index // 5) for index in indices],
            "start": [float(index % 5) for index in indices],
        }

    made = Dataset.from_dict({"index": list(range(count))}).map(
        lambda batch: rows(batch["index"]),
        batched=True,
        batch_size=200,
        remove_columns=["index"],
        features=columns,
        cache_file_name=str(folder / f"rows{count}.arrow"),
        new_fingerprint=f"benchmark{count}",
    )
    made.save_to_disk(folder / f"saved{count}")
    return load_from_disk(folder / f"saved{count}")
