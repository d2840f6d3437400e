"""What is drawn is what is said: the same for a seed, with answers that can be found."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.data.synthetic import DISEASES, VARIETIES, _marks, draw_leaves, draw_ratings


@pytest.fixture(scope="module")
def leaves():
    return draw_leaves(240, seed=3, size=64)


# --- leaves ----------------------------------------------------------------------------------------


def test_leaves_are_pictures_with_a_table(leaves):
    images, columns = leaves
    assert images.shape == (240, 64, 64, 3) and images.dtype == np.uint8
    assert list(columns) == ["image_id", "disease", "variety", "age_days"]
    assert len(set(columns["image_id"])) == 240 and columns["image_id"][0] == "leaf_00001.png"
    assert set(columns["disease"]) == set(DISEASES) and set(columns["variety"]) == set(VARIETIES)
    assert columns["age_days"].dtype == np.int64 and columns["age_days"].min() >= 15
    assert len({image.tobytes() for image in images}) == 240


def test_the_seed_decides_the_leaves(leaves):
    images, columns = leaves
    again, same = draw_leaves(240, seed=3, size=64)
    assert np.array_equal(images, again)
    assert all(np.array_equal(columns[name], same[name]) for name in columns)
    other, _ = draw_leaves(8, seed=4, size=64)
    assert not np.array_equal(images[:8], other)


@pytest.mark.parametrize(("n", "size"), [(0, 32), (1, 33), (17, 24)])
def test_any_number_and_size_is_drawn(n, size):
    images, columns = draw_leaves(n, seed=0, size=size)
    assert images.shape == (n, size, size, 3)
    assert all(len(values) == n for values in columns.values())


def test_pictures_are_neither_dark_nor_burnt_out(leaves):
    images, _ = leaves
    assert 60 < images.mean() < 140
    assert images.std(axis=(1, 2, 3)).min() > 8
    assert (images == 255).mean() < 0.05 and (images == 0).mean() < 0.05


def test_each_variety_is_prone_to_a_disease():
    _, columns = draw_leaves(1500, seed=0, size=8)
    table = np.array(
        [[np.sum((columns["variety"] == v) & (columns["disease"] == d)) for d in DISEASES] for v in VARIETIES]
    )
    share = table / table.sum(axis=1, keepdims=True)
    assert table.sum(axis=1).min() > 300
    assert DISEASES[share[0].argmax()] == "blast" and DISEASES[share[1].argmax()] == "blight"
    assert DISEASES[share[2].argmax()] == "rust" and DISEASES[share[3].argmax()] == "healthy"
    assert share.max() < 0.5 and share.min() > 0.1


@pytest.mark.parametrize("name", ["rust", "blast", "blight"])
def test_marks_grow_with_severity_and_leave_green_behind(name):
    # A plain green leaf that fills the picture: whatever is no longer green is a mark.
    axis = np.linspace(0.02, 0.98, 48, dtype=np.float32)
    t = np.broadcast_to(axis[None, None, :], (12, 48, 48))
    v = np.broadcast_to((axis[None, :, None] - 0.5) * 0.7, (12, 48, 48)).astype(np.float32)
    depth = 0.36 - np.abs(v)
    part = []
    for severity in (0.1, 0.4, 0.9):
        surface = np.zeros((12, 3, 48, 48), np.float32)
        surface[:, 1] = 0.5
        disease = np.full(12, DISEASES.index(name))
        _marks(np.random.default_rng(0), surface, disease, np.full(12, severity, np.float32), t, v, depth)
        part.append(float((surface[:, 0] > 0.3).mean()))
    assert 0 < part[0] < part[1] < part[2] < 0.8


def test_a_healthy_leaf_gets_no_marks():
    surface = np.full((2, 3, 8, 8), 0.5, np.float32)
    flat = np.zeros((2, 8, 8), np.float32)
    disease = np.full(2, DISEASES.index("healthy"))
    _marks(np.random.default_rng(0), surface, disease, np.ones(2, np.float32), flat, flat, flat + 1)
    assert (surface == 0.5).all()


# --- ratings ---------------------------------------------------------------------------------------


def test_ratings_are_pairs_on_a_scale_in_order_of_time():
    drawn = draw_ratings(80, 40, 900, seed=1)
    assert len(drawn["user"]) == len(drawn["item"]) == len(drawn["rating"]) == len(drawn["time"]) == 900
    assert len(set(zip(drawn["user"], drawn["item"], strict=True))) == 900
    assert set(drawn["rating"]) <= {1, 2, 3, 4, 5} and drawn["rating"].dtype == np.float32
    assert np.all(np.diff(drawn["time"]) >= 0) and drawn["time"].dtype == np.int64
    assert len(set(drawn["titles"])) == 40
    halves = draw_ratings(80, 40, 900, seed=1, step=0.5)["rating"]
    assert set(halves * 2) <= set(range(2, 11)) and len(set(halves)) == 9


def test_the_seed_decides_the_ratings():
    first, again, other = (draw_ratings(30, 20, 100, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["rating"], other["rating"])


def test_ratings_follow_the_factors_that_are_told():
    drawn = draw_ratings(200, 60, 6000, seed=2)
    user = {name: place for place, name in enumerate(drawn["users"])}
    item = {name: place for place, name in enumerate(drawn["items"])}
    u = np.array([user[one] for one in drawn["user"]])
    i = np.array([item[one] for one in drawn["item"]])
    truth = drawn["mean"] + drawn["user_bias"][u] + drawn["item_bias"][i]
    truth += np.sum(drawn["user_factors"][u] * drawn["item_factors"][i], axis=1)
    error = np.clip(truth, 1, 5) - drawn["rating"]
    # Noise of 0.4 and the rounding to whole stars (0.29).
    assert np.sqrt(np.mean(error**2)) < 0.55
    assert abs(error.mean()) < 0.1


def test_parts_of_a_series_are_nearest_neighbours():
    drawn = draw_ratings(10, 150, 300, seed=4)
    factors = drawn["item_factors"] / np.linalg.norm(drawn["item_factors"], axis=1, keepdims=True)
    cosine = factors @ factors.T
    np.fill_diagonal(cosine, -1)
    several = np.bincount(drawn["series"])[drawn["series"]] > 1
    same = drawn["series"][cosine.argmax(axis=1)] == drawn["series"]
    assert several.sum() > 50 and same[several].mean() > 0.95
    pair = np.flatnonzero(drawn["series"][1:] == drawn["series"][:-1])[0]
    assert drawn["titles"][pair + 1].startswith(drawn["titles"][pair])


def test_some_items_are_popular_and_none_is_left_out():
    drawn = draw_ratings(300, 200, 9000, seed=0)
    count = np.unique(drawn["item"], return_counts=True)[1]
    assert len(count) == 200 and count.max() > 3 * np.median(count)


def test_more_titles_than_words_are_still_different():
    assert len(set(draw_ratings(5, 5000, 50, seed=0)["titles"])) == 5000


@pytest.mark.parametrize("ratings", [0, 61, -1])
def test_ratings_that_have_no_room_are_refused(ratings):
    with pytest.raises(ValueError, match="room for 60 ratings"):
        draw_ratings(10, 10, ratings, seed=0)


def test_nearly_full_tables_can_be_drawn():
    drawn = draw_ratings(10, 10, 60, seed=0)
    assert len(set(zip(drawn["user"], drawn["item"], strict=True))) == 60
