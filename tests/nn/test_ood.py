"""Rows that are like those of training, and rows that are not."""

from __future__ import annotations

import numpy as np
import torch

from tenfold.nn.ood import MahalanobisScore

RNG = np.random.default_rng(0)
#: Two classes in eight directions, of which training has spread in four alone.
SPREAD = np.array([1.0, 1, 2, 3, 0, 0, 0, 0])


def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.integers(0, 2, count)
    features = RNG.normal(0, 1, (count, 8)) * SPREAD
    features[:, 0] += labels * 9
    return features.astype(np.float32), labels


def fitted() -> MahalanobisScore:
    familiar = MahalanobisScore(2, 8)
    features, labels = rows(200)
    assert familiar.fit(features, labels, rows(60)[0])
    return familiar


def test_rows_like_those_of_training_keep_their_probabilities() -> None:
    found = fitted()(torch.from_numpy(rows(300)[0]))
    assert found.shape == (300, 1) and found.dtype == torch.float64
    assert (found == 1).double().mean() > 0.95 and found.min() > 0.4


def test_rows_between_the_classes_or_off_their_directions_are_doubted() -> None:
    strange = np.zeros((3, 8), dtype=np.float32)
    strange[0, 0] = 20  # beyond the second class
    strange[1, 7] = 3  # where no row ever went
    strange[2, 0] = -9
    assert fitted()(torch.from_numpy(strange)).max() < 0.5


def test_twice_the_limit_halves() -> None:
    familiar = fitted()
    far = familiar.centres[:1].clone()
    far[0, 3] += 100
    distance = familiar.distances(far)
    assert familiar(far)[0, 0] == familiar.limit.double()[0] / distance[0]


def test_too_few_rows_or_no_spread_say_nothing() -> None:
    familiar = MahalanobisScore(2, 8)
    features, labels = rows(200)
    assert not familiar.fit(features[:9], labels[:9], features)
    assert not familiar.fit(features, labels, features[:4])
    assert not familiar.fit(features, np.full(200, -1), features)
    assert not familiar.fit(np.ones((50, 8)), np.zeros(50, dtype=np.int64), np.ones((9, 8)))
    assert familiar(torch.from_numpy(features)).tolist() == [[1.0]] * 200


def test_it_travels_with_the_weights() -> None:
    familiar, other = fitted(), MahalanobisScore(2, 8)
    other.load_state_dict(familiar.state_dict())
    features = torch.from_numpy(rows(20)[0]) * 3
    assert torch.equal(familiar(features), other(features))


def test_a_class_without_a_row_stands_in_the_middle() -> None:
    familiar = MahalanobisScore(3, 8)
    features, labels = rows(100)
    assert familiar.fit(features, labels, features)
    assert torch.allclose(familiar.centres[2], torch.from_numpy(features.mean(axis=0)), atol=1e-4)
