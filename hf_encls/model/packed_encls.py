"""Operators of a prepared encoder, on a processor: activations (B, C, n) stay channels-last, and few are copied."""

import torch
from torch import nn

ELU_VALUES = 1 << 15  # that go through an ELU's four steps together: they stay in the cache of a core


class PackedConv1d(nn.Module):
    """A convolution without padding whose weight lies as oneDNN wants it: (B, C, n) -> (B, C', n'), channels-last.

    PyTorch's own packs the weight anew in every call, and takes a slower road for kernels of size 1 (measured: 2 to 3
    times in these shapes).
    """

    def __init__(self, conv: nn.Conv1d, dtype: torch.dtype):
        super().__init__()
        self.kernel_size = conv.kernel_size
        self.stride, self.dilation = [1, conv.stride[0]], [1, conv.dilation[0]]
        self.bias = conv.bias.to(dtype)
        self.dtype = dtype
        weight = conv.weight.to(dtype)[:, :, None].contiguous().to_mkldnn()
        shape = (1, conv.in_channels, 1, 8192)  # only a hint
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
            weight, (0, 0), self.stride, self.dilation, conv.groups, shape
        )
        self.groups = conv.groups

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out = torch.ops.mkldnn._convolution_pointwise(*self._settings(hidden), "none", [], "")
        return out[:, :, 0]

    def add_to(self, addend: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """What `forward` makes of `hidden`, added to `addend` where it lies."""
        out = torch.ops.mkldnn._convolution_pointwise_.binary(
            addend[:, :, None], *self._settings(hidden), "add", 1.0, None, [], None
        )
        return out[:, :, 0]

    def _settings(self, hidden: torch.Tensor) -> tuple:
        image = hidden.to(self.dtype)[:, :, None].contiguous(memory_format=torch.channels_last)
        return image, self.weight, self.bias, [0, 0], self.stride, self.dilation, self.groups


class Elu(nn.Module):
    """An ELU of activations (B, C, n) that are channels-last, as the larger of x and e^min(x, 0) - 1.

    PyTorch's own asks for e^x - 1 without cancellation, which takes four times as long; here it costs at most 6e-8 where
    values are that small, far below the rounding of what follows.

    With a `room`, frames before and after, one clip's result lies within memory for so many more: `pad` then fills
    them, and copies nothing.
    """

    def __init__(self, elu: nn.ELU):
        super().__init__()
        self.plain = elu
        self.room = (0, 0)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        values = hidden.transpose(1, 2)
        if self.plain.alpha != 1 or hidden.requires_grad or not values.is_contiguous():
            return self.plain(hidden)
        if len(values) == 1 and self.room != (0, 0):
            left, right = self.room
            frames = values.shape[1]
            results = values.new_empty(1, left + frames + right, values.shape[2])[:, left : left + frames]
        else:
            results = values if self.plain.inplace else torch.empty_like(values)
        for part, result in zip(values.view(-1).split(ELU_VALUES), results.view(-1).split(ELU_VALUES)):
            exact = part.float()
            below = exact.clamp_max(0).exp_().sub_(1)
            if part.dtype == torch.float32:
                torch.maximum(exact, below, out=result)
            else:
                result.copy_(torch.maximum(exact, below, out=below))
        return hidden if results is values else results.transpose(1, 2)


class Norm(nn.Module):
    """A group norm that keeps activations (B, C, n) channels-last, as PyTorch's does for images only.

    It takes a single value as well, the last sample of a clip behind whole chunks, which PyTorch's layer refuses.
    """

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.norm = norm

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        norm = self.norm
        return torch.group_norm(hidden[:, :, None], norm.num_groups, norm.weight, norm.bias, norm.eps)[:, :, 0]


def pad(hidden: torch.Tensor, paddings: tuple, mode: str = "zero", value: float = 0.0) -> torch.Tensor:
    """`EncodecConv1d._pad1d` that keeps activations (B, C, n) channels-last, and takes the room that an `Elu` has left."""
    left, right = (int(padding) for padding in paddings)
    length = hidden.shape[-1]
    if not left and not right:
        return hidden
    frames = hidden.transpose(1, 2)
    if mode in ("constant", "reflect") and length > max(left, right) and _has_room(frames, left, right):
        size = frames.shape[2]
        padded = frames.as_strided((1, left + length + right, size), frames.stride(), 0)
        if mode == "constant":
            padded[:, :left].fill_(value)
            padded[:, left + length :].fill_(value)
        else:
            padded[:, :left] = frames[:, 1 : left + 1].flip(1)
            padded[:, left + length :] = frames[:, length - 1 - right : length - 1].flip(1)
        return padded.transpose(1, 2)
    if mode == "constant":
        return nn.functional.pad(frames, (0, 0, left, right), value=value).transpose(1, 2)
    if mode != "reflect":
        return nn.functional.pad(hidden, (left, right), mode, value)
    # A signal shorter than its reflection is filled up with zeros first, as the codec does.
    extra = max(0, max(left, right) - length + 1)
    if extra:
        frames = nn.functional.pad(hidden, (0, extra)).transpose(1, 2)
    parts = [frames[:, 1 : left + 1].flip(1), frames, frames[:, -right - 1 : -1].flip(1)]
    padded = torch.cat([part for part, size in zip(parts, (left, 1, right)) if size], dim=1)
    return padded[:, : padded.shape[1] - extra].transpose(1, 2)


def _has_room(frames: torch.Tensor, left: int, right: int) -> bool:
    """Whether one clip's frames (1, n, C) are all that lies in their memory, behind `left` frames and before `right`."""
    if len(frames) != 1 or not frames.is_contiguous() or frames.requires_grad:
        return False
    size = frames.shape[2] * frames.element_size()
    there = (left + frames.shape[1] + right) * size
    return frames.storage_offset() == left * frames.shape[2] and frames.untyped_storage().nbytes() == there


def leave_room(elu: nn.Module, conv: nn.Module) -> None:
    """Have an `Elu` leave the room that a codec's convolution behind it will fill, where the length needs no more."""
    if isinstance(elu, Elu) and hasattr(conv, "conv"):
        right = 0 if conv.causal else conv.padding_total // 2
        elu.room = (conv.padding_total - right, right)


def residual(block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """`EncodecResnetBlock.forward`, of which the last convolution adds to the shortcut where that lies."""
    last = block.block[-1]
    out = hidden
    for layer in block.block[:-1]:
        out = layer(out)
    beside = block.shortcut(hidden)
    if beside is hidden or beside.dtype != last.conv.dtype or out.requires_grad:
        return beside + last(out)
    return last.conv.add_to(beside, out)


def adds_itself(block: nn.Module) -> bool:
    """Whether `residual` is right for a layer: its last convolution is packed, and neither padded nor normalised."""
    last = getattr(block, "block", [None])[-1]
    conv = getattr(last, "conv", None)
    return (
        isinstance(conv, PackedConv1d) and last.padding_total == 0 and last.stride == 1 and not hasattr(last, "norm")
    )
