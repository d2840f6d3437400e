"""Sections of a recommender's page that show it at work: users with their lists, neighbours, popularity."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.evaluate import evaluate_lists
from tenfold.collab.explain import item_labels
from tenfold.recommenders.run import RecommenderRun
from tenfold.reports.charts import Axis, Chart, Line
from tenfold.reports.html import Cell, Charts, Grid, Part, Section
from tenfold.values import Interactions, Ratings, Score, Scores, read_score, read_scores

__all__ = ["list_sections", "neighbours_section"]

#: Users whose lists are shown, items of a list and of a history.
USERS, LIST, HISTORY = 3, 8, 8
#: Users whose lists are scored, drawn at random.
SCORED = 500
#: Items whose neighbours are shown, how many of each, and ratings that a neighbour has at least.
ITEMS, NEAREST, LEAST = 10, 5, 5
#: Scores of lists, and their headings.
LISTS = {"ndcg": "NDCG", "recall": "recall", "precision": "precision", "hit": "hit", "coverage": "coverage"}


def list_sections(run: RecommenderRun) -> list[Section]:
    """Users with what they rated and what they are recommended; lists against popularity.

    For scorers that need no further columns. The same run gives the same page.
    """
    known = run.interactions
    if run.scorer.columns or not len(known.users) or not len(known.seen_items):
        return []
    return [_users_section(run, known), *_popularity_section(run, known)]


def _users_section(run: RecommenderRun, known: Interactions) -> Section:
    """Of the users who rated most, of a middling one, and of one who rated few: history and list."""
    order = np.argsort(-known.given, kind="stable")
    active = int((known.given > 0).sum())
    chosen = dict.fromkeys(int(order[at]) for at in (0, active // 2, max(0, active - active // 10 - 1)))
    name_of = item_labels(known)
    lists = run.recommend(known.users[list(chosen)], n=LIST, reasons=0)
    parts: list[Part] = []
    for user in list(chosen)[:USERS]:
        own = slice(known.seen_start[user], known.seen_start[user + 1])
        best = np.argsort(-known.seen_ratings[own], kind="stable")[:HISTORY]
        history: list[list[Cell | str]] = [
            [name_of(str(known.items[item])), Cell(f"{rating:g}")]
            for item, rating in zip(known.seen_items[own][best], known.seen_ratings[own][best], strict=True)
        ]
        rows = np.flatnonzero(lists.users == known.users[user])
        listed: list[list[Cell | str]] = [
            [name_of(str(lists.items[row])), Cell(f"{lists.score[row]:.2f}")] for row in rows
        ]
        what = "events" if known.implicit else "ratings"
        count = int(known.given[user])
        title = f"user {known.users[user]}"
        parts.append(Grid(("item", what[:-1]), history, title=f"{title}: best of {count} {what}"))
        parts.append(Grid(("item", "score"), listed, title=f"{title}: list"))
    text = "Users with most, middling and few ratings: the items that they liked best, and their lists."
    if lists.order:
        text += f" Order: {lists.order}."
    return Section("Example users", text, parts)


def _popularity_section(run: RecommenderRun, known: Interactions) -> list[Section]:
    """Lists of users drawn at random: how often each item is in them, and their scores on held-out pairs."""
    users = np.flatnonzero(known.given > 0)
    users = np.sort(np.random.default_rng(0).permutation(users)[:SCORED])
    lists = run.recommend(known.users[users], n=10, reasons=0)
    place = {item: index for index, item in enumerate(known.items)}
    counts = np.bincount([place[item] for item in lists.items], minlength=len(known.items))
    shown = np.flatnonzero(counts)
    if not len(shown):
        return []
    name_of = item_labels(known)
    share = 100 * counts[shown] / len(users)
    names = [name_of(str(item)) for item in known.items[shown]]
    notes = [
        f"{int(known.received[item])} ratings, in {value:.1f} % of the lists"
        for item, value in zip(shown, share, strict=True)
    ]
    received = np.maximum(known.received[shown], 1)
    chart = Chart(
        "items by popularity",
        [Line("items", received, share, joined=False, names=names, notes=notes)],
        Axis("ratings of the item", log=True),
        Axis("% of the lists", zero=True),
        labels=10,
    )
    text = (
        f"Lists of 10 for {len(users)} users{' drawn at random' if len(users) == SCORED else ''}: they hold "
        f"{len(shown)} of {len(known.items)} items. A method that only lists what is popular puts all "
        "its dots at the right."
    )
    scores = _list_scores(run, known, users)
    if read_score(scores, "ndcg") < read_score(
        read_scores(read_scores(scores, "baselines"), "most_popular"), "ndcg"
    ):
        text += " Here what is popular makes the better lists: where lists matter, compare --kind implicit."
    return [Section("Lists against popularity", text, (Charts([chart]), *lists_grid(scores)))]


def _list_scores(run: RecommenderRun, known: Interactions, users: NDArray[np.int64]) -> Scores:
    """Scores of these users' lists on the pairs that the fit held out; none where it held out none."""
    if known.held_users is None or known.held_items is None or run.members:
        return {}
    own = np.isin(known.held_users, users)
    if not own.any():
        return {}
    test = Ratings(
        users=known.users,
        items=known.items,
        user_index=known.held_users[own],
        item_index=known.held_items[own],
        ratings=np.ones(int(own.sum()), np.float32),
        times=None,
        scale=known.scale,
    )
    return {"n": 10.0, **evaluate_lists(run.lister()[0], test, n=10)[0]}


