"""A training step recorded once and played again: on a GPU its hundred small operations cost more to start than to run."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

logger = logging.getLogger(__name__)

Batch = dict[str, torch.Tensor]
Results = tuple[torch.Tensor, ...]
Step = Callable[[Batch], Results]

MOST_SHAPES = 4  # of batches: each has a record of its own, and memory for it
WARM_UPS = 3  # what a library looks up or allocates in its first calls cannot be recorded


class RecordedStep:
    """Forward and backward of a model on a batch, as `step` does it; each shape of batch is recorded once.

    A step takes its batch from the same memory each time, and leaves its results and gradients in the same memory: they
    are valid until the next one. What it computes is what `step` would, random numbers included.

    Args:
        model: whose gradients the step leaves in `grad`; they must be None before it.
        step: a batch -> tensors, without waiting for the device.
        record: how a call without arguments is recorded: the call -> a function that does the same again, and the results
            that it leaves.
    """

    def __init__(
        self,
        model: nn.Module,
        step: Step,
        record: Callable[[Callable[[], Results]], tuple[Callable[[], object], Results]] | None = None,
    ):
        self.model, self.step = model, step
        self.record = record or as_cuda_graph
        self._records: dict[tuple, tuple[Batch, Callable[[], object], Results, list[torch.Tensor | None]]] = {}
        self._works = True

    def __call__(self, batch: Batch) -> Results:
        """The results of a step; the gradients are in the model's parameters."""
        key = tuple((name, tuple(value.shape), value.dtype) for name, value in batch.items())
        if key not in self._records and (not self._works or len(self._records) == MOST_SHAPES):
            return self.step(batch)
        if key not in self._records:
            recorded = self._recorded(batch)
            if recorded is None:
                return self.step(batch)
            self._records[key] = recorded
        place, replay, results, gradients = self._records[key]
        for name, value in batch.items():
            place[name].copy_(value)
        replay()
        for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        return results

    def _recorded(self, batch: Batch) -> tuple | None:
        place = {name: value.clone() for name, value in batch.items()}

        def call() -> Results:
            for parameter in self.model.parameters():
                parameter.grad = None  # it is made, and not added to
            return self.step(place)

        with _as_if_never(self.model):
            try:
                replay, results = self.record(call)
            except RuntimeError as error:  # PyTorch's, for whatever cannot be recorded
                logger.warning("training goes on step by step, which is slower: it cannot be recorded (%s)", error)
                self._works = False
                return None
            gradients = [parameter.grad for parameter in self.model.parameters()]
        return place, replay, results, gradients


@contextmanager
def _as_if_never(model: nn.Module) -> Iterator[None]:
    """What is computed inside leaves no trace: gradients, buffers and the device's random numbers are those of before."""
    device = next(model.parameters()).device
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
            for parameter in model.parameters():
                parameter.grad = None


def as_cuda_graph(call: Callable[[], Results]) -> tuple[Callable[[], object], Results]:
    """A call on the current CUDA device as a graph: what plays it again, and the results that it leaves each time.

    Raises `RuntimeError` where it cannot be recorded.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        results = call()
    return graph.replay, results
