"""Commands that ask a run about the rows of a table."""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from tenfold.cli.commands import command, show_run, show_written
from tenfold.cli.console import print_json, say
from tenfold.cli.options import AnswerOutput, AskOptions, Json, argument, option
from tenfold.cli.progress import Display
from tenfold.cli.request import predict_options, refuse
from tenfold.errors import RecipeError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tenfold.recommenders.run import RecommenderRun
    from tenfold.runs.run import Run

#: Options of a sample submission.
_FILLING = ("column", "probability", "fill_missing")


class Predict(AskOptions, AnswerOutput):
    """What ``tenfold predict`` takes."""

    run: str = argument("run folder", "RUN")
    table: list[str] | None = argument(
        "table, folder of pictures, pictures, or - for standard input", "TABLE|PICTURE...", optional=True
    )
    row: list[str] | None = option("a value of a single row, in place of a table", "COLUMN=VALUE")
    id: str | None = option("column of the table that names a row, instead of the run's", "COLUMN")
    user: list[str] | None = option("ratings: a user, in place of a table", "ID")
    item: list[str] | None = option("ratings: an item, one to each user", "ID")


@command(
    "predict",
    Predict,
    "tenfold predict runs/leaves test.csv -o answers.csv",
    "tenfold predict runs/leaves test.csv --like sample.csv -o submission.csv",
    "tenfold predict runs/leaves photo.jpg",
    "tenfold predict runs/passengers --row Sex=female --row Age=22",
    "tenfold predict runs/films --user 7 --item 12 --item 40",
)
def _predict(asked: Predict) -> None:
    """Predict the rows of a table, the pictures of a folder, or a few pictures or values as they are.

    A table or folder needs an output file; the answers to a few are printed.
    """
    from tenfold.cli.write import write_answers
    from tenfold.runs.history import record_submission
    from tenfold.runs.registry import load_run

    run = load_run(asked.run)
    with Display() as display, typed_input(asked) as given:
        rows = rows_of(run, asked, given)
        options = predict_options(run, asked, display.progress, display.note)
        answers = run.predict(rows, replace(options, id=asked.id or None, members=asked.members))
    written = write_answers(answers, asked, id_name=asked.id or run.schema.row_name or "line")
    for note in record_submission(run.path, written.get("output", ""), like=asked.like or ""):
        say(note)
    show_written(written, as_json=asked.as_json)
    if written.get("failed"):
        raise typer.Exit(1)


class Evaluate(AskOptions, Json):
    """What ``tenfold evaluate`` takes."""

    run: str = argument("run folder", "RUN")
    table: str = argument("table whose answers are known", "TABLE")
    lists: int | None = option("ratings: score the lists of so many items, too")
    liked: float | None = option("ratings: from which rating on a test item counts as liked")
    rank_by: str | None = option("ratings: order of these lists, as of recommend", "interest|rating")
    candidates: str | None = option(
        "ratings: items of these lists, of all users or of each [all items]", "FILE"
    )
    negatives: int | None = option("ratings: rank test items among so many drawn at random [all items]")
    fold_in: float | None = option("ratings: learn this fraction of each new user's rows first, as 0.8")


@command(
    "evaluate",
    Evaluate,
    "tenfold evaluate runs/leaves test.csv",
    "tenfold evaluate runs/films test.csv --lists 10 --liked 4",
    "tenfold evaluate runs/films new-users.csv --lists 10 --fold-in 0.8",
)
def _evaluate(asked: Evaluate) -> None:
    """Score a run on rows whose answer is known."""
    from tenfold.runs.registry import load_run

    run = load_run(asked.run)
    with Display() as display:
        options = predict_options(run, asked, display.progress, display.note)
        asked_for = {name: getattr(asked, name) for name in ("rank_by", "candidates", "negatives", "fold_in")}
        options = replace(options, n=asked.lists, relevant_from=asked.liked, **asked_for)
        scores = run.evaluate(asked.table, options)
    print_json(scores) if asked.as_json else show_run(scores)


@contextmanager
def typed_input(asked: Predict) -> Iterator[list[str]]:
    """The names of what is to be predicted, where ``-`` is a file with what standard input holds."""
    names = asked.table or []
    if "-" not in names:
        yield names
        return
    with tempfile.TemporaryDirectory(prefix="tenfold-") as folder:
        file = Path(folder) / "standard-input"
        file.write_bytes(sys.stdin.buffer.read())
        yield [str(file) if name == "-" else name for name in names]


def rows_of(run: Run, asked: Predict, names: Sequence[str] | None = None) -> object:
    """Return the rows to predict: a table, pictures, a row, or the pairs of ``--user`` and ``--item``.

    names: of the table or the pictures, where they are not those that were typed.

    It also checks the output options, before the predictions, which may take long.
    """
    if asked.members and not run.members:
        raise RecipeError(
            f"--members asks for the members of a blend, and {run.path} is a single run",
            fix="leave it out, or give the folder of an ensemble",
        )
    from tenfold.networks.asked import is_photo

    names = asked.table or [] if names is None else names
    alone = bool(asked.row) or asked.table == ["-"] or len(names) > 1 or any(map(is_photo, names))
    _check_output(run, asked, needed=not alone)
    if asked.row:
        if names or asked.user or asked.item:
            raise SchemaError("--row stands for a table", fix="give either of them")
        pairs = [text.partition("=") for text in asked.row]
        if not all(equals and name.strip() for name, equals, _ in pairs):
            raise SchemaError(f"--row {asked.row[0]!r} is not COLUMN=VALUE", fix="write --row Age=22")
        row = {name.strip(): value for name, _, value in pairs}
        if len(row) < len(pairs):
            twice = next(name for name in row if sum(name == own.strip() for own, _, _ in pairs) > 1)
            raise SchemaError(
                f"--row gives {twice} more than once, and it stands for a single row",
                fix="give each column once; several rows are a table, which - reads from standard input",
            )
        return row
    if not asked.user and not asked.item:
        if not names:
            raise SchemaError("no table is given", fix="tenfold predict RUN TABLE -o FILE")
        return names[0] if len(names) == 1 else list(names)
    if names or not run.schema.rated:
        raise SchemaError(
            "--user and --item stand for a table of pairs of a ratings run",
            fix="give either a table, or --user ID --item ID and a ratings run",
        )
    users, items = asked.user or (), asked.item or ()
    if not items or (len(users) != len(items) and len(users) != 1):
        raise SchemaError(
            f"{len(users)} --user and {len(items)} --item make no pairs", fix="give one --item to each --user"
        )
    from tenfold.collab.ids import as_ids, find_items

    found, notes = find_items(cast("RecommenderRun", run).interactions, as_ids(items))
    for note in notes:
        say(note)
    return {"user": list(users) * (len(items) if len(users) == 1 else 1), "item": found.tolist()}


def _check_output(run: Run, asked: Predict, *, needed: bool) -> None:
    if run.schema.rated:
        names = ("like", "probabilities", "id", "row", *_FILLING)
        return refuse(asked, names, "where ratings are predicted, not classes")
    if not asked.output and (needed or asked.like):
        raise RecipeError("no output file is given", fix="give one with -o, for example -o submission.csv")
    if asked.like:
        refuse(
            asked,
            ("probabilities", "members", "spreadsheet_safe"),
            "beside --like, whose file is filled in as it is",
        )
    else:
        refuse(asked, _FILLING, "without --like, the sample submission that it describes")
    return None
