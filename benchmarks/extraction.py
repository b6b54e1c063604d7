"""Extraction: the codec and mel, each against the plain way in the same run."""

import time
import warnings
from argparse import Namespace

import datasets
import librosa
import numpy as np
import soundfile
import torch
from datasets import Dataset
from timing import ENCODER_GFLOP_PER_S, Row, full_size, in_turns, matrix_peak, work_folder, write_clips
from transformers import EncodecModel

from hf_encls.audio import load
from hf_encls.data.folders import scan_folder
from hf_encls.data.known_files import SETTLED_S, remembering
from hf_encls.features.contents import with_digests
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.features.frontends import frontend_of
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.mel_encls import Mel

PLAIN = "EncodecModel.encode per clip in a map"
POLICIES = {24: "whole", 48: "contiguous"}


def extract_24khz(options: Namespace) -> list[Row]:
    """Float32 and bfloat16, clips of 5 s and of 30 s."""
    codec = full_size(24)
    peak = matrix_peak()
    rows = []
    for duration_s, count in ((5.0, 12), (30.0, 4)):
        times, details = _extraction(codec, 24, duration_s, count, ("float32", "bfloat16"), options)
        details["float32_matrix_peak_gflop_s"] = round(peak)
        for dtype, target in (("float32", 3.0), ("bfloat16", 6.0)):
            about = {
                **details,
                "x_real_time": round(count * duration_s / times[dtype], 1),
                "ratio_to_bare_encoder": round(times["encoder"] / times[dtype], 2),
                "share_of_float32_peak": round(count * duration_s * ENCODER_GFLOP_PER_S / times[dtype] / peak, 2),
            }
            name = f"24 kHz extraction, {dtype}, {duration_s:g} s clips"
            rows.append(
                Row(
                    name,
                    "EncodecModel.encode per clip in a map",
                    times["encode"] / times[dtype],
                    target,
                    details=about,
                )
            )
    return rows


def extract_48khz(options: Namespace) -> list[Row]:
    """48 kHz, policy `contiguous`."""
    times, details = _extraction(full_size(48), 48, 5.0, 6, ("float32",), options)
    details["ratio_to_bare_encoder"] = round(times["encoder"] / times["float32"], 2)
    details["x_real_time"] = round(30.0 / times["float32"], 1)
    ratio = times["encode"] / times["float32"]
    return [Row("48 kHz extraction, contiguous", PLAIN, ratio, 1.5, details=details)]


def _extraction(
    codec: EncodecModel, khz: int, duration_s: float, count: int, dtypes: tuple[str, ...], options: Namespace
) -> tuple[dict[str, float], dict]:
    rate = codec.config.sampling_rate
    channels = codec.config.audio_channels
    with work_folder() as folder:
        clips, _ = scan_folder(write_clips(folder / "clips", count, duration_s, rate))

        def encode(row: dict) -> dict:
            wave = torch.from_numpy(load(row["audio"], rate)).expand(1, channels, -1)
            with torch.inference_mode():
                codes = codec.encode(wave, bandwidth=max(codec.config.target_bandwidths)).audio_codes
            return {"codes": codes.flatten().numpy()}

        def bare(row: dict) -> dict:
            wave = torch.from_numpy(load(row["audio"], rate)).expand(1, channels, -1)
            with torch.inference_mode():
                pieces = wave.split(rate, dim=-1) if channels == 2 else [wave]
                latents = torch.cat([codec.encoder(piece) for piece in pieces], dim=-1)
            return {"latents": latents[0].numpy().astype(np.float16)}

        serial = iter(range(10_000))

        def mapped(function) -> None:
            clips.map(function, remove_columns=clips.column_names, new_fingerprint=f"plain{next(serial)}")

        def ours(dtype: str) -> None:
            config = feature_config(f"encodec_{khz}khz", clips, codec, codec_policy=POLICIES[khz], codec_dtype=dtype)
            extract_features(clips, config, codec, cache_dir=folder / f"cache{next(serial)}")

        datasets.disable_progress_bars()
        sides = {"encode": lambda: mapped(encode), "encoder": lambda: mapped(bare)}
        sides |= {dtype: (lambda dtype=dtype: ours(dtype)) for dtype in dtypes}
        times = in_turns(sides, options.repeats, clock=time.process_time)
        details = {"cpu_seconds": {name: round(value, 3) for name, value in times.items()}}
        details["largest_error"] = _error(codec, khz, clips)
    return times, details


def _error(codec: EncodecModel, khz: int, clips: Dataset) -> float:
    """Largest difference of our float32 latents from the bare encoder's, relative to the largest latent."""
    rate = codec.config.sampling_rate
    wave = torch.from_numpy(load(clips[0]["audio"], rate))
    frontend = frontend_of(feature_config(f"encodec_{khz}khz", clips, codec, codec_policy=POLICIES[khz]), codec)
    with torch.inference_mode():
        if khz == 24:
            plain = codec.encoder(wave[None, None])[0]
        else:
            chunks = [chunk / (chunk.square().mean().sqrt() + 1e-8) for chunk in wave.split(rate)]
            plain = torch.cat([codec.encoder(chunk.expand(1, 2, -1))[0] for chunk in chunks], dim=-1)
        found = frontend.latents([wave])[0]
    return ((found - plain).abs().max() / plain.abs().max()).item()


