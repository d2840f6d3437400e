"""Example users, neighbours and lists against popularity: what the run itself answers."""

from __future__ import annotations

import numpy as np

from shown import rated
from tenfold.recommenders.examples import LIST, NEAREST, list_sections, lists_grid, neighbours_section
from tenfold.reports.html import Cell, Charts, Grid


def cells(grid: Grid) -> list[list[str]]:
    return [[cell.text if isinstance(cell, Cell) else str(cell) for cell in row] for row in grid.rows]


def test_a_users_history_is_what_was_rated_and_the_list_is_that_of_recommend() -> None:
    _, run = rated()
    users, _ = list_sections(run)
    history, listed = users.parts[:2]
    assert isinstance(history, Grid) and isinstance(listed, Grid)
    user = history.title.removeprefix("user ").partition(":")[0]
    known = run.interactions
    index = list(known.users).index(user)
    assert known.given[index] == known.given.max()
    own = slice(known.seen_start[index], known.seen_start[index + 1])
    given = dict(zip(known.items[known.seen_items[own]], known.seen_ratings[own], strict=True))
    shown = {name: float(text) for name, text in cells(history)}
    assert shown.items() <= given.items() and min(shown.values()) >= sorted(given.values())[-len(shown)]
    wanted = run.recommend(user, n=LIST)
    assert [name for name, _ in cells(listed)] == list(wanted.items)
    assert not {name for name, _ in cells(listed)} & set(given)


def test_the_share_of_lists_is_counted_and_what_is_popular_stands_beside() -> None:
    _, run = rated()
    _, popularity = list_sections(run)
    charts, grid = popularity.parts
    assert isinstance(charts, Charts) and isinstance(grid, Grid)
    [points] = charts.charts[0].lines
    lists = run.recommend(n=10)
    share = {item: 100 * list(lists.items).count(item) / 20 for item in set(lists.items)}
    assert dict(zip(points.names, points.y, strict=True)) == share
    assert [row[0] for row in cells(grid)] == [
        "this run",
        "the most popular items",
        "neighbours of the user's items",
    ]
    assert lists_grid({}) == []


def test_neighbours_are_those_of_similar() -> None:
    _, run = rated()
    known, vectors = run.interactions, run.model.item_factors
    [section] = neighbours_section(known, vectors)
    [grid] = section.parts
    assert isinstance(grid, Grid)
    item, found = cells(grid)[0]
    allowed = list(known.items[known.received >= 5])
    wanted = [name for name in run.similar(item, n=len(known.items)).found if name in allowed]
    assert [one.rpartition(" (")[0] for one in found.split(", ")] == wanted[:NEAREST]
    assert neighbours_section(known, np.zeros_like(vectors)) == []
