"""Tables of every form: what is read, what is said, and which line is named."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tenfold.data.tables.table import (
    Table,
    guess_kind,
    read_parquet_columns,
    read_table,
    write_parquet,
)
from tenfold.errors import SchemaError, TableError


def read(folder: Path, text: str | bytes, name: str = "train.csv", **options: Any) -> Table:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, **options)


def refusal(folder: Path, text: str | bytes, name: str = "train.csv", **options: Any) -> str:
    with pytest.raises(TableError) as error:
        read(folder, text, name, **options)
    return str(error.value)


def said(table: Table) -> str:
    return "\n".join(table.notes)


# Ids are text


@pytest.mark.parametrize(
    "id_",
    ["0007", "7", "1e5", "1E5", "+7", "-0", "7.0", ".7", "True", "false", "NaN", "inf", "0x1F", "1_000"]
    + ["2021-03-01", "05112025", "9007199254740993", "123456789012345678901234567890", "1/2", "٣", "½"],
)
def test_an_id_is_kept_letter_for_letter(tmp_path: Path, id_: str) -> None:
    table = read(tmp_path, f"id,label\n{id_},cat\n7,dog\n5,cat\n")
    assert table.text("id").tolist() == [id_, "7", "5"]
    codes, texts = table.codes("id")
    assert texts[codes].tolist() == [id_, "7", "5"]
    # The same at the end of a file whose beginning is plain whole numbers.
    late = read(tmp_path, "id,label\n" + "5,x\n" * 2000 + f"{id_},cat\n")
    assert late.codes("id")[1].tolist() == ["5", id_]


def test_users_that_differ_in_leading_zeros_are_two(tmp_path: Path) -> None:
    table = read(tmp_path, "user,item,rating\n007,1,5\n7,1,1\n")
    assert table.codes("user")[1].tolist() == ["007", "7"]


def test_one_column_has_one_type_in_a_long_file(tmp_path: Path) -> None:
    lines = ["user,item,rating", *(f"007,{i},3" for i in range(600_000)), "x9,3,5"]
    table = read(tmp_path, "\n".join(lines) + "\n")
    codes, users = table.codes("user")
    assert users.tolist() == ["007", "x9"]
    assert np.bincount(codes).tolist() == [600_000, 1]
    assert table.rows == 600_001 and table.lines[-1] == 600_002
    few = read(tmp_path, "\n".join(lines[:1001]) + "\n")
    assert few.codes("user")[1].tolist() == ["007"]
    assert table.numbers("item")[-2:].tolist() == [599_999, 3]


@pytest.mark.parametrize("odd", ["007", "x9", " 7", "-0", "+7", "0x7", "99999999999", "7.0", "é"])
def test_a_late_odd_cell_in_a_large_file_changes_no_other(tmp_path: Path, odd: str) -> None:
    count = 150_000  # more than the beginning that decides how the file is read
    body = "".join(f"{i % 50},{i},{i % 5 + 1}\n" for i in range(count))
    table = read(tmp_path, f"user,item,rating\n{body}{odd},1,5\n")
    codes, users = table.codes("user")
    assert users.tolist() == [*map(str, range(50))] + ([odd.strip()] if odd.strip() != "7" else [])
    assert table.numbers("item").sum() == count * (count - 1) / 2 + 1
    assert table.lines[[0, -1]].tolist() == [2, count + 2]


def test_long_ids_beside_an_empty_cell_stay_apart(tmp_path: Path) -> None:
    table = read(tmp_path, "user,item,rating\n9007199254740993,1,3\n9007199254740992,2,4\n,3,5\n")
    assert table.text("user").tolist() == ["9007199254740993", "9007199254740992", ""]
    assert table.missing("user").tolist() == [False, False, True]
    assert "user: 1 of 3 cells missing" in said(table)
    assert table.places("user", [2]) == ["line 4, column user: ''"]


# Missing


def test_only_an_empty_cell_is_missing(tmp_path: Path) -> None:
    words = ["NA", "None", "null", "US", "nan", "N/A", "NULL", "-", "?", "#N/A", ""]
    rows = "".join(f"{n}.png,{word}\n" for n, word in enumerate(words))
    table = read(tmp_path, f"id,country\n{rows}")
    assert table.text("country").tolist() == words
    assert table.missing("country").tolist() == [False] * 10 + [True]
    assert "country: 1 of 11 cells missing" in said(table)


def test_words_that_the_user_lists_are_missing(tmp_path: Path) -> None:
    text = "id,country,age,size\n1.png,NA,-999,1.5\n2.png,Nauru,5,NA\n3.png,na,7,2.5\n"
    table = read(tmp_path, text, missing_values=["NA", "-999"])
    assert table.text("country").tolist() == ["", "Nauru", "na"]
    np.testing.assert_array_equal(table.numbers("age"), [np.nan, 5, 7])
    np.testing.assert_array_equal(table.numbers("size"), [1.5, np.nan, 2.5])
    assert (
        "age: 1 of 3 cells missing" in said(table)
        and "id" not in said(table).split("missing")[0].split(": ")[-3]
    )
    assert read(tmp_path, text, missing_values="NA").missing("country").tolist() == [True, False, False]


def test_listed_words_are_missing_in_repeated_texts_and_frames(tmp_path: Path) -> None:
    text = "id,kind\n" + "1,unknown kind\n2,some kind\n" * 50
    table = read(tmp_path, text, missing_values=["unknown kind"])
    assert table.codes("kind")[1].tolist() == ["", "some kind"]
    frame = read_table({"a": [0.5, -1.0, 2.0]}, missing_values=["-1"])
    assert frame.missing("a").tolist() == [False, True, False]


def test_empty_labels_leave_class_names_as_they_are(tmp_path: Path) -> None:
    rows = ["a.png,1,round", "b.png,0,", "c.png,,square", "d.png,1,round"] * 3
    table = read(tmp_path, "id,colour,shape\n" + "\n".join(rows))
    assert sorted(set(table.text("colour"))) == ["", "0", "1"]
    assert "colour: 3 of 12 cells missing" in said(table)
    codes, texts = table.codes("shape")
    assert texts.tolist() == ["round", "", "square"] and codes.dtype == np.uint32


@pytest.mark.parametrize("blank", ["", "  ", '""', '" "', "\u00a0"])
def test_a_cell_of_blanks_is_empty(tmp_path: Path, blank: str) -> None:
    table = read(tmp_path, f"id,label\na,cat\nb,{blank}\n")
    assert table.missing("label").tolist() == [False, True]


# Text, marks and encodings


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfimage_id,label\na.png,cat\n").names == ("image_id", "label")
    assert read(tmp_path, b'\xef\xbb\xbf"image_id",label\na.png,cat\n').names == ("image_id", "label")
    table = read(tmp_path, b"\xef\xbb\xbf10\t20\t3\t890000001\n", "u.data")
    assert table.text(table.names[0]).tolist() == ["10"]


def test_a_file_in_cp1252_is_read_and_the_encoding_said(tmp_path: Path) -> None:
    table = read(tmp_path, "id,label\n1.png,café\n2.png,thé\n".encode("cp1252"))
    assert table.text("label").tolist() == ["café", "thé"]
    assert "train.csv is not UTF-8 (line 2, byte 0xE9): read as cp1252, as in 'café'" in said(table)


def test_a_foreign_byte_late_in_a_large_file_is_seen(tmp_path: Path) -> None:
    body = "".join(f"{i},cat number {i % 9}\n" for i in range(80_000)).encode()
    table = read(tmp_path, b"id,label\n" + body + "80000,café\n".encode("cp1252"))
    assert table.text("label")[-1] == "café" and "line 80002, byte 0xE9" in said(table)
    assert "line 80002" in refusal(tmp_path, b"id,label\n" + body + b"80000,a\0b\n")


def test_an_encoding_can_be_given(tmp_path: Path) -> None:
    text = "id,label\n1.png,кошка\n"
    assert "not UTF-8 (line 2, byte 0xEA)" in refusal(tmp_path, text.encode("cp1251"))
    table = read(tmp_path, text.encode("cp1251"), encoding="cp1251")
    assert table.text("label").tolist() == ["кошка"]
    assert read(tmp_path, text.encode("utf-16")).text("label").tolist() == ["кошка"]


def test_a_packed_file_is_unpacked(tmp_path: Path) -> None:
    text = b"image_id,label\n007,cat\n"
    for name in ("train.csv.gz", "train.csv"):
        table = read(tmp_path, gzip.compress(text), name)
        assert table.text("image_id").tolist() == ["007"] and table.source == name


# Rows


def test_a_row_of_another_length_is_named(tmp_path: Path) -> None:
    text = "movieId,title,genres\n1,Sun, Moon (1999),Drama\n2,Star, Sky (2000),Comedy\n"
    error = refusal(tmp_path, text, "movies.csv")
    assert "line 2 has 4 cells, the header has 3 (is a comma inside a title not quoted?)" in error
    assert "line 3 has 4 cells" in error and "movies.csv" in error


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("5", "1 cell,"),
        ("5,x,", "a comma too many at its end"),
        ("5,x,y,z", "4 cells"),
        ("5,'x,y'", "3 cells"),
    ],
)
def test_a_ragged_row_late_in_a_large_file_is_named(tmp_path: Path, row: str, word: str) -> None:
    body = "".join(f"{i},name of {i}\n" for i in range(70_000))
    error = refusal(tmp_path, f"id,name\n{body}{row}\n1,last\n")
    assert "line 70002 has" in error and word in error and "1 row does not fit" in error


def test_ten_ragged_rows_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    error = refusal(tmp_path, "a,b\n" + "1,2\n" * 200 + "1,2,3\n" * 14)
    assert error.count("  - line ") == 10 and "and 4 more" in error and "line 202 has" in error


def test_quoted_cells_hold_quotes_separators_and_line_ends(tmp_path: Path) -> None:
    text = 'movieId,title,genres\n1,"The ""Best"", Part 2",Drama\n2,"two\nlines",Comedy\n\n3,"",Action\n'
    for ends in ("\n", "\r\n", "\r"):
        table = read(tmp_path, text.replace("\n", ends))
        assert table.text("title").tolist() == ['The "Best", Part 2', "two\nlines", ""]
        assert table.rows == 3 and table.lines.tolist() == [2, 3, 6]


def test_line_numbers_count_line_ends_within_quotes_before_a_fault(tmp_path: Path) -> None:
    error = refusal(tmp_path, 'id,title\n1,"a\nb\nc"\n2,x,y\n3,"z\n"\n4,"q" r\n5,"open\n')
    assert "line 5 has 3 cells, the header has 2" in error
    assert "line 8, cell 2: text stands after the closing quote" in error
    assert "line 9, cell 2: the quote is never closed" in error
    table = read(tmp_path, 'id,n\n"1\n",2\n3,"4\n\n"\n5,x\n')
    with pytest.raises(TableError, match="line 7, column n: 'x'"):
        table.numbers("n")


def test_quotes_within_a_cell_are_text(tmp_path: Path) -> None:
    table = read(tmp_path, "id,size\n1,5'6\" tall\n2,x\n")
    assert table.text("size").tolist() == ["5'6\" tall", "x"]
    table = read(tmp_path, 'id, label\n1, "cat, dog"\n2, cow \n')
    assert table.text("label").tolist() == ["cat, dog", "cow"]


def test_quotes_in_tab_files_need_no_partner(tmp_path: Path) -> None:
    table = read(tmp_path, '1\t"Hello" she said\t3\n2\t"x\t4\n3\ty"\t5\n', "titles.tsv")
    assert table.text("column_2").tolist() == ['"Hello" she said', '"x', 'y"']
    table = read(tmp_path, 'id\ttitle\n1\t"He ""q"" llo"\n2\tx\n')
    assert table.text("title").tolist() == ['He "q" llo', "x"]
    table = read(tmp_path, 'id\ttitle\n1\t"a\tb"\n2\t"two\nlines"\n')
    assert table.text("title").tolist() == ["a\tb", "two\nlines"]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_systems(tmp_path: Path, ends: str) -> None:
    table = read(tmp_path, ends.join(["id,label", "1,cat", "", "2,dog", "  ", "3,cow", "", ""]))
    assert table.text("label").tolist() == ["cat", "dog", "cow"]
    assert table.lines.tolist() == [2, 4, 6]
    assert read(tmp_path, ends.join(["id,label", "1,cat", "2,dog"])).rows == 2


def test_rows_of_separators_alone_are_left_out_and_counted(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\n1,\n,\n2,x\n,\n,\n")
    assert table.text("a").tolist() == ["1", "2"] and table.lines.tolist() == [2, 4]
    assert "3 rows without any value are left out (line 3, 5, 6)" in said(table)
    assert "every cell is empty" in refusal(tmp_path, "a,b\n,\n,\n")


def test_empty_lines_in_a_large_file_keep_the_line_numbers(tmp_path: Path) -> None:
    body = "".join(f"{i},name {i}\n" for i in range(100_000))
    table = read(tmp_path, f"id,name\n\n{body}\n\n7,last\n\n\n")
    assert table.lines[[0, 99_999, 100_000]].tolist() == [3, 100_002, 100_005]


# Nothing to read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "train.csv is empty (0 bytes)"),
        ("\n \n\n", "train.csv is empty"),
        ("\ufeff", "train.csv is empty"),
        ("image_id,label\n", "train.csv has a header and no rows"),
        ("image_id,label\n\n\n", "train.csv has a header and no rows"),
        ("id,label,label\n1,2,3\n", "'label' is the name of columns 2, 3"),
        ("id, label,label \n1,2,3\n", "'label' is the name of columns 2, 3"),
        ("id,label\n1,c\0t\n", "holds a zero byte (line 2)"),
        ("PK\x03\x04xxxx", "is a spreadsheet or zip file"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    error = refusal(tmp_path, text)
    assert words in error and "  fix " in error


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="did you mean 'train.csv'"):
        read_table(tmp_path / "tran.csv")
    with pytest.raises(TableError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(TableError, match="no file"):
        read_table(tmp_path / "no" / "x.csv")
    with pytest.raises(TableError, match="is not a table"):
        read_table(5)


# Columns


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    table = read(tmp_path, "image_id,label,variety\na,b,c\n")
    for ask in (table.text, table.codes, table.numbers, table.missing, table.column):
        with pytest.raises(SchemaError) as error:
            ask("lable")
        assert "train.csv has no column 'lable'" in str(error.value)
        assert "image_id, label, variety" in str(error.value) and "did you mean 'label'?" in str(error.value)


def test_a_name_is_found_in_either_unicode_form_and_with_blanks(tmp_path: Path) -> None:
    table = read(tmp_path, "id, varie\u0301te\u0301 \na,b\n")
    assert table.column("variété") == "varie\u0301te\u0301"
    assert table.text(" variété").tolist() == ["b"]


def test_outer_blanks_never_matter_and_nothing_else_is_merged(tmp_path: Path) -> None:
    table = read(
        tmp_path, "id, label\na.png, cat\nb.png,cat \nc.png,Cat\nd.png,dog\ne.png,.3\nf.png,\u00a0dog\n"
    )
    assert table.names == ("id", "label")
    codes, texts = table.codes("label")
    assert texts.tolist() == ["cat", "Cat", "dog", ".3"] and codes.tolist() == [0, 0, 1, 2, 3, 2]


def test_repeated_texts_with_blanks_are_one(tmp_path: Path) -> None:
    rows = ["a long label", " a long label", "a long label ", "another label"] * 100
    table = read(tmp_path, "id,label\n" + "".join(f"{n},{label}\n" for n, label in enumerate(rows)))
    codes, texts = table.codes("label")
    assert texts.tolist() == ["a long label", "another label"] and np.bincount(codes).tolist() == [300, 100]


def test_bad_numbers_are_listed_with_line_column_and_value(tmp_path: Path) -> None:
    good = "".join("u,i,4\n" for _ in range(699))
    table = read(tmp_path, f"user,item,rating\n{good}u9,i9,\nu9,i8,four\n\n\n")
    assert table.rows == 701
    with pytest.raises(TableError) as error:
        table.numbers("rating")
    assert "train.csv: 1 cell of column 'rating' is not a number" in str(error.value)
    assert "line 702, column rating: 'four'" in str(error.value)
    values, bad = table.try_numbers("rating")
    assert np.flatnonzero(bad).tolist() == [700] and np.flatnonzero(np.isnan(values)).tolist() == [699, 700]


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "inf", "-inf", "Infinity", "1_000", "0x1F", "1e999", "1 000", "٣", "5%"]
)
def test_only_finite_decimal_numbers_are_numbers(tmp_path: Path, word: str) -> None:
    table = read(tmp_path, f"id,x\na,1.5\nb,{word}\n")
    with pytest.raises(TableError) as error:
        table.numbers("x")
    assert f"line 3, column x: {word!r}" in str(error.value) and f"--missing-values {word}" in str(
        error.value
    )


def test_numbers_of_all_spellings(tmp_path: Path) -> None:
    table = read(
        tmp_path, "id,x\n" + "".join(f"{n},{x}\n" for n, x in enumerate(["+5", "007", "-.5", "5.", "1e3"]))
    )
    assert table.numbers("x").tolist() == [5, 7, -0.5, 5, 1000]


def test_decimal_commas_are_found_and_said(tmp_path: Path) -> None:
    table = read(tmp_path, "id;price;count\na;3,5;1\nb;2,25;2\nc;4;\n")
    assert table.numbers("price").tolist() == [3.5, 2.25, 4] and table.text("price").tolist() == [
        "3,5",
        "2,25",
        "4",
    ]
    assert "price: decimal commas, '3,5' is read as 3.5" in said(table)
    assert table.take([1]).numbers("price").tolist() == [2.25]
    quoted = read(tmp_path, 'id,price\na,"3,5"\nb,"2,25"\n')
    assert quoted.numbers("price").tolist() == [3.5, 2.25]


@pytest.mark.parametrize(
    "cells", [["1,234", "2,500"], ["3,5", "2.5"], ["1.234,5", "2,5"], ["1,234.5", "2.5"]]
)
def test_commas_that_can_be_read_in_two_ways_are_refused(tmp_path: Path, cells: list[str]) -> None:
    table = read(tmp_path, f"id;price\na;{cells[0]}\nb;{cells[1]}\n")
    with pytest.raises(TableError, match="no thousands separators") as error:
        table.numbers("price")
    assert "line 2" in str(error.value)


def test_the_header_again_within_the_rows_is_left_out(tmp_path: Path) -> None:
    table = read(tmp_path, "user,item,rating\nu,i,4\nuser,item,rating\nv,i,3\n")
    assert table.numbers("rating").tolist() == [4, 3] and table.lines.tolist() == [2, 4]
    assert "1 row that repeats the header is left out, as in joined files (line 3)" in said(table)


def test_codes_number_the_texts_in_the_order_of_their_first_row(tmp_path: Path) -> None:
    for texts in (
        ["30", "10", "", "30", "20"],
        ["30", "1000000000000", "-5", "30", "5"],
        ["c", "a", "", "c", "b"],
    ):
        table = read(tmp_path, "id,x\n" + "".join(f"{n}.png,{text}\n" for n, text in enumerate(texts)))
        codes, distinct = table.codes("x")
        assert distinct.tolist() == list(dict.fromkeys(texts))
        assert distinct[codes].tolist() == texts
        codes, distinct = table.take([4, 0, 0]).codes("x")
        assert distinct.tolist() == [texts[4], texts[0]] and codes.tolist() == [0, 1, 1]


def test_rows_can_be_taken_by_place_and_by_mask(tmp_path: Path) -> None:
    table = read(tmp_path, "id,x,y\na,1,u v w\nb,2,u v w\nc,,x\nd,4,x\n" + "e,5,x\n" * 9)
    taken = table.take([2, 0])
    assert taken.rows == 2 and taken.text("id").tolist() == ["c", "a"] and taken.lines.tolist() == [4, 2]
    assert taken.missing("x").tolist() == [True, False] and taken.text("y").tolist() == ["x", "u v w"]
    masked = table.take(table.text("id") == "b")
    assert masked.numbers("x").tolist() == [2]
    nothing = table.take([])
    assert nothing.rows == 0 and nothing.text("y").tolist() == [] and nothing.numbers("x").tolist() == []


def test_a_column_of_words_is_told_from_numbers_with_a_fault(tmp_path: Path) -> None:
    table = read(tmp_path, "id,sex,age\na,male,1\nb,,old\nc,female,2\n")
    with pytest.raises(TableError) as caught:
        table.numbers("sex", otherwise="; or so")
    wanted = "correct these cells, or take the column for words: --category sex as an input, "
    wanted += "--target sex:category as a target"
    assert caught.value.labels["fix"] == wanted
    with pytest.raises(TableError) as caught:
        table.numbers("age", otherwise="; or so")
    assert "--missing-values old; or so" in caught.value.labels["fix"]


def test_cells_can_be_left_out(tmp_path: Path) -> None:
    table = read(tmp_path, "id,x\na,1\nb,two\nc,1\nd,two\n")
    found = table.blank("x", np.array([False, True, True, False]))
    assert found.missing("x").tolist() == [False, True, True, False] and found.text("x")[3] == "two"
    assert found.text("id").tolist() == table.text("id").tolist() and not table.missing("x").any()
    frame = read_table({"x": [1.5, np.nan, 3.0]}).blank("x", np.array([True, False, False]))
    assert np.isnan(frame.numbers("x")).tolist() == [True, True, False]


def test_padded_numbers_are_noticed(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b,c,d\n1,007,0.5,x0\n0,1,-05,0\n,5,7,00\n")
    assert [table.padded(name) for name in table.names] == [False, True, True, True]


# Kinds

UNDECIDED = "x: 70 different integers - classes or a number? give --target-type"


@pytest.mark.parametrize(
    ("cells", "kind", "sentence"),
    [
        ([str(n % 5) for n in range(200)], "category", "x: 5 classes 0 1 2 3 4"),
        ([f"{n % 5}.0" for n in range(200)], "category", "x: 5 classes 0.0 1.0 2.0 3.0 4.0"),
        ([str(n % 70) for n in range(200)], "undecided", UNDECIDED),
        ([f"{n / 7:.3f}" for n in range(200)], "number", "x: a number from 0 to 28.429"),
        ([f"p{n}.JPG" for n in range(200)], "image", "x: 200 names of pictures"),
        ([f"p{n}" for n in range(200)], "id", "x: 200 different texts, one to a row"),
        (["cat", "dog", ""] * 4, "category", "x: 2 classes cat dog"),
        ([f"{n:03}" for n in range(50)] * 2, "category", "x: 50 classes 000 001 002 003 004"),
        (["1", "0", "", "1"], "category", "x: 2 classes 0 1"),
        (["2", "3", "5", "7"], "undecided", "x: 4 different integers"),
        ([""] * 3, "empty", "x: every cell is empty"),
    ],
)  # fmt: skip
def test_the_kind_of_a_column_is_decided_from_all_of_it(
    tmp_path: Path, cells: list[str], kind: str, sentence: str
) -> None:
    table = read(tmp_path, "id,x\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells)))
    found, why = guess_kind(table, "x")
    assert found == kind and why.startswith(sentence)


# Frames and Parquet


def test_columns_given_as_arrays_and_lists() -> None:
    table = read_table(
        {"user": [1, "01", None], "rating": np.array([1.0, 2.0, np.nan]), " name ": [" a", "", "NA"]}
    )
    assert table.names == ("user", "rating", "name") and table.unit == "row"
    assert table.text("user").tolist() == ["1", "01", ""] and table.text("name").tolist() == ["a", "", "NA"]
    assert table.text("rating").tolist() == ["1", "2", ""] and "rating: whole numbers" in said(table)
    assert table.lines.tolist() == [1, 2, 3]
    with pytest.raises(TableError, match="row 1, column name: 'a'"):
        table.numbers("name")
    for columns in ({"a": [1], "b": [1, 2]}, {}, {"a": []}, {"a": [[1], [2]]}):
        with pytest.raises(TableError):
            read_table(columns)


class Series:
    """As much of a pandas frame as is needed, for tests without pandas."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self.columns = list(columns)
        self.iloc = self
        self._cells = list(columns.values())

    def __getitem__(self, place: tuple[slice, int]) -> Any:
        return self._cells[place[1]]


