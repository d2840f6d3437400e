"""The items that lists are made of when they are scored: given as a file, drawn at random, or all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import numpy as np

from tenfold.collab.ids import as_ids
from tenfold.collab.protocol import Ranking
from tenfold.data.ratings.roles import KNOWN_NAMES, find_roles, names_users
from tenfold.data.tables.table import Table, read_table
from tenfold.errors import RatingsError
from tenfold.runs.reading import read_as_trained
from tenfold.schema import Schema

__all__ = ["read_ranking"]


def read_ranking(
    candidates: object, negatives: int | None, schema: Schema, about: Mapping[str, object], notes: list[str]
) -> Ranking:
    """What lists are made of.

    candidates: ids of items; or a table (path, data frame, mapping): of a single column, each row is an
    item, and of several those of the users and the items are found by the run's names or well-known ones.
    With a column of users each user has their own candidates.  schema, about: of the run, and its
    ``run.json``. Messages are added to `notes`.
    """
    if candidates is None:
        return Ranking(negatives=negatives)
    framed = isinstance(candidates, str | os.PathLike | Mapping | Table) or hasattr(candidates, "columns")
    if not framed and isinstance(candidates, Iterable):
        return Ranking(as_ids([*candidates]), negatives=negatives)
    user, item = (column.name for column in schema.ids[:2])
    table = read_table(candidates)
    if len(table.names) == 1:
        # Nothing tells a heading from an id but its words: a line above the ids is one only if it names them.
        headings = {str(item).casefold(), *KNOWN_NAMES["item"]}
        if isinstance(candidates, str | os.PathLike):
            table = read_table(candidates, header=False)
        ids = as_ids(table.text(table.names[0]))
        headed = isinstance(candidates, str | os.PathLike) and str(ids[0]).casefold() in headings
        return _checked(Ranking(ids[1:] if headed else ids), table.source)
    table = read_as_trained(candidates, about, {}, (), usual_names=True)
    own = user if user in table.names else None
    roles = find_roles(
        table,
        user=own,
        item=item if item in table.names else None,
        kind="implicit",
        time=False,
        one_user=own is None and table.header and not names_users(table),
    )
    users = None if roles.user is None else as_ids(table.text(roles.user))
    notes.append(f"candidates: {roles.notes[0]}" if roles.notes else f"candidates: {table.source}")
    return _checked(Ranking(as_ids(table.text(roles.item)), users), table.source)


def _checked(ranking: Ranking, source: str) -> Ranking:
    assert ranking.items is not None
    empty = np.flatnonzero(ranking.items == "")
    if len(empty) or not len(ranking.items):
        raise RatingsError(
            f"{source}: {len(empty)} of {len(ranking.items)} candidates have no id",
            fix="give a table with the id of an item in each row",
        )
    return ranking
