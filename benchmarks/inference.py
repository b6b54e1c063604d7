"""The pipeline on a clip and on an hour, the CNN on two kinds of features, and what bfloat16 changes."""

import json
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import soundfile
import torch
from timing import Row, full_size, in_turns, work_folder

from hf_encls.codec.loading import bundled_codecs, load_codec
from hf_encls.data.folders import scan_folder
from hf_encls.data.splits import make_splits
from hf_encls.data.synthetic import write_synthetic
from hf_encls.fast.onednn_tiles import ENOUGH_S
from hf_encls.fast.tiles import WhileListening
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.features.store import FeatureStore, Windows
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.model.modeling_encls import EnclsForAudioClassification


def pipeline_clip(options: Namespace) -> list[Row]:
    """A 5 s clip: the whole pipeline against its codec pass and its CNN pass."""
    pipe = _pipeline()
    wave = _noise(5.0)

    def parts() -> None:
        with torch.inference_mode():
            windows = pipe.model.frontend.windows([torch.from_numpy(wave)])[0]
            pipe.model.classify(windows)

    def whole() -> None:
        pipe._listening = WhileListening()  # with oneDNN's graphs it would do better than its parts
        pipe(wave)

    times = in_turns({"parts": parts, "pipeline": whole}, 5 * options.repeats)
    details = {"milliseconds": {name: round(1e3 * value, 1) for name, value in times.items()}}
    ratio = times["pipeline"] / times["parts"]
    return [
        Row(
            "pipeline on a 5 s clip, 24 kHz", "its codec pass and CNN pass", ratio, 1.15, at_most=True, details=details
        )
    ]


