"""Draws depend on seed, epoch and row; changes stay in range; views mirror."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tenfold.nn.augment import augment, draw_mix, mixed, views


def pictures(rows: int = 8, height: int = 24, width: int = 40) -> Tensor:
    return torch.rand(rows, 3, height, width, generator=torch.Generator().manual_seed(0))


def changed(images: Tensor, rows: Tensor, **values: object) -> Tensor:
    options: dict = {"seed": 1, "epoch": 2, "strength": "strong", "flip": "both", "min_scale": 0.5}
    return augment(images, rows, **{**options, **values})


@pytest.mark.parametrize("strength", ["off", "light", "strong"])
def test_a_row_is_changed_the_same_whatever_stands_beside_it(strength: str) -> None:
    images, rows = pictures(), torch.arange(8)
    whole = changed(images, rows, strength=strength)
    assert torch.equal(whole[3:5], changed(images[3:5], rows[3:5], strength=strength))
    assert torch.equal(whole, changed(images, rows, strength=strength))


def test_rows_epochs_and_seeds_differ() -> None:
    images, rows = pictures(1).expand(8, -1, -1, -1), torch.arange(8)
    whole = changed(images, rows)
    assert all(not torch.equal(whole[0], whole[row]) for row in range(1, 8))
    assert not torch.equal(whole, changed(images, rows, epoch=3))
    assert not torch.equal(whole, changed(images, rows, seed=2))


@pytest.mark.parametrize("strength", ["light", "strong"])
def test_values_stay_in_range_and_shapes_stay(strength: str) -> None:
    images = pictures(16)
    out = changed(images, torch.arange(16), strength=strength)
    assert out.shape == images.shape
    assert float(out.min()) >= 0 and float(out.max()) <= 1


def test_off_and_no_flip_leaves_pictures_as_they_are() -> None:
    images = pictures()
    assert torch.equal(changed(images, torch.arange(8), strength="off", flip="none"), images)


def test_off_still_mirrors_as_asked() -> None:
    images, rows = pictures(64), torch.arange(64)
    out = changed(images, rows, strength="off", flip="horizontal")
    same = (out - images).abs().amax(dim=(1, 2, 3)) == 0
    mirrored = (out - images.flip(3)).abs().amax(dim=(1, 2, 3)) == 0
    assert bool((same ^ mirrored).all())
    assert 16 < int(mirrored.sum()) < 48


def test_the_middle_of_a_picture_stays_near_the_middle() -> None:
    # A bright square in the centre: no change may move its weight far.
    images = torch.zeros(64, 3, 40, 80)
    images[:, :, 16:24, 36:44] = 1.0
    out = changed(images, torch.arange(64), strength="light", min_scale=0.9)
    weight = out.mean(1)
    columns = (weight.sum(1) * torch.arange(80)).sum(1) / weight.sum((1, 2))
    assert float((columns - 39.5).abs().max()) < 8


def test_rotation_keeps_shapes_of_a_wide_picture() -> None:
    # A disc must stay a disc in a picture of 2:1: the rotation is one of pixels.
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(120.0), indexing="ij")
    disc = (((y - 29.5) ** 2 + (x - 59.5) ** 2) < 15**2).float().expand(32, 3, -1, -1)
    out = changed(disc, torch.arange(32), strength="light", flip="none", min_scale=1.0)[:, 0] > 0.4
    tall, wide = out.any(2).sum(1).float(), out.any(1).sum(1).float()
    # Warp and aspect change it by up to a tenth each.
    assert float((tall / wide).max()) < 1.35 and float((tall / wide).min()) > 0.74


def test_mix_is_drawn_from_the_step() -> None:
    rows = torch.arange(10)
    one, again = (draw_mix(rows, alpha=0.4, seed=0, step=5) for _ in range(2))
    other = draw_mix(rows, alpha=0.4, seed=0, step=6)
    assert torch.equal(one.partner, again.partner) and torch.equal(one.share, again.share)
    assert not torch.equal(one.share, other.share)
    assert sorted(one.partner.tolist()) == list(range(10))
    assert float(one.share.min()) >= 0.5 and float(one.share.max()) <= 1


def test_mixed_pictures_are_weighted_means() -> None:
    images = pictures(4)
    mix = draw_mix(torch.arange(4), alpha=1.0, seed=0, step=0)
    out = mixed(images, mix)
    for row in range(4):
        share = mix.share[row]
        expected = share * images[row] + (1 - share) * images[mix.partner[row]]
        assert torch.allclose(out[row], expected, atol=1e-6)


def test_views() -> None:
    images = pictures(2)
    four = views(images, 4)
    assert torch.equal(views(images, 1)[0], images)
    assert torch.equal(four[1], images.flip(3)) and torch.equal(four[3], images.flip(2).flip(3))
