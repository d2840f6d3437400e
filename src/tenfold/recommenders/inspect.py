"""Look into a ratings run: the table it was fitted to and its gaps, its biases, the map of its factors.

Everything is computed from the run alone; `inspection_sections` makes the sections that follow those of the
run's page.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.explain import item_labels
from tenfold.collab.predict import FactorScorer
from tenfold.errors import RecipeError
from tenfold.recommenders.explain_factors import explain_ratings
from tenfold.recommenders.run import RecommenderRun
from tenfold.reports.html import Cell, Grid, Section
from tenfold.reports.maps import principal_components
from tenfold.values import FactorModel
from tenfold.workbooks.ratings import ExplainedRatings

__all__ = ["BiasedItem", "FactorMap", "Inspection", "LookUp", "inspect_run", "inspection_sections"]

#: Items of the map, the most rated: rarely rated items lie near its middle and say little.
MAPPED = 1000
#: Ratings that an item of the lists by bias has, where enough items have them.
LEAST = 5
#: Items at each end of the lists by bias and of the map's axes.
LISTED_ITEMS, AXIS_ITEMS = 10, 3
#: Factors and rows of a matrix that are shown.
SHOWN_FACTORS, SHOWN_ROWS = 6, 2


@dataclass(frozen=True)
class BiasedItem:
    """An item that the average user finds far better, or far worse, than the average item.

    bias: by how much, in units of ratings (within a sigmoid: before it).  rated: mean of its ratings.
    audience: mean of what the run expects of the same users for an item of this taste without its bias.
    """

    item: str
    name: str
    bias: float
    ratings: int
    rated: float
    audience: float


@dataclass(frozen=True)
class FactorMap:
    """Item factors on the two directions in which they differ most (principal components).

    place: (items, 2) coordinates.  share: fraction of the factors' variance along each direction.  ratings:
    (items,).
    """

    items: list[str]
    names: list[str]
    ratings: list[int]
    place: NDArray[np.float64]
    share: tuple[float, float]

    def ends(self, axis: int) -> tuple[list[str], list[str]]:
        """Names of the items at the low and at the high end of an axis, the outermost first."""
        names = [self.names[item] for item in np.argsort(self.place[:, axis], kind="stable")]
        count = min(AXIS_ITEMS, len(names) // 2)
        return names[:count], names[::-1][:count]


@dataclass(frozen=True)
class LookUp:
    """A one-hot row times a matrix is the look-up of a row: shown with the run's own numbers.

    row: index of the id among `rows` ids.  shown: indices of the shown rows, with their `factors` (shown,
    few).  product: one-hot times the whole matrix.  looked_up: the row in memory.
    """

    what: str
    id: str
    row: int
    rows: int
    shown: list[int]
    factors: NDArray[np.float32]
    product: NDArray[np.float32]
    looked_up: NDArray[np.float32]

    @property
    def equal(self) -> bool:
        """Whether the two agree in every number."""
        return bool(np.array_equal(self.product, self.looked_up))


@dataclass(frozen=True)
class Inspection:
    """What can be seen in a ratings run.

    crosstab: the most active users by the most rated items.  best, worst: items by bias; empty if the run has
    no biases.  map: None if factors are alike.  lookups: of a user and of an item.  terms: name -> number,
    from the mean to the score of that pair.
    """

    run: str
    method: str
    users: int
    items: int
    ratings: int
    scale: tuple[float, float]
    crosstab: ExplainedRatings
    best: list[BiasedItem]
    worst: list[BiasedItem]
    map: FactorMap | None
    lookups: tuple[LookUp, LookUp]
    terms: dict[str, float]
    notes: tuple[str, ...] = ()

    @property
    def lead(self) -> str:
        """A line that describes the run."""
        return f"method {self.method}; {self.ratings} ratings of {self.items} items by {self.users} users"

    def record(self) -> dict[str, object]:
        """What ``tenfold inspect --json`` prints (docs/formats.md)."""
        keys = ("users", "items", "names", "rating", "predicted")
        crosstab = {key: getattr(self.crosstab, key) for key in keys}
        lookups = [{**asdict(lookup), "equal": lookup.equal} for lookup in self.lookups]
        parts = {**asdict(self), "crosstab": crosstab, "lookups": lookups}
        return {name: _listed(part) for name, part in parts.items()}


def inspect_run(run: RecommenderRun, *, n: int = 15) -> Inspection:
    """Everything that is shown of a run of factors, or of a dot product of embeddings.

    n: users, and items, in the crosstab, or as many as there are.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise RecipeError(f"n = {n!r}: a crosstab has 1 user and 1 item or more", fix="give n = 15")
    model, crosstab = run.model, explain_ratings(run, n=n)
    scorer = FactorScorer(model)
    gaps = np.argwhere(np.isnan(crosstab.rating))
    row, column = gaps[0] if len(gaps) else (0, 0)
    user = int(np.argsort(-model.given, kind="stable")[row])
    item = int(np.argsort(-model.received, kind="stable")[column])
    best, worst, notes = _biased_items(model, scorer)
    return Inspection(
        run=str(run.path),
        method=model.method,
        users=len(model.users),
        items=len(model.items),
        ratings=len(model.seen_items),
        scale=model.scale,
        crosstab=crosstab,
        best=best,
        worst=worst,
        map=_factor_map(model),
        lookups=(
            _look_up("user", model.users, model.user_factors, user),
            _look_up("item", model.items, model.item_factors, item),
        ),
        terms=_terms(model, scorer, user, item),
        notes=tuple(notes),
    )


