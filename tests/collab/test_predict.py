"""Predictions: one kind of id everywhere, the best fallback for strangers, and nothing hidden."""

from __future__ import annotations

import numpy as np
import pytest

from collab.small_models import by_hand, fit_small, texts
from tenfold.collab.predict import FactorScorer, predict_pairs
from tenfold.errors import RatingsError, RecipeError
from tenfold.values import Extra, TimeSpans

FIVE = [(1, 10, 5), (1, 11, 1), (2, 10, 4), (2, 12, 2), (3, 11, 2)]
RAW = [
    *[("kind", f"i{n}", 5) for n in range(8)],
    *[("harsh", f"i{n}", 1) for n in range(8)],
    *[(f"u{user}", f"i{n}", 3) for user in range(4) for n in range(8)],
]


# --- ids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [1, "1", np.int64(1), np.uint8(1), 1.0, np.float32(1), b"1", " 1 ", "1.0"])
@pytest.mark.parametrize("item", [12, "12", 12.0])
def test_all_spellings_of_a_known_id_give_one_number(user, item):
    model = fit_small(FIVE)
    found = predict_pairs(FactorScorer(model), user, item)
    assert found.score[0] == predict_pairs(FactorScorer(model), "1", "12").score[0]
    assert found.known_user[0] and found.known_item[0] and found.notes == ()


def test_unknown_ids_are_marked_and_counted():
    model = fit_small(FIVE)
    found = predict_pairs(FactorScorer(model), ["1", "x", "y"], ["10", "10", "z"])
    assert found.known_user.tolist() == [True, False, False]
    assert found.known_item.tolist() == [True, True, False]
    assert found.item_state.tolist() == ["rated", "rated", "unknown"]
    assert any("2 of 3 users unknown" in note for note in found.notes)
    strangers = predict_pairs(FactorScorer(model), [f"n{k}" for k in range(1000)], 10)
    assert any("1000 of 1000 users unknown" in one and "same kind?" in one for one in strangers.notes)


def test_items_known_from_the_catalogue_alone_are_told_apart():
    model = by_hand([[0.0]], [[0.0], [0.0]], items=texts(["1", "2"]), item_names={"1": "Sun", "3": "Moon"})
    assert predict_pairs(FactorScorer(model), "u0", ["1", "2", "3", 4]).item_state.tolist() == [
        *("rated", "rated", "listed", "unknown")
    ]


def test_pairs_must_pair():
    with pytest.raises(RatingsError, match="2 users and 3 items"):
        predict_pairs(FactorScorer(fit_small(FIVE)), [1, 2], [10, 11, 12])
    assert len(predict_pairs(FactorScorer(fit_small(FIVE)), [], []).score) == 0
    assert len(predict_pairs(FactorScorer(fit_small(FIVE)), 1, [10, 11, 12]).score) == 3


# --- fallbacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("factors", [0, 1, 3])
def test_a_stranger_is_answered_from_what_is_known_of_the_pair(factors):
    model = fit_small(RAW, factors=factors)
    users, items = ["kind", "u0", "harsh", "nobody", "nobody"], ["new", "new", "new", "new", "i1"]
    found = predict_pairs(FactorScorer(model), users, items)
    kind, plain, harsh, nobody, on_item = found.score.tolist()
    assert kind > plain > harsh and nobody == 3.0
    assert on_item == pytest.approx(3.0, abs=1e-3)
    assert np.isfinite(found.score).all() and (found.score >= 1).all() and (found.score <= 5).all()
    assert not (found.known_user & found.known_item).any()


def test_an_unknown_user_leans_to_the_items_mean():
    rows = [(f"u{u}", f"i{i}", 5 - i) for u in range(4) for i in range(4)]
    found = predict_pairs(
        FactorScorer(fit_small(rows, ridge=0.01)), "nobody", ["i0", "i1", "i2", "i3", "new"]
    )
    assert (np.diff(found.score[:4]) < -0.8).all() and found.score[4] == pytest.approx(3.5)


def test_the_unknown_user_is_the_average_of_factors_too():
    model = by_hand([[2.0], [0.0]], [[0.5], [0.0]], [[0, 1], [0, 1]])
    assert predict_pairs(FactorScorer(model), "nobody", "i0").score[0] == pytest.approx(3.5)
    model = by_hand([[2.0], [0.0]], [[0.5], [0.0]], [[0, 1], []])  # who rates nothing weighs nothing
    assert predict_pairs(FactorScorer(model), "nobody", "i0").score[0] == pytest.approx(4.0)


