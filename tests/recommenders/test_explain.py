"""Networks of ratings as workbooks: LibreOffice computes the network's own scores again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from asked import explain
from command import tenfold as tenfold_command
from office import assert_recomputes, needs_office
from pairs import RECIPE, ratings_of, schema_of
from tenfold.collab.ids import locate
from tenfold.errors import RatingsError, RecipeError, RunError
from tenfold.recommenders.explain import explain_pairs
from tenfold.recommenders.explain_factors import explain_ratings
from tenfold.recommenders.network import RatingNetworkRun
from tenfold.runs.options import ExplainOptions
from tenfold.schema import NumberColumn, RatingTarget, Schema

ROWS = ratings_of()


def fitted(
    folder: Path, body: str, schema: Schema | None = None, rows: Any = None, **changes: Any
) -> RatingNetworkRun:
    recipe = type(RECIPE)(**{**RECIPE.model_dump(), "body": body, "epochs": 6, **changes})
    return tenfold.fit(schema or schema_of(), recipe, ROWS if rows is None else rows, run=folder)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def dot(tmp_path_factory: pytest.TempPathFactory) -> RatingNetworkRun:
    return fitted(tmp_path_factory.mktemp("dot") / "run", "dot")


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> RatingNetworkRun:
    return fitted(tmp_path_factory.mktemp("mlp") / "run", "mlp")


def double_scores(run: RatingNetworkRun, users: Any, items: Any) -> np.ndarray:
    """All pairs, as the same network computes them in double precision."""
    again = tenfold.load_run(run.path)
    scorer = again.trained
    scorer.network.double()
    places = (
        locate(np.array(users, object), run.interactions.users),
        locate(np.array(items, object), run.interactions.items),
    )
    found, _ = scorer.scores(np.repeat(places[0], len(items)), np.tile(places[1], len(users)), {})
    return found.reshape(len(users), len(items))


@needs_office
def test_the_crosstab_of_a_dot_product_is_the_network(dot: RatingNetworkRun, tmp_path: Path) -> None:
    found = explain(dot, output=tmp_path / "b.xlsx", n=6)
    assert found["kind"] == "pairs" and found["sheets"] == ["Read me", "Crosstab", "One-hot"]
    wanted = double_scores(dot, found["users"], found["items"])
    cells = assert_recomputes(tmp_path / "b.xlsx")["Crosstab"]
    top = next(int(cell[1:]) for cell, value in cells.items() if value == "predictions") + 2
    made = [[cells[f"{letter}{top + row}"] for letter in "BCDEFG"] for row in range(6)]
    np.testing.assert_allclose(np.array(made, float), wanted, atol=1e-9)
    pairs = {"user": np.repeat(found["users"], 6), "item": list(found["items"]) * 6}
    np.testing.assert_allclose(np.array(made, float).ravel(), dot.predict(pairs).score, atol=1e-6)
    assert found["largest_difference"] < 1e-6 < wanted.std()


def test_ratings_beside_it_are_those_of_the_training(dot: RatingNetworkRun) -> None:
    found = explain_ratings(dot, ["u03"], ["05", "04"])
    rating_of = dict(zip(zip(ROWS["user"], ROWS["item"], strict=True), ROWS["stars"], strict=True))
    wanted = [float(rating_of.get(("u03", item), "nan")) for item in ("05", "04")]
    np.testing.assert_array_equal(found.rating[0], wanted)
    with pytest.raises(RatingsError, match="1 of 1 users"):
        explain_ratings(dot, ["nobody"])
    with pytest.raises(RecipeError, match="--table"):
        explain(dot, table=ROWS)


def test_what_side_columns_say_is_folded_in(tmp_path: Path) -> None:
    for name, count in (("user", 24), ("item", 16)):
        ids = [f"u{one:02d}" if name == "user" else f"{one:02d}" for one in range(count)]
        lines = [f"{one},{('even|old', 'odd', 'old')[place % 3]}" for place, one in enumerate(ids)]
        (tmp_path / f"{name}s.csv").write_text("\n".join([f"{name},{name[0]}kind", *lines]) + "\n")
    tables = {"user_table": str(tmp_path / "users.csv"), "item_table": str(tmp_path / "items.csv")}
    run = fitted(tmp_path / "run", "dot", schema_of(**tables, side=("ukind", "ikind")))
    found = explain_ratings(run, n=8)
    assert found.user_factors.shape[1] == 6 + 3 and np.ptp(found.user_factors[:, 6:]) > 1e-3
    np.testing.assert_allclose(found.answers, double_scores(run, found.users, found.items), atol=1e-6)
    one = {"item_table": tables["item_table"], "side": ("ikind",)}
    with pytest.raises(RecipeError, match="embeddings of equal width") as caught:
        fitted(tmp_path / "other", "dot", schema_of(**one))
    assert "--side" in str(caught.value)


def test_without_a_sigmoid_the_deviation_is_folded_in(tmp_path: Path) -> None:
    rows = {**ROWS, "stars": ["3"] * len(ROWS["stars"])}
    run = fitted(tmp_path / "run", "dot", rows=rows, epochs=1)
    found = explain_ratings(run, n=4)
    assert found.range is None and found.scale is None
    np.testing.assert_allclose(found.answers, double_scores(run, found.users, found.items), atol=1e-9)


@needs_office
@pytest.mark.parametrize("body", ["mlp", "linear"])
def test_rows_of_any_other_body_are_computed_from_the_last_layer_on(
    body: str, mlp: RatingNetworkRun, tmp_path: Path
) -> None:
    run = mlp if body == "mlp" else fitted(tmp_path / "run", body, epochs=2)
    found = explain(run, output=tmp_path / "b.xlsx", n=6)
    assert found["kind"] == "pairs" and len(found["rows"]) == 6
    cells = assert_recomputes(tmp_path / "b.xlsx")
    shown = cells["Rows"]
    for row, one in enumerate(found["rows"], start=5):
        user, item = (part.split()[1] for part in one["id"].split(", "))
        assert shown[f"A{row}"] == f"user {user}, item {item}"
        assert shown[f"D{row}"] == pytest.approx(
            run.predict({"user": [user], "item": [item]}).score[0], abs=2e-6
        )
    first = cells["Read me"]
    head = next(int(cell[1:]) for cell, value in first.items() if value == "largest difference")
    assert first[f"A{head + 1}"] == "stars" and first[f"B{head + 1}"] < 1e-5


def test_telling_rows_are_the_nearest_and_the_farthest(mlp: RatingNetworkRun) -> None:
    found = explain_pairs(mlp, mlp.trained, [], ExplainOptions(n=6))
    known = {
        pair: float(stars) for *pair, stars in zip(*ROWS.values(), strict=True) for pair in [tuple(pair)]
    }
    error = np.abs(
        mlp.predict({"user": ROWS["user"], "item": ROWS["item"]}).score - np.array(ROWS["stars"], float)
    )
    target = found.targets[0]
    off = np.abs(target.answers[:, 0] - target.labels)
    assert off.max() == pytest.approx(error.max(), abs=1e-5) and off.min() == pytest.approx(
        error.min(), abs=1e-5
    )
    for name, label in zip(found.ids, target.labels, strict=True):
        user, item = (part.split()[1] for part in name.split(", "))
        assert known[user, item] == label
    assert len(set(found.why)) == 3
    own = explain_pairs(mlp, mlp.trained, [mlp.interactions.users[3]], ExplainOptions(n=6))
    assert {name.split(",")[0] for name in own.ids} == {f"user {mlp.interactions.users[3]}"}


def test_pairs_that_nobody_rated_have_no_loss(mlp: RatingNetworkRun, tmp_path: Path) -> None:
    rated = set(zip(ROWS["user"], ROWS["item"], strict=True))
    gap = next(f"{i:02d}" for i in range(16) if ("u03", f"{i:02d}") not in rated)
    found = explain(mlp, ["u03"], items=[gap], output=tmp_path / "b.xlsx")
    [row] = found["rows"]
    assert row["id"] == f"user u03, item {gap}" and row["targets"]["stars"]["loss"] is None


def test_columns_that_the_run_does_not_keep_come_from_a_table(tmp_path: Path) -> None:
    rows = {**ROWS, "hour": [str(number % 24) for number in range(len(ROWS["user"]))]}
    run = fitted(tmp_path / "run", "mlp", schema_of(NumberColumn(name="hour")), rows, epochs=2)
    with pytest.raises(RunError, match="needs hour, too") as caught:
        explain(run, output=tmp_path / "b.xlsx")
    assert "--table" in str(caught.value)
    table = {name: cells[:9] for name, cells in rows.items()}
    found = explain_pairs(run, run.trained, [], ExplainOptions(table=table, n=6))
    wanted = run.predict(rows).score[:9]
    assert found.features.shape[0] == 6
    for name, answer in zip(found.ids, found.targets[0].answers[:, 0], strict=True):
        place = [
            f"user {u}, item {i}" for u, i in zip(rows["user"][:9], rows["item"][:9], strict=True)
        ].index(name)
        assert answer == pytest.approx(wanted[place], abs=1e-5)
    with pytest.raises(RatingsError, match="no rating of these"):
        explain_pairs(run, run.trained, [run.interactions.users[23]], ExplainOptions(table=table))


def test_a_table_is_read_as_the_options_say(mlp: RatingNetworkRun, tmp_path: Path) -> None:
    cells = [*zip(*ROWS.values(), strict=True)][:12]
    lines = ["user#item#stars", *("#".join(row) for row in cells), "u01#03#nix"]
    (tmp_path / "t.txt").write_bytes("\n".join(lines).encode("utf-16-le"))
    words = ("explain", mlp.path, "--table", "t.txt", "-n", "99", "-o", "b.xlsx", "--json")
    tenfold_command(*words, cwd=tmp_path, code=2)
    options = ("--sep", "#", "--encoding", "utf-16-le", "--missing-values", "nix")
    tenfold_command(*words, *options, cwd=tmp_path, code=2)  # a rating is missing
    found = json.loads(tenfold_command(*words, *options, "--skip-bad", cwd=tmp_path).stdout)
    assert {row["id"] for row in found["rows"]} == {f"user {user}, item {item}" for user, item, _ in cells}


def test_a_target_may_be_called_id(tmp_path: Path) -> None:
    schema = Schema(inputs=schema_of().inputs, targets=(RatingTarget(name="id"),))
    rows = {"user": ROWS["user"], "item": ROWS["item"], "id": ROWS["stars"]}
    run = fitted(tmp_path / "run", "mlp", schema, rows, epochs=1)
    found = explain_pairs(run, run.trained, [], ExplainOptions(n=6))
    assert len(found.ids) == 6 and set(found.targets[0].labels) <= {1.0, 5.0}
