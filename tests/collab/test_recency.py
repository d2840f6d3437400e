"""Recent rows in lists: what they count, how that is chosen, and what may not change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collab.small_models import by_hand, seen_of
from tenfold.collab.interest import Lists, pack_lists, unpack_lists
from tenfold.collab.item_item import fit_item_item, recency_weights
from tenfold.collab.item_scorer import Taste
from tenfold.collab.pack import pack_interactions, unpack_interactions
from tenfold.collab.recency import choose_recent, recent_words, with_recent
from tenfold.errors import RunError
from tenfold.values import Interactions

GROUPS, WIDE, EACH = 3, 10, 6


def drifting(users: int = 120, seed: int = 0) -> Interactions:
    """Each user takes six items of one group of items, then six of another."""
    rng = np.random.default_rng(seed)
    user, item, times = [], [], []
    for row in range(users):
        groups = rng.permutation(GROUPS)[:2]
        taken = [group * WIDE + rng.permutation(WIDE)[:EACH] for group in groups]
        user += [row] * 2 * EACH
        item += np.concatenate(taken).tolist()
        times += range(2 * EACH)
    model = by_hand(np.zeros((users, 1)), np.zeros((GROUPS * WIDE, 1)), implicit=True)
    known = replace(model, **seen_of(np.array(user), np.array(item), np.ones(len(user)), users))
    order = np.lexsort((item, user))
    return replace(known, seen_times=np.array(times, float)[order])


def permuted(known: Interactions, seed: int) -> Interactions:
    """The same users and items, numbered in another order."""
    rng = np.random.default_rng(seed)
    users, items = rng.permutation(len(known.users)), rng.permutation(len(known.items))
    user, item = np.argsort(users)[known.owners], np.argsort(items)[known.seen_items]
    order = np.lexsort((item, user))
    assert known.seen_times is not None
    return replace(
        known,
        users=known.users[users],
        items=known.items[items],
        **seen_of(user, item, known.seen_ratings, len(users)),
        seen_times=known.seen_times[order],
    )


def shared(fading: list[float]) -> object:
    return pytest.approx(0.3 + 0.7 * np.array(fading) / np.mean(fading))


def test_a_rows_weight_halves_with_every_so_many_later_ones() -> None:
    times = np.array([3.0, 1.0, 2.0, 4.0])
    assert recency_weights(times, 2.0) == shared([2**-0.5, 2**-1.5, 2**-1, 1])
    assert recency_weights(times, 2.0).mean() == pytest.approx(1)
    # Only the order matters, and not the unit of time.
    assert recency_weights(np.exp(times) - 100, 2.0).tolist() == recency_weights(times, 2.0).tolist()
    # Rows of one moment count the same, and those without a time are the earliest.
    tied = recency_weights(np.array([5.0, np.nan, 5.0, 1.0, np.nan]), 1.0)
    assert tied == shared([1, 0.125, 1, 0.25, 0.125])
    assert recency_weights(np.full(4, np.nan), 1.0).tolist() == [1] * 4
    assert recency_weights(np.zeros(0), 1.0).tolist() == []
    many = recency_weights(np.arange(5000.0), 1.0)
    assert (
        many[-1] == pytest.approx(0.3 + 0.7 * 2500) and many[0] == pytest.approx(0.3) and many.mean() < 1.01
    )


def test_recent_rows_count_more_where_tastes_drift_and_not_where_they_do_not() -> None:
    known = drifting()
    fitted = fit_item_item(known, ridge=10)
    recent, said = choose_recent(known, fitted)
    assert 0 < recent <= 10 and recent_words(recent) in said
    # Group by group or in any order: with times drawn at random the order says nothing.
    rng = np.random.default_rng(3)
    shuffled = replace(known, seen_times=rng.permutation(len(known.seen_items)).astype(float))
    assert choose_recent(shuffled, fitted)[0] == 0
    model, notes = with_recent(fitted, known, None)
    assert model.recent == recent and notes == [said]
    given, notes = with_recent(fitted, known, 7.0)
    assert given.recent == 7 and notes == [recent_words(7)]
    assert with_recent(fitted, known, 0.0)[0].recent == 0
    assert with_recent(fitted, replace(known, seen_times=None), None)[0].recent == 0


def test_what_a_user_took_last_leads_the_list() -> None:
    known = drifting()
    model = fit_item_item(known, ridge=10).model
    hits = {}
    for recent in (0.0, 2.0):
        taste, hits[recent] = Taste(replace(model, recent=recent), known), 0
        for user in range(len(known.users)):
            part = slice(known.seen_start[user], known.seen_start[user + 1])
            seen = known.seen_items[part].astype(np.int64)
            assert known.seen_times is not None
            last = seen[np.argmax(known.seen_times[part])]
            items, _ = taste.first(user, np.ones(len(known.items), bool), seen, 4)
            hits[recent] += int((items // WIDE == last // WIDE).sum())
    assert hits[2.0] > 1.2 * hits[0.0]


def test_the_choice_is_the_same_whatever_the_order_of_users_and_items() -> None:
    known = drifting()
    first = choose_recent(known, fit_item_item(known, ridge=10))
    other = permuted(known, 5)
    assert choose_recent(other, fit_item_item(other, ridge=10))[0] == first[0]


def test_few_users_and_single_moments_are_not_chosen_by() -> None:
    few = drifting(users=30)
    recent, said = choose_recent(few, fit_item_item(few))
    assert recent == 0 and "30 users are too few" in said
    known = drifting()
    moment = replace(known, seen_times=np.zeros(len(known.seen_items)))
    assert "0 users are too few" in choose_recent(moment, fit_item_item(moment))[1]


def test_times_and_the_choice_are_kept_in_files_and_damage_is_refused() -> None:
    known = drifting()
    model = replace(fit_item_item(known).model, recent=3.0)
    arrays, about = pack_lists(Lists(model, 0.0, 0.0, 1.0, ""))
    assert about["format"] == 4 and unpack_lists(arrays, about).model.recent == 3
    assert "recent" not in pack_lists(Lists(replace(model, recent=0.0), 0.0, 0.0, 1.0, ""))[1]
    for wrong in (-1.0, float("nan"), "3"):
        with pytest.raises(RunError, match="damaged"):
            unpack_lists(arrays, {**about, "recent": wrong})
    nothing = np.zeros((len(known.users), 1), np.float32), np.zeros((len(known.items), 1), np.float32)
    arrays, about = pack_interactions(known, *nothing)
    again, _ = unpack_interactions(arrays, about)
    assert np.array_equal(again.seen_times, known.seen_times)
    with pytest.raises(RunError, match="damaged"):
        unpack_interactions({**arrays, "extra.seen_times": known.seen_times[1:]}, about)
    without, _ = unpack_interactions(*pack_interactions(replace(known, seen_times=None), *nothing))
    with pytest.raises(RunError, match="lost its times"):
        Taste(model, without)
