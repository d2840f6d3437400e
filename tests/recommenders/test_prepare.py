"""One preparation for every fit: what is read, split, held out and recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairs import ratings_of, schema_of
from tenfold.errors import RecipeError, SchemaError
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.prepare import RatingsWork, prepare_ratings
from tenfold.runs.job import Notes
from tenfold.runs.options import FitOptions, Reading


def prepare(
    rows: object, fold: tuple[int, int] | None = None, **choices: object
) -> tuple[RatingsWork, list[str]]:
    notes = Notes()
    table = {"missing_values": ("nix",)}
    options = FitOptions(Reading(table=table))
    work = prepare_ratings(schema_of(), FactorRecipe(fold=fold, **choices), rows, options, notes)
    return work, notes.lines


def test_what_is_held_out_is_no_part_of_the_training() -> None:
    work, lines = prepare(ratings_of(), valid=0.25, split="random")
    held = work.held_out()
    assert held is not None
    assert len(held.ratings) + len(work.train.ratings) == len(work.ratings.ratings)
    record = work.record()
    assert (record["train_rows"], record["valid_rows"]) == (len(work.train.ratings), len(held.ratings))
    assert record["reading"] == {"missing_values": ["nix"]} and record["kind_of_ratings"] == "explicit"
    assert prepare(ratings_of())[0].held_out() is None and not any(
        "no ratings are held" in one for one in lines
    )


def test_folds_hold_out_every_rating_once() -> None:
    parts = [prepare(ratings_of(), fold=(k, 3), split="random")[0].split.valid for k in (1, 2, 3)]
    rows = sorted(row for part in parts for row in part.tolist())
    assert rows == list(range(len(ratings_of()["user"])))
    with pytest.raises(RecipeError, match="makes no folds"):
        prepare(ratings_of(), fold=(1, 3), split="last")
    with pytest.raises(SchemaError, match="no time column"):
        prepare(ratings_of(), split="time", valid=0.1)


def test_listed_items_come_after_the_rated_ones(tmp_path: Path) -> None:
    items = tmp_path / "items.csv"
    items.write_text("item,kind\n" + "".join(f"{n:02d},{'even' if n % 2 else 'odd'}\n" for n in range(19)))
    schema = schema_of(item_table=str(items), side=("kind",))
    work = prepare_ratings(schema, FactorRecipe(), ratings_of(), FitOptions(), Notes())
    listed = work.listed_side()
    assert listed is not None and listed[0].tolist() == ["16", "17", "18"]
    assert len(listed[1].start) == 16 + 3 + 1 and work.record()["item_key"] == "item"


def test_the_column_of_ids_is_no_column_that_describes(tmp_path: Path) -> None:
    # As numbers ids would be cut into bins, and as texts each would be left out.
    items = tmp_path / "items.csv"
    items.write_text("item,kind\n" + "".join(f"{n:02d},odd\n" for n in range(19)))
    for side in (("item",), ("kind", "Item")):
        schema = schema_of(item_table=str(items), side=side)
        with pytest.raises(SchemaError, match="'item' is the column of ids of items.csv"):
            prepare_ratings(schema, FactorRecipe(), ratings_of(), FitOptions(), Notes())


@pytest.mark.parametrize("split", ["time", "last", "random"])
def test_what_was_shown_after_the_held_out_events_is_not_known_in_training(split: str) -> None:
    users = [f"u{n}" for n in range(6) for _ in range(10)]
    rows = {
        "user": users,
        "item": [f"i{(n + n // 10) % 12}" for n in range(60)],
        "stars": [0 if n % 10 in (4, 9) else 1 for n in range(60)],
        "time": [1000 + 10 * (n % 10) for n in range(60)],
    }
    schema = schema_of(time="time")
    recipe = FactorRecipe(kind="implicit", shown=0.3, split=split, valid=0.2)
    work = prepare_ratings(schema, recipe, rows, FitOptions(), Notes())
    shown = work.train.shown
    assert shown is not None and shown.times is not None
    when = [] if split == "random" else [1090.0]  # the row 9 of each user comes after all events
    assert not set(when) & set(shown.times) and 1040.0 in shown.times
    assert (
        work.identity
        != prepare_ratings(schema, recipe, {**rows, "stars": [1] * 60}, FitOptions(), Notes()).identity
    )
