"""Fits by every method: the same seed gives the same bytes, and a saved run answers in a new process."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import tenfold
from tenfold.data.synthetic import draw_ratings
from tenfold.errors import RatingsError, SchemaError
from tenfold.events import SweepEnded
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.factors import FactorRun
from tenfold.schema import IdColumn, RatingTarget, Schema

METHODS = {
    "gibbs": {"sweeps": 60, "factors": 4},
    "als": {"epochs": 8, "factors": 4},
    "sgd": {"epochs": 12, "factors": 4},
}
DRAWN = draw_ratings(120, 60, 3000, seed=1, factors=2)
TABLE = {name: DRAWN[name] for name in ("user", "item", "rating", "time")}


def fit(folder, table, method=None, schema=None, **values) -> FactorRun:
    schema = schema or Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
    )
    recipe = FactorRecipe(**({"method": method, **METHODS[method]} if method else {}), **values)
    return tenfold.fit(schema, recipe, table, run=folder)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_beats_its_baselines_and_says_so(method, tmp_path):
    run = fit(tmp_path / "run", TABLE, method, valid=0.2, split="random")
    scores = run.scores["rating"]
    assert scores["scored"] == 600 and scores["rmse"] < 0.93 * scores["baselines"]["biases"]["rmse"]
    assert run.summary["method"] == method and run.model.method == method


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(method, tmp_path):
    bytes_of = []
    for threads in (1, 2, 8, 2):
        run = fit(tmp_path / "run", TABLE, method, threads=threads, seed=7)
        bytes_of.append((run.path / "model.safetensors").read_bytes())
        recommended = run.recommend(threads=threads)
        bytes_of[-1] += recommended.score.tobytes() + "".join(recommended.items).encode()
    assert len(set(bytes_of)) == 1
    other = fit(tmp_path / "other", TABLE, method, seed=8)
    assert (other.path / "model.safetensors").read_bytes() != (run.path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_a_new_process_gives_the_same_hundred_numbers(method, tmp_path):
    run = fit(tmp_path / "run", TABLE, method)
    rng = np.random.default_rng(0)
    users, items = (list(rng.choice(ids, 100)) for ids in (run.model.users, run.model.items))
    ask = (
        "import json, sys, tenfold; users, items = json.load(sys.stdin); "
        f"found = tenfold.load_run({str(run.path)!r}).predict_pairs(users, items); "
        "print(found.score.tobytes().hex(), found.deviation.tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask],
        input=json.dumps([users, items]),
        capture_output=True,
        text=True,
        check=True,
    )
    here = run.predict_pairs(users, items)
    assert done.stdout.split() == [here.score.tobytes().hex(), here.deviation.tobytes().hex()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("rows", "scale"),
    [
        ([(f"u{u}", f"i{i}", 3) for u in range(4) for i in range(3)], None),
        ([("u1", "i1", 0), ("u2", "i1", 1), ("u2", "i2", 0)], (0, 1)),
        ([("u", "i", 4)], None),
        ([("u", f"i{i}", i % 5 + 1) for i in range(9)], None),
    ],
)
def test_tables_with_little_in_them_give_finite_scores_in_scale(method, rows, scale, tmp_path):
    columns = dict(zip(("user", "item", "rating"), map(list, zip(*rows, strict=True)), strict=True))
    run = fit(tmp_path / "run", columns, method, scale=scale)
    asked = [(u, i) for u in [*run.model.users, "x"] for i in [*run.model.items, "y"]]
    found = run.predict_pairs(*zip(*asked, strict=True))
    low, high = run.model.scale
    assert np.isfinite(found.score).all() and (low <= found.score).all() and (found.score <= high).all()
    assert np.isfinite(run.similar().cosine).all() and np.isfinite(run.recommend(reasons=2).score).all()
    if low == high:
        assert set(found.score.tolist()) == {low}


@pytest.mark.parametrize("method", METHODS)
def test_a_stranger_is_answered_from_what_is_known_of_the_pair(method, tmp_path):
    rows = [(user, f"i{n}", rating) for user, rating in (("kind", 5), ("harsh", 1)) for n in range(8)]
    rows += [(f"u{user}", f"i{n}", 3) for user in range(4) for n in range(8)]
    columns = dict(zip(("user", "item", "rating"), map(list, zip(*rows, strict=True)), strict=True))
    run = fit(tmp_path / "run", columns, method)
    users, items = ["kind", "u0", "harsh", "nobody", "nobody"], ["new", "new", "new", "new", "i1"]
    kind, plain, harsh, nobody, on_item = run.predict_pairs(users, items).score.tolist()
    assert kind > plain > harsh and nobody == 3.0 and abs(on_item - 3) < 0.3


@pytest.mark.parametrize("method", METHODS)
def test_a_disliked_item_comes_after_a_liked_one(method, tmp_path):
    rows = [
        ("a", "x", 5),
        ("a", "y", 1),
        ("b", "x", 5),
        ("b", "y", 1),
        ("c", "x", 5),
        ("d", "y", 1),
        ("d", "z", 5),
    ]
    columns = dict(zip(("user", "item", "rating"), map(list, zip(*rows, strict=True)), strict=True))
    run = fit(tmp_path / "run", columns, method)
    assert list(run.recommend("c", rank_by="rating").items) == ["z", "y"]


def test_events_are_fitted_by_the_method_for_them(tmp_path):
    rng = np.random.default_rng(2)
    pairs = [
        (f"u{u}", f"i{i}") for u in range(30) for i in range(20) if u % 2 == i % 2 and rng.random() < 0.6
    ]
    columns = dict(zip(("user", "item"), map(list, zip(*pairs, strict=True)), strict=True))
    run = fit(tmp_path / "run", columns, schema=schema_of_events(), factors=4)
    assert run.recipe.method == "als" and run.model.implicit
    assert any("method als" in note for note in run.about["notes"])
    found = run.recommend(n=1, reasons=1)
    same = [
        int(user[1:]) % 2 == int(item[1:]) % 2 for user, item in zip(found.users, found.items, strict=True)
    ]
    assert all(same) and all(why[0][1] > 0 for why in found.reasons)
    with pytest.raises(RatingsError, match="events"):
        fit(tmp_path / "other", columns, "gibbs", schema=schema_of_events())


def schema_of_events() -> Schema:
    return Schema(inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name=None),))


def test_side_columns_are_for_the_sampler(tmp_path):
    items = tmp_path / "items.csv"
    items.write_text("item,kind\n" + "".join(f"m{n},{'ab'[n % 2]}\n" for n in range(1, 61)))
    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")),
        targets=(RatingTarget(name="rating"),),
        item_table=str(items),
        side=("kind",),
    )
    run = fit(tmp_path / "run", TABLE, "gibbs", schema=schema)
    assert any("kind: 2 features" in note for note in run.about["notes"])
    other = fit(tmp_path / "other", TABLE, "als", schema=schema)
    said = "method als: side columns (kind) score those without ratings, and no others"
    assert said in other.about["notes"]
    plain = fit(tmp_path / "plain", TABLE, "als")
    rated = len(plain.model.items)
    assert plain.model.item_factors.tobytes() == other.model.item_factors[:rated].tobytes()


def test_times_teach_only_where_they_were_named(tmp_path):
    timed = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")),
        targets=(RatingTarget(name="rating"),),
        time="time",
    )
    run = fit(tmp_path / "run", TABLE, "gibbs", schema=timed)
    assert run.model.extra.times is not None
    assert fit(tmp_path / "plain", TABLE, "gibbs").model.extra.times is None
    found = run.evaluate({name: TABLE[name][:50] for name in TABLE})
    without = run.evaluate({name: TABLE[name][:50] for name in ("user", "item", "rating")})
    assert found["rmse"] < without["rmse"]  # the ratings it was fitted to, each in its span of time
    first = run.predict({"user": TABLE["user"][:1], "item": TABLE["item"][:1], "time": TABLE["time"][:1]})
    assert first.score[0] != run.predict_pairs(TABLE["user"][0], TABLE["item"][0]).score[0]
    with pytest.raises(SchemaError, match="no time column"):
        fit(
            tmp_path / "none",
            {k: TABLE[k] for k in ("user", "item", "rating")},
            "als",
            valid=0.2,
            split="time",
        )


def test_progress_is_told(tmp_path):
    events: list[dict] = []
    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
    )
    for method in ("gibbs", "sgd"):
        recipe = FactorRecipe(method=method, **METHODS[method])
        tenfold.fit(schema, recipe, TABLE, run=tmp_path / method, on_progress=events.append)
        swept = [event for event in events if isinstance(event, SweepEnded)]
        assert swept[-1].done == swept[-1].total


@pytest.mark.parametrize("choices", [{"valid": 0.2}, {"valid": 0.2, "split": "random"}, {"split": "last"}])
def test_times_that_are_there_and_not_read_are_warned_of(choices, tmp_path):
    def notes_of(time, **values):
        schema = Schema(
            inputs=(IdColumn(name="user"), IdColumn(name="item")),
            targets=(RatingTarget(name="rating"),),
            time=time,
        )
        run = fit(tmp_path / "run", TABLE, "als", schema, **values)
        return [note for note in run.about["notes"] if "optimistic" in note]

    assert "(time)" in notes_of("none", **choices)[0]
    assert notes_of("time", valid=0.2, split="time") == []
    assert notes_of("none") == []


@pytest.mark.parametrize(("rule", "kept"), [("max", 5), ("min", 2), ("mean", 3.5), ("first", 5), ("last", 2)])
def test_each_rule_for_repeated_pairs_can_be_asked_for(rule, kept, tmp_path):
    table = {"user": ["u", "u", "v"], "item": ["a", "a", "a"], "rating": [5, 2, 3]}
    run = fit(tmp_path / "run", table, "als", duplicates=rule)
    assert run.model.seen_ratings.tolist() == [kept, 3]


@pytest.mark.parametrize("method", ["gibbs", "sgd"])
def test_an_interrupted_fit_leaves_nothing(method, tmp_path):
    def interrupt(record):
        raise KeyboardInterrupt

    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
    )
    recipe = FactorRecipe(method=method, **METHODS[method])
    with pytest.raises(KeyboardInterrupt):
        tenfold.fit(schema, recipe, TABLE, run=tmp_path / "run", on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_choice_that_the_method_has_no_use_for_is_said(tmp_path):
    run = fit(tmp_path / "run", TABLE, "als", sweeps=9, use_bias=False, use_range=True)
    said = [note for note in run.about["notes"] if "has no use" in note]
    assert said == [
        "sweeps is of method gibbs: als has no use for it",
        "use_bias is of method sgd: als has no use for it",
    ]
    assert not any("has no use" in note for note in fit(tmp_path / "run", TABLE, "als").about["notes"])
