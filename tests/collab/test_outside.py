"""Items outside the core: joined as the definition says, or known by columns; kept in files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collab.test_item_item import events, matrix
from tenfold.collab import outside
from tenfold.collab.item_item import ItemItem, fit_item_item, item_vectors, pack_item_item, unpack_item_item
from tenfold.collab.item_scorer import ItemScorer, Taste
from tenfold.collab.listed import add_listed_items
from tenfold.errors import RunError
from tenfold.values import SideFeatures

CORE = 8


@pytest.fixture(scope="module")
def joined() -> ItemItem:
    return fit_item_item(events(), core=CORE, ridge=3.0).model


def test_a_joined_item_has_the_weights_of_a_fit_of_the_core_with_it_alone(joined):
    known = events()
    rows = matrix(known)[:, joined.items]
    rows *= rows.sum(1, keepdims=True).clip(1e-12) ** -0.25
    square = rows[:, :CORE]
    mean = (square**2).sum() / (square > 0).sum()
    assert len(joined.items) == 24
    for place in range(CORE, 24):
        own = rows[:, [*range(CORE), place]]
        gram = own.T @ own
        inverse = np.linalg.inv(gram + np.diag(np.diag(gram) + 3.0 * mean))
        wanted = -inverse / np.diag(inverse)
        to, back = (joined.between(*pair) for pair in ((np.arange(CORE), np.array([place])),
                                                       (np.array([place]), np.arange(CORE))))  # fmt: skip
        np.testing.assert_allclose(to[:, 0], wanted[:CORE, -1], atol=1e-3)
        np.testing.assert_allclose(back[0], wanted[-1, :CORE], atol=1e-3)


def test_the_largest_weights_are_kept_whatever_is_done_at_once(joined, monkeypatch):
    monkeypatch.setattr(outside, "AT_ONCE", 3)
    again = fit_item_item(events(), core=CORE, ridge=3.0).model
    np.testing.assert_allclose(again.joined.gives, joined.joined.gives, atol=1e-3)
    monkeypatch.setattr(outside, "WIDTH", 3)
    few = fit_item_item(events(), core=CORE, ridge=3.0).model
    for item in range(len(few.joined.items)):
        own = few.joined.entries(item)
        every = np.sort(np.abs(joined.joined.gives[joined.joined.entries(item)]))
        np.testing.assert_allclose(np.sort(np.abs(few.joined.gives[own])), every[-3:], atol=1e-3)


def test_who_took_joined_items_alone_has_a_list_of_the_own_taste(joined):
    known = events()
    far = [item for item in joined.joined.items if item % 2 == 0][:2]
    grown = replace(
        known,
        users=np.append(known.users, "far"),
        seen_start=np.append(known.seen_start, known.seen_start[-1] + len(far)),
        seen_items=np.append(known.seen_items, far).astype(np.uint32),
        seen_ratings=np.append(known.seen_ratings, np.ones(len(far))).astype(np.float32),
    )
    interest = Taste(joined, grown).interest(len(known.users))
    core = interest[joined.core]
    assert core[joined.core % 2 == 0].mean() > core[joined.core % 2 == 1].mean()


def side_of(count: int) -> SideFeatures:
    """Even items are of one kind, odd ones of the other."""
    kind = (np.arange(count) % 2).astype(np.uint32)
    return SideFeatures(("kind=a", "kind=b"), np.zeros(2, np.uint32), ("kind",), np.arange(count + 1), kind)


@pytest.fixture(scope="module", params=[None, 2 * CORE])
def described(request) -> tuple[ItemScorer, list[str]]:
    known = events()
    fitted = fit_item_item(known, core=request.param)
    scorer = ItemScorer(known, fitted.model, item_vectors(known, fitted, seed=0))
    return add_listed_items(scorer, np.array(["x", "y", "z"], object), side_of(27))


def test_a_new_item_is_for_who_likes_its_kind_and_the_others_stay_to_the_bit(described):
    scorer, notes = described
    known = scorer.interactions
    assert notes == ["3 listed items that nobody has taken are scored by their columns (kind)"]
    assert known.items[-3:].tolist() == ["x", "y", "z"] and known.listed_items == 3
    before = Taste(replace(scorer.model, new=None), replace(known, items=known.items[:-3], listed_items=0))
    rows: list[np.ndarray] = []
    for user in range(len(known.users)):
        interest = scorer.taste.interest(user)
        assert interest[:-3].tobytes() == before.interest(user).tobytes()
        rows.append(interest[24:])
        # The same by its parts: what each taken item adds.
        row = scorer.model.row(known, user)
        every = np.arange(len(scorer.model.items))
        sums = row[1] @ scorer.model.between(row[0], every).astype(float)
        np.testing.assert_allclose(scorer.model.sums(row), sums, atol=1e-5)
    even, odd = (np.mean(rows[side::2], axis=0) for side in (0, 1))
    assert min(even[0], odd[1]) > 1.5 * max(even[1], odd[0]) and even[0] == even[2]
    # Of who took nothing: after all that somebody took.
    nobody = scorer.taste.interest(-1)
    assert nobody[-3:].max() < nobody[:-3].min()
    near = scorer.kept["item"] @ scorer.kept["item"][24]
    assert near[:24:2].mean() > near[1:24:2].mean()


def test_columns_that_foretell_nothing_make_new_items_alike():
    known = events()
    fitted = fit_item_item(known)
    scorer = ItemScorer(known, fitted.model, item_vectors(known, fitted, seed=0))
    none = np.zeros(0, np.uint32)
    side = SideFeatures(("kind=a",), np.zeros(1, np.uint32), ("kind",), np.zeros(27, np.int64), none)
    found, notes = add_listed_items(scorer, np.array(["x", "y"], object), side)
    assert notes[0].endswith("as the average item: kind foretells nothing")
    interest = found.taste.interest(3)
    assert interest[-1] == interest[-2]


def test_items_outside_are_packed_and_damage_is_refused(described):
    model = described[0].model
    arrays = pack_item_item(model)
    again = unpack_item_item(arrays)
    row = np.arange(3), np.ones(3, np.float32)
    assert again.sums(row).tobytes() == model.sums(row).tobytes()
    assert again.items.tolist() == model.items.tolist()
    for name in arrays:
        if "." not in name:
            continue
        part, word = name.split(".")
        kept = {key: array for key, array in arrays.items() if key != name}
        wrong = [kept, {**kept, name: arrays[name].astype(np.float64)}]
        if word in ("start", "item", "feature", "gives", "takes"):
            wrong.append({**kept, name: arrays[name][:-1]})
        if word in ("item", "feature"):
            wrong.append({**kept, name: np.full_like(arrays[name], 10**6)})
        if word in ("slopes", "gives", "takes"):
            wrong.append({**kept, name: np.full_like(arrays[name], np.nan)})
        for damaged in wrong:
            with pytest.raises(RunError, match="damaged"):
                unpack_item_item(damaged)
    with pytest.raises(RunError, match="another run's"):
        model.places(events())
