"""Lists: nothing that was rated, no filler, the same by every path; and neighbours and reasons to check."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from collab.small_models import by_hand, fit_small, texts
from tenfold.collab import top as module
from tenfold.collab.pack import pack_factor_model, unpack_factor_model
from tenfold.collab.predict import FactorScorer, predict_pairs
from tenfold.collab.recommend import nearest_users, recommend, similar
from tenfold.errors import RatingsError, RecipeError


def lists(found) -> dict[str, list[str]]:
    """User -> items in order."""
    ranked: dict[str, list[str]] = {}
    for user, item in zip(found.users, found.items, strict=True):
        ranked.setdefault(user, []).append(item)
    return ranked


def near(found) -> dict[str, list[str]]:
    """Asked -> found in order."""
    ranked: dict[str, list[str]] = {}
    for one, other in zip(found.asked, found.found, strict=True):
        ranked.setdefault(one, []).append(other)
    return ranked


def drawn(users=40, items=70, factors=8, rated=12, seed=0, **changes):
    """A model with random factors and biases."""
    rng = np.random.default_rng(seed)
    seen = [sorted(rng.choice(items, rated, replace=False)) for _ in range(users)]
    bias = rng.normal(0, 0.3, items).astype(np.float32)
    return by_hand(
        rng.normal(size=(users, factors)),
        rng.normal(size=(items, factors)),
        seen,
        **{"item_bias": bias, "scale": (-99.0, 99.0), **changes},
    )


def by_sorting(model, n, include_seen=False):
    """The definition, written once more: all scores, sorted; ties in the order of the items."""
    expected = {}
    for row, user in enumerate(model.users):
        scores = predict_pairs(FactorScorer(model), user, model.items, ranking=True).score.astype(float)
        if not include_seen:
            scores[model.seen_items[model.seen_start[row] : model.seen_start[row + 1]]] = -np.inf
        order = np.argsort(-scores, kind="stable")[:n]
        best = [model.items[i] for i in order if scores[i] > -np.inf]
        if best:
            expected[user] = best
    return expected


SIX = [
    (u, i, (u * i) % 5 + 1) for u in range(1, 6) for i in range(1, 7) if (u + i) % 2
]  # each user has three


# --- what is in a list -----------------------------------------------------------------------------


@pytest.mark.parametrize("users", [None, 3, "3", np.int64(3), [1, 2, 3, 4, 5], ["3", 3.0]])
def test_nothing_that_was_rated_is_recommended(users):
    model = fit_small(SIX)
    for one in (model, unpack_factor_model(*pack_factor_model(model))):
        found = recommend(FactorScorer(one), users)
        rated = {(str(u), str(i)) for u, i, _ in SIX}
        assert not rated & set(zip(found.users, found.items, strict=True))
        assert all(len(ranked) % 3 == 0 for ranked in lists(found).values())


def test_all_appear_if_asked():
    found = lists(recommend(FactorScorer(fit_small(SIX)), include_seen=True))
    assert all(sorted(ranked) == list("123456") for ranked in found.values())


def test_one_users_list_is_the_same_alone_and_among_all():
    model = drawn()
    everyone = lists(recommend(FactorScorer(model), n=7))
    for user in model.users:
        assert lists(recommend(FactorScorer(model), user, n=7))[user] == everyone[user]
    backwards = recommend(FactorScorer(model), model.users[::-1], n=7)
    assert lists(backwards) == everyone and backwards.users[0] == model.users[-1]


@pytest.mark.parametrize("n", [1, 3, 10, 58, 59, 1000])
@pytest.mark.parametrize("include_seen", [False, True])
def test_lists_are_those_of_sorting_all_scores(n, include_seen):
    model = drawn()
    assert lists(recommend(FactorScorer(model), n=n, include_seen=include_seen)) == by_sorting(
        model, n, include_seen
    )


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("tile", [16, 37, 1 << 13])
@pytest.mark.parametrize("n", [1, 5, 60])
def test_blocks_and_threads_change_nothing(threads, tile, n, monkeypatch):
    model = drawn(users=300, items=200, rated=50)
    whole = recommend(FactorScorer(model), n=n, threads=1)
    monkeypatch.setattr(module, "BLOCK", 4000)
    monkeypatch.setattr(module, "TILE", tile)
    cut = recommend(FactorScorer(model), n=n, threads=threads)
    for name in ("users", "items", "rank", "known_user"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name))
    assert whole.score.tobytes() == cut.score.tobytes()


def test_near_ties_are_ordered_by_the_exact_score():
    # Scores that single precision cannot tell apart, in an order that rounding would spoil.
    rng = np.random.default_rng(1)
    q = np.ones((400, 16)) + rng.normal(0, 2e-7, (400, 16))
    model = by_hand(rng.normal(1, 0.3, (20, 16)), q, scale=(-999.0, 999.0))
    found = recommend(FactorScorer(model), n=10)
    exact = model.user_factors.astype(float) @ model.item_factors.astype(float).T
    for row, user in enumerate(model.users):
        best = np.argsort(-exact[row], kind="stable")[:10]
        assert lists(found)[user] == [model.items[i] for i in best]


def test_ties_keep_the_order_of_the_items():
    found = recommend(FactorScorer(by_hand(np.ones((3, 2)), np.ones((50, 2)), [[0], [1, 3]])), n=4)
    assert lists(found) == {
        "u0": ["i1", "i2", "i3", "i4"],
        "u1": ["i0", "i2", "i4", "i5"],
        "u2": ["i0", "i1", "i2", "i3"],
    }
    assert found.rank.tolist() == [1, 2, 3, 4] * 3


def test_clipping_makes_no_ties():
    model = by_hand([[1.0]], [[5.0], [7.0], [6.0]])
    found = recommend(FactorScorer(model))
    assert lists(found)["u0"] == ["i1", "i2", "i0"] and set(found.score) == {5.0}


def test_scores_are_those_of_predict():
    model = fit_small(SIX)
    found = recommend(FactorScorer(model))
    assert (
        found.score.tobytes() == predict_pairs(FactorScorer(model), found.users, found.items).score.tobytes()
    )
    assert np.isfinite(found.deviation).all() and found.known_user.all()


# --- how long a list is ----------------------------------------------------------------------------


def test_a_list_is_as_long_as_there_are_candidates():
    model = by_hand(np.ones((3, 1)), np.arange(4)[:, None], [[0, 1], [0, 1, 2, 3], [2]])
    found = recommend(FactorScorer(model), n=10)
    assert lists(found) == {"u0": ["i3", "i2"], "u2": ["i3", "i1", "i0"]}
    assert any("'u1'" in note and "rated all 4 items" in note for note in found.notes)
    alone = recommend(FactorScorer(model), "u1")
    assert len(alone.items) == 0 and any("'u1'" in note for note in alone.notes)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3", None])
def test_a_list_has_one_item_or_more(n):
    with pytest.raises(RecipeError, match="1 item or more"):
        recommend(FactorScorer(drawn()), n=n)
    with pytest.raises(RecipeError, match="1 item or more"):
        similar(FactorScorer(drawn()), n=n)


def test_candidates_and_exclusions():
    model = drawn()
    assert lists(recommend(FactorScorer(model), "u3", candidates=["i5"], include_seen=True)) == {"u3": ["i5"]}
    mask = np.arange(70) < 20
    few = lists(recommend(FactorScorer(model), n=5, candidates=mask))
    assert all(int(item[1:]) < 20 for ranked in few.values() for item in ranked)
    assert few == lists(recommend(FactorScorer(model), n=5, candidates=[f"i{k}" for k in range(20)]))
    assert few == lists(recommend(FactorScorer(model), n=5, exclude=~mask))
    found = recommend(FactorScorer(model), "u3", n=3, candidates=["i5", "i6", "new"], include_seen=True)
    assert (
        sorted(lists(found)["u3"]) == ["i5", "i6"] and "1 candidates were never rated: 'new'" in found.notes
    )
    nothing = recommend(FactorScorer(model), candidates=[])
    assert len(nothing.items) == 0 and any("no item is allowed" in note for note in nothing.notes)
    with pytest.raises(RecipeError, match="mask of shape"):
        recommend(FactorScorer(model), candidates=np.ones(3, bool))


def test_an_unknown_user_gets_the_average_list_and_a_mark():
    model = drawn()
    found = recommend(FactorScorer(model), ["stranger", "u1"], n=3)
    assert found.known_user.tolist() == [False] * 3 + [True] * 3
    assert any("1 of 2 users unknown" in note and "'stranger'" in note for note in found.notes)
    best = np.argsort(-predict_pairs(FactorScorer(model), "stranger", model.items).score, kind="stable")[:3]
    assert lists(found)["stranger"] == list(model.items[best])


def test_titles_where_they_are_known():
    model = by_hand([[1.0]], [[3.0], [2.0], [1.0]], item_names={"i0": "Sun", "i1": ""})
    assert recommend(FactorScorer(model)).names.tolist() == ["Sun", "i1", "i2"]
    assert recommend(FactorScorer(model)).items.tolist() == ["i0", "i1", "i2"]


def test_events_are_ranked_and_the_scores_are_not_called_ratings():
    found = recommend(FactorScorer(by_hand([[1.0]], [[0.2], [9.0]], implicit=True, scale=(1.0, 1.0))))
    assert lists(found) == {"u0": ["i1", "i0"]} and any("not ratings" in note for note in found.notes)


def test_factors_that_are_not_finite_rank_nothing():
    model = drawn()
    model.user_factors[3, 2] = np.nan
    with pytest.raises(RatingsError, match="1 numbers of the model's user_factors are not finite"):
        recommend(FactorScorer(model))
    with pytest.raises(RatingsError, match="not finite"):
        similar(FactorScorer(model))


def test_memory_does_not_grow_with_users_times_items(monkeypatch):
    rng = np.random.default_rng(0)
    model = by_hand(rng.normal(size=(3000, 2)), rng.normal(size=(2000, 2)))
    monkeypatch.setattr(module, "BLOCK", 1 << 16)
    tracemalloc.start()
    recommend(FactorScorer(model), n=2, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 2000 * 4 / 5


# --- neighbours ------------------------------------------------------------------------------------


def test_neighbours_are_by_cosine_not_by_dot_product():
    model = by_hand([[1.0, 0.0]], [[1.0, 0.1], [2.0, 0.1], [90.0, 90.0], [-1.0, 0.0]])
    found = similar(FactorScorer(model), "i0")
    assert near(found) == {"i0": ["i1", "i2", "i3"]}
    expected = [(2 + 0.01) / np.hypot(1, 0.1) / np.hypot(2, 0.1), 1.1 / np.hypot(1, 0.1) / 2**0.5]
    assert found.cosine[:2] == pytest.approx(expected, rel=1e-6) and found.rank.tolist() == [1, 2, 3]
    dot = model.item_factors[0] @ model.item_factors.T
    assert np.argmax(dot) == 2


@pytest.mark.parametrize("n", [1, 5, 69, 500])
def test_neighbours_are_those_of_sorting_all_cosines(n, monkeypatch):
    model = drawn()
    monkeypatch.setattr(module, "BLOCK", 1000)
    monkeypatch.setattr(module, "TILE", 20)
    q = model.item_factors.astype(float)
    unit = q / np.linalg.norm(q, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    found = similar(FactorScorer(model), n=n)
    for row, item in enumerate(model.items):
        sure = (model.received + 1) / (model.received + 21)
        best = np.argsort(-cosine[row] * sure, kind="stable")[: min(n, 69)]
        assert near(found)[item] == list(model.items[best])
    assert (np.abs(found.cosine) <= 1).all()
    assert near(similar(FactorScorer(model), ["i3", 3, "i4"][::2], n=n)) == {
        one: near(found)[one] for one in ("i3", "i4")
    }


def test_nearest_users():
    model = by_hand([[1.0, 0.0], [3.0, 0.3], [0.0, 1.0]], [[1.0, 1.0]])
    assert near(nearest_users(FactorScorer(model), n=1)) == {"u0": ["u1"], "u1": ["u0"], "u2": ["u1"]}
    assert nearest_users(FactorScorer(model), "u0").names.tolist() == ["u1", "u2"]


def test_neighbours_among_candidates():
    assert near(similar(FactorScorer(drawn()), "i0", candidates=["i1", "i9"], n=5)).keys() == {"i0"}
    assert sorted(near(similar(FactorScorer(drawn()), "i0", candidates=["i1", "i9"], n=5))["i0"]) == [
        "i1",
        "i9",
    ]


def test_what_was_never_rated_has_no_neighbours():
    with pytest.raises(RatingsError, match="1 of 2 items are not known to this run"):
        similar(FactorScorer(drawn()), ["i1", "new"])
    with pytest.raises(RatingsError, match="as 'u0', 'u1', 'u2'"):
        nearest_users(FactorScorer(drawn()), "x")


def test_items_without_factors_have_cosine_nought():
    model = by_hand([[1.0]], [[0.0], [1.0], [0.0]])
    found = similar(FactorScorer(model))
    assert np.isfinite(found.cosine).all() and set(found.cosine) == {0.0}
    assert any("2 items have no factors" in note for note in found.notes)
    equal = fit_small([(f"u{u}", f"i{i}", 3) for u in range(4) for i in range(3)])
    assert np.isfinite(similar(FactorScorer(equal)).cosine).all()


def test_many_users_neighbours_stay_in_memory(monkeypatch):
    rng = np.random.default_rng(0)
    model = by_hand(rng.normal(size=(6000, 4)), rng.normal(size=(10, 4)))
    monkeypatch.setattr(module, "BLOCK", 1 << 16)
    tracemalloc.start()
    found = nearest_users(FactorScorer(model), n=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.found) == 18000 and peak < 6000 * 6000 * 4 / 5


# --- reasons ---------------------------------------------------------------------------------------


def test_reasons_stand_beside_their_rows_and_strangers_have_none():
    model = drawn(noise_precision=4.0)
    found = recommend(FactorScorer(model), ["u5", "stranger", "u1"], n=2, reasons=3)
    assert [len(one) for one in found.reasons] == [3, 3, 0, 0, 3, 3]
    assert found.reasons[4:] == recommend(FactorScorer(model), "u1", n=2, reasons=3).reasons
    rated = {model.items[i] for i in model.seen_items[model.seen_start[5] : model.seen_start[6]]}
    assert {name for one in found.reasons[:2] for name, _ in one} <= rated
    assert recommend(FactorScorer(model), "u5").reasons == ()


def test_ids_are_text_in_every_answer():
    model = by_hand([[1.0]], [[1.0], [0.5]], users=texts(["=1+1"]), items=texts(["007", "7"]))
    found = recommend(FactorScorer(model), "=1+1")
    assert found.users.tolist() == ["=1+1"] * 2 and found.items.tolist() == ["007", "7"]
