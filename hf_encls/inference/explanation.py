"""explain(): which times and bands of a sound spoke for a label."""

import math
import os
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from hf_encls.audio import AudioError
from hf_encls.codec.codes import CodesError
from hf_encls.codec.identity import check_fits
from hf_encls.inference.pipeline import EnclsPipeline, SourceSettings
from hf_encls.inference.sources import name_of, open_source
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.model.problem_encls import has_several_labels

LONGEST_S = 30.0  # every window is classified as often as it has patches
BANDS, TIMES = 8, 8  # patches of a window that are hidden, one at a time
TOGETHER = 8  # windows that are explained together


@dataclass(frozen=True)
class Explanation:
    """What spoke for the labels of a sound's windows, and when."""

    heat: np.ndarray  # (C, F) float32 in nats, see `explain`; of features whose bands have no order (1, F)
    step_s: float  # seconds of one of the F columns
    duration_s: float
    labels: list[str]  # (W,) what each window was asked about
    row_name: str  # what a row is: "Mel band"


def explain(
    source,
    model: str | os.PathLike | EnclsPipeline,
    *,
    target: str | None = None,
    **settings,
) -> Explanation:
    """Which times and bands of a sound spoke for a label, window by window, by occlusion, whatever the head is.

    Each patch, an eighth of a window's time and an eighth of its bands, is hidden once: what is louder there than the mean
    of the training windows is brought down to it (latents are put to it). The heat is by how much the log-odds of the label
    fall; below 0 the patch spoke against it. Bands of latents have no order: there is one row for all of them.

    Args:
        source: a path, bytes, array, codes or whatever else `EnclsPipeline` takes, of half a minute at most.
        model: a folder, a Hub id or a pipeline.
        target: the label that is asked about; None: of each window the one that is most probable there.
        settings: how sources are read, those of `SourceSettings`: `sampling_rate`, `family`, `assume_codec`.

    Raises `ValueError` for a label that is none, for longer sounds, and for a source that cannot be classified.

    Examples:
        >>> import hf_encls  # doctest: +SKIP
        >>> hf_encls.explain("street.flac", "my_model", target="siren").heat.shape  # doctest: +SKIP
        (128, 345)
    """
    pipe = model if isinstance(model, EnclsPipeline) else EnclsPipeline.from_pretrained(model)
    labels = [pipe.model.config.id2label[i] for i in range(pipe.model.config.num_labels)]
    if target is not None and target not in labels:
        raise ValueError(f"expected `target` to be one of {', '.join(labels)}, found {target!r:.80}")
    windows, duration_s = _windows(pipe, source, SourceSettings(**settings))
    targets, heats = [], []
    for some in windows.split(TOGETHER):
        with torch.no_grad():
            predicted = pipe.model.classify(some).argmax(-1)
        predicted = predicted if target is None else torch.full_like(predicted, labels.index(target))
        targets += [labels[index] for index in predicted.tolist()]
        heats.append(occlusion(pipe.model, some, predicted).float().cpu())
    heat, step_s = _joined(torch.cat(heats).numpy(), pipe.grid, duration_s)
    row_name = pipe.model.config.representation.axes[0]
    return Explanation(heat, step_s, duration_s, targets, row_name)


@torch.no_grad()
def occlusion(model: EnclsForAudioClassification, windows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Windows (W, C, T) and their targets (W,) -> by how much the log-odds fall where a patch is hidden, (W, C, T)."""
    config, (count, bands, frames) = model.config, windows.shape
    # Where standardisation is off there is no mean of the training windows: that of these stands in.
    mean = model.feature_mean[:, None] if config.standardization == "band" else windows.mean((0, 2))[:, None]
    is_ordered = config.representation.ordered
    hidden = torch.minimum(windows, mean) if is_ordered else mean.expand_as(windows)
    heat = torch.zeros_like(windows)
    several = has_several_labels(config)
    before = log_odds(model.classify(windows), targets, several)
    for rows in _edges(bands, BANDS if is_ordered else 1):
        parts = _edges(frames, TIMES)
        changed = windows.repeat(len(parts), 1, 1, 1)
        for number, part in enumerate(parts):
            changed[number, :, rows, part] = hidden[:, rows, part]
        after = log_odds(model.classify(changed.flatten(0, 1)), targets.repeat(len(parts)), several).reshape(-1, count)
        for number, part in enumerate(parts):
            heat[:, rows, part] = (before - after[number])[:, None, None]
    return heat


def log_odds(logits: torch.Tensor, targets: torch.Tensor, several: bool = False) -> torch.Tensor:
    """Logits (W, L) -> of each row's target, the logarithm of its probability over that of all others together (W,).

    With `several` labels at once, over that of its absence, which the logits are already.

    A probability near 1 hardly moves, whatever is hidden; its log-odds do.
    """
    columns = targets[:, None]
    others = 0.0 if several or logits.shape[1] == 1 else logits.scatter(1, columns, -math.inf).logsumexp(1)
    return logits.gather(1, columns)[:, 0] - others


def _windows(pipe: EnclsPipeline, source, settings: SourceSettings) -> tuple[torch.Tensor, float]:
    """The windows of a source (W, C, T), float32, and its seconds."""
    rate = pipe.model.config.sampling_rate
    try:
        clip = open_source(source, rate, settings.sampling_rate, settings.family)
        if clip.codes is not None:
            check_fits(clip.codes, pipe.model.config, settings.assume_codec)
            _check_length(clip.codes.duration_s)
            with torch.no_grad():
                return torch.cat(list(pipe._windows_of_codes(clip))).float(), clip.codes.duration_s
        blocks, length = [], 0
        for block in clip.blocks:
            blocks.append(block)
            length += len(block)
            _check_length(length / rate)
        if not length:
            raise ValueError("expected at least one sample, found an empty clip")
    except ValueError as error:
        kind = type(error) if isinstance(error, AudioError | CodesError) else ValueError
        raise kind(f"{name_of(source)}: {error}") from error
    with torch.no_grad():
        wave = torch.from_numpy(np.concatenate(blocks)).to(pipe.device)
        return pipe._frontend.windows([wave])[0].float(), length / rate


def _check_length(duration_s: float) -> None:
    if duration_s > LONGEST_S:
        raise ValueError(f"expected at most {LONGEST_S:g} s to explain, found more: cut out what you ask about")


def _joined(heat: np.ndarray, config: EnclsConfig, duration_s: float) -> tuple[np.ndarray, float]:
    """Heat of windows (W, C, T) -> that of the clip (C, F), the mean where they overlap, and the seconds of a frame."""
    step_s = config.window_units * config.samples_per_unit / config.sampling_rate / heat.shape[2]
    if not config.representation.ordered:
        heat = heat.mean(axis=1, keepdims=True)
    starts = np.round(config.window_starts_s(len(heat)) / step_s).astype(np.int64)
    length = int(starts[-1]) + heat.shape[2]
    sums, counts = np.zeros((heat.shape[1], length), np.float32), np.zeros(length, np.float32)
    for start, window in zip(starts, heat, strict=True):
        sums[:, start : start + heat.shape[2]] += window
        counts[start : start + heat.shape[2]] += 1
    frames = max(1, min(length, math.ceil(duration_s / step_s - 1e-6)))
    return (sums / np.maximum(counts, 1))[:, :frames], step_s


def _edges(length: int, count: int) -> list[slice]:
    """`length` divided into at most `count` parts, none of them empty."""
    edges = np.unique(np.linspace(0, length, count + 1).round().astype(int)).tolist()
    return [slice(first, last) for first, last in pairwise(edges)]
