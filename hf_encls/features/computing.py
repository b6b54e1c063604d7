"""Clips -> shards of windows: read, computed and written at the same time."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from datasets import Dataset, Features
from datasets.arrow_writer import ArrowWriter
from transformers import PreTrainedModel

from hf_encls.audio import AudioError, downmix, read, resample
from hf_encls.data.columns import DIVISION, UNKNOWN, class_names
from hf_encls.fast.tiles import convolutions_for
from hf_encls.features.contents import broke, changed, opened
from hf_encls.features.frontends import kept_frontend
from hf_encls.features.labelling import labelled
from hf_encls.features.long_clips import LONG_S, in_pieces, read_in_pieces
from hf_encls.features.progress import Progress
from hf_encls.features.shards import Shard, Taken, taking
from hf_encls.features.stages import Pace, in_stages, to_device, to_host
from hf_encls.files import writing
from hf_encls.model.configuration_encls import FeatureConfig

BATCH_S = 120.0  # seconds of audio that go through the codec together: its LSTM likes a dozen clips side by side
GROUP_S = 1200.0  # the same on an accelerator, in whole shards
READERS = min(16, os.cpu_count() or 1)  # threads that decode clips
# Of a shard that no other process has begun, as little as possible is taken before its turn.
ON_A_CPU = Pace(ahead=1, behind=1, readers=min(8, READERS), writers=1)
ON_AN_ACCELERATOR = Pace(ahead=2, behind=16, readers=READERS, writers=4)
SILENCE = 2.0**-15  # a window that stays below one step of 16-bit audio is pure silence


def compute(
    clips: Dataset,
    config: FeatureConfig,
    codec: PreTrainedModel | None,
    columns: Features,
    missing: list[Shard],
    device: str | torch.device | None,
) -> None:
    """Compute and publish the missing shards, or wait for those that other processes are at.

    `clips` have the column `digest`; `columns` are those of a row. Raises `ValueError` where a clip's file changed.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    labels, audio_s = len(class_names(clips.features)), sum(clips["duration_s"])
    extractor = None

    def windows_of(job: list[Piece], waveforms: list) -> Iterable[Callable[[], Written]]:
        nonlocal extractor  # made for the first shard: there may be none left for this process
        # The audio of all clips, whatever is missing, decides how they are computed.
        extractor = extractor or Extractor(config, codec, device, audio_s, labels)
        if job[0].is_long:
            return _written_in_pieces(job[0], waveforms[0], extractor)
        computed, steps, first = extractor(waveforms), [], 0
        for piece in job:
            steps.append(partial(_write, piece, computed, slice(first, first + len(piece)), waveforms, extractor))
            first += len(piece)
        return steps

    with (
        Progress(sum(shard.duration_s for shard in missing), config) as progress,
        taking(missing, lambda shard: progress.skip(shard.duration_s)) as taken,
    ):
        jobs = _jobs(clips, columns, taken, whole_shards=device.type != "cpu")
        pace = ON_A_CPU if device.type == "cpu" else ON_AN_ACCELERATOR
        for written in in_stages(jobs, partial(_reads, config), windows_of, pace):
            if written.finished is not None:
                taken.release(written.finished)
            progress.add(written.duration_s, written.windows)


@dataclass(frozen=True)
class Piece:
    """Clips of one shard, a dict of columns, that are computed together, and where their windows go."""

    output: "ShardFile"
    clips: dict
    is_last: bool

    def __len__(self) -> int:
        return len(self.clips["label"])

    @property
    def is_long(self) -> bool:
        """Whether it is one clip, whose samples are not in memory at once."""
        return len(self) == 1 and self.clips["duration_s"][0] > LONG_S


@dataclass(frozen=True)
class Written:
    """Windows that are in the file of their shard, how much audio they are of, and the shard if these were its last."""

    finished: Shard | None
    duration_s: float
    windows: int


def _jobs(clips: Dataset, columns: Features, taken: Taken, whole_shards: bool) -> Iterator[list[Piece] | None]:
    """What is computed at once: a batch of a shard, or several whole shards, whose clips the codec takes side by side."""
    group: list[Piece] = []
    for shard in taken:
        if shard is not None:
            part, output = clips.select(shard.clips), ShardFile(shard, columns)
            per_batch = max(1, round(BATCH_S * len(part) / max(shard.duration_s, 1e-9)))
            if whole_shards and not (piece := Piece(output, part[:], True)).is_long:
                group.append(piece)
            else:
                for start in range(0, len(part), per_batch):
                    yield [Piece(output, part[start : start + per_batch], start + per_batch >= len(part))]
        if group and (shard is None or sum(piece.output.shard.duration_s for piece in group) >= GROUP_S):
            yield group
            group = []
        if shard is None:
            yield None
    if group:
        yield group


