"""A workbook of a factor model: users by items, their factors and biases, predictions and errors as formulas.

All that a solver may change is on the same sheet as its target cell, as spreadsheets' solvers demand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tenfold.workbooks.cover import introduce
from tenfold.workbooks.workbook import Block, Book, Sheet

Floats = NDArray[np.float64]
#: Cells that Excel's own solver changes at most.
SOLVED = 200


@dataclass(frozen=True)
class ExplainedRatings:
    """Some users and some items of a factor model.

    names: the items' titles.  rating: (users, items), NaN where missing.
    user_bias (users,), item_bias (items,), user_factors (users, factors), item_factors (items, factors).
    range: ends of the sigmoid, or None.  scale: what predictions are cut to, or None (scores of events).
    predicted: (users, items), the model's own.
    """

    run: str
    trained: Sequence[str]
    users: Sequence[str]
    items: Sequence[str]
    names: Sequence[str]
    rating: Floats
    mean: float
    user_bias: Floats
    item_bias: Floats
    user_factors: Floats
    item_factors: Floats
    range: tuple[float, float] | None
    scale: tuple[float, float] | None
    predicted: Floats
    notes: Sequence[str] = ()

    @property
    def dots(self) -> Floats:
        """(users, items) mean + biases + dot products, before the sigmoid and the cut."""
        return self.mean + self.user_bias[:, None] + self.item_bias + self.user_factors @ self.item_factors.T

    @property
    def answers(self) -> Floats:
        """(users, items) predictions in double precision."""
        answers = self.dots
        if self.range is not None:
            answers = self.range[0] + (self.range[1] - self.range[0]) / (1 + np.exp(-answers))
        return answers if self.scale is None else np.clip(answers, *self.scale)

    @property
    def rmse(self) -> float:
        """Root of the mean squared error over the cells that have a rating; NaN without any."""
        error = (self.answers - self.rating)[~np.isnan(self.rating)]
        return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")

    def record(self, kind: str) -> dict[str, object]:
        """What ``tenfold explain --json`` prints (docs/formats.md). kind: of the run."""
        return {
            "run": self.run,
            "kind": kind,
            "users": list(self.users),
            "items": list(self.items),
            "rated": int((~np.isnan(self.rating)).sum()),
            "rmse": self.rmse,
            "largest_difference": self.gap,
            "notes": list(self.notes),
        }

    @property
    def gap(self) -> float:
        """Largest difference from the model's own predictions, which are of single precision."""
        return float(np.abs(self.answers - self.predicted).max(initial=0))


@dataclass(frozen=True)
class _Cells:
    """Cells of the crosstab's sheet."""

    mean: str
    user_ids: Block
    item_ids: Block
    user: Block
    item: Block
    predicted: Block
    ends: tuple[str, str] | None
    scale: tuple[str, str] | None
    rmse: str
    gap: str

    def linked(self, raw: str) -> str:
        """The formula of a prediction from that of the sum."""
        if self.ends is not None:
            raw = f"{self.ends[0]}+({self.ends[1]}-{self.ends[0]})/(1+EXP(-({raw})))"
        return raw if self.scale is None else f"MIN(MAX({raw},{self.scale[0]}),{self.scale[1]})"


def build_ratings_book(explained: ExplainedRatings) -> Book:
    """The whole workbook; `Book.write` writes it."""
    book = Book(f"Ratings of {explained.run}")
    first = book.sheet("Read me")
    table = book.sheet("Crosstab", colour="#3D8F6E")
    hot = book.sheet("One-hot", colour="#B5533C")
    cells = _table_sheet(book, table, explained)
    _hot_sheet(hot, table, explained, cells)
    _first_sheet(first, table, hot, explained, cells)
    return book


