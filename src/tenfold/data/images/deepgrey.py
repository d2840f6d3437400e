"""Grey of more than 8 bits, brought to 8 by a rule that does not depend on how bright a picture is.

- *16 bits*: value / 65535 x 255. Data of 12 bits in a file of 16 are therefore dark, and stay apart.
- *12 bits*, where the file says so: value / 4095 x 255.
- *Float and 32 bits*: 0 is black. White is given, or else the smallest of 1, 255, 65535, 4294967295 that no
  value exceeds; of integers, the smallest of the last two. A training takes the largest white of all its
  pictures for each, and that holds for every later picture, so that no answer depends on the pictures beside
  it; where the training had none of this kind, white is 1. Negative values, values that are not finite, and
  values above a given white are refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import ImageError

#: Steps of white for float and 32-bit grey: far apart, so that pictures of a kind agree.
WHITES = (1.0, 255.0, 65535.0, 4294967295.0)

#: White of such pictures in a run that was trained without any.
UNTRAINED = 1.0

#: Values are scaled this many at a time, or their float copies would outweigh the picture.
BLOCK = 1 << 20


def find_white(values: NDArray[np.generic], white: float | None, name: str) -> tuple[float, float]:
    """The white to use, and the white that the values alone ask for.

    Raises ImageError that calls the picture `name`: no white fits, or not the given white.
    """
    integers = values.dtype.kind in "iu"
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{name} has pixels that are not finite: convert it to 16-bit PNG")
    steps = WHITES[2:] if integers else WHITES
    asked = next((step for step in steps if not _exceeds(high, step, integers)), 0.0)
    if not asked or low < (0 if integers else -0.001 * asked):
        raise ImageError(f"{name} has values from {low:g} to {high:g}; black is 0: convert it to 16-bit PNG")
    if white is not None and (_exceeds(high, white, integers) or (integers and asked > white)):
        why = "" if _exceeds(high, white, integers) else ", and they are whole numbers"
        raise ImageError(f"{name} has values up to {high:g}, but white is {white:g}{why}: scale it alike")
    return (asked if white is None else white), asked


def _exceeds(value: float, white: float, integers: bool) -> bool:
    # A whisker above is rounding, such as 1.0000001; anything more would be clipped.
    return value > (white if integers else white * 1.001)


def scale_grey(
    values: NDArray[np.generic], white: float, *, inverted: bool = False, clear: int | None = None
) -> NDArray[np.uint8]:
    """0..white as 0..255, rounded.  inverted: 0 is white.  clear: the transparent value, made white."""
    flat = np.ascontiguousarray(values).reshape(-1)
    grey = np.empty(flat.size, np.uint8)
    for start in range(0, flat.size, BLOCK):
        part = flat[start : start + BLOCK].astype(np.float64) * (255.0 / white)
        grey[start : start + BLOCK] = np.clip(255.0 - part if inverted else part, 0, 255) + 0.5
    if clear is not None:
        grey[flat == clear] = 255
    return grey.reshape(values.shape)
