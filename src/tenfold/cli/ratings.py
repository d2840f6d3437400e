"""Commands for a recommender: lists, similar items, further ratings, and a look into its factors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from tenfold.cli.commands import command, show_written
from tenfold.cli.console import print_json
from tenfold.cli.options import Json, ListOutput, TableOptions, argument, option
from tenfold.cli.progress import Display
from tenfold.cli.request import refuse, table_options
from tenfold.cli.screen import show_inspection, show_update
from tenfold.errors import RecipeError, SchemaError, TableError

if TYPE_CHECKING:
    from tenfold.recommenders.run import RecommenderRun

#: Options of a table of further ratings; the first four name its columns, in the order of `ROLES`.
ROLES = ("user", "item", "rating", "time")
_NEW_RATINGS = (
    *("user_column", "item_column", "target", "time", "time_format", "skip_bad"),
    *("sep", "encoding", "header", "missing_values", "skip_lines", "comment"),
)


class Lists(ListOutput):
    """What is listed, and where the lists go."""

    run: str = argument("run folder", "RUN")
    n: int = option("length of the list", "", "-n", default=10)
    where: list[str] | None = option("only items with this value in the item table", "COLUMN=VALUE")


class NewRatingsOptions(TableOptions):
    """What the columns of a table of further ratings are."""

    user_column: str | None = option("its column of users, where it is not that of the run's table", "COLUMN")
    item_column: str | None = option("its column of items, by id or title", "COLUMN")
    target: str | None = option("its column of ratings, or of how often", "COLUMN")
    time: str | None = option("its column of times, or none: of a repeated pair the last counts", "COLUMN")
    time_format: str | None = option("seconds, milliseconds, iso, or a pattern as %d/%m/%Y", "FORMAT")
    skip_bad: bool = option("leave out its rows without an item or a rating", default=False)


class Recommend(Lists, NewRatingsOptions):
    """What ``tenfold recommend`` takes."""

    user: list[str] | None = option("user to recommend to", "ID")
    everyone: bool = option("for every user", "", "--all", default=False)
    include_seen: bool = option("also what the user has rated already", default=False)
    exclude: list[str] | None = option("item never to list", "ID")
    rank_by: str | None = option(
        "interest: what the user will take and like; rating: the highest ratings [interest]",
        "interest|rating",
    )
    new_items: bool = option("only items that nobody has rated, by their columns", default=False)
    reasons: int | None = option("rated items to name with each row [3, with --all 0]")
    ratings: str | None = option("table of further ratings, of a new user or of known ones", "FILE")


@command(
    "recommend",
    Recommend,
    "tenfold recommend runs/films --user 7 -n 20",
    "tenfold recommend runs/films --ratings mine.csv --where genre=drama",
    "tenfold recommend runs/films --all -o lists.csv",
)
def _recommend(asked: Recommend) -> None:
    """Rank the items that a user has not rated, best first.

    Each comes with the rated items that speak for it.
    """
    from tenfold.cli.write import write_lists

    with Display():
        run, users = recommender_of(_open(asked.run), asked)
        lists = run.recommend(
            users,
            n=asked.n,
            where=asked.where or (),
            include_seen=asked.include_seen,
            exclude=asked.exclude,
            reasons=asked.reasons,
            rank_by=asked.rank_by,
            new_items=asked.new_items,
        )
        written = write_lists(lists, asked)
    show_written(written, as_json=asked.as_json)


def _open(path: str) -> RecommenderRun:
    from tenfold.runs.registry import open_recommender

    return cast("RecommenderRun", open_recommender(path))


def recommender_of(run: RecommenderRun, asked: Recommend) -> tuple[RecommenderRun, list[str] | None]:
    """The run with the further ratings that are given, and for whom to recommend; None is everyone."""
    both = asked.user and asked.everyone
    if both or not (asked.user or asked.everyone or asked.ratings):
        raise RecipeError(
            "--all and --user exclude each other" if both else "for whom to recommend is not given",
            fix="give --user ID (more than once for several), --ratings FILE of a new user, or --all",
        )
    if not asked.ratings:
        refuse(asked, _NEW_RATINGS, "without --ratings, whose table it describes")
        return run, asked.user or None
    with _named_columns():
        run = run.with_ratings(asked.ratings, columns=_columns(asked), **_reading(asked))
    if asked.everyone:
        return run, None
    return run, asked.user or run.record.added_users


def _columns(asked: NewRatingsOptions) -> dict[str, str | None]:
    return {role: getattr(asked, name) for role, name in zip(ROLES, _NEW_RATINGS, strict=False)}


def _reading(asked: NewRatingsOptions) -> dict[str, Any]:
    return {"time_format": asked.time_format, "skip_bad": asked.skip_bad, **table_options(asked)}


@contextmanager
def _named_columns() -> Iterator[None]:
    """Faults of columns advise the options that name them."""
    try:
        yield
    except (SchemaError, TableError) as error:
        from tenfold.data.ratings.roles import OF_RUN

        fix = error.labels.get("fix", "")
        if fix.endswith(OF_RUN):
            column = "name it: --item-column, --target, --user-column or --time COLUMN"
            other = column if isinstance(error, SchemaError) else "give --time-format, or --time none"
            labels = {**error.labels, "fix": f"{fix}; or {other}"}
            raise type(error)(error.headline, problems=error.problems, **labels) from None
        raise


class Update(NewRatingsOptions, Json):
    """What ``tenfold update`` takes."""

    run: str = argument("run folder of ratings or events", "RUN")
    ratings: str = argument("table of new ratings", "TABLE")
    again: bool = option("count ratings of an earlier update a second time", default=False)
    accept_shift: bool = option("accept ratings far above or below what the run expects", default=False)


@command(
    "update",
    Update,
    "tenfold update runs/films new.csv",
    "tenfold update runs/films today.csv --user-column who --item-column film \\\n    --target stars",
)
def _update(asked: Update) -> None:
    """Learn new ratings, users and items without a new fit.

    The run is written anew, whole, and keeps a record of its updates. A message says when a full fit would
    pay.
    """
    started = time.monotonic()
    with Display() as display, _named_columns():
        before = _open(asked.run)
        run = before.update(
            asked.ratings,
            columns=_columns(asked),
            again=asked.again,
            accept_shift=asked.accept_shift,
            on_note=display.note,
            **_reading(asked),
        )
    updates = run.record.updates
    done = updates[-1] if len(updates) > len(before.record.updates) else None
    if asked.as_json:
        seconds = round(time.monotonic() - started, 3)
        print_json({"run": asked.run, "updates": len(updates), "update": done, "seconds": seconds})
    elif done is not None:
        show_update(asked.run, done, len(updates))


class Similar(Lists):
    """What ``tenfold similar`` takes."""

    item: list[str] | None = option("item to compare with [all]", "ID")


@command("similar", Similar, "tenfold similar runs/films --item 12")
def _similar(asked: Similar) -> None:
    """List the items most similar to an item.

    They are those with the largest cosine of their factors.
    """
    from tenfold.cli.write import write_lists

    with Display():
        lists = _open(asked.run).similar(asked.item or None, n=asked.n, where=asked.where or ())
        written = write_lists(lists, asked)
    show_written(written, as_json=asked.as_json)


class Inspect(Json):
    """What ``tenfold inspect`` takes."""

    run: str = argument("run folder of ratings", "RUN")
    n: int = option("users and items in the crosstab", "", "-n", default=15)
    output: str | None = option("HTML report, one file that needs nothing else", "FILE", "-o", "--output")


@command("inspect", Inspect, "tenfold inspect runs/films -o films.html")
def _inspect(asked: Inspect) -> None:
    """Look into a ratings run: gaps, biases, a map of the items."""
    from tenfold.recommenders.inspect import inspect_run, inspection_sections
    from tenfold.reports.html import write_page

    with Display():
        run = _open(asked.run)
        inspection = inspect_run(run, n=asked.n)
        if asked.output:
            page = run.page()
            sections = [*inspection_sections(inspection), *page.sections]
            write_page(asked.output, replace(page, sections=sections))
    print_json(inspection.record()) if asked.as_json else show_inspection(inspection, asked.output)
