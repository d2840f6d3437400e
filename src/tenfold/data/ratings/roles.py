"""Which column of a table is the user, the item, the rating, the time and the title."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import look_alikes
from tenfold.data.tables.table import Table
from tenfold.errors import LISTED, SchemaError
from tenfold.events import Detail
from tenfold.values import id_text, other_spelling

__all__ = [
    "KNOWN_NAMES",
    "OF_RUN",
    "Roles",
    "find_column",
    "find_key",
    "find_roles",
    "item_titles",
    "names_users",
    "read_listed_ids",
    "read_ids",
]

#: Column names by role, the likelier first, compared without case, blanks, dots and underscores.
KNOWN_NAMES = {
    "user": (
        "user userid uid useridx userkey customerid customer memberid member reviewerid reviewer visitorid "
        "visitor personid person accountid account clientid client sessionid listenerid readerid profileid"
    ).split(),
    "item": (
        "item itemid iid movieid productid asin parentasin isbn bookid songid trackid artistid jokeid "
        "articleid filmid gameid recipeid businessid sku contentid animeid showid newsid itemkey movie "
        "product book song track artist joke article film game recipe business anime title"
    ).split(),
    "rating": (
        "rating ratings score stars star overall userrating reviewscore grade vote preference value"
    ).split(),
    "time": (
        "timestamp time unixreviewtime reviewtime unixtime datetime date ratedat createdat eventtime ts when"
    ).split(),
    "title": (
        "title name itemname movietitle producttitle movie product book song track artist label"
    ).split(),
}

#: What a table for a finished run has to be like.
OF_RUN = "as in the table that the run was fitted to"
#: A name that a reader makes up where the table has none.
UNNAMED = re.compile(r"(column|col|field|f|x|v|c)?[ _]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Roles:
    """Which column serves as what; None if there is none. user: None if all rows are of one user."""

    user: str | None
    item: str
    rating: str | None
    time: str | None
    notes: tuple[str, ...] = ()


def find_roles(
    table: Table,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | bool | None = None,
    kind: str | None = None,
    one_user: bool = False,
    of_run: Mapping[str, str | None] | None = None,
) -> Roles:
    """Choose the columns of the user, the item, the rating and the time; SchemaError if that is unclear.

    Names not given are looked for among `KNOWN_NAMES`, or by position in a table without header: user, item,
    rating, time. time=False looks for no time. kind="implicit" needs no rating, kind="explicit" does.
    one_user: no column of users is looked for.  of_run: role -> name in the table that a finished run was
    fitted to, by which errors ask for a missing column.
    """
    given = {"user": user, "item": item, "rating": rating, "time": time if isinstance(time, str) else None}
    roles = {role: find_column(table, name) for role, name in given.items() if name is not None}
    _check_once(table, roles)
    unnamed = _unnamed(table)
    for role in given:
        if role in roles or (role == "time" and time is False) or (role == "user" and one_user):
            continue
        free = [name for name in table.names if name not in roles.values()]
        name = next(iter(free), None) if unnamed else _known(role, free)
        guessed = unnamed and role == "rating" and kind != "explicit"
        if guessed and name is not None and _is_clock(table, name):
            continue  # user, item, time: a "rating" of 881250949 is a moment
        if name is not None:
            roles[role] = name
    for role in ("item",) if one_user else ("user", "item"):
        if role not in roles:
            raise _no_role(table, role, of_run)
    if "rating" not in roles:
        _check_implicit(table, roles, kind, of_run)
    how = "by their place, since there is no header" if unnamed else "by their names"
    how = "as given" if all(given[role] for role in roles) else how
    taken = [f"{roles[role]} is the {role}" for role in given if role in roles]
    taken_as = f"columns, {how}: {', '.join(taken)}{'' if 'rating' in roles else ', no rating'}"
    notes = [Detail(taken_as) if how == "as given" else taken_as]
    left = [name for name in table.names if name not in roles.values()]
    if left:
        notes.append(f"columns not used: {', '.join(left[:LISTED])}{' ...' if len(left) > LISTED else ''}")
    return Roles(roles.get("user"), roles["item"], roles.get("rating"), roles.get("time"), tuple(notes))


def find_column(table: Table, name: str) -> str:
    """The table's column of that name; case, blanks and underscores are forgiven if a single column fits.

    In a table without header, a number is a position, from 1.
    """
    if name in table.names:
        return name
    if not table.header and name.isdecimal() and 1 <= int(name) <= len(table.names):
        return table.names[int(name) - 1]
    near = [column for column in table.names if _folded(column) == _folded(name)]
    return near[0] if len(near) == 1 else table.column(name)


def read_ids(table: Table, column: str) -> tuple[NDArray[np.uint32], NDArray[np.object_], tuple[str, ...]]:
    """Codes of a column of ids, the ids in the order of their first row, and messages.

    Ids are spelled as `values.id_text` says, so that an id in two Unicode forms is the same id; the empty
    text is a missing id. Ids that only look alike stay different, which a message says.
    """
    codes, texts = table.codes(column)
    spelled = [id_text(text) for text in texts]
    notes = []
    altered = [text for text, name in zip(texts, spelled, strict=True) if text != name]
    if altered:
        code_of: dict[str, int] = {}
        moved = np.array([code_of.setdefault(name, len(code_of)) for name in spelled], np.uint32)
        codes, spelled = moved[codes], list(code_of)
        twice = len(texts) - len(spelled)
        how = (
            f", so that {twice} more {'spelling is' if twice == 1 else 'spellings are'} of ids that are there"
        )
        notes.append(
            f"{column}: {len(altered)} ids are read in Unicode's composed form (NFC), without invisible ends"
            f"{how if twice else ''}; first: {id_text(altered[0])}"
        )
    # Whole numbers without leading zeros resemble no others.
    numbers = all(name.isdecimal() and name.isascii() and (name[0] != "0" or name == "0") for name in spelled)
    alike = [] if numbers else look_alikes(spelled)
    if alike:
        shown = "; ".join(" / ".join(group) for group in alike[:3])
        more = f" and {len(alike) - 3} more" if len(alike) > 3 else ""
        notes.append(f"{column}: look-alikes are kept as different ids: {shown}{more}")
    return codes, np.array(spelled, object), tuple(notes)


def read_listed_ids(
    table: Table, column: str, known: Sequence[str] | NDArray[np.object_]
) -> tuple[NDArray[np.uint32], list[str], tuple[str, ...]]:
    """As `read_ids`, for a table about known ids: ``1.0`` is 1 if more ids match so."""
    codes, texts, _ = read_ids(table, column)
    ids: list[str] = texts.tolist()
    others = [other_spelling(name) or name for name in ids]
    spelled = set(ids)
    same, other = (sum(name in names for name in known) for names in (spelled, set(others) - {""}))
    if other <= same or len(set(others)) < len(others):
        return codes, ids, ()
    first = next(row for row, name in enumerate(others) if name != ids[row])
    said = f"{table.source}, {column}: whole numbers are read as the ratings write them, "
    return codes, others, (said + f"{ids[first]} as {others[first]}",)


def names_users(table: Table) -> bool:
    """Whether the table has a column of users; without a header: whether it has more than two columns."""
    return len(table.names) > 2 if _unnamed(table) else _known("user", table.names) is not None


def find_key(table: Table, role: str, key: str | None = None) -> str:
    """The column of a side table with the ids of `role`: as named, by a well-known name, or the first.

    A column ``id`` comes before those that may hold titles, as ``title`` and ``movie``.
    """
    if key is not None:
        return find_column(table, key)
    if _unnamed(table):
        return table.names[0]
    known = _known(role, table.names)
    plain = next((name for name in table.names if _folded(name) == "id"), None)
    titles = KNOWN_NAMES["item"][KNOWN_NAMES["item"].index("movie") :]
    if plain is not None and (known is None or _folded(known) in titles):
        return plain
    return known or table.names[0]


def item_titles(
    table: Table, items: NDArray[np.object_], *, key: str | None, name: str | None, item: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Titles by item id ("" where a listed item has none), and how rated and listed items compare."""
    unnamed = _unnamed(table)
    if key is None and item in table.names and not unnamed:
        key = item
    key = find_key(table, "item", key)
    rest = [column for column in table.names if column != key]
    if name is not None:
        name = find_column(table, name)
    else:
        name = (rest[0] if rest else None) if unnamed else _known("title", rest)
    codes, ids, spelt = read_listed_ids(table, key, items)
    titles = table.text(name) if name is not None else [""] * table.rows
    names: dict[str, str] = {}
    others: dict[str, str] = {}
    for code, title in zip(codes, titles, strict=True):
        own = str(title).strip()
        if names.setdefault(ids[code], own) != own:
            others.setdefault(ids[code], own)
    names.pop("", None)
    others.pop("", None)
    rated = sum(item in names for item in items)
    notes = [
        f"{table.source} lists {len(names)} items ({key} is the id, {name or 'no column'} the title): "
        f"{rated} rated, {len(names) - rated} only listed; {len(items) - rated} rated items are not listed"
    ]
    notes += spelt
    if others:
        first, other = next(iter(others.items()))
        are = "item is" if len(others) == 1 else "items are"
        notes.append(
            f"{len(others)} {are} listed again with another title: the first counts, as of {first} "
            f"{names[first]!r} and not {other!r}"
        )
    if rated == 0:
        notes.append(f"no rated item is listed in {table.source}: are its ids ({key}) of the same kind?")
    return names, tuple(notes)


