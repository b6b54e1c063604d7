"""What Trainer needs from us: windows in memory, ready batches, scores of windows and clips."""

import logging
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch import nn
from tqdm.auto import tqdm
from transformers import EncodecModel, EvalPrediction, PrinterCallback, Trainer, TrainerCallback
from transformers.trainer_callback import ProgressCallback

from hf_encls.metrics import evaluate_split

logger = logging.getLogger(__name__)

ROWS_PER_READ = 256


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
        self.labels = torch.tensor(features["label"][:], dtype=torch.long, device=self.device)

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
        for part in np.unique(parts):
            here = parts == part
            out[here] = self.views[part][rows[here] - (self.ends[part] - len(self.views[part]))]
        return torch.from_numpy(out)


def codebooks_of(codec: EncodecModel, num_codebooks: int) -> torch.Tensor:
    """The first codebooks of a codec, (K, entries, C)."""
    return torch.stack([layer.codebook.embed for layer in codec.quantizer.layers[:num_codebooks]]).float().cpu()


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
        rows = self.rows[torch.as_tensor(indices).to(self.rows.device)]
        return {"input_features": self.windows.take(rows), "labels": self.windows.labels[rows]}

    @property
    def labels(self) -> np.ndarray:
        """True classes (n,)."""
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


def collate(batch: dict[str, torch.Tensor] | list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A batch as it is; rows of a streamed data set are stacked."""
    if isinstance(batch, dict):
        return batch
    return {name: torch.stack([torch.as_tensor(row[name]) for row in batch]) for name in ("input_features", "labels")}


class EpochLines(TrainerCallback):
    """A bar of windows with their rate and the time left, and one line of scores for each epoch."""

    def __init__(self):
        self.bar: tqdm | None = None
        self.train: dict[str, float] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            per_step = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
            layout = "{l_bar}{bar}| {n:.0f}/{total:.0f} [{elapsed}<{remaining}, {rate_fmt}]"
            self.bar = tqdm(
                total=state.max_steps * per_step,
                initial=state.global_step * per_step,
                desc="training",
                unit=" windows",
                bar_format=layout,
                mininterval=0.5,
            )
            self.per_step = per_step

    def on_step_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.update(self.per_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.bar is None or not logs:
            return
        if "loss" in logs:
            self.train = dict(logs)
        elif "eval_loss" in logs:
            clips = f", clips {logs['eval_clip_accuracy']:.3f}" if "eval_clip_accuracy" in logs else ""
            self.bar.write(
                f"epoch {logs['epoch']:g}: training loss {self.train.get('loss', float('nan')):.4f}, "
                f"accuracy {self.train.get('accuracy', float('nan')):.3f}; validation loss {logs['eval_loss']:.4f}, "
                f"accuracy {logs['eval_accuracy']:.3f}{clips}"
            )

    def on_train_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class EpochClock(TrainerCallback):
    """Seconds of training since the epoch began; validation and checkpoints do not count."""

    started: float | None = None

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.started = time.monotonic()


class EnclsTrainer(Trainer):
    """The Trainer, with scores of windows and clips, and the accuracy of training in its log."""

    def __init__(self, **kwargs):
        super().__init__(data_collator=collate, compute_metrics=self._scores, **kwargs)
        for callback in (ProgressCallback, PrinterCallback):
            self.remove_callback(callback)
        self.add_callback(EpochLines())
        self._clock = EpochClock()
        self.add_callback(self._clock)
        self._hits: torch.Tensor | None = None
        self._seen = 0
        self._evaluated: FeatureStore | None = None

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        labels = inputs["labels"]  # with label smoothing, Trainer takes them out
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        if model.training:
            # Summed on the device: reading it every step would make the device wait.
            hits = (outputs.logits.detach().argmax(-1) == labels).sum()
            self._hits = hits if self._hits is None else self._hits + hits
            self._seen += len(labels)
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        if "loss" in logs and self._seen:
            logs["accuracy"] = self._hits.item() / self._seen
            self._hits, self._seen = None, 0
            if self._clock.started is not None and self.args.logging_strategy == "epoch":
                logs["epoch_s"] = time.monotonic() - self._clock.started
        super().log(logs, *args, **kwargs)

    def evaluation_loop(self, dataloader, *args, **kwargs):
        self._evaluated = dataloader.dataset
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def probabilities(self, store: FeatureStore) -> np.ndarray:
        """(n, num_labels) probabilities of the windows of `store`, in its order."""
        if hasattr(store, "in_order"):  # a stream that is shuffled for training
            store = store.in_order()
        scores = torch.from_numpy(self.predict(store).predictions).double()
        return scores.softmax(-1).numpy()

    def _scores(self, prediction: EvalPrediction) -> dict[str, float]:
        probabilities = torch.from_numpy(prediction.predictions).double().softmax(-1).numpy()
        store = self._evaluated
        if not hasattr(store, "clip_ids"):  # somebody's own data set
            return {"accuracy": float((probabilities.argmax(-1) == prediction.label_ids).mean())}
        scores = evaluate_split(probabilities, prediction.label_ids, store.clip_ids)
        return {"accuracy": scores["window"]["accuracy"], "clip_accuracy": scores["clip"]["accuracy"]}


def history(log_history: Sequence[dict]) -> list[dict]:
    """Trainer's log as one row per epoch: the numbers of the learning curves."""
    names = {
        "loss": "train_loss",
        "accuracy": "train_accuracy",
        "epoch_s": "epoch_s",  # of training alone
        "eval_loss": "validation_loss",
        "eval_accuracy": "validation_accuracy",
        "eval_clip_accuracy": "validation_clip_accuracy",
    }
    rows: dict[int, dict] = {}
    for entry in log_history:
        if "epoch" not in entry or not any(name in entry for name in names):
            continue
        epoch = round(entry["epoch"])
        row = rows.setdefault(epoch, {"epoch": epoch})
        row.update({new: entry[old] for old, new in names.items() if old in entry})
    return [rows[epoch] for epoch in sorted(rows) if epoch > 0]


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
