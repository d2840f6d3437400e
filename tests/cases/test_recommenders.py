"""Kinds of fault that recommenders are reported with: ids, repeated pairs, lists, events, scores."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold.collab.pack import pack_factor_model, unpack_factor_model
from tenfold.collab.predict import predict_pairs
from tenfold.data.ratings import index_ratings
from tenfold.data.side import encode_side
from tenfold.data.table import read_table
from tenfold.jobs.blendruns import blend_runs
from tenfold.recipe import FactorRecipe, PairRecipe
from tenfold.schema import IdColumn, RatingTarget, Schema

case, metamorphic = pytest.mark.case, pytest.mark.metamorphic

SCHEMA = Schema(
    inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="stars"),), time="when"
)
RECIPES: dict[str, Any] = {
    "gibbs": FactorRecipe(method="gibbs", sweeps=24, factors=2),
    "als": FactorRecipe(method="als", factors=2),
    "sgd": FactorRecipe(method="sgd", factors=2, epochs=4),
    "network": PairRecipe(body="dot", epochs=2, batch_size=64, embedding=4, ema=0.0),
}
NAMES = ["José", "Zoë", "Łukasz", "Anaïs", "Björn", *(f"u{n}" for n in range(15))]


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def two_camps(users: int = 20, items: int = 12) -> dict[str, list[Any]]:
    """Even users like even items; two pairs in three are rated, one a day, the user's name as in NAMES."""
    pairs = [(u, i) for u in range(users) for i in range(items) if (u + 2 * i) % 3]
    return {
        "user": [NAMES[u] for u, _ in pairs],
        "item": [f"m{i}" for _, i in pairs],
        "stars": [5 if u % 2 == i % 2 else 1 for u, i in pairs],
        "when": [1_500_000_000 + 86_400 * k for k in range(len(pairs))],
    }


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of every kind, fitted to `two_camps`: factors by each method, a network, and a blend of two."""
    folder = tmp_path_factory.mktemp("recommenders")
    found = {
        name: tenfold.fit(SCHEMA, recipe, two_camps(), run=folder / name) for name, recipe in RECIPES.items()
    }
    found["blend"] = blend_runs([found["als"].path, found["network"].path], output=folder / "blend")
    return found


KINDS = pytest.mark.parametrize("kind", [*RECIPES, "blend"])


def scores(run: Any, users: Any, items: Any) -> list[float]:
    return run.predict_pairs(users, items).score.tolist()


# --- ids ---------------------------------------------------------------------------------------------


@case("C5", "an id in two Unicode forms is one user and one item, in fits of every method")
def test_two_unicode_forms_are_one_id() -> None:
    table = two_camps()
    mixed = {**table, "user": [nfd(one) if k % 2 else one for k, one in enumerate(table["user"])]}
    plain, found = (index_ratings(read_table(one), rating="stars") for one in (table, mixed))
    assert list(found.users) == list(plain.users) and len(found.users) == 20
    assert found.user_index.tobytes() == plain.user_index.tobytes()
    note = next(one for one in found.notes if "Unicode" in one)
    assert note == (
        "user: 4 ids are read in Unicode's composed form (NFC), without invisible ends, "
        "so that 4 more spellings are of ids that are there; first: José"
    )


@case("C5", "neighbour: a byte-order mark or a blank without width at an id's end is not part of it")
def test_invisible_ends_of_ids_are_left_out() -> None:
    table = {"user": ["\ufeffann", "ann\u200b", "bob"], "item": ["a", "b\u00a0", "b"], "rating": [1, 2, 3]}
    found = index_ratings(read_table(table))
    assert list(found.users) == ["ann", "bob"] and list(found.items) == ["a", "b"]


@case("C5", "neighbour: ids that only look alike stay different, and are pointed out")
def test_look_alike_ids_are_pointed_out() -> None:
    table = {
        "user": ["Ann", "ann", "bo b", "bo\u00a0b", "7", "007"],
        "item": list("aabbcc"),
        "rating": [1] * 6,
    }
    found = index_ratings(read_table(table), kind="explicit")
    assert len(found.users) == 6
    assert any(
        "look-alikes are kept as different ids: Ann / ann; bo b / bo\u00a0b; 7 / 007" in n
        for n in found.notes
    )


@case("C5", "item tables and side columns find an id in the other Unicode form")
def test_an_item_table_in_the_other_form() -> None:
    catalogue = read_table({"item": [nfd("café"), "bar"], "title": ["One", "Two"], "kind": ["x", "x"]})
    table = read_table({"user": ["u", "v"], "item": ["café", "bar"], "rating": [1, 2]})
    ratings = index_ratings(table, item_table=catalogue)
    assert ratings.item_names == {"café": "One", "bar": "Two"}
    side = encode_side(catalogue, ["kind"], ratings.items)
    assert np.diff(side.start).tolist() == [1, 1]


@KINDS
@case(
    "C5", "an asked id, a test table and a user's list answer in either Unicode form, in runs of every kind"
)
def test_asked_in_the_other_form(runs: dict[str, Any], kind: str) -> None:
    run = runs[kind]
    one, other = run.predict_pairs("José", ["m0", "m1"]), run.predict_pairs(nfd("José"), ["m0", "m1"])
    assert other.known_user.all() and one.score.tolist() == other.score.tolist()
    lists = [run.recommend(name, n=3) for name in ("Zoë", nfd("Zoë"))]
    assert lists[0].items.tolist() == lists[1].items.tolist() and lists[1].known_user.all()
    table = two_camps()
    pair = [run.evaluate({**table, "user": form}) for form in (table["user"], [*map(nfd, table["user"])])]
    assert pair[0]["rmse"] == pair[1]["rmse"] and pair[1]["fallback"] == 0


@case("C5", "a run of an earlier version, whose vocabulary holds decomposed ids, still answers")
def test_an_old_vocabulary_still_answers(runs: dict[str, Any]) -> None:
    model = runs["als"].model
    users = model.users.copy()
    users[:] = [nfd(one) for one in users]
    old = unpack_factor_model(*pack_factor_model(replace(model, users=users)))
    found = predict_pairs(old, ["Björn", nfd("Björn")], "m1")
    assert (
        found.known_user.all()
        and found.score[0] == found.score[1] == predict_pairs(model, "Björn", "m1").score
    )
    users[1] = "José"  # beside the same name decomposed: two rows of one name, and neither is lost
    both = unpack_factor_model(*pack_factor_model(replace(model, users=users)))
    assert len(set(both.users)) == 20
