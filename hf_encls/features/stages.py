"""Reading, computing and writing at the same time: each works on another part of the clips."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

Job = TypeVar("Job")
Read = TypeVar("Read")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Pace:
    """How far the stages may be apart.

    Args:
        ahead: jobs that are read while one is computed.
        behind: what was computed and waits to be written, at most.
        readers: threads that read.
        writers: threads that write; with more than one, in any order.
    """

    ahead: int
    behind: int
    readers: int
    writers: int


def in_stages(
    jobs: Iterable[Job | None],
    read: Callable[[Job], Sequence[Callable[[], Read]]],
    compute: Callable[[Job, list[Read]], Iterable[Callable[[], Made]]],
    pace: Pace,
) -> Iterator[Made]:
    """Each job read, computed and written; what the writing returns, in the order of the jobs.

    Args:
        jobs: what is to be done; None where nothing is to be had now: then nobody waits for more.
        read: the steps that read a job; they run in threads, before its turn.
        compute: what is read of a job -> the steps that write it; it runs in the caller's thread, one job after the other.
            Of steps that come one by one, no more are asked for while too much waits to be written.
        pace: how far the stages may be apart.

    An error of any stage ends all of them, and is raised here when nothing runs any more.
    """
    with _threads(pace.readers) as readers, _threads(pace.writers) as writers:
        waiting: deque[tuple[Job, list[Future]]] = deque()
        writing: deque[Future] = deque()

        def forward() -> Iterator[Made]:
            job, reads = waiting.popleft()
            for step in compute(job, [each.result() for each in reads]):
                writing.append(writers.submit(step))
                yield from written(pace.behind)

        def written(left: int) -> Iterator[Made]:
            while writing and (len(writing) > left or writing[0].done()):
                yield writing.popleft().result()

        for job in jobs:
            if job is not None:
                waiting.append((job, [readers.submit(step) for step in read(job)]))
            while waiting and (job is None or len(waiting) > pace.ahead):
                yield from forward()
            if job is None:
                yield from written(pace.behind)
        while waiting:
            yield from forward()
        yield from written(0)


def one_ahead(items: Iterator[Read]) -> Iterator[Read]:
    """Each of the items, while a thread makes the next one."""
    with _threads(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that begin nothing more once something went wrong."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def to_device(waveforms: Sequence[np.ndarray], device: torch.device) -> list[torch.Tensor]:
    """Waveforms (N,) on a device. To a GPU they go in one copy, from pinned memory: nobody waits for it."""
    if device.type != "cuda":
        return [torch.from_numpy(waveform).to(device) for waveform in waveforms]
    lengths = [len(waveform) for waveform in waveforms]
    joined = torch.empty(sum(lengths), pin_memory=True)
    np.concatenate(waveforms, out=joined.numpy())
    return list(joined.to(device, non_blocking=True).split(lengths))


def to_host(*tensors: torch.Tensor) -> Callable[[], list[np.ndarray]]:
    """Tensors of one device; they are asked for on the host, by any thread, when they have come.

    From a GPU they come while it goes on computing, and who asks for them waits for them alone.
    """
    device = tensors[0].device
    if device.type != "cuda":
        return lambda: [tensor.cpu().numpy() for tensor in tensors]
    copies = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor, non_blocking=True)
    come = torch.cuda.Event()
    come.record(torch.cuda.current_stream(device))

    def asked() -> list[np.ndarray]:
        come.synchronize()
        return [copy.numpy() for copy in copies]

    return asked
