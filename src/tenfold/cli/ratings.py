"""Commands that ask a recommender: lists, similar items, and a look into its factors."""

from tenfold.cli.commands import Given, command, show_written
from tenfold.cli.options import Json, ListOutput, TableOptions, argument, option
from tenfold.cli.request import recommender_of
from tenfold.cli.screen import print_json, show_inspection


class Lists(ListOutput):
    """What is listed, and where the lists go."""

    run: str = argument("run folder", "RUN")
    n: int = option("how many", "", "-n", default=10)
    where: list[str] | None = option("only items with this value in the item table", "COLUMN=VALUE")


class Recommend(Lists, TableOptions):
    """What ``tenfold recommend`` takes."""

    user: list[str] | None = option("user to recommend to", "ID")
    everyone: bool = option("for every user", "", "--all", default=False)
    include_seen: bool = option("also what the user has rated already", default=False)
    exclude: list[str] | None = option("item never to list", "ID")
    reasons: int | None = option("rated items to name with each row [3, with --all 0]")
    ratings: str | None = option("table of further ratings, of a new user or of known ones", "FILE")
    user_column: str | None = option("its column of users, where it is not that of the run's table", "COLUMN")
    item_column: str | None = option("its column of items, by id or title", "COLUMN")
    target: str | None = option("its column of ratings, or of how often", "COLUMN")
    time: str | None = option("its column of times, or none: of a repeated pair the last counts", "COLUMN")
    time_format: str | None = option("seconds, milliseconds, iso, or a pattern as %d/%m/%Y", "FORMAT")
    skip_bad: bool = option("leave out its rows without an item or a rating", default=False)


@command(
    "recommend",
    Recommend,
    "tenfold recommend runs/films --user 7 -n 20",
    "tenfold recommend runs/films --ratings mine.csv --where genre=drama",
    "tenfold recommend runs/films --all -o lists.csv",
)
def _recommend(given: Given) -> None:
    """Rank the items that a user has not rated, best first.

    Each comes with the rated items that speak for it.
    """
    from tenfold.cli.write import write_lists
    from tenfold.runs.registry import open_recommender

    run, users = recommender_of(open_recommender(given["run"]), given)
    kept = {name: given[name] for name in ("n", "include_seen", "exclude", "reasons")}
    found = run.recommend(users, where=given["where"] or (), **kept)
    written = write_lists(found, given)
    show_written(written, as_json=given["as_json"])


class Similar(Lists):
    """What ``tenfold similar`` takes."""

    item: list[str] | None = option("item to compare with [all]", "ID")


@command("similar", Similar, "tenfold similar runs/films --item 12")
def _similar(given: Given) -> None:
    """List the items most similar to an item, by the cosine of their factors."""
    from tenfold.cli.write import write_lists
    from tenfold.runs.registry import open_recommender

    run = open_recommender(given["run"])
    found = run.similar(given["item"] or None, n=given["n"], where=given["where"] or ())
    written = write_lists(found, given)
    show_written(written, as_json=given["as_json"])


class Inspect(Json):
    """What ``tenfold inspect`` takes."""

    run: str = argument("run folder of ratings", "RUN")
    n: int = option("users and items in the crosstab", "", "-n", default=15)
    output: str | None = option("HTML report, one file that needs nothing else", "FILE", "-o", "--output")


@command("inspect", Inspect, "tenfold inspect runs/films -o films.html")
def _inspect(given: Given) -> None:
    """Look into a ratings run: gaps, biases, a map of the items."""
    from tenfold.recommenders.inspect import inspect_run, inspection_sections
    from tenfold.reports.html import write_report
    from tenfold.runs.registry import open_recommender

    run = open_recommender(given["run"])
    found = inspect_run(run, n=given["n"])
    if given["output"]:
        page = run.page()
        sections = [*page.sections, *inspection_sections(found)]
        write_report(given["output"], page.title, sections, lead=page.lead)
    print_json(found.record()) if given["as_json"] else show_inspection(found, given["output"])