def lists_grid(scores: Scores) -> list[Part]:
    """Scores of lists beside those of the baselines; nothing where no list was scored."""
    baselines = read_scores(scores, "baselines")
    kept = [score for score in LISTS if read_score(scores, score) == read_score(scores, score)]
    if not kept:
        return []
    compared: Mapping[str, Mapping[str, Score]] = {
        "this run": scores,
        "the most popular items": read_scores(baselines, "most_popular"),
        "neighbours of the user's items": read_scores(baselines, "item_neighbours"),
    }
    rows: list[list[Cell | str]] = [
        [who, *(Cell(_figure(read_score(own, score))) for score in kept)]
        for who, own in compared.items()
        if own
    ]
    users = read_score(scores, "users")
    counted = f", of {users:.0f} users with held-out items" if users == users else ""
    title = f"lists of {read_score(scores, 'n'):.0f}{counted}"
    return [Grid(("", *(LISTS[score] for score in kept)), rows, title=title)]


def _figure(value: float) -> str:
    return "" if value != value else f"{value:.4f}"


def neighbours_section(known: Interactions, vectors: NDArray[np.float32]) -> list[Section]:
    """The items that are nearest to the most rated ones, by the cosine of their vectors (items, width)."""
    rated = np.flatnonzero(known.received >= LEAST)
    asked = rated[np.argsort(-known.received[rated], kind="stable")[:ITEMS]]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(length > 0, length, 1)
    if len(rated) <= NEAREST or not length[asked].any():
        return []
    cosine = units[asked] @ units[rated].T
    cosine[rated[None, :] == asked[:, None]] = -np.inf
    name_of = item_labels(known)
    rows: list[list[Cell | str]] = []
    for index, item in enumerate(asked):
        nearest = np.argsort(-cosine[index], kind="stable")[:NEAREST]
        found = (f"{name_of(str(known.items[rated[at]]))} ({cosine[index, at]:.2f})" for at in nearest)
        rows.append([name_of(str(known.items[item])), ", ".join(found)])
    text = (
        "The most rated items, and those nearest to each by the cosine of their vectors: items that "
        f"please the same people. Only items with {LEAST} ratings and more. More: tenfold similar."
    )
    return [Section("Item neighbours", text, (Grid(("item", "nearest, with their cosine"), rows),))]