def _table_sheet(book: Book, sheet: Sheet, explained: ExplainedRatings) -> _Cells:
    users, items = explained.rating.shape
    factors = explained.user_factors.shape[1]
    right = items + 2
    sheet.text(0, 0, "Users by items: ratings, predictions, errors", "title")
    sheet.text(1, 0, _rule(explained), "lead")
    line = 3
    given: dict[str, str] = {}
    numbers = {"mean": explained.mean}
    if explained.range is not None:
        numbers |= {"low end of the sigmoid": explained.range[0], "high end": explained.range[1]}
    if explained.scale is not None:
        numbers |= {"lowest rating": explained.scale[0], "highest rating": explained.scale[1]}
    for name, value in numbers.items():
        sheet.text(line, 0, name, "id")
        sheet.number(line, 1, value, "given")
        given[name] = sheet.at(line, 1, fixed="both")
        line += 1
    error_line, line = line, line + 2

    ids = _header(sheet, line, explained, "ratings", "of the training; an empty cell is a gap")
    rated = Block.put(sheet, ids.below, 1, explained.rating, None, "given_short")
    line = rated.below + 1
    _header(sheet, line, explained, "predictions", "by formula, of gaps, too")
    top = line + 2
    user_ids = Block(sheet, top, 0, users, 1)
    sheet.texts(line, right, ["users' bias and factors"], "section")
    parts = ["bias", *(f"factor {factor}" for factor in range(1, factors + 1))]
    sheet.texts(line + 1, right, parts)
    user = Block.put(sheet, top, right, np.column_stack([explained.user_bias, explained.user_factors]), None)
    item_top = top + 2 * users + 6
    item = Block(sheet, item_top, 1, factors + 1, items)
    cells = _Cells(
        mean=given["mean"],
        user_ids=user_ids,
        item_ids=ids,
        user=user,
        item=item,
        predicted=Block(sheet, top, 1, users, items),
        ends=None if explained.range is None else (given["low end of the sigmoid"], given["high end"]),
        scale=None if explained.scale is None else (given["lowest rating"], given["highest rating"]),
        rmse=sheet.at(error_line, 1, fixed="both", outside=True),
        gap="",
    )

    def formula(row: int, column: int) -> str:
        p = sheet.range(top + row, right + 1, top + row, right + factors, fixed="column")
        q = sheet.range(item_top + 1, 1 + column, item_top + factors, 1 + column, fixed="row")
        biases = f"{sheet.at(top + row, right, fixed='column')}+{sheet.at(item_top, 1 + column, fixed='row')}"
        return cells.linked(f"{cells.mean}+{biases}+SUMPRODUCT(MMULT({p},{q}))")

    predicted = Block.put(sheet, top, 1, explained.answers, formula)
    predicted.heat("#F7D9C4", "#B9DCF2")
    line = predicted.below + 1
    _header(sheet, line, explained, "errors", "prediction less rating, where there is a rating")
    errors = (explained.answers - explained.rating).astype(object)
    errors[np.isnan(explained.rating)] = ""
    wrong = Block.put(
        sheet, line + 2, 1, errors,
        lambda r, c: f'IF(ISNUMBER({rated.at(r, c)}),{predicted.at(r, c)}-{rated.at(r, c)},"")',
    )  # fmt: skip
    _header(sheet, wrong.below + 1, explained, "items' bias and factors", "one column an item", users=False)
    sheet.texts(item_top - 1, 0, [""])
    Block.put(sheet, item_top, 1, np.vstack([explained.item_bias, explained.item_factors.T]), None)
    for row, name in enumerate(parts, item_top):
        sheet.text(row, 0, name, "id")
    own_line = item.below + 1
    _header(sheet, own_line, explained, "the run's own", "predictions of the run, to compare with")
    own = Block.put(sheet, own_line + 2, 1, explained.predicted, None)
    sheet.text(own.below, 0, "largest difference", "head_left")
    gap = f"SUMPRODUCT(MAX(ABS({predicted.all()}-{own.all()})))"
    sheet.formula(own.below, 1, gap, explained.gap, "tiny")
    sheet.text(error_line, 0, "RMSE: make this small", "head_left")
    known = f"COUNT({wrong.all()})"
    rmse = explained.rmse if explained.rmse == explained.rmse else 0.0
    sheet.formula(error_line, 1, f"IF({known}=0,0,SQRT(SUMSQ({wrong.all()})/{known}))", rmse, "result")
    for name, block in (("user_parameters", user), ("item_parameters", item)):
        book.name_range(name, block.all(outside=True))
    book.name_range("rmse", cells.rmse)
    sheet.widths((0, 0, 26), (1, items, 12), (items + 1, items + 1, 3), (right, right + factors, 10))
    sheet.freeze(3, 1)
    sheet.print_across(1, [right], 65, left=0)
    return replace(cells, gap=sheet.at(own.below, 1, fixed="both", outside=True))


