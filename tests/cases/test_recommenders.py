"""Kinds of fault that recommenders are reported with: ids, repeated pairs, lists, events, scores."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from asked import explain, fit_alone
from collab.small_models import by_hand
from office import assert_recomputes, needs_office
from tenfold.collab import kernels
from tenfold.collab.als import fit_als
from tenfold.collab.evaluate import evaluate_lists
from tenfold.collab.pack import pack_factor_model, unpack_factor_model
from tenfold.collab.predict import FactorScorer, predict_pairs
from tenfold.collab.recommend import nearest_users, recommend
from tenfold.data.ratings.index import index_ratings
from tenfold.data.ratings.side import choose_ids, encode_side
from tenfold.data.tables.table import read_table, write_parquet
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import RatingsError, RecipeError, RunError, SchemaError, SplitError, TableError
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.recommenders.inspect import inspect_run
from tenfold.recommenders.methods import fit_model
from tenfold.recommenders.prepare import prepare_ratings
from tenfold.runs.job import Notes
from tenfold.runs.options import FitOptions
from tenfold.runs.registry import load_run
from tenfold.schema import IdColumn, RatingTarget, Schema

SCHEMA = Schema(
    inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="stars"),), time="when"
)
RECIPES: dict[str, Any] = {
    "gibbs": FactorRecipe(method="gibbs", sweeps=24, factors=2),
    "als": FactorRecipe(method="als", factors=2),
    "sgd": FactorRecipe(method="sgd", factors=2, epochs=4),
    "network": RatingNetworkRecipe(body="dot", epochs=2, batch_size=64, embedding=4, ema=0.0),
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


@pytest.fixture(scope="session")
def numbered(runs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As `runs`, fitted to numbers as ids; the network is that of `runs` under other names."""
    folder = tmp_path_factory.mktemp("numbered")
    table = two_camps()
    users, items = ([*dict.fromkeys(table[name])] for name in ("user", "item"))
    table["user"] = [users.index(one) for one in table["user"]]
    table["item"] = [10 + items.index(one) for one in table["item"]]
    found = {name: tenfold.fit(SCHEMA, recipe, table, run=folder / name) for name, recipe in RECIPES.items()}
    found["blend"] = blend_runs([found["als"].path, found["network"].path], output=folder / "blend")
    return found


KINDS = pytest.mark.parametrize("kind", [*RECIPES, "blend"])


def scores(run: Any, users: Any, items: Any) -> list[float]:
    return run.predict_pairs(users, items).score.tolist()


# --- ids ---------------------------------------------------------------------------------------------


@pytest.mark.case("C5", "an id in two Unicode forms is one user and one item, in fits of every method")
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


@pytest.mark.case(
    "C5", "neighbour: a byte-order mark or a blank without width at an id's end is not part of it"
)
def test_invisible_ends_of_ids_are_left_out() -> None:
    table = {"user": ["\ufeffann", "ann\u200b", "bob"], "item": ["a", "b\u00a0", "b"], "rating": [1, 2, 3]}
    found = index_ratings(read_table(table))
    assert list(found.users) == ["ann", "bob"] and list(found.items) == ["a", "b"]


@pytest.mark.case("C5", "neighbour: ids that only look alike stay different, and are pointed out")
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


@pytest.mark.case("C5", "item tables and side columns find an id in the other Unicode form")
def test_an_item_table_in_the_other_form() -> None:
    catalogue = read_table({"item": [nfd("café"), "bar"], "title": ["One", "Two"], "kind": ["x", "x"]})
    table = read_table({"user": ["u", "v"], "item": ["café", "bar"], "rating": [1, 2]})
    ratings = index_ratings(table, item_table=catalogue)
    assert ratings.item_names == {"café": "One", "bar": "Two"}
    side = encode_side(catalogue, ["kind"], ratings.items)
    assert np.diff(side.start).tolist() == [1, 1]


