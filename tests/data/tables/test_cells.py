"""Numbers, kinds and look-alikes of texts."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.data.tables.cells import (
    judge_kind,
    look_alikes,
    parse_numbers,
    respelled,
    whole_number,
    word_codes,
    writes_decimal_comma,
)


def test_a_whole_number_has_one_spelling() -> None:
    plain = ["0", "7", "-7", "10", "999999999999999999"]
    other = ["", "-0", "+7", "007", " 7", "7.0", "1e5", "0x10", "٣", "1234567890123456789", "--1", "1_0"]
    assert [text for text in plain + other if whole_number(text)] == plain


def test_numbers_and_where_they_are_none() -> None:
    texts = [
        "1",
        "+1.5",
        "-.5",
        "2.",
        "1e3",
        "-1E-2",
        "",
        "x",
        "nan",
        "inf",
        "1e999",
        "1,5",
        "0x1",
        "1_0",
        "٣",
    ]
    values, bad = parse_numbers(texts)
    assert values[:6].tolist() == [1, 1.5, -0.5, 2, 1000, -0.01]
    assert np.flatnonzero(bad).tolist() == list(range(6, len(texts))) and np.isnan(values[6:]).all()
    assert parse_numbers(["1,5", "2", "-,5"], decimal_comma=True)[0].tolist() == [1.5, 2, -0.5]


@pytest.mark.parametrize(
    ("texts", "comma"),
    [
        (["1,5", "2"], True),
        (["1,234", "0,5"], True),
        (["0,125"], True),
        (["1234,567"], True),
        (["1,234"], False),
        (["1,234", "12,500", "7"], False),
        (["1,5", "2.5"], False),
        (["1,5", "x"], False),
        (["1.234,5"], False),
        (["1", "2"], False),
        ([], False),
    ],
)
def test_decimal_commas_are_told_from_thousands(texts: list[str], comma: bool) -> None:
    assert writes_decimal_comma(texts) == comma


def test_the_kind_does_not_depend_on_the_order_or_number_of_rows_beyond_a_limit() -> None:
    grades = [str(n) for n in range(5)]
    assert judge_kind("g", grades, [4] * 5)[0] == "category"
    assert judge_kind("g", grades[::-1], [4] * 5) == judge_kind("g", grades, [4] * 5)
    assert judge_kind("g", grades, [3] * 5)[0] == "undecided"
    assert judge_kind("g", [str(n) for n in range(21)], [99] * 21)[0] == "undecided"
    assert judge_kind("price", ["1,5", "2"], [5, 5], decimal_comma=True) == (
        "number",
        "price: a number from 1.5 to 2",
    )


def test_look_alikes_are_grouped_and_others_are_not() -> None:
    groups = [
        ["cat", "Cat", "CAT", "c\u200bat"],
        ["Not sure", "not  sure", "Not\u00a0sure", "notsure"],
        ["café", "cafe\u0301", "CAFÉ"],
        ["straße", "STRASSE"],
        ["1", "1.0", "01", "1.", "+1"],
        ["T-Shirt", "t_shirt", "TShirt"],
        ["ﬁg", "fig"],
    ]
    alone = ["dog", "dogs", "-1", "-", "", "1.5", "15", "2", "cafe", ".3", "03"]
    names = [name for group in groups for name in group] + alone
    rng = np.random.default_rng(0)
    found = look_alikes(rng.permutation(np.array(names, object)).tolist())
    assert sorted(map(sorted, found)) == sorted(map(sorted, groups))
    assert look_alikes(["a", "a", "b"]) == []


@pytest.mark.metamorphic(
    "a word in another form of Unicode, or 1.0 for 1, is the same word in an exported graph"
)
def test_words_of_a_graph_in_their_other_forms() -> None:
    words = ("", "1", "2.0", "3", "3.0", "caf\u00e9", "\u212b", "smith")
    codes = word_codes(words)
    assert [codes[word] for word in words] == list(range(1, 9))
    assert (codes["1.0"], codes["2"], codes["cafe\u0301"]) == (2, 3, 6)
    assert codes["\u00c5"] == codes["A\u030a"] == 7  # the sign of Angstrom is the letter
    asked = {*codes, "Smith", "1.5", "01", "3.00"}
    same = {**{word: word for word in words}, **respelled(asked, words)}
    assert {word: words.index(known) + 1 for word, known in same.items() if known in words} == codes
