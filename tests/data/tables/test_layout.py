"""Separators, headers, records and line numbers."""

from __future__ import annotations

from typing import Any

import pytest

from tenfold.data.tables.layout import (
    Layout,
    find_layout,
    iterate_records,
    row_lines,
    separator_name,
    survey_quotes,
)
from tenfold.errors import TableError


def layout(text: str, **options: Any) -> Layout:
    return find_layout(text.encode(), name="a.csv", **options)


@pytest.mark.parametrize(
    ("text", "separator", "columns"),
    [
        ("id,label\n1,a\n", ",", 2),
        ("1::10::5::97830\n2::11::3::97831\n", "::", 4),
        ("7::Café: The Movie (1995)::Drama|Comedy\n8::B::Drama|War\n", "::", 3),
        ("1\t10\t5\n2\t11\t3\n", "\t", 3),
        ("a;b\n1,5;2,5\n", ";", 2),
        ("1,5;2,5;3,5\n2,5;3,5;4,5\n", ";", 3),
        ("1;3,5\n2;4,5\n", ";", 2),
        ("1|24|M|technician|85711\n2|53|F|other|94043\n", "|", 5),
        ("1,10,a|b|c|d\n2,11,a|b|c|e\n", ",", 3),
        ("1\ta,b\tc\n2\td,e\tf\n", "\t", 3),
        ('id,title\n1,"a;b;c"\n2,"d;e;f"\n', ",", 2),
        ("196 242 3 881250949\n186 302 3 891717742\n", " ", 4),
        ("  1   2\t3\n 10  20 30\n", " ", 3),
        ("user item rating\nu1 i1 4\nu2 i2 5\n", " ", 3),
        ("id,caption\n1,well, yes\n2,no\n3,maybe\n", ",", 2),
        ("a,2021-03-01 10:00:00\nb,2021-03-02 10:00:00\n", ",", 2),
    ],
)
def test_the_separator_is_found_and_said(text: str, separator: str, columns: int) -> None:
    found = layout(text)
    assert found.separator == separator and len(found.names) == columns
    assert f"the separator is {separator_name(separator)} (found)" in found.notes


@pytest.mark.parametrize(
    "text", ["1#10#5\n2#11#3\n", "1:10:5\n2:11:3\n", "user~item\nu~i\n", "a^b\n1^2\n", "a=1\nb=2\n"]
)
def test_a_file_that_no_separator_fits_is_refused(text: str) -> None:
    with pytest.raises(TableError) as error:
        layout(text)
    first = text.split("\n")[0]
    assert f"found 1 column in a.csv; first line is {first!r}" in str(error.value)
    assert "give --sep" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "id\n1.jpg\n2.jpg\n",
        "cat\ndog\n",
        "New York\nOslo\n",
        "John Smith\nAnn Lee\n",
        "caption\nhello, you\nfoo\nbar\n",
    ],
)
def test_one_column_is_one_column_and_said(text: str) -> None:
    found = layout(text)
    assert len(found.names) == 1 and "a.csv has 1 column" in found.notes[0]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("::", "a::b\n1::2\n"),
        ("tab", "a\tb\n1\t2\n"),
        ("\\t", "a\tb\n1\t2\n"),
        ("space", "a b\n1 2\n"),
        ("\\s+", "a b\n1 2\n"),
    ]
    + [("#", "a#b\n1#2\n"), (" - ", "a - b\n1 - 2\n"), ("semicolon", "a;b\n1;2\n"), ("¦", "a¦b\n1¦2\n")],
)
def test_the_separator_can_be_given(given: str, text: str) -> None:
    assert layout(text, separator=given).names == ("a", "b")


def test_a_given_separator_that_does_not_fit_is_refused() -> None:
    with pytest.raises(TableError, match="found 1 column in a.csv with --sep ';'"):
        layout("id,label\n1,a\n", separator=";")
    for bad in ("", "\n", '"'):
        with pytest.raises(TableError, match="cannot separate"):
            layout("id,label\n1,a\n", separator=bad)
    assert layout("id\n1.jpg\n", separator=",").names == ("id",)