def test_frames_in_the_manner_of_pandas() -> None:
    cells = np.array([1, "a", None, float("nan")], object)
    table = read_table(Series({"mixed": cells, "x": np.array([0.5, 1, 2, np.nan])}))
    assert table.text("mixed").tolist() == ["1", "a", "", ""]
    assert table.text("x").tolist() == ["0.5", "1", "2", ""] and table.source.endswith(" Series")


def test_arrow_columns_of_all_kinds() -> None:
    day = pa.array([18687, None], pa.date32())
    table = read_table(
        pa.table(
            {
                "flag": [True, None],
                "small": pa.array([7, None], pa.int8()),
                "huge": pa.array([2**63 + 5, 1], pa.uint64()),
                "day": day,
                "word": pa.array(["b", "b"]).dictionary_encode(),
                "view": pa.array([" x", ""], pa.large_string()),
                "code": pa.array([3, 4]).dictionary_encode(),
                "nothing": pa.nulls(2),
            }
        )
    )
    first = {name: table.text(name).tolist() for name in table.names}
    assert first == {
        "flag": ["True", ""],
        "small": ["7", ""],
        "huge": [str(2**63 + 5), "1"],
        "day": ["2021-03-01", ""],
        "word": ["b", "b"],
        "view": ["x", ""],
        "code": ["3", "4"],
        "nothing": ["", ""],
    }
    with pytest.raises(TableError, match="column 'l' cannot be read"):
        read_table(pa.table({"l": [[1], [2]]}))
    beside = read_table(pa.table({"l": [[1], [2]], "x": [1, 2]}))
    assert beside.names == ("x",) and beside.known == ("x", "l")
    with pytest.raises(TableError, match="column 'l' cannot be read"):
        beside.take([1]).text("l")
    with pytest.raises(TableError, match="a name per column"):
        read_table(pa.table([[1], [2]], names=["a", "a"]))