def _names(model: FactorModel, items: NDArray[np.int64]) -> list[str]:
    return [*map(item_labels(model), model.items[items])]


def _biased_items(
    model: FactorModel, scorer: FactorScorer
) -> tuple[list[BiasedItem], list[BiasedItem], list[str]]:
    """Items of highest and of lowest bias, half of the items at most in each list.

    Factors may be moved by a constant if biases make up for it, and no score changes; so a method's own bias
    says only a part. What no such move changes is how much better than the average item an item is to the
    average user: c_i + p . q_i less its mean, with p the mean of all users' factors. That is the bias here.
    """
    received = model.received
    if model.implicit:
        return [], [], ["a run of events has no items by bias: its scores are not ratings"]
    _, average = scorer.average_user
    bias = model.item_bias + model.item_factors @ average
    bias = bias - scorer.item_weight @ bias
    if np.ptp(bias) == 0:
        return [], [], ["no items by bias: the run finds all items alike"]
    counted = np.flatnonzero(received >= LEAST)
    if len(counted) < 2 * LISTED_ITEMS:
        counted = np.flatnonzero(received > 0)
    order = counted[np.argsort(bias[counted], kind="stable")]
    count = min(LISTED_ITEMS, len(order) // 2)
    low, high = order[:count], order[::-1][:count]
    rows = np.flatnonzero(np.isin(model.seen_items, np.concatenate([low, high])))
    item, user = model.seen_items[rows].astype(np.int64), model.owners[rows]
    without = scorer.link(scorer.raw(user, item) - bias[item])

    def mean(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.bincount(item, values, len(model.items)) / np.maximum(received, 1)

    rated, audience = mean(model.seen_ratings[rows]), mean(without)

    def describe(items: NDArray[np.int64]) -> list[BiasedItem]:
        columns = [column[items].tolist() for column in (model.items, bias, received, rated, audience)]
        ids, *numbers = columns
        return [BiasedItem(*row) for row in zip(ids, _names(model, items), *numbers, strict=True)]

    return describe(high), describe(low), []


def _factor_map(model: FactorModel) -> FactorMap | None:
    """The most rated items on the first two principal components of their factors (Pearson 1901)."""
    items = np.argsort(-model.received, kind="stable")[:MAPPED]
    factors = model.item_factors[items].astype(np.float64)
    if len(items) < 2 or not (factors != factors[0]).any():
        return None
    ids, names, ratings = model.items[items].tolist(), _names(model, items), model.received[items].tolist()
    return FactorMap(ids, names, ratings, *principal_components(factors))


def _look_up(what: str, ids: NDArray[np.object_], factors: NDArray[np.float32], row: int) -> LookUp:
    one_hot = np.zeros(len(ids), np.float32)
    one_hot[row] = 1
    around = sorted({*range(min(SHOWN_ROWS, len(ids))), row, len(ids) - 1})
    return LookUp(
        what=what,
        id=str(ids[row]),
        row=row,
        rows=len(ids),
        shown=around,
        factors=factors[around, :SHOWN_FACTORS],
        product=one_hot @ factors,
        looked_up=factors[row],
    )


def _terms(model: FactorModel, scorer: FactorScorer, user: int, item: int) -> dict[str, float]:
    """The sum that makes a score: mean, biases, dot product, their sum, and the score that comes of it."""
    p, q = model.user_factors[user].astype(np.float64), model.item_factors[item].astype(np.float64)
    users, items = np.array([user]), np.array([item])
    return {
        "mean": float(model.mean),
        "user_bias": float(model.user_bias[user]),
        "item_bias": float(model.item_bias[item]),
        "dot_product": float(p @ q),
        "sum": float(scorer.raw(users, items)[0]),
        "score": float(scorer.scores(users, items)[0][0]),
    }


def _listed(value: object) -> object:
    """Arrays as nested lists, NaN as None, numbers no longer than single precision."""
    if isinstance(value, dict):
        return {name: _listed(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(part) for part in value]
    if isinstance(value, np.ndarray):
        return _listed(value.tolist())
    if isinstance(value, float):
        return None if value != value else float(f"{value:.7g}")
    return value


# --- its sections of the page ------------------------------------------------------------------------


def inspection_sections(inspection: Inspection) -> list[Section]:
    """What ``tenfold inspect`` adds to the page: the crosstab, items by bias, directions, look-ups."""
    return [
        _crosstab_section(inspection),
        *([_bias_section(inspection)] if inspection.best else []),
        *([_directions_section(inspection.map)] if inspection.map else []),
        _lookup_section(inspection),
    ]


def _crosstab_section(inspection: Inspection) -> Section:
    table, ends = inspection.crosstab, inspection.scale
    values = np.where(np.isnan(table.rating), table.predicted, table.rating)
    low, high = ends if np.isfinite(ends).all() else (values.min(), values.max())
    rows = []
    for item, name in enumerate(table.names):
        row: list[Cell | str] = [name]
        for user in range(len(table.users)):
            gap = bool(np.isnan(table.rating[user, item]))
            value = float(values[user, item])
            heat = float(np.clip((value - low) / (high - low), 0, 1)) if high > low else 0.5
            row.append(Cell(f"{value:.1f}" if gap else f"{value:g}", heat=heat, faint=gap))
        rows.append(row)
    return Section(
        "Ratings and their gaps",
        f"The {len(table.users)} users with most ratings, across, by the {len(table.items)} items with most, "
        "down. Upright numbers were given; slanted ones, in the gaps, are the run's predictions.",
        (Grid(("", *table.users), rows),),
    )


def _bias_section(inspection: Inspection) -> Section:
    headings = ("item", "bias", "rated", "expected", "ratings")

    def grid(title: str, items: list[BiasedItem]) -> Grid:
        rows = [
            [item.name, Cell(f"{item.bias:+.2f}"), Cell(f"{item.rated:.2f}"), Cell(f"{item.audience:.2f}"),
             Cell(str(item.ratings))]
            for item in items
        ]  # fmt: skip
        return Grid(headings, rows, title=title)

    return Section(
        "Items by bias",
        "An item may be rated well only because those who rate it like its kind, or rate kindly. Its bias is "
        "how much better than the average item it is for the average user, whoever has rated it. Expected is "
        "what its raters would give to an item of this kind without the bias.",
        (
            grid("Good beyond their audience", inspection.best),
            grid("Bad in spite of their audience", inspection.worst),
        ),
    )


def _directions_section(factor_map: FactorMap) -> Section:
    rows = []
    for axis, word in enumerate(("across", "up")):
        low, high = factor_map.ends(axis)
        rows.append([word, Cell(f"{factor_map.share[axis]:.0%}"), "; ".join(low), "; ".join(high)])
    return Section(
        "Directions of the map",
        f"The factors of the {len(factor_map.items)} most rated items on the two directions in which they "
        "differ most (principal components). What a direction means is for the "
        "reader to say: nothing told the run of genres.",
        (Grid(("direction", "of the variance", "at the low end", "at the high end"), rows),),
    )


def _lookup_section(inspection: Inspection) -> Section:
    parts: list[Grid] = []
    for lookup in inspection.lookups:
        few = lookup.factors.shape[1]
        rows: list[list[Cell | str]] = []
        for index, row in zip(lookup.shown, lookup.factors, strict=True):
            hit = index == lookup.row
            rows.append([f"row {index}", Cell("1" if hit else "0", strong=hit),
                         *(Cell(f"{value:.3f}", strong=hit) for value in row)])  # fmt: skip
        for name, vector in (("one-hot x matrix", lookup.product), ("row looked up", lookup.looked_up)):
            rows.append([name, Cell(""), *(Cell(f"{value:.3f}", strong=True) for value in vector[:few])])
        verdict = f"equal in all {len(lookup.product)} numbers" if lookup.equal else "NOT equal"
        headings = ("", "one-hot", *(f"factor {factor}" for factor in range(1, few + 1)))
        parts.append(Grid(headings, rows, title=f"{lookup.what} {lookup.id}, of {lookup.rows}: {verdict}"))
    words = {"user_bias": "bias of the user", "item_bias": "bias of the item", "dot_product": "dot product"}
    terms = [[words.get(name, name), Cell(f"{value:.4f}")] for name, value in inspection.terms.items()]
    pair = f"The score of {inspection.lookups[0].id} for {inspection.lookups[1].id}"
    return Section(
        "One-hot times matrix is a look-up",
        "A row of noughts with a single 1, times a matrix, is the matrix's row at that 1. So an embedding "
        "looks the row up and saves the product. A few rows and factors of this run's own matrices:",
        (*parts, Grid(("term", "value"), terms, title=pair)),
    )
