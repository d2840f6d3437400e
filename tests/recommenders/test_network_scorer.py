"""A network as a scorer: what it needs, its lists, and what it cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tenfold
from pairs import RECIPE, ratings_of, schema_of
from tenfold.data.tables.table import read_table
from tenfold.errors import RunError
from tenfold.recommenders.network import RatingNetworkRun
from tenfold.schema import NumberColumn


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RatingNetworkRun:
    recipe = type(RECIPE)(**{**RECIPE.model_dump(), "epochs": 2})
    rows = {**ratings_of(), "hour": [str(number % 24) for number in range(len(ratings_of()["user"]))]}
    made = tenfold.fit(
        schema_of(NumberColumn(name="hour")), recipe, rows, run=tmp_path_factory.mktemp("n") / "r"
    )
    assert isinstance(made, RatingNetworkRun)
    return made


def test_scores_follow_the_cells_and_know_no_deviation(run: RatingNetworkRun) -> None:
    scorer = run.trained
    users, items = np.full(24, 2), np.full(24, 3)
    cells, notes = scorer.cells(read_table({"hour": [str(hour) for hour in range(24)]}))
    score, deviation = scorer.scores(users, items, cells)
    assert not notes and np.isnan(deviation).all() and len(set(score)) > 12
    first, _ = scorer.on("cpu").scores(users[:1], items[:1], {"hour": cells["hour"][:1]})
    assert first[0] == pytest.approx(score[0], abs=1e-6)


def test_what_a_score_needs_is_refused_where_there_is_no_table(run: RatingNetworkRun) -> None:
    assert run.trained.columns == ("hour",)
    assert run.trained.reasons is None and run.trained.fold_in is None
    for ask in (lambda: run.recommend("u01"), lambda: run.predict_pairs("u01", "03")):
        with pytest.raises(RunError, match="needs hour, too"):
            ask()


def test_weights_that_do_not_fit_are_named(run: RatingNetworkRun, tmp_path: Path) -> None:
    other = type(run)(run.path, run.schema, run.record)
    wider = run.recipe.model_copy(update={"hidden": (7, 5)})
    other.__dict__["recipe"] = wider
    with pytest.raises(RunError, match="do not fit the body 'mlp'"):
        _ = other.trained