def test_ids_that_floating_point_has_rounded_are_refused_as_ids_only() -> None:
    table = read_table({"user": np.array([9007199254740992.0, np.nan, 1.0])})
    with pytest.raises(TableError, match="digits of ids are lost"):
        table.codes("user")
    assert table.numbers("user")[0] == 9007199254740992.0
    assert guess_kind(table, "user")[0] == "number"


def test_a_table_stays_a_table() -> None:
    table = read_table({"a": [1]})
    assert read_table(table) is table


def test_parquet_goes_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    columns = {
        "id": np.array(["007", None, "x"], object),
        "p": np.array([0.25, 0.5, 1.0], np.float32),
        "row": np.arange(3),
        "ok": np.array([True, False, True]),
    }
    write_parquet(path, columns)
    back = read_parquet_columns(path)
    for name, values in columns.items():
        assert back[name].tolist() == values.tolist() and back[name].dtype == values.dtype
    table = read_table(path)
    assert table.text("id").tolist() == ["007", "", "x"] and table.numbers("p").tolist() == [0.25, 0.5, 1.0]
    path.write_bytes(path.read_bytes()[:-40])
    for ask in (read_parquet_columns, read_table):
        with pytest.raises(TableError, match=r"out.parquet is not a Parquet file, or a damaged one"):
            ask(path)


