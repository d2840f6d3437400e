"""Principal components, and the names on a map of weights."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from shown import trained
from tenfold.reports.maps import named_map, principal_components, weight_maps


def test_components_are_those_of_another_implementation() -> None:
    values = np.random.default_rng(0).normal(size=(30, 5)) @ np.diag([5, 3, 1, 0.5, 0.1])
    place, share = principal_components(values)
    other = PCA(n_components=2, svd_solver="full").fit(values)
    np.testing.assert_allclose(np.abs(place), np.abs(other.transform(values)), atol=1e-9)
    np.testing.assert_allclose(share, other.explained_variance_ratio_)
    again, _ = principal_components(values)
    np.testing.assert_array_equal(place, again)


def test_one_direction_or_none() -> None:
    place, share = principal_components(np.array([[1.0], [3.0]]))
    assert place[:, 1].tolist() == [0, 0] and share == (1.0, 0.0)
    place, share = principal_components(np.ones((3, 2)))
    assert not place.any() and share == (0.0, 0.0)
    assert [*named_map(np.ones((3, 2)), list("abc"), "t").lines[0].names] == ["a", "b", "c"]


def test_classes_stand_on_a_map_by_the_last_layers_weights() -> None:
    _, run = trained()
    names = [target.name for target in run.schema.targets]
    charts = weight_maps(run.path, names, run.encoding.classes)
    # Four tags are enough for a map; three classes are not.
    assert len(charts) == 1 and "furry" in charts[0].lines[0].names
    assert weight_maps(run.path / "nowhere", names, {}) == []
