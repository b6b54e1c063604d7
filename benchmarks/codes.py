"""Compressed input against audio: the same clip from its `.ecdc` file and from its waveform, one model, one run.

    python benchmarks/codes.py                      # random weights of the full size: speed does not depend on them
    python benchmarks/codes.py --codec mini --seconds 30

Also printed: bytes per second of every form that features and codes are stored in.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import EncodecConfig, EncodecModel

from hf_encls.codec.bitstream import write_ecdc
from hf_encls.codec.coding import encode
from hf_encls.codec.loading import load_codec
from hf_encls.features.extraction import feature_config
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.model.modeling_encls import EnclsForAudioClassification


def main(args: list[str] | None = None) -> dict:
    """Run the benchmark; returns its numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codec", help="EncodecModel at 24 kHz (default: random weights of the full size)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the clip")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the median counts")
    options = parser.parse_args(args)
    codec = load_codec(options.codec) if options.codec else full_size()
    rate = codec.config.sampling_rate
    config = feature_config("encodec_24khz_codes", codec=codec, codec_id=options.codec or "random", num_labels=10)
    model = EnclsForAudioClassification(config)
    model.attach_codec(codec)
    pipe = EnclsPipeline(model=model.eval(), task="audio-classification")
    wave = (0.1 * np.random.default_rng(0).normal(size=round(options.seconds * rate))).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = write_ecdc(encode(codec, [wave], config.bandwidth), Path(folder) / "clip.ecdc")
        packed = path.stat().st_size / options.seconds
        from_codes, from_wave = [], []
        pipe.analyse(path)  # warm up
        pipe.analyse(wave[: 2 * rate])
        for _ in range(options.repeats):  # in turns, so that a busy moment meets both
            from_wave.append(timed(lambda: pipe.analyse(wave)))
            from_codes.append(timed(lambda: pipe.analyse(path)))
    slow, fast = statistics.median(from_wave), statistics.median(from_codes)
    print(f"{options.seconds:g} s of audio, {config.num_codebooks} codebooks, {torch.get_num_threads()} threads")
    print(f"from the waveform  {slow:8.3f} s  {options.seconds / slow:8.0f}x real time")
    print(f"from the .ecdc     {fast:8.3f} s  {options.seconds / fast:8.0f}x real time")
    print(f"codes are          {slow / fast:8.1f}x faster")
    bands, frames, books = config.num_bands, config.frame_rate, config.num_codebooks
    dtype = np.dtype(config.representation.stored_dtype)
    sizes = {
        "latents, float32": 4 * bands * frames,
        "latents, float16": 2 * bands * frames,
        f"{books} codebooks, {dtype}": dtype.itemsize * books * frames,
        f"{books} codebooks, .ecdc": packed,
        "audio, 16 bits": 2.0 * rate,
    }
    for name, size in sizes.items():
        print(f"{name:<28}{size:>10,.0f} bytes per second")
    return {"waveform_s": slow, "codes_s": fast, "speedup": slow / fast, "bytes_per_second": sizes}


def full_size() -> EncodecModel:
    """facebook/encodec_24khz's architecture with random weights and codebooks."""
    torch.manual_seed(0)
    codec = EncodecModel(EncodecConfig()).eval()
    for layer in codec.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed, std=0.05)
    return codec


def timed(work) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
