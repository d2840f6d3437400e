"""Which file a name means: found, ambiguous, missing or outside, each said by name."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tenfold.data.images import files as imagefiles
from tenfold.data.images.files import FoundImages, find_images, list_image_folder, open_picture, recognise
from tenfold.errors import ImageError

JPEG = b"\xff\xd8\xff\xe0" + bytes(40)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


def make(folder: Path, *names: str, content: bytes = JPEG) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def find(folder: Path, *names: str, allow_outside: bool = False) -> FoundImages:
    """Names as rows of train.csv, whose first row is line 2."""
    return find_images(
        np.array(names, object),
        folder,
        lines=np.arange(2, 2 + len(names)),
        source="train.csv",
        column="image",
        allow_outside=allow_outside,
    )


def found(folder: Path, name: str) -> str:
    """The relative name of the file that was found, or the problem without its place."""
    result = find(folder, name)
    path = result.paths[0]
    if path is None:
        return result.problems[0].removeprefix("train.csv line 2: ")
    assert result.problems == {}
    return os.path.relpath(path, os.path.realpath(folder)).replace(os.sep, "/")


def test_found_ambiguous_and_missing_are_each_said_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    make(folder, "p1.jpg", "sub/p2.png", "p3.jpg", "p3.png")
    result = find(folder, "p1", "sub/p2", "p3", "p4", "p1.jpg")
    assert result.paths == [folder / "p1.jpg", folder / "sub/p2.png", None, None, folder / "p1.jpg"]
    assert result.problems == {
        2: "train.csv line 4: p3 fits 2 files: p3.jpg, p3.png",
        3: f"train.csv line 5: p4 is not in {folder.as_posix()}/",
    }
    error = result.error(result.problems, fix="mend them")
    assert str(error).splitlines() == [
        "train.csv: 2 of 5 pictures of column 'image' cannot be used.",
        "  - train.csv line 4: p3 fits 2 files: p3.jpg, p3.png",
        f"  - train.csv line 5: p4 is not in {folder.as_posix()}/",
        "  fix    mend them",
    ]


def test_reasons_of_others_get_their_place(tmp_path: Path) -> None:
    make(tmp_path, "z.jpg")
    result = find(tmp_path, *["z"] * 8)
    assert result.locate({7: "z.jpg is empty (0 bytes)"}) == {7: "train.csv line 9: z.jpg is empty (0 bytes)"}
    frame = find_images(["z", "y"], tmp_path, lines=None, source="data frame", column="image")
    assert frame.problems[1].startswith("data frame row 2: y is not in ")


def test_ten_missing_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    result = find(tmp_path, *[f"p{row}" for row in range(25)])
    text = str(result.error(result.problems))
    assert "25 of 25 pictures" in text and text.count("is not in") == 10 and "and 15 more" in text
    assert "line 2: p0 " in text and "line 11: p9 " in text


def test_leading_zeros_are_part_of_the_name(tmp_path: Path) -> None:
    make(tmp_path, "0007.jpg", "7.jpg", "0012.jpg")
    assert found(tmp_path, "0007") == "0007.jpg"
    assert found(tmp_path, "7") == "7.jpg"
    assert found(tmp_path, "12").startswith("12 is not in ")
    assert found(tmp_path, "7.0").startswith("7.0 is not in ")


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("a.jpg", "a.jpg"),
        ("A.jpg", "A.jpg"),
        ("b.jpg", "B.JPG"),
        ("b", "B.JPG"),
        ("B", "B.JPG"),
        ("C/D", "c/d.png"),
        ("a.JPG", "a.JPG fits 2 files: A.jpg, a.jpg"),
        ("a", "a fits 2 files: A.jpg, a.jpg"),
        ("e.jpeg", "e.jpeg is not in {}/ (but e.jpg is)"),
        ("img.001", "img.001.jpg"),
        ("noending", "noending"),
        ("f", "f.jpg"),  # f.txt and f.json beside it are no pictures
        ("./a.jpg", "a.jpg"),
        ("c//d.png", "c/d.png"),
        ("c\\d.png", "c/d.png"),
        ("  e.jpg ", "e.jpg"),
        (" spaced.jpg", " spaced.jpg"),
        ("deep", "x/y/deep.png"),
        ("deep.png", "x/y/deep.png"),
        ("DEEP.PNG", "x/y/deep.png"),
        ("y/deep.png", "y/deep.png is not in {}/"),
        ("twice", "twice fits 2 files: x/twice.png, y/twice.png"),
        ("direct", "direct.png"),  # and not x/direct.png
        ("x", "x is a folder, not a picture"),
        ("", "the image name is empty"),
        ("  ", "the image name is empty"),
        ("a\0.jpg", "'a\\x00.jpg' holds a zero character, which no file name does"),
        ("a\x1b[31m", "'a\\x1b[31m' is not in {}/"),
        (".hidden.jpg", ".hidden.jpg"),
        ("f.txt", "f.txt"),
        ("n" * 5000, repr("n" * 300) + " is not in {}/"),
    ],
)
def test_names_and_the_file_they_mean(tmp_path: Path, name: str, right: str) -> None:
    make(tmp_path, "a.jpg", "A.jpg", "B.JPG", "c/d.png", "e.jpg", "img.001.jpg", "noending", "f.jpg", "f.txt")
    make(tmp_path, "f.json", " spaced.jpg", "x/y/deep.png", "x/twice.png", "y/twice.png", "direct.png")
    make(tmp_path, "x/direct.png", ".hidden.jpg")
    if (tmp_path / "a.jpg").samefile(tmp_path / "A.jpg"):
        pytest.skip("this disk does not tell cases apart")
    assert found(tmp_path, name) == right.format(tmp_path.as_posix())


def test_a_name_that_repeats_the_folder_is_told_so(tmp_path: Path) -> None:
    make(tmp_path, "photos/a.jpg")
    assert "give the folder above" in found(tmp_path / "photos", "photos/a.jpg")


@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_names_are_unicode_in_any_form(tmp_path: Path, in_table: str, on_disk: str) -> None:
    folder = tmp_path / unicodedata.normalize(on_disk, "données") / "图片 é"
    make(folder, "ß 1.png", unicodedata.normalize(on_disk, "été/Ünï.jpg"))
    assert found(folder, "ß 1") == "ß 1.png"
    name = unicodedata.normalize(in_table, "été/Ünï")
    for form in (f"{name}.jpg", name, name.upper()):
        assert unicodedata.normalize("NFC", found(folder, form)) == "été/Ünï.jpg"
    ids, paths, classes = list_image_folder(folder)
    assert [path.exists() for path in paths] == [True, True]
    assert ids.tolist() == [path.relative_to(os.path.realpath(folder)).as_posix() for path in paths]
    assert classes is not None and classes.tolist() == ["", "été"]  # one spelling, whatever the disk's


LOCALE = """
import sys
from pathlib import Path
from tenfold.data.images.files import find_images, list_image_folder, open_picture
folder = Path(sys.argv[1])
result = find_images(["\\u00df 1", "\\u00e9.jpg"], folder, lines=None, source="t", column="i")
assert result.problems == {}, ascii(result.problems)
for path in result.paths:
    with open_picture(path) as file:
        assert file.read(2) == b"\\xff\\xd8"
