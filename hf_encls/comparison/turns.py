"""Times of several works that are measured beside each other."""

import time
from collections.abc import Callable, Mapping

import torch


def in_turns(works: Mapping[object, Callable[[], object]], repeats: int, device: str = "cpu") -> dict:
    """Seconds of each work in each of `repeats` rounds, one after the other in every round, after one not counted.

    So a busy moment of the machine meets all of them.
    """
    times: dict[object, list[float]] = {name: [] for name in works}
    for _ in range(1 + repeats):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - started)
    return {name: each[1:] for name, each in times.items()}