def test_a_pair_of_strangers_is_the_mean_rating_even_within_a_sigmoid():
    model = by_hand([[1.0]], [[1.0]], [[0]], sigmoid_range=(0.5, 5.5), mean=0.7)
    assert predict_pairs(FactorScorer(model), "x", "y").score[0] == 3.0
    bare = by_hand([[1.0]], [[1.0]], sigmoid_range=(1.0, 5.0), mean=0.0)  # carries no ratings
    assert predict_pairs(FactorScorer(bare), "x", "y").score[0] == 3.0


def test_unknown_pairs_can_be_refused():
    model = fit_small(FIVE)
    with pytest.raises(RatingsError, match="2 of 3 pairs") as error:
        predict_pairs(FactorScorer(model), [1, "x", 2], [10, "z", "w"], unknown="raise")
    assert "pair 2: user 'x' and item 'z' unknown" in str(error.value)
    assert "pair 3: item 'w' unknown" in str(error.value)
    assert len(predict_pairs(FactorScorer(model), [1, 2], [10, 12], unknown="raise").score) == 2
    with pytest.raises(RecipeError, match="did you mean 'raise'"):
        predict_pairs(FactorScorer(model), 1, 10, unknown="rise")


# --- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "scale"),
    [
        ([(f"u{u}", f"i{i}", 3) for u in range(4) for i in range(3)], (3, 3)),
        ([("u1", "i1", 0), ("u2", "i1", 1), ("u2", "i2", 0)], (0, 1)),
        ([("u", "i", 4)], (4, 4)),
    ],
)
def test_no_spread_means_no_correction(rows, scale):
    model = fit_small(rows, scale=scale)
    asked = [(user, item) for user in [*model.users, "x"] for item in [*model.items, "y"]]
    found = predict_pairs(FactorScorer(model), *zip(*asked, strict=True))
    assert np.isfinite(found.score).all()
    assert (found.score >= scale[0]).all() and (found.score <= scale[1]).all()
    if scale[0] == scale[1]:
        assert set(found.score.tolist()) == {float(scale[0])}


def test_scores_are_the_formula():
    rng = np.random.default_rng(2)
    p, q = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    b, c = rng.normal(size=4).astype(np.float32), rng.normal(size=5).astype(np.float32)
    users, items = np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4)
    raw = 0.3 + b[users] + c[items] + (p.astype(np.float32) @ q.astype(np.float32).T).ravel()
    changes = {"mean": 0.3, "user_bias": b, "item_bias": c, "scale": (-100.0, 100.0)}
    plain = by_hand(p, q, **changes)
    names = plain.users[users], plain.items[items]
    assert predict_pairs(FactorScorer(plain), *names).score == pytest.approx(raw, rel=1e-5)
    curved = by_hand(p, q, **changes, sigmoid_range=(0.5, 5.5))
    assert predict_pairs(FactorScorer(curved), *names).score == pytest.approx(
        0.5 + 5 / (1 + np.exp(-raw)), rel=1e-5
    )
    clipped = by_hand(p, q, **(changes | {"scale": (0.0, 1.0)}))
    assert predict_pairs(FactorScorer(clipped), *names).score == pytest.approx(np.clip(raw, 0, 1), rel=1e-5)


def test_a_pairs_score_does_not_depend_on_what_is_asked_with_it():
    rng = np.random.default_rng(3)
    model = by_hand(rng.normal(size=(50, 37)), rng.normal(size=(60, 37)), scale=(-99.0, 99.0))
    users, items = rng.integers(0, 50, 3000), rng.integers(0, 60, 3000)
    together = FactorScorer(model).scores(users, items)[0]
    alone = [FactorScorer(model).scores(users[k : k + 1], items[k : k + 1])[0][0] for k in range(0, 3000, 97)]
    assert together[::97].tolist() == alone


def test_far_scores_do_not_overflow_the_sigmoid():
    model = by_hand([[1e4], [-1e4]], [[1.0]], sigmoid_range=(0.5, 5.5), scale=(1.0, 5.0))
    assert predict_pairs(FactorScorer(model), ["u0", "u1"], "i0").score.tolist() == [5.0, 1.0]


# --- deviation -------------------------------------------------------------------------------------


