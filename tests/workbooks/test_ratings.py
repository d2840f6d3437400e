"""A workbook of factors: LibreOffice computes the model's predictions, and follows a changed factor."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from office import assert_recomputes, needs_office, read_book, read_formulas, recompute
from tenfold.workbooks.ratings import ExplainedRatings, build_ratings_book

NAMES = ("=HYPERLINK(1)", "Fish <b>&lt;</b>", "twice", "twice")


def ratings_of(**changes: object) -> ExplainedRatings:
    rng = np.random.default_rng(5)
    users, items, factors = 3, 4, 2
    rating = rng.integers(1, 6, (users, items)).astype(float)
    rating[0, 1] = rating[2, 3] = np.nan
    size = {"size": users}
    parts = {
        "run": "runs/x", "trained": ["@x"], "users": ["u1", "+2", "u*"], "items": list("abcd"),
        "names": NAMES,
        "rating": rating, "mean": 0.3, "user_bias": rng.normal(**size),
        "item_bias": rng.normal(size=items),
        "user_factors": rng.normal(size=(users, factors)), "item_factors": rng.normal(size=(items, factors)),
        "range": (0.5, 5.5), "scale": (1.0, 5.0), "predicted": np.zeros((users, items)),
    }  # fmt: skip
    found = ExplainedRatings(**{**parts, **changes})
    return replace(found, predicted=found.answers.astype(np.float32).astype(np.float64))


@needs_office
@pytest.mark.parametrize(
    "changes", [{}, {"range": None, "mean": 3.5}, {"range": None, "scale": None, "mean": 0.0}]
)
def test_every_formula_is_what_the_model_says(tmp_path: Path, changes: dict) -> None:
    found = ratings_of(**changes)
    build_ratings_book(found).write(tmp_path / "b.xlsx")
    computed = assert_recomputes(tmp_path / "b.xlsx")
    first = computed["Read me"]
    line = next(cell[1:] for cell, value in first.items() if value == "predictions of the crosstab")
    assert first[f"B{line}"] < 1e-6
    error = (found.predicted - found.rating)[~np.isnan(found.rating)]
    assert first[f"D{line}"] == pytest.approx(np.sqrt((error**2).mean()), abs=1e-6)


@needs_office
def test_a_changed_factor_and_another_choice_are_followed(tmp_path: Path) -> None:
    found = ratings_of(range=None, scale=None)
    book = build_ratings_book(found)
    book.write(tmp_path / "b.xlsx")
    kept = read_book(tmp_path / "b.xlsx")["Crosstab"]
    line = next(int(cell[1:]) for cell, value in kept.items() if value == "predictions") + 2
    column = next(cell for cell, value in kept.items() if value == "factor 1" and cell[1:] == str(line - 1))
    again = recompute(tmp_path / "b.xlsx", {("Crosstab", f"{column[0]}{line}"): 9.0})
    factors = found.user_factors.copy()
    factors[0, 0] = 9.0
    wanted = replace(found, user_factors=factors).answers
    assert [again["Crosstab"][f"{letter}{line}"] for letter in "BCDE"] == pytest.approx(list(wanted[0]))
    # The one-hot sheet looks the user up in the crosstab, and so its prediction has changed, too.
    hot = again["One-hot"]
    end = next(cell[1:] for cell, value in hot.items() if value == "prediction")
    assert hot[f"B{end}"] == pytest.approx(wanted[0, 1])
    assert hot[f"B{end}"] != pytest.approx(found.answers[0, 1])


def test_a_solver_finds_names_for_what_it_changes(tmp_path: Path) -> None:
    build_ratings_book(ratings_of()).write(tmp_path / "b.xlsx")
    with zipfile.ZipFile(tmp_path / "b.xlsx") as archive:
        text = archive.read("xl/workbook.xml").decode()
    for name in ("user_parameters", "item_parameters", "rmse"):
        assert f'name="{name}"' in text
    cells = read_book(tmp_path / "b.xlsx")["Crosstab"]
    assert "=HYPERLINK(1)" in cells.values() and "HYPERLINK" not in str(read_formulas(tmp_path / "b.xlsx"))


def test_without_any_rating_there_is_no_error_to_show(tmp_path: Path) -> None:
    found = ratings_of(rating=np.full((3, 4), np.nan))
    assert np.isnan(found.rmse)
    build_ratings_book(found).write(tmp_path / "b.xlsx")


def test_what_excels_solver_needs_is_counted(tmp_path: Path) -> None:
    for found, words in (
        (ratings_of(), "That is 21 cells; Excel's own solver changes 200 at most."),
        (wide_ratings(24), "That is 400 cells; Excel's own solver changes 200 at most: explain with -n 4."),
        (wide_ratings(120), "200 at most: fit with fewer factors (--factors 5)."),
    ):
        build_ratings_book(found).write(tmp_path / "b.xlsx")
        texts = [str(value) for value in read_book(tmp_path / "b.xlsx")["Read me"].values()]
        assert any(words in text for text in texts), texts


def wide_ratings(factors: int) -> ExplainedRatings:
    """Eight users and items, with so many factors."""
    names = [f"n{at}" for at in range(8)]
    return ratings_of(
        users=names, items=names, names=names, rating=np.ones((8, 8)), user_bias=np.zeros(8),
        item_bias=np.zeros(8), user_factors=np.zeros((8, factors)), item_factors=np.zeros((8, factors)),
        predicted=np.zeros((8, 8)),
    )  # fmt: skip
