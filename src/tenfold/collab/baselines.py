"""What lists must beat: the most popular items, and what the users of a user's items took as well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.item_item import CORE, ItemItem, core_of, fits_in_memory
from tenfold.collab.item_scorer import Taste
from tenfold.collab.predict import RuledOut
from tenfold.metrics import ItemLists
from tenfold.values import Interactions

__all__ = ["NEIGHBOURS", "fit_neighbours", "most_popular", "neighbour_lists"]

Ints = NDArray[np.int64]
#: Neighbours that each item keeps.
NEIGHBOURS = 100


def fit_neighbours(known: Interactions, core: int = CORE) -> ItemItem | None:
    """Cosines between items by who took them, the 100 highest of each; None if memory does not hold them.

    Cosine of i and j: users of both / sqrt(users of i x users of j) (Sarwar, Karypis, Konstan and Riedl 2001,
    "Item-based collaborative filtering recommendation algorithms"; Deshpande and Karypis 2004). A rating
    counts as taken, however low. At most `core` items, the most taken ones.
    """
    from tenfold.collab import kernels  # compiled code takes its time to load

    chosen = core_of(known.received, core)
    if not fits_in_memory(len(chosen)):
        return None
    place = ItemItem(chosen, np.zeros((0, 0), np.float32)).places(known)[known.seen_items]
    there = place >= 0
    sizes = np.bincount(known.owners[there], minlength=len(known.users))
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    cosine = np.zeros((len(chosen), len(chosen)), np.float32)
    kernels.add_pairs(start, place[there], np.ones(int(there.sum()), np.float32), cosine)
    cosine += np.triu(cosine, 1).T
    length = np.sqrt(np.maximum(np.diag(cosine), 1))
    cosine /= length
    cosine /= length[:, None]
    np.fill_diagonal(cosine, 0)
    if len(chosen) > NEIGHBOURS:
        # Column i: what i keeps of its neighbours. A tie at the end keeps all that are tied.
        least = np.partition(cosine, len(chosen) - NEIGHBOURS, axis=0)[len(chosen) - NEIGHBOURS]
        cosine[cosine < least] = 0
    return ItemItem(chosen, cosine)


def neighbour_lists(
    known: Interactions, model: ItemItem, users: Ints, allowed: NDArray[np.bool_], out: RuledOut, n: int
) -> ItemLists:
    """For each user, the n allowed items with the highest sum of cosines to what the user took."""
    plain = Interactions(
        users=known.users,
        items=known.items,
        scale=known.scale,
        seen_start=known.seen_start,
        seen_items=known.seen_items,
        seen_ratings=known.seen_ratings,
        implicit=True,  # each rating counts 1
    )
    taste = Taste(model, plain)
    return ItemLists.of(
        [taste.first(int(user), allowed, out(slice(row, row + 1))[1], n)[0] for row, user in enumerate(users)]
    )


def most_popular(
    known: Interactions, users: Ints, allowed: NDArray[np.bool_], out: RuledOut, n: int
) -> ItemLists:
    """For each user, the n allowed items that most users took."""
    order = np.argsort(-known.received, kind="stable")
    order = order[allowed[order]]
    rank = np.full(len(known.items), len(order))
    rank[order] = np.arange(len(order))
    chosen = []
    for row in range(len(users)):
        ranks = rank[out(slice(row, row + 1))[1]]
        free = np.ones(min(len(order), n + len(ranks)), np.bool_)
        free[ranks[ranks < len(free)]] = False
        chosen.append(order[: len(free)][free][:n])
    return ItemLists.of(chosen)
