"""Augmentation of whole batches, mixup, and views for test-time augmentation.

All of it runs on the device before the batch is cut, and every draw depends on (seed, epoch, row) only: no
thread or micro-batch can change a draw.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from tenfold.nn.exact import uniform
from tenfold.recipe import Recipe

#: Streams of draws: augmentation, mixup and views never share random numbers with each other or dropout.
_AUGMENT, _MIX, _VIEW = 101, 102, 103


@dataclass(frozen=True)
class Strength:
    """How far a picture may be changed. Angles in degrees, all others as fractions.

    chance: probability of each change (mirroring has its own).
    """

    rotate: float
    warp: float
    aspect: float
    brightness: float
    contrast: float
    saturation: float
    chance: float = 0.75


#: Light suits a few epochs of fine-tuning; strong suits many, or few pictures.
STRENGTHS = {
    "light": Strength(rotate=10, warp=0.1, aspect=0.1, brightness=0.2, contrast=0.2, saturation=0.0),
    "strong": Strength(rotate=25, warp=0.2, aspect=0.25, brightness=0.35, contrast=0.35, saturation=0.4),
}


def augment(
    images: Float[Tensor, "rows channels height width"],
    rows: Int64[Tensor, " rows"],
    *,
    seed: int,
    epoch: int,
    strength: str,
    flip: str,
    min_scale: float,
    size: tuple[int, int] | None = None,
    stream: int = _AUGMENT,
) -> Float[Tensor, "rows channels new_height new_width"]:
    """Change pictures at random.

    images: (rows, 3, height, width) in 0..1.  rows: (rows,) int64 ids that the draws depend on.
    strength: ``off``, ``light`` or ``strong``.  flip: ``none``, ``horizontal`` or ``both``.
    min_scale: smallest fraction of the area that a random crop keeps.
    size: (height, width) of the result; by default that of the pictures.
    stream: of the draws; two uses never share one.
    Mirroring, rotation, crop, change of aspect and perspective are one resampling: a picture is blurred once,
    not five times.
    """
    draws = uniform(rows.to(images.device), 16, seed, stream, epoch).to(images.dtype)
    mirrors = _signs(draws, flip)
    height, width = size or images.shape[-2:]
    if strength == "off":
        return _mirrored(resized(images, (height, width)), mirrors)
    how = STRENGTHS[strength]
    matrix = _placement(draws, how, mirrors, min_scale, height / width)
    grid = _grid(matrix, height, width)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _relit(images, draws, how)


def augment_picture(
    pixels: UInt8[np.ndarray, "height width 3"], recipe: Recipe, *, versions: int, seed: int
) -> list[UInt8[np.ndarray, "new_height new_width 3"]]:
    """Versions of a picture as training draws them, to be looked at."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255
    changed = augment(
        image.expand(versions, -1, -1, -1),
        torch.arange(versions),
        seed=seed,
        epoch=0,
        strength=recipe.augment,
        flip=recipe.flip,
        min_scale=recipe.min_scale,
        size=recipe.image_size,
    )
    whole = (changed.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [np.ascontiguousarray(one) for one in whole.numpy()]


def _signs(draws: Float[Tensor, "rows draws"], flip: str) -> Float[Tensor, "rows 2"]:
    one = torch.ones_like(draws[:, 0])
    across = torch.where(draws[:, 0] < 0.5, -one, one) if flip != "none" else one
    down = torch.where(draws[:, 1] < 0.5, -one, one) if flip == "both" else one
    return torch.stack([across, down], 1)


def _mirrored(
    images: Float[Tensor, "rows channels height width"], signs: Float[Tensor, "rows 2"]
) -> Float[Tensor, "rows channels height width"]:
    across = (signs[:, 0] < 0)[:, None, None, None]
    down = (signs[:, 1] < 0)[:, None, None, None]
    if bool(across.any()):
        images = torch.where(across, images.flip(3), images)
    if bool(down.any()):
        images = torch.where(down, images.flip(2), images)
    return images


def _symmetric(draws: Float[Tensor, " rows"], most: float) -> Float[Tensor, " rows"]:
    return (draws * 2 - 1) * most


def _placement(
    draws: Float[Tensor, "rows draws"],
    how: Strength,
    signs: Float[Tensor, "rows 2"],
    min_scale: float,
    ratio: float,
) -> Float[Tensor, "rows 3 3"]:
    """Homographies from output to input coordinates, both in -1..1."""
    chosen = (draws < how.chance).to(draws.dtype)
    angle = _symmetric(draws[:, 2], math.radians(how.rotate)) * chosen[:, 3]
    area = 1 - draws[:, 4] * (1 - min_scale) * chosen[:, 5]
    stretch = torch.exp(_symmetric(draws[:, 6], math.log1p(how.aspect)) * chosen[:, 5])
    across = (area.sqrt() * stretch).clamp(max=1.0)
    down = (area.sqrt() / stretch).clamp(max=1.0)
    # A crop smaller than the picture may lie anywhere inside it.
    shift_x = _symmetric(draws[:, 7], 1.0) * (1 - across)
    shift_y = _symmetric(draws[:, 8], 1.0) * (1 - down)
    warp_x = _symmetric(draws[:, 9], how.warp) * chosen[:, 10]
    warp_y = _symmetric(draws[:, 11], how.warp) * chosen[:, 10]
    cos, sin = torch.cos(angle), torch.sin(angle)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    flip_x, flip_y = signs[:, 0], signs[:, 1]
    # The rotation is of pixels, not of the unit square: `ratio` undoes the picture's shape.
    affine = torch.stack(
        [
            torch.stack([flip_x * across * cos, -flip_y * across * sin * ratio, shift_x], 1),
            torch.stack([flip_x * down * sin / ratio, flip_y * down * cos, shift_y], 1),
            torch.stack([zero, zero, one], 1),
        ],
        1,
    )
    perspective = torch.stack(
        [
            torch.stack([one, zero, zero], 1),
            torch.stack([zero, one, zero], 1),
            torch.stack([warp_x, warp_y, one], 1),
        ],
        1,
    )
    return affine @ perspective


def _grid(
    matrix: Float[Tensor, "rows 3 3"], height: int, width: int
) -> Float[Tensor, "rows {height} {width} 2"]:
    """Sampling positions of the homographies."""
    y = (torch.arange(height, dtype=matrix.dtype, device=matrix.device) * 2 + 1) / height - 1
    x = (torch.arange(width, dtype=matrix.dtype, device=matrix.device) * 2 + 1) / width - 1
    m = matrix[:, :, :, None, None]
    # As sums of a row and a column: three outer sums are cheaper than one big product.
    over_x = m[:, :, 0] * x[None, None, None, :]
    over_y = m[:, :, 1] * y[None, None, :, None] + m[:, :, 2]
    x_top, y_top, bottom = (over_x[:, k] + over_y[:, k] for k in range(3))
    return torch.stack([x_top / bottom, y_top / bottom], dim=-1)


def _gain(draws: Float[Tensor, " rows"], most: float) -> Float[Tensor, "rows 1 1 1"]:
    return (1 + _symmetric(draws, most))[:, None, None, None]


def _relit(
    images: Float[Tensor, "rows channels height width"], draws: Float[Tensor, "rows draws"], how: Strength
) -> Float[Tensor, "rows channels height width"]:
    brightness, contrast = _gain(draws[:, 12], how.brightness), _gain(draws[:, 13], how.contrast)
    grey = images.mean(dim=(1, 2, 3), keepdim=True)
    # (x - grey) contrast + grey, times brightness, as one multiplication and one addition.
    images = images * (contrast * brightness) + grey * (1 - contrast) * brightness
    if how.saturation:
        colourless = images.mean(dim=1, keepdim=True)
        images = torch.lerp(colourless, images, _gain(draws[:, 14], how.saturation))
    return images.clamp_(0.0, 1.0)


@dataclass(frozen=True)
class Mix:
    """The partner of each row of a batch in mixup, and the row's own weight.

    partner: (rows,) int64 positions in the batch.  share: (rows,) float32 in 0.5..1.
    """

    partner: Int64[Tensor, " rows"]
    share: Float32[Tensor, " rows"]


def draw_mix(rows: Int64[Tensor, " rows"], *, alpha: float, seed: int, step: int) -> Mix:
    """Mixup (Zhang et al. 2018, arXiv 1710.09412): partners and shares of a batch, from (seed, step).

    Each row's share is drawn from Beta(alpha, alpha) and folded to 0.5..1, so that a row keeps its label.
    """
    draws = uniform(torch.zeros(1, dtype=torch.int64), 1, seed, _MIX, step)
    generator = torch.Generator().manual_seed(int(float(draws) * 2**24))
    partner = torch.randperm(len(rows), generator=generator)
    # Beta from two gammas: torch.distributions would draw from the global generator.
    gammas = torch._standard_gamma(  # pyright: ignore[reportPrivateImportUsage]
        torch.full((2, len(rows)), alpha), generator=generator
    )
    share = gammas[0] / gammas.sum(0).clamp(min=1e-20)
    return Mix(partner.to(rows.device), torch.maximum(share, 1 - share).to(rows.device))


def mixed(
    images: Float[Tensor, "needed channels height width"], mix: Mix
) -> Float[Tensor, "rows channels height width"]:
    """Pictures (rows, 3, height, width), each mixed with its partner. Those that `mix` is for come first; any
    others are only mixed into these."""
    share = mix.share.to(images.dtype)[:, None, None, None]
    return images[mix.partner].lerp_(images[: len(mix.partner)], share)


def resized(
    images: Float[Tensor, "rows channels height width"], size: tuple[int, int]
) -> Float[Tensor, "rows channels {size[0]} {size[1]}"]:
    """Pictures (rows, 3, height, width) at another size, by antialiased bilinear interpolation."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True).clamp_(0.0, 1.0)


def views(
    images: Float[Tensor, "rows channels height width"], count: int
) -> list[Float[Tensor, "rows channels height width"]]:
    """1, 2 or 4 mirrored views of pictures (rows, 3, height, width): plain, across, down, both."""
    axes: list[tuple[int, ...]] = [(), (3,), (2,), (2, 3)]
    return [images.flip(flipped) if flipped else images for flipped in axes[:count]]


@dataclass(frozen=True)
class Views:
    """Views of test-time augmentation (TTA), and their weights.

    mirrored: 1, 2 or 4 mirrored views of the same weight.
    drawn: augmented views, drawn as in training from (seed, the row's name, number of the view). Their
        weights sum to 1 - `plain`, and the plain view has `plain`.
    """

    mirrored: int = 1
    drawn: int = 0
    plain: float = 0.25
    strength: str = "light"
    flip: str = "horizontal"
    min_scale: float = 0.75
    seed: int = 0

    @property
    def count(self) -> int:
        """How many views there are, including the plain one."""
        return 1 + self.drawn if self.drawn else self.mirrored

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each view's probabilities, the plain one first; they sum to 1."""
        if self.drawn:
            return (self.plain, *[(1 - self.plain) / self.drawn] * self.drawn)
        return (1 / self.mirrored,) * self.mirrored


#: Without test-time augmentation.
PLAIN = Views()


def views_of(recipe: Recipe) -> Views:
    """The views that a recipe asks for."""
    drawn = recipe.augment, recipe.flip, recipe.min_scale, recipe.seed
    return Views(recipe.views, recipe.tta, recipe.plain_weight, *drawn)


def row_keys(names: Iterable[object]) -> Int64[Tensor, " rows"]:
    """(rows,) int64 hashes of the rows' names: seeds of their views, in any order of the rows."""
    digests = [hashlib.blake2b(str(name).encode("utf-8", "surrogateescape"), digest_size=7) for name in names]
    return torch.tensor([int.from_bytes(digest.digest(), "big") for digest in digests], dtype=torch.int64)


def each_view(
    plain: Float[Tensor, "rows channels height width"],
    wide: Float[Tensor, "rows channels wide_height wide_width"],
    keys: Int64[Tensor, " rows"],
    how: Views,
    *,
    column: int = 0,
) -> Iterator[Float[Tensor, "rows channels height width"]]:
    """Yield the views of pictures, the plain one first.

    plain: (rows, 3, height, width) in 0..1 at the network's size.  wide: the same pictures at the size that
    crops are cut from.  keys: see `row_keys`.  column: number of the image column; no two share draws.
    """
    if not how.drawn:
        yield from views(plain, how.mirrored)
        return
    yield plain
    height, width = plain.shape[-2:]
    for number in range(how.drawn):
        yield augment(
            wide,
            keys,
            seed=how.seed + column,
            epoch=number,
            strength=how.strength,
            flip=how.flip,
            min_scale=how.min_scale,
            size=(height, width),
            stream=_VIEW,
        )
