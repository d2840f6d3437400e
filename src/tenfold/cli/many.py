"""Commands for many runs: ensembles, blends, their history, and competitions."""

from __future__ import annotations

from pathlib import Path

from tenfold.cli.commands import command
from tenfold.cli.console import print_json, say, tell
from tenfold.cli.options import (
    ClusterOptions,
    ColumnOptions,
    Json,
    MachineOptions,
    ReadingOptions,
    argument,
    option,
    options_of,
)
from tenfold.cli.progress import Display, MembersDisplay
from tenfold.cli.request import fit_keywords
from tenfold.cli.screen_many import show_blend, show_ensemble, show_history
from tenfold.errors import RecipeError
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.remedies import withhold

#: Options that an ensemble has in its recipe file: columns, and all that changes the answer.
PLANNED = (*options_of(ColumnOptions), *Recipe.model_fields, *FactorRecipe.model_fields)


class Ensemble(ReadingOptions, MachineOptions, ClusterOptions, Json):
    """What ``tenfold ensemble`` takes."""

    recipe: str | None = argument("the ensemble's recipe (.toml)", "FILE", optional=True)
    jobs: str | None = option(
        "members at once: a number, or auto (two where memory allows) [1; with --on all that fit]", "N|auto"
    )
    example: bool = option("print a complete recipe, and do nothing", default=False)
    output: str | None = option("folder to make", "FOLDER", "-o", "--output")


@command(
    "ensemble",
    Ensemble,
    "tenfold ensemble --example > recipe.toml",
    "tenfold ensemble recipe.toml -o runs/top",
    without=("probe",),
)
def _ensemble(asked: Ensemble) -> None:
    """Train the members of a recipe, and blend them.

    Each is trained in a fresh process. Run again, it skips what has finished, goes on with what has not, and
    trains anew only what has changed.
    """
    from tenfold.ensembles.example import EXAMPLE

    if asked.example:
        tell(EXAMPLE.rstrip())
        return
    from tenfold.data.tables.jobfile import read_ensemble
    from tenfold.ensembles.train import train_ensemble

    if asked.recipe is None:
        raise RecipeError("no recipe is given", fix="tenfold ensemble RECIPE.toml -o FOLDER, or --example")
    withhold((*PLANNED, "time", "time_format"), file=f"in {asked.recipe}")
    file = read_ensemble(asked.recipe)
    output = asked.output or file.output
    if not output:
        raise RecipeError("no folder is given", fix="give one with -o, for example -o runs/top")
    options = fit_keywords(file.schema, asked)
    with MembersDisplay() as display:
        run = train_ensemble(
            file,
            output=output,
            jobs=asked.jobs,
            on=asked.on,
            on_progress=display.progress,
            on_note=display.note,
            **options,
        )
    show_ensemble(run, as_json=asked.as_json)


class Blend(Json):
    """What ``tenfold blend`` takes."""

    runs: list[str] = argument("run folders of one kind", "RUN")
    method: str = option("how the weights are chosen", "weights|greedy|convex|best", default="weights")
    weights: str | None = option("a number for each run, as 1,2,1 [equal]", "WEIGHT,...")
    seed: int = option("seed of the parts in which learned weights are scored", default=0)
    output: str | None = option("folder to make", "FOLDER", "-o", "--output")


@command(
    "blend",
    Blend,
    "tenfold blend runs/one runs/two -o runs/both",
    "tenfold blend runs/one runs/two --method best -o runs/both",
)
def _blend(asked: Blend) -> None:
    """Make one run of several.

    Probabilities, numbers and ratings are averaged, lists are fused.
    """
    from tenfold.ensembles.blend import blend_runs

    if not asked.output:
        raise RecipeError("no folder is given", fix="give one with -o, for example -o runs/blend")
    try:
        weights = asked.weights and [float(part) for part in asked.weights.split(",")]
    except ValueError:
        raise RecipeError(
            f"--weights {asked.weights!r} are not numbers", fix="write a number for each run, as 1,2,1"
        ) from None
    with Display() as display:
        run = blend_runs(
            asked.runs,
            output=asked.output,
            weights=weights or None,
            method=asked.method,
            seed=asked.seed,
            on_note=display.note,
        )
    print_json(run.summary) if asked.as_json else show_blend(run.summary)


