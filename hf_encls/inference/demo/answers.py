"""What the page shows of one sound: scores, a timeline, pictures, files to download. Nothing here knows Gradio."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hf_encls.audio import AudioError, header_duration_s, stream
from hf_encls.feature_pictures import feature_panel
from hf_encls.hub.configuration_encls import MEL_KINDS, EnclsConfig
from hf_encls.hub.frontend_encls import MelFrontend
from hf_encls.inference.formats import EXTENSIONS, render
from hf_encls.inference.picture import Envelope, save_timeline_picture
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.report import Panel, save_feature_picture

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
        """Bytes of an upload."""
        return max(1, round(self.max_mb * 1_000_000))


@dataclass(frozen=True)
class Answer:
    """What was heard in one sound, and the files that show it."""

    duration_s: float
    scores: dict[str, float]  # all labels, the most probable first
    segments: list[dict]
    timeline: Path  # PNG
    features: Path  # PNG
    downloads: dict[str, Path]  # format -> file


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

    `smoothing` and `min_duration_s` are those of `make_timeline`. Raises `ValueError` with the reason for a file that
    is too large, too long, broken, or no audio.
    """
    path, folder = Path(path), Path(folder)
    rate = pipe.model.config.sampling_rate
    waveform = listen(path, rate, limits)
    analysis = pipe.analyse({"array": waveform, "sampling_rate": rate, "path": path.name}, progress=False)
    segments = analysis.timeline(smoothing=smoothing, min_duration_s=min_duration_s)
    envelope = Envelope(rate)
    envelope.add(waveform)
    timeline = save_timeline_picture(
        folder / "timeline.png",
        segments,
        analysis.cells(),
        analysis.labels,
        step_s=analysis.step_s,
        duration_s=analysis.duration_s,
        envelope=envelope,
    )
    features = save_feature_picture(feature_panels(pipe, waveform), folder / "features.png")
    downloads = {}
    for format in DOWNLOADS:
        downloads[format] = folder / f"{path.stem or 'sound'}_segments{EXTENSIONS[format]}"
        text = render(segments, format, name=path.name, duration_s=analysis.duration_s)
        downloads[format].write_text(text, encoding="utf-8", newline="")
    scores = {each["label"]: each["score"] for each in analysis.top(None)}
    return Answer(analysis.duration_s, scores, segments, timeline, features, downloads)


def listen(path: Path, sampling_rate: int, limits: Limits) -> np.ndarray:
    """Decode a file within the limits: mono float32 (N,) at `sampling_rate` hertz.

    Size and header are looked at first; a header that promises less than comes is found out while decoding. Raises
    `AudioError`.
    """
    if path.is_file() and path.stat().st_size > limits.max_bytes:
        found = path.stat().st_size / 1e6
        raise AudioError(f"is too large: {found:.1f} MB, and this page takes {limits.max_mb:g} MB")
    expected_s = header_duration_s(path)
    if expected_s is not None:
        _check_length(expected_s, limits)
    blocks = list(_counted(stream(path, sampling_rate), sampling_rate, limits))
    if not blocks:
        raise AudioError("has no samples")
    return np.concatenate(blocks)


def feature_panels(pipe: EnclsPipeline, waveform: np.ndarray) -> list[Panel]:
    """The features of a clip (N,), of its loudest 10 seconds where it is longer: log-mel, and beside it what the model
    hears where that comes from a codec.
    """
    config, frontend = pipe.model.config, pipe.model.frontend
    start, stop = loudest(waveform, round(FEATURES_S * config.sampling_rate), config.sampling_rate)
    duration_s = (stop - start) / config.sampling_rate
    where = (
        f", {start / config.sampling_rate:g} to {stop / config.sampling_rate:g} s"
        if stop - start < len(waveform)
        else ""
    )
    piece = torch.from_numpy(np.ascontiguousarray(waveform[start:stop]))
    own_rows = config.num_bands if config.features in MEL_KINDS else 128
    # Reflected to a window where the clip is shorter than one: the frames beyond its end are cut off below.
    mel = EnclsConfig(
        features="log_mel",
        sampling_rate=config.sampling_rate,
        num_bands=own_rows,
        window_s=max(duration_s, config.window_s),
        step_s=max(duration_s, config.window_s),
    )
    image = MelFrontend(mel).windows([piece])[0][0].numpy()
    image = image[:, : max(1, math.ceil(len(piece) / mel.hop_length))]
    panels = [replace(feature_panel(image, mel, f"Mel{where}"), duration_s=duration_s)]
    if config.features in MEL_KINDS or frontend is None:
        return panels
    with torch.inference_mode():
        latents = frontend.latents([piece.to(pipe.device)])[0]
        image = frontend.codes(latents) if config.uses_codes else latents
    kind = "Codes" if config.uses_codes else "Latents"
    panel = feature_panel(
        image.float().cpu().numpy(), config, f"{kind} of {config.features.removesuffix('_codes')}{where}"
    )
    return [*panels, replace(panel, duration_s=duration_s)]


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
            f"is too long: this page takes {limits.max_minutes:g} minutes; `hf-encls segment` takes files of any length"
        )
