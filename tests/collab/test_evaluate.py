"""Scores: on how many pairs they stand, by the stated definitions, beside the baselines."""

from __future__ import annotations

import numpy as np
import pytest

from collab.small_models import by_hand, fit_small, seen_of, texts
from tenfold.collab.evaluate import evaluate_lists, evaluate_ratings, fit_biases
from tenfold.collab.predict import FactorScorer
from tenfold.errors import RatingsError
from tenfold.values import Ratings


def rating_scores(scorer, test):
    scores, _, notes = evaluate_ratings(scorer, test)
    return {**scores, "notes": notes}


def ratings_of(rows) -> Ratings:
    """Test ratings from (user, item, rating)."""
    users, items = (list(dict.fromkeys(str(row[place]) for row in rows)) for place in (0, 1))
    return Ratings(
        users=texts(users),
        items=texts(items),
        user_index=np.array([users.index(str(row[0])) for row in rows], np.uint32),
        item_index=np.array([items.index(str(row[1])) for row in rows], np.uint32),
        ratings=np.array([row[2] for row in rows], np.float32),
        times=None,
        scale=(1.0, 5.0),
    )


# --- ratings -----------------------------------------------------------------------------------------


def test_every_pair_is_scored_and_the_fallbacks_are_counted():
    model = by_hand([[1.0], [0.0]], [[1.0], [0.0]], [[0, 1], [0]])  # u0,i0: 4; all else 3
    test = ratings_of([("u0", "i0", 5), ("u1", "i1", 1), ("u0", "new", 3), ("nobody", "i1", 3)])
    found = rating_scores(FactorScorer(model), test)
    assert (found["scored"], found["fallback"]) == (4, 2)
    assert found["known"]["rmse"] == pytest.approx((5 / 2) ** 0.5) and found["known"]["scored"] == 2
    assert found["known"]["mae"] == pytest.approx(1.5)
    # The average item has factor 2/3, and the average user too.
    assert found["rmse"] == pytest.approx(((1 + 4 + (2 / 3) ** 2 + 0) / 4) ** 0.5)
    assert any("4 scored, 2 by fallback" in note for note in found["notes"])


def test_ratings_outside_the_scale_of_the_run_are_pointed_out():
    model = by_hand([[1.0], [0.0]], [[1.0], [0.0]], [[0, 1], [0]])
    found = rating_scores(
        FactorScorer(model), ratings_of([("u0", "i0", 5), ("u1", "i1", 90), ("u1", "i0", 0)])
    )
    assert any("2 of 3 test ratings lie outside the run's scale 1 to 5" in note for note in found["notes"])
    inside = rating_scores(FactorScorer(model), ratings_of([("u0", "i0", 5), ("u1", "i1", 1)]))
    assert not any("scale" in note for note in inside["notes"])


def test_the_baselines_are_those_written_down():
    rows = [("u0", "i0", 5), ("u0", "i1", 3), ("u1", "i0", 4)]
    model = fit_small(rows)
    baseline = fit_biases(model)
    item = np.array([1.0, -1.0]) / np.array([27.0, 26.0])
    user = np.array([(1 - item[0]) + (-1 - item[1]), 0 - item[0]]) / np.array([12.0, 11.0])
    assert baseline.mean == 4
    assert baseline.item_bias == pytest.approx(item) and baseline.user_bias == pytest.approx(user)
    found = evaluate_ratings(
        FactorScorer(model), ratings_of([("u1", "i1", 3), ("x", "i0", 5), ("x", "y", 2)])
    )[0]
    errors = [4 + user[1] + item[1] - 3, 4 + item[0] - 5, 4 - 2]
    assert found["baselines"]["biases"]["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert found["baselines"]["global_mean"]["mae"] == pytest.approx((1 + 1 + 2) / 3)
    assert found["baselines"]["biases"]["scored"] == found["scored"] == 3


def test_the_order_and_numbers_of_test_ids_do_not_matter():
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"i{i}", int(rng.integers(1, 6))) for u in range(9) for i in range(9)]
    model = fit_small(rows[:60])
    test = rows[50:]
    first = rating_scores(FactorScorer(model), ratings_of(test))
    other = rating_scores(FactorScorer(model), ratings_of([test[k] for k in rng.permutation(len(test))]))
    assert first["rmse"] == pytest.approx(other["rmse"], rel=1e-12)
    assert any("10 of 31 test pairs were trained on" in note for note in first["notes"])


def test_ids_of_another_kind_are_pointed_out():
    found = rating_scores(FactorScorer(fit_small([(1, 2, 3), (1, 3, 5)])), ratings_of([("u1", "2", 3)]))
    assert found["fallback"] == 1 and any("same kind?" in note for note in found["notes"])


