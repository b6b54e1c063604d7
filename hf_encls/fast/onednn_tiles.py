"""The convolutions of a causal codec as graphs of oneDNN, which PyTorch brings along: an ELU costs nothing in them.

By itself PyTorch gives oneDNN one convolution after the other and computes the ELUs between them, which take as long. In a
traced graph oneDNN computes them where a convolution writes its results. Tracing takes a second, so that it is for more than
a few clips. Latents made with and without it are equal to rounding.
"""

import platform
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_encls.model.encoding_encls import tile_lengths
from hf_encls.model.identity_encls import codec_hash
from hf_encls.model.layers_encls import standard_convolutions
from hf_encls.model.precision_encls import LOUDNESS, TOLERANCE, error_of, noise

ENOUGH_S = 60.0  # seconds of audio from which on the time to trace is won back
ROUNDING = 1e-5  # the largest error in float32, as a share of the largest value: 1.5e-6 was measured
KEPT = 2  # codecs and precisions of which a process keeps the graphs: it may extract many times from one
TRACED = 3  # runs of a new graph: in the first two PyTorch only looks at it

_MAKING = threading.Lock()
_KEPT: dict[tuple, Callable[[torch.Tensor, int], torch.Tensor | None]] = {}


def is_worth_it(audio_s: float) -> bool:
    """Whether this PyTorch has oneDNN's graphs, and there is so much audio that tracing pays."""
    return (
        audio_s >= ENOUGH_S
        and platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch._C, "_jit_set_llga_enabled")
    )


def onednn_convolutions(
    codec: PreTrainedModel, dtype: torch.dtype = torch.float32
) -> Callable[[torch.Tensor, int], torch.Tensor | None]:
    """A function of tiles (1, channels, n) behind some frames of context -> (1, H, f), float32. The last few are kept.

    It computes in `dtype`, float32 or bfloat16, the first tile of a clip and those within it, and returns None for others:
    tiles of another length, those that a tile of noise shows to be wrong on this machine, and where no graph can be made.
    """
    key = (codec_hash(codec), dtype, torch.get_num_threads())
    with _MAKING:
        if key not in _KEPT:
            while len(_KEPT) >= KEPT:
                del _KEPT[next(iter(_KEPT))]
            _KEPT[key] = _make(codec, dtype)
        return _KEPT[key]


