"""Commands that train many times: a setting's best value, scores over all folds, whether targets help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from tenfold.cli.commands import command
from tenfold.cli.console import print_json
from tenfold.cli.options import (
    ClusterOptions,
    JobOptions,
    Json,
    MachineOptions,
    ReadingOptions,
    argument,
    option,
)
from tenfold.cli.progress import Display
from tenfold.cli.request import TrainingRequest, fit_keywords, job_of, picture_job_of, recipe_of, refuse
from tenfold.cli.screen import (
    show_compared,
    show_cross_validated,
    show_distilled,
    show_searched,
    show_tuned,
)
from tenfold.recipe import AnyRecipe, FactorRecipe, Recipe

if TYPE_CHECKING:
    from tenfold.reports.html import Section
    from tenfold.studies.searched import Searched
    from tenfold.studies.trials import Tuned

#: Fields of the recipe that a comparison sets.
DECIDED = ("valid", "fold", "split_seed")
#: What to do with ratings, which have one target.
INSTEAD = "to choose a setting, tenfold tune; to compare methods, tenfold cross-validate"


class Tune(JobOptions, ClusterOptions, Json):
    """What ``tenfold tune`` takes."""

    what: str = argument(
        "wd (weight decay), lr (learning rate) or factors; several options of fit, with commas, are searched "
        "together",
        "SETTING,...",
    )
    values: str | None = option("values to try, as 0,0.01,0.1 or 1e-4:1 [powers of ten]", "VALUE,...")
    within: list[str] | None = option(
        "what to search: lr=1e-4:1e-2, or words as optimizer=adamw,lion [lr, wd, factors: wide ranges]",
        "SETTING=VALUES",
    )
    trials: int | None = option("search: trials, of which the first has the recipe's own values [20]")
    at_once: int = option("search: trials that are proposed together", default=1)
    prune: bool = option("search: stop trainings that fall behind", "", "--prune/--no-prune", default=True)
    repeats: int | None = option("seeds for each value [ratings 3, networks and searches 1]")
    runs: str | None = option("folder to keep the trainings in, and to go on from", "FOLDER")
    best: str | None = option("job file to write, with the best values, for tenfold fit", "FILE")
    output: str | None = option("HTML page with the table and the picture", "FILE", "-o", "--output")


@command(
    "tune",
    Tune,
    "tenfold tune wd train.csv --image photo=photos --target disease",
    "tenfold tune factors ratings.csv --user user --item film --target stars",
    "tenfold tune lr,wd,optimizer train.csv --image id=photos --target disease \\\n"
    "    --within optimizer=adamw,lion --trials 30 --best best.toml",
    recipes=(Recipe, FactorRecipe),
)
def _tune(asked: Tune) -> None:
    """Try values of a setting, or search several at once, and say which are best.

    All are trained with the same seeds and split, the recipe's own values among them. Nothing but the
    validation rows decides. A search makes proposals with Optuna (the extra optuna).
    """
    from tenfold.studies.tune import FIELDS, parse_values, tune, tuning_page

    names = [name.strip() for name in asked.what.split(",") if name.strip()]
    if len(names) > 1 or asked.within or asked.trials is not None:
        return _search(asked, names)
    refuse(asked, ("at_once",) if asked.at_once != 1 else (), "where the values are given: add --trials")
    job = job_of(asked)
    field = FIELDS.get(asked.what, "")
    with Display() as display:
        tuned = tune(
            asked.what,
            job.schema,
            job.recipe,
            job.table,
            values=None if asked.values is None else parse_values(asked.values, field),
            repeats=asked.repeats,
            runs=asked.runs,
            on=asked.on,
            on_progress=display.progress,
            on_note=display.note,
            time_format=asked.time_format if job.schema.rated else None,
            **fit_keywords(job.schema, asked, job.recipe, image=asked.image),
        )
    _finish(asked, job, tuned, lambda: tuning_page(tuned))
    if not asked.as_json:
        show_tuned(tuned, asked.output, asked.best)


def _search(asked: Tune, names: list[str]) -> None:
    from tenfold.studies.search import search
    from tenfold.studies.searched import search_page

    refuse(asked, ("values",), "of a search: give --within SETTING=LOW:HIGH")
    job = job_of(asked)
    with Display() as display:
        found = search(
            names,
            job.schema,
            job.recipe,
            job.table,
            trials=20 if asked.trials is None else asked.trials,
            within=asked.within or (),
            prune=asked.prune,
            at_once=asked.at_once,
            repeats=asked.repeats,
            runs=asked.runs,
            on=asked.on,
            on_progress=display.progress,
            on_note=display.note,
            time_format=asked.time_format if job.schema.rated else None,
            **fit_keywords(job.schema, asked, job.recipe, image=asked.image),
        )
    _finish(asked, job, found, lambda: search_page(found))
    if not asked.as_json:
        show_searched(found, asked.output, asked.best)


def _finish(
    asked: Tune,
    job: TrainingRequest,
    found: Tuned | Searched,
    page: Callable[[], tuple[str, list[Section]]],
) -> None:
    """Write what is asked for: the job file of the best recipe, the page, and the JSON object."""
    from tenfold.reports.html import write_report

    _write_best(asked, job, found.recipe)
    if asked.output:
        write_report(asked.output, *page())
    if asked.as_json:
        print_json({**found.record(), "output": asked.output, "best_job": asked.best})


def _write_best(asked: Tune, job: TrainingRequest, recipe: AnyRecipe) -> None:
    """Write the job file of the best recipe, if it is asked for."""
    if asked.best is None:
        return
    from tenfold.data.tables.jobfile import Job, job_text
    from tenfold.files.atomic import replacing

    table = job.table if isinstance(job.table, str) else asked.image_folder
    given = recipe.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    with replacing(asked.best) as stream:
        stream.write(job_text(Job(str(table), "", job.schema, given)).encode())


class Compare(JobOptions, ClusterOptions, Json):
    """What ``tenfold compare`` takes."""

    of: list[str] | None = option("target to ask about [all]", "TARGET")
    folds: int = option("parts, each of which is held out once", default=5)
    repeats: int = option("times that all is done, with other folds and another seed", default=1)
    runs: str | None = option("folder to keep the trainings in, and to go on from", "FOLDER")


@command(
    "compare",
    Compare,
    "tenfold compare train.csv --image photo=photos --target disease \\\n    --target variety",
    recipes=(Recipe,),
    without=DECIDED,
)
def _compare(asked: Compare) -> None:
    """Find out whether targets help each other.

    Each is trained alone and with the others, on the same folds and seeds.
    """
    from tenfold.studies.compare import compare_targets

    job = picture_job_of(asked, INSTEAD)
    with Display() as display:
        compared = compare_targets(
            job.schema,
            cast(Recipe, job.recipe),
            job.table,
            of=tuple(asked.of or ()),
            folds=asked.folds,
            repeats=asked.repeats,
            runs=asked.runs,
            on=asked.on,
            on_progress=display.progress,
            on_note=display.note,
            **fit_keywords(job.schema, asked, image=asked.image),
        )
    print_json(compared.record()) if asked.as_json else show_compared(compared)


class CrossValidate(JobOptions, Json):
    """What ``tenfold cross-validate`` takes."""

    method: list[str] | None = option(
        "of ratings: gibbs, als, sgd, ease, or a network: mlp, dot, linear; with choices as als:factors=8",
        "METHOD[:NAME=VALUE,...]",
    )
    folds: int = option("parts, each of which is held out once", default=5)
    repeats: int = option("times that all is done, with other folds and another seed", default=1)
    lists: int | None = option("of ratings: also score lists of so many items")
    liked: float | None = option("rating from which an item of these lists counts", "RATING")
    runs: str | None = option("folder to keep the trainings in, and to go on from", "FOLDER")


@command(
    "cross-validate",
    CrossValidate,
    "tenfold cross-validate ratings.csv --user user --item film --target stars",
    "tenfold cross-validate ratings.csv --user user --item film --target stars \\\n"
    "    --method gibbs --method als --method dot",
    recipes=(Recipe, FactorRecipe),
    without=("fold", "valid"),
)
def _cross_validate(asked: CrossValidate) -> None:
    """Hold out every row once, and score what was trained on the others.

    Each score comes with its mean and its deviation between folds. Several methods see the same folds,
    and are compared in pairs.
    """
    from tenfold.studies.crossval import cross_validate, recipes_of_methods

    choices, methods = asked.choices, asked.method or ()
    if methods:
        asked.choices = {}
    job = job_of(asked)
    recipes = recipes_of_methods(job.schema, methods, choices) if methods else job.recipe
    with Display() as display:
        found = cross_validate(
            job.schema,
            recipes,
            job.table,
            folds=asked.folds,
            repeats=asked.repeats,
            lists=asked.lists,
            liked=asked.liked,
            runs=asked.runs,
            on_progress=display.progress,
            on_note=display.note,
            time_format=asked.time_format if job.schema.rated else None,
            **fit_keywords(job.schema, asked, job.recipe, image=asked.image),
        )
    print_json(found.record()) if asked.as_json else show_cross_validated(found)


class Distill(ReadingOptions, MachineOptions, Json):
    """What ``tenfold distill`` takes. choices: of the recipe, by the names of its fields."""

    run: str = argument("run of pictures to learn from, a network or an ensemble", "RUN")
    table: str | None = option("table to train on [that of the run]", "TABLE")
    image: list[str] | None = option("folder of the pictures, instead of the run's", "COLUMN=FOLDER")
    alone: bool = option(
        "train the same network on the labels alone, too", "", "--alone/--no-alone", default=True
    )
    resume: bool = option("go on with unfinished trainings", default=False)
    output: str = option("run folder to make", "FOLDER", "-o", "--output", default=...)
    choices: Mapping[str, object] = MappingProxyType({})


@command(
    "distill",
    Distill,
    "tenfold distill runs/top --arch tf_efficientnet_lite0 --image-size 96 \\\n    -o runs/small",
    recipes=(Recipe,),
    without=("teacher", "start", "body", "hidden", "embedding", "body_dropout", "unknown_rate"),
)
def _distill(asked: Distill) -> None:
    """Train a small network on the answers of a large run.

    The same augmented view goes through both, and the small one learns the large one's probabilities. Split
    and seeds are the large one's. The same network is trained on the labels alone beside it, in
    FOLDER-labels.
    """
    from tenfold.runs.registry import load_run
    from tenfold.studies.distill import distill

    schema = load_run(asked.run).schema
    recipe = cast(Recipe, recipe_of(schema, {}, asked.choices))
    with Display() as display:
        distilled = distill(
            asked.run,
            recipe,
            output=asked.output,
            table=asked.table,
            compare=asked.alone,
            resume=asked.resume,
            on_progress=display.progress,
            on_note=display.note,
            **fit_keywords(schema, asked, recipe, image=asked.image),
        )
    print_json(distilled.record()) if asked.as_json else show_distilled(distilled)
