"""What a GPU makes of extraction and of training; `--device cpu` runs the same code where there is none."""

import time
from argparse import Namespace

import numpy as np
import torch
from timing import ENCODER_GFLOP_PER_S, Row, full_size, matrix_peak, work_folder, write_clips
from training import network, saved, trainer

from hf_encls.data.folders import scan_folder
from hf_encls.data.known_files import SETTLED_S, remembering
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.features.store import FeatureStore, Windows

CLIP_S = 5.0
WINDOWS, VALIDATION, BATCH = 6000, 2000, 128  # an ESC-50-sized set


def gpu_extract(options: Namespace) -> list[Row]:
    """24 kHz extraction from a folder of files to a feature data set, scan and writing included; TF32 and bfloat16."""
    codec = full_size(24)
    rows = []
    with work_folder() as folder:
        sounds = write_clips(folder / "clips", options.gpu_clips, CLIP_S, 24_000)
        time.sleep(SETTLED_S + 0.1)
        for name, dtype in (("tf32", torch.float32), ("bfloat16", torch.bfloat16)):
            for turn in ("warm-up", "measured"):
                cache = folder / name / turn
                started = time.perf_counter()
                with remembering(sounds, cache):
                    clips, _ = scan_folder(sounds)
                    scanned = time.perf_counter() - started
                    config = feature_config("encodec_24khz", clips, codec, codec_dtype=name)
                    extract_features(clips, config, codec, cache_dir=cache, device=options.device)
                seconds = time.perf_counter() - started
            audio_s = len(clips) * CLIP_S
            peak = matrix_peak(options.device, dtype)
            details = {
                "device": device_name(options.device),
                "seconds": {"all": round(seconds, 2), "scan": round(scanned, 2)},
                "audio_s": audio_s,
                "share_of_matrix_peak": round(audio_s * ENCODER_GFLOP_PER_S / seconds / peak, 4),
                "matrix_peak_gflop_s": round(peak),
            }
            title = f"24 kHz extraction on an accelerator, {name}"
            rows.append(Row(title, "real time", audio_s / seconds, 3000.0, details=details))
    return rows


def gpu_train(options: Namespace) -> list[Row]:
    """Epochs of an ESC-50-sized set through the Trainer, each with a validation and a log."""
    return [_epochs(options, name, dtype) for name, dtype in (("tf32", torch.float32), ("bfloat16", torch.bfloat16))]


def _epochs(options: Namespace, name: str, dtype: torch.dtype) -> Row:
    with work_folder() as folder:
        windows = Windows(saved(folder, WINDOWS + VALIDATION), device=options.device)
        run = trainer(
            folder / "run",
            FeatureStore(windows, np.arange(WINDOWS)),
            options.gpu_epochs,
            eval_dataset=FeatureStore(windows, np.arange(WINDOWS, WINDOWS + VALIDATION)),
            eval_strategy="epoch",
            logging_strategy="epoch",
            save_strategy="epoch",
            per_device_train_batch_size=BATCH,
            bf16=name == "bfloat16",
            use_cpu=torch.device(options.device).type == "cpu",
        )
        torch.backends.cudnn.deterministic = True  # as train() has it
        started = time.perf_counter()
        run.train()
        seconds = time.perf_counter() - started
    # Forward and backward: three times the forward pass.
    gflop = 3 * flop_per_window() * WINDOWS * options.gpu_epochs / 1e9
    peak = matrix_peak(options.device, dtype)
    details = {
        "device": device_name(options.device),
        "windows_per_s": round(WINDOWS * options.gpu_epochs / seconds),
        "share_of_matrix_peak": round(gflop / seconds / peak, 4),
        "matrix_peak_gflop_s": round(peak),
    }
    title = f"{options.gpu_epochs} epochs of {WINDOWS} windows on an accelerator, {name}: seconds"
    target = 120.0 * options.gpu_epochs / 1000
    return Row(title, "120 s for 1000 epochs", seconds, target, at_most=True, details=details)


def flop_per_window() -> int:
    """Of one forward pass of the network over 128 x 75."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network().eval()(input_features=torch.zeros(1, 128, 75))
    return counter.get_total_flops()


def device_name(device: str) -> str:
    """The accelerator's own name."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else str(device)
