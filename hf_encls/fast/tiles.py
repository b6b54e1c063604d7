"""Which runtime computes the convolutions of a frontend, where there is so much audio that making it ready pays."""

from collections.abc import Callable

import torch
from torch import nn

from hf_encls.fast import onednn_tiles, openvino_tiles
from hf_encls.model.layers_encls import weights_of

Convolutions = Callable[[torch.Tensor, int], torch.Tensor | None]


def convolutions_for(frontend: nn.Module, audio_s: float) -> Convolutions | None:
    """OpenVINO's or oneDNN's, for a `frontend` that is to hear so many seconds; None: PyTorch's own, as on every GPU."""
    if not _takes_them(frontend):
        return None
    if openvino_tiles.is_worth_it(audio_s):
        return openvino_tiles.openvino_convolutions(frontend.codec, frontend.dtype)
    if onednn_tiles.is_worth_it(audio_s):
        return onednn_tiles.onednn_convolutions(frontend.codec, frontend.dtype)
    return None


class WhileListening:
    """The same where nobody knows how much will come: oneDNN's, from when as much came as pays for making them."""

    def __init__(self) -> None:
        self._audio_s = 0.0
        self._made: tuple[list, list[torch.Tensor], Convolutions] | None = None

    def hear(self, seconds: float) -> None:
        """So many seconds come now."""
        self._audio_s += seconds

    def convolutions(self, frontend: nn.Module) -> Convolutions | None:
        """Those of a `frontend`; None: PyTorch's own."""
        if not _takes_them(frontend) or not onednn_tiles.is_worth_it(self._audio_s):
            return None
        weights, state = weights_of(frontend.codec.encoder)
        state = [frontend.dtype, torch.get_num_threads(), *state]
        if self._made is None or self._made[0] != state:
            self._made = state, weights, onednn_tiles.onednn_convolutions(frontend.codec, frontend.dtype)
        return self._made[2]


def _takes_them(frontend: nn.Module) -> bool:
    return frontend.takes_convolutions and frontend.codec.device.type == "cpu"
