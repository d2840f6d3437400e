"""The quick way and the careful way give the same cells and lines, whatever the file."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest

from tenfold.data.tables import delimited
from tenfold.data.tables.delimited import parse_columns
from tenfold.data.tables.layout import find_layout
from tenfold.data.tables.table import read_table
from tenfold.data.tables.text import Decoded, decode_bytes
from tenfold.errors import TableError

#: Cells that readers stumble over.
ODD = [
    "",
    " ",
    "x",
    "007",
    "-0",
    "7",
    "1e5",
    "é",
    "ß z",
    'say "so"',
    "a,b",
    "a;b",
    "two\nlines",
    '"',
    "'",
    "NA",
    "9" * 20,
]
PLAIN = ["1", "22", "-333", "4444444444", "0", "x", "y z", "é"]


def write(rows: list[list[str]], separator: str, ends: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=ends).writerows(rows)
    return out.getvalue().encode()


@pytest.mark.parametrize("seed", range(60))
def test_what_is_written_is_read(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = np.array(ODD if seed % 3 else PLAIN, object)
    columns = int(rng.integers(2, 5))
    kinds = [rng.choice(cells, int(rng.integers(1, 4))) for _ in range(columns)]
    rows = [[str(rng.choice(kind)) for kind in kinds] for _ in range(int(rng.integers(2, 300)))]
    rows = [row for row in rows if any(cell.strip() for cell in row)] or [["x"] * columns]
    names = [f"name{n}" for n in range(columns)]
    path = tmp_path / "t.csv"
    separator, ends = ",;|\t"[seed % 4], "\r\n" if seed % 2 else "\n"
    path.write_bytes(write([names, *rows], separator, ends))
    table = read_table(path, header=True, separator=separator)
    for place, name in enumerate(names):
        right = [row[place].strip() for row in rows]
        assert table.text(name).tolist() == right
        assert table.missing(name).tolist() == [cell == "" for cell in right]
    starts = np.cumsum([1 + sum(cell.count("\n") for cell in row) for row in rows]) + 2
    assert table.lines.tolist() == [2, *starts[:-1].tolist()]


@pytest.mark.parametrize("seed", range(12))
def test_both_ways_agree(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = np.array(["1", "2", "", '"q"', '"a ""b"""', '"two\nlines"', '"1"', "text here"], object)
    lines = [",".join(rng.choice(cells, 3)) for _ in range(200)]
    lines = [line if rng.random() > 0.05 else "" for line in lines]
    text = Decoded("\n".join(["a,b,c", *lines]).encode())
    layout = find_layout(text.data, name="t.csv", header=True)
    quick = parse_columns(text, layout, "t.csv")
    with monkeypatch.context() as patch:
        patch.setattr(delimited, "_widen_type", lambda types, message: False)
        patch.setattr(delimited, "_read_arrow", refuse)
        slow = parse_columns(text, layout, "t.csv")
    assert quick is not None and slow is not None
    assert np.broadcast_to(quick[1], len(quick[0][0])).tolist() == slow[1].tolist()  # type: ignore[union-attr]
    for one, other in zip(quick[0], slow[0], strict=True):
        assert [str(cell) if cell is not None else "" for cell in one.to_pylist()] == other.to_pylist()


def refuse(*_: object) -> None:
    raise delimited.pa.ArrowInvalid("not today")


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    for name in ("données é.csv", os.fsdecode(b"caf\xe9.csv"), "ß 1 東.csv"):
        path = tmp_path / name
        path.write_text("id,x\na,1\n")
        assert read_table(path).text("id").tolist() == ["a"] and read_table(str(path)).source == name


def test_a_line_longer_than_a_block_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    long = "x" * 3_000_000
    path.write_text(f"id,text\n1,a\n2,{long}\n3,b\n")
    assert [len(text) for text in read_table(path).text("text")] == [1, 3_000_000, 1]


def test_long_separators_and_blanks_leave_the_cells_alone(tmp_path: Path) -> None:
    path = tmp_path / "movies.dat"
    path.write_text('1::"A": B, C|D::x y\n2::E::z\n\n3::F: G::\x1f\n')
    table = read_table(path)
    assert table.text("column_2").tolist() == ['"A": B, C|D', "E", "F: G"]
    assert table.lines.tolist() == [1, 2, 4] and table.rows == 3
    path.write_text("1 2  3\n  4\t5 6 \n")
    assert read_table(path).text("column_3").tolist() == ["3", "6"]
    path.write_text("1::2::3\n4::5\n6::7::8::9\n")
    with pytest.raises(TableError) as error:
        read_table(path)
    assert "line 2 has 2 cells, line 1 has 3" in str(error.value)
    assert "line 3 has 4 cells, line 1 has 3 (is a '::' inside a title not quoted?)" in str(error.value)


def test_long_separators_are_cut_by_no_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.dat"
    rows = [[str(n), ":" * (n % 2) + f"{n:03}" + "é" * (n % 3), "a: b" if n % 5 else "c"] for n in range(400)]
    path.write_text("".join("::".join(row) + "\n" for row in rows))
    right = "\n".join("::".join(row) for row in rows).replace("::", "\x1f").split("\n")
    whole = Decoded(path.read_bytes())
    layout = find_layout(whole.data, name="r.dat", separator="::", header=False)
    for block in (60, 61, 64, 1 << 20):
        monkeypatch.setattr(delimited, "_BLOCK", block)
        parsed = parse_columns(Decoded(whole.data[:600], path=path), layout, "r.dat")
        assert parsed is not None and parsed[1] == 1
        cells = zip(*[column.to_pylist() for column in parsed[0]], strict=True)
        assert ["\x1f".join(map(str, row)) for row in cells] == right
    # A separator that stands in the file as such would be taken for the longer one.
    path.write_text("1::2\x1f3\n" + "1::2::3\n" * 10)
    assert parse_columns(Decoded(b"1::2::3\n", path=path), layout, "r.dat") is None


@pytest.mark.parametrize("late", ['x,"a,b"', 'x,"two\nlines"', "x\r", "x,\r\ny,1\r", 'x,5"'])
def test_a_file_that_is_clean_at_its_beginning_only_is_read_rightly(tmp_path: Path, late: str) -> None:
    path = tmp_path / "t.csv"
    body = "".join(f"{n},value {n % 7}\n" for n in range(90_000))
    late = late if "," in late else f"{late.strip()},1\r"
    text = f"id,v\n{body}{late}\nlast,2\n"
    path.write_bytes(text.encode())
    table = read_table(path)
    rows = list(csv.reader(io.StringIO(late.replace("\r\n", "\n").replace("\r", "\n"))))
    right = [row for row in rows if row]
    assert table.text("v")[90_000:].tolist() == [row[1] for row in right] + ["2"]
    assert table.text("id")[-1] == "last" and table.rows == 90_000 + len(right) + 1
    assert table.lines[-1] == text.replace("\r\n", "\n").replace("\r", "\n").count("\n")


def test_the_careful_way_counts_lines_over_batches() -> None:
    data = b"a,b\n" + b'1,"x"\n' * 70_000 + b'2, "y"\n' * 5
    text = decode_bytes(data, name="t.csv")
    parsed = parse_columns(text, find_layout(text.data, name="t.csv"), "t.csv")
    assert parsed is not None and isinstance(parsed[1], np.ndarray)
    assert len(parsed[0][0]) == 70_005 and parsed[1].tolist() == list(range(2, 70_007))