# --- which column is which -------------------------------------------------------------------------


def _unnamed(table: Table) -> bool:
    return all(UNNAMED.fullmatch(name) for name in table.names)


def _check_once(table: Table, roles: dict[str, str]) -> None:
    for role, name in roles.items():
        other = next((other for other, taken in roles.items() if taken == name and other != role), None)
        if other is not None:
            raise SchemaError(
                f"{table.source}: column {name!r} is named as {role} and as {other}",
                found=", ".join(table.names),
                fix="name two different columns",
            )


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def _known(role: str, names: Sequence[str]) -> str | None:
    by_folded = {_folded(name): name for name in reversed(names)}
    return next((by_folded[known] for known in KNOWN_NAMES[role] if known in by_folded), None)


def _no_role(table: Table, role: str, of_run: Mapping[str, str | None] | None) -> SchemaError:
    # On the command line a rating is what is predicted, as in any other training.
    fix = f"name it: --{'target' if role == 'rating' else role} COLUMN ({role}= in Python)"
    if of_run is not None:
        fix = f"call it {(of_run.get(role) or role)!r}, {OF_RUN}"
    return SchemaError(
        f"{table.source}: no column is known as the {role}", found=", ".join(table.names), fix=fix
    )


def _check_implicit(
    table: Table, roles: dict[str, str], kind: str | None, of_run: Mapping[str, str | None] | None
) -> None:
    """Refuse to guess: without a known rating column, a column of numbers could be the rating."""
    if kind == "explicit":
        raise _no_role(table, "rating", of_run)
    left = [name for name in table.names if name not in roles.values()]
    numbers = [name for name in left if _holds_numbers(table, name)] if kind is None else []
    if numbers:
        raise SchemaError(
            f"{table.source}: no column is known as the rating",
            found=", ".join(table.names),
            fix=f"--target {numbers[0]} if that is the rating, or --kind implicit if each row is an event",
        )


def _holds_numbers(table: Table, name: str) -> bool:
    values, wrong = table.try_numbers(name)
    return bool(np.isfinite(values).any() and not wrong.any())


def _is_clock(table: Table, name: str) -> bool:
    return _holds_numbers(table, name) and bool(np.nanmin(table.try_numbers(name)[0]) >= 1e8)
