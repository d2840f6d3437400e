"""Archives: whole and within limits, or refused by name with nothing written."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tenfold.data.tables import archive
from tenfold.data.tables.archive import unpack_files
from tenfold.errors import OutputError

GOOD = ("ok/a.png", b"picture")


def packed(path: Path, *members: tuple[str, bytes], kinds: dict[str, int] | None = None) -> Path:
    """A zip file. kinds: name -> what its Unix mode says that it is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members:
            one = zipfile.ZipInfo("placeholder")
            # Set afterwards, since Python cuts a name at its first NUL.
            one.filename = one.orig_filename = name
            one.compress_type = zipfile.ZIP_DEFLATED
            one.external_attr = (((kinds or {}).get(name, stat.S_IFREG)) | 0o644) << 16
            made.writestr(one, data)
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.case("79", "an archive's bad members are refused by name, and nothing is written")
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["../evil.txt"], "'../evil.txt' would be written outside"),
        (["ok/../../evil.txt"], "would be written outside"),
        (["/abs/evil2.txt"], "'/abs/evil2.txt' would be written outside"),
        (["C:\\evil3.txt"], "'C:\\\\evil3.txt' would be written outside"),
        (["sub\\evil.txt"], "would be written outside"),
        (["a", "a/b"], "'a' is a file, and a folder of 'a/b'"),
        (["a/b", "A"], "'A' is a file, and a folder of 'a/b'"),
        (["a/", "a"], "'a' is a file, and a folder of 'a/'"),
        (["x.csv", "x.csv"], "'x.csv' is there twice"),
        (["x.csv", "X.csv"], "'X.csv' and 'x.csv' clash"),
        (["caf\u00e9.csv", "cafe\u0301.csv"], "clash"),
        (["One/a", "one/b"], "in one folder on some systems"),
        (["a.csv\0.png"], "is not a file name"),
        (["a\x1b[2J"], "is not a file name"),
        (["a//b"], "is not a file name"),
        (["./a"], "is not a file name"),
        (["x" * 300], "is too long a name"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, names: list[str], said: str) -> None:
    path = packed(tmp_path / "c.zip", GOOD, *((name, b"x") for name in names))
    with pytest.raises(OutputError) as caught:
        unpack_files([path], tmp_path / "data")
    assert said in str(caught.value) and "c.zip" in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["c.zip"]


@pytest.mark.case("79", "neighbour: links, devices and encrypted members")
@pytest.mark.parametrize(
    ("kind", "said"),
    [(stat.S_IFLNK, "'odd' is a link"), (stat.S_IFIFO, "a device or a pipe"), (stat.S_IFBLK, "a device")],
)
def test_kinds_that_are_refused(tmp_path: Path, kind: int, said: str) -> None:
    path = packed(tmp_path / "c.zip", GOOD, ("odd", b"/etc/passwd"), kinds={"odd": kind})
    with pytest.raises(OutputError) as caught:
        unpack_files([path], tmp_path / "data")
    assert said in str(caught.value) and sorted(os.listdir(tmp_path)) == ["c.zip"]


@pytest.mark.case("79", "neighbour: members under a password, or packed in an unknown way")
@pytest.mark.parametrize(("place", "value", "said"), [(8, 1, "encrypted"), (10, 99, "number 99")])
def test_what_cannot_be_read_is_refused(tmp_path: Path, place: int, value: int, said: str) -> None:
    path = packed(tmp_path / "c.zip", ("a.csv", b"x"))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + place] = value
    path.write_bytes(data)
    with pytest.raises(OutputError, match=said):
        unpack_files([path], tmp_path / "data")


@pytest.mark.case("79", "neighbour: an archive that grows beyond all measure")
def test_size_and_number_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SMALL", 2**20)
    path = packed(tmp_path / "bomb.zip", *((f"{one}.csv", bytes(2**20)) for one in range(4)))
    with pytest.raises(OutputError) as caught:
        unpack_files([path], tmp_path / "data")
    assert "would become 4.0 MiB" in str(caught.value) and "--max-size 4MiB" in str(caught.value)
    assert not (tmp_path / "data").exists()
    assert len(unpack_files([path], tmp_path / "data", most=4 * 2**20)) == 4
    with pytest.raises(OutputError, match="--max-size"):
        unpack_files([path], tmp_path / "data", most=2**22 - 1)
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with pytest.raises(OutputError, match="4 members, more than 3"):
        unpack_files([path], tmp_path / "more", most=2**23)


@pytest.mark.case("79", "neighbour: a damaged member leaves nothing half-written")
def test_all_files_appear_or_none(tmp_path: Path) -> None:
    path = packed(tmp_path / "c.zip", GOOD, ("b.csv", b"0123456789" * 9))
    plain = tmp_path / "sample.csv"
    plain.write_text("id\n")
    data = bytearray(path.read_bytes())
    data[data.rindex(b"b.csv", 0, data.index(b"PK\1\2")) + 8] ^= 0xFF
    broken = tmp_path / "broken.zip"
    broken.write_bytes(data)
    place = tmp_path / "data"
    place.mkdir()
    (place / "mine.txt").write_text("kept")
    with pytest.raises(OutputError, match="is damaged, and nothing was unpacked"):
        unpack_files([broken, plain], place)
    assert everything(place) == {"mine.txt": b"kept"} and plain.exists()
    assert sorted(unpack_files([path, plain], place)) == ["b.csv", "ok/a.png", "sample.csv"]
    assert sorted(everything(place)) == ["b.csv", "mine.txt", "ok/a.png", "sample.csv"]
    assert not [one for one in os.listdir(place) if one.startswith(".")]


@pytest.mark.parametrize(("there", "said"), [("ok", "'ok' is a file in"), ("ok/a.png/x", "is a folder in")])
def test_what_stands_in_the_way_is_named(tmp_path: Path, there: str, said: str) -> None:
    mine: Any = tmp_path / "data" / there
    mine.parent.mkdir(parents=True)
    mine.write_text("kept")
    with pytest.raises(OutputError, match=said):
        unpack_files([packed(tmp_path / "c.zip", GOOD)], tmp_path / "data")
    assert everything(tmp_path / "data") == {there: b"kept"}