def _reads(config: FeatureConfig, job: list[Piece]) -> list[Callable[[], np.ndarray | Iterator[np.ndarray]]]:
    columns = ("audio", "digest", "duration_s")
    clips = [clip for piece in job for clip in zip(*(piece.clips[name] for name in columns), strict=True)]
    how = read_in_pieces if job[0].is_long else _read
    return [partial(how, config.sampling_rate, *clip) for clip in clips]


def _read(sampling_rate: int, audio: dict, digest: str, duration_s: float) -> np.ndarray:
    """(N,) at the features' rate. What is decoded are the very bytes whose checksum is compared."""
    with opened(audio) as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != digest:
        raise changed(audio)
    try:
        samples, rate = read(data)
    except AudioError as error:
        raise broke(audio, error) from error
    if len(samples) / rate != duration_s:
        raise changed(audio)
    return resample(downmix(samples), rate, sampling_rate)


def _write(
    piece: Piece, computed: "Computed", clips: slice, waveforms: list[np.ndarray], extractor: "Extractor"
) -> Written:
    """Write the windows of some `clips` of what was made."""
    with writing(piece.output.shard.path):
        counts, values = computed.of(clips)
        starts = [extractor.config.window_starts_s(count) for count in counts]
        quiet = [extractor.silent(*each) for each in zip(waveforms[clips], starts, strict=True)]
        rows = extractor.rows(piece.clips, starts, quiet, values)
        piece.output.add(rows)
        if piece.is_last:
            piece.output.publish()
    finished = piece.output.shard if piece.is_last else None
    return Written(finished, sum(piece.clips["duration_s"]), len(rows["start"]))


def _written_in_pieces(
    piece: Piece, blocks: Iterator[np.ndarray], extractor: "Extractor"
) -> Iterator[Callable[[], Written]]:
    """Compute and write the windows of one long clip, some at a time, each behind those before.

    Writing is nothing beside the computing here: the steps that are left only say what was done.
    """
    left_s = piece.clips["duration_s"][0]
    for windows in in_pieces(extractor, blocks, piece.clips["audio"][0]["path"]):
        with writing(piece.output.shard.path):
            rows = extractor.rows(piece.clips, [windows.starts_s], [windows.silent], windows.values)
            piece.output.add(rows)
        left_s -= windows.duration_s
        yield partial(Written, None, windows.duration_s, len(rows["start"]))
    with writing(piece.output.shard.path):
        piece.output.publish()
    yield partial(Written, piece.output.shard, max(0.0, left_s), 0)


class ShardFile:
    """The file of a shard while it is written, under another name."""

    def __init__(self, shard: Shard, columns: Features):
        self.shard, self.columns = shard, columns
        self.writer: ArrowWriter | None = None

    def add(self, rows: dict) -> None:
        """Write some rows behind those that are there."""
        if self.writer is None:
            # Of a worker that was killed: the lock says that nobody is in it.
            shutil.rmtree(self.shard.work, ignore_errors=True)
            self.shard.work.mkdir()
            path, fingerprint = str(self.shard.work / "rows.arrow"), self.shard.fingerprint
            self.writer = ArrowWriter(features=self.columns, path=path, writer_batch_size=100, fingerprint=fingerprint)
        self.writer.write_batch(rows)

    def publish(self) -> None:
        """Put the finished file in its place."""
        self.writer.finalize()
        self.shard.publish(self.shard.work / "rows.arrow")
        shutil.rmtree(self.shard.work, ignore_errors=True)


class Computed:
    """The windows of the clips of a job: how many each clip has, and themselves, once they have come from the device."""

    def __init__(self, counts: list[int], values: Callable[[], list[np.ndarray]]):
        self.counts, self._values = counts, values
        self._ends = np.cumsum([0, *counts])

    def of(self, clips: slice) -> tuple[list[int], list[np.ndarray]]:
        """The counts of some clips, their windows (W, C, T), and of floating-point ones the largest values (W,)."""
        rows = slice(self._ends[clips.start], self._ends[clips.stop])
        return self.counts[clips], [values[rows] for values in self._values()]


