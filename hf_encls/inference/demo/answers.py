"""What the page shows of one sound: scores, a timeline, pictures, files to download. Nothing here knows Gradio."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hf_encls.audio import AudioError, header_duration_s, stream
from hf_encls.inference.explanation import explain
from hf_encls.inference.picture import Envelope, save_timeline_picture
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.model.configuration_encls import FeatureConfig
from hf_encls.model.mel_encls import LogMel
from hf_encls.report.feature_pictures import feature_panel
from hf_encls.report.pictures import Panel, save_feature_picture
from hf_encls.timelines.formats import EXTENSIONS, render

FEATURES_S = 10.0  # of a clip whose features are drawn: more could not be seen
DOWNLOADS = ("json", "csv")


@dataclass(frozen=True)
class Limits:
    """What the page takes. Raises `ValueError` for limits that let nothing through."""

    max_minutes: float = 10.0
    max_mb: float = 100.0

    def __post_init__(self):
        for name in ("max_minutes", "max_mb"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"expected {name} above 0, found {getattr(self, name)}")

    @property
    def max_bytes(self) -> int:
        """Bytes of an upload; a megabyte is 2**20 bytes, as Gradio counts them."""
        return max(1, round(self.max_mb * (1 << 20)))


@dataclass(frozen=True)
class Answer:
    """What was heard in one sound, and the files that show it."""

    duration_s: float
    scores: dict[str, float]  # all labels, the most probable first
    segments: list[dict]
    timeline: Path  # PNG
    features: Path  # PNG
    downloads: dict[str, Path]  # format -> file
    labels: tuple[str, ...] = ()  # of the model, in its order
    windows: int = 1  # that were heard
    window_s: float = 1.0


def answer(
    pipe: EnclsPipeline,
    path: str | os.PathLike,
    folder: str | os.PathLike,
    limits: Limits,
    *,
    smoothing: str = "none",
    min_duration_s: float = 0.0,
) -> Answer:
    """Classify the file at `path` and write pictures and downloads into `folder`, which exists.

    `smoothing` and `min_duration_s` are those of `Segmentation`. Raises `ValueError` with the reason for a file that
    is too large, too long, broken, or no audio.
    """
    path, folder = Path(path), Path(folder)
    rate = pipe.model.config.sampling_rate
    waveform = listen(path, rate, limits)
    analysis = pipe.analyse({"array": waveform, "sampling_rate": rate, "path": path.name}, progress=False)
    segments = analysis.timeline(smoothing=smoothing, min_duration_s=min_duration_s)
    envelope = Envelope(rate, bin_s=min(0.01, analysis.duration_s / 1000))
    envelope.add(waveform)
    timeline = save_timeline_picture(folder / "timeline.png", segments, analysis.cells(), envelope=envelope)
    features = save_feature_picture(feature_panels(pipe, waveform), folder / "features.png")
    downloads = {}
    for format in DOWNLOADS:
        downloads[format] = folder / f"{path.stem or 'sound'}_segments{EXTENSIONS[format]}"
        text = render(segments, format, name=path.name, duration_s=analysis.duration_s)
        downloads[format].write_text(text, encoding="utf-8", newline="")
    scores = {each["label"]: each["score"] for each in analysis.top(None)}
    return Answer(
        analysis.duration_s,
        scores,
        segments,
        timeline,
        features,
        downloads,
        labels=tuple(analysis.labels),
        windows=len(analysis.cells().probabilities),
        window_s=pipe.model.config.window_s,
    )


def listen(path: Path, sampling_rate: int, limits: Limits) -> np.ndarray:
    """Decode a file within the limits: mono float32 (N,) at `sampling_rate` hertz.

    Size and header are looked at first; a header that promises less than comes is found out while decoding. Raises
    `AudioError`.
    """
    if path.is_file() and path.stat().st_size > limits.max_bytes:
        megabytes = path.stat().st_size / (1 << 20)
        raise AudioError(f"is too large: {megabytes:.1f} MB, and this page takes {limits.max_mb:g} MB")
    expected_s = header_duration_s(path)
    if expected_s is not None:
        _check_length(expected_s, limits)
    blocks = list(_counted(stream(path, sampling_rate), sampling_rate, limits))
    if not blocks:
        raise AudioError("has no samples")
    return np.concatenate(blocks)


def feature_panels(pipe: EnclsPipeline, waveform: np.ndarray) -> list[Panel]:
    """The features of a clip (N,), of its loudest 10 seconds where it is longer: mel, in a mel model with that model's
    own settings, beside it what the model hears where that comes from a codec, and what of it spoke for the answer.
    """
    config, frontend = pipe.model.config, pipe.model.frontend
    rate = config.sampling_rate
    start, stop = loudest(waveform, round(FEATURES_S * rate), rate)
    duration_s = (stop - start) / rate
    where = f", {start / rate:g} to {stop / rate:g} s" if stop - start < len(waveform) else ""
    piece = torch.from_numpy(np.ascontiguousarray(waveform[start:stop]))
    panels = [mel_panel(piece, config, f"Mel{where}")]
    if config.representation.needs_codec:
        with torch.inference_mode():
            image = frontend.latents([piece.to(pipe.device)])[0]
            image = frontend.codes(image) if config.representation.integers else image
        title = f"{config.features.capitalize()} of {config.codec_id or 'a codec'}{where}"
        panels.append(feature_panel(image.float().cpu().numpy(), config, title))
    return [*(replace(panel, duration_s=duration_s) for panel in panels), why_panel(pipe, piece, where)]


def why_panel(pipe: EnclsPipeline, piece: torch.Tensor, where: str) -> Panel:
    """What spoke for the label of each window of samples (N,)."""
    why = explain({"array": piece.numpy(), "sampling_rate": pipe.model.config.sampling_rate}, pipe)
    said = f'"{why.labels[0]}"' if len(set(why.labels)) == 1 else "each window's label"
    rows = why.row_name if len(why.heat) > 1 else "All bands together"
    title = f"Why {said}{where}"
    return Panel(why.heat.clip(0), title, why.heat.shape[1] * why.step_s, rows, "Evidence (nats of log-odds)")


def mel_panel(piece: torch.Tensor, config: FeatureConfig, title: str) -> Panel:
    """The log-mel of samples (N,)."""
    if not config.representation.needs_codec:
        settings = {"num_bands": config.num_bands, "n_fft": config.n_fft, "hop_length": config.hop_length}
        settings["floor_db"] = config.floor_db
    else:  # 43 ms: with less, the lowest of 128 bands would be empty
        n_fft = 1024 * max(1, config.sampling_rate // 24_000)
        settings = {"num_bands": 128, "n_fft": n_fft, "hop_length": n_fft // 4}
    # A shorter clip is reflected to a window, and the frames beyond its end are cut off.
    window_s = max(len(piece) / config.sampling_rate, config.window_s, 1.0)
    rate = config.sampling_rate
    mel = FeatureConfig(features=LogMel.kind, sampling_rate=rate, window_s=window_s, step_s=window_s, **settings)
    image = LogMel(mel).windows([piece])[0][0].numpy()
    return feature_panel(image[:, : max(1, math.ceil(len(piece) / mel.hop_length))], mel, title)


def loudest(waveform: np.ndarray, length: int, hop: int) -> tuple[int, int]:
    """First and last + 1 sample of the `length` samples with the most energy, in hops; of all where it is shorter."""
    if len(waveform) <= length:
        return 0, len(waveform)
    starts = np.arange(0, len(waveform) - length + 1, hop)
    energy = [float(np.square(waveform[i : i + length]).sum()) for i in starts]
    start = int(starts[int(np.argmax(energy))])
    return start, start + length


def _counted(blocks: Iterator[np.ndarray], rate: int, limits: Limits) -> Iterator[np.ndarray]:
    seconds = 0.0
    for block in blocks:
        seconds += len(block) / rate
        _check_length(seconds, limits)
        yield block


def _check_length(seconds: float, limits: Limits) -> None:
    if seconds > limits.max_minutes * 60:
        raise AudioError(
            f"is too long: this page takes {limits.max_minutes:g} minutes; hf-encls segment takes files of any length"
        )
