"""The convolutions of a causal codec by OpenVINO, where it is installed: the same latents to rounding, sooner.

See `benchmarks/run.py runtimes`. Compiling takes seconds, so that it is for much audio only. Features that were made with
and without it may differ in their last bit: machines that share a cache should all have it, or none.
"""

import importlib.util
import warnings
from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from hf_encls.model.encoding_encls import tile_lengths
from hf_encls.model.layers_encls import standard_convolutions
from hf_encls.model.precision_encls import LOUDNESS, TOLERANCE, error_of, noise

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}
MUCH_S = 1800.0  # seconds of audio from which on the time to compile is won back


def is_worth_it(audio_s: float) -> bool:
    """Whether OpenVINO is installed (`pip install -e ".[fast]"`) and there is so much audio that compiling pays."""
    return audio_s >= MUCH_S and importlib.util.find_spec("openvino") is not None


def openvino_convolutions(
    codec: PreTrainedModel, dtype: torch.dtype = torch.float32
) -> Callable[[torch.Tensor, int], torch.Tensor | None]:
    """A function of tiles (1, channels, n) and of their frames of context -> (1, H, f), float32.

    None for a tile of another length than the usual two.

    It computes in `dtype`, float32 or bfloat16; where a tile of noise shows that it is wrong in bfloat16 on this machine,
    it leaves tiles of that length to PyTorch. It takes as many threads as PyTorch has now.
    """
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": PRECISIONS[dtype]}
    layers = standard_convolutions(codec)
    compiled = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # about lengths, which are fixed here
        for length in tile_lengths(codec.config):
            tile = torch.zeros(1, codec.config.audio_channels, length)
            model = openvino.convert_model(layers, example_input=tile, input=[tuple(tile.shape)])
            compiled[length] = core.compile_model(model, "CPU", settings)

    if dtype != torch.float32:
        for length, model in list(compiled.items()):
            sample = noise(1, codec.config.audio_channels, length) / LOUDNESS
            error = error_of(
                lambda x, model=model: [torch.from_numpy(model(x.numpy())[0])], lambda x: [layers(x)], sample
            )
            if error > TOLERANCE:
                del compiled[length]

    def run(tiles: torch.Tensor, frames: int) -> torch.Tensor | None:
        model = compiled.get(tiles.shape[-1])
        if model is None or len(tiles) != 1:
            return None
        # A copy: the runtime writes the next tile into the same memory.
        return torch.from_numpy(model(tiles.contiguous().numpy())[0].copy())

    return run