ids, paths, classes = list_image_folder(folder)
assert ids.tolist() == ["\\u00df 1.png", "\\u00e9.jpg"], ascii(ids.tolist())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX locales")
@pytest.mark.parametrize("strict", [False, True])
def test_no_dependence_on_the_locale(tmp_path: Path, strict: bool) -> None:
    folder = tmp_path / "données" / "图片 é"
    make(folder, "ß 1.png", "é.jpg")
    env = {**os.environ, "LC_ALL": "C", "PYTHONPATH": os.pathsep.join(sys.path)}
    if strict:  # Python's own rescue from the C locale switched off: paths are ASCII with escapes
        env |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", LOCALE, os.fspath(folder)], check=True, env=env)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names that are no Unicode")
def test_names_that_are_no_unicode_can_be_printed(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb") as file:
        file.write(JPEG)
    ids, paths, _ = list_image_folder(tmp_path)
    assert ids.tolist() == ["caf\\xe9.jpg"]
    ids[0].encode("utf-8")
    with open_picture(paths[0]) as file:
        assert file.read() == JPEG
    assert found(tmp_path, "caf\\xe9.jpg").encode("utf-8", "surrogateescape").endswith(b"caf\xe9.jpg")


# ---------------------------------------------------------------------------------------------------- outside


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    make(tmp_path, "secret.png", "images-other/a.png")
    make(folder, "a.png", "sub/b.png")
    names = ["../secret.png", "/etc/hostname", "sub/../../secret.png", "ok/../a.png", "../images-other/a.png"]
    result = find(folder, *names, "..", "../secret", str(folder / "a.png"), "sub/../../images/a.png")
    shown = f"{folder.as_posix()}/"
    assert result.problems == {
        row: f"train.csv line {row + 2}: {name} lies outside {shown}; allow with --allow-outside"
        for row, name in (
            (0, names[0]),
            (1, names[1]),
            (2, names[2]),
            (4, names[4]),
            (5, ".."),
            (6, "../secret"),
        )
    } | {8: f"train.csv line 10: sub/../../images/a.png lies outside {shown}; allow with --allow-outside"}
    assert result.paths[3] == result.paths[7] == folder / "a.png"


def test_names_outside_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "images"
    make(tmp_path, "secret.png")
    make(folder, "a.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError(f"opened {arguments}")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(os, "open", refuse)
    names = ("../secret.png", str(tmp_path / "secret.png"), "link.png", "link", "a.png")
    assert sorted(find(folder, *names).problems) == [0, 1, 2, 3]


def test_what_lies_outside_may_be_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    make(tmp_path, "secret.png", "other/b.jpg", "other/b.png")
    make(folder, "a.png")
    names = ("../secret.png", "../secret", str(tmp_path / "secret.png"), "../other/b", "../none/c", "a")
    result = find(folder, *names, allow_outside=True)
    assert [path and path.name for path in result.paths] == [*["secret.png"] * 3, None, None, "a.png"]
    assert "fits 2 files: b.jpg, b.png" in result.problems[3] and "is not in" in result.problems[4]


def test_links_are_followed_inside_and_not_out(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    make(tmp_path, "out/b.png")
    make(folder, "a.png", "sub/c.png")
    (folder / "same.png").symlink_to("a.png")
    (folder / "ring").symlink_to(folder)
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "file.png").symlink_to(tmp_path / "out" / "b.png")
    (folder / "dir").symlink_to(tmp_path / "out")
    assert found(folder, "same") == "same.png"
    assert found(folder, "ring/a.png") == "ring/a.png"
    assert found(folder, "gone.png") == "gone.png is a link that leads to no file, not a picture"
    shown = f"leads outside {folder.as_posix()}/ by a link; allow with --allow-outside"
    for name in ("file.png", "file", "dir/b.png", "dir/b", "dir/none"):
        assert found(folder, name) == f"{name} {shown}"
    result = find(folder, "file", "dir/b", "b", allow_outside=True)
    assert [path and path.name for path in result.paths] == ["file.png", "b.png", "b.png"]
    with pytest.raises(ImageError, match="2 links that lead outside") as caught:
        list_image_folder(folder)
    assert caught.value.problems == ("dir", "file.png")
    ids, _, _ = list_image_folder(folder, allow_outside=True)
    assert ids.tolist() == ["a.png", "dir/b.png", "file.png", "gone.png", "same.png", "sub/c.png"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    make(tmp_path, "real/a.png")
    (tmp_path / "images").symlink_to("real")
    assert find(tmp_path / "images", "a").problems == {}
    assert list_image_folder(tmp_path / "images")[0].tolist() == ["a.png"]


@pytest.mark.parametrize("name", ["phtos", "photos/a.jpg", "nothing/at/all"])
def test_a_folder_that_is_none_is_an_error_at_once(tmp_path: Path, name: str) -> None:
    make(tmp_path, "photos/a.jpg")
    with pytest.raises(ImageError) as caught:
        find(tmp_path / name, "a")
    text = str(caught.value)
    assert "'image'" in text and name.split("/")[-1] in text
    assert ("did you mean 'photos'?" in text) == (name == "phtos")
    assert ("is a file, not a folder" in text) == name.endswith(".jpg")


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *[f"{row}.jpg" for row in range(300)])
    listed = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scan(path))
    monkeypatch.setattr(os, "stat", lambda *_, **__: pytest.fail("asked about a single file"))
    monkeypatch.setattr(os, "lstat", lambda *_, **__: pytest.fail("asked about a single file"))
    monkeypatch.setattr(os.path, "realpath", str)
    assert find(tmp_path, *[f"{row}.jpg" for row in range(300)], *map(str, range(300))).problems == {}
    assert len(listed) == 1


# ---------------------------------------------------------------------------------------------------- folders


def test_a_plain_folder(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a.jpg", "c.PNG", "sub/d.jpg")
    make(tmp_path, ".DS_Store", "Thumbs.db", "._a.jpg", "desktop.ini", "__MACOSX/a.jpg", "sub/.ipynb/e.jpg")
    make(tmp_path, "notes.txt", "labels.csv", content=b"image,label\n")
    make(tmp_path, "noending", "strange.dat", content=b"\x89PNG\r\n\x1a\n" + bytes(30))
    ids, paths, classes = list_image_folder(tmp_path)
    assert ids.tolist() == ["a.jpg", "b.jpg", "c.PNG", "noending", "strange.dat", "sub/d.jpg"]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ids.tolist()
    assert classes is not None and classes.tolist() == ["", "", "", "", "", "sub"]


def test_sub_folders_name_the_classes(tmp_path: Path) -> None:
    make(tmp_path, "dog/1.jpg", "cat/1.jpg", "cat/kitten/2.jpg", "NA/3.jpg")
    ids, _, classes = list_image_folder(tmp_path)
    assert ids.tolist() == ["NA/3.jpg", "cat/1.jpg", "cat/kitten/2.jpg", "dog/1.jpg"]
    assert classes is not None and classes.tolist() == ["NA", "cat", "cat", "dog"]
    _, _, none = list_image_folder(tmp_path / "dog")
    assert none is None


def test_a_folder_without_pictures_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no picture in") as caught:
        list_image_folder(tmp_path)
    assert "no files at all" in str(caught.value)
    make(tmp_path, "a.txt", "b.txt", "c", content=b"words")
    with pytest.raises(ImageError) as caught:
        list_image_folder(tmp_path)
    assert r".txt (2), no ending (1)" in str(caught.value)


def test_a_folder_of_heic_gets_the_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagefiles.importlib.util, "find_spec", lambda name: None)
    make(tmp_path, "p.heic", "q.HEIC", content=HEIC)
    with pytest.raises(ImageError) as caught:
        list_image_folder(tmp_path)
    text = str(caught.value)
    assert "2 HEIC pictures" in text and "install pillow-heif, or convert them" in text and "- p.heic" in text
    make(tmp_path, "r.heic")  # a JPEG by its content
    assert list_image_folder(tmp_path)[0].tolist() == ["p.heic", "q.HEIC", "r.heic"]
    monkeypatch.setattr(imagefiles.importlib.util, "find_spec", lambda name: object())
    (tmp_path / "r.heic").unlink()
    assert list_image_folder(tmp_path)[0].tolist() == ["p.heic", "q.HEIC"]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (JPEG, "JPEG"),
        (HEIC, "HEIC"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1avif" + bytes(8), "AVIF"),
        (b"\0\0\0\x20ftypavif\0\0\0\0mif1" + bytes(12), "AVIF"),
        (b"\0\0\0\x20ftypisom" + bytes(20), ""),
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20), "WebP"),
        (b"BM\x46\0\0\0\0\0\0\0\x36\0", "BMP"),
        (b"BMW is a car and no picture", ""),
        (b"II*\0", "TIFF"),
        (b"", ""),
    ],
)
def test_first_bytes_tell_the_format(head: bytes, kind: str) -> None:
    assert recognise(head) == kind