def test_the_line_in_which_spreadsheets_name_the_separator() -> None:
    found = layout("sep=;\nid;label\n1,5;b\n")
    assert found.names == ("id", "label") and found.line == 3


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("userId,movieId,rating,timestamp\n4,17,2.5,1300000100\n4,905,3.0,1300000160\n", True),
        ("user,item,rating\nu9,i8,four\n", True),
        ("image_id,label\n1.jpg,cat\n2.jpg,dog\n", True),
        ("image,kind\na.png,cat\nb.png,dog\n", True),
        ("photo,sort\n01/a.png,cat\nzz/b2.png,dog\n", True),
        ("a,b\n1,2\n", True),
        ("Name,Surname\nAnn,Lee\nBob,Ray\n", True),
        ("grade\n3\n4\n", True),
        ("image_id\n1.jpg\n2.jpg\n", True),
        ("label\ncat\ndog\n", True),
        ("id,label\n", True),
        ('"id","label"\n1,2\n', True),
        ("patient,when\np1,2021-03-01\np2,2021-03-02\n", True),
        ("10\t20\t3\t890000001\n", False),
        ("196 242 3 881250949\n186 302 3 891717742\n", False),
        ("1::F::1::10::48067\n2::M::56::16::70072\n", False),
        ("a.png,cat\nb.png,cat\n", False),
        ("a.png,cat\nb.png,dog\nc.png,bird\n", False),
        ("u1,i1,4\nu2,i2,5\n", False),
        ("u,i,4.5\nv,j,3\n", False),
        ("1.jpg\n2.jpg\n", False),
        ("cat\ndog\nbird\n", False),
        ("0.1,0.5\n0.2,0.7\n", False),
        ("cat,1\n", False),
        ("1,5;2\n3,5;4\n", False),
        ("ea7b6656-3f84.jpg,T-Shirt\nea2f-4d9b.jpg,Hat\n", False),
    ],
)
def test_a_header_is_found_and_said_in_both_directions(text: str, header: bool) -> None:
    found = layout(text)
    assert found.header == header
    assert ("is the header" in found.notes[1]) == header and ("no header" in found.notes[1]) != header
    first = len(text.split("\n")[0]) + 1
    assert (found.start, found.line) == ((first, 2) if header else (0, 1))


def test_a_header_can_be_given_or_denied() -> None:
    assert layout("1,2\n3,4\n", header=True).names == ("1", "2")
    assert layout("a,b\n1,2\n", header=False).names == ("column_1", "column_2")
    assert layout("1,2\n3,4\n", names=["x", " y "]).names == ("x", "y")
    assert layout("a,b\n1,2\n", names=["x", "y"]).start == 4
    with pytest.raises(TableError, match="3 names are given for the 2 columns"):
        layout("a,b\n1,2\n", names=["x", "y", "z"])
    with pytest.raises(TableError, match="'x' is the name of columns 1, 2"):
        layout("1,2\n3,4\n", names=["x", "x"])


def test_the_header_begins_after_empty_lines_and_may_span_some() -> None:
    found = layout('\n\n"first\nname",b\n1,2\n')
    assert found.names == ("first\nname", "b") and found.line == 5
    found = layout("é,b\n1,2\n")
    assert found.start == len("é,b\n".encode())


def test_records_know_their_lines_and_their_faults() -> None:
    text = 'a,b\n"x\ny",2\n\n \n3,"z""q"\n4,"u" v\n5,"open\n6,7\n'
    records = list(iterate_records(text, ",", quoting=True))
    assert [(one.line, one.cells) for one in records if not one.fault] == [
        (1, ["a", "b"]),
        (2, ["x\ny", "2"]),
        (6, ["3", 'z"q']),
        (9, ["6", "7"]),
    ]
    assert [(one.line, one.fault) for one in records if one.fault] == [
        (7, "cell 2: text stands after the closing quote"),
        (8, "cell 2: the quote is never closed"),
    ]
    assert [text[: one.end].count("\n") for one in records] == [1, 3, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("body", "regular", "count", "doubled", "line_ends"),
    [
        ('1,"a"\n', True, 2, 0, 0),
        ('"",""\n', True, 4, 0, 0),
        ('"""a""",1\n', True, 6, 2, 0),
        ('"a\nb","\n\n"\n', True, 4, 0, 3),
        ('1,"a"', True, 2, 0, 0),
        ('1,5"\n', False, 1, 0, 0),
        ('1,a"b"\n', False, 2, 0, 0),
        ('1,"a"b\n', False, 2, 0, 0),
        ('1,"a\n', False, 1, 0, 1),
    ],
)
def test_quotes_are_surveyed(body: str, regular: bool, count: int, doubled: int, line_ends: int) -> None:
    # An open quote in the header must not count.
    quotes = survey_quotes(b'a",b\n' + body.encode(), 5, b",")
    assert (quotes.regular, quotes.count) == (regular, count)
    if regular:
        assert (quotes.doubled, quotes.line_ends) == (doubled, line_ends)


def test_quotes_are_surveyed_across_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'1,"a ""b"" c","\n"\n"",2,3\n' * 5
    whole = survey_quotes(body, 0, b",")
    for piece in (1, 2, 3, 7):
        monkeypatch.setattr("tenfold.data.tables.layout._PIECE", piece)
        assert survey_quotes(body, 0, b",") == whole
    assert whole.regular and whole.doubled == 10 and whole.line_ends == 5


def test_rows_know_their_lines() -> None:
    data = b'x\n\n1,"a\nb"\n\n2,c\n3,d'
    assert row_lines(data, 2, 2, quoted=True).tolist() == [3, 6, 7]
    assert row_lines(b"1\n2\n", 0, 1, quoted=False).tolist() == [1, 2]
    assert row_lines(b"\n\n", 0, 1, quoted=False).tolist() == []
