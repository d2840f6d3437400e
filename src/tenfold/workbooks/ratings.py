"""A workbook of a factor model: users by items, their factors and biases, predictions and errors as formulas.

All that a solver may change stands on one sheet with what it makes small, as spreadsheets' solvers want it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.workbooks.workbook import Block, Book, Sheet

__all__ = ["ExplainedRatings", "build_ratings_book"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ExplainedRatings:
    """Some users and some items of a factor model.

    names: the items' titles.  rating: (users, items), NaN where there is none.
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
        found = self.dots
        if self.range is not None:
            found = self.range[0] + (self.range[1] - self.range[0]) / (1 + np.exp(-found))
        return found if self.scale is None else np.clip(found, *self.scale)

    @property
    def rmse(self) -> float:
        """Root of the mean squared error over the cells that have a rating; NaN without any."""
        error = (self.answers - self.rating)[~np.isnan(self.rating)]
        return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")

    def record(self, kind: str) -> dict[str, Any]:
        """What ``tenfold explain --json`` prints of it (docs/formats.md). kind: of the run."""
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
    """Where everything stands on the sheet of the crosstab."""

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


def build_ratings_book(found: ExplainedRatings) -> Book:
    """The whole workbook; `Book.write` writes it."""
    book = Book(f"Ratings of {found.run}")
    first = book.sheet("Read me")
    table = book.sheet("Crosstab", colour="#3D8F6E")
    hot = book.sheet("One-hot", colour="#B5533C")
    cells = _table_sheet(book, table, found)
    _hot_sheet(hot, table, found, cells)
    _first_sheet(first, table, hot, found, cells)
    return book


def _table_sheet(book: Book, sheet: Sheet, found: ExplainedRatings) -> _Cells:
    users, items = found.rating.shape
    factors = found.user_factors.shape[1]
    right = items + 2
    sheet.text(0, 0, "Users by items: ratings, predictions, errors", "title")
    sheet.text(1, 0, _rule(found), "lead")
    line = 3
    given: dict[str, str] = {}
    numbers = {"mean": found.mean}
    if found.range is not None:
        numbers |= {"low end of the sigmoid": found.range[0], "high end": found.range[1]}
    if found.scale is not None:
        numbers |= {"lowest rating": found.scale[0], "highest rating": found.scale[1]}
    for name, value in numbers.items():
        sheet.text(line, 0, name, "id")
        sheet.number(line, 1, value, "given")
        given[name] = sheet.at(line, 1, fixed="both")
        line += 1
    error_line, line = line, line + 2

    ids = _header(sheet, line, found, "ratings", "of the training; an empty cell is a gap")
    rated = Block.put(sheet, ids.below, 1, found.rating, None, "given_short")
    line = rated.below + 1
    _header(sheet, line, found, "predictions", "by formula, of gaps, too")
    top = line + 2
    user_ids = Block(sheet, top, 0, users, 1)
    sheet.texts(line, right, ["users' bias and factors"], "section")
    sheet.texts(line + 1, right, ["bias", *(f"factor {one}" for one in range(1, factors + 1))])
    user = Block.put(sheet, top, right, np.column_stack([found.user_bias, found.user_factors]), None)
    item_top = top + 2 * users + 6
    item = Block(sheet, item_top, 1, factors + 1, items)
    cells = _Cells(
        mean=given["mean"],
        user_ids=user_ids,
        item_ids=ids,
        user=user,
        item=item,
        predicted=Block(sheet, top, 1, users, items),
        ends=None if found.range is None else (given["low end of the sigmoid"], given["high end"]),
        scale=None if found.scale is None else (given["lowest rating"], given["highest rating"]),
        rmse=sheet.at(error_line, 1, fixed="both", outside=True),
        gap="",
    )

    def formula(row: int, column: int) -> str:
        p = sheet.range(top + row, right + 1, top + row, right + factors, fixed="column")
        q = sheet.range(item_top + 1, 1 + column, item_top + factors, 1 + column, fixed="row")
        biases = f"{sheet.at(top + row, right, fixed='column')}+{sheet.at(item_top, 1 + column, fixed='row')}"
        return cells.linked(f"{cells.mean}+{biases}+SUMPRODUCT(MMULT({p},{q}))")

    predicted = Block.put(sheet, top, 1, found.answers, formula)
    sheet.heat(top, 1, predicted.below - 1, items, low="#F7D9C4", high="#B9DCF2")
    line = predicted.below + 1
    _header(sheet, line, found, "errors", "prediction less rating, where there is a rating")
    errors = (found.answers - found.rating).astype(object)
    errors[np.isnan(found.rating)] = ""
    wrong = Block.put(
        sheet, line + 2, 1, errors,
        lambda r, c: f'IF(ISNUMBER({rated.at(r, c)}),{predicted.at(r, c)}-{rated.at(r, c)},"")',
    )  # fmt: skip
    _header(sheet, wrong.below + 1, found, "items' bias and factors", "one column an item", users=False)
    sheet.texts(item_top - 1, 0, [""])
    Block.put(sheet, item_top, 1, np.vstack([found.item_bias, found.item_factors.T]), None)
    for place, name in enumerate(["bias", *(f"factor {one}" for one in range(1, factors + 1))]):
        sheet.text(item_top + place, 0, name, "id")
    own_line = item.below + 1
    _header(sheet, own_line, found, "the model's own predictions", "to compare with")
    own = Block.put(sheet, own_line + 2, 1, found.predicted, None)
    sheet.text(own.below, 0, "largest difference", "head_left")
    gap = f"SUMPRODUCT(MAX(ABS({predicted.all()}-{own.all()})))"
    sheet.formula(own.below, 1, gap, found.gap, "tiny")
    sheet.text(error_line, 0, "RMSE: make this small", "head_left")
    known = f"COUNT({wrong.all()})"
    rmse = found.rmse if found.rmse == found.rmse else 0.0
    sheet.formula(error_line, 1, f"IF({known}=0,0,SQRT(SUMSQ({wrong.all()})/{known}))", rmse, "result")
    for name, block in (("user_parameters", user), ("item_parameters", item)):
        book.name_range(name, block.all(outside=True))
    book.name_range("rmse", cells.rmse)
    sheet.widths((0, 0, 26), (1, items, 12), (items + 1, items + 1, 3), (right, right + factors, 10))
    sheet.freeze(3, 1)
    return _Cells(**{**vars(cells), "gap": sheet.at(own.below, 1, fixed="both", outside=True)})