class Runs(Json):
    """What ``tenfold runs`` takes."""

    folder: str | None = argument("folder that holds the runs [runs]", "FOLDER", optional=True)
    plot: bool = option("draw the scores over time", default=False)
    score: tuple[str, float] | None = option("add a leaderboard's score to a run", "RUN SCORE")
    made: str | None = option("name the run that made this file of predictions", "FILE")
    output: str | None = option("HTML file for --plot [history.html in the folder]", "FILE", "-o", "--output")


@command(
    "runs", Runs, "tenfold runs", "tenfold runs --plot -o history.html", "tenfold runs --made submission.csv"
)
def _runs(asked: Runs) -> None:
    """List the runs of a folder, best first.

    With each are the changes since its parent, and the gain.
    """
    from tenfold.reports.pages import write_course
    from tenfold.runs.history import find_maker, read_history, record_score

    folder, output = asked.folder or "runs", asked.output
    if asked.plot and folder.lower().endswith((".html", ".htm")):
        folder, output = "runs", folder
    if asked.score:
        name, value = asked.score
        run, inside = Path(name), Path(folder) / name
        if len(run.parts) == 1 and (inside.is_dir() or not run.is_dir()):
            run = inside
        say(record_score(run, value))
        folder = asked.folder or str(run.parent)
    if asked.made:
        makers = find_maker(asked.made, folder)
        if asked.as_json:
            return print_json({"made": makers})
        for maker in makers:
            members = maker.get("members")
            what = f", of {', '.join(members)}" if members else ""
            tell(f"{asked.made}: made by {maker['run']}{what} on {maker['when']}")
        return None
    runs = read_history(folder, on_note=say)
    if asked.plot:
        page = output or str(Path(folder) / "history.html")
        write_course(page, folder, runs)
        say(f"picture: {page}")
    if asked.as_json:
        return print_json({"folder": folder, "runs": [run.record() for run in runs]})
    return show_history(runs)


class Data(Json):
    """What ``tenfold data`` takes."""

    competition: str = argument("its name, as in the address of its page", "COMPETITION")
    output: str | None = option("folder to make [the competition's name]", "FOLDER", "-o", "--output")
    max_size: str | None = option("limit of the unpacked files [100 times the download]", "SIZE")


@command("data", Data, "tenfold data titanic")
def _data(asked: Data) -> None:
    """Fetch and unpack a Kaggle competition's files."""
    from tenfold.memory.cards import parse_bytes
    from tenfold.studies.kaggle import fetch_competition

    most = None if asked.max_size is None else parse_bytes(asked.max_size).size_bytes
    fetched = fetch_competition(asked.competition, asked.output or asked.competition, most=most)
    if asked.as_json:
        return print_json(fetched)
    for name in fetched["files"]:
        tell(name)
    return tell(f"{len(fetched['files'])} files: {fetched['folder']}")


class Submit(Json):
    """What ``tenfold submit`` takes."""

    file: str = argument("file of predictions", "FILE")
    competition: str = argument("its name, as in the address of its page", "COMPETITION")
    message: str | None = option("note beside it [the run that made it]", "TEXT", "-m", "--message")
    runs: str = option("folder that holds the run that made it", "FOLDER", default="runs")


@command("submit", Submit, "tenfold submit submission.csv titanic")
def _submit(asked: Submit) -> None:
    """Hand in a file of predictions to a Kaggle competition."""
    from tenfold.studies.kaggle import submit_file

    sent = submit_file(asked.file, asked.competition, message=asked.message, runs=asked.runs)
    print_json(sent) if asked.as_json else tell(f"{sent['file']}: {sent['answer']}")