def pipeline_hour(options: Namespace) -> list[Row]:
    """A long file, given as a file: time per second against that of 5 s clips, and memory, in a process of its own."""
    with work_folder() as folder:
        for name, duration_s in (("clip.flac", 5.0), ("hour.flac", options.hour_s)):
            with soundfile.SoundFile(folder / name, "w", 24_000, 1) as file:
                for _ in range(round(duration_s / 5)):
                    file.write(_noise(5.0))
        command = [sys.executable, __file__, str(folder), str(options.threads)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    rate_clip, rate_hour = 5.0 / found["clip_s"], options.hour_s / found["hour_s"]
    details = {
        "x_real_time": {"clip": round(rate_clip, 1), "hour": round(rate_hour, 1)},
        "seconds": round(found["hour_s"], 1),
    }
    name = f"pipeline on a file of {options.hour_s:g} s"
    return [
        Row(f"{name}: time per second", "its own 5 s rate", rate_clip / rate_hour, 1.2, at_most=True, details=details),
        Row(f"{name}: MB above the loaded process", "700 MB", found["memory_mb"], 700.0, at_most=True),
    ]


def cnn(options: Namespace) -> list[Row]:
    """The CNN on a second of latents (128 x 75) and on a second of the paper's mel (128 x 173)."""
    sides = {}
    for name, frames in (("latents", 75), ("mel", 173)):
        # Only the width counts here; a window of so many frames at 75 per second.
        model = EnclsForAudioClassification(
            EnclsConfig(window_s=frames / 75, step_s=frames / 75, num_labels=50)
        ).eval()
        windows = torch.randn(64, 128, frames)

        def classify(model=model, windows=windows) -> None:
            with torch.inference_mode():
                model.classify(windows)

        sides[name] = classify
    times = in_turns(sides, 5 * options.repeats)
    details = {"windows_per_s": {name: round(64 / value) for name, value in times.items()}}
    ratio = times["mel"] / times["latents"]
    return [Row("CNN inference on 24 kHz latents", "mel of 173 frames", ratio, 2.0, details=details)]


def bfloat16(options: Namespace) -> list[Row]:
    """Latents and predictions of a trained codec in bfloat16 against float32."""
    name = options.codec or ("mini" if "mini" in bundled_codecs() else "untrained")
    codec = load_codec(name)
    with work_folder() as folder:
        clips, _ = scan_folder(options.data_dir or write_synthetic(folder / "sounds"))
        sets = {}
        for dtype in ("float32", "bfloat16"):
            config = feature_config("encodec_24khz", clips, codec, codec_dtype=dtype)
            features = extract_features(clips, config, codec, cache_dir=folder / "cache")
            sets[dtype] = FeatureStore(Windows(features), np.arange(len(features)))
        train = make_splits(features, "clip")["train"]
        exact, rounded = (store.windows.take(store.rows).float() for store in sets.values())
        centred = exact - exact.mean(dim=(0, 2), keepdim=True)
        error = ((rounded - exact).norm() / centred.norm()).item()
        store = sets["float32"]
        model = _train(FeatureStore(store.windows, train), clips.features["label"].num_classes)
        same = np.mean(_votes(model, exact, store.clip_ids) == _votes(model, rounded, store.clip_ids))
    details = {
        "codec": Path(name).name,
        "data": Path(options.data_dir).name if options.data_dir else "synthetic sounds",
    }
    details["clips"] = len(clips)
    details["error_relative_to_mean_removed_latents"] = round(error, 5)
    details["training_accuracy"] = round(model.accuracy, 3)
    return [Row("bfloat16: share of clip predictions unchanged", "float32", float(same), 0.99, details=details)]


def _train(store: FeatureStore, classes: int) -> EnclsForAudioClassification:
    torch.manual_seed(0)
    model = EnclsForAudioClassification(EnclsConfig(num_labels=classes))
    model.set_standardization(*store.statistics())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(8):
        hits = 0
        for part in torch.randperm(len(store)).split(32):
            batch = store.__getitems__(part.tolist())
            output = model(**batch)
            output.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            hits += (output.logits.argmax(-1) == batch["labels"]).sum().item()
    model.accuracy = hits / len(store)
    return model.eval()


def _votes(model: EnclsForAudioClassification, windows: torch.Tensor, clip_ids: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        scores = torch.cat([model.classify(part) for part in windows.split(256)]).softmax(-1).numpy()
    return np.array([scores[clip_ids == clip].mean(axis=0).argmax() for clip in np.unique(clip_ids)])


def _pipeline() -> EnclsPipeline:
    codec = full_size(24)
    config = feature_config("encodec_24khz", codec=codec, codec_id="full size, untrained", num_labels=50)
    model = EnclsForAudioClassification(config)
    model.attach_codec(codec)
    extractor = EnclsFeatureExtractor(sampling_rate=24_000)
    return EnclsPipeline(model=model.eval(), feature_extractor=extractor, task="audio-classification", device="cpu")


def _noise(duration_s: float) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(duration_s * 24_000))).astype(np.float32)


def _measure_hour(folder: Path, threads: int) -> dict:
    torch.set_num_threads(threads)
    pipe = _pipeline()
    clip = str(folder / "clip.flac")
    pipe(clip)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here, not from the loading of the model
    loaded = _memory_kb("VmRSS")
    pipe._listening.hear(ENOUGH_S)  # as for the hour: with oneDNN's graphs, which count as memory
    pipe(clip)
    clip_s = in_turns({"clip": lambda: pipe(clip)}, 15)["clip"]
    started = time.perf_counter()
    pipe(str(folder / "hour.flac"))
    hour_s = time.perf_counter() - started
    again_s = in_turns({"clip": lambda: pipe(clip)}, 15)["clip"]  # the machine may have become busier or quieter
    memory_mb = (_memory_kb("VmHWM") - loaded) / 1024
    return {"clip_s": (clip_s + again_s) / 2, "hour_s": hour_s, "memory_mb": memory_mb}


def _memory_kb(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:"))


if __name__ == "__main__":
    print(json.dumps(_measure_hour(Path(sys.argv[1]), int(sys.argv[2]))))
