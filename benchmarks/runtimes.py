"""Other runtimes on the part of the codec that costs most; the best of them is an optional extra."""

import importlib.util
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from timing import ENCODER_GFLOP_PER_S, Row, full_size, in_turns, matrix_peak
from torch import nn

from hf_encls.fast.openvino_tiles import openvino_convolutions
from hf_encls.model.encoding_encls import encode_causal, tile_lengths
from hf_encls.model.layers_encls import encoder_layers, lstm_position, standard_convolutions


def runtimes(options: Namespace) -> list[Row]:
    """The convolutions before the LSTM on one tile of a second, in float32; each runtime with the same threads."""
    codec = full_size(24)
    tile = 0.1 * torch.randn(1, 1, tile_lengths(codec.config)[1])
    prepared = encoder_layers(codec)
    ours = nn.Sequential(*prepared[: lstm_position(prepared)])
    plain = standard_convolutions(codec)
    with torch.inference_mode():
        expected = plain(tile)
    sides: dict[str, Callable[[], torch.Tensor]] = {"this package": lambda: ours(tile), "PyTorch": lambda: plain(tile)}
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name) / "tile.onnx")
        for runtime, (module, make) in OTHERS.items():
            if importlib.util.find_spec(module) is None:
                print(f"{runtime} is not installed: left out", flush=True)
                continue
            sides[runtime] = make(plain, tile, path, options.threads)
        with torch.inference_mode():
            errors = {runtime: _error(run(), expected) for runtime, run in sides.items()}
            times = in_turns(sides, 5 * options.repeats)
    milliseconds = {runtime: round(1e3 * value, 2) for runtime, value in times.items()}
    rows = [
        Row(
            f"convolutions of the 24 kHz codec by {runtime}",
            "this package without it",
            times["this package"] / times[runtime],
            None,
            details={"milliseconds": milliseconds, "largest_error": errors[runtime]},
        )
        for runtime in sides
        if runtime != "this package"
    ]
    return rows + (_with_openvino(codec, options) if "OpenVINO" in sides else [])


def _with_openvino(codec, options: Namespace) -> list[Row]:
    """Latents of clips as extraction makes them from much audio, and as it makes them from little."""
    clips = [0.1 * torch.randn(5 * 24_000) for _ in range(12)]
    started = time.perf_counter()
    convolutions = openvino_convolutions(codec)
    compile_s = time.perf_counter() - started
    with torch.inference_mode():
        sides = {
            "without": lambda: encode_causal(codec, clips, torch.float32),
            "with": lambda: encode_causal(codec, clips, torch.float32, convolutions),
        }
        error = max(_error(a, b) for a, b in zip(*(make() for make in sides.values())))
        times = in_turns(sides, 3 * options.repeats)
    peak = matrix_peak()
    details = {
        "x_real_time": {name: round(60 / value, 1) for name, value in times.items()},
        "share_of_float32_peak": {n: round(60 * ENCODER_GFLOP_PER_S / v / peak, 2) for n, v in times.items()},
        "compile_s": round(compile_s, 1),
        "largest_error": error,
    }
    ratio = times["without"] / times["with"]
    return [Row("24 kHz latents with OpenVINO", "this package without it", ratio, None, details=details)]


def _compiled(plain: nn.Module, tile: torch.Tensor, path: str, threads: int) -> Callable[[], torch.Tensor]:
    import torch._inductor.config as inductor

    inductor.freezing = True  # weights as constants, so that they can be packed once
    compiled = torch.compile(plain, dynamic=False)

    def run() -> torch.Tensor:
        with torch.no_grad():  # inference tensors are not for compiled code
            return compiled(tile)

    return run


def _onnxruntime(plain: nn.Module, tile: torch.Tensor, path: str, threads: int) -> Callable[[], torch.Tensor]:
    import onnxruntime

    _export(plain, tile, path)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: tile.numpy()}
    return lambda: torch.from_numpy(session.run(None, inputs)[0])


def _openvino(plain: nn.Module, tile: torch.Tensor, path: str, threads: int) -> Callable[[], torch.Tensor]:
    import openvino

    if not Path(path).is_file():
        _export(plain, tile, path)
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    model = core.compile_model(core.read_model(path), "CPU", settings)
    array = tile.numpy()
    return lambda: torch.from_numpy(next(iter(model(array).values())))


OTHERS = {
    "torch.compile": ("torch", _compiled),
    "onnxruntime": ("onnxruntime", _onnxruntime),
    "OpenVINO": ("openvino", _openvino),
}


def _export(plain: nn.Module, tile: torch.Tensor, path: str) -> None:
    with torch.no_grad():
        torch.onnx.export(plain, (tile.clone(),), path, dynamo=True, verbose=False)


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()