def short_clips(options: Namespace) -> list[Row]:
    """Many clips of 0.3 to 1.7 s, no two of one length, against as many of 1 s: audio per second of CPU time."""
    frontend = frontend_of(feature_config("encodec_24khz", codec=full_size(24)), full_size(24))
    lengths = np.random.default_rng(0).permutation(np.linspace(0.3, 1.7, 120) * 24_000).astype(int)
    clips = {"equal": [torch.randn(24_000) for _ in lengths], "varied": [torch.randn(int(n)) for n in lengths]}

    def run(waves: list[torch.Tensor]) -> None:
        with torch.inference_mode():
            for start in range(0, len(waves), 60):
                frontend.latents(waves[start : start + 60])

    run(clips["equal"][:2])
    sides = {name: (lambda waves=waves: run(waves)) for name, waves in clips.items()}
    times = in_turns(sides, 1, warm_up=False, clock=time.process_time)  # once: a second time, no length would be new
    rates = {name: sum(map(len, clips[name])) / 24_000 / seconds for name, seconds in times.items()}
    details = {"x_real_time": {name: round(rate, 1) for name, rate in rates.items()}}
    name = "24 kHz latents of short clips, each of another length"
    return [Row(name, "of one length", rates["varied"] / rates["equal"], 0.8, details=details)]


def mel(options: Namespace) -> list[Row]:
    """`mel` and `log_mel` against librosa and against `torch.stft` with a matrix product, clip by clip. CPU time."""
    rng = np.random.default_rng(0)
    waves = [(0.1 * rng.standard_normal(5 * 44_100)).astype(np.float32) for _ in range(20)]
    rows = []
    warnings.filterwarnings("ignore", message=".*mel filter.*|.*[Ee]mpty filters.*")
    for kind in ("mel", "log_mel"):
        frontend = frontend_of(EnclsConfig(features=kind, sampling_rate=44_100), None)

        def plain(kind=kind) -> list[np.ndarray]:
            made = [_librosa(wave) for wave in waves]
            return made if kind == "mel" else [librosa.power_to_db(each, top_db=None) for each in made]

        def ours(frontend=frontend) -> list[torch.Tensor]:
            with torch.inference_mode():
                return [frontend.windows([torch.from_numpy(wave)])[0] for wave in waves]

        def by_stft(frontend=frontend, kind=kind) -> list[torch.Tensor]:
            with torch.inference_mode():
                return [_stft(frontend, torch.from_numpy(wave), kind) for wave in waves]

        sides = {"librosa": plain, "stft": by_stft, "ours": ours}
        times = in_turns(sides, 5 * options.repeats, clock=time.process_time)
        expected = _librosa(waves[0][:44_100])
        if kind == "log_mel":
            expected = librosa.power_to_db(expected, top_db=None)
        found = ours()[0][0].numpy()
        used = expected > 1e-9 if kind == "mel" else expected > -99
        error = np.abs(found - expected)[used] / np.abs(expected)[used]
        details = {
            "x_real_time": round(100 / times["ours"]),
            "librosa_x_real_time": round(100 / times["librosa"]),
            "largest_relative_error": float(error.max()),
        }
        rows.append(
            Row(
                f"{kind} extraction",
                "librosa.feature.melspectrogram per clip",
                times["librosa"] / times["ours"],
                3.5,
                details=details,
            )
        )
        against = "torch.stft and a matrix product per clip"
        rows.append(Row(f"{kind} extraction", against, times["stft"] / times["ours"], 2.0))
    return rows


def _stft(frontend: Mel, wave: torch.Tensor, kind: str) -> torch.Tensor:
    pieces = wave.unfold(0, 44_100, 44_100)
    bins = torch.stft(pieces, 512, 128, window=frontend.taper, center=False, return_complex=True)
    power = frontend.filters.T @ bins.abs().square()
    return power if kind == "mel" else 10 * power.clamp_min(1e-10).log10()


def second_start(options: Namespace) -> list[Row]:
    """Scanning and hashing a folder that was scanned before, against the first time. CPU time, MP3 of 30 s."""
    rng = np.random.default_rng(0)
    with work_folder() as folder:
        for index in range(40):
            path = folder / "clips" / "ab"[index % 2] / f"{index:03d}.mp3"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal(30 * 44_100), 44_100)
        time.sleep(SETTLED_S + 0.1)

        def start(rescan: bool) -> None:
            with remembering(folder / "clips", folder, rescan):
                with_digests(scan_folder(folder / "clips")[0])

        sides = {"first": lambda: start(True), "second": lambda: start(False)}
        times = in_turns(sides, options.repeats, clock=time.process_time)
    details = {"milliseconds": {name: round(1e3 * value, 1) for name, value in times.items()}}
    return [
        Row("start on an unchanged folder", "first start", times["first"] / times["second"], 20.0, details=details)
    ]


def _librosa(wave: np.ndarray) -> np.ndarray:
    return librosa.feature.melspectrogram(
        y=wave, sr=44_100, n_fft=512, hop_length=128, n_mels=128, window="hamming", center=False
    )