def test_the_deviation_is_that_of_the_formula_with_independent_parts():
    extra = Extra(
        user_bias_variance=np.array([0.1], np.float32),
        item_bias_variance=np.array([0.2], np.float32),
        user_factors_variance=np.array([[0.3, 0.4]], np.float32),
        item_factors_variance=np.array([[0.5, 0.6]], np.float32),
    )
    wide = {"scale": (-9.0, 9.0)}
    model = by_hand([[1.0, 2.0]], [[0.5, -1.0]], [[0]], noise_precision=2.0, extra=extra, **wide)
    drawn = np.random.default_rng(0).normal
    draws = 400_000
    p = [drawn(mean, var**0.5, draws) for mean, var in ((1, 0.3), (2, 0.4))]
    q = [drawn(mean, var**0.5, draws) for mean, var in ((0.5, 0.5), (-1, 0.6))]
    score = drawn(0, 0.1**0.5, draws) + drawn(0, 0.2**0.5, draws) + p[0] * q[0] + p[1] * q[1]
    simulated = (score + drawn(0, 0.5**0.5, draws)).std()
    assert predict_pairs(FactorScorer(model), "u0", "i0").deviation[0] == pytest.approx(simulated, rel=0.01)


def test_no_deviation_is_wider_than_the_scale_allows():
    extra = Extra(user_bias_variance=np.array([1e9], np.float32))
    found = predict_pairs(
        FactorScorer(by_hand([[0.0]], [[0.0]], [[0]], noise_precision=1.0, extra=extra)), "u0", "i0"
    )
    assert found.deviation[0] == 2.0  # of 1 to 5


def test_some_users_and_items_are_noisier_than_others():
    noise = np.array([0.5, 2.0], np.float32), np.array([1.0, 4.0], np.float32)
    extra = Extra(user_noise=noise[0], item_noise=noise[1])
    model = by_hand([[0.0], [0.0]], [[0.0], [0.0]], [[0, 1], [0, 1]], noise_precision=4.0, extra=extra)
    found = predict_pairs(FactorScorer(model), ["u0", "u1", "u1", "x"], ["i0", "i1", "y", "i1"])
    expected = np.sqrt(np.array([0.5 * 1, 2 * 4, 2 * 2.5, 1.25 * 4]) / 4)
    assert found.deviation == pytest.approx(expected)


def test_a_users_span_of_time_moves_the_score():
    spans = (np.array([0, 1, 1]),), (np.array([7]),), (np.array([0.5], np.float32),)
    extra = Extra(times=TimeSpans(np.array([100.0]), *spans))
    model = by_hand([[0.0], [0.0]], [[0.0]], [[0]], extra=extra)
    times = np.array([750.0, 850.0, 750.0, np.nan, 750.0])
    found = predict_pairs(FactorScorer(model), ["u0", "u0", "u1", "u0", "x"], "i0", {"time": times})
    assert found.score.tolist() == [3.5, 3, 3, 3, 3]
    assert predict_pairs(FactorScorer(model), "u0", "i0").score[0] == 3


def test_strangers_are_less_certain_and_no_noise_is_no_deviation():
    model = fit_small(RAW)
    found = predict_pairs(FactorScorer(model), ["kind", "nobody", "kind"], ["i1", "i1", "new"])
    assert found.deviation[1] > found.deviation[0] == pytest.approx(0.5)
    assert found.deviation[2] >= found.deviation[0]
    assert np.isnan(predict_pairs(FactorScorer(by_hand([[1.0]], [[1.0]])), "u0", "i0").deviation[0])


# --- events ----------------------------------------------------------------------------------------


def test_a_model_of_events_predicts_no_stars():
    model = by_hand([[1.0]], [[9.0]], implicit=True, scale=(1.0, 1.0), noise_precision=1.0)
    with pytest.raises(RatingsError, match="predicts no ratings"):
        predict_pairs(FactorScorer(model), "u0", "i0")
    found = predict_pairs(FactorScorer(model), "u0", "i0", ranking=True)
    assert found.score[0] == 12 and np.isnan(found.deviation[0])  # neither clipped nor with a deviation


def test_a_disliked_item_is_predicted_below_a_liked_one():
    rows = [*(("a", "x", 5), ("a", "y", 1), ("b", "x", 5), ("b", "y", 1), ("c", "x", 5), ("d", "y", 1))]
    found = predict_pairs(FactorScorer(fit_small([*rows, ("d", "z", 5)])), "c", ["y", "z"])
    assert found.score[0] < found.score[1]
