"""Commands that ask a recommender: lists, similar items, and a look into its factors."""

from __future__ import annotations

from tenfold.cli.commands import Given, command, show_written
from tenfold.cli.options import JSON, OUTPUT, SAFE, TABLE, TIME_FORMAT, argument, option
from tenfold.cli.request import recommender_of
from tenfold.cli.screen import print_json, show_inspection

LISTS = (
    option("n", int, "how many", "-n", default=10),
    option(
        "where", list[str] | None, "COLUMN=VALUE of the item table, more than once for several", "--where"
    ),
    SAFE,
    OUTPUT,
    JSON,
)


@command(
    "recommend",
    argument("run", "run folder"),
    option("user", list[str] | None, "id of a user, more than once for several", "--user"),
    option("ratings", str | None, "table of further ratings, of a new user or of known ones"),
    option("user_column", str | None, "its column of users, where it is not that of the run's table"),
    option("item_column", str | None, "its column of items, by id or title"),
    option("target", str | None, "its column of ratings, or of how often"),
    option("time", str | None, "its column of times, or none: of a repeated pair the last counts"),
    TIME_FORMAT,
    *TABLE,
    option("skip_bad", bool, "leave out its rows without an item or a rating", "--skip-bad", default=False),
    option("everyone", bool, "for every user", "--all", default=False),
    option("include_seen", bool, "also what the user has rated already", "--include-seen", default=False),
    option("exclude", list[str] | None, "id of an item never to list", "--exclude"),
    option("reasons", int | None, "rated items to name with each row [3, with --all 0]"),
    *LISTS,
)
def _recommend(given: Given) -> None:
    """Rank the items that a user has not rated, best first, and say which rated ones speak for them."""
    from tenfold.cli.write import write_lists
    from tenfold.studies.predict import open_recommender

    run, users = recommender_of(open_recommender(given["run"]), given)
    kept = {name: given[name] for name in ("n", "include_seen", "exclude", "reasons")}
    found = run.recommend(users, where=given["where"] or (), **kept)
    written = write_lists(found, given)
    show_written(written, given)


@command(
    "similar",
    argument("run", "run folder"),
    option(
        "item", list[str] | None, "id of an item, more than once for several; all where not given", "--item"
    ),
    *LISTS,
)
def _similar(given: Given) -> None:
    """List the items whose factors point the same way: the cosine, from -1 to 1."""
    from tenfold.cli.write import write_lists
    from tenfold.studies.predict import open_recommender

    run = open_recommender(given["run"])
    found = run.similar(given["item"] or None, n=given["n"], where=given["where"] or ())
    written = write_lists(found, given)
    show_written(written, given)


@command(
    "inspect",
    argument("run", "run folder of ratings"),
    option("n", int, "users and items in the crosstab", "-n", default=15),
    option("output", str | None, "HTML report, one file that needs nothing else", "-o", "--output"),
    JSON,
)
def _inspect(given: Given) -> None:
    """Look into a ratings run: the table and its gaps, biases, a map of the items, look-ups."""
    from tenfold.recommenders.inspect import inspect_run, inspection_sections
    from tenfold.recommenders.page import ratings_page
    from tenfold.reports.html import write_report
    from tenfold.studies.predict import open_recommender

    run = open_recommender(given["run"])
    found = inspect_run(run, n=given["n"])
    if given["output"]:
        title, lead, sections, _ = ratings_page(run.path, run.about)
        write_report(given["output"], title, [*sections, *inspection_sections(found)], lead=lead)
    print_json(found.record()) if given["as_json"] else show_inspection(found, given["output"])
