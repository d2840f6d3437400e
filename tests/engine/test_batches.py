"""Batches: rows, labels and denominators that no cut can change."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.engine.batches import (
    Batch,
    Labels,
    Preparation,
    epoch_order,
    read_ahead,
    steps_per_epoch,
)
from tenfold.nn.exact import group_sizes
from tenfold.recipe import Recipe
from training import make_batches, make_encoding, make_examples, make_training

RECIPE = Recipe(
    arch="test_resnet",
    weights="none",
    image_size=32,
    batch_size=16,
    batchnorm_group=4,
    augment="light",
    seed=1,
)


def batches_of(
    rows: int = 37, *, missing: float = 0.0, epoch: int = 0, workers: int = 0, **values: Any
) -> list[Batch]:
    recipe = Recipe(**{**RECIPE.model_dump(), **values})
    training = make_training(recipe, micro_batch=4)
    return make_batches(training, make_examples(rows, missing=missing), epoch=epoch, workers=workers)


def handmade(groups: tuple[int, ...]) -> Batch:
    rows = torch.arange(sum(groups))
    labels = Labels(rows % 3, (rows % 4).double())
    return Batch(rows, {"image0": rows.double()}, {"a": (labels, labels)}, {"a": 7.5}, groups)


# Order


def test_every_row_is_in_one_batch_of_every_epoch() -> None:
    rows = np.array([5, 9, 2, 7, 30, 1, 4])
    orders = [epoch_order(rows, batch_size=3, seed=0, epoch=epoch) for epoch in range(3)]
    for order in orders:
        assert [len(batch) for batch in order] == [3, 3, 1]
        assert sorted(np.concatenate(order)) == sorted(rows)
    assert len({tuple(np.concatenate(order)) for order in orders}) == 3


def test_the_order_is_drawn_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(epoch_order(np.arange(50), batch_size=50, seed=seed, epoch=epoch)).tolist()

    assert order(3, 2) == order(3, 2)
    assert order(3, 2) not in (order(3, 3), order(2, 3), order(2, 2))


@pytest.mark.parametrize(
    ("rows", "size", "steps"), [(40, 64, 1), (64, 64, 1), (65, 64, 2), (33, 32, 2), (1, 1, 1)]
)
def test_fewer_rows_than_a_batch_still_make_one(rows: int, size: int, steps: int) -> None:
    assert steps_per_epoch(rows, size) == steps
    assert len(epoch_order(np.arange(rows), batch_size=size, seed=0, epoch=0)) == steps


# The cut


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 7, 8, 100])
@pytest.mark.parametrize("groups", [(4, 4, 4, 3), (1,) * 15, (15,), (5, 5, 5)])
def test_micro_batches_are_whole_groups_in_order(groups: tuple[int, ...], micro_batch: int) -> None:
    whole = handmade(groups)
    parts = list(whole.split(micro_batch))
    assert torch.equal(torch.cat([part.rows for part in parts]), whole.rows)
    assert torch.equal(torch.cat([part.inputs["image0"] for part in parts]), whole.inputs["image0"])
    assert sum((part.groups for part in parts), ()) == groups
    for part in parts:
        assert len(part) == sum(part.groups) <= max(micro_batch, max(groups))
        assert part.denominators == {"a": 7.5}  # of the whole batch, whatever the cut
        for labels in part.targets["a"]:
            assert torch.equal(labels.labels, part.rows % 3) and torch.equal(
                labels.weights, (part.rows % 4).double()
            )


def test_a_batch_that_fits_is_not_copied() -> None:
    whole = handmade((4, 4))
    assert [part is whole for part in whole.split(8)] == [True]


def test_one_row_left_over_joins_a_group() -> None:
    # 33 rows, 32 to a batch: the second batch has one row, and it is not dropped.
    assert [len(batch) for batch in batches_of(33, batch_size=32)] == [32, 1]
    assert group_sizes(33, 32) == (17, 16)
    for batch in batches_of(17, batch_size=17):
        assert batch.groups == (4, 4, 3, 3, 3)


# Labels and denominators


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_denominators_are_the_weights_of_the_known_labels(mixup: float) -> None:
    examples = make_examples(37, missing=0.4)
    for batch in batches_of(missing=0.4, mixup=mixup):
        for name, sets in batch.targets.items():
            total = sum(float(one.weights.sum()) for one in sets)
            known = (examples.labels[name][batch.rows.numpy()] >= 0).sum()
            assert batch.denominators[name] == pytest.approx(total)
            assert len(sets) == (2 if mixup else 1)
            if not mixup:
                assert total == known
                own = examples.labels[name][batch.rows.numpy()]
                assert sets[0].labels.tolist() == np.maximum(own, 0).tolist()


def test_a_mixed_label_is_shared_between_two_rows_of_the_batch() -> None:
    examples = make_examples(32)
    for batch in batches_of(32, mixup=1.0, batch_size=32):
        own, partner = batch.targets["disease"]
        assert own.labels.tolist() == examples.labels["disease"][batch.rows.numpy()].tolist()
        assert (own.weights + partner.weights).tolist() == pytest.approx([1.0] * 32)
        assert sorted(partner.labels.tolist()) == sorted(own.labels.tolist())
        assert batch.denominators["disease"] == pytest.approx(32)


def test_a_batch_without_labels_has_denominator_zero() -> None:
    for batch in batches_of(missing=1.0, mixup=0.4):
        assert set(batch.denominators.values()) == {0.0}


# Draws


def test_draws_depend_on_seed_epoch_and_row_never_on_the_worker() -> None:
    def pictures(**values: Any) -> dict[int, torch.Tensor]:
        found = batches_of(24, **values)
        return {
            int(row): image
            for batch in found
            for row, image in zip(batch.rows, batch.inputs["image0"], strict=True)
        }

    first = pictures()
    for workers in (1, 2, 4):
        assert all(torch.equal(image, first[row]) for row, image in pictures(workers=workers).items())
    for other in (pictures(epoch=1), pictures(seed=2)):
        assert not any(torch.equal(image, first[row]) for row, image in other.items())
    # Where a row stands, and in which batch, does not matter either.
    assert all(torch.equal(image, first[row]) for row, image in pictures(batch_size=5).items())


def test_equal_pictures_are_changed_differently() -> None:
    training = make_training(RECIPE, micro_batch=4)
    examples = make_examples(8)
    examples.images[0].pixels[:] = examples.images[0].pixels[0]
    changed = torch.cat([batch.inputs["image0"] for batch in make_batches(training, examples)])
    assert len({image.numpy().tobytes() for image in changed}) == 8


# Reading ahead


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_reads_come_in_order(workers: int, count: int) -> None:
    threads = set()

    def read(rows: np.ndarray) -> list[np.ndarray]:
        threads.add(threading.current_thread().name.partition("_")[0])
        return [rows * 2]

    reads = [np.array([number, number + 10]) for number in range(count)]
    found = [stored[0].tolist() for stored in read_ahead(reads, read, workers)]
    assert found == [[2 * number, 2 * number + 20] for number in range(count)]
    assert threads <= ({"MainThread"} if not workers or count < 2 else {"tenfold-read"})


def test_it_reads_two_ahead_and_no_more() -> None:
    begun: list[int] = []

    def read(rows: np.ndarray) -> list[np.ndarray]:
        begun.append(int(rows[0]))
        return [rows]

    ahead = read_ahead([np.array([number]) for number in range(50)], read, 1)
    next(ahead)
    next(ahead)
    assert max(begun) <= 3
    ahead.close()
    assert max(begun) <= 4 and not [
        one for one in threading.enumerate() if one.name.startswith("tenfold-read")
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_is_the_callers(workers: int) -> None:
    def read(rows: np.ndarray) -> list[np.ndarray]:
        if rows[0] == 2:
            raise OSError("picture 2 is gone")
        return [rows]

    ahead = read_ahead([np.array([number]) for number in range(9)], read, workers)
    assert [next(ahead)[0][0], next(ahead)[0][0]] == [0, 1]
    with pytest.raises(OSError, match="picture 2 is gone"):
        next(ahead)


# Pixels


def test_pixels_become_what_the_backbone_was_trained_on() -> None:
    encoding = make_encoding(RECIPE).model_copy(update={"mean": (0.2, 0.4, 0.6), "std": (0.5, 0.25, 0.1)})
    stored = np.zeros((1, 2, 3, 3), dtype=np.uint8)
    stored[0, 1, 2] = (255, 51, 102)
    for channels_last in (False, True):
        preparation = Preparation(encoding, torch.device("cpu"), torch.float64, channels_last)
        pixels = preparation.pixels(stored)
        assert pixels.shape == (1, 3, 2, 3) and pixels[0, :, 1, 2].tolist() == pytest.approx([1.0, 0.2, 0.4])
        ready = preparation.normalised(pixels)
        assert ready[0, :, 1, 2].tolist() == pytest.approx([1.6, -0.8, -2.0])
        assert ready[0, :, 0, 0].tolist() == pytest.approx([-0.4, -1.6, -6.0])
        assert ready.is_contiguous(memory_format=torch.channels_last) == channels_last