def test_what_cannot_be_scored_is_refused():
    events = by_hand([[1.0]], [[1.0]], [[0]], implicit=True)
    with pytest.raises(RatingsError, match="fitted to events"):
        evaluate_ratings(FactorScorer(events), ratings_of([("u0", "i0", 1)]))
    with pytest.raises(RatingsError, match="no test ratings"):
        evaluate_ratings(FactorScorer(by_hand([[1.0]], [[1.0]], [[0]])), ratings_of([]))
    with pytest.raises(RatingsError, match="no baselines"):
        evaluate_ratings(FactorScorer(by_hand([[1.0]], [[1.0]])), ratings_of([("u0", "i0", 3)]))


# --- lists -------------------------------------------------------------------------------------------


def in_order(seen, users=1, items=5):
    """A model that ranks i0, i1, ... for everyone."""
    return by_hand(np.ones((users, 1)), np.arange(items, 0, -1.0)[:, None] / 10, seen)


def test_training_items_are_taken_out_first():
    found = evaluate_lists(FactorScorer(in_order([[0, 1, 2]])), ratings_of([("u0", "i3", 4)]), n=3)[0]
    assert found["hit"] == 1 and found["recall"] == 1
    assert found["precision"] == pytest.approx(1 / 3) and found["ndcg"] == 1
    assert found["users"] == 1 and found["unknown_users"] == 0


def test_users_without_test_items_are_not_averaged_in():
    model = in_order([[0], [0], [0]], users=3)
    found = evaluate_lists(FactorScorer(model), ratings_of([("u1", "i1", 5), ("u1", "i4", 5)]), n=2)[0]
    assert found["users"] == 1 and found["recall"] == 0.5 and found["precision"] == 0.5


def test_items_that_nobody_rated_are_missed_and_strangers_get_the_average_list():
    model = in_order([[0]])
    found = evaluate_lists(
        FactorScorer(model), ratings_of([("u0", "i1", 5), ("u0", "new", 5), ("who", "i0", 5)]), n=1
    )[0]
    assert found["users"] == 2 and found["unknown_users"] == 1
    assert found["recall"] == pytest.approx((0.5 + 1) / 2) and found["precision"] == 1


def test_only_liked_items_count_if_asked():
    test = ratings_of([("u0", "i1", 5), ("u0", "i2", 2)])
    assert evaluate_lists(FactorScorer(in_order([[0]])), test, n=1)[0]["recall"] == 0.5
    assert evaluate_lists(FactorScorer(in_order([[0]])), test, n=1, relevant_from=4)[0]["recall"] == 1
    with pytest.raises(RatingsError, match="no test rating is 6"):
        evaluate_lists(FactorScorer(in_order([[0]])), test, relevant_from=6)


def test_the_most_popular_are_the_baseline():
    user = np.array([0, 0, 1, 2, 2, 3])
    item = np.array([3, 4, 3, 3, 4, 0])
    model = in_order([], users=4)
    model = by_hand(
        model.user_factors, model.item_factors, **seen_of(user, item, np.full(6, 3.0), 4)
    )  # popularity: i3 3, i4 2, i0 1
    found = evaluate_lists(FactorScorer(model), ratings_of([("u1", "i4", 5), ("u3", "i3", 5)]), n=1)[0]
    popular = found["baselines"]["most_popular"]
    assert popular["hit"] == 1 and popular["coverage"] == 2 / 5  # i4 for u1, i3 for u3
    assert found["hit"] == 0 and found["coverage"] == 2 / 5  # i0 for u1, i1 for u3


def test_lists_agree_with_counting_by_hand():
    rng = np.random.default_rng(6)
    model = by_hand(
        rng.normal(size=(30, 4)),
        rng.normal(size=(40, 4)),
        [sorted(rng.choice(40, 9, False)) for _ in range(30)],
    )
    test = ratings_of([(f"u{u}", f"i{i}", 5) for u in range(25) for i in rng.choice(45, 6, False)])
    found = evaluate_lists(FactorScorer(model), test, n=7)[0]
    precision, recall, gain, shown = [], [], [], set()
    for u in range(25):
        seen = set(model.seen_items[model.seen_start[u] : model.seen_start[u + 1]])
        scores = model.item_factors @ model.user_factors[u]
        ranked = [i for i in np.argsort(-scores, kind="stable") if i not in seen][:7]
        shown |= set(ranked)
        wanted = {
            int(test.items[i][1:])
            for k, i in enumerate(test.item_index)
            if test.users[test.user_index[k]] == f"u{u}"
        }
        wanted -= seen
        hits = [i in wanted for i in ranked]
        if wanted:
            precision.append(sum(hits) / 7)
            recall.append(sum(hits) / len(wanted))
            best = sum(1 / np.log2(k + 2) for k in range(min(7, len(wanted))))
            gain.append(sum(h / np.log2(k + 2) for k, h in enumerate(hits)) / best)
    assert found["precision"] == pytest.approx(np.mean(precision))
    assert found["recall"] == pytest.approx(np.mean(recall))
    assert found["ndcg"] == pytest.approx(np.mean(gain))
    assert found["coverage"] == len(shown) / 40 and found["users"] == len(recall)
