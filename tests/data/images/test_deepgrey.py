"""Deep grey: every level where it belongs, and refusals of what would be clipped."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.data.images.deepgrey import BLOCK, find_white, scale_grey
from tenfold.errors import ImageError


def test_sixteen_bits_round_to_the_nearest_level() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    right = (values.astype(np.int64) * 2 + 257) // 514  # value / 257, rounded, in whole numbers
    assert (scale_grey(values, 65535.0) == right).all()
    assert (scale_grey(values, 65535.0, inverted=True) == 255 - right).all()


def test_a_clear_value_is_white_and_no_other() -> None:
    values = np.array([[7, 8, 65535]], np.uint16)
    assert scale_grey(values, 65535.0, clear=7).tolist() == [[255, 0, 255]]


def test_blocks_join_without_a_seam() -> None:
    values = np.arange(BLOCK + 5, dtype=np.int64) % 256
    assert (scale_grey(values, 255.0) == values).all()


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ([0.0, 1.0], 1),
        ([0.0, 0.0], 1),
        ([-1e-5, 1.0005], 1),
        ([0.0, 1.5], 255),
        ([0.0, 255.0], 255),
        ([0.0, 256.0], 65535),
        ([0.0, 1e9], 4294967295),
        ([0, 1], 65535),
        ([0, 65536], 4294967295),
    ],
)
def test_white_is_the_smallest_step_that_holds_all(values: list[float], asked: float) -> None:
    kind = np.float32 if isinstance(values[0], float) else np.int32
    assert find_white(np.array(values, kind), None, "a.tif") == (asked, asked)
    assert find_white(np.array(values, kind), 4294967295.0, "a.tif") == (4294967295, asked)


@pytest.mark.parametrize(
    ("values", "white", "said"),
    [
        ([0.0, np.nan], None, "a.tif has pixels that are not finite"),
        ([-np.inf, 0.0], None, "a.tif has pixels that are not finite"),
        ([-1.0, 1.0], None, "a.tif has values from -1 to 1; black is 0"),
        ([-1, 1], None, "a.tif has values from -1 to 1; black is 0"),
        ([0.0, 1e10], None, "a.tif has values from 0 to 1e+10"),
        ([0.0, 300.0], 255.0, "a.tif has values up to 300, but white is 255"),
        ([0, 65536], 65535.0, "a.tif has values up to 65536, but white is 65535"),
    ],
)
def test_what_would_be_clipped_is_refused(values: list[float], white: float | None, said: str) -> None:
    kind = np.float32 if isinstance(values[1], float) else np.int32
    with pytest.raises(ImageError) as caught:
        find_white(np.array(values, kind), white, "a.tif")
    assert said in str(caught.value)
