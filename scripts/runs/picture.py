"""The picture of the README: a recording, its latents, and what a classifier says of it.

    python scripts/runs/picture.py docs/picture.png

The recording is made of one test clip of each class of the synthetic sounds; the classifier is trained on the spot, on the
latents of the bundled mini codec, with the head that is fitted in seconds.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import hf_encls
from hf_encls.audio import load
from hf_encls.report.canvas import COLOURS

SECONDS = 2.0  # of each clip
STEP_S = 0.25  # between labels


def main() -> None:
    """Train, join, classify, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    picture = parser.parse_args().picture
    with tempfile.TemporaryDirectory() as folder:
        sounds = hf_encls.write_synthetic(Path(folder) / "sounds")
        clips, _ = hf_encls.scan_folder(sounds)
        codec = hf_encls.load_codec("mini")
        config = hf_encls.feature_config("latents", clips, codec=codec, head="statistics")
        windows = hf_encls.extract_features(clips, config, codec=codec, cache_dir=Path(folder) / "cache")
        args = hf_encls.EnclsTrainingArguments(str(Path(folder) / "model"), use_cpu=True, report_to="none")
        run = hf_encls.train(windows, config, codec=codec, args=args)
        run.save(Path(folder) / "model")
        waveform, labels = recording(sounds, run.parts["test"], config.sampling_rate)
        classifier = hf_encls.EnclsPipeline.from_pretrained(Path(folder) / "model")
        classifier.set_step(STEP_S)
        segments = classifier({"raw": waveform, "sampling_rate": config.sampling_rate}, return_timestamps=True)
        with torch.no_grad():
            latents = codec.encoder(torch.from_numpy(waveform)[None, None])[0].numpy()
    draw(waveform, config.sampling_rate, latents, segments, labels)
    plt.savefig(picture, dpi=110)


def recording(sounds: Path, test: list[str], sampling_rate: int) -> tuple[np.ndarray, list[str]]:
    """The first test clip of each class, one after the other: (N,) and the classes."""
    first = {Path(clip).parts[-2]: clip for clip in reversed(test)}
    parts = [load(sounds / clip, sampling_rate)[: round(SECONDS * sampling_rate)] for clip in first.values()]
    return np.concatenate(parts), list(first)


def draw(waveform: np.ndarray, rate: int, latents: np.ndarray, segments: list[dict], labels: list[str]) -> None:
    """Three rows over one axis of time."""
    length = len(waveform) / rate
    _, (wave, grid, line) = plt.subplots(
        3, 1, figsize=(9, 4.2), sharex=True, height_ratios=[1, 1.6, 0.7], layout="constrained"
    )
    wave.plot(np.arange(len(waveform)) / rate, waveform, color="#444444", linewidth=0.3)
    wave.set_ylabel("sound")
    scaled = (latents - latents.mean(1, keepdims=True)) / latents.std(1, keepdims=True).clip(1e-6)
    grid.imshow(
        scaled, aspect="auto", origin="lower", extent=(0, length, 0, len(latents)), vmin=-2.5, vmax=2.5, cmap="magma"
    )
    grid.set_ylabel(f"latents\n{len(latents)} x {latents.shape[1] / length:.0f} a second")
    for segment in segments:
        colour = COLOURS[sorted(labels).index(segment["label"])]
        line.axvspan(segment["start"], segment["end"], 0.5, 1, color=colour)
        if segment["end"] - segment["start"] > 0.7:
            middle = (segment["start"] + segment["end"]) / 2
            line.text(middle, 0.75, segment["label"], ha="center", va="center", color="white", weight="bold")
    for index, label in enumerate(labels):
        line.text((index + 0.5) * SECONDS, 0.25, label, ha="center", va="center", color="#444444")
    line.set(ylim=(0, 1), yticks=[0.25, 0.75], yticklabels=["truth", "said"], xlabel="seconds", xlim=(0, length))
    for axis in (wave, grid):
        axis.set_yticks([])
    for axis in (wave, line):
        axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
