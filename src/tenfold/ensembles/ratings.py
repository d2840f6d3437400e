"""Ensembles of recommenders: what is checked before the first training. Never loads torch."""

from __future__ import annotations

from tenfold.data.tables.table import read_table
from tenfold.ensembles.requests import CheckAnswer, CheckRequest, Fault
from tenfold.errors import RecipeError, TenfoldError
from tenfold.recipe import ratings_recipe
from tenfold.recommenders.prepare import prepare_ratings
from tenfold.runs.job import Notes
from tenfold.runs.options import FitOptions

#: What every member of ratings is said to need, and what there is: their memory is not planned.
_ANY, _ALL = 1, 1 << 40


def check_ratings(request: CheckRequest) -> CheckAnswer:
    """Read and split the ratings as every member will, and collect what is wrong, a fault of all once."""
    faults: list[Fault] = []
    options = FitOptions(request.reading)
    for member in request.members:
        own = ratings_recipe(member.recipe)
        if request.folds:
            own = own.model_copy(update={"fold": (1, request.folds)})
        try:
            table = read_table(request.table, **request.reading.table)
            work = prepare_ratings(request.schema, own, table, options, Notes())
            if work.ratings.implicit and request.method != "weights":
                raise RecipeError(
                    f"blend = {request.method!r} learns from held-out ratings, and these are events",
                    fix="set blend = 'weights': lists are fused by the stated weights",
                )
        except TenfoldError as error:
            fix = error.labels.get("fix", "")
            fault = Fault(member="", message=error.headline, problems=list(error.problems), fix=fix)
            if fault not in faults:
                faults.append(fault)
    plans: dict[str, int | None] = {member.name: _ANY for member in request.members}
    threads = max((ratings_recipe(member.recipe).threads for member in request.members), default=1)
    return CheckAnswer(faults=faults, plans=plans, budget_bytes=_ALL, threads=threads)
