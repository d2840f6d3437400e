"""A model that is packed and unpacked is the same, bit for bit; what is damaged or later is named."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest

from tenfold.collab.pack import FORMAT, pack_factor_model, unpack_factor_model
from tenfold.errors import RunError
from tenfold.values import Extra, FactorModel, TimeSpans


def texts(*values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


def model(users=3, items=4, factors=2, **changes) -> FactorModel:
    rng = np.random.default_rng(1)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    values = {
        "method": "gibbs",
        "users": texts("007", "7", "Zoë \udce9")[:users],
        "items": texts("a", "=1+1", "図", "")[:items],
        "mean": 0.1 + 0.2,
        "user_bias": draw(users),
        "item_bias": draw(items),
        "user_factors": draw(users, factors),
        "item_factors": draw(items, factors),
        "scale": (0.5, 5.0),
        "sigmoid_range": (0.0, 5.5),
        "seen_start": np.array([0, 2, 2, 3], np.int64)[: users + 1],
        "seen_items": np.array([0, 3, 1], np.uint32),
        "seen_ratings": np.array([5, 0.5, 3], np.float32),
        "item_names": {"a": "Ä", "listed": "", "図": "a\nb"},
        "implicit": False,
        "noise_precision": 1 / 3,
        "extra": Extra(
            user_bias_variance=draw(users),
            weight_decay=0.1,
            user_prior_covariance=np.asfortranarray(draw(3, 2)),
            times=TimeSpans(
                np.array([60.0, 3600.0]),
                (np.arange(users + 1), np.arange(users + 1)),
                (np.arange(users), np.arange(users)),
                (draw(users), draw(users)),
            ),
        ),
        "notes": ("made by hand",),
    }
    return FactorModel(**{**values, **changes})


def spans_of(extra: Extra) -> list[np.ndarray]:
    times = extra.times
    return [] if times is None else [times.lengths, *times.start, *times.part, *times.shift]


def same(one: FactorModel, other: FactorModel) -> None:
    for field in fields(FactorModel):
        left, right = getattr(one, field.name), getattr(other, field.name)
        pairs = [(left, right)]
        if field.name == "extra":
            assert (left.times is None) == (right.times is None)
            pairs = [(getattr(left, one.name), getattr(right, one.name)) for one in fields(Extra)[:-1]]
            pairs += zip(spans_of(left), spans_of(right), strict=True)
        for a, b in pairs:
            if isinstance(a, np.ndarray):
                assert a.dtype == b.dtype and a.shape == b.shape
                assert a.tolist() == b.tolist() if a.dtype == object else a.tobytes("C") == b.tobytes("C")
            else:
                assert a == b and type(a) is type(b)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sigmoid_range": None, "implicit": True},
        {"item_names": {}, "extra": Extra(), "notes": ()},
        {"factors": 0},
    ],
)
def test_a_model_comes_back_bit_for_bit(changes):
    made = model(**changes)
    arrays, metadata = pack_factor_model(made)
    assert all(array.dtype.kind in "biuf" and array.flags.c_contiguous for array in arrays.values())
    same(made, unpack_factor_model(arrays, json.loads(json.dumps(metadata))))


def test_a_model_of_nobody_comes_back():
    made = model(
        users=0,
        items=0,
        seen_start=np.zeros(1, np.int64),
        seen_items=np.zeros(0, np.uint32),
        seen_ratings=np.zeros(0, np.float32),
        extra=Extra(),
    )
    same(made, unpack_factor_model(*pack_factor_model(made)))


def test_a_later_format_is_said():
    arrays, metadata = pack_factor_model(model())
    with pytest.raises(RunError, match=f"format {FORMAT + 8}, this version of tenfold reads up to {FORMAT}"):
        unpack_factor_model(arrays, {**metadata, "format": FORMAT + 8})
    for version in (None, "1", 0, True):
        with pytest.raises(RunError, match="not a factor model"):
            unpack_factor_model(arrays, {**metadata, "format": version})


DAMAGE = {
    "array user_bias is missing": lambda arrays: arrays.pop("user_bias"),
    "array items.bytes is missing": lambda arrays: arrays.pop("items.bytes"),
    "array item_bias holds float64": lambda arrays: arrays.update(item_bias=np.zeros(4)),
    "array item_bias has 3 items, not 4": lambda arrays: arrays.update(item_bias=np.zeros(3, np.float32)),
    "array item_factors has 1 factors": lambda a: a.update(item_factors=a["item_factors"][:, :1].copy()),
    "array user_factors has 1 axes": lambda arrays: arrays.update(user_factors=np.zeros(6, np.float32)),
    "not finite": lambda arrays: arrays.update(user_bias=np.full(3, np.nan, np.float32)),
    "seen_start does not cut": lambda arrays: arrays.update(seen_start=np.array([0, 3, 2, 3])),
    "seen_items names items": lambda arrays: arrays.update(seen_items=np.array([0, 9, 1], np.uint32)),
    "users.offsets does not cut": lambda a: a.update({"users.offsets": a["users.offsets"][:-1]}),
    "items is not UTF-8": lambda a: a.update({"items.bytes": np.full_like(a["items.bytes"], 255)}),
    "3 listed items have 0 titles": lambda a: a.update(
        {"item_names.titles.bytes": np.zeros(0, np.uint8), "item_names.titles.offsets": np.zeros(1, np.int64)}
    ),
}


@pytest.mark.parametrize("problem", DAMAGE)
def test_damage_is_named(problem):
    arrays, metadata = pack_factor_model(model())
    DAMAGE[problem](arrays)
    with pytest.raises(RunError, match="is damaged") as error:
        unpack_factor_model(arrays, metadata)
    assert problem in str(error.value)


@pytest.mark.parametrize("word", ["mean", "scale", "sigmoid_range", "notes"])
def test_missing_words_are_named(word):
    arrays, metadata = pack_factor_model(model())
    del metadata[word]
    with pytest.raises(RunError, match="is damaged") as error:
        unpack_factor_model(arrays, metadata)
    assert f"{word} is missing" in str(error.value)


def test_words_that_are_no_numbers_are_named():
    arrays, metadata = pack_factor_model(model())
    for changes in ({"scale": None}, {"scale": [1]}, {"mean": float("nan")}, {"noise_precision": "0"}):
        with pytest.raises(RunError, match="is damaged") as error:
            unpack_factor_model(arrays, {**metadata, **changes})
        assert next(iter(changes)) in str(error.value)