def _header(
    sheet: Sheet, line: int, explained: ExplainedRatings, title: str, note: str, *, users: bool = True
) -> Block:
    """A block's two lines of heading, and the users beside it; returns the items' names."""
    sheet.text(line, 0, title, "section")
    sheet.text(line, 1, note, "note")
    sheet.text(line + 1, 0, "user", "head_left")
    sheet.texts(line + 1, 1, explained.names, "head_wrapped")
    sheet.height(line + 1, 46)
    for row, name in enumerate(explained.users if users else ()):
        sheet.text(line + 2 + row, 0, name, "id")
    return Block(sheet, line + 1, 1, 1, len(explained.names))


def _rule(explained: ExplainedRatings) -> str:
    rule = "mean + bias of the user + bias of the item + dot product of their factors"
    if explained.range is not None:
        rule = f"low + (high - low) x sigmoid({rule})"
    return f"prediction = {rule}" + ("" if explained.scale is None else ", cut to the scale")


def _hot_sheet(sheet: Sheet, table: Sheet, explained: ExplainedRatings, cells: _Cells) -> None:
    """A one-hot row times a matrix beside the look-up of the row, of a user and an item; then their score."""
    sheet.text(0, 0, "A one-hot row times a matrix is a look-up", "title")
    sheet.text(1, 0, "Choose another user or item in a yellow cell: product and look-up stay equal.", "lead")
    gaps = np.argwhere(np.isnan(explained.rating))
    user, item = gaps[0] if len(gaps) else (0, 0)
    factors = explained.user_factors.shape[1]
    width = 3 + factors
    line, rows = 3, {}
    for what, names, chosen, bias, matrix in (
        ("user", explained.users, int(user), explained.user_bias, explained.user_factors),
        ("item", explained.names, int(item), explained.item_bias, explained.item_factors),
    ):
        source = cells.user if what == "user" else cells.item
        sheet.text(line, 0, f"chosen {what}", "head_left")
        sheet.text(line, 1, names[chosen], "given_word")
        first = line + 2
        sheet.choices(line, 1, sheet.range(first, 0, first + len(names) - 1, 0, fixed="both"))
        pick = sheet.at(line, 1, fixed="both")
        heads = ["place", "bias", *(f"factor {factor}" for factor in range(1, factors + 1))]
        sheet.texts(line + 1, 0, [what, "one-hot", *heads])
        values = np.column_stack([bias, matrix])
        # Of equal names the first counts, as in any look-up.
        hot = np.arange(len(names)) == chosen
        for row, name in enumerate(names):
            own_line = first + row
            sheet.text(own_line, 0, name, "id")
            same = f"EXACT({sheet.at(own_line, 0)},{pick})"
            above = f",SUM({sheet.range(first, 1, own_line - 1, 1)})=0" if row else ""
            once = f"IF(AND({same}{above}),1,0)"
            sheet.formula(own_line, 1, once, float(hot[row]), "whole")
            sheet.number(own_line, 2, row + 1, "whole")
            for column, value in enumerate(values[row]):
                across = (row, column) if what == "user" else (column, row)
                sheet.formula(own_line, 3 + column, f"{table.quoted}!{source.at(*across)}", value)
        ones = Block(sheet, first, 1, len(names), 1).column()
        places = Block(sheet, first, 2, len(names), 1).column()
        end = first + len(names)
        sheet.text(end, 0, "one-hot x matrix", "head_left")
        sheet.text(end + 1, 0, "row looked up", "head_left")
        sheet.text(end + 2, 0, "difference", "head_left")
        spot = f"SUMPRODUCT({ones},{places})"
        sheet.formula(end + 1, 2, spot, float(chosen + 1), "whole")
        for column, value in enumerate(values[chosen]):
            own = Block(sheet, first, 3 + column, len(names), 1).column()
            sheet.formula(end, 3 + column, f"SUMPRODUCT({ones},{own})", value, "result")
            at = sheet.at(end + 1, 2, fixed="both")
            sheet.formula(end + 1, 3 + column, f"INDEX({own},{at})", value, "result")
            two = sheet.at(end, 3 + column), sheet.at(end + 1, 3 + column)
            sheet.formula(end + 2, 3 + column, f"{two[0]}-{two[1]}", 0.0, "tiny")
        rows[what] = end
        line = end + 5
    _score_lines(sheet, table, line, explained, cells, rows, (int(user), int(item)))
    sheet.widths((0, 0, 30), (1, 1, 22), (2, width, 11))
    sheet.freeze(3, 1)
    sheet.print_across(1, [], 65, left=0)


