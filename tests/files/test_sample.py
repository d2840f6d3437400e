"""Samples: read as they stand, written back to the byte, joined by id."""

from __future__ import annotations

import gzip

import pytest

from tenfold.errors import OutputError, SchemaError, TableError
from tenfold.files.sample import match_ids, read_sample, write_sample


def _file(folder, data: bytes | str, name: str = "sample.csv"):
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


#: Every cell of a column in one style, so that filling in what is there changes nothing.
EVEN = [
    b"id,label\n1,a\n2,b\n",
    b"id,label\r\n1,a\r\n2,b\r\n",
    b"id,label\r1,a\r2,b\r",
    b"id,label\n1,a\n2,b",
    b"\xef\xbb\xbfid,label\n1,a\n2,b\n",
    b'"id","label"\n"1","a"\n"2","b"\n',
    b"id\tlabel\n1\ta\n2\tb\n",
    b"id;label\n1;a\n2;b\n",
    b"id|label\n1|a\n2|b\n",
    b"\xff\xfe" + "id,label\n1,a\n2,b\n".encode("utf-16-le"),
    b'id,"la,bel"\n"x ""y"", z",a\n"two\nlines",b\n',
    "id,étiquette\n1,café\n2,thé\n".encode("cp1252"),
]
UNEVEN = [b'id,label\n"1",a\n2,"b"\n', b"id, label\n1, a\n2, b\n"]


@pytest.mark.parametrize("data", EVEN + UNEVEN)
def test_what_is_not_filled_stays_to_the_byte(tmp_path, data):
    sample = read_sample(_file(tmp_path, data))
    assert len(sample.rows) == 2 and len(sample.names) == 2
    write_sample(tmp_path / "out.csv", sample, {})
    assert (tmp_path / "out.csv").read_bytes() == data


@pytest.mark.parametrize("data", EVEN)
def test_filling_in_what_is_there_changes_nothing(tmp_path, data):
    sample = read_sample(_file(tmp_path, data))
    write_sample(tmp_path / "out.csv", sample, {1: [row[1] for row in sample.rows]})
    assert (tmp_path / "out.csv").read_bytes() == data


def test_cells_are_read_without_their_quotes(tmp_path):
    sample = read_sample(_file(tmp_path, 'id,"a ""b"""\n"x, y",1\n"two\nlines",2\n3,4\n'))
    assert sample.names == ("id", 'a "b"')
    assert sample.cells(0) == ["x, y", "two\nlines", "3"]
    assert sample.lines == [2, 3, 5]
    assert sample.column('a "b"') == 1


def test_blank_lines_are_no_rows(tmp_path):
    sample = read_sample(_file(tmp_path, "\nid,label\n\n1,a\n\n\n"))
    assert sample.cells(0) == ["1"] and sample.lines == [4]
    quoted = read_sample(_file(tmp_path, '\nid,label\n\n"1",a\n\n'))
    assert quoted.cells(0) == ["1"] and quoted.lines == [4]


def test_a_packed_sample_is_read(tmp_path):
    path = _file(tmp_path, gzip.compress(b"id,label\n1,a\n"), "sample.csv.gz")
    assert read_sample(path).rows == [["1", "a"]]


def test_a_sample_that_is_not_utf8_says_so_and_is_answered_alike(tmp_path):
    sample = read_sample(_file(tmp_path, "id,étiquette\n1,café\n".encode("cp1252")))
    assert sample.names[1] == "étiquette" and "cp1252" in sample.notes[0]
    write_sample(tmp_path / "out.csv", sample, {1: ["thé"]})
    assert (tmp_path / "out.csv").read_bytes() == "id,étiquette\n1,thé\n".encode("cp1252")
    with pytest.raises(OutputError, match="cannot hold '图'"):
        write_sample(tmp_path / "out.csv", sample, {1: ["图"]})
    assert (tmp_path / "out.csv").read_bytes().endswith("thé\n".encode("cp1252"))


