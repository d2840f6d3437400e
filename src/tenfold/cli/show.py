"""Commands that show what a run does: live spreadsheets of its arithmetic, and a report on one page."""

from __future__ import annotations

from tenfold.cli.commands import Given, command
from tenfold.cli.options import DEVICE, JSON, OUTPUT, PICTURES, READING, argument, option
from tenfold.cli.screen import Display, print_json, say, show_explained, tell


@command(
    "explain",
    argument("run", "run folder"),
    argument(
        "rows", "ids of rows (of ratings: users); telling ones if none is given", optional=True, many=True
    ),
    option(
        "table", str | None, "table, or folder of pictures, with the rows; the training's where not given"
    ),
    PICTURES,
    option("item", list[str] | None, "ratings: id of an item, more than once for several", "--item"),
    option("n", int | None, "rows, or users and items, at most [12]", "-n"),
    *READING,
    DEVICE,
    OUTPUT,
    JSON,
)
def _explain(given: Given) -> None:
    """Write a workbook whose formulas compute answers and losses again: live spreadsheets."""
    from tenfold.cli.request import explaining_of
    from tenfold.studies.explain import explain
    from tenfold.studies.predict import load_run

    run = load_run(given["run"])
    with Display() as display:
        options = explaining_of(run, given, display.progress)
        found = explain(run, given["rows"] or (), output=given["output"], **options)
    print_json(found) if given["as_json"] else show_explained(found)


@command(
    "report",
    argument("run", "run folder"),
    PICTURES,
    option("worst", int, "pictures of the rows with the highest loss, per target", default=12),
    OUTPUT,
    JSON,
)
def _report(given: Given) -> None:
    """Write what a run did as one HTML page that needs nothing else: curves, confusion, worst rows."""
    from tenfold.reports.report import write_run_report
    from tenfold.schema import parse_image

    folders = {column.name: column.folder for column in map(parse_image, given["image"] or ())}
    found = write_run_report(given["run"], given["output"], folders=folders, worst=given["worst"])
    if given["as_json"]:
        return print_json(found)
    for note in found["notes"]:
        say(note)
    return tell(f"report: {found['output']}")
