"""Meaning of a column's texts: numbers, or names of classes. Pure; whole columns, never samples."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import LISTED, shortened
from tenfold.values import id_text, other_spelling

_POINT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?(?:[0-9]+,[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)?")
#: 1,234 may be a thousand or one and a bit.
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_WHOLE = re.compile(r"-?[1-9][0-9]{0,17}|0")
_OR_POINT_ZERO = re.compile(r"([+-]?[0-9]+)(?:\.0+)?")
_PICTURE = re.compile(r".+\.(?:jpe?g|png|gif|bmp|tiff?|webp|heic|heif|avif|jxl|ppm|pgm)", re.IGNORECASE)
_BLANKS = re.compile(r"[\s\u200b-\u200d\u2060\ufeff]+")

#: Whole numbers with so few different values, each so frequent, are classes and not a quantity.
MOST_CLASSES = 20
ROWS_PER_CLASS = 4


def is_number(text: str) -> bool:
    """Does Python read this text as a float, infinities and NaN included?"""
    try:
        float(text)
    except ValueError:
        return False
    return True


def whole_number(text: str) -> bool:
    """Is this a whole number in its canonical form (no leading zero, no plus), below 10^18?"""
    return _WHOLE.fullmatch(text) is not None


def writes_decimal_comma(texts: Iterable[str]) -> bool:
    """Do a column's texts write numbers with a decimal comma?

    All must be numbers without a point, and at least one must not look like thousands: cells such as
    ``1,234`` alone can be read in two ways.
    """
    seen = False
    for text in texts:
        if _COMMA.fullmatch(text):
            seen = seen or not _THOUSANDS.fullmatch(text)
        elif "." in text or not _POINT.fullmatch(text):
            return False
    return seen


def parse_numbers(
    texts: Sequence[str], *, decimal_comma: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers, NaN for any other text, and a mask of the other texts.

    Only finite decimal numbers in ASCII digits are numbers: not ``nan``, ``inf``, ``1_000``, ``0x1F`` or
    groups of thousands.
    """
    values = np.full(len(texts), np.nan)
    for index, text in enumerate(texts):
        if decimal_comma and _COMMA.fullmatch(text):
            values[index] = float(text.replace(",", "."))
        elif _POINT.fullmatch(text):
            values[index] = float(text)
    # A number too large for a float has become infinite.
    values[~np.isfinite(values)] = np.nan
    return values, np.isnan(values)


def judge_kind(
    name: str, texts: Sequence[str], counts: Sequence[int], *, decimal_comma: bool = False
) -> tuple[str, str]:
    """A column's likely kind from all its texts, and a message that says why.

    texts: the different texts, without missing cells.  counts: rows with each.

    The kind is ``image`` (names of pictures), ``category``, ``number``, ``id`` (texts that differ in every
    row), ``undecided`` (whole numbers that may be classes or a quantity) or ``empty``.
    """
    rows, different = sum(counts), len(texts)
    if not rows:
        return "empty", f"{name}: every cell is empty"
    if all(map(_PICTURE.fullmatch, texts)):
        return "image", f"{name}: {different} names of pictures"
    values, bad = parse_numbers(texts, decimal_comma=decimal_comma)
    # Ids and codes keep leading zeros, quantities lose them.
    padded = any(re.match(r"[+-]?0[0-9]", text) for text in texts)
    few = different <= 2 or (different <= MOST_CLASSES and rows >= ROWS_PER_CLASS * different)
    if bad.any() or padded:
        if different == rows and rows > MOST_CLASSES:
            return "id", f"{name}: {different} different texts, one to a row"
        return "category", _classes(name, texts)
    if (values != np.floor(values)).any():
        return "number", f"{name}: a number from {values.min():g} to {values.max():g}"
    if few:
        return "category", _classes(name, texts)
    return "undecided", f"{name}: {different} different integers - classes or a number? give --target-type"


def _classes(name: str, texts: Sequence[str]) -> str:
    ordered = sorted(texts, key=lambda text: (_value(text), text))
    return f"{name}: {len(texts)} class{'es' if len(texts) != 1 else ''} {shortened(ordered, ' ')}"


def _value(text: str) -> float:
    return float(text) if _POINT.fullmatch(text) else math.inf


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that a reader would take for the same (``Cat`` and ``cat``), in the order they came.

    They differ in case, in blanks and invisible signs, in the Unicode form, in hyphens between letters, or in
    the spelling of a number (``1``, ``01``, ``1.0``). They are reported, never merged.
    """
    groups: dict[object, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(_likeness(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def respelled(strange: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Map each strange word to the known word it spells: ``1.0`` is ``1``, and ``1`` is ``1.0``.

    Programs write whole numbers as ``1.0`` once a cell of the column is empty. An accent is part of its
    letter however it was typed, as in ids. Nothing else is merged.
    """
    known = set(known)
    forms: dict[str, list[str]] = {}
    for word in known:
        forms.setdefault(_plain_form(word), []).append(word)
    same = {word: forms.get(_plain_form(word), []) for word in strange if word and word not in known}
    return {word: spellings[0] for word, spellings in same.items() if len(spellings) == 1}


def word_codes(words: Sequence[str]) -> dict[str, int]:
    """Map each word, and each other spelling that `respelled` takes for it, to its number from 1."""
    codes = {word: code for code, word in enumerate(words, start=1)}
    forms = (unicodedata.normalize(form, word) for form in ("NFC", "NFD") for word in words)
    same = respelled((*map(other_spelling, words), *forms), words)
    return codes | {form: codes[word] for form, word in same.items()}


def _plain_form(word: str) -> str:
    match = _OR_POINT_ZERO.fullmatch(word)
    return match[1] if match else id_text(word)


def alike_known(name: str, strange: Iterable[str], known: Iterable[str]) -> list[str]:
    """Notes on a column's strange words that a reader would take for a known word."""
    by_likeness = {_likeness(word): word for word in known if word}
    pairs = [(word, near) for word in strange if word and (near := by_likeness.get(_likeness(word)))]
    return [
        f"{name}: look-alikes {word} / {near} are not taken for each other" for word, near in pairs[:LISTED]
    ]


def _likeness(name: str) -> object:
    text = _BLANKS.sub("", name)
    if _POINT.fullmatch(text):
        return float(text)
    # Folding case can undo the normal form and the other way round, so both are done twice.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"(?<=[^\W\d_])[-_\u2010-\u2015](?=[^\W\d_])", "", _BLANKS.sub("", text))


def natural_order(name: str) -> tuple[int, float, str]:
    """Whole numbers in order of size, before all other names in order of spelling."""
    plain = name.lstrip("-")
    if plain.isascii() and plain.isdecimal():
        # As a float: hundreds of digits are then infinite, where int would refuse or overflow.
        return 0, float(name) if name.count("-") <= 1 else 0.0, name
    return 1, 0.0, name
