"""What a GPU makes of extraction and of training; `--device cpu` runs the same code where there is none."""

import time
from argparse import Namespace

import numpy as np
import torch
from timing import ENCODER_GFLOP_PER_S, Row, full_size, matrix_peak, work_folder, write_clips
from training import network, saved, trainer

from hf_encls.data.folders import scan_folder
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.features.store import FeatureStore, Windows

CLIP_S = 5.0
WINDOWS, BATCH = 6000, 128  # an ESC-50-sized set


def gpu_extract(options: Namespace) -> list[Row]:
    """24 kHz extraction from files to a feature data set, the codec in TF32 and in bfloat16."""
    codec = full_size(24)
    rows = []
    with work_folder() as folder:
        clips, _ = scan_folder(write_clips(folder / "clips", options.gpu_clips, CLIP_S, 24_000))
        audio_s = len(clips) * CLIP_S
        for name, dtype in (("tf32", torch.float32), ("bfloat16", torch.bfloat16)):
            config = feature_config("encodec_24khz", clips, codec, codec_dtype=name)
            for turn in ("warm-up", "measured"):
                started = time.perf_counter()
                extract_features(clips, config, codec, cache_dir=folder / name / turn, device=options.device)
                seconds = time.perf_counter() - started
            peak = matrix_peak(options.device, dtype)
            details = {
                "device": device_name(options.device),
                "seconds": round(seconds, 2),
                "audio_s": audio_s,
                "share_of_matrix_peak": round(audio_s * ENCODER_GFLOP_PER_S / seconds / peak, 4),
                "matrix_peak_gflop_s": round(peak),
            }
            title = f"24 kHz extraction on an accelerator, {name}"
            rows.append(Row(title, "real time", audio_s / seconds, 3000.0, details=details))
    return rows


def gpu_train(options: Namespace) -> list[Row]:
    """Epochs of an ESC-50-sized set through the Trainer, bfloat16; the windows stay on the device."""
    with work_folder() as folder:
        store = FeatureStore(Windows(saved(folder, WINDOWS), device=options.device), np.arange(WINDOWS))
        run = trainer(
            folder / "run",
            store,
            options.gpu_epochs,
            per_device_train_batch_size=BATCH,
            bf16=True,
            use_cpu=torch.device(options.device).type == "cpu",
        )
        started = time.perf_counter()
        run.train()
        seconds = time.perf_counter() - started
    # Forward and backward: three times the forward pass.
    gflop = 3 * flop_per_window() * WINDOWS * options.gpu_epochs / 1e9
    peak = matrix_peak(options.device, torch.bfloat16)
    details = {
        "device": device_name(options.device),
        "windows_per_s": round(WINDOWS * options.gpu_epochs / seconds),
        "share_of_matrix_peak": round(gflop / seconds / peak, 4),
        "matrix_peak_gflop_s": round(peak),
    }
    title = f"{options.gpu_epochs} epochs of {WINDOWS} windows on an accelerator: seconds"
    target = 120.0 * options.gpu_epochs / 1000
    return [Row(title, "120 s for 1000 epochs", seconds, target, at_most=True, details=details)]


def flop_per_window() -> int:
    """Of one forward pass of the network over 128 x 75."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network().eval()(input_features=torch.zeros(1, 128, 75))
    return counter.get_total_flops()


def device_name(device: str) -> str:
    """The accelerator's own name."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else str(device)
