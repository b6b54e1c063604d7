"""What features look like: one clip's mel beside its latents, as in the paper's figure 2."""

import numpy as np
import torch
from datasets import Dataset

from hf_encls.audio import load
from hf_encls.data.columns import label_text
from hf_encls.model.configuration_encls import FeatureConfig
from hf_encls.model.mel_encls import LogMel
from hf_encls.report.pictures import Panel


def example_panels(windows: Dataset, config: FeatureConfig, clips: Dataset) -> list[Panel]:
    """The pictures of one window: its mel, made from its clip in `clips`, and beside it its features."""
    row = _example(windows)
    panel = window_panel(windows, config)
    if not config.representation.needs_codec:
        return [panel]
    clip = clips[clips["clip_id"][:].index(row["clip_id"])]
    waveform = load(clip["audio"], config.sampling_rate)
    first = round(row["start"] * config.sampling_rate)
    settings = {"sampling_rate": config.sampling_rate, "window_s": config.window_s, "step_s": config.window_s}
    mel = FeatureConfig(features=LogMel.kind, **settings)
    piece = torch.from_numpy(waveform[first : first + mel.window_samples])
    image = LogMel(mel).windows([piece])[0][0].numpy()
    return [feature_panel(image, mel, f"Mel: {row['clip_id']} at {row['start']:g} s"), panel]


def feature_panel(image: np.ndarray, config: FeatureConfig, title: str) -> Panel:
    """An image (bands, frames) of one window for `report.save_feature_picture`, with its units."""
    bands, values = config.representation.axes
    return Panel(config.representation.picture(image), title, config.window_s, bands, values)


def _example(windows: Dataset) -> dict:
    heard = np.flatnonzero(~np.asarray(windows["silent"][:]))
    return windows[int(heard[0]) if len(heard) else 0]


def window_panel(windows: Dataset, config: FeatureConfig) -> Panel:
    """The features of the first window that is not silent."""
    row = _example(windows)
    image = np.asarray(row["input_features"], np.float32)
    return feature_panel(image, config, f"{config.feature_name}: {label_text(windows, row['label'])}")
