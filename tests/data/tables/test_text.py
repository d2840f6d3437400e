"""Decoding: what is found, what is said, and what is refused rather than mangled."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tenfold.data.tables.text import decode_bytes, open_text, read_bytes, read_start
from tenfold.errors import TableError

TEXT = "id,label\n1.png,café\n2.png,thé\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_tells_the_encoding_and_is_no_text(encoding: str) -> None:
    decoded = decode_bytes(TEXT.encode(encoding), name="a.csv")
    assert decoded.data.decode() == TEXT
    assert bool(decoded.notes) == (encoding in ("utf-16", "utf-32"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_wide_text_without_a_mark_is_found(encoding: str) -> None:
    decoded = decode_bytes(TEXT.encode(encoding), name="a.csv")
    assert decoded.data.decode() == TEXT and encoding in decoded.notes[0]


def test_a_mark_written_twice_is_taken_off_twice() -> None:
    assert decode_bytes(b"\xef\xbb\xbf\xef\xbb\xbfid", name="a.csv").data == b"id"


def test_a_mark_outweighs_what_the_user_said() -> None:
    decoded = decode_bytes(TEXT.encode("utf-8-sig"), name="a.csv", encoding="latin-1")
    assert decoded.data.decode() == TEXT and "--encoding latin-1 is not used" in decoded.notes[0]
    assert decode_bytes(TEXT.encode("utf-16"), name="a.csv", encoding="utf-16").notes == ()


@pytest.mark.parametrize(
    "word",
    ["café", "Müller", "größer", "naïve – “so”", "10 €", "Åre", "mañana", "garçon", "« été »", "Größe"],
)
def test_western_words_are_read_as_cp1252_and_shown(word: str) -> None:
    decoded = decode_bytes(f"id,label\n1,{word}\n".encode("cp1252"), name="a.csv")
    assert decoded.data.decode() == f"id,label\n1,{word}\n"
    assert "a.csv is not UTF-8 (line 2, byte 0x" in decoded.notes[0] and "cp1252" in decoded.notes[0]


@pytest.mark.parametrize(
    ("word", "encoding"),
    [
        ("кошка", "cp1251"),
        ("кошка", "koi8-r"),
        ("γάτα", "cp1253"),
        ("猫と犬", "shift_jis"),
        ("ネコ", "shift_jis"),
        ("猫和狗", "gb18030"),
        ("고양이", "euc-kr"),
        ("חתול", "cp1255"),
        ("café", "cp437"),
        ("café", "mac-roman"),
    ],
)
def test_what_is_not_western_is_asked_for_and_never_mangled(word: str, encoding: str) -> None:
    data = f"id,label\n1,{word}\n2,{word}\n".encode(encoding)
    with pytest.raises(TableError) as error:
        decode_bytes(data, name="a.csv")
    assert "a.csv is not UTF-8 (line 2, byte 0x" in str(error.value) and "--encoding" in str(error.value)
    assert "line 3" in str(error.value)
    assert (
        decode_bytes(data, name="a.csv", encoding=encoding).data.decode() == f"id,label\n1,{word}\n2,{word}\n"
    )


def test_a_file_of_two_encodings_is_refused_with_its_lines() -> None:
    data = "id,label\n1,café\n2,thé\n3,été\n".encode() + "4,café\n".encode("cp1252")
    with pytest.raises(TableError) as error:
        decode_bytes(data, name="a.csv")
    assert "line 5, byte 0xE9" in str(error.value) and "line 2" not in str(error.value)


def test_a_cut_utf8_file_is_refused() -> None:
    with pytest.raises(TableError, match="line 2, byte 0xC3"):
        decode_bytes("id\ncafé".encode()[:-1], name="a.csv")


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_the_line_of_a_foreign_byte_is_counted_in_all_line_ends(ends: bytes) -> None:
    data = ends.join([b"id,label", b"1,x", b"2,\xea\xee\xf8"])
    with pytest.raises(TableError, match=r"\(line 3, byte 0xEA\)"):
        decode_bytes(data, name="a.csv")


def test_a_wrong_encoding_is_named_with_line_and_byte() -> None:
    with pytest.raises(
        TableError, match=r"is not utf-8 \(line 2, byte 0xE9\)|not UTF-8 \(line 2, byte 0xE9\)"
    ):
        decode_bytes(TEXT.encode("cp1252"), name="a.csv", encoding="utf-8")
    with pytest.raises(TableError, match=r"is not ascii \(line 2, byte 0xC3\)"):
        decode_bytes(TEXT.encode(), name="a.csv", encoding="ascii")
    for unknown in ("utf9", "hex", "a\0b", ""):
        with pytest.raises(TableError, match="there is no encoding"):
            decode_bytes(b"id", name="a.csv", encoding=unknown)


def test_line_ends_become_one_kind() -> None:
    assert decode_bytes(b"a\r\nb\rc\nd\r\n", name="a.csv").data == b"a\nb\nc\nd\n"


def test_zero_bytes_are_named_by_line() -> None:
    with pytest.raises(TableError, match=r"zero byte \(line 3\)"):
        decode_bytes(b"id\n1\n2\0\n", name="a.csv")


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"PK\x03\x04", "spreadsheet"),
        (b"%PDF-1.7", "PDF"),
        (b"\x89PNG\r\n", "picture"),
        (b"\xfd7zXZ\0", "xz file"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, start: bytes, what: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(start + b"rest\n")
    with pytest.raises(TableError, match=what):
        open_text(path)


def test_a_cut_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode() * 100)[:-12])
    with pytest.raises(TableError, match=r"train.csv.gz is a damaged or incomplete gzip file"):
        read_bytes(path)


def test_a_clean_file_is_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,label\n" + "1,x\n" * 500_000)
    text = open_text(path)
    assert text.path == path and len(text.data) <= 1 << 20 and text.data.endswith(b"\n")
    assert read_start(path, 2) == b"id"
    for odd in (b"\xef\xbb\xbfid\n1\n", b'id\n"1"\n', b"id\r\n1\r\n", b"id\n\xff\n", b"no line end"):
        path.write_bytes(odd)
        try:
            assert open_text(path).path is None
        except TableError:
            assert b"\xff" in odd
