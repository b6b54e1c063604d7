"""Sounds that were cut off at the highest value that their recorder knew."""

import numpy as np

from hf_encls.audio import Source, blocks

SHORTEST_RUN = 4  # samples at exactly one value: what was not cut off is there for one sample or two
CLIPPED = 1e-3  # of the samples, from which on a sound is called clipped


def clipped_share(source: Source) -> float:
    """The share of a source's samples that are in a run at the largest or smallest value of their channel.

    Lossy formats move such values apart: there it is not seen. Raises `AudioError` for what cannot be read.
    """
    bounds = [(block.max(axis=0), block.min(axis=0)) for block in blocks(source)]
    highest, lowest = np.max([each[0] for each in bounds], axis=0), np.min([each[1] for each in bounds], axis=0)
    num_cut = num_samples = 0
    for block in blocks(source):
        num_samples += block.size
        for channel in np.flatnonzero(highest > lowest):
            for bound in (highest, lowest):
                at = block[:, channel] == bound[channel]
                edges = np.flatnonzero(np.diff(at, prepend=False, append=False))
                runs = edges[1::2] - edges[::2]
                num_cut += int(runs[runs >= SHORTEST_RUN].sum())
    return num_cut / max(num_samples, 1)
