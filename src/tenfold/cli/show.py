"""Commands that write what a run does: live spreadsheets, a page, a graph for other programs."""

from __future__ import annotations

from tenfold.cli.commands import command
from tenfold.cli.console import print_json, say, tell
from tenfold.cli.options import AskOptions, Json, ViewOptions, argument, option
from tenfold.cli.progress import Display
from tenfold.cli.screen import show_explained, show_exported


class Explain(AskOptions, Json):
    """What ``tenfold explain`` takes."""

    run: str = argument("run folder", "RUN")
    rows: list[str] | None = argument(
        "rows, or users of ratings, by id [representative ones]", "ID", optional=True
    )
    table: str | None = option("table, or folder of pictures, with the rows [that of the training]", "TABLE")
    item: list[str] | None = option("ratings: item to explain", "ID")
    n: int | None = option("rows, or users and items, at most [12]", "", "-n")
    output: str | None = option(
        "workbook to write [explain.xlsx in the run folder]", "FILE", "-o", "--output"
    )


@command(
    "explain",
    Explain,
    "tenfold explain runs/leaves -o leaves.xlsx",
    "tenfold explain runs/films 7 12 --item 40",
    without=("views", "tta", "plain_weight"),
)
def _explain(asked: Explain) -> None:
    """Write a workbook whose formulas compute the answers again.

    Answers and losses are live formulas, from the features to the last cell.
    """
    from tenfold.cli.request import reading_of
    from tenfold.runs.options import ExplainOptions
    from tenfold.runs.registry import load_run

    run = load_run(asked.run)
    with Display() as display:
        options = ExplainOptions(
            table=asked.table,
            items=asked.item or (),
            n=12 if asked.n is None else asked.n,
            reading=reading_of(asked, asked.image, None if run.schema.rated else display.progress),
            device=asked.device,
        )
        explained = run.write_explanation(asked.rows or (), options, asked.output)
    print_json(explained) if asked.as_json else show_explained(explained)


class Report(ViewOptions, Json):
    """What ``tenfold report`` takes."""

    runs: list[str] = argument("run folder; several are compared side by side", "RUN")
    worst: int = option("pictures of the rows with the highest loss, per target", default=12)
    output: str | None = option(
        "page to write [report.html in the run folder; of several, comparison.html beside it]",
        "FILE",
        "-o",
        "--output",
    )


@command(
    "report",
    Report,
    "tenfold report runs/leaves -o leaves.html",
    "tenfold report runs/leaves runs/larger -o both.html",
    without=("views", "tta", "plain_weight"),
)
def _report(asked: Report) -> None:
    """Write a run's page, or compare several on one.

    It is one HTML file that needs nothing else: scores, samples, confusion, curves. Of several runs: their
    scores, how they differ on the rows that they share, and which settings differ.
    """
    from tenfold.runs.registry import load_run
    from tenfold.schema import parse_image

    folders = {column.name: column.folder for column in map(parse_image, asked.image or ())}
    with Display():
        runs = [load_run(name) for name in asked.runs]
    if len(runs) > 1:
        from tenfold.reports.comparison import write_comparison

        written = write_comparison(runs, asked.output)
    else:
        written = runs[0].write_page(asked.output, folders=folders, worst=asked.worst)
    if asked.as_json:
        return print_json(written)
    for note in written["notes"]:
        say(note)
    return tell(f"report: {written['output']}")


class Export(AskOptions, Json):
    """What ``tenfold export`` takes."""

    run: str = argument("run folder", "RUN")
    output: str = option(
        "graph to write; its description goes beside it", "FILE", "-o", "--output", default=...
    )
    table: str | None = option("table with rows to check it on [held-out rows of the training]", "TABLE")
    n: int = option("rows to check it on, at most", "", "-n", default=32)
    resize: bool = option(
        "whether it takes pictures of any size, or only of the network's",
        "",
        "--resize/--no-resize",
        default=True,
    )


@command(
    "export",
    Export,
    "tenfold export runs/leaves -o leaves.onnx",
    "tenfold export runs/films -o films.onnx",
    without=("plain_weight", "device"),
)
def _export(asked: Export) -> None:
    """Write a run as a graph of ONNX that other programs and languages run.

    The graph takes pictures and cells as they are, and answers as the run does: it is checked on held-out
    rows before it is written. Needs the extra onnx. docs/deploy.md says how to call it.
    """
    from tenfold.cli.request import reading_of
    from tenfold.runs.options import ExportOptions
    from tenfold.runs.registry import load_run

    run = load_run(asked.run)
    with Display() as display:
        reading = reading_of(asked, asked.image, None if run.schema.rated else display.progress)
        options = ExportOptions(
            asked.table, asked.n, reading, resize=asked.resize, views=asked.views, tta=asked.tta
        )
        exported = run.export(asked.output, options)
    print_json(exported) if asked.as_json else show_exported(exported)