def _score_lines(
    sheet: Sheet,
    table: Sheet,
    line: int,
    explained: ExplainedRatings,
    cells: _Cells,
    rows: dict[str, int],
    pair: tuple[int, int],
) -> None:
    """What the two rows make together: the terms of the prediction, from the one-hot products."""
    user, item = pair
    last = 3 + explained.user_factors.shape[1]
    p, q = (sheet.range(rows[side], 4, rows[side], last) for side in ("user", "item"))
    dot = float(explained.user_factors[user] @ explained.item_factors[item])
    terms = [
        ("mean", f"{table.quoted}!{cells.mean}", explained.mean),
        ("bias of the user", sheet.at(rows["user"], 3), float(explained.user_bias[user])),
        ("bias of the item", sheet.at(rows["item"], 3), float(explained.item_bias[item])),
        ("dot product of the factors", f"SUMPRODUCT({p},{q})", dot),
    ]
    sheet.texts(line, 0, ["the pair's prediction", ""], "head_left")
    for row, (name, formula, value) in enumerate(terms, line + 1):
        sheet.text(row, 0, name, "id")
        sheet.formula(row, 1, formula, value)
    end = line + 1 + len(terms)
    total = sheet.range(line + 1, 1, end - 1, 1)
    sheet.text(end, 0, "sum", "id")
    sheet.formula(end, 1, f"SUM({total})", float(explained.dots[user, item]))
    sheet.text(end + 1, 0, "prediction", "head_left")

    def there(name: str) -> str:
        return f"{table.quoted}!{name}"

    outside = replace(
        cells,
        ends=cells.ends and (there(cells.ends[0]), there(cells.ends[1])),
        scale=cells.scale and (there(cells.scale[0]), there(cells.scale[1])),
    )
    sheet.formula(
        end + 1, 1, outside.linked(sheet.at(end, 1)), float(explained.answers[user, item]), "result"
    )


def _solver_limit(explained: ExplainedRatings) -> str:
    """What Excel's own solver needs: at most so many cells to change."""
    factors = explained.user_factors.shape[1]
    cells = (len(explained.users) + len(explained.items)) * (factors + 1)
    if cells <= SOLVED:
        return f"That is {cells} cells; Excel's own solver changes {SOLVED} at most."
    most = SOLVED // (2 * (factors + 1))
    fewer = f"explain with -n {most}" if most > 1 else "fit with fewer factors (--factors 5)"
    return f"That is {cells} cells; Excel's own solver changes {SOLVED} at most: {fewer}."


def _first_sheet(sheet: Sheet, table: Sheet, hot: Sheet, explained: ExplainedRatings, cells: _Cells) -> None:
    texts = (
        (table, "users by items: ratings, predictions, errors; factors and biases to their right and below"),
        (hot, "a one-hot row times a matrix beside the look-up of a row, and a prediction from the two"),
    )
    line = introduce(
        sheet, f"How {explained.run} comes to its predictions", [*explained.trained, *explained.notes], texts,
        "a number to change: factors, biases, ratings", "a formula whose answer matters",
    )  # fmt: skip
    sheet.texts(line, 0, ["train it here", "with the spreadsheet's own solver"], "head_left")
    steps = [
        "Tools > Solver (Excel: Data > Solver, an add-in that comes with it).",
        "Target cell: rmse. Optimise to: minimum. By changing cells: user_parameters; item_parameters.",
        "Choose a non-linear method (LibreOffice: DEPS or SCO; Excel: GRG Nonlinear), and start.",
        _solver_limit(explained),
        "It fits these cells alone, so it can bend to them more closely than the run, which saw all ratings.",
    ]
    for number, text in enumerate(steps, 1):
        sheet.number(line + number, 0, number, "id")
        sheet.text(line + number, 1, text, "id")
    line += len(steps) + 2
    sheet.texts(line, 0, ["this workbook against the model", "largest difference", "", "RMSE"], "head_left")
    sheet.text(line + 1, 0, "predictions of the crosstab", "id")
    sheet.formula(line + 1, 1, cells.gap, explained.gap, "tiny")
    sheet.formula(
        line + 1, 3, cells.rmse, explained.rmse if explained.rmse == explained.rmse else 0.0, "result"
    )
    sheet.widths((0, 0, 34), (1, 1, 96), (2, 2, 3), (3, 3, 14))