def _header(
    sheet: Sheet, line: int, found: ExplainedRatings, title: str, note: str, *, users: bool = True
) -> Block:
    """A block's two lines of heading, and the users beside it; returns the items' names."""
    sheet.text(line, 0, title, "section")
    sheet.text(line, 1, note, "note")
    sheet.text(line + 1, 0, "user", "head_left")
    sheet.texts(line + 1, 1, found.names, "head_wrapped")
    sheet.height(line + 1, 46)
    for row, name in enumerate(found.users if users else ()):
        sheet.text(line + 2 + row, 0, name, "id")
    return Block(sheet, line + 1, 1, 1, len(found.names))


def _rule(found: ExplainedRatings) -> str:
    rule = "mean + bias of the user + bias of the item + dot product of their factors"
    if found.range is not None:
        rule = f"low + (high - low) x sigmoid({rule})"
    return f"prediction = {rule}" + ("" if found.scale is None else ", cut to the scale")


def _hot_sheet(sheet: Sheet, table: Sheet, found: ExplainedRatings, cells: _Cells) -> None:
    """A one-hot row times a matrix beside the look-up of the row, of a user and an item; then their score."""
    sheet.text(0, 0, "A one-hot row times a matrix is a look-up", "title")
    sheet.text(1, 0, "Choose another user or item in a yellow cell: product and look-up stay equal.", "lead")
    gaps = np.argwhere(np.isnan(found.rating))
    user, item = gaps[0] if len(gaps) else (0, 0)
    factors = found.user_factors.shape[1]
    width = 3 + factors
    line, rows = 3, {}
    for what, names, chosen, bias, matrix in (
        ("user", found.users, int(user), found.user_bias, found.user_factors),
        ("item", found.names, int(item), found.item_bias, found.item_factors),
    ):
        source = cells.user if what == "user" else cells.item
        sheet.text(line, 0, f"chosen {what}", "head_left")
        sheet.text(line, 1, names[chosen], "given_word")
        first = line + 2
        sheet.choices(line, 1, sheet.range(first, 0, first + len(names) - 1, 0, fixed="both"))
        pick = sheet.at(line, 1, fixed="both")
        heads = ["place", "bias", *(f"factor {one}" for one in range(1, factors + 1))]
        sheet.texts(line + 1, 0, [what, "one-hot", *heads])
        values = np.column_stack([bias, matrix])
        # Of two that are called alike the first is meant, as in any look-up.
        hot = np.arange(len(names)) == chosen
        for row, name in enumerate(names):
            place = first + row
            sheet.text(place, 0, name, "id")
            same = f"EXACT({sheet.at(place, 0)},{pick})"
            above = f",SUM({sheet.range(first, 1, place - 1, 1)})=0" if row else ""
            once = f"IF(AND({same}{above}),1,0)"
            sheet.formula(place, 1, once, float(hot[row]), "whole")
            sheet.number(place, 2, row + 1, "whole")
            for column, value in enumerate(values[row]):
                across = (row, column) if what == "user" else (column, row)
                sheet.formula(place, 3 + column, f"{table.quoted}!{source.at(*across)}", value)
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
    _score_lines(sheet, table, line, found, cells, rows, (int(user), int(item)))
    sheet.widths((0, 0, 30), (1, 1, 22), (2, width, 11))
    sheet.freeze(3, 1)