@KINDS
@pytest.mark.case(
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


@pytest.mark.case("C5", "a run of an earlier version, whose vocabulary holds decomposed ids, still answers")
def test_an_old_vocabulary_still_answers(runs: dict[str, Any]) -> None:
    model = runs["als"].model
    users = model.users.copy()
    users[:] = [nfd(one) for one in users]
    old = unpack_factor_model(*pack_factor_model(replace(model, users=users)))
    found = predict_pairs(FactorScorer(old), ["Björn", nfd("Björn")], "m1")
    assert (
        found.known_user.all()
        and found.score[0] == found.score[1] == predict_pairs(FactorScorer(model), "Björn", "m1").score
    )
    users[1] = "José"  # beside the same name decomposed: two rows of one name, and neither is lost
    both = unpack_factor_model(*pack_factor_model(replace(model, users=users)))
    assert len(set(both.users)) == 20


# --- a new user's ratings ------------------------------------------------------------------------------

FACTORS = pytest.mark.parametrize("kind", ["gibbs", "als", "sgd"])


def changed_mind(rows: list[int]) -> dict[str, list[Any]]:
    """A new user who loved odd items in 2017 and even ones in 2022, in this order of rows."""
    stars = [1, 5, 1, 5, 5, 1, 5, 1]
    times = ["2017-01-01"] * 4 + ["2022-01-01"] * 4
    items = ["m0", "m1", "m2", "m3"] * 2
    return {
        "item": [items[k] for k in rows],
        "stars": [stars[k] for k in rows],
        "when": [times[k] for k in rows],
    }


@FACTORS
@pytest.mark.metamorphic("rows of a new user's ratings in another order give the same list")
@pytest.mark.case("C1", "of a new user's repeated pairs the last by time counts, whatever the order of rows")
def test_a_new_users_last_opinion_counts(runs: dict[str, Any], kind: str) -> None:
    table = changed_mind([*range(8)])
    one = runs[kind].with_ratings(table)
    other = runs[kind].with_ratings(changed_mind([*range(8)][::-1]))
    first, second = one.recommend("me", n=4), other.recommend("me", n=4)
    assert first.items.tolist() == second.items.tolist() and first.score.tolist() == second.score.tolist()
    late = runs[kind].with_ratings(changed_mind([4, 5, 6, 7])).recommend("me", n=4)
    assert late.items.tolist() == first.items.tolist()
    assert any("4 repeated pairs: last by time kept" in note for note in first.notes)
    assert any("4 new ratings, 1 new users" in note for note in one.about["added_notes"])


@FACTORS
@pytest.mark.metamorphic("a user's ratings folded in twice are as folded in once")
@pytest.mark.case(
    "C1", "neighbour: a known user's new opinions, read by the run's columns and times, given twice"
)
def test_folded_in_twice_is_once(runs: dict[str, Any], kind: str) -> None:
    mine = {"user": ["u3"] * 2, "item": ["m0", "m5"], "stars": [2, 4], "when": ["2022-01-01"] * 2}
    once = runs[kind].with_ratings(mine)
    twice = once.with_ratings({name: values * 2 for name, values in mine.items()})
    assert scores(once, "u3", once.model.items) == scores(twice, "u3", twice.model.items)


@pytest.mark.case(
    "C1", "neighbour: a run fitted with --time none and --duplicates first goes by lines for new users, too"
)
def test_the_runs_own_rule_holds_for_new_users(tmp_path: Any) -> None:
    recipe = RECIPES["als"].model_copy(update={"duplicates": "first"})
    schema = SCHEMA.model_copy(update={"time": "none"})
    run = tenfold.fit(schema, recipe, two_camps(), run=tmp_path / "run")
    table = changed_mind([*range(8)])
    found = run.with_ratings(table)
    assert any("4 repeated pairs: first by row kept" in note for note in found.about["added_notes"])
    early = run.with_ratings(changed_mind([0, 1, 2, 3]))
    assert scores(found, "me", ["m4", "m5"]) == scores(early, "me", ["m4", "m5"])


TITLES = {
    "item": [f"m{k}" for k in range(12)],
    "title": ["The Same", "The Same", *(f"Film {k}" for k in range(2, 12))],
}


@pytest.fixture(scope="session")
def titled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run whose items have titles, of which two are alike."""
    folder = tmp_path_factory.mktemp("titled")
    lines = [f"{one},{title}" for one, title in zip(*TITLES.values(), strict=True)]
    (folder / "items.csv").write_text("\n".join(["item,title", *lines]) + "\n")
    schema = SCHEMA.model_copy(update={"item_table": str(folder / "items.csv"), "item_name": "title"})
    return tenfold.fit(schema, RECIPES["als"], two_camps(), run=folder / "run")


@pytest.mark.case(
    "C1", "titles in place of ids are looked up and said; unknown items are named; of none, a refusal"
)
def test_titles_of_a_new_user_are_looked_up(titled: Any) -> None:
    by_title = titled.with_ratings({"title": ["Film 2", "film 3", "The Same"], "rating": [5, 1, 5]})
    by_id = titled.with_ratings({"item": ["m2", "m3"], "rating": [5, 1]})
    assert scores(by_title, "me", titled.model.items) == scores(by_id, "me", titled.model.items)
    notes = "\n".join(by_title.recommend("me").notes)
    assert "2 items looked up by title: 'Film 2' is m2, 'film 3' is m3" in notes
    assert "'The Same' is the title of m0, m1: give the id" in notes and "left out: 'The Same'" in notes
    with pytest.raises(RatingsError, match="none of 2 items is known to this run") as caught:
        titled.with_ratings({"title": ["Filn 2", "xyzzy"], "rating": [5, 1]})
    assert "did you mean 'Film 2' (m2)?" in str(caught.value)


@pytest.mark.case(
    "C1", "neighbour: a column that cannot be recognised is asked for by the name that the run's table has"
)
def test_columns_of_new_ratings_that_are_not_known(runs: dict[str, Any]) -> None:
    odd = {"film": ["m0", "m1"], "note": [5, 1]}
    with pytest.raises(SchemaError, match="no column is known as the rating") as caught:
        runs["als"].with_ratings(odd)
    assert caught.value.labels["found"] == "film, note" and "call it 'stars'" in caught.value.labels["fix"]
    found = runs["als"].with_ratings(odd, columns={"rating": "note"})
    assert "me" in found.model.users


@KINDS
@pytest.mark.case(
    "C2", "evaluate resolves repeated pairs by the run's own rule, and says nothing that is of trainings"
)
def test_evaluate_uses_the_runs_rule(runs: dict[str, Any], kind: str) -> None:
    notes: list[str] = []
    test = {
        "user": ["u1", "u1", "u2"],
        "item": ["m0", "m0", "m1"],
        "stars": [5, 1, 1],
        "when": [9e8, 8e8, 8e8],
    }
    found = runs[kind].evaluate(test, on_note=notes.append)
    alone = runs[kind].evaluate({name: [values[0], values[2]] for name, values in test.items()})
    assert found["rmse"] == alone["rmse"]
    text = "\n".join(notes)
    assert "1 repeated pair: last by time kept" in text
    assert not any(word in text for word in ("cannot be evaluated", "nothing to learn", "from the data"))


@pytest.mark.case("C2", "neighbour: the mean of a repeated test pair where the run was fitted with the mean")
def test_evaluate_takes_the_mean_where_the_fit_did(tmp_path: Any) -> None:
    recipe = RECIPES["als"].model_copy(update={"duplicates": "mean"})
    run = tenfold.fit(SCHEMA, recipe, two_camps(), run=tmp_path / "run")
    score = run.predict_pairs("u1", "m0").score[0]
    found = run.evaluate({"user": ["u1"] * 2, "item": ["m0"] * 2, "stars": [1, 5], "when": [1e9, 2e9]})
    assert found["rmse"] == pytest.approx(abs(score - 3), abs=1e-5)


# --- events ----------------------------------------------------------------------------------------------

EVENTS = Schema(inputs=SCHEMA.inputs, targets=(RatingTarget(name="clicks"),))
CLICKS = FactorRecipe(kind="implicit", factors=2)


def clicks(shown: int) -> dict[str, list[Any]]:
    """Clicks of two camps; with `shown`, as many rows of what was shown and not clicked."""
    pairs = [(u, i) for u in range(20) for i in range(12) if u % 2 == i % 2 and (u + i) % 5]
    missed = [(u, i) for u in range(20) for i in range(12) if u % 2 == i % 2 and not (u + i) % 5][:shown]
    return {
        "user": [f"u{u}" for u, _ in pairs + missed],
        "item": [f"m{i}" for _, i in pairs + missed],
        "clicks": [1 + (u + i) % 3 for u, i in pairs] + [0] * len(missed),
    }


@pytest.mark.metamorphic("a log of events with rows of strength 0 gives the run without them")
@pytest.mark.case(
    "C3", "events of strength 0 are left out of fits and scores, which is said, and can be recommended"
)
def test_events_of_strength_nothing(tmp_path: Any) -> None:
    notes: list[str] = []
    run = tenfold.fit(EVENTS, CLICKS, clicks(12), run=tmp_path / "shown", on_note=notes.append)
    plain = tenfold.fit(EVENTS, CLICKS, clicks(0), run=tmp_path / "plain")
    assert "12 of 108 pairs have the strength 0: nothing happened, so they are left out" in notes
    assert run.model.item_factors.tobytes() == plain.model.item_factors.tobytes()
    shown = set(zip(clicks(12)["user"][-12:], clicks(12)["item"][-12:], strict=True))
    lists = run.recommend(n=12)
    assert shown <= set(zip(lists.users, lists.items, strict=True))
    test = {"user": ["u0", "u0", "u2"], "item": ["m0", "m1", "m8"], "clicks": [2, 0, 1]}
    found, alone = run.evaluate(test), run.evaluate({name: values[::2] for name, values in test.items()})
    assert found["lists"] == alone["lists"] and found["rows"] == 2


@pytest.mark.case(
    "C3", "events of strength 0 are weak negatives on request, and as if they were not there otherwise"
)
@pytest.mark.parametrize("method", ["als", "ease"])
def test_events_that_were_shown_and_not_taken(method: str, tmp_path: Any) -> None:
    recipe = CLICKS.model_copy(update={"method": method, "factors": None})
    runs, notes = {}, []
    for name, weight in (("shown", 0.5), ("none", None)):
        told = notes.append if weight else None
        chosen = recipe.model_copy(update={"shown": weight})
        runs[name] = tenfold.fit(EVENTS, chosen, clicks(12), run=tmp_path / name, on_note=told)
    assert "12 pairs have the strength 0: shown and not taken" in notes
    pairs = [clicks(12)[name][-12:] for name in ("user", "item")]
    score = {name: run.predict_pairs(*pairs, ranking=True).score.mean() for name, run in runs.items()}
    assert score["shown"] < score["none"]
    # They can be recommended all the same, and count in no score.
    lists = runs["shown"].recommend(n=12)
    assert set(zip(*pairs, strict=True)) <= set(zip(lists.users, lists.items, strict=True))
    assert (
        runs["shown"].recipe.shown == 0.5 and "shown" not in (tmp_path / "none" / "recipe.toml").read_text()
    )
    rows = {name: values[::-1] for name, values in clicks(12).items()}
    turned = tenfold.fit(EVENTS, recipe.model_copy(update={"shown": 0.5}), rows, run=tmp_path / "turned")
    found = turned.predict_pairs(*pairs, ranking=True).score
    assert found.mean() == pytest.approx(score["shown"], abs=0.02)
    # Further events learn nothing from what was shown, and say so.
    grown = runs["shown"].with_ratings({"user": ["u0", "u0"], "item": ["m0", "m1"], "clicks": [1, 0]})
    assert any("1 of 2 pairs have the strength 0" in note for note in grown.record.added_notes)


@pytest.mark.case(
    "C3",
    "a log of nothing but zeros, or with a negative strength, is refused in fits and of new users",
)
def test_a_log_of_zeros_is_refused(tmp_path: Any) -> None:
    with pytest.raises(RatingsError, match="holds no event: every strength is 0"):
        tenfold.fit(EVENTS, CLICKS, {**clicks(0), "clicks": [0] * 96}, run=tmp_path / "none")
    run = tenfold.fit(EVENTS, CLICKS, clicks(0), run=tmp_path / "run")
    for ask in (run.evaluate, run.with_ratings):
        with pytest.raises(RatingsError, match="every strength is 0"):
            ask({"user": ["u0"], "item": ["m1"], "clicks": [0]})
    with pytest.raises(RatingsError, match="less than never"):
        run.evaluate({"user": ["u0"], "item": ["m1"], "clicks": [-1]})


@pytest.mark.case("C3", "neighbour: where the last event counts and it is 0, there is no event")
def test_a_last_event_of_nothing() -> None:
    table = {"user": ["a", "a", "b"], "item": ["x", "x", "x"], "clicks": [3, 0, 1], "time": [8e8, 9e8, 8e8]}
    found = index_ratings(read_table(table), rating="clicks", kind="implicit", duplicates="last")
    assert list(found.users) == ["b"] and found.ratings.tolist() == [1]


# --- titles ------------------------------------------------------------------------------------------------


@needs_office
@pytest.mark.case(
    "C4", "two items of one title stand apart in the live workbook, which recomputes to what it says"
)
def test_the_workbook_of_two_items_of_one_title(titled: Any, tmp_path: Any) -> None:
    path = tmp_path / "book.xlsx"
    explain(titled, ["José", "u3"], items=["m1", "m0", "m2"], output=path)
    cells = assert_recomputes(path)
    words = {value for sheet in cells.values() for value in sheet.values() if isinstance(value, str)}
    assert {"The Same (m0)", "The Same (m1)", "Film 2"} <= words and "The Same" not in words


@pytest.mark.case(
    "C4", "neighbour: in reasons, inspect and reports a title that two items have stands beside the id"
)
def test_shared_titles_elsewhere(titled: Any) -> None:
    found = inspect_run(titled)
    assert {"The Same (m0)", "The Same (m1)", "Film 2"} <= set(found.crosstab.names)
    assert found.map is not None and len(set(found.map.names)) == 12
    reasons = titled.recommend("u4", n=5, reasons=9).reasons
    named = {name for row in reasons for name, _ in row}
    assert "The Same" not in named and any(name.startswith("The Same (m") for name in named)
    # Beside the id a title stays as it is.
    assert "The Same" in titled.similar("m2", n=11).names


@pytest.mark.case(
    "C4",
    "neighbour: an item is asked for by title; a shared or mistyped one is refused with what it may be",
)
def test_items_are_asked_for_by_title(titled: Any) -> None:
    assert titled.similar("Film 2", n=3).found.tolist() == titled.similar("m2", n=3).found.tolist()
    with pytest.raises(RatingsError, match="did you mean 'Film 2'"):
        titled.similar("Filn 2")
    with pytest.raises(RatingsError, match="did you mean 'The Same' .m0 or m1"):
        titled.similar("the same")
    left = titled.recommend("u4", n=12, exclude=["Film 7"])
    assert "m7" not in left.items and any("'Film 7' is m7" in note for note in left.notes)


# --- machines ---------------------------------------------------------------------------------------------

TURN = """
import numpy as np
from tenfold.collab import kernels
found = np.empty(3, np.int64), np.empty(3, np.uint32), np.empty(0, np.float32)
kernels.turn(np.array([0, 2, 3]), np.array([0, 1, 1], np.uint32), np.empty(0, np.float32), *found)
print(found[0].tolist(), found[1].tolist(), kernels.notes())
"""


def as_nobody(**environment: str) -> str:
    done = subprocess.run(
        ["setpriv", "--reuid=65533", "--clear-groups", sys.executable, "-c", TURN],
        capture_output=True, text=True, cwd="/", env={**os.environ, "HOME": "/nonexistent", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(
    shutil.which("setpriv") is None or os.geteuid() != 0 or os.stat(__file__).st_mode & 0o7 < 4,
    reason="needs root, to be somebody without a home",
)
@pytest.mark.case(
    "C9", "compiled loops work for a user without a home and an install that is read-only, with one note"
)
def test_kernels_of_nobody(request: pytest.FixtureRequest) -> None:
    bare = dict.fromkeys(("TENFOLD_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), "")
    found = as_nobody(**bare)
    assert found.startswith("[0, 1, 3] [0, 0, 1] [") and "set TENFOLD_CACHE to a folder" in found
    # A folder under /tmp itself: those of pytest are closed to others.
    folder = Path(tempfile.mkdtemp(prefix="tenfold-kernels-"))
    folder.chmod(0o777)
    request.addfinalizer(lambda: shutil.rmtree(folder))
    assert as_nobody(**{**bare, "TENFOLD_CACHE": str(folder)}) == "[0, 1, 3] [0, 0, 1] []"
    assert list(folder.rglob("kernels.turn*.nbi"))


@pytest.mark.case(
    "C9", "neighbour: a full disk where compiled loops are kept, and no folder at all, still give answers"
)
def test_kernels_that_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    kernels._tolerant(full)("signature", "code")
    monkeypatch.setattr(kernels, "_cache_folder", lambda: None)
    monkeypatch.setattr(kernels, "_kept", True)
    assert kernels._compile(lambda x: x + 1)(1) == 2 and kernels.notes() == [kernels.NOT_KEPT]


# --- what the three routes share -------------------------------------------------------------------------


@KINDS
@pytest.mark.case(
    "75",
    "neighbour: scores of rows that were trained on, or lie outside the scale, are called so",
)
def test_scores_that_say_too_much(runs: dict[str, Any], kind: str) -> None:
    notes: list[str] = []
    test = {"user": ["u0", "u1", "nobody"], "item": ["m0", "m3", "m3"], "stars": [5, 9, 1]}
    found = runs[kind].evaluate(test, on_note=notes.append)
    text = "\n".join(notes)
    assert "test pairs were trained on: their scores are too good" in text
    assert "1 of 3 test ratings lie outside the run's scale 1 to 5" in text
    assert "3 scored, 1 by fallback: 1 with an unknown user" in text
    assert found["scored"] == 3 and found["fallback"] == 1 and found["known"]["scored"] == 2
    assert set(found["baselines"]) == {"global_mean", "biases"}


@pytest.mark.case(
    "72", "neighbour: choices of pictures, and mixing rows, are refused by a network of ratings"
)
@pytest.mark.parametrize(
    "choice", [{"mixup": 0.4}, {"image_size": (64, 64)}, {"tta": 4}, {"arch": "resnet18"}]
)
def test_a_network_of_ratings_refuses_pictures(tmp_path: Any, choice: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"unknown name '{next(iter(choice))}'"):
        RatingNetworkRecipe(**choice)
    with pytest.raises(RecipeError, match=f"unknown name '{next(iter(choice))}'"):
        fit_alone(SCHEMA, Recipe(**choice), two_camps(), run=tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.case("66", "every kind of run lists candidates alone, and without what was rated")
@pytest.mark.metamorphic("a list among candidates is the full list, filtered")
@KINDS
def test_candidates_filter_the_full_list(runs: dict[str, Any], kind: str) -> None:
    run = runs[kind]
    every = run.recommend("u4", n=12)
    few = ["m2", "m5", "m7", "m9"]
    found = run.recommend("u4", n=12, candidates=few)
    assert found.items.tolist() == [one for one in every.items if one in few]
    table = two_camps()
    rated = {i for u, i in zip(table["user"], table["item"], strict=True) if u == "u4"}
    assert not rated & set(every.items) and rated | set(every.items) == {f"m{k}" for k in range(12)}
    assert set(run.recommend("u4", n=12, include_seen=True).items) == {f"m{k}" for k in range(12)}


@KINDS
@pytest.mark.metamorphic("one user's list is that user's part of everybody's lists")
@pytest.mark.case(
    "66", "one user's list, asked for alone, is the same as among all, from the run and from its folder"
)
def test_a_single_list_is_the_batchs(runs: dict[str, Any], kind: str) -> None:
    every, again = runs[kind].recommend(n=4), load_run(runs[kind].path)
    for user in ("José", "u4"):
        for alone in (runs[kind].recommend(user, n=4), again.recommend(user, n=4)):
            mine = every.users == user
            assert alone.items.tolist() == every.items[mine].tolist()
            assert alone.score.tolist() == every.score[mine].tolist()


# --- items that nobody has rated ---------------------------------------------------------------------------

SIDE_RECIPES = {
    "gibbs": FactorRecipe(method="gibbs", sweeps=60, factors=4, seed=1),
    "als": FactorRecipe(method="als", factors=4, seed=1),
    "sgd": FactorRecipe(method="sgd", factors=4, epochs=40, seed=1),
    "network": RatingNetworkRecipe(
        body="mlp", hidden=(16,), epochs=20, batch_size=64, embedding=4, lr=2e-2, ema=0.0, dropout=0.0,
        body_dropout=0.0, weight_decay=0.01,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=[*SIDE_RECIPES])
def cold(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Odd users love Horror and even ones Comedy; of 24 listed items the last four are rated by nobody."""
    folder = tmp_path_factory.mktemp("cold")
    kinds = ["Comedy" if k % 2 == 0 else "Horror" for k in range(24)]
    (folder / "items.csv").write_text(
        "item,title,genre\n" + "".join(f"m{k},F{k},{kinds[k]}\n" for k in range(24))
    )
    schema = SCHEMA.model_copy(
        update={
            "item_table": str(folder / "items.csv"),
            "item_name": "title",
            "side": ("genre",),
            "time": None,
        }
    )
    pairs = [(u, i) for u in range(24) for i in range(20) if (u + 2 * i) % 3]
    table = {
        "user": [f"u{u}" for u, _ in pairs],
        "item": [f"m{i}" for _, i in pairs],
        "stars": [5 if u % 2 == i % 2 else 1 for u, i in pairs],
    }
    recipe = SIDE_RECIPES[request.param]
    return tenfold.fit(schema, recipe, table, run=folder / "run")


@pytest.mark.case(
    "C8", "an item that nobody has rated is scored by its columns: by genre and by user, marked as listed"
)
def test_listed_items_are_scored_by_their_columns(cold: Any) -> None:
    found = cold.predict_pairs(["u1"] * 4 + ["u2"] * 4, ["m20", "m21", "m22", "m23"] * 2)
    odd, even = found.score[:4], found.score[4:]
    assert odd[[1, 3]].min() > odd[[0, 2]].max() + 1.5 and even[[0, 2]].min() > even[[1, 3]].max() + 1.5
    assert odd[0] == pytest.approx(odd[2]) and odd[1] == pytest.approx(odd[3])
    assert found.item_state.tolist() == ["listed"] * 8 and ((1 <= found.score) & (found.score <= 5)).all()
    text = "\n".join(found.notes)
    assert "4 of 4 items are listed and rated by nobody, in 8 of 8 pairs: answered by their columns" in text
    assert "same kind" not in text
    again = load_run(cold.path).predict_pairs(["u1"] * 4, ["m20", "m21", "m22", "m23"])
    assert again.score.tolist() == odd.tolist()


@pytest.mark.case(
    "C8", "items that nobody has rated can be recommended and scored, and lists say which they are"
)
def test_listed_items_are_recommended(cold: Any) -> None:
    lists = cold.recommend(["u1", "u2"], n=24, rank_by="rating")
    state = dict(zip(lists.items, lists.item_state, strict=True))
    assert {one for one, what in state.items() if what == "listed"} == {"m20", "m21", "m22", "m23"}
    mine = lists.items[lists.users == "u1"].tolist()
    assert {"m21", "m23"} <= set(mine[: len(mine) // 2 + 1]) and {"m20", "m22"} <= set(
        mine[-len(mine) // 2 :]
    )
    assert any("4 of these items nobody has rated: scored by their columns" in note for note in lists.notes)
    test = {"user": ["u1", "u2"], "item": ["m21", "m20"], "stars": [5, 5]}
    assert cold.evaluate(test)["rmse"] < 1.5


@pytest.mark.case("C8", "--new-items lists the items that nobody has rated, and no others, best first")
def test_new_items_are_listed_alone(cold: Any, titled: Any) -> None:
    lists = cold.recommend(["u1", "u2"], n=3, new_items=True)
    first = {user: lists.items[lists.users == user].tolist() for user in ("u1", "u2")}
    assert set(first["u1"][:2]) == {"m21", "m23"} and set(first["u2"][:2]) == {"m20", "m22"}
    assert set(lists.item_state) == {"listed"} and lists.order.startswith("rating")
    horror = cold.recommend("u2", n=9, new_items=True, where="genre=Horror")
    assert sorted(horror.items) == ["m21", "m23"]
    with pytest.raises(RunError, match="knows no item by its columns alone"):
        titled.recommend("u3", new_items=True)


@pytest.mark.case(
    "C8", "a user who has rated nothing is answered by the columns of the user table, and marked as listed"
)
@pytest.mark.parametrize("method", ["gibbs", "als"])
def test_users_known_by_columns_only(method: str, tmp_path: Path) -> None:
    sorts = ["young" if u % 2 else "old" for u in range(30)]
    users = tmp_path / "users.csv"
    users.write_text("user,sort\n" + "".join(f"u{u},{sorts[u]}\n" for u in range(30)))
    pairs = [(u, i) for u in range(24) for i in range(20) if (u + 2 * i) % 3]
    table = {
        "user": [f"u{u}" for u, _ in pairs],
        "item": [f"m{i}" for _, i in pairs],
        "stars": [5 if u % 2 == i % 2 else 1 for u, i in pairs],
    }
    schema = SCHEMA.model_copy(update={"user_table": str(users), "side": ("sort",), "time": None})
    run = tenfold.fit(schema, SIDE_RECIPES[method], table, run=tmp_path / "run")
    found = run.predict_pairs(["u25", "u25", "u26", "u26", "u1"], ["m1", "m2", "m1", "m2", "m1"])
    assert min(found.score[0], found.score[3]) > max(found.score[1], found.score[2]) + 1.5
    assert found.user_state is not None and found.user_state.tolist() == ["listed"] * 4 + ["rated"]
    assert any("2 of 3 users are listed and have rated nothing" in note for note in found.notes)
    lists = load_run(run.path).recommend(["u25", "u1", "nobody"], n=2)
    states = dict(zip(lists.users, lists.user_state, strict=True))
    assert states == {"u25": "listed", "u1": "rated", "nobody": "unknown"}
    by_rating = run.recommend("u25", n=5, rank_by="rating")
    assert all(int(item[1:]) % 2 for item in by_rating.items)
    # With ratings of their own they are as any other new user.
    rated = run.with_ratings({"user": ["u25"] * 6, "item": [f"m{i}" for i in range(6)], "stars": [5, 1] * 3})
    again = rated.predict_pairs(["u25", "u27"], ["m8", "m8"])
    assert again.user_state.tolist() == ["rated", "listed"] and again.score[0] > again.score[1] + 1


@pytest.mark.case(
    "C8", "neighbour: an item that is not listed either is unknown; without side columns it is the average"
)
def test_unlisted_items_stay_unknown(cold: Any, titled: Any) -> None:
    found = cold.predict_pairs("u1", ["m20", "m99"])
    assert found.item_state.tolist() == ["listed", "unknown"] and found.known_item.tolist() == [True, False]
    assert any("1 of 2 items unknown" in note for note in found.notes)
    names = {**titled.model.item_names, "m50": "Extra"}
    plain = predict_pairs(FactorScorer(replace(titled.model, item_names=names)), "u3", "m50")
    assert plain.item_state.tolist() == ["listed"] and not plain.known_item[0]
    assert "answered as the average item" in plain.notes[0] and "same kind" not in "".join(plain.notes)


# --- kinds 60 to 75 -----------------------------------------------------------------------------------------


@KINDS
@pytest.mark.case(
    "60",
    "all spellings of a known id get one score; unknown ones are marked and counted",
)
def test_spellings_of_an_id(numbered: dict[str, Any], kind: str) -> None:
    run = numbered[kind]
    spelled = (1, "1", np.int64(1), 1.0, " 1 ", b"1")
    found = [run.predict_pairs(one, 12).score[0] for one in spelled]
    assert len(set(found)) == 1 and run.predict_pairs(["x"] * 5, 12).score[0] != found[0]
    lost = run.predict_pairs([f"x{k}" for k in range(5)], 12)
    assert not lost.known_user.any() and lost.known_item.all()
    assert any("5 of 5 users unknown" in note and "same kind?" in note for note in lost.notes)


@pytest.mark.case("60", "neighbour: 007 and 7 are two users, and a long number keeps all digits")
def test_ids_are_not_numbers() -> None:
    table = {
        "user": ["007", "7", "9007199254740993", "9007199254740992"],
        "item": list("aaaa"),
        "rating": [1, 2, 3, 4],
    }
    assert len(index_ratings(read_table(table)).users) == 4


@FACTORS
@pytest.mark.case(
    "61",
    "an unknown item keeps what is known of the user; nobody and nothing is the mean",
)
def test_a_known_user_and_an_unknown_item(kind: str) -> None:
    raters = [("kind", 5), ("harsh", 1), *((f"u{n}", 3) for n in range(4))]
    rows = [(user, f"i{k}", stars) for user, stars in raters for k in range(8)]
    kinds = dict(zip(("user", "item", "rating"), zip(*rows, strict=True), strict=True))
    model = fit_model(index_ratings(read_table(kinds), kind="explicit"), RECIPES[kind], {})
    found = predict_pairs(FactorScorer(model), ["kind", "u0", "harsh", "nobody"], "new")
    assert found.score[0] > found.score[1] > found.score[2] and found.score[3] == pytest.approx(3.0)
    assert ((1 <= found.score) & (found.score <= 5)).all() and not found.known_item.any()
    with pytest.raises(RatingsError, match="unknown"):
        predict_pairs(FactorScorer(model), "kind", "new", unknown="raise")


@KINDS
@pytest.mark.case(
    "62", "a test with strangers is scored over all pairs, with the count of fallbacks, never NaN"
)
def test_unknown_pairs_in_a_test(runs: dict[str, Any], kind: str) -> None:
    test = {"user": ["u0", "u1", "u2", "nobody"], "item": ["m0", "m3", "new", "m1"], "stars": [5, 1, 3, 3]}
    found = runs[kind].evaluate(test)
    assert np.isfinite(found["rmse"]) and (found["scored"], found["fallback"]) == (4, 2)
    known = runs[kind].evaluate({name: values[:2] for name, values in test.items()})
    assert found["known"]["rmse"] == pytest.approx(known["rmse"]) and found["known"]["scored"] == 2


@pytest.mark.case(
    "63", "a repeated pair is one fact by a stated rule: last by line or time, or the mean, never the sum"
)
def test_repeated_pairs() -> None:
    rows = {"user": list("uuv"), "item": list("aaa"), "rating": [5, 4, 3]}
    timed = {**rows, "time": [1_400_000_020, 1_400_000_010, 1_400_000_000]}
    for table, rule, value in ((rows, None, 4), (timed, None, 5), (rows, "mean", 4.5), (rows, "first", 5)):
        found = index_ratings(read_table(table), kind="explicit", duplicates=rule)
        assert found.ratings.tolist() == [value, 3] and any("1 repeated pair" in note for note in found.notes)
    with pytest.raises(RatingsError, match="the sum of two ratings"):
        index_ratings(read_table(rows), kind="explicit", duplicates="sum")


@FACTORS
@pytest.mark.case(
    "64", "ratings all alike predict that rating; two values and one rating alone stay finite and in scale"
)
def test_nothing_to_learn(kind: str) -> None:
    same = {"user": list("aabbcc"), "item": list("xyxyxy"), "rating": [3] * 6}
    ratings = index_ratings(read_table(same), kind="explicit")
    assert "all ratings are 3: nothing to learn" in ratings.notes
    model = fit_model(ratings, RECIPES[kind], {})
    assert predict_pairs(FactorScorer(model), ["a", "b", "new"], ["x", "y", "x"]).score.tolist() == [3.0] * 3
    for few in (
        {"user": list("abb"), "item": list("xxy"), "rating": [0, 1, 0]},
        {"user": ["a"], "item": ["x"], "rating": [1]},
    ):
        model = fit_model(index_ratings(read_table(few), kind="explicit", scale=(0, 1)), RECIPES[kind], {})
        score = predict_pairs(FactorScorer(model), ["a", "b", "n"], ["x", "y", "n"]).score
        assert np.isfinite(score).all() and ((0 <= score) & (score <= 1)).all()


@pytest.mark.case(
    "65", "the scale is the data's and is said; ratings outside a given one are counted, with the first"
)
def test_scales() -> None:
    table = {"item": ["i", "j", "k"], "user": ["u", "u", "v"], "rating": [80, 88, 84]}
    found = index_ratings(read_table(table))
    assert found.scale == (80, 88) and "scale 80 to 88, from the data" in found.notes
    assert list(found.users) == ["u", "v"]
    with pytest.raises(RatingsError, match="3 ratings above 5, first at row 1"):
        index_ratings(read_table(table), scale=(1, 5))
    minus = index_ratings(read_table({**table, "rating": [-1, 1, 0]}), kind="explicit")
    assert minus.scale == (-1, 1)


@pytest.mark.case("C7", "tenths of single precision lie within a scale of tenths, as those of a CSV do")
def test_tenths_of_single_precision() -> None:
    tenths = np.array([0.1, 4.9, 2.3], np.float32)
    found = index_ratings(
        read_table({"user": list("abc"), "item": list("xyz"), "rating": tenths}), scale=(0.1, 4.9)
    )
    assert found.ratings.tolist() == tenths.tolist()


@KINDS
@pytest.mark.case(
    "67", "a list is as long as there are items left: short, empty and by name, and n below 1 is refused"
)
def test_lists_without_filler(runs: dict[str, Any], kind: str) -> None:
    run, table = runs[kind], two_camps()
    rated = {i for u, i in zip(table["user"], table["item"], strict=True) if u == "u7"}
    found = run.recommend("u7", n=50)
    assert len(set(found.items)) == len(found.items) == 12 - len(rated) and not rated & set(found.items)
    none = run.recommend("u7", n=5, candidates=sorted(rated))
    assert not len(none.items) and any("u7" in note and "nothing to recommend" in note for note in none.notes)
    for wrong in (0, -1, True):
        with pytest.raises(RecipeError):
            run.recommend("u7", n=wrong)


@pytest.mark.case(
    "68",
    "neighbours of all users take memory that grows with what is kept, not with users squared",
)
def test_neighbours_of_many_users() -> None:
    rng = np.random.default_rng(0)
    users = 20_000
    table = {
        "user": np.arange(users).repeat(2),
        "item": rng.integers(0, 50, 2 * users),
        "rating": rng.integers(1, 6, 2 * users),
    }
    model = fit_als(index_ratings(read_table(table), kind="explicit"), factors=2, epochs=1)
    tracemalloc.start()
    found = nearest_users(FactorScorer(model), n=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.found) == 2 * users and peak < users * users * 4 / 10


@FACTORS
@pytest.mark.case("69", "the same seed gives the same bytes on one thread, on two and on eight")
def test_threads_change_nothing(kind: str) -> None:
    ratings = index_ratings(read_table(two_camps()), rating="stars")
    models = [fit_model(ratings, RECIPES[kind].model_copy(update={"threads": t}), {}) for t in (1, 1, 8)]
    bits = {one.user_factors.tobytes() + one.item_bias.tobytes() for one in models[:2]}
    assert len(bits) == 1
    if kind != "sgd":  # sums of sgd depend on how many threads share them, as its option says
        assert models[2].user_factors.tobytes() == models[0].user_factors.tobytes()


@pytest.mark.case(
    "70",
    "ratings with times are held out after one moment; times left out on purpose are warned of",
)
def test_held_out_in_time() -> None:
    notes: list[str] = []
    recipe = RECIPES["als"].model_copy(update={"valid": 0.2})
    work = prepare_ratings(SCHEMA, recipe, two_camps(), FitOptions(), Notes(notes.append))
    times = work.ratings.times
    assert times is not None and times[work.split.train].max() <= times[work.split.valid].min()
    untimed = SCHEMA.model_copy(update={"time": "none"})
    prepare_ratings(untimed, recipe, two_camps(), FitOptions(), Notes(notes.append))
    assert any("times ignored (when): score is optimistic" in note for note in notes)


@pytest.mark.case(
    "71",
    "users of one rating train and are counted; a table of them alone can be fitted, not split",
)
def test_users_of_one_rating() -> None:
    notes: list[str] = []
    table = {"user": [*"abcdefghij", *"xyz" * 4], "item": ["m"] * 10 + [f"m{k // 3}" for k in range(12)]}
    table["stars"] = [1 + k % 5 for k in range(22)]
    schema = SCHEMA.model_copy(update={"time": None})
    recipe = RECIPES["als"].model_copy(update={"split": "last"})
    work = prepare_ratings(schema, recipe, table, FitOptions(), Notes(notes.append))
    assert len(work.split.valid) == 3 and set("abcdefghij") <= set(work.train.users)
    assert any("10 users have 1 rating" in note for note in notes)
    alone = {name: values[:10] for name, values in table.items()}
    with pytest.raises(SplitError):
        prepare_ratings(schema, recipe, alone, FitOptions(), Notes(notes.append))
    fitted = prepare_ratings(schema, RECIPES["als"], alone, FitOptions(), Notes(notes.append))
    assert len(fitted.train.ratings) == 10


@pytest.mark.case(
    "72",
    "stars are explicit, and a disliked item is last; ones or no ratings are events",
)
def test_stars_and_events() -> None:
    stars = index_ratings(
        read_table({"user": list("aabbcdd"), "item": list("xyxyxyz"), "rating": [5, 1, 5, 1, 5, 1, 5]})
    )
    assert not stars.implicit
    model = fit_model(stars, RECIPES["gibbs"], {})
    found = predict_pairs(FactorScorer(model), "c", ["y", "z"]).score
    assert found[0] < found[1]
    for table in (
        {"user": ["u", "v"], "item": ["i", "j"]},
        {"user": ["u", "v"], "item": ["i", "j"], "rating": [1, 1]},
    ):
        events = index_ratings(read_table(table))
        assert events.implicit and any(note.startswith("implicit") for note in events.notes)
        with pytest.raises(RatingsError, match="predicts no ratings"):
            predict_pairs(FactorScorer(fit_model(events, RECIPES["als"], {})), "u", "j")


@KINDS
@pytest.mark.case(
    "73", "a run opened again gives the same bits; a later version is named, half a file is called damaged"
)
def test_saved_and_opened(runs: dict[str, Any], kind: str, tmp_path: Any) -> None:
    run = runs[kind]
    users, items = ["José", "u3", "nobody"], ["m1", "m2", "m3"]
    assert scores(load_run(run.path), users, items) == scores(run, users, items)
    if kind == "blend":
        return
    copy = shutil.copytree(run.path, tmp_path / "copy")
    about = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(RunError, match="was made by tenfold"):
        load_run(copy)
    shutil.copy(run.path / "run.json", copy / "run.json")
    model = copy / "model.safetensors"
    model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    with pytest.raises(RunError, match="damaged"):
        load_run(copy)


@pytest.mark.case("74", "an item is rated, listed or unknown, and lists show titles where they are known")
def test_three_states_of_items() -> None:
    items = read_table({"item": ["1", "2", "3"], "title": ["One", "Two", ""], "genre": ["a", "b", ""]})
    ratings = index_ratings(
        read_table({"user": list("uuv"), "item": [1, 2, 1], "rating": [5, 1, 4]}), item_table=items
    )
    model = fit_model(ratings, RECIPES["als"], {})
    assert predict_pairs(FactorScorer(model), "u", [1, 3, 4]).item_state.tolist() == [
        "rated",
        "listed",
        "unknown",
    ]
    assert recommend(FactorScorer(model), "v", n=5).names.tolist() == ["Two"]


@pytest.mark.case(
    "75", "precision, recall and hit are of the list without training items, by their definition"
)
def test_lists_are_scored_by_their_definition() -> None:
    ratings = index_ratings(
        read_table({"user": list("uuuvv"), "item": list("12345"), "rating": [5, 4, 3, 2, 1]})
    )
    model = by_hand([[1.0], [1.0]], [[5.0], [4.0], [3.0], [2.0], [1.0]], seen=[[0, 1, 2], []])
    model = replace(model, users=ratings.users, items=ratings.items)
    test = index_ratings(read_table({"user": ["u"], "item": ["4"], "rating": [5]}), kind="explicit")
    found, _ = evaluate_lists(FactorScorer(model), test, n=3)
    assert (found["hit"], found["recall"], found["precision"]) == (1.0, 1.0, pytest.approx(1 / 3))


@pytest.mark.metamorphic("renaming users and items renames the answers and changes nothing else")
@pytest.mark.case("60", "neighbour: ids under other names give the same scores under these names")
@FACTORS
def test_renamed_ids(kind: str) -> None:
    table = two_camps()
    named = {
        **table,
        "user": [f"é{one}" for one in table["user"]],
        "item": [f"={one}" for one in table["item"]],
    }
    ratings = index_ratings(read_table(named), rating="stars", time=False)
    plain = index_ratings(read_table(table), rating="stars", time=False)
    one, other = (fit_model(found, RECIPES[kind], {}) for found in (plain, ratings))
    assert one.user_factors.tobytes() == other.user_factors.tobytes()
    assert (
        predict_pairs(FactorScorer(other), "éu3", "=m4").score
        == predict_pairs(FactorScorer(one), "u3", "m4").score
    )


@pytest.mark.metamorphic(
    "the same ratings in another dialect, quoting, encoding or column order give the same run"
)
@pytest.mark.case(
    "65", "neighbour: ratings written with semicolons, quotes, UTF-16 or as Parquet are the same ratings"
)
def test_dialects_of_ratings(tmp_path: Any) -> None:
    table = two_camps()
    rows = [*zip(*table.values(), strict=True)]
    heads = [*table]
    plain = "\n".join(",".join(map(str, row)) for row in [heads, *rows]) + "\n"
    (tmp_path / "a.csv").write_text(plain, "utf-8")
    (tmp_path / "b.csv").write_text(plain.replace(",", ";").replace("\n", "\r\n"), "utf-8-sig", newline="")
    (tmp_path / "c.tsv").write_text(
        "\n".join("\t".join(f'"{cell}"' for cell in row[::-1]) for row in [heads, *rows]), "utf-16"
    )
    write_parquet(tmp_path / "d.parquet", {name: np.array(values) for name, values in table.items()})
    found = [
        index_ratings(read_table(tmp_path / name), user="user", item="item", rating="stars", time="when")
        for name in ("a.csv", "b.csv", "c.tsv", "d.parquet")
    ]
    for one in found[1:]:
        assert list(one.users) == list(found[0].users) and list(one.items) == list(found[0].items)
        for name in ("user_index", "item_index", "ratings", "times"):
            assert getattr(one, name).tobytes() == getattr(found[0], name).tobytes(), name


@pytest.mark.metamorphic("rows of ratings in another order give the same ratings of the same pairs")
@pytest.mark.case(
    "63", "neighbour: which of two ratings counts is a matter of times, not of the order of rows"
)
def test_ratings_in_another_order() -> None:
    table = two_camps()
    twice = {name: [*values, *values[:40]] for name, values in table.items()}
    twice["stars"][-40:] = [3] * 40
    twice["when"][-40:] = [1_700_000_000 + k for k in range(40)]
    order = np.random.default_rng(0).permutation(len(twice["user"]))
    shuffled = {name: [values[k] for k in order] for name, values in twice.items()}

    def pairs(rows: dict[str, list[Any]]) -> dict[tuple[str, str], float]:
        found = index_ratings(read_table(rows), rating="stars", time="when")
        keys = zip(found.users[found.user_index], found.items[found.item_index], strict=True)
        return dict(zip(keys, found.ratings.tolist(), strict=True))

    assert pairs(twice) == pairs(shuffled) and sum(v == 3 for v in pairs(twice).values()) == 40


@pytest.mark.case(
    "74", "neighbour: inspect shows a dot product by its own biases and factors; a blend is refused"
)
def test_inspect_of_a_dot_product(runs: dict[str, Any]) -> None:
    run = runs["network"]
    found = inspect_run(run, n=5)
    table = found.crosstab
    asked = run.predict_pairs(np.repeat(table.users, 5), table.items * 5).score.reshape(5, 5)
    assert table.predicted == pytest.approx(asked, abs=1e-5)
    assert found.terms["score"] == pytest.approx(
        run.predict_pairs(found.lookups[0].id, found.lookups[1].id).score[0], abs=1e-5
    )
    assert found.best and found.map is not None and found.lookups[0].equal
    with pytest.raises(RunError, match="inspect a member"):
        inspect_run(runs["blend"])


# --- further reports of recommenders --------------------------------------------------------------------


@pytest.mark.case(
    "R1", "a condition on items compares by = and != alone; >=, <= and ~= are refused, not read as ="
)
@pytest.mark.parametrize("sign", [">=", "<=", "~=", "> ="])
def test_conditions_of_other_comparisons(sign: str) -> None:
    items = read_table({"item": ["1", "2", "3"], "year": [1994, 1995, 1996], "p%": ["a", "b", "a"]})
    ids = np.array(["1", "2", "3"], object)
    with pytest.raises(RecipeError, match="compares in a way that is not known"):
        choose_ids(items, [f"year{sign}1995"], ids)
    for good, wanted in (("year=1995", [1]), ("year != 1995", [0, 2]), ("p%=b", [1]), ("p%!=b", [0, 2])):
        assert np.flatnonzero(choose_ids(items, [good], ids)).tolist() == wanted


def last_rows(table: dict[str, list[Any]], time: str | None) -> tuple[dict[str, str], list[str]]:
    """User -> item that `--split last` holds out, and what is said."""
    notes: list[str] = []
    recipe = RECIPES["als"].model_copy(update={"split": "last"})
    schema = SCHEMA.model_copy(update={"time": time})
    work = prepare_ratings(schema, recipe, table, FitOptions(), Notes(notes.append))
    held = work.split.valid
    users = work.ratings.users[work.ratings.user_index[held]]
    return dict(zip(users, work.ratings.items[work.ratings.item_index[held]], strict=True)), notes


ROWS = {"user": ["a"] * 5 + ["b"] * 5, "item": [*"xyzvw", *"wvzyx"], "stars": [1, 2, 3, 4, 5] * 2}


@pytest.mark.case(
    "R2", "without times the last row of each user is held out, not the item that comes last of all"
)
def test_the_last_row_is_held_out() -> None:
    found, notes = last_rows(ROWS, None)
    assert found == {"a": "w", "b": "x"} and "no times: the last row of each user is held out" in notes


@pytest.mark.case(
    "R2", "neighbour: of ratings at one moment the later row is the last, and one without a time the first"
)
def test_the_last_of_one_moment_is_held_out() -> None:
    day = "2020-01-01"
    assert last_rows({**ROWS, "when": [day] * 10}, "when")[0] == {"a": "w", "b": "x"}
    found, notes = last_rows({**ROWS, "when": [day] * 4 + [""] + ["2020-01-02"] + [day] * 4}, "when")
    assert found == {"a": "v", "b": "w"} and not any("no times" in note for note in notes)


@KINDS
@pytest.mark.case(
    "R3", "what a fit holds out is rated all the same: it is not recommended, though lists are scored by it"
)
def test_held_out_ratings_are_not_recommended(kind: str, tmp_path: Any) -> None:
    table = two_camps()
    schema = SCHEMA.model_copy(update={"time": "none"})

    def fitted(name: str) -> Any:
        recipe = RECIPES[name].model_copy(update={"valid": 0.3, "split": "random"})
        return tenfold.fit(schema, recipe, table, run=tmp_path / name)

    run = (
        fitted(kind)
        if kind != "blend"
        else blend_runs([fitted("als").path, fitted("sgd").path], output=tmp_path / "blend")
    )
    rated = set(zip(table["user"], table["item"], strict=True))
    for one in (run, load_run(run.path)):
        lists = one.recommend(n=12)
        found = set(zip(lists.users, lists.items, strict=True))
        assert not found & rated and len(found) == 20 * 12 - len(rated)
    assert len(run.recommend("u7", n=12, include_seen=True).items) == 12
    if kind in FACTORS.args[1]:
        held = run.evaluate(table, n=12)["lists"]
        assert held["recall"] == 1.0 and held["users"] > 0


@pytest.mark.case(
    "R3", "neighbour: a blend lists nothing that the table of any member has, of ratings and of events"
)
@pytest.mark.parametrize("kind", ["ratings", "events"])
def test_a_blend_of_other_rows_recommends_nothing_rated(kind: str, tmp_path: Any) -> None:
    table, recipe, schema = (
        (two_camps(), RECIPES["als"], SCHEMA) if kind == "ratings" else (clicks(0), CLICKS, EVENTS)
    )
    parts = [{name: values[k::2] for name, values in table.items()} for k in range(2)]
    paths = [tenfold.fit(schema, recipe, part, run=tmp_path / str(k)).path for k, part in enumerate(parts)]
    run = blend_runs(paths, output=tmp_path / "blend")
    rated = set(zip(table["user"], table["item"], strict=True))
    lists = run.recommend(n=12)
    found = set(zip(lists.users, lists.items, strict=True))
    assert not found & rated and len(found) == 20 * 12 - len(rated)
    assert len(run.recommend("u7", n=12, include_seen=True).items) == 12


PLAIN: dict[str, Any] = {"user": ["a", "a", "b"], "item": ["x", "y", "x"], "rating": [5, 3, 4]}


@pytest.mark.case(
    "R4",
    "ratings that single precision cannot hold, or cannot tell apart, are refused with the row or the span",
)
@pytest.mark.parametrize(
    ("ratings", "words"),
    [
        ([5, 1e300, 1], "1 rating is too large or too small"),
        ([5, 3, 1e-50], "1 rating is too large or too small"),
        ([1e9 + 1, 1e9 + 5, 1e9 + 3], "differ by too little for their size"),
        ([10_000_005, 10_000_001, 10_000_003], "differ by too little for their size"),
    ],
)
def test_ratings_beyond_single_precision(ratings: list[float], words: str) -> None:
    with pytest.raises(RatingsError, match=words) as caught:
        index_ratings(read_table({**PLAIN, "rating": ratings}))
    assert caught.value.labels["found"] and caught.value.labels["fix"]


@pytest.mark.case(
    "R4", "neighbour: ratings in any unit give scores in that unit, and large counts of events are events"
)
@pytest.mark.parametrize("unit", [1e-9, 1, 1e12])
def test_ratings_in_any_unit(unit: float) -> None:
    table = {**two_camps(), "stars": [unit * one for one in two_camps()["stars"]]}
    model = fit_model(index_ratings(read_table(table), rating="stars", time=False), RECIPES["als"], {})
    assert predict_pairs(FactorScorer(model), "José", ["m0", "m3"]).score / unit == pytest.approx(
        [4.73, 1.27], abs=0.01
    )
    counts = index_ratings(read_table({**PLAIN, "rating": [10**9 + 1, 10**9, 1]}), kind="implicit")
    assert counts.ratings[0] == pytest.approx(1e9)


@pytest.mark.case(
    "R5", "ids of single precision above 2^24 have lost digits: two users would be one, so they are refused"
)
def test_ids_of_single_precision() -> None:
    for ids, fine in (([16777216, 16777217, 3], False), ([16777215, 7, 3], True)):
        table = read_table({**PLAIN, "user": np.array(ids, np.float32)})
        if fine:
            assert list(index_ratings(table).users) == ["16777215", "7", "3"]
        else:
            with pytest.raises(TableError, match="digits of ids are lost"):
                index_ratings(table)


@pytest.mark.case(
    "R5", "neighbour: times of single precision are told to be coarse, and by how much; others are not"
)
def test_times_of_single_precision() -> None:
    seconds = np.array([1_500_000_001, 1_500_000_002, 1_500_000_003], np.float64)

    def said(times: Any) -> list[str]:
        found = index_ratings(read_table({**PLAIN, "time": times}))
        return [note for note in found.notes if "single precision" in note]

    assert "in steps of 128 s" in said(seconds.astype(np.float32))[0]
    assert not said(seconds) and not said(seconds * 1e9) and not said(np.array([1, 2, 3], np.float32))


@pytest.mark.case(
    "R6",
    "ratings of true and false are refused with how to write them, and not with --skip-bad",
)
@pytest.mark.parametrize("words", [[True, False, True], ["yes", "no", "yes"], ["good", "bad", "good"]])
def test_ratings_in_words(words: list[Any]) -> None:
    with pytest.raises(TableError) as caught:
        index_ratings(read_table({**PLAIN, "rating": words}))
    fix = caught.value.labels["fix"]
    assert fix.startswith("write ratings as numbers") and ("1 for yes" in fix) == (words[0] != "good")
    with pytest.raises(TableError) as caught:
        index_ratings(read_table({**PLAIN, "rating": [5, "four", 3]}))
    assert "--skip-bad" in caught.value.labels["fix"]


@pytest.mark.case(
    "R7",
    "an item table whose ids passed through floating point (1.0) is joined to ratings of 1, which is said",
)
@pytest.mark.parametrize("swapped", [False, True])
def test_item_tables_of_floating_ids(swapped: bool) -> None:
    plain, floating = [str(k) for k in range(6)], [f"{k}.0" for k in range(6)]
    rated, listed_as = (floating, plain) if swapped else (plain, floating)
    items = read_table({"item": listed_as, "title": [f"T{k}" for k in range(6)], "genre": [*"ababab"]})
    table = {"user": [*"uvuvu"], "item": rated[:5], "rating": [1, 2, 3, 4, 5]}
    ratings = index_ratings(read_table(table), item_table=items)
    assert ratings.item_names == {one: f"T{k}" for k, one in enumerate(rated)}
    assert any(f"{listed_as[0]} as {rated[0]}" in note for note in ratings.notes)
    assert np.diff(encode_side(items, ["genre"], ratings.items).start).tolist() == [1] * 5
    assert choose_ids(items, ["genre=b"], ratings.items).tolist() == [False, True, False, True, False]


@pytest.mark.case(
    "R7", "neighbour: 007 and 7 stay two items, and an item that is listed twice with two titles is told"
)
def test_item_tables_of_other_spellings() -> None:
    table = read_table({"user": [*"uvu"], "item": ["7", "8", "9"], "rating": [1, 2, 3]})
    padded = index_ratings(table, item_table=read_table({"item": ["007", "008"], "title": ["A", "B"]}))
    assert any("are its ids (item) of the same kind?" in note for note in padded.notes)
    twice = read_table({"item": ["7", "7", "8", "8"], "title": ["A", "B", "C", "C"]})
    found = index_ratings(table, item_table=twice)
    assert found.item_names["7"] == "A"
    assert (
        "1 item is listed again with another title: the first counts, as of 7 'A' and not 'B'" in found.notes
    )


@pytest.mark.case(
    "R8", "a new user's ratings of one item under its id and its title are refused with both names"
)
def test_an_item_rated_under_two_names(titled: Any, numbered: dict[str, Any]) -> None:
    with pytest.raises(RatingsError, match="1 items are rated under two names") as caught:
        titled.with_ratings({"item": ["Film 2", "m3", "m2"], "rating": [5, 2, 1]})
    assert "'Film 2' and 'm2', which is m2" in str(caught.value)
    with pytest.raises(RatingsError, match="'12' and '12.0', which is 12"):
        numbered["als"].with_ratings({"item": ["12", "13", "12.0"], "stars": [5, 2, 1]})
    two = titled.with_ratings({"user": ["x", "y"], "item": ["Film 2", "m2"], "rating": [5, 1]})
    assert {"x", "y"} <= set(two.model.users)


@pytest.mark.case(
    "R9", "JSON, JSON lines and a web page in place of a table are called that, whose commas separate nothing"
)
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"user": "a", "item": "x", "rating": 5}\n{"user": "b", "item": "x", "rating": 1}\n', "JSON"),
        ('[{"user": "a", "item": "x"}, {"user": "b", "item": "y"}]\n', "JSON"),
        ('[\n {\n  "user": "a",\n  "item": "x"\n }\n]\n', "JSON"),
        ("<!DOCTYPE html>\n<html><table><tr><td>user</td><td>item</td></tr></table></html>\n", "a web page"),
    ],
)
def test_documents_that_are_no_table(text: str, what: str, tmp_path: Any) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=f"ratings.csv holds {what}"):
        read_table(path)
    path.write_text("[user],<item>,{rating}\na,x,5\nb,y,3\n")
    assert read_table(path).names == ("[user]", "<item>", "{rating}")


