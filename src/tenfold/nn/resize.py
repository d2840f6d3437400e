"""Pillow's resize as tensor operations, to the bit, for graphs that take pictures of any size.

Pillow (libImaging/Resample.c) resizes across, rounds to bytes, and resizes down; later versions begin with
what goes down where a picture loses more than twice as many rows as columns. Both are products with a matrix
whose weights are whole numbers of 2^-22; sums of such products are exact in float64, so that the bytes are
Pillow's.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

#: Pillow's weights are whole numbers of 2^-BITS.
BITS = 22
#: Half the width of each filter, in pixels of the smaller picture.
SUPPORT = {"box": 0.5, "bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}


def resized_as_pillow(
    pixels: UInt8[Tensor, "rows height width 3"],
    size: tuple[int, int],
    resize: str,
    interpolation: str,
    *,
    down_first: bool,
) -> Float64[Tensor, "rows 3 new_height new_width"]:
    """Pictures of any equal size at `size` = (height, width), whole numbers 0..255.

    resize: ``squish``, ``crop`` or ``pad``, as `data.images.decode`.  interpolation: a key of `SUPPORT`.
    down_first: whether Pillow is of the later versions (`data.images.decode.resizes_down_first`).
    """
    # Not pixels.shape, which tracing would take for constants; and lengths have an axis, since the tracer
    # makes single precision of tensors that have none.
    shape = torch._shape_as_tensor(pixels).double()  # pyright: ignore[reportPrivateImportUsage]
    sides = shape[1:2], shape[2:3]
    new = [torch.tensor([float(side)], dtype=torch.float64) for side in size]
    ratios = new[0] / sides[0], new[1] / sides[1]
    image = pixels.permute(0, 3, 1, 2).double()
    matrices, fewer = [], []
    for axis, side in enumerate(sides):
        start, stop, inner, corner = torch.zeros_like(side), side, new[axis], torch.zeros_like(side)
        if resize == "crop":
            part = torch.minimum(side, new[axis] / torch.maximum(*ratios))
            start = (side - part) / 2
            stop = start + part
        elif resize == "pad":
            inner = torch.round(side * torch.minimum(*ratios)).clamp(min=1.0)
            inner = torch.minimum(inner, new[axis])
            corner = torch.floor((new[axis] - inner) / 2)
        matrices.append(_weights(side, (start, stop), inner, corner, size[axis], interpolation))
        fewer.append(side - inner)
    made = _rounded(matrices[0] @ _rounded(image @ matrices[1].T))
    if not down_first:
        return made
    down = _rounded(_rounded(matrices[0] @ image) @ matrices[1].T)
    return torch.where((fewer[0] > 0) & (fewer[0] > 2 * fewer[1]), down, made)


def _rounded(sums: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
    return torch.floor((sums + 2.0 ** (BITS - 1)) * 2.0**-BITS).clamp(0.0, 255.0)


def _weights(
    side: Float64[Tensor, " 1"],
    ends: tuple[Float64[Tensor, " 1"], Float64[Tensor, " 1"]],
    inner: Float64[Tensor, " 1"],
    corner: Float64[Tensor, " 1"],
    size: int,
    interpolation: str,
) -> Float64[Tensor, "{size} side"]:
    """Weights of `side` pixels in `size` new ones, in units of 2^-BITS.

    ends: of the part that is taken.  inner, corner: how many new pixels it fills, and the first of them.
    """
    # Pillow holds the ends in single precision.
    first, last = ends[0].float(), ends[1].float()
    scale = (last - first).double() / inner
    wide = scale.clamp(min=1.0)
    support = SUPPORT[interpolation] * wide
    new = torch.arange(size, dtype=torch.float64)[:, None] - corner
    # A tensor, so that a traced graph counts as it runs.
    old = torch.arange(side[0], dtype=torch.float64)[None, :]  # pyright: ignore
    centre = first.double() + (new + 0.5) * scale
    low = torch.floor(centre - support + 0.5)
    high = torch.floor(centre + support + 0.5)
    weight = _filtered((old - centre + 0.5) * (1.0 / wide), interpolation)
    weight = torch.where((old >= low) & (old < high), weight, 0.0)
    # Added one by one, as Pillow does: sums of another order end in other digits.
    total = weight.cumsum(dim=1)[:, -1:]
    weight = weight / torch.where(total == 0, 1.0, total) * 2.0**BITS
    whole = torch.where(weight < 0, -torch.floor(0.5 - weight), torch.floor(0.5 + weight))
    return torch.where((new >= 0) & (new < inner), whole, 0.0)


def _filtered(x: Float64[Tensor, "*any"], interpolation: str) -> Float64[Tensor, "*any"]:
    """The filter's weight at a distance, in pixels of the smaller picture."""
    away = x.abs()
    if interpolation == "box":
        return ((x > -0.5) & (x <= 0.5)).double()
    if interpolation == "bilinear":
        return (1.0 - away).clamp(min=0.0)
    if interpolation == "lanczos":
        return torch.where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)
    near = (1.5 * away - 2.5) * away * away + 1.0
    far = (((away - 5.0) * away + 8.0) * away - 4.0) * -0.5
    return torch.where(away < 1.0, near, torch.where(away < 2.0, far, 0.0))


def _sinc(x: Float64[Tensor, "*any"]) -> Float64[Tensor, "*any"]:
    turned = x * math.pi
    safe = torch.where(x == 0, 1.0, turned)
    return torch.where(x == 0, 1.0, torch.sin(safe) / safe)
