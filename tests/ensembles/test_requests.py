"""What a worker is asked comes out of its JSON as it went in."""

from __future__ import annotations

import json

import pytest

from tenfold.ensembles.requests import (
    BlendRequest,
    CheckRequest,
    FitRequest,
    MemberRecipe,
    MemberRuns,
    Request,
    request_of,
)
from tenfold.recipe import Recipe
from tenfold.runs.options import Machine, Reading
from tenfold.schema import CategoryTarget, ImageColumn, Schema

SCHEMA = Schema(inputs=(ImageColumn(name="id", folder="photos"),), targets=(CategoryTarget(name="label"),))
COMMON = {"table": "t.csv", "reading": Reading(skip_bad=True, workers=0), "machine": Machine(device="cpu")}


@pytest.mark.parametrize(
    "request_",
    [
        CheckRequest(schema=SCHEMA, members=[MemberRecipe("a", Recipe(seed=3))], folds=5, plan=2, **COMMON),
        FitRequest(schema=SCHEMA, recipe=Recipe(lr=0.1), run="members/a", **COMMON),
        BlendRequest(
            folder="top", members=[MemberRuns("a", 2.0, ["members/a"])], method="best", seed=1, **COMMON
        ),
    ],
)
def test_a_request_is_read_as_it_was_written(request_: Request) -> None:
    given = json.loads(json.dumps(request_.to_json()))
    assert given["task"] == request_.task and request_of(given) == request_


def test_what_a_recipe_does_not_say_stays_unsaid() -> None:
    given = FitRequest(schema=SCHEMA, recipe=Recipe(lr=0.1), run="a", table="t").to_json()
    assert given["recipe"] == {"lr": 0.1} and "on_progress" not in given["reading"]