def _score_lines(
    sheet: Sheet,
    table: Sheet,
    line: int,
    found: ExplainedRatings,
    cells: _Cells,
    rows: dict[str, int],
    pair: tuple[int, int],
) -> None:
    """What the two rows make together: the terms of the prediction, from the one-hot products."""
    user, item = pair
    last = 3 + found.user_factors.shape[1]
    p, q = (sheet.range(rows[one], 4, rows[one], last) for one in ("user", "item"))
    dot = float(found.user_factors[user] @ found.item_factors[item])
    terms = [
        ("mean", f"{table.quoted}!{cells.mean}", found.mean, "calc"),
        ("bias of the user", sheet.at(rows["user"], 3), float(found.user_bias[user]), "calc"),
        ("bias of the item", sheet.at(rows["item"], 3), float(found.item_bias[item]), "calc"),
        ("dot product of the factors", f"SUMPRODUCT({p},{q})", dot, "calc"),
    ]
    sheet.texts(line, 0, ["the pair's prediction", ""], "head_left")
    for place, (name, formula, value, style) in enumerate(terms, line + 1):
        sheet.text(place, 0, name, "id")
        sheet.formula(place, 1, formula, value, style)
    end = line + 1 + len(terms)
    total = sheet.range(line + 1, 1, end - 1, 1)
    sheet.text(end, 0, "sum", "id")
    sheet.formula(end, 1, f"SUM({total})", float(found.dots[user, item]))
    sheet.text(end + 1, 0, "prediction", "head_left")

    def there(name: str) -> str:
        return f"{table.quoted}!{name}"

    outside = _Cells(
        **{
            **vars(cells),
            "ends": None if cells.ends is None else (there(cells.ends[0]), there(cells.ends[1])),
            "scale": None if cells.scale is None else (there(cells.scale[0]), there(cells.scale[1])),
        }
    )
    made = outside.linked(sheet.at(end, 1))
    sheet.formula(end + 1, 1, made, float(found.answers[user, item]), "result")


def _first_sheet(sheet: Sheet, table: Sheet, hot: Sheet, found: ExplainedRatings, cells: _Cells) -> None:
    sheet.text(0, 0, f"How {found.run} comes to its predictions", "title")
    sheet.text(
        1, 0, "Numbers that are not yellow are formulas: change a yellow cell and all follows.", "lead"
    )
    line = 3
    for text in (*found.trained, *found.notes):
        sheet.text(line, 0, text, "lead")
        line += 1
    line += 1
    sheet.texts(line, 0, ["sheet", "what it shows"], "head_left")
    texts = (
        (table, "users by items: ratings, predictions, errors; factors and biases to their right and below"),
        (hot, "a one-hot row times a matrix beside the look-up of a row, and a prediction from the two"),
    )
    for place, (one, text) in enumerate(texts, line + 1):
        sheet.link(place, 0, one)
        sheet.text(place, 1, text, "id")
    line += 4
    sheet.texts(line, 0, ["colour", "what it means"], "head_left")
    for place, (style, text) in enumerate(
        (
            ("given", "a number to change: factors, biases, ratings"),
            ("calc", "a formula"),
            ("result", "a formula whose answer matters"),
        ),
        line + 1,
    ):
        sheet.text(place, 0, "", style)
        sheet.text(place, 1, text, "id")
    line += 5
    sheet.texts(line, 0, ["train it here", "with the spreadsheet's own solver"], "head_left")
    steps = [
        "Tools > Solver (Excel: Data > Solver, an add-in that comes with it).",
        "Target cell: rmse. Optimise to: minimum. By changing cells: user_parameters; item_parameters.",
        "Choose a non-linear method (LibreOffice: DEPS or SCO; Excel: GRG Nonlinear), and start.",
        "Excel's own solver changes 200 cells at most: take fewer users and items (-n 8), or some cells.",
        "It fits these cells alone, so it can bend to them more closely than the run, which saw all ratings.",
    ]
    for place, text in enumerate(steps, line + 1):
        sheet.number(place, 0, place - line, "id")
        sheet.text(place, 1, text, "id")
    line += len(steps) + 2
    sheet.texts(line, 0, ["this workbook against the model", "largest difference", "", "RMSE"], "head_left")
    sheet.text(line + 1, 0, "predictions of the crosstab", "id")
    sheet.formula(line + 1, 1, cells.gap, found.gap, "tiny")
    sheet.formula(line + 1, 3, cells.rmse, found.rmse if found.rmse == found.rmse else 0.0, "result")
    sheet.widths((0, 0, 34), (1, 1, 96), (2, 2, 3), (3, 3, 14))
