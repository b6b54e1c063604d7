"""Windows: their number against hand-computed ones, the reflected end, and pieces equal to the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_encls.model.windows_encls import WindowStream, cut, num_windows, window_index


@pytest.mark.parametrize(
    ("length", "window", "step", "expected"),
    [
        (750, 150, 75, 9),  # the paper's example: 10 s, WINDOW 2 s, STEP 1 s
        (375, 75, 75, 5),  # 5 s
        (75, 75, 75, 1),  # a clip of exactly one window
        (30, 75, 75, 1),  # shorter than half a window
        (1, 75, 75, 1),
        (76, 75, 75, 1),  # one frame more is nearly all mirror: no window of its own
        (83, 75, 75, 2),  # more than a tenth of a step is
        (112, 75, 75, 2),
        (376, 75, 75, 5),  # the OGG edition of ESC-10: 5.001 s
        (2251, 75, 75, 30),  # GTZAN: 30.013 s
        (200, 50, 100, 2),  # steps with gaps between the windows
        (210, 50, 100, 3),
        (100, 50, 10, 6),
    ],
)
def test_count(length, window, step, expected):
    assert num_windows(length, window, step) == expected
    assert window_index(length, window, step).shape == (expected, window)


def test_the_end_is_reflected_by_hand():
    windows = cut(torch.arange(7.0)[None], window=4, step=4)
    assert windows[:, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 5]]
    assert cut(torch.arange(3.0)[None], window=8, step=8)[0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert cut(torch.tensor([[5.0]]), window=3, step=3)[0, 0].tolist() == [5, 5, 5]


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 30))
def test_as_numpy_pads(length, window, step):
    units = torch.arange(float(length))[None]
    windows = cut(units, window, step)[:, 0].numpy()
    padded = np.pad(units[0].numpy(), (0, len(windows) * step + window), mode="reflect" if length > 1 else "edge")
    for number, found in enumerate(windows):
        np.testing.assert_array_equal(found, padded[number * step : number * step + window])


@given(st.integers(1, 200), st.integers(1, 25), st.integers(1, 30), st.lists(st.integers(1, 40), max_size=20))
def test_pieces_give_the_windows_of_the_whole(length, window, step, sizes):
    units = torch.arange(float(length)).expand(2, -1)
    stream, found, at = WindowStream(window, step), [], 0
    for size in [*sizes, length]:
        if at < length:
            found.append(stream.push(units[:, at : at + size]))
            at += size
    found.append(stream.finish())
    assert torch.equal(torch.cat(found), cut(units, window, step))


def test_a_stream_keeps_no_more_than_it_needs():
    stream = WindowStream(10, 10)
    for _ in range(100):
        stream.push(torch.zeros(1, 7))
        assert stream.buffer.shape[-1] <= 27
