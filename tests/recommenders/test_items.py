"""Runs of events by weights between items: made, opened, asked, resumed; and the lists of ratings runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tenfold
from tenfold.cli.main import app
from tenfold.errors import RatingsError, RecipeError, RunError, SchemaError
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.factors import FactorRun
from tenfold.recommenders.items import ItemRun
from tenfold.schema import IdColumn, RatingTarget, Schema


def schema_of(rating: str | None = None) -> Schema:
    return Schema(inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name=rating),))


def table_of(*, ratings: bool = False) -> dict[str, list]:
    rng = np.random.default_rng(1)
    pairs = [
        (f"u{u}", f"i{i}")
        for u in range(80)
        for i in range(30)
        if rng.random() < (0.5 if u % 2 == i % 2 else 0.06)
    ]
    columns = dict(zip(("user", "item"), map(list, zip(*pairs, strict=True)), strict=True))
    if ratings:
        columns["stars"] = [int(rng.integers(3, 6)) for _ in pairs]
    return columns


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ItemRun:
    path = tmp_path_factory.mktemp("items") / "run"
    made = tenfold.fit(schema_of(), FactorRecipe(valid=0.2), table_of(), run=path)
    assert isinstance(made, ItemRun)
    return made


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> FactorRun:
    path = tmp_path_factory.mktemp("rated") / "run"
    recipe = FactorRecipe(method="als", factors=2, epochs=3)
    made = tenfold.fit(schema_of("stars"), recipe, table_of(ratings=True), run=path)
    assert isinstance(made, FactorRun)
    return made


def test_events_are_fitted_by_weights_between_items_and_beat_popularity(run: ItemRun) -> None:
    assert run.recipe.method == "ease" and run.record.method == "ease"
    lists = run.scores["event"]["lists"]
    assert lists["ndcg"] > 1.3 * lists["baselines"]["most_popular"]["ndcg"]
    found = run.recommend("u4", n=3)
    assert found.order.startswith("events") and all(found.reasons)
    assert all(int(item[1:]) % 2 == 0 for item in found.items)
    assert all(int(item[1:]) % 2 == 0 for item in run.similar("i2", n=3).found)


def test_a_run_of_events_says_what_it_cannot(run: ItemRun) -> None:
    with pytest.raises(RatingsError, match="predicts no ratings"):
        run.predict_pairs("u1", "i1")
    with pytest.raises(RunError, match="not products of factors"):
        _ = run.model
    with pytest.raises(RecipeError, match="no workbook"):
        run.explain()
    with pytest.raises(RecipeError, match="no ratings to rank by"):
        run.recommend("u1", rank_by="rating")
    with pytest.raises(RecipeError, match="learns which items are taken"):
        tenfold.fit(schema_of("stars"), FactorRecipe(method="ease"), table_of(ratings=True), run="unmade")
    assert "</html>" in Path(run.write_page()["output"]).read_text("utf-8")
    titles = [section.title for section in run.page().sections]
    assert any("Maps" in title for title in titles)


def test_a_new_user_is_folded_in(run: ItemRun) -> None:
    more = run.with_ratings({"item": ["i1", "i3", "i5"]})
    assert isinstance(more.recommend("me", n=3).items[0], str)
    assert all(int(item[1:]) % 2 for item in more.recommend("me", n=3).items)
    with pytest.raises(RatingsError, match="none of 1 items"):
        run.with_ratings({"item": ["zzz"]})


def test_it_is_opened_with_the_same_answers_and_resumed(run: ItemRun) -> None:
    again = tenfold.load_run(run.path)
    assert again.recommend(n=4).score.tolist() == run.recommend(n=4).score.tolist()
    said: list[str] = []
    tenfold.fit(
        schema_of(), FactorRecipe(valid=0.2), table_of(), run=run.path, resume=True, on_note=said.append
    )
    assert any("finished already" in line for line in said)
    (run.path / "lists.safetensors").rename(run.path / "away")
    with pytest.raises(RunError):
        tenfold.load_run(run.path)
    (run.path / "away").rename(run.path / "lists.safetensors")


def test_a_run_of_als_made_as_the_default_of_events_is_still_that_default(tmp_path: Path) -> None:
    path = tmp_path / "run"
    made = tenfold.fit(schema_of(), FactorRecipe(method="als"), table_of(), run=path)
    said: list[str] = []
    again = tenfold.fit(schema_of(), FactorRecipe(), table_of(), run=path, resume=True, on_note=said.append)
    assert any("finished already" in line for line in said) and again.recipe.method == "als"
    assert made.recommend(n=2).items.tolist() == again.recommend(n=2).items.tolist()
    with pytest.raises(RunError, match="another fit"):
        tenfold.fit(schema_of(), FactorRecipe(method="ease"), table_of(), run=path, resume=True)


def test_choices_of_factors_keep_events_with_als_and_core_items_are_the_most_taken(tmp_path: Path) -> None:
    said: list[str] = []
    run = tenfold.fit(
        schema_of(), FactorRecipe(factors=2), table_of(), run=tmp_path / "a", on_note=said.append
    )
    assert run.recipe.method == "als" and any("factors is a choice of it" in line for line in said)
    few = tenfold.fit(
        schema_of(), FactorRecipe(core_items=6), table_of(), run=tmp_path / "b", on_note=said.append
    )
    assert any("weights between 6 items of 30" in line for line in said)
    assert few.record.trained_recipe["core_items"] == 6
    assert "core_items" not in FactorRecipe().model_dump()


def test_lists_of_ratings_have_two_orders(rated: FactorRun) -> None:
    assert rated.lists is not None
    first, other = rated.recommend("u4", n=3), rated.recommend("u4", n=3, rank_by="rating")
    assert first.order.startswith("interest") and other.order.startswith("rating")
    assert all(int(item[1:]) % 2 == 0 for item in first.items) and all(first.reasons)
    assert first.ranking is not None and (np.diff(first.ranking) <= 0).all()
    # What it says of a pair is the same in every order, and as without lists.
    pairs = rated.predict_pairs("u4", first.items)
    np.testing.assert_array_equal(pairs.score, first.score)
    with pytest.raises(RecipeError, match="did you mean 'rating'"):
        rated.recommend("u4", rank_by="ratings")
    mine = rated.with_ratings({"item": ["i1", "i3", "i5"], "stars": [5, 5, 5]})
    assert all(int(item[1:]) % 2 for item in mine.recommend("me", n=3).items)


def test_a_run_without_weights_lists_as_before_and_says_so(rated: FactorRun, tmp_path: Path) -> None:
    import shutil

    old = tmp_path / "old"
    shutil.copytree(rated.path, old)
    (old / "lists.safetensors").unlink()
    about = json.loads((old / "run.json").read_text())
    assert "lists.safetensors" in about["files"]
    run = FactorRun.open(old, rated.record)
    found = run.recommend("u4", n=3)
    assert "fit again" in found.order and found.ranking is None and (np.diff(found.score) <= 0).all()
    with pytest.raises(RunError, match="keeps no weights"):
        run.recommend("u4", rank_by="interest")


def test_the_command_says_the_order(
    rated: FactorRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, order in ((), "interest"), (("--rank-by", "rating"), "rating"):
        asked = ["recommend", str(rated.path), "--user", "u4", "-n", "2", *words]
        done = CliRunner().invoke(app, [*asked, "--json"])
        answer = json.loads(done.stdout)
        assert answer["order"].startswith(order) and len(answer["rows"]) == 2
        assert "ranking" in answer["rows"][0]
        assert f"order: {order}" in CliRunner().invoke(app, asked).output
    CliRunner().invoke(app, ["recommend", str(rated.path), "--all", "-o", "all.csv"])
    assert "ranking" in (tmp_path / "all.csv").read_text().splitlines()[0]


def test_lists_worse_than_popularity_are_told(rated: FactorRun) -> None:
    # Everybody's test item is the most popular one among those that they have not rated.
    known = rated.interactions
    order = known.items[np.argsort(-known.received, kind="stable")]
    seen = {
        user: set(known.items[known.seen_items[a:b]])
        for user, a, b in zip(known.users, known.seen_start, known.seen_start[1:], strict=False)
    }
    item = [next(one for one in order if one not in seen[user]) for user in known.users]
    test = {"user": known.users.tolist(), "item": item, "stars": [5] * len(item)}
    said: list[str] = []
    scores = rated.evaluate(test, n=1, on_note=said.append)
    assert scores["lists"]["baselines"]["most_popular"]["ndcg"] == 1.0
    assert any("worse than the most popular items" in line for line in said)
    assert any("order of the lists: interest" in line for line in said)


def test_the_ridge_of_events_is_tuned_and_factors_by_als(tmp_path: Path) -> None:
    said: list[str] = []
    tuned = tune_of("wd", (50, 200))
    assert [setting.value for setting in tuned.settings] == [50, 200] and tuned.score == "ndcg"
    tune_of("factors", (2, 4), on_note=said.append)
    assert any("method als, since ease" in line for line in said)
    with pytest.raises(RecipeError, match="no factors to tune"):
        tune_of("factors", (2, 4), recipe=FactorRecipe(method="ease"))


def tune_of(name: str, values: tuple[float, ...], recipe: FactorRecipe | None = None, **options: Any) -> Any:
    from tenfold.studies.tune import tune

    asked = recipe or FactorRecipe()
    return tune(name, schema_of(), asked, table_of(), values=values, repeats=1, **options)


# --- how lists are scored --------------------------------------------------------------------------


@pytest.mark.parametrize("events", [True, False])
def test_whole_users_are_held_out_and_folded_in(tmp_path: Path, events: bool) -> None:
    table = table_of(ratings=not events)
    choices = {} if events else {"method": "als", "factors": 2, "epochs": 3}
    recipe = FactorRecipe(valid=0.2, split="users", **choices)
    made = tenfold.fit(schema_of(None if events else "stars"), recipe, table, run=tmp_path / "run")
    assert made.record.values["split"] == {"how": "users", "name": "strong generalisation"}
    known = made.interactions
    assert len(known.users) == 64 and known.held_users is not None and not len(known.held_users)
    notes = " ".join(made.record.notes)
    assert "held out: strong generalisation" in notes and "16 users that the fit has not seen" in notes
    if events:
        lists = made.scores["event"]["lists"]
        assert lists["users"] == 16 and lists["unknown_users"] == 0
        assert lists["ndcg"] > 1.3 * lists["baselines"]["most_popular"]["ndcg"]
        # The same as giving the held-out users' rows to the finished run.
        held = set(table["user"]) - set(known.users)
        rows = [row for row, user in enumerate(table["user"]) if user in held]
        test = {name: [column[row] for row in rows] for name, column in table.items()}
        again = made.evaluate(test, fold_in=0.8)["lists"]
        assert again["ndcg"] > 1.3 * again["baselines"]["most_popular"]["ndcg"] and again["users"] == 16
    else:
        assert made.scores["stars"]["known"]["scored"] == len(made.held_out().ids) > 0


def test_networks_hold_out_no_whole_users(tmp_path: Path) -> None:
    recipe = tenfold.RatingNetworkRecipe(split="users", valid=0.2)
    with pytest.raises(RecipeError, match="learns a user in its training only"):
        tenfold.fit(schema_of("stars"), recipe, table_of(ratings=True), run=tmp_path / "run")


def test_evaluate_takes_candidates_negatives_and_new_users(
    run: ItemRun, rated: FactorRun, tmp_path: Path
) -> None:
    test = tmp_path / "test.csv"
    test.write_text(
        "user,item\n" + "".join(f"u{u},i{(u + 2 * k) % 30}\n" for u in range(40) for k in range(3))
    )
    some = tmp_path / "some.txt"
    some.write_text("".join(f"i{i}\n" for i in range(0, 30, 3)))

    def asked(*options: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["evaluate", str(run.path), str(test), "--json", *options])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)["lists"]

    assert asked()["ranking"] == {"full": {"items": 30}}
    assert set(asked()["baselines"]) == {"most_popular", "item_neighbours"}
    assert asked("--negatives", "4")["ranking"] == {"sampled": {"items": 4, "seed": 0}}
    assert asked("--candidates", str(some))["ranking"]["candidates"]["items"] == 10
    with pytest.raises(RatingsError, match="were in the training"):
        run.evaluate(test, fold_in=0.8)
    ratings = {"user": ["u1"], "item": ["i1"], "stars": [4]}
    with pytest.raises(RecipeError, match="candidates are of lists"):
        rated.evaluate(ratings, candidates=["i1"])
    assert (
        rated.evaluate(ratings, n=3, candidates=["i1", "i2"])["lists"]["ranking"]["candidates"]["items"] == 2
    )


# --- strength and age of events --------------------------------------------------------------------


def aged_table() -> dict[str, list]:
    """Users of an old taste (items of parity 0) whose latest events are of the other one."""
    rng = np.random.default_rng(2)
    rows = []
    for u in range(60):
        for i in range(24):
            recent = i % 2 == 1
            if rng.random() < 0.45:
                rows.append((f"u{u}", f"i{i}", 1_600_000_000 + (8_640_000 if recent else 0) + u))
    return dict(zip(("user", "item", "time"), map(list, zip(*rows, strict=True)), strict=True))


@pytest.mark.parametrize("method", ["ease", "als"])
def test_events_lose_strength_by_age_in_fit_and_fold_in(tmp_path: Path, method: str) -> None:
    schema = schema_of().model_copy(update={"time": "time"})
    recipe = FactorRecipe(method=method, half_life="20d", kind="implicit")
    made = tenfold.fit(schema, recipe, aged_table(), run=tmp_path / "run")
    strengths = made.interactions.seen_ratings
    assert strengths.min() == pytest.approx(2.0**-5, rel=1e-2) and strengths.max() == pytest.approx(1)
    assert made.record.values["decay"] == {
        "half_life": 20 * 86400.0,
        "until": 1_600_000_000.0 + 8_640_000 + 59,
    }
    opened = tenfold.load_run(tmp_path / "run")
    assert opened.recommend("u3", n=5).items.tolist() == made.recommend("u3", n=5).items.tolist()
    assert "half_life" in (tmp_path / "run/recipe.toml").read_text()
    # A new user's old event counts less than the same event now; without a time it counts as of now.
    new = {"item": ["i2", "i3"], "time": [1_600_000_000, 1_608_640_000]}
    grown = opened.with_ratings(new, user="me").interactions
    own = grown.seen_ratings[grown.seen_start[-2] :]
    assert sorted(own) == [pytest.approx(2.0**-5, rel=1e-2), pytest.approx(1, rel=1e-3)]
    grown = opened.with_ratings({"item": ["i2", "i3"]}, user="me").interactions
    assert grown.seen_ratings[grown.seen_start[-2] :].tolist() == [1, 1]


def test_strength_counts_on_request_in_any_unit(tmp_path: Path) -> None:
    table = table_of()
    rng = np.random.default_rng(7)
    seconds = rng.integers(20, 900, len(table["item"]))
    scores = []
    for name, strength in (
        ("s", seconds),
        ("min", seconds / 60),
        ("off", seconds),
        ("ones", seconds * 0 + 1),
    ):
        recipe = FactorRecipe(kind="implicit", use_strength=name != "off")
        run = tenfold.fit(schema_of("played"), recipe, {**table, "played": strength}, run=tmp_path / name)
        assert (
            any(
                ("by its strength" if name != "off" else "whatever its strength") in n
                for n in run.record.notes
            )
            or name == "ones"
        )
        opened = tenfold.load_run(tmp_path / name)
        scores.append(opened.predict_pairs("u1", [f"i{i}" for i in range(30)], ranking=True).score)
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-3)
    assert np.abs(scores[0] - scores[2]).max() > 0.02
    np.testing.assert_array_equal(scores[2], scores[3])


def test_a_half_life_is_of_events_that_count_by_strength(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not to count"):
        recipe = FactorRecipe(half_life="9d", use_strength=False)
        tenfold.fit(schema_of(), recipe, table_of(), run=tmp_path / "run")
    with pytest.raises(RecipeError, match="a half-life is of events"):
        tenfold.fit(
            schema_of("stars"), FactorRecipe(half_life="9d"), table_of(ratings=True), run=tmp_path / "run"
        )


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> ItemRun:
    """Items of two kinds, four of which (i30 to i33) nobody took; few of the others make the core."""
    folder = tmp_path_factory.mktemp("described")
    lines = [f"i{i},{'even' if i % 2 == 0 else 'odd'}" for i in range(34)]
    (folder / "items.csv").write_text("\n".join(["item,kind", *lines]) + "\n")
    schema = schema_of().model_copy(update={"item_table": str(folder / "items.csv"), "side": ("kind",)})
    made = tenfold.fit(schema, FactorRecipe(valid=0.2, core_items=12), table_of(), run=folder / "run")
    assert isinstance(made, ItemRun)
    return made


def test_new_items_are_recommended_by_their_columns_and_marked(described: ItemRun) -> None:
    notes = described.record.notes
    assert "4 listed items that nobody has taken are scored by their columns (kind)" in notes
    size = "weights between 12 items of 30; 18 more are joined to these, each by its 12 largest weights"
    assert size in notes
    assert "method ease: side columns (kind) score those without ratings, and no others" in notes
    for run in (described, tenfold.load_run(described.path)):
        assert isinstance(run, ItemRun)
        lists = run.recommend(["u4", "u5"], n=9, new_items=True)
        first = {user: lists.items[lists.users == user].tolist() for user in ("u4", "u5")}
        assert set(first["u4"][:2]) == {"i30", "i32"} and set(first["u5"][:2]) == {"i31", "i33"}
        assert len(first["u4"]) == 4 and set(lists.item_state) == {"listed"} and all(lists.reasons)
        assert any("nobody has rated: scored by their columns" in note for note in lists.notes)
    every = described.recommend("u4", n=40)
    state = dict(zip(every.items, every.item_state, strict=True))
    assert {item for item, what in state.items() if what == "listed"} == {"i30", "i31", "i32", "i33"}
    folded = described.with_ratings({"item": ["i1", "i3", "i29"]})
    assert set(folded.recommend("me", n=2, new_items=True).items) == {"i31", "i33"}
    assert set(described.similar("i30", n=3).found) <= {f"i{i}" for i in range(0, 30, 2)}


def test_a_new_item_that_is_taken_is_new_no_more(described: ItemRun, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(described.path, copy)
    run = tenfold.load_run(copy)
    assert isinstance(run, ItemRun)
    grown = run.update({"user": ["u5"], "item": ["i31"]})
    lists = grown.recommend("u7", n=40)
    state = dict(zip(lists.items, lists.item_state, strict=True))
    assert state["i31"] == "rated" and state["i33"] == "listed"
    assert "i31" not in grown.recommend("u7", n=9, new_items=True).items
    with pytest.raises(RunError, match="knows no item by its columns alone"):
        described.__class__.recommend(
            tenfold.fit(schema_of(), FactorRecipe(), table_of(), run=tmp_path / "b"), "u1", new_items=True
        )


def test_the_graph_of_a_run_with_items_outside_the_core_answers_as_the_run(
    described: ItemRun, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    exported = described.export(str(tmp_path / "lists.onnx"))
    assert exported is not None and (tmp_path / "lists.onnx").exists()


# --- recent rows -----------------------------------------------------------------------------------

TIMED = Schema(
    inputs=(IdColumn(name="user"), IdColumn(name="item")),
    targets=(RatingTarget(name=None),),
    time="timestamp",
)


def drifting(users: int = 90) -> dict[str, list]:
    """Each user takes five items of one group of items, then five of another; some twice, some at once."""
    rng = np.random.default_rng(7)
    rows = []
    for user in range(users):
        one, other = rng.permutation(3)[:2]
        taken = [*(10 * one + rng.permutation(10)[:5]), *(10 * other + rng.permutation(10)[:5])]
        rows += [(f"u{user}", f"i{item}", 1e9 + 86400 * place) for place, item in enumerate(taken)]
        rows.append((f"u{user}", f"i{taken[0]}", 1e9 + 86400 * (6 if user % 2 else 0)))
    return dict(zip(("user", "item", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))


def fitted(table: dict[str, list], path: Path, schema: Schema = TIMED, **choices: Any) -> ItemRun:
    made = tenfold.fit(schema, FactorRecipe(**choices), table, run=path, report=False, history=False)
    assert isinstance(made, ItemRun)
    return made


def listed(run: Any, n: int = 12) -> dict[str, dict[str, float]]:
    lists: dict[str, dict[str, float]] = {}
    found = run.recommend(n=n)
    for user, item, score in zip(found.users, found.items, found.score, strict=True):
        lists.setdefault(user, {})[item] = round(float(score), 4)
    return lists


@pytest.fixture(scope="module")
def recent(tmp_path_factory: pytest.TempPathFactory) -> ItemRun:
    return fitted(drifting(), tmp_path_factory.mktemp("recent") / "run")


def test_recent_rows_count_by_default_where_times_are_named(recent: ItemRun, tmp_path: Path) -> None:
    assert 0 < recent.recent <= 10 and recent.record.values["recent"] == recent.recent
    assert "later one" in recent.recommend("u1").order
    assert any("NDCG" in note and "took last" in note for note in recent.record.notes)
    again = tenfold.load_run(recent.path)
    assert listed(again) == listed(recent)
    # Not of a split at random, nor where times are there but nobody asked for them.
    assert fitted(drifting(), tmp_path / "random", valid=0.2, split="random").recent == 0
    unnamed = fitted(drifting(), tmp_path / "unnamed", schema_of())
    assert unnamed.recent == 0 and unnamed.interactions.seen_times is None
    assert any("--time names" in note for note in unnamed.record.notes)
    assert fitted(drifting(), tmp_path / "off", recent=0).interactions.seen_times is None
    assert fitted(drifting(), tmp_path / "given", schema_of(), recent=4).recent == 4


def test_the_order_of_rows_does_not_matter_where_there_are_times(recent: ItemRun, tmp_path: Path) -> None:
    table = drifting()
    order = np.random.default_rng(0).permutation(len(table["user"]))
    shuffled = {name: [column[row] for row in order] for name, column in table.items()}
    other = fitted(shuffled, tmp_path / "run")
    assert other.recent == recent.recent and listed(other) == listed(recent)


def test_rows_in_order_are_as_good_as_times_if_somebody_says_so(recent: ItemRun, tmp_path: Path) -> None:
    table = drifting()
    order = np.argsort(table["timestamp"], kind="stable")
    bare = {name: [table[name][row] for row in order] for name in ("user", "item")}
    with pytest.raises(SchemaError, match="there are no times"):
        fitted(bare, tmp_path / "refused", schema_of(), recent=3)
    assert fitted(bare, tmp_path / "silent", schema_of()).recent == 0
    stated = fitted(bare, tmp_path / "run", schema_of(), in_order=True)
    assert stated.recent == recent.recent
    # A user has no two rows of one moment here, but for the repeated ones.
    assert listed(stated)["u2"] == listed(recent)["u2"]
    with pytest.raises(RecipeError, match="the table has times"):
        fitted(table, tmp_path / "both", in_order=True)
    # What is new comes after all that the run knows.
    more = stated.update({"user": ["u2", "u2"], "item": ["i3", "i14"]})
    place, value = more.trained.model.row(more.interactions, 2)
    weights = dict(zip(more.interactions.items[more.trained.model.items[place]], value, strict=True))
    rest = sorted((value - 0.3 for value in weights.values()), reverse=True)
    assert weights["i14"] - 0.3 == pytest.approx(rest[0])
    assert weights["i3"] - 0.3 == pytest.approx(rest[0] * 2 ** (-1 / more.recent), rel=1e-4)


def rows_of(run: ItemRun) -> dict[str, dict[str, float]]:
    known, model = run.interactions, run.trained.model
    rows = {}
    for user, name in enumerate(known.users):
        place, value = model.row(known, user)
        items = known.items[model.items[place]]
        rows[name] = {item: round(float(own), 6) for item, own in zip(items, value, strict=True)}
    return rows


def test_an_update_leaves_the_rows_that_a_fit_of_all_has(tmp_path: Path) -> None:
    table = drifting()
    late = [day > 1e9 + 86400 * 4 for day in table["timestamp"]]
    parts = [
        {
            name: [v for v, own in zip(column, late, strict=True) if own is part]
            for name, column in table.items()
        }
        for part in (False, True)
    ]
    whole = fitted(table, tmp_path / "whole", recent=3)
    early = fitted(parts[0], tmp_path / "early", recent=3)
    with pytest.raises(RatingsError, match="has no times"):
        early.update({name: parts[1][name] for name in ("user", "item")})
    assert rows_of(early.update(parts[1])) == rows_of(whole)
    # Also where what is added happened before what the run knows.
    late_first = fitted(parts[1], tmp_path / "late", recent=3)
    known = set(parts[1]["user"]), set(parts[1]["item"])
    assert known[0] == set(table["user"]) and known[1] == set(table["item"])
    assert rows_of(late_first.update(parts[0])) == rows_of(whole)


def test_a_repeated_event_is_as_recent_as_its_last(tmp_path: Path) -> None:
    table = drifting()
    # u1 took its first item a second time, on day 6.
    run = fitted(table, tmp_path / "run", recent=1)
    rows = rows_of(run)
    for user, row, later in (("u1", 11, 3), ("u0", 0, 9)):
        most = max(rows[user].values())
        assert (rows[user][table["item"][row]] - 0.3) / (most - 0.3) == pytest.approx(2.0**-later, abs=1e-5)


def test_a_new_user_of_a_run_that_weighs_recent_rows(recent: ItemRun) -> None:
    more = recent.with_ratings({"item": ["i1", "i2", "i11", "i12"], "timestamp": [1e9, 1e9, 2e9, 2e9]})
    turned = recent.with_ratings({"item": ["i1", "i2", "i11", "i12"], "timestamp": [2e9, 2e9, 1e9, 1e9]})
    scores = [listed_of(one, ("i5", "i15")) for one in (more, turned)]
    assert scores[0]["i15"] > scores[1]["i15"] and scores[0]["i5"] < scores[1]["i5"]
    plain = recent.with_ratings({"item": ["i1", "i2", "i11", "i12"]})
    assert any("no times" in note for note in plain.record.added_notes)
    assert set(rows_of(plain)["me"].values()) == {1.0}


def listed_of(run: Any, items: tuple[str, ...]) -> dict[str, float]:
    found = run.recommend("me", n=40)
    return {item: float(score) for item, score in zip(found.items, found.score, strict=True) if item in items}


def test_lists_of_ratings_weigh_recent_rows_too(tmp_path: Path) -> None:
    table = drifting()
    rng = np.random.default_rng(0)
    table["stars"] = [int(rng.integers(3, 6)) for _ in table["user"]]
    schema = TIMED.model_copy(update={"targets": (RatingTarget(name="stars"),)})
    run = tenfold.fit(
        schema, FactorRecipe(method="als", factors=2, epochs=2), table, run=tmp_path / "run", report=False
    )
    assert isinstance(run, FactorRun) and run.recent > 0
    again = tenfold.load_run(run.path)
    assert listed(again) == listed(run) and "later one" in again.recommend("u1").order
    # The same rating again is the most recent one.
    before, known = listed(run)["u3"], run.interactions
    own = slice(known.seen_start[3], known.seen_start[4])
    first = own.start + int(np.argmin(known.seen_times[own]))
    item = known.items[known.seen_items[first]]
    same = {"user": ["u3"], "item": [item], "stars": [float(known.seen_ratings[first])], "timestamp": [2e9]}
    after = run.update(same)
    assert listed(after)["u3"] != before
    assert after.interactions.seen_times is not None and after.interactions.seen_times.max() == 2e9


def test_als_of_events_says_that_it_does_not_weigh_recent_rows(tmp_path: Path) -> None:
    said: list[str] = []
    recipe = FactorRecipe(method="als", factors=2, epochs=2, recent=5)
    tenfold.fit(TIMED, recipe, drifting(), run=tmp_path / "run", report=False, on_note=said.append)
    assert any("has no use for it" in note for note in said)