class Extractor:
    """Waveforms -> windows -> rows. `audio_s`: seconds of audio that are to come; `num_labels`: classes."""

    def __init__(
        self,
        config: FeatureConfig,
        codec: PreTrainedModel | None,
        device: str | torch.device | None = None,
        audio_s: float = 0.0,
        num_labels: int = 0,
    ):
        self.config = config
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.frontend = kept_frontend(config, codec, self.device)
        self.dtype = np.dtype(config.representation.stored_dtype)
        self.num_labels = num_labels
        self.frontend.convolutions = convolutions_for(self.frontend, audio_s)

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Computed:
        """Waveforms (N,) -> their windows, in the precision that is stored."""
        with torch.inference_mode():
            windows = self.frontend.stored_windows(to_device(waveforms, self.device))
            return self.kept(torch.cat(windows), [len(clip) for clip in windows])

    def kept(self, windows: torch.Tensor, counts: list[int]) -> Computed:
        """Windows (W, C, T), `counts` of each clip, in the precision that is stored."""
        if not windows.is_floating_point():
            return Computed(counts, to_host(windows))
        largest = windows.abs().amax(dim=(1, 2))  # NaN where any is
        return Computed(counts, to_host(windows.to(getattr(torch, self.dtype.name)), largest))

    def of_sound(self, waveform: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """One sound (N,) at the features' rate -> its windows as they are kept (W, C, T), and which are silence (W,)."""
        _, (values, *largest) = self([waveform]).of(slice(0, 1))
        for each in largest:
            self._check(each, np.repeat("the sound", len(each)))
        kept = values.astype(self.dtype, copy=False)
        kept = torch.from_numpy(kept.view(np.int16) if kept.dtype == np.uint16 else kept)
        return kept, self.silent(waveform, self.config.window_starts_s(len(values)))

    def rows(
        self, clips: dict, starts_s: Sequence[np.ndarray], silent: Sequence[np.ndarray], arrays: list[np.ndarray]
    ) -> dict:
        """The columns of windows of some clips, `arrays` (`Computed.of`), from when each starts and which are silent.

        Raises `ValueError` for windows that cannot be trained on.
        """
        values, *largest = arrays
        rows = {
            "start": np.concatenate(starts_s),
            "silent": np.concatenate(silent),
            **{
                name: [value for value, starts in zip(clips[name], starts_s, strict=True) for _ in range(len(starts))]
                for name in (*DIVISION, UNKNOWN)
                if name in clips
            },
        }
        used = slice(None)
        if "segments" in clips:
            used, rows = labelled(clips, starts_s, rows, self.config, self.num_labels)
        for each in largest:
            self._check(each[used], np.asarray(rows["clip_id"]))
        return {"input_features": values[used].astype(self.dtype, copy=False), **rows}

    def _check(self, largest: np.ndarray, clip_ids: np.ndarray) -> None:
        """Raise `ValueError` where the largest values of windows (W,) cannot be trained on; the first such clip is named."""
        wrong = ~np.isfinite(largest)
        if wrong.any():
            fault = (
                f"expected finite {self.config.feature_name}, found NaN or infinity in those of {clip_ids[wrong][0]}"
            )
            raise ValueError(
                f"{fault}: the codec's weights or its precision ({self.config.codec_dtype}) do not work here; load the "
                "codec again, or take `codec_dtype=float32`"
                if self.config.representation.needs_codec
                else f"{fault}: is the audio within -1 to 1?"
            )
        wrong = largest > np.finfo(np.float16).max
        if self.dtype == np.float16 and wrong.any():
            raise ValueError(
                f"expected latents within float16, found larger ones in those of {clip_ids[wrong][0]}: is its audio "
                "within -1 to 1, and is this codec trained and loaded whole?"
            )

    def silent(self, waveform: np.ndarray, starts_s: np.ndarray) -> np.ndarray:
        """Which windows (W,) that start there hold pure silence, the mirrored end of the last one included."""
        length, size = len(waveform), self.config.window_samples
        starts = np.round(starts_s * self.config.sampling_rate).astype(int)
        beyond = np.maximum(0, starts + size - length)
        first = np.maximum(0, np.minimum(starts, length - 1 - beyond))
        return np.array([np.abs(waveform[a : b + size]).max() < SILENCE for a, b in zip(first, starts, strict=True)])
