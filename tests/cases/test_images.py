"""Pictures: read by stated rules whatever their format, or refused by name before anything is learnt."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import sys
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from typer.testing import CliRunner

from asked import fit_alone
from photos import QUICK, QUICK_OPTIONS, write_photo, write_photos, write_table
from pictures import change_pixels, grained, png_chunks, png_file, refusal, save, tiff_file
from tenfold.cli.main import app
from tenfold.data.images import cache as imagecache
from tenfold.data.images.decode import decode_image, read_thumbnail
from tenfold.data.images.files import find_images
from tenfold.errors import ImageError
from tenfold.events import ImagesRead
from tenfold.networks.run import NetworkRun
from tenfold.nn import encoders
from tenfold.nn.encoders import preprocessing_of
from tenfold.recipe import Recipe
from tenfold.runs.options import Reading
from tenfold.runs.registry import load_run
from tenfold.schema import ImageColumn, Schema, parse_targets

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
FEW = Recipe(**{**QUICK.model_dump(), "epochs": 2})


def schema_of(folder: Path) -> Schema:
    return Schema(
        inputs=[ImageColumn(name="id", folder=str(folder))], targets=parse_targets(["label:category"])
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> NetworkRun:
    """A run that met pictures of 8 bits only."""
    folder = tmp_path_factory.mktemp("trained")
    columns = write_photos(folder, 15)
    table = write_table(folder / "train.csv", {name: columns[name] for name in ("id", "label")})
    return fit_alone(schema_of(folder / "photos"), FEW, str(table), run=folder / "run")


@pytest.fixture(scope="module")
def trained_on_floats(tmp_path_factory: pytest.TempPathFactory) -> NetworkRun:
    """A run that met float pictures whose white is 255, though that of most alone would be 1."""
    folder = tmp_path_factory.mktemp("floats")
    (folder / "photos").mkdir()
    names = []
    for number in range(12):
        bright = 200.0 if number % 2 else 0.5
        write_float(folder / "photos" / f"{number}.tif", bright, number)
        names.append(f"{number}.tif")
    table = write_table(
        folder / "train.csv", {"id": names, "label": ["a" if one % 2 else "b" for one in range(12)]}
    )
    return fit_alone(schema_of(folder / "photos"), FEW, str(table), run=folder / "run")


def write_float(path: Path, bright: float, seed: int = 0) -> None:
    values = np.random.default_rng(seed).uniform(0.2, 1, (32, 32)).astype(np.float32) * bright
    Image.fromarray(values).save(path)


def ask(run: NetworkRun, folder: Path, names: list[str], **options: Any) -> dict[str, Any]:
    """Name -> probabilities of a row, None where it cannot be used."""
    found = run.predict({"id": names}, reading=Reading(folders={"id": str(folder)}, **options))
    chances = found.targets["label"].probabilities
    assert chances is not None
    return {
        name: None if row in found.reasons else chances[row].round(5).tolist()
        for row, name in enumerate(map(str, found.ids))
    }


def command(folder: Path, words: str, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> str:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == code, done.output
    return done.output


# ---------------------------------------------------------------------------------- neighbours in the batch


def strange(folder: Path) -> list[str]:
    """Pictures of every depth, some of which cannot be used."""
    write_photo(folder / "eight.png", "cat", 1)
    Image.fromarray(grained()[..., 0].astype(np.uint16) * 100).save(folder / "sixteen.png")
    write_float(folder / "dark.tif", 0.01)
    write_float(folder / "one.tif", 1.0)
    write_float(folder / "byte.tif", 255.0)
    write_float(folder / "huge.tif", 60000.0)
    for name, value in (("nan.tif", np.nan), ("inf.tif", np.inf), ("minus.tif", -np.inf)):
        values = np.full((8, 8), 0.5, np.float32)
        values[3, 3] = value
        Image.fromarray(values).save(folder / name)
    Image.fromarray(np.array([[0, 40000]], np.int32)).save(folder / "whole.tif")
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.metamorphic("a picture's answer does not depend on the pictures beside it, whatever their depth")
@pytest.mark.parametrize("kind", ["trained", "trained_on_floats"])
def test_an_answer_does_not_depend_on_the_neighbours(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(kind)
    names = strange(tmp_path)
    together = ask(run, tmp_path, names, skip_bad=True)
    assert ask(run, tmp_path, names[::-1], skip_bad=True) == together
    for name in names:
        try:
            assert ask(run, tmp_path, [name]) == {name: together[name]}
        except ImageError as error:
            assert together[name] is None and f"{name} has " in str(error)
    refused = {name for name, answer in together.items() if answer is None}
    never = {"nan.tif", "inf.tif", "minus.tif", "whole.tif", "huge.tif"}
    assert refused == (never if kind == "trained_on_floats" else never | {"byte.tif"})


def test_white_is_what_the_training_took(trained: NetworkRun, trained_on_floats: NetworkRun) -> None:
    assert trained.encoding.white == (None,) and trained_on_floats.encoding.white == (255.0,)


# ------------------------------------------------------------------------------------------ names and files


def find(folder: Path, *names: str) -> dict[str, str]:
    """Name -> the file that it means, or what is said of it; notes under "notes"."""
    found = find_images(list(names), folder, lines=None, source="t", column="id")
    texts = {
        name: path.relative_to(folder.resolve()).as_posix() if path else found.problems[row].split(": ", 1)[1]
        for row, (name, path) in enumerate(zip(names, found.paths, strict=True))
    }
    return texts | {"notes": " / ".join(found.notes)}


@pytest.mark.case(
    "13", "an id without ending: found, ambiguous or missing, each by name, before any training"
)
def test_ids_without_endings(trained: NetworkRun, tmp_path: Path) -> None:
    for name in ("p1.jpg", "sub/p2.png", "p3.jpg", "p3.png"):
        write_photo(tmp_path / name, "cat", 1)
    with pytest.raises(ImageError) as caught:
        ask(trained, tmp_path, ["p1", "sub/p2", "p3", "p4"])
    assert [one.partition(": ")[2] for one in caught.value.problems] == [
        "p3 fits 2 files: p3.jpg, p3.png",
        f"p4 is not in {tmp_path.as_posix()}/",
    ]


@pytest.mark.case("13", "neighbour: no name is found: the folder is wrong, said before anything is built")
def test_a_wrong_folder_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = write_photos(tmp_path, 12)
    write_photo(tmp_path / "other" / "x.png", "cat", 1)
    write_table(tmp_path / "train.csv", columns)
    told = command(
        tmp_path,
        f"fit train.csv --image id=other --target label -o run {' '.join(QUICK_OPTIONS)}",
        monkeypatch,
        2,
    )
    assert "12 of 12 pictures of column 'id' cannot be used" in told
    assert "fix    give --image id=FOLDER" in told and not (tmp_path / "run").exists()


@pytest.mark.case("14", "names in other scripts, in any locale and Unicode form, are found and unchanged")
def test_names_in_other_scripts(trained: NetworkRun, tmp_path: Path) -> None:
    folder = tmp_path / "données" / "图片 é"
    write_photo(folder / "ß 1.png", "cat", 1)
    write_photo(folder / unicodedata.normalize("NFD", "é.png"), "dog", 2)
    answers = ask(trained, folder, ["ß 1.png", "é.png"])
    assert list(answers) == ["ß 1.png", "é.png"] and None not in answers.values()


@pytest.mark.case(
    "I6", "a name encoded for the web, with other blanks or unseen signs is found, and that is said"
)
def test_names_in_another_spelling(tmp_path: Path) -> None:
    for name in ("my leaf 1.png", "a+b.png", "c\u200bd.png", " lead.png", "e%20f.png", "g h.png", "100%.png"):
        write_photo(tmp_path / name, "cat", 1)
    pairs = {
        "my%20leaf%201.png": "my leaf 1.png",
        "my\u00a0leaf 1.png": "my leaf 1.png",
        "my leaf\u2007 1.png": "my leaf 1.png",
        "my%20leaf%201": "my leaf 1.png",
        "a%2Bb.png": "a+b.png",
        "cd.png": "c\u200bd.png",
        "lead.png": " lead.png",
        "e f.png": "e%20f.png",
        "\ufeffg h.png": "g h.png",
        "100%25.png": "100%.png",
    }
    found = find(tmp_path, *pairs)
    notes = found.pop("notes")
    assert found == pairs
    assert notes.startswith("10 names were found in another spelling: 'my%20leaf%201.png' is 'my leaf 1.png'")
    exact = ("100%.png", "e%20f.png", " lead.png", "g h.png", "a+b", "G H.PNG", "g h")
    assert find(tmp_path, *exact)["notes"] == ""


@pytest.mark.case("I6", "neighbour: two files that a loosely read name fits are named, and none is taken")
def test_a_loose_name_that_fits_two(tmp_path: Path) -> None:
    for name in ("a b.png", "a\u00a0b.png", "sub/c.png"):
        write_photo(tmp_path / name, "cat", 1)
    found = find(
        tmp_path, "a%20b.png", "a  b.png", "sub%2Fc.png", "sub\\c.png", "%2e%2e/secret.png", "\u200b"
    )
    assert found["a%20b.png"].startswith("a%20b.png fits 2 files: a b.png, ")
    assert found["a  b.png"].startswith("a  b.png fits 2 files: ")
    assert found["sub%2Fc.png"] == found["sub\\c.png"] == "sub/c.png"
    assert "secret.png is not in" in found["%2e%2e/secret.png"] and "is not in" in found["\u200b"]


@pytest.mark.case(
    "T6", "a link to itself, a pipe, a socket, a device, a folder: refused by name, nothing blocks"
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither pipes nor such links")
def test_what_is_no_ordinary_file(
    trained: NetworkRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    Path("pics").mkdir()
    write_photo(Path("pics/a.png"), "cat", 1)
    for link, place in (("self", "self"), ("x", "y"), ("y", "x"), ("gone", "nowhere"), ("here", ".")):
        ending = "" if link == "here" else ".png"
        os.symlink(place + ending, f"pics/{link}{ending}")
    os.mkfifo("pics/pipe.png")
    Path("pics/dir.png").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("pics/sock.png")
        said = {
            "self.png": "a link that leads to itself",
            "x.png": "a link that leads to itself",
            "gone.png": "a link that leads to no file",
            "pipe.png": "a named pipe",
            "sock.png": "a socket",
            "dir.png": "a folder",
        }
        found = find(Path("pics"), "a.png", "here/a.png", *said)
        assert [found.pop(name) for name in ("notes", "a.png", "here/a.png")] == ["", "a.png", "here/a.png"]
        assert found == {name: f"{name} is {what}, not a picture" for name, what in said.items()}
        # As a folder, too: what is named like a picture is a row that is refused, not left out in silence.
        answers = trained.predict("pics", reading=Reading(skip_bad=True))
        wanted = ["a.png", "gone.png", "pipe.png", "self.png", "sock.png", "x.png", "y.png"]
        assert list(answers.ids) == wanted and sorted(answers.reasons) == [1, 2, 3, 4, 5, 6]
        told = command(tmp_path, f"predict {trained.path} pics -o p.csv", monkeypatch, 2)
        assert "self.png is a link that leads to itself" in told and "Traceback" not in told


@pytest.mark.case("T6", "neighbour: a pipe in the place of a picture that is decoded later does not block")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes")
def test_a_pipe_in_the_place_of_a_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.png")
    assert refusal(tmp_path / "p.png") == "p.png is a named pipe, not a picture"
    with pytest.raises(ImageError, match="named pipe"):
        read_thumbnail(tmp_path / "p.png")


@pytest.mark.case("77", "names that lead out of the folder are refused and never opened; inside they work")
def test_names_stay_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_photo(folder / "a.png", "cat", 1)
    write_photo(tmp_path / "secret.png", "cat", 1)
    out = ("../secret.png", "/etc/hostname", "sub/../../secret.png")
    found = find(folder, *out, "ok/../a.png")
    assert found["ok/../a.png"] == "a.png"
    for name in out:
        assert found[name] == f"{name} lies outside {folder.as_posix()}/; allow with --allow-outside"


@pytest.mark.case("77", "neighbour: encoded dots, backslashes and links do not lead out either")
@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_encoded_names_stay_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_photo(folder / "a.png", "cat", 1)
    write_photo(tmp_path / "secret.png", "cat", 1)
    (folder / "out").symlink_to(tmp_path)
    found = find(folder, "%2e%2e%2fsecret.png", "..\\secret.png", "out/secret.png", "out%2Fsecret.png")
    assert "allow with --allow-outside" in found["..\\secret.png"]
    assert "allow with --allow-outside" in found["out/secret.png"]
    assert "is not in" in found["%2e%2e%2fsecret.png"] and "is not in" in found["out%2Fsecret.png"]


# -------------------------------------------------------------------------------------- damaged pictures


@pytest.mark.case("I7", "a PNG whose bytes were spoilt is refused by predict and fit, in every mode")
def test_spoilt_pngs_are_refused(
    trained: NetworkRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pics").mkdir()
    for mode in ("RGB", "L", "P", "1", "I;16", "RGBA"):
        path = tmp_path / "pics" / f"{mode.replace(';', '')}.png"
        save(path, mode)
        path.write_bytes(change_pixels(path.read_bytes(), lambda packed: bytes(len(packed))))
    told = command(tmp_path, f"predict {trained.path} pics -o p.csv", monkeypatch, 2)
    assert "6 of 6 pictures" in told and told.count("is damaged") == 6
    write_table(tmp_path / "t.csv", {"id": ["L.png", "P.png"] * 6, "label": ["a", "b"] * 6})
    options = f"--image id=pics --target label -o run {' '.join(QUICK_OPTIONS)}"
    told = command(tmp_path, f"fit t.csv {options}", monkeypatch, 2)
    assert "t.csv line 2: L.png is damaged" in told


@pytest.mark.case("I7", "neighbour: rows of such files that an earlier version cached are not believed")
def test_rows_cached_by_an_earlier_rule_are_decoded_again(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    save(path)
    how: dict[str, Any] = {"size": (8, 8), "cache_dir": tmp_path / "cache"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagecache, "RULE", 1)
        cache, problems, _ = imagecache.build_image_cache([path], **how)
        assert (cache.decoded, problems) == (1, {})
    cache, _, _ = imagecache.build_image_cache([path], **how)
    assert cache.decoded == 1
    cache, _, _ = imagecache.build_image_cache([path], **how)
    assert cache.decoded == 0


@pytest.mark.case("20", "half a JPEG at row 37 of 50 is named with its line before training")
def test_half_a_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{row:02d}.jpg" for row in range(50)]
    (tmp_path / "pics").mkdir()
    for row, name in enumerate(names):
        Image.fromarray(grained(seed=row)).save(tmp_path / "pics" / name)
    half = tmp_path / "pics" / names[37]
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    write_table(tmp_path / "t.csv", {"id": names, "label": ["a", "b"] * 25})
    options = f"--image id=pics --target label -o run {' '.join(QUICK_OPTIONS)}"
    told = command(tmp_path, f"fit t.csv {options}", monkeypatch, 2)
    assert "1 of 50 pictures" in told
    assert "t.csv line 39: 37.jpg is cut off: the file ends before the picture does" in told


@pytest.mark.case("20", "neighbour: half a JPEG that an end mark was put behind is cut off as well")
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_half_a_jpeg_with_an_end(tmp_path: Path, options: dict[str, bool]) -> None:
    path = tmp_path / "p.jpg"
    save(path, quality=95, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    assert "p.jpg is damaged" in refusal(path) or "p.jpg is cut off" in refusal(path)


@pytest.mark.case(
    "I4", "whatever follows the end mark of a JPEG is not looked at; kinds not decoded are named"
)
def test_trailers_and_kinds_of_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    right = save(path)
    whole = path.read_bytes()
    for trailer in (bytes(64), b"ftypmp42" + bytes(9000)):
        path.write_bytes(whole + trailer)
        assert (decode_image(path, (64, 64)) == right).all()
    path.write_bytes(whole.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"))
    assert refusal(path) == "p.jpg is a JPEG of 12 bits, which cannot be decoded: convert it to PNG"


@pytest.mark.case("I4", "neighbour: a trailer does not hide that the picture before it is cut")
def test_a_trailer_behind_a_cut_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    save(path)
    whole = path.read_bytes()
    for trailer in (bytes(5000), b"ftypmp42" * 100):
        path.write_bytes(whole[: len(whole) // 2] + trailer)
        assert "p.jpg is " in refusal(path)


@pytest.mark.case(
    "V1", "filling and further rows before the end mark of a JPEG, as hardware writes, are read"
)
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 4}, {"progressive": True}])
def test_jpegs_with_something_before_their_end(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "p.jpg"
    right = save(path, quality=90, **options)
    whole = path.read_bytes()
    further = [bytes(20), bytes(500), b"\xff" * 40, b"\x7f", b"\xff\xfe\0\5abc"]
    if "restart_marker_blocks" in options:
        due = len(re.findall(rb"\xff[\xd0-\xd7]", whole))
        further.append(bytes([0xFF, 0xD0 + due % 8]))
        further.append(
            bytes([0xFF, 0xD0 + due % 8]) + b"row" * 30 + bytes([0xFF, 0xD0 + (due + 1) % 8]) + b"x"
        )
    for one in further:
        path.write_bytes(whole[:-2] + one + whole[-2:])
        assert (decode_image(path, (64, 64)) == right).all()


@pytest.mark.case("V1", "neighbour: holes at the end, and restart markers that lack or repeat, are refused")
def test_jpegs_with_too_little_before_their_end(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    save(path, quality=95, restart_marker_blocks=2)
    whole = path.read_bytes()
    marks = [one.start() for one in re.finditer(rb"\xff[\xd0-\xd7]", whole)]
    for spoilt in (
        whole[: marks[-1]] + whole[-2:],
        whole[: marks[3]] + whole[marks[4] :],
        whole[: marks[4]] + whole[marks[3] :],
        whole[: marks[3]] + bytes(len(whole) - 2 - marks[3]) + whole[-2:],
    ):
        path.write_bytes(spoilt)
        assert "p.jpg is " in refusal(path)
    save(path, quality=95)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2 - 2) + whole[-2:])
    assert "p.jpg is " in refusal(path)


# --------------------------------------------------------------------------------------- what a picture shows


@pytest.mark.case("V2", "a TIFF in separate planes is what its tags say: bits, inversion, byte order")
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_in_planes(tmp_path: Path, order: str) -> None:
    colour = grained()
    grey = colour[..., 0]
    deep = (colour.astype(np.uint16) * 257).astype(f"{order}u2")
    rows = [deep[at : at + 10, :, band].tobytes() for band in range(3) for at in range(0, 64, 10)]
    extra = [*rows, *rows[:7]]
    three, four = {258: [16] * 3, 262: [2], 277: [3]}, {258: [16] * 4, 262: [2], 277: [4], 338: [0]}
    one = {262: [1], 284: [2]}
    files = {
        "rgb": (rows, {**three, 278: [10], 284: [2]}, colour),
        "rgbx": (extra, {**four, 278: [10], 284: [2]}, colour),
        "grey": ([deep[..., 0].tobytes()], {**one, 258: [16]}, grey),
        "white": ([(255 - grey).tobytes()], {**one, 258: [8], 262: [0]}, grey),
        "bits": (
            [np.packbits(grey < 128, axis=1).tobytes()],
            {**one, 258: [1], 262: [0]},
            (grey > 127) * 255,
        ),
        "float": ([(grey / 255).astype(f"{order}f4").tobytes()], {**one, 258: [32], 339: [3]}, grey),
    }
    for name, (strips, tags, right) in files.items():
        (tmp_path / f"{name}.tif").write_bytes(tiff_file(strips, (64, 64), tags, order))
        seen = decode_image(tmp_path / f"{name}.tif", (64, 64))
        assert (seen == (right if right.ndim == 3 else right[..., None])).all(), name
    (tmp_path / "ink.tif").write_bytes(
        tiff_file([bytes(64 * 128)] * 4, (64, 64), {258: [16] * 4, 262: [5], 277: [4], 284: [2]}, order)
    )
    assert "ink.tif has colour of 16 bits in separate planes" in refusal(tmp_path / "ink.tif")


@pytest.mark.case("V3", "deflated TIFFs of signed, 32-bit and float numbers are the same in both byte orders")
def test_packed_tiffs_in_both_byte_orders(tmp_path: Path) -> None:
    grey = grained()[..., 0]
    for kind, sign, values in (
        ("i2", 2, grey.astype(int) * 128),
        ("i4", 2, grey.astype(int) * 257),
        ("f4", 3, np.repeat([0.0, 1.0], 32 * 64).reshape(64, 64)),
    ):
        seen = []
        for order in "<>":
            packed = zlib.compress(values.astype(f"{order}{kind}").tobytes())
            tags = {258: [8 * int(kind[1])], 259: [8], 262: [1], 339: [sign]}
            (tmp_path / "p.tif").write_bytes(tiff_file([packed], (64, 64), tags, order))
            seen.append(decode_image(tmp_path / "p.tif", (64, 64))[..., 0])
        assert (seen[0] == seen[1]).all()
        assert abs(int(seen[0].max()) - {"i2": 127, "i4": 255, "f4": 255}[kind]) <= 3


@pytest.mark.case("V4", "a TIFF palette of 8 bits in its table of 16 is not black")
@pytest.mark.parametrize("times", [1, 257])
def test_palettes_of_eight_bits(tmp_path: Path, times: int) -> None:
    grey = grained()[..., 0]
    table = [times * one for one in [*range(256), *range(255, -1, -1), *[7] * 256]]
    tags = {258: [8], 262: [3], 320: table}
    (tmp_path / "p.tif").write_bytes(tiff_file([grey.tobytes()], (64, 64), tags))
    right = np.stack([grey, 255 - grey, np.full_like(grey, 7)], -1)
    assert (decode_image(tmp_path / "p.tif", (64, 64)) == right).all()


@pytest.mark.case(
    "V5", "colour JPEG 2000 of more than 8 bits, whose white comes out black, is refused by name"
)
@pytest.mark.parametrize("name", ["p.jp2", "p.j2k"])
def test_deep_colour_in_jpeg_2000(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save(path)
    size = path.read_bytes().index(b"\xff\x4f\xff\x51") + 42
    data = bytearray(path.read_bytes())
    for part in range(3):
        assert data[size + 3 * part] == 7  # bits less one
        data[size + 3 * part] = 11
    path.write_bytes(data)
    assert f"{name} is a JPEG 2000 of 12 bits in colour" in refusal(path)
    deep = np.full((8, 8), 65535, np.uint16)
    Image.fromarray(deep).save(path)
    assert (decode_image(path, (8, 8)) == 255).all()


@pytest.mark.case("21", "16-bit grey keeps its levels: 4096 is dark, a ramp has all 256")
def test_sixteen_bits(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "g.png")
    seen = decode_image(tmp_path / "g.png", (64, 256))
    assert len(np.unique(seen)) == 256 and abs(seen.mean() - 127.5) < 0.1
    Image.fromarray(np.full((8, 8), 4096, np.uint16)).save(tmp_path / "d.png")
    assert (decode_image(tmp_path / "d.png", (8, 8)) == 16).all()


@pytest.mark.case(
    "21", "neighbour: the same 16-bit picture as PNG, TIFF of both byte orders and PGM is the same"
)
def test_sixteen_bits_in_other_formats(tmp_path: Path) -> None:
    deep = grained()[..., 0].astype(np.uint16) * 200
    seen = []
    for name in ("g.png", "g.tif", "g.pgm"):
        Image.fromarray(deep).save(tmp_path / name)
        seen.append(decode_image(tmp_path / name, (64, 64)))
    Image.frombytes("I;16B", (64, 64), deep.astype(">u2").tobytes()).save(tmp_path / "big.tif")
    seen.append(decode_image(tmp_path / "big.tif", (64, 64)))
    assert all((one == seen[0]).all() for one in seen)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.case("22", "a photo with orientation 6 is seen upright, in the network and in the preview")
def test_a_turned_photo(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    image.save(tmp_path / "p.jpg", exif=turned(6))
    for seen in (
        decode_image(tmp_path / "p.jpg", (40, 20)),
        np.asarray(Image.open(io.BytesIO(read_thumbnail(tmp_path / "p.jpg", 40)))),
    ):
        assert np.abs(seen[:16].astype(int) - RED).max() < 12
        assert np.abs(seen[24:].astype(int) - BLUE).max() < 12


@pytest.mark.case("22", "neighbour: a PNG whose orientation stands behind its pixels is turned, too")
def test_an_orientation_behind_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.fromarray(grained(20, 40)).save(path, exif=turned(6))
    chunks = png_chunks(path.read_bytes())
    exif = next(one for one in chunks if one[0] == b"eXIf")
    path.write_bytes(png_file([one for one in chunks[:-1] if one != exif] + [exif, chunks[-1]]))
    assert (decode_image(path, (40, 20)) == np.rot90(grained(20, 40), -1)).all()


@pytest.mark.case("23", "an empty picture is named with its line, and stays a row of the answers")
def test_an_empty_picture(trained: NetworkRun, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", "cat", 1)
    (tmp_path / "z.jpg").touch()
    with pytest.raises(ImageError) as caught:
        ask(trained, tmp_path, ["a.png", "z.jpg"])
    assert caught.value.problems[0].endswith("2: z.jpg is empty (0 bytes)")
    answers = ask(trained, tmp_path, ["a.png", "z.jpg"], skip_bad=True)
    assert answers["a.png"] is not None and answers["z.jpg"] is None


@pytest.mark.case(
    "23", "neighbour: a web page, a pointer and text under the name of a picture are called that"
)
def test_what_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "z.jpg"
    for content, said in (
        (b"<!DOCTYPE html><html>404", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (b"hello", "z.jpg is not a picture"),
        (bytes(500), "nothing but zero bytes"),
    ):
        path.write_bytes(content)
        assert said in refusal(path)


@pytest.mark.case("24", "transparency lies on white, and hidden colour never matters")
def test_transparency(tmp_path: Path) -> None:
    seen = []
    for hidden in (RED, BLUE):
        pixels = np.zeros((32, 32, 4), np.uint8)
        pixels[:, :16], pixels[:, 16:] = (*GREEN, 255), (*hidden, 0)
        Image.fromarray(pixels).save(tmp_path / "p.png")
        seen.append(decode_image(tmp_path / "p.png", (16, 16)))
    assert (seen[0] == seen[1]).all() and (seen[0][:, 9:] == 255).all()
    ink = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    ink.putpixel((3, 3), (0, 0, 0, 255))
    ink.save(tmp_path / "ink.png")
    assert decode_image(tmp_path / "ink.png", (8, 8)).sum() == 255 * 3 * 63


@pytest.mark.case("24", "neighbour: a clear palette entry of PNG, GIF and WebP shows the same white")
def test_clear_palettes(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 1), 1)
    for name in ("p.png", "p.gif"):
        image.save(tmp_path / name, transparency=0)
    Image.open(tmp_path / "p.png").convert("RGBA").save(tmp_path / "p.webp", lossless=True)
    seen = [decode_image(tmp_path / name, (8, 8)) for name in ("p.png", "p.gif", "p.webp")]
    assert all((one == seen[0]).all() for one in seen) and seen[0].sum() == 255 * (3 * 63 + 1)


@pytest.mark.case("25", "400 million pixels are refused from the header; the limit is the user's")
def test_a_bomb(tmp_path: Path) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    assert refusal(tmp_path / "bomb.png") == (
        "bomb.png has 400,000,000 pixels, limit 200,000,000; raise with --max-pixels"
    )
    Image.new("1", (100, 50), 1).save(tmp_path / "p.png")
    with pytest.raises(ImageError, match="5,000 pixels, limit 4,999"):
        decode_image(tmp_path / "p.png", (4, 4), max_pixels=4999)
    assert decode_image(tmp_path / "p.png", (4, 4), max_pixels=5000).min() == 255


@pytest.mark.case(
    "25", "neighbour: a WebP, whose decoder takes memory at once, is measured before it is opened"
)
@pytest.mark.parametrize("kind", ["VP8X", "VP8L", "VP8 "])
def test_a_bomb_in_webp(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.webp"
    options: dict[str, Any] = {"VP8X": {"exif": turned(1)}, "VP8L": {"lossless": True}, "VP8 ": {}}[kind]
    Image.new("RGB", (300, 200), RED).save(path, **options)
    assert path.read_bytes()[12:16].decode() == kind
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    for limit, said in ((59_999, "60,000 pixels, limit 59,999"), (119_999, "2 copies at once, limit 59,999")):
        with pytest.raises(ImageError, match=said):
            decode_image(path, (4, 4), max_pixels=limit)


@pytest.mark.case("T6", "too little memory while decoding is a refusal of that row, by name")
def test_too_little_memory(trained: NetworkRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photo(tmp_path / "a.png", "cat", 1)
    Image.fromarray(grained(77, 77)).save(tmp_path / "big.png")
    load = PngImageFile.load

    def scarce(image: PngImageFile) -> Any:
        if image.size == (77, 77):
            raise MemoryError
        return load(image)

    monkeypatch.setattr(PngImageFile, "load", scarce)
    answers = trained.predict(
        {"id": ["a.png", "big.png"]}, reading=Reading(folders={"id": str(tmp_path)}, skip_bad=True)
    )
    assert list(answers.reasons) == [1] and "big.png needs more memory than there is" in answers.reasons[1]


@pytest.mark.case("26", "of a moving GIF the first frame is used, and that is said")
def test_a_moving_gif(trained: NetworkRun, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (decode_image(tmp_path / "a.gif", (32, 32)) == RED).all()
    found = trained.predict({"id": ["a.gif"]}, reading=Reading(folders={"id": str(tmp_path)}))
    assert "1 file has several frames; first is used" in found.notes


@pytest.mark.case("26", "neighbour: moving PNG, WebP and many-page TIFF follow the same rule")
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_many_frames(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    cache, problems, notes = imagecache.build_image_cache([tmp_path / name], size=(8, 8))
    assert not problems and (cache.read([0])[0] == RED).all()
    assert notes == ["1 file has several frames; first is used"]


@pytest.mark.case("27", "strips of 1 x 3000 and single pixels become an ordinary input")
@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (1, 1)])
def test_strips(tmp_path: Path, shape: tuple[int, int]) -> None:
    Image.new("RGB", shape, (9, 8, 7)).save(tmp_path / "s.png")
    for way in ("squish", "crop"):
        assert (decode_image(tmp_path / "s.png", (32, 32), way) == (9, 8, 7)).all()


@pytest.mark.case("27", "neighbour: a turned strip is a strip the other way, and the check points it out")
def test_a_turned_strip(tmp_path: Path) -> None:
    Image.new("RGB", (1, 3000), (9, 8, 7)).save(tmp_path / "s.png", exif=turned(6))
    _, problems, notes = imagecache.build_image_cache([tmp_path / "s.png"], size=(8, 8))
    assert not problems and notes == ["1 picture has an extreme shape: s.png 3000x1"]


@pytest.mark.case("28", "HEIC under any name says which package or step is missing")
def test_heic(tmp_path: Path) -> None:
    for name in ("p.jpg", "p.heic"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
        assert f"{name} is a HEIC picture, which needs an extra package" in refusal(tmp_path / name)


@pytest.mark.case("28", "neighbour: JPEG XL, DICOM and a video are called that, whatever their name")
def test_other_strangers(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    for content, said in (
        (b"\xff\x0a" + bytes(range(100)), "a JPEG XL picture, which is not supported: convert it"),
        (bytes(range(128)) + b"DICM", "a DICOM file: convert it to 16-bit PNG"),
        (b"\0\0\0\x20ftypisom" + bytes(99), "it is a video"),
    ):
        path.write_bytes(content)
        assert said in refusal(path)


@pytest.mark.case("29", "CMYK, grey, 1-bit, palette and RGB become three channels by value, in one batch")
def test_every_mode(tmp_path: Path) -> None:
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    made = {
        "c.jpg": (Image.new("CMYK", (32, 32), (0, 255, 255, 0)), RED),
        "l.png": (Image.new("L", (32, 32), 128), (128, 128, 128)),
        "1.png": (Image.new("1", (32, 32), 1), (255, 255, 255)),
        "p.png": (palette, (10, 200, 30)),
        "r.png": (Image.new("RGB", (32, 32), (1, 2, 3)), (1, 2, 3)),
    }
    for name, (image, _) in made.items():
        image.save(tmp_path / name)
    cache, problems, _ = imagecache.build_image_cache([tmp_path / name for name in made], size=(32, 32))
    assert not problems
    for seen, (_, right) in zip(cache.read(range(5)), made.values(), strict=True):
        assert np.abs(seen.astype(int) - right).max() <= 2


@pytest.mark.case("29", "neighbour: grey with and without alpha, and CMYK as TIFF, are what they show")
def test_further_modes(tmp_path: Path) -> None:
    Image.new("LA", (8, 8), (100, 255)).save(tmp_path / "la.png")
    assert (decode_image(tmp_path / "la.png", (8, 8)) == 100).all()
    Image.new("CMYK", (8, 8), (255, 0, 255, 0)).save(tmp_path / "c.tif")
    assert (decode_image(tmp_path / "c.tif", (8, 8)) == GREEN).all()


@pytest.mark.case("30", "mean, deviation and interpolation are the architecture's, and stay with the run")
def test_preprocessing_is_kept(trained: NetworkRun) -> None:
    known = preprocessing_of("test_resnet")
    kept = json.loads((trained.path / "encoding.json").read_text())
    assert (tuple(kept["mean"]), tuple(kept["std"])) == (known.mean, known.std)
    assert kept["interpolation"] == known.interpolation
    assert preprocessing_of("vit_base_patch16_224").mean == (0.5, 0.5, 0.5)
    assert preprocessing_of("resnet18").mean == pytest.approx((0.485, 0.456, 0.406))


@pytest.mark.case("30", "neighbour: a run uses the numbers that it kept, whatever the library says today")
def test_preprocessing_of_the_run_counts(
    trained: NetworkRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photo(tmp_path / "a.png", "cat", 1)
    before = ask(trained, tmp_path, ["a.png"])
    monkeypatch.setattr(encoders, "preprocessing_of", lambda *_: pytest.fail("asked for today's numbers"))
    assert ask(load_run(trained.path), tmp_path, ["a.png"]) == before


# ------------------------------------------------------------------------- pictures that change in the middle


def fit_and_spoil(folder: Path, cache: Path, spoil: Any) -> NetworkRun:
    """A training during which, once every picture was checked, `spoil` is called with each of them."""
    columns = write_photos(folder, 15)
    table = write_table(folder / "train.csv", {name: columns[name] for name in ("id", "label")})

    def meddle(told: dict[str, Any]) -> None:
        if isinstance(told, ImagesRead) and told.done == told.total:
            for path in (folder / "photos").iterdir():
                spoil(path)

    return fit_alone(
        schema_of(folder / "photos"),
        FEW,
        str(table),
        run=folder / "run",
        reading=Reading(cache=str(cache)),
        on_progress=meddle,
    )


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.case(
    "F1", "pictures that vanish once they were checked: the training goes on with what it has cached"
)
def test_pictures_that_vanish_are_in_the_cache(trained: NetworkRun, tmp_path: Path) -> None:
    run = fit_and_spoil(tmp_path, tmp_path / "cache", Path.unlink)
    assert run.scores == trained.scores  # of the same pictures, undisturbed


@pytest.mark.case(
    "F1", "neighbour: without a cache, the picture that vanished or changed is named and nothing is left"
)
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "is missing"),
        (cut_short, "was changed while it was in use"),
        (lambda path: write_photo(path, "fox", 99), "was changed while it was in use"),
    ],
)
def test_pictures_that_vanish_without_a_cache(tmp_path: Path, spoil: Any, said: str) -> None:
    (tmp_path / "cache").touch()  # no folder can be made there
    with pytest.raises(ImageError, match=rf"^00\d\d\.png {said}"):
        fit_and_spoil(tmp_path, tmp_path / "cache", spoil)
    assert not (tmp_path / "run").exists()


@pytest.mark.case(
    "F1", "neighbour: a picture that is written anew while it is read is refused, and never cached"
)
def test_a_picture_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.png"
    right = save(path)
    whole = path.read_bytes()
    decode = imagecache.decode_file

    def late(file: Any, *words: Any, **options: Any) -> Any:
        write_photo(path, "cat", 1)
        return decode(file, *words, **options)

    how: dict[str, Any] = {"size": (64, 64), "cache_dir": tmp_path / "cache"}
    with monkeypatch.context() as patch:
        patch.setattr(imagecache, "decode_file", late)
        _, problems, _ = imagecache.build_image_cache([path], **how)
    assert problems == {0: "p.png was changed while it was read"}
    path.write_bytes(whole)
    cache, problems, _ = imagecache.build_image_cache([path], **how)
    assert not problems and cache.decoded == 1 and (cache.read([0])[0] == right).all()
