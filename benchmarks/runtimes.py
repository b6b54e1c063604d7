"""Other runtimes on the part of the codec that costs most: would one of them be worth an extra?"""

import importlib.util
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from timing import Row, full_size, in_turns
from torch import nn

from hf_encls.hub.layers_encls import encoder_layers, lstm_position

WORTH_IT = 1.3  # a runtime that is not faster than this is not worth a second path


def runtimes(options: Namespace) -> list[Row]:
    """The convolutions before the LSTM on one tile of a second, in float32; each runtime with the same threads."""
    codec = full_size(24)
    tile = 0.1 * torch.randn(1, 1, 24_000 + 640)
    prepared = encoder_layers(codec)
    ours = nn.Sequential(*prepared[: lstm_position(prepared)])
    for module in codec.modules():
        if hasattr(module, "parametrizations"):
            nn.utils.parametrize.remove_parametrizations(module, "weight")
    plain = nn.Sequential(*codec.encoder.layers[: lstm_position(codec.encoder.layers)]).eval()
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
    return [
        Row(
            f"convolutions of the 24 kHz codec by {runtime}",
            "this package",
            times["this package"] / times[runtime],
            WORTH_IT,
            at_most=True,
            details={"milliseconds": milliseconds, "largest_error": errors[runtime]},
        )
        for runtime in sides
        if runtime != "this package"
    ]


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