# Real files


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "rows", "columns", "first"),
    [
        ("ml-100k/u.data", 100_000, 4, ["196", "242", "3", "881250949"]),
        ("ml-100k/u.user", 943, 5, ["1", "24", "M", "technician", "85711"]),
        ("ml-100k/u.item", 1682, 24, ["1", "Toy Story (1995)", "01-Jan-1995", ""]),
        ("ml-1m/movies.dat", 3883, 3, ["1", "Toy Story (1995)", "Animation|Children's|Comedy"]),
        ("ml-1m/users.dat", 6040, 5, ["1", "F", "1", "10", "48067"]),
        ("ml-1m/ratings.csv", 1_000_000, 3, ["1", "1193", "5"]),
        (
            "movietweetings-100k/movies.dat",
            10_506,
            3,
            ["0002844", "Fantômas - À l'ombre de la guillotine (1913)"],
        ),
        ("movietweetings-100k/ratings.dat", 100_000, 4, ["1", "1074638", "7", "1365029107"]),
        ("titanic/train.csv", 891, 12, ["1", "0", "3", "Braund, Mr. Owen Harris"]),
        ("coffee-leaf/train.csv", 1685, 7, ["1.jpg", "healthy", "healthy"]),
    ],
)
def test_real_files_as_they_are(
    data_folder: Path, name: str, rows: int, columns: int, first: list[str]
) -> None:
    table = read_table(data_folder / name)
    assert len(table.names) == columns
    assert [table.text(column)[0] for column in table.names[: len(first)]] == first
    lines = (data_folder / name).read_bytes().rstrip(b"\n").count(b"\n") + 1
    assert table.rows == lines - table.header and table.lines[-1] == lines