def _make(codec: PreTrainedModel, dtype: torch.dtype) -> Callable[[torch.Tensor, int], torch.Tensor | None]:
    graphs = {}
    reduced = dtype != torch.float32
    if codec.config.pad_mode != "reflect" or (reduced and not torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return lambda tiles, frames: None
    layers, (first, inner) = standard_convolutions(codec), tile_lengths(codec.config)
    hop = codec.config.hop_length
    for length, frames in ((first, 0), (inner, (inner - first) // hop)):
        network, lost = _network(layers, dtype, is_first=not frames)
        sample = noise(1, codec.config.audio_channels, length) / LOUDNESS
        try:
            graph = _traced(network, _image(sample, dtype))
        except (RuntimeError, NotImplementedError):  # of TorchScript, for what it does not know
            continue
        tile_graph = _Graph(graph, dtype, lost)
        error = error_of(
            lambda x, compute=tile_graph, n=frames: [compute(x)[..., n:]],
            lambda x, n=frames: [layers(x)[..., n:]],
            sample,
        )
        if lost <= frames and error <= (TOLERANCE if reduced else ROUNDING):
            graphs[length, frames] = tile_graph

    def run(tiles: torch.Tensor, frames: int) -> torch.Tensor | None:
        tile_graph = graphs.get((tiles.shape[-1], frames))
        return tile_graph(tiles) if tile_graph and len(tiles) == 1 else None

    return run


class _Graph:
    def __init__(self, graph: torch.jit.ScriptModule, dtype: torch.dtype, lost: int):
        self.graph, self.dtype, self.lost = graph, dtype, lost

    @torch.no_grad()
    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        hidden = self.graph(_image(tiles, self.dtype))[:, :, 0].float()
        return nn.functional.pad(hidden, (self.lost, 0)) if self.lost else hidden


class _Convolution(nn.Module):
    """A convolution of images (1, C, 1, n): at the start of a clip with its reflection, within one without any padding."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype, reflects: bool, skipped: int = 0):
        super().__init__()
        conv = layer.conv
        self.left = layer.padding_total if reflects else 0
        self.skipped = skipped
        self.stride, self.dilation, self.groups = (1, conv.stride[0]), (1, conv.dilation[0]), conv.groups
        weight = conv.weight[:, :, None].to(dtype).contiguous(memory_format=torch.channels_last)
        self.weight, self.bias = nn.Parameter(weight, False), nn.Parameter(conv.bias.to(dtype), False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.left:
            image = torch.cat([image[..., 1 : self.left + 1].flip(-1), image], dim=-1)
        if self.skipped:
            image = image[..., self.skipped :]
        return nn.functional.conv2d(image, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class _Residual(nn.Module):
    def __init__(self, convolutions: list[nn.Module], shortcut: nn.Module, lost: int):
        super().__init__()
        self.first, self.others = convolutions[0], nn.ModuleList(convolutions[1:])
        self.shortcut, self.lost = shortcut, lost
        zero = self.first.weight.new_zeros(1, self.first.weight.shape[1], 1, 1)
        self.zero = nn.Parameter(zero.contiguous(memory_format=torch.channels_last), False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        # The shortcut reads the input too, so that no convolution may write an ELU there. oneDNN takes none by itself, and
        # PyTorch's is slow; as the end of a sum it is oneDNN's.
        hidden = self.first(nn.functional.elu(image + self.zero))
        for convolution in self.others:
            hidden = convolution(nn.functional.elu(hidden))
        # The slice is there even of nothing: two graphs that meet may agree on a layout that PyTorch cannot read.
        return hidden + self.shortcut(image[..., self.lost :])


def _network(layers: nn.Sequential, dtype: torch.dtype, is_first: bool) -> tuple[nn.Module, int]:
    """The layers for the first tile of a clip, or for one behind its context; and how many of its first frames are lost.

    Within a clip nothing is padded: what a padding would have made lies before the tile's own frames.
    """
    parts, lost = [], 0
    for layer in layers:
        if hasattr(layer, "block"):
            steps = [step for step in layer.block if hasattr(step, "conv")]
            gone = 0 if is_first else sum(step.padding_total for step in steps)
            shortcut = layer.shortcut
            if hasattr(shortcut, "conv"):
                shortcut = _Convolution(shortcut, dtype, is_first)
            parts.append(_Residual([_Convolution(step, dtype, is_first) for step in steps], shortcut, gone))
            lost += gone
        elif hasattr(layer, "conv"):
            skipped = 0
            if not is_first:
                # A frame begins `padding_total` before its own samples; of those lost, some may be in the first one.
                frames = -(-(lost + layer.padding_total) // layer.stride)
                skipped = frames * layer.stride - layer.padding_total - lost
                lost = frames
            parts.append(_Convolution(layer, dtype, is_first, skipped))
        else:
            parts.append(nn.ELU(layer.alpha))
    return nn.Sequential(*parts).eval(), lost


def _image(tiles: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    image = tiles.to(dtype)[:, :, None].contiguous(memory_format=torch.channels_last)
    channels, length = image.shape[1], image.shape[-1]
    # One channel lies as either layout would have it, unless the strides say which: oneDNN then turns no result round.
    return image.as_strided(image.shape, (channels * length, 1, channels * length, channels))


def _traced(network: nn.Module, image: torch.Tensor) -> torch.jit.ScriptModule:
    # Casts around each operator would keep it out of oneDNN's hands.
    exact = torch.autocast("cpu", enabled=False)
    with torch.inference_mode(False), torch.no_grad(), exact, _fusion(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, about lengths, which are fixed here, and about its age
        graph = torch.jit.freeze(torch.jit.trace(network, image, check_trace=False))
        for _ in range(TRACED):
            graph(image)
    return graph


@contextmanager
def _fusion() -> Iterator[None]:
    """Inside, a new graph is given to oneDNN; it stays so. The setting is one of the whole process."""
    before = torch.jit.onednn_fusion_enabled()
    torch.jit.enable_onednn_fusion(True)
    try:
        yield
    finally:
        torch.jit.enable_onednn_fusion(before)
