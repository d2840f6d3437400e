"""Commands for many runs: ensembles, blends, their history, and competitions."""

from __future__ import annotations

from pathlib import Path

import typer

from tenfold.cli.commands import Given, command
from tenfold.cli.options import COLUMNS, JSON, MACHINE, OUTPUT, READING, argument, option
from tenfold.cli.request import wing_options
from tenfold.cli.screen import print_json, say, tell
from tenfold.cli.screen_many import MembersDisplay, show_blend, show_history
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.remedies import withhold

#: What the recipe says, of an ensemble: columns, and whatever changes the answer.
PLANNED = (*(one.name for one in COLUMNS), *Recipe.model_fields, *FactorRecipe.model_fields)


@command(
    "ensemble",
    argument("recipe", "the ensemble's recipe (.toml)", optional=True),
    option("jobs", str, "members at once: a number, or auto (two where memory allows)", default="1"),
    *READING,
    *[one for one in MACHINE if one.name != "probe"],
    option("example", bool, "print a complete recipe, and do nothing", "--example", default=False),
    OUTPUT,
    JSON,
)
def _ensemble(given: Given) -> None:
    """Train the members of a recipe, each in a fresh process, and blend them.

    Run again, it skips what has finished, goes on with what has not, and trains anew only what has changed.
    """
    from tenfold.ensembles.example import EXAMPLE

    if given["example"]:
        tell(EXAMPLE.rstrip())
        return
    from tenfold.data.tables.jobfile import read_ensemble
    from tenfold.ensembles.train import train_ensemble
    from tenfold.errors import RecipeError

    if given["recipe"] is None:
        raise RecipeError("no recipe is given", fix="tenfold ensemble RECIPE.toml -o FOLDER, or --example")
    withhold((*PLANNED, "time", "time_format"), file=f"in {given['recipe']}")
    file = read_ensemble(given["recipe"])
    output = given["output"] or file.output
    if not output:
        raise RecipeError("no folder is given", fix="give one with -o, for example -o runs/top")
    options = wing_options(file.schema, {**given, "probe": False, "image": None})
    with MembersDisplay() as display:
        found = train_ensemble(
            file,
            output=output,
            jobs=given["jobs"],
            on_progress=display.progress,
            on_note=display.note,
            **options,
        )
    print_json(found.summary) if given["as_json"] else show_blend(found.summary)
    if found.failed:
        say(f"{len(found.failed)} members failed and are not in the blend: {', '.join(found.failed)}")
        raise typer.Exit(1)


@command(
    "blend",
    argument("runs", "run folders of one kind", many=True),
    option("weights", str | None, "one number a run, as 1,2,1 [all alike]"),
    option("method", str, "weights, greedy, convex, or best", default="weights"),
    option("seed", int, "of the parts in which learned weights are scored", default=0),
    OUTPUT,
    JSON,
)
def _blend(given: Given) -> None:
    """Make one run of several: probabilities, numbers and ratings are averaged, lists are fused."""
    from tenfold.ensembles.blend import blend_request

    found = blend_request(given, say)
    print_json(found.summary) if given["as_json"] else show_blend(found.summary)


@command(
    "runs",
    argument("folder", "folder that holds the runs [runs]", optional=True),
    option("plot", bool, "draw the scores over time", "--plot", default=False),
    option("output", str | None, "HTML file for that [history.html in the folder]", "-o", "--output"),
    option("score", tuple[str, float] | None, "RUN SCORE: add a leaderboard's score to a run"),
    option("made", str | None, "FILE: say which run made this file of predictions"),
    JSON,
)
def _runs(given: Given) -> None:
    """List the runs of a folder, best first, with what changed since each one's parent, and the gain."""
    from tenfold.reports.charts import course_charts
    from tenfold.reports.html import write_charts
    from tenfold.runs.history import course_of, find_maker, read_history, record_score

    folder = given["folder"] or "runs"
    if given["plot"] and folder.lower().endswith((".html", ".htm")):
        folder, given["output"] = "runs", folder
    if given["score"]:
        name, value = given["score"]
        inside = Path(folder) / name
        run = inside if inside.is_dir() or not Path(name).is_dir() else Path(name)
        say(record_score(run if len(Path(name).parts) == 1 else name, value))
        folder = given["folder"] or str(Path(run if len(Path(name).parts) == 1 else name).parent)
    if given["made"]:
        found = find_maker(given["made"], folder)
        if given["as_json"]:
            return print_json({"made": [dict(one) for one in found]})
        for one in found:
            members = f", of {', '.join(one['members'])}" if one.get("members") else ""
            tell(f"{given['made']}: made by {one['run']}{members} on {one['when']}")
        return None
    runs = read_history(folder, on_note=say)
    if given["plot"]:
        page = given["output"] or str(Path(folder) / "history.html")
        write_charts(page, f"Runs of {folder}", course_charts(course_of(runs)))
        say(f"picture: {page}")
    if given["as_json"]:
        return print_json({"folder": folder, "runs": [one.record() for one in runs]})
    return show_history(runs)


@command(
    "data",
    argument("competition", "its name, as in the address of its page"),
    option("output", str | None, "folder to make [the competition's name]", "-o", "--output"),
    option("max_size", str | None, "most that its files may take, unpacked [100 times what was fetched]"),
    JSON,
)
def _data(given: Given) -> None:
    """Fetch and unpack a Kaggle competition's files."""
    from tenfold.memory.cards import parse_bytes
    from tenfold.studies.kaggle import fetch_competition

    most = None if given["max_size"] is None else parse_bytes(given["max_size"]).size_bytes
    found = fetch_competition(given["competition"], given["output"] or given["competition"], most=most)
    if given["as_json"]:
        return print_json(found)
    for name in found["files"]:
        tell(name)
    return tell(f"{len(found['files'])} files: {found['folder']}")


@command(
    "submit",
    argument("file", "file of predictions"),
    argument("competition", "its name, as in the address of its page"),
    option("message", str | None, "what is said of it [the run that made it]", "-m", "--message"),
    option("runs", str, "folder that holds the run that made it", default="runs"),
    JSON,
)
def _submit(given: Given) -> None:
    """Hand in a file of predictions to a Kaggle competition."""
    from tenfold.studies.kaggle import submit_file

    found = submit_file(given["file"], given["competition"], message=given["message"], runs=given["runs"])
    print_json(found) if given["as_json"] else tell(f"{found['file']}: {found['answer']}")