@pytest.mark.case(
    "R9", "neighbour: of a table that is not there a near file is named, never the folder of the run itself"
)
def test_a_table_that_is_not_there(tmp_path: Any) -> None:
    (tmp_path / "rating.csv").write_text("user,item,rating\na,x,5\n")
    (tmp_path / "ratings.csv.part").mkdir()
    with pytest.raises(TableError, match="there is no file") as caught:
        read_table(tmp_path / "ratings.csv")
    assert caught.value.labels["fix"] == "did you mean 'rating.csv'?"


@pytest.mark.case(
    "R10", "a prediction of a title in place of an id is an unknown item's, and says which id it is"
)
def test_predictions_of_titles(titled: Any) -> None:
    found = titled.predict_pairs("u3", ["Film 2", "m2", "The Same"])
    assert found.item_state.tolist() == ["unknown", "rated", "unknown"]
    assert "1 of these is a title, as 'Film 2' of m2: give ids" in found.notes
    assert not any("title" in note for note in titled.predict_pairs("u3", ["m2", "m99"]).notes)


@pytest.mark.case(
    "R10", "neighbour: a test of which nothing can be scored in lists says why, in place of no labels alone"
)
def test_lists_of_a_test_that_was_trained_on(runs: dict[str, Any]) -> None:
    notes: list[str] = []
    table = {name: values[:30] for name, values in two_camps().items()}
    found = runs["als"].evaluate(table, n=5, on_note=notes.append)["lists"]
    assert found["users"] == 0 and np.isnan(found["precision"])
    assert "no list is scored: all test items that count were rated in training" in notes


@pytest.mark.case("R11", "many ratings of 0 beside stars from 1 on are pointed out: 0 may mean not rated")
@pytest.mark.case(
    "R11", "neighbour: so are -1 beside stars, and 99 beyond all others; ordinary scales are not"
)
def test_marks_among_stars() -> None:
    def said(ratings: list[float]) -> list[str]:
        users = {"user": [f"u{k}" for k in range(len(ratings))], "item": ["x"] * len(ratings)}
        found = index_ratings(read_table({**users, "rating": ratings}), kind="explicit")
        return [note for note in found.notes if "means not rated" in note]

    start = "3 of 6 ratings are 0, and the others lie between 5 and 10: if 0 means not rated"
    assert said([0, 0, 0, 5, 8, 10])[0].startswith(start)
    assert len(said([-1, -1, 5, 8, 10])) == len(said([99, -9.5, 0, 3.25, 9.5])) == 1
    for fine in ([0, 1, 0, 1], [0, 0.5, 0, 1, 1.5], [-1, 0, 0, 1, 2], [0, 1, 2, 3, 4, 5], [60, 80, 99, 70]):
        assert not said(fine)
