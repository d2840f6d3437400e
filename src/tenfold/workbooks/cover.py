"""The first two sheets of a workbook about rows: what is where, and the rows with their answers."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.workbooks.rows import Answered, TargetRows, mean_or_words
from tenfold.workbooks.workbook import Sheet


def rows_sheet(
    sheet: Sheet,
    ids: Sequence[str],
    why: Sequence[str],
    targets: Sequence[TargetRows],
    answered: Sequence[Answered],
) -> None:
    """A line to each row: why it was chosen, and of each target its label, answer and loss."""
    sheet.text(0, 0, "The rows that are explained", "title")
    lead = "Labels, answers and losses are those of the target's own sheet, and follow it."
    if any(own.loss_word != "loss" for own in answered):
        lead += (
            " Probabilities are those that the run gives, calibrated; the training loss is that of the raw"
            " outputs, with label smoothing where there is some, and so not their logarithm."
        )
    sheet.text(1, 0, lead, "lead")
    sheet.texts(3, 0, ["row", "chosen because"], "head_left")
    for column, (target, own) in zip(range(2, 2 + 4 * len(answered), 4), zip(targets, answered, strict=True)):
        sheet.texts(2, column, [target.name, "", "", ""], "head")
        sheet.texts(3, column, ["label", "answer", own.sure_word, own.loss_word], "head")
        for row in range(len(ids)):
            sheet.formula(4 + row, column, own.label_at(row), own.label_words[row], "word")
            sheet.formula(4 + row, column + 1, own.answer_at(row), own.answers[row], "word")
            sheet.formula(4 + row, column + 2, own.sure_at(row), own.sure[row], own.sure_style)
            sheet.formula(4 + row, column + 3, own.loss_at(row), own.losses[row])
    for row, (name, reason) in enumerate(zip(ids, why, strict=True)):
        sheet.text(4 + row, 0, name, "id")
        sheet.text(4 + row, 1, reason, "id")
    sheet.freeze(4, 1)
    sheet.widths((0, 0, 26), (1, 1, 30), (2, 1 + 4 * len(answered), 14))


def first_sheet(
    sheet: Sheet,
    run: str,
    about: Sequence[str],
    texts: Sequence[tuple[Sheet, str]],
    targets: Sequence[TargetRows],
    answered: Sequence[Answered],
) -> int:
    """Write an introduction, and whether the workbook agrees with the model; return the line below.

    about: lines about the run.  texts: sheets, and what each shows.
    """
    line = introduce(
        sheet, f"How {run} comes to its answers", about, texts,
        "a number or word to change: features, weights, labels, answers of members",
        "a formula whose answer matters: a loss, an answer",
    )  # fmt: skip
    sheet.texts(
        line, 0, ["this workbook against the model", "largest difference", "", "mean loss"], "head_left"
    )
    for row, (target, own) in enumerate(zip(targets, answered, strict=True), line + 1):
        sheet.text(row, 0, target.name, "id")
        sheet.formula(row, 1, own.gap_at, own.gap, "tiny")
        sheet.formula(row, 3, own.mean_at, mean_or_words(own.mean))
    end = line + 1 + len(answered)
    text = "Until you change a cell, what differs are the last digits of the network's own precision."
    sheet.text(end + 1, 0, text, "lead")
    sheet.text(end + 2, 0, "Answers that are numbers are compared in units of their deviation.", "lead")
    sheet.widths((0, 0, 34), (1, 1, 64), (2, 2, 3), (3, 3, 14))
    return end


def introduce(
    sheet: Sheet,
    title: str,
    about: Sequence[str],
    texts: Sequence[tuple[Sheet, str]],
    given: str,
    result: str,
) -> int:
    """Write lines about the run, the list of sheets, and what the colours mean; return the next line.

    given, result: what cells of these colours hold.
    """
    sheet.text(0, 0, title, "title")
    lead = "Numbers that are not yellow are formulas: change a yellow cell and all follows."
    sheet.text(1, 0, lead, "lead")
    for line, text in enumerate(about, 3):
        sheet.text(line, 0, text, "lead")
    line = 4 + len(about)
    sheet.texts(line, 0, ["sheet", "what it shows"], "head_left")
    for row, (other, text) in enumerate(texts, line + 1):
        sheet.link(row, 0, other)
        sheet.text(row, 1, text, "id")
    line += len(texts) + 2
    sheet.texts(line, 0, ["colour", "what it means"], "head_left")
    colours = {"given": given, "calc": "a formula", "result": result}
    for row, (style, text) in enumerate(colours.items(), line + 1):
        sheet.text(row, 0, "", style)
        sheet.text(row, 1, text, "id")
    return line + 5
