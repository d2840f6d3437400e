"""A ratings run from a table to a folder and back: every path gives the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from collab.small_models import fit_small
from pairs import RECIPE, ratings_of
from pairs import schema_of as network_schema
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import RatingsError, RunError, SchemaError, TableError
from tenfold.recipe import FactorRecipe
from tenfold.recommenders import factors, methods
from tenfold.recommenders.factors import FactorRun
from tenfold.recommenders.run import RecommenderRun
from tenfold.runs.folder import read_arrays
from tenfold.runs.registry import load_run, open_recommender
from tenfold.schema import IdColumn, RatingTarget, Schema

FIVE = "user,item,rating\n1,10,5\n1,11,1\n2,10,4\n2,12,2\n3,11,2\n"
ITEMS = "item,title,genres\n10,Sun,Drama|War\n11,Moon,Comedy\n12,,Drama\n13,Star,War\n"


@pytest.fixture(autouse=True)
def plain_fitter(monkeypatch):
    """Least squares in NumPy stand in for the methods, which have tests of their own."""

    def fit(ratings, recipe, sides, on_progress=None):
        rows = zip(
            ratings.users[ratings.user_index],
            ratings.items[ratings.item_index],
            ratings.ratings.tolist(),
            strict=True,
        )
        model = fit_small(
            list(rows), scale=ratings.scale, implicit=ratings.implicit, item_names=ratings.item_names
        )
        fit.seen.append((ratings, sides))
        return model

    fit.seen = []
    monkeypatch.setattr(factors, "fit_model", fit)
    return fit


def schema_of(**values) -> Schema:
    names = {"user": "", "item": "", "rating": None, **values}
    return Schema(
        inputs=(IdColumn(name=names.pop("user")), IdColumn(name=names.pop("item"))),
        targets=(RatingTarget(name=names.pop("rating")),),
        **names,
    )


@pytest.fixture
def fit(tmp_path: Path):
    """Fit a table given as text; returns the run."""

    def from_text(
        text: str, name: str = "run", schema: Schema | None = None, recipe=None, **options
    ) -> FactorRun:
        path = tmp_path / "ratings.csv"
        path.write_text(text, "utf-8")
        return tenfold.fit(
            schema or schema_of(), recipe or FactorRecipe(), path, run=tmp_path / name, **options
        )

    return from_text


@pytest.fixture
def with_items(tmp_path: Path):
    (tmp_path / "items.csv").write_text(ITEMS, "utf-8")
    return schema_of(item_table=str(tmp_path / "items.csv"))


# --- fit ---------------------------------------------------------------------------------------------


def test_what_was_decided_is_said_and_kept(fit):
    notes: list[str] = []
    run = fit(FIVE, on_note=notes.append)
    text = "\n".join(notes)
    for part in ("user is the user", "explicit: rating holds ratings", "scale 1 to 5", "3 users, 3 items"):
        assert text.count(part) == 1, part
    assert run.about["notes"] == notes
    assert [column.name for column in run.schema.ids] == ["user", "item"]
    assert run.summary["rows"] == 5 and run.summary["users"] == 3 and run.summary["method"] == "gibbs"
    assert json.dumps(run.summary)


def test_a_run_opens_again_to_the_same_bits(fit):
    run = fit(FIVE)
    again = load_run(run.path)
    users, items = list(run.model.users) * 3, np.repeat(run.model.items, 3)
    for one in (run.predict_pairs(users, items), again.predict_pairs(users, items)):
        assert one.score.tobytes() == run.predict_pairs(users, items).score.tobytes()
    assert lists(again.recommend()) == lists(run.recommend())


def lists(found) -> list[tuple[str, str, int]]:
    return list(zip(found.users, found.items, found.rank.tolist(), strict=True))


def test_a_later_or_damaged_run_is_refused(fit):
    run = fit(FIVE)
    about = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(RunError, match="was made by tenfold"):
        load_run(run.path)
    (run.path / "run.json").write_text(json.dumps(about))
    model = run.path / "model.safetensors"
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="damaged"):
        load_run(run.path)


def test_a_finished_run_is_gone_on_with_only_if_nothing_changed(fit, plain_fitter):
    first = fit(FIVE)
    again = fit(FIVE, resume=True)
    assert len(plain_fitter.seen) == 1 and again.about == first.about
    with pytest.raises(RunError, match="another fit"):
        fit(FIVE.replace("1,11,1", "1,11,2"), resume=True)
    with pytest.raises(RunError, match="recipe.seed"):
        fit(FIVE, resume=True, recipe=FactorRecipe(seed=1))
    assert load_run(first.path).about == first.about


def test_bad_input_leaves_no_run(fit, tmp_path):
    with pytest.raises(TableError, match="line 3"):
        fit("user,item,rating\n1,10,5\n1,11,x\n")
    assert [path.name for path in tmp_path.iterdir()] == ["ratings.csv"]
    assert len(fit("user,item,rating\n1,10,5\n1,11,x\n2,10,3\n", skip_bad=True).model.seen_ratings) == 2


def test_held_out_ratings_are_scored_and_not_learnt(fit, plain_fitter):
    rng = np.random.default_rng(0)
    rows = [f"u{u},i{i},{rng.integers(1, 6)},{rng.integers(1, 999)}" for u in range(20) for i in range(10)]
    text = "user,item,rating,time\n" + "\n".join(rows) + "\n"
    run = fit(text, recipe=FactorRecipe(valid=0.2))
    train, _ = plain_fitter.seen[-1]
    scores = run.scores["rating"]
    assert len(train.ratings) + scores["scored"] == 200 and train.times is None
    assert set(scores["baselines"]) == {"global_mean", "biases"}
    assert any("cut at" in note for note in run.about["notes"])  # one cut through time
    random = fit(text, recipe=FactorRecipe(valid=0.2, split="random"))
    assert any("times ignored" in note for note in random.about["notes"])
    assert plain_fitter.seen[-1][0].times is None
    fit(text, schema=schema_of(time="time"), recipe=FactorRecipe(valid=0.2))
    assert plain_fitter.seen[-1][0].times is not None
    untimed = fit(text, schema=schema_of(time="none"), recipe=FactorRecipe(valid=0.2))
    assert not any("cut at" in note for note in untimed.about["notes"])
    last = fit(text, recipe=FactorRecipe(split="last"))
    assert last.about["valid_rows"] == 20


def test_side_columns_go_to_the_side_that_has_them(fit, plain_fitter, tmp_path):
    (tmp_path / "items.csv").write_text(ITEMS, "utf-8")
    (tmp_path / "users.csv").write_text("user,age\n1,old\n2,old\n3,young\n", "utf-8")
    tables = {"item_table": str(tmp_path / "items.csv"), "user_table": str(tmp_path / "users.csv")}
    run = fit(FIVE, schema=schema_of(**tables, side=("genres", "age")))
    _, sides = plain_fitter.seen[-1]
    assert sides["item"].names == ("genres=Drama",) and sides["user"].names == ("age=old",)
    assert sides["item"].start.tolist() == [0, 1, 1, 2]  # items 10, 11, 12
    assert load_run(run.path).schema.side == ("genres", "age")
    with pytest.raises(SchemaError, match="no column 'agee'"):
        fit(FIVE, schema=schema_of(**tables, side=("agee",)))
    with pytest.raises(SchemaError, match="no table that has them"):
        fit(FIVE, schema=schema_of(side=("age",)))


# --- ask ---------------------------------------------------------------------------------------------


def test_titles_and_filters_travel_with_the_run(fit, with_items):
    run = load_run(fit(FIVE, schema=with_items).path)
    found = run.recommend("3", reasons=0)
    assert dict(zip(found.items, found.names, strict=True)) == {"10": "Sun", "12": "12"}
    assert list(run.recommend("3", where="genres=War").items) == ["10"]
    assert list(run.recommend("3", where=["genres=Drama", "title!=Sun"]).items) == ["12"]
    assert list(run.recommend(where="genres=War", exclude=["10"]).items) == []
    assert list(run.similar("11", where="genres=War").found) == ["10"]
    assert run.predict_pairs("3", [12, 13, 14]).item_state.tolist() == ["rated", "listed", "unknown"]
    with pytest.raises(TableError, match="did you mean 'War'"):
        run.recommend("3", where="genres=war")
    with pytest.raises(SchemaError, match="knows no columns of items"):
        fit(FIVE, name="bare").recommend("3", where="genres=War")


def test_reasons_come_with_a_users_list_and_not_with_everyones(fit):
    run = fit(FIVE)
    assert len(run.recommend("1").reasons) == 1 and run.recommend().reasons == ()
    assert run.recommend(reasons=1).reasons != () and run.recommend("1", reasons=0).reasons == ()


def test_pairs_are_predicted_row_by_row(fit, tmp_path):
    run = fit(FIVE)
    path = tmp_path / "pairs.csv"
    path.write_text("item,user\n12,1\n10,nobody\n12,1\n", "utf-8")
    notes: list[str] = []
    found = run.predict(path, on_note=notes.append)
    assert list(found.users) == ["1", "nobody", "1"] and list(found.items) == ["12", "10", "12"]
    assert found.score[0] == found.score[2] == run.predict_pairs(1, 12).score[0]
    assert found.known_user.tolist() == [True, False, True]
    assert any("1 of 2 users unknown" in note for note in notes)
    path.write_text("1\t12\n", "utf-8")
    assert run.predict(path, table_options={"header": False}).score[0] == found.score[0]
    assert run.predict({"user": [1], "item": [12.0]}).score[0] == found.score[0]
    with pytest.raises(RatingsError, match="unknown"):
        run.predict({"user": ["x"], "item": [12]}, unknown="raise")


def test_ratings_can_be_added_without_a_new_fit(fit, tmp_path):
    run = fit(FIVE)
    path = tmp_path / "mine.csv"
    path.write_text("item,rating\n10,5\n11,1\n", "utf-8")
    mine = run.with_ratings(path)
    assert list(mine.recommend("me").items) == ["12"] and list(mine.model.users) == ["1", "2", "3", "me"]
    assert "2 new ratings, 1 new users, 0 new items" in mine.about["notes"]
    assert list(mine.recommend("1").items) == list(run.recommend("1").items)
    more = run.with_ratings({"user": ["3", "4"], "item": ["10", "12"], "rating": [4, 2]})
    assert more.about["added_users"] == ["3", "4"]
    assert list(more.recommend("3").items) == ["12"] and "4" in more.model.users
    assert len(run.model.users) == 3 and len(load_run(run.path).model.users) == 3
    bare = tmp_path / "bare.csv"
    bare.write_text("10,5\n11,1\n", "utf-8")
    assert (
        run.with_ratings(bare, user="I").recommend("I").score.tobytes()
        == mine.recommend("me").score.tobytes()
    )
    with pytest.raises(RatingsError, match="outside 1 to 5"):
        run.with_ratings({"item": ["10"], "rating": [7]})


def test_evaluate_prints_the_documented_keys(fit, tmp_path):
    run = fit(FIVE)
    test = {"user": ["1", "2", "3", "x"], "item": ["12", "11", "new", "10"], "rating": [3, 2, 4, 5]}
    notes: list[str] = []
    found = run.evaluate(test, on_note=notes.append)
    assert {"rmse", "mae", "scored", "fallback"} <= set(found)
    assert (found["scored"], found["fallback"]) == (4, 2) and np.isfinite(found["rmse"])
    assert any("4 scored, 2 by fallback" in note for note in notes)
    assert "lists" not in found and json.dumps(found)
    with_lists = run.evaluate(test, n=2)
    assert {"precision", "recall", "ndcg", "coverage", "users"} <= set(with_lists["lists"])
    assert "most_popular" in with_lists["lists"]["baselines"]


def test_a_run_of_events_ranks_and_predicts_no_stars(fit):
    run = fit("user,item\nu,a\nu,b\nv,a\nv,c\nw,b\n")
    assert run.summary["kind_of_ratings"] == "implicit"
    assert any("no rating column" in note for note in run.about["notes"])
    found = run.recommend("w")
    assert sorted(found.items) == ["a", "c"] and any("not ratings" in note for note in found.notes)
    with pytest.raises(RatingsError, match="predicts no ratings"):
        run.predict({"user": ["w"], "item": ["a"]})
    scores = run.evaluate({"user": ["w"], "item": ["a"]})
    assert "rmse" not in scores and scores["lists"]["users"] == 1


def test_other_runs_are_no_recommenders(fit, tmp_path):
    run = fit(FIVE)
    assert open_recommender(run.path).summary == run.summary
    arrays, about = read_arrays(run.path / "model.safetensors")
    assert about["method"] == "als" and arrays["user_factors"].dtype == np.float32
    with pytest.raises(RunError, match="does not exist"):
        open_recommender(tmp_path / "none")


# --- every kind alike ----------------------------------------------------------------------------------


KINDS = ("factors", "network", "dot", "blend", "mixed")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RecommenderRun]:
    """A run of every kind, with an item table that lists a further item."""
    folder = tmp_path_factory.mktemp("kinds")
    lines = [f"{item:02d},Film {item},{'even' if item % 2 else 'odd'}" for item in range(17)]
    (folder / "items.csv").write_text("\n".join(["item,title,kind", *lines]) + "\n")
    schema = network_schema(item_table=str(folder / "items.csv"), item_name="title")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factors, "fit_model", methods.fit_model)
        recipes: dict[str, Any] = {
            "factors": FactorRecipe(method="als", factors=2, epochs=4),
            "other": FactorRecipe(method="sgd", factors=2, epochs=4),
            "network": type(RECIPE)(**{**RECIPE.model_dump(), "epochs": 2}),
            "dot": type(RECIPE)(**{**RECIPE.model_dump(), "epochs": 2, "body": "dot"}),
        }
        made = {
            name: tenfold.fit(schema, recipe, ratings_of(), run=folder / name)
            for name, recipe in recipes.items()
        }
    for name, members in (("blend", ("factors", "other")), ("mixed", ("factors", "network"))):
        made[name] = blend_runs([made[member].path for member in members], output=folder / name)
    return made  # type: ignore[return-value]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_filters_its_lists(kinds: dict[str, RecommenderRun], kind: str) -> None:
    run, some = kinds[kind], ["01", "05", "Film 9", "15"]
    whole = run.recommend("u04", n=16)
    found = run.recommend("u04", n=16, candidates=some, exclude=["15"], threads=1)
    ids = {"01", "05", "09"}
    assert found.items.tolist() == [item for item in whole.items if item in ids]
    assert any("looked up by title" in note for note in found.notes)
    odd = run.recommend("u04", n=16, where="kind=odd")
    assert odd.items.tolist() == [item for item in whole.items if int(item) % 2 == 0]
    assert whole.names.tolist() == [f"Film {int(item)}" for item in whole.items]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_the_same_of_a_test(kinds: dict[str, RecommenderRun], kind: str) -> None:
    rows, notes = ratings_of(), list[str]()
    test = {name: [*cells[:3], *more] for (name, cells), more in zip(
        rows.items(), (["u01", "who"], ["what", "03"], ["9", "1"]), strict=True
    )}  # fmt: skip
    scores = kinds[kind].evaluate(test, n=3, on_note=notes.append)
    assert (
        "1 of 5 test ratings lie outside the run's scale 1 to 5, which no score leaves, first 9"
        in " ".join(notes)
    )
    assert "5 scored, 2 by fallback: 1 with an unknown user, 1 with an unknown item" in notes
    assert "3 of 5 test pairs were trained on: their scores are too good" in notes
    assert len(notes) == len(set(notes))
    assert (scores["scored"], scores["unscored"], scores["fallback"], scores["known"]["scored"]) == (
        5,
        0,
        2,
        3,
    )
    assert set(scores["baselines"]) == {"global_mean", "biases"} and scores["lists"]["n"] == 3
    assert (
        set(scores["lists"]["baselines"]) == {"most_popular", "item_neighbours"}
        and scores["targets"]["stars"]["rmse"] == scores["rmse"]
    )
    for member in scores.get("members", {}).values():
        assert set(member["stars"]) == set(scores["targets"]["stars"])


@pytest.mark.parametrize("kind", KINDS)
def test_lists_are_scored_by_what_every_kind_recommends(kinds: dict[str, RecommenderRun], kind: str) -> None:
    run, rated = kinds[kind], set(zip(*list(ratings_of().values())[:2], strict=True))
    gaps = [(f"u{u:02d}", f"{i:02d}") for u in range(24) for i in range(16)]
    gaps = [pair for pair in gaps if pair not in rated]
    test = {"user": [user for user, _ in gaps], "item": [item for _, item in gaps], "stars": [5] * len(gaps)}
    lists = run.evaluate(test, n=1)["lists"]
    best = run.recommend(sorted({user for user, _ in gaps}), n=1)
    hits = [pair in set(gaps) for pair in zip(best.users, best.items, strict=True)]
    assert lists["precision"] == pytest.approx(np.mean(hits)) and lists["users"] == len(
        {user for user, _ in gaps}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_a_new_user_or_says_why_not(kinds: dict[str, RecommenderRun], kind: str) -> None:
    run, mine = kinds[kind], {"item": ["Film 1", "03", "02"], "stars": [5, 5, 1]}
    if kind in ("factors", "blend"):
        more = run.with_ratings(mine)
        found = more.recommend("me", n=14)
        assert not {"01", "03", "02"} & set(found.items) and found.known_user.all()
        assert found.notes[: len(more.record.added_notes)] == tuple(more.record.added_notes)
        assert any("3 new ratings, 1 new users" in note for note in found.notes)
        assert more.record.added_users == ["me"] and not run.recommend("me", n=1).known_user[0]
    else:
        with pytest.raises(RunError, match="learns a new user in a training only") as caught:
            run.with_ratings(mine)
        assert "fit again with these ratings" in caught.value.labels["fix"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_why_or_that_it_cannot(kinds: dict[str, RecommenderRun], kind: str) -> None:
    assert kinds[kind].recommend("u04", n=2, reasons=1).reasons[0]
    found = kinds[kind].recommend("u04", n=2, reasons=1, rank_by="rating")
    told = any("gives no reasons" in note for note in found.notes)
    assert told == (kind != "factors") and len(found.reasons) == (2 if kind == "factors" else 0)
    assert not any("gives no reasons" in note for note in kinds[kind].recommend("u04", n=2).notes)


def test_a_blend_of_events_is_scored_by_its_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "fit_model", methods.fit_model)
    rows = ratings_of()
    table = {"user": rows["user"], "item": rows["item"]}
    paths = [
        tenfold.fit(schema_of(), FactorRecipe(factors=2, seed=seed), table, run=tmp_path / str(seed)).path
        for seed in (1, 2)
    ]
    blend = blend_runs(paths, output=tmp_path / "blend")
    rated = set(zip(*table.values(), strict=True))
    gaps = [
        (f"u{u:02d}", f"{i:02d}")
        for u in range(24)
        for i in range(16)
        if (f"u{u:02d}", f"{i:02d}") not in rated
    ]
    scores = blend.evaluate({"user": [user for user, _ in gaps], "item": [item for _, item in gaps]})
    assert scores["lists"]["n"] == 10 and scores["lists"]["recall"] > 0.9 and "rmse" not in scores
    with pytest.raises(RatingsError, match="predicts no ratings"):
        blend.predict(table)
    with pytest.raises(RunError, match="no common unit"):
        blend.predict(table, ranking=True)
