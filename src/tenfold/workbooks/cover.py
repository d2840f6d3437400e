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
    if any(one.loss_word != "loss" for one in answered):
        lead += (
            " Probabilities are those that the run gives, calibrated; the training loss is that of the raw"
            " outputs, with label smoothing where there is some, and so not their logarithm."
        )
    sheet.text(1, 0, lead, "lead")
    sheet.texts(3, 0, ["row", "chosen because"], "head_left")
    for place, (target, one) in enumerate(zip(targets, answered, strict=True)):
        column = 2 + 4 * place
        sheet.texts(2, column, [target.name, "", "", ""], "head")
        sheet.texts(3, column, ["label", "answer", one.sure_word, one.loss_word], "head")
        for row in range(len(ids)):
            for shift, style, cell, value in (
                (0, "word", one.label_at(row), one.label_words[row]),
                (1, "word", one.answer_at(row), one.answers[row]),
                (2, one.sure_style, one.sure_at(row), one.sure[row]),
                (3, "calc", one.loss_at(row), one.losses[row]),
            ):
                sheet.formula(4 + row, column + shift, cell, value, style)
    for row, (name, reason) in enumerate(zip(ids, why, strict=True)):
        sheet.text(4 + row, 0, name, "id")
        sheet.text(4 + row, 1, reason, "id")
    sheet.freeze(4, 1)
    sheet.widths((0, 0, 26), (1, 1, 30), (2, 1 + 4 * len(answered), 14))


def first_sheet(
    sheet: Sheet,
    run: str,
    said: Sequence[str],
    texts: Sequence[tuple[Sheet, str]],
    targets: Sequence[TargetRows],
    answered: Sequence[Answered],
) -> int:
    """What this is, where what is, what the colours mean, and whether it agrees with the model.

    said: lines about the run.  texts: sheets, and what each shows.  Returns the line below the comparison.
    """
    sheet.text(0, 0, f"How {run} comes to its answers", "title")
    lead = "Numbers that are not yellow are formulas: change a yellow cell and all follows."
    sheet.text(1, 0, lead, "lead")
    line = 3
    for text in said:
        sheet.text(line, 0, text, "lead")
        line += 1
    line += 1
    sheet.texts(line, 0, ["sheet", "what it shows"], "head_left")
    for place, (one, text) in enumerate(texts, line + 1):
        sheet.link(place, 0, one)
        sheet.text(place, 1, text, "id")
    line += len(texts) + 2
    sheet.texts(line, 0, ["colour", "what it means"], "head_left")
    for place, (style, text) in enumerate(
        (("given", "a number or word to change: features, weights, labels, answers of members"),
         ("calc", "a formula"), ("result", "a formula whose answer matters: a loss, an answer"))
    ):  # fmt: skip
        sheet.text(line + 1 + place, 0, "", style)
        sheet.text(line + 1 + place, 1, text, "id")
    line += 5
    sheet.texts(
        line, 0, ["this workbook against the model", "largest difference", "", "mean loss"], "head_left"
    )
    for place, (target, one) in enumerate(zip(targets, answered, strict=True), line + 1):
        sheet.text(place, 0, target.name, "id")
        sheet.formula(place, 1, one.gap_at, one.gap, "tiny")
        sheet.formula(place, 3, one.mean_at, mean_or_words(one.mean))
    end = line + 1 + len(answered)
    text = "Until you change a cell, what differs are the last digits of the network's own precision."
    sheet.text(end + 1, 0, text, "lead")
    sheet.text(end + 2, 0, "Answers that are numbers are compared in units of their deviation.", "lead")
    sheet.widths((0, 0, 34), (1, 1, 64), (2, 2, 3), (3, 3, 14))
    return end
