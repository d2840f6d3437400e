"""Commands that train many times for one answer: which value is best, and does one target help another."""

from __future__ import annotations

from tenfold.cli.commands import Given, command
from tenfold.cli.options import COLUMNS, JSON, MACHINE, READING, argument, option, recipe_options
from tenfold.cli.request import job_of, picture_job_of, wing_options
from tenfold.cli.screen import Display, print_json, show_compared, show_tuned
from tenfold.recipe import FactorRecipe, Recipe

TABLE = argument("table", "table, folder of pictures, or job file (.toml)", optional=True)
RUNS = option("runs", str | None, "folder to keep the trainings in, and to go on from")
#: Of the recipe, what a comparison decides by itself.
DECIDED = ("valid", "fold", "split_seed")
#: What to do with ratings, which have one target.
INSTEAD = (
    "to choose a setting, tenfold tune; to compare runs, tenfold evaluate each of them on the same table"
)
PAGE = option("output", str | None, "HTML page with the table and the picture", "-o", "--output")


@command(
    "tune",
    argument("what", "wd (weight decay), lr (learning rate), or factors"),
    TABLE,
    option("values", str | None, "values to try, as 0,0.01,0.1 or 1e-4:1 [powers of ten]"),
    option("repeats", int | None, "seeds per value [3 for ratings, 1 for networks]"),
    *COLUMNS,
    *recipe_options(Recipe, FactorRecipe),
    *READING,
    *MACHINE,
    RUNS,
    PAGE,
    JSON,
)
def _tune(given: Given) -> None:
    """Try values of one setting under the same seeds and split, and say which is best on the validation rows.

    The recipe's own value is always among them. Nothing but the validation rows decides.
    """
    from tenfold.reports.html import write_report
    from tenfold.studies.tune import FIELDS, parse_values, tune, tuning_page

    job = job_of({**given, "output": "no run"})
    field = FIELDS.get(given["what"], "")
    with Display() as display:
        found = tune(
            given["what"],
            job.schema,
            job.recipe,
            job.table,
            values=None if given["values"] is None else parse_values(given["values"], field),
            repeats=given["repeats"],
            runs=given["runs"],
            on_progress=display.progress,
            on_note=display.note,
            **wing_options(job.schema, given, job.recipe),
        )
    if given["output"]:
        write_report(given["output"], *tuning_page(found))
    record = {**found.record(), "output": given["output"]}
    print_json(record) if given["as_json"] else show_tuned(record)


@command(
    "compare",
    TABLE,
    option("of", list[str] | None, "target to ask about, more than once for several [all]", "--of"),
    option("folds", int, "parts, each of which is held out once", default=5),
    option("repeats", int, "times that all is done, with other folds and another seed", default=1),
    *COLUMNS,
    *(one for one in recipe_options(Recipe) if one.name not in DECIDED),
    *READING,
    *MACHINE,
    RUNS,
    JSON,
)
def _compare(given: Given) -> None:
    """Does a second target help the first? Train with and without the others, on the same folds and seeds."""
    from tenfold.studies.compare import compare_targets

    job = picture_job_of({**given, "output": "no run", **dict.fromkeys(DECIDED)}, INSTEAD)
    with Display() as display:
        found = compare_targets(
            job.schema,
            job.recipe,
            job.table,
            of=tuple(given["of"] or ()),
            folds=given["folds"],
            repeats=given["repeats"],
            runs=given["runs"],
            on_progress=display.progress,
            on_note=display.note,
            **wing_options(job.schema, given),
        )
    print_json(found.record()) if given["as_json"] else show_compared(found.record())