@pytest.mark.parametrize(
    ("cells", "texts", "shown"),
    [
        (["0", "0"], ["1.0", "True"], ["1", "1"]),
        (["0", "1"], ["-0.0", "2.5"], ["0", "2.5"]),
        (["0", "0"], ["cat", "007"], ["cat", "007"]),
        (["0.5", "0.5"], ["1.0", "0.25"], ["1.0", "0.25"]),
        (["False", "False"], ["1", "0.0"], ["True", "False"]),
        (["false", "true"], ["1", "True"], ["true", "true"]),
        (["FALSE", "FALSE"], ["0", "maybe"], ["FALSE", "maybe"]),
        (["", ""], ["1.0", "a"], ["1.0", "a"]),
    ],
)
def test_filled_cells_look_like_the_samples(tmp_path, cells, texts, shown):
    sample = read_sample(_file(tmp_path, "id,y\n" + "".join(f"{n},{one}\n" for n, one in enumerate(cells))))
    write_sample(tmp_path / "out.csv", sample, {1: texts})
    assert [row[1] for row in read_sample(tmp_path / "out.csv").rows] == shown


def test_a_decimal_comma_stays_one(tmp_path):
    sample = read_sample(_file(tmp_path, "id;p\na;0,5\nb;0,5\n"))
    write_sample(tmp_path / "out.csv", sample, {1: ["0.25", "1"]})
    assert (tmp_path / "out.csv").read_text() == "id;p\na;0,25\nb;1\n"


def test_quotes_of_a_column_stay_and_new_ones_come_where_needed(tmp_path):
    sample = read_sample(_file(tmp_path, 'id,y,z\n1,"a",b\n2,"a",b\n'))
    write_sample(tmp_path / "out.csv", sample, {1: ["c", 'd"e'], 2: ["f,g", "h"]})
    assert (tmp_path / "out.csv").read_text() == 'id,y,z\n1,"c","f,g"\n2,"d""e",h\n'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "is empty"),
        ("id,label\n", "has no rows"),
        ("id\n1\n", "1 column"),
        ("id,label,label\n1,a,b\n", "'label' twice"),
        ("id,label\n1,a\n2\n3,b,c\n", "line 3 has 1 cells, the header has 2"),
        ("id;label\n1;a\n2\n", "line 3 has 1 cells, the header has 2"),
        (b"PK\x03\x04junk", "not a text file"),
        (b"PAR1\x00", "not a text file"),
        (b"\xff\xfea", "not utf-16-le"),
        (b"\x1f\x8bjunk", "damaged or incomplete gzip"),
    ],
)
def test_what_is_no_sample_is_named(tmp_path, data, words):
    with pytest.raises(TableError) as caught:
        read_sample(_file(tmp_path, data))
    assert words in str(caught.value) and "sample.csv" in str(caught.value)


def test_a_missing_sample_is_named_with_its_neighbour(tmp_path):
    _file(tmp_path, "id,a\n1,2\n", "sample_submission.csv")
    with pytest.raises(TableError) as caught:
        read_sample(tmp_path / "sample_submision.csv")
    assert "did you mean 'sample_submission.csv'?" in str(caught.value)
    with pytest.raises(SchemaError, match="no column 'lable'"):
        read_sample(tmp_path / "sample_submission.csv").column("lable")


def test_a_quote_that_never_ends_is_no_endless_loop(tmp_path):
    with pytest.raises(TableError):
        read_sample(_file(tmp_path, 'id,a\n1,"b\n2,c,d\n'))


def test_the_sample_itself_is_never_overwritten(tmp_path):
    path = _file(tmp_path, "id,a\n1,2\n")
    (tmp_path / "link.csv").symlink_to(path)
    for place in (path, tmp_path / "link.csv", str(tmp_path / "." / "sample.csv")):
        with pytest.raises(OutputError, match="the sample itself"):
            write_sample(place, read_sample(path), {1: ["3"]})
    assert path.read_text() == "id,a\n1,2\n"


# --- joining ---------------------------------------------------------------------------------------


def test_ids_are_matched_as_text():
    assert match_ids(["007", "7", " x "], ["x", "7", "7"]) == ([[], [1, 2], [0]], ())


def test_picture_names_are_matched_without_folder_and_ending_only_if_none_fits():
    found, notes = match_ids(["1", "2"], ["test/1.jpg", "test/2.JPG"])
    assert found == [[0], [1]] and "without folder and ending" in notes[0]
    assert match_ids(["1", "a/2.jpg"], ["1", "2.jpg"]) == ([[0], []], ())
    assert match_ids(["1"], ["1.jpg", "1.png"]) == ([[]], ())
    assert match_ids(["1.5"], ["1"]) == ([[]], ())  # ".5" is no ending
