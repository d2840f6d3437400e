"""Files whose own sums, lengths or end marks are not met are refused; what only looks strange is read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictures import change_pixels, grained, png_chunks, png_file, refusal, save
from tenfold.data.images.decode import decode_image
from tenfold.errors import ImageError

MODES = ("RGB", "L", "P", "1", "I;16", "RGBA")

SPOILT = {
    "two bytes inverted": lambda packed: packed[:90] + bytes(255 - b for b in packed[90:92]) + packed[92:],
    "200 times 0xFF": lambda packed: b"\xff" * 200,
    "zeros": lambda packed: bytes(len(packed)),
    "a hole": lambda packed: packed[:100] + bytes(40) + packed[140:],
    "no zlib header": lambda packed: packed[2:],
    "half": lambda packed: packed[: len(packed) // 2],
    "no sum": lambda packed: packed[:-4],
    "fewer rows": lambda packed: zlib.compress(zlib.decompress(packed)[:-100]),
    "many more rows": lambda packed: zlib.compress(zlib.decompress(packed) + bytes(3 << 20)),
    "nothing": lambda packed: b"",
}


@pytest.mark.parametrize("mode", MODES)
def test_a_png_whose_pixels_are_spoilt_is_refused_in_every_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "p.png"
    save(path, mode)
    whole = path.read_bytes()
    for change in SPOILT.values():
        path.write_bytes(change_pixels(whole, change))
        assert refusal(path).startswith("p.png is ")
    at = whole.index(b"IDAT") + 60
    path.write_bytes(whole[:at] + bytes(255 - b for b in whole[at : at + 2]) + whole[at + 2 :])
    assert "p.png is damaged" in refusal(path)


def interlaced_png() -> tuple[bytes, np.ndarray]:
    """An Adam7 PNG of an odd size, and its pixels."""
    pixels = grained(13, 11)
    rows = b""
    for left, top, wide, high in (
        *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
        *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
    ):
        part = pixels[top::high, left::wide]
        rows += b"".join(b"\0" + row.tobytes() for row in part if part.size)
    head = struct.pack(">IIBBBBB", 11, 13, 8, 2, 0, 0, 1)
    return png_file([(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]), pixels


def test_an_interlaced_png_is_read_whole_or_refused(tmp_path: Path) -> None:
    whole, pixels = interlaced_png()
    path = tmp_path / "i.png"
    path.write_bytes(whole)
    assert (decode_image(path, (13, 11)) == pixels).all()
    for change in SPOILT.values():
        path.write_bytes(change_pixels(whole, change))
        assert refusal(path).startswith("i.png is ")


def test_an_animated_png_is_its_first_frame_and_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    frames = [Image.fromarray(grained(seed=seed)) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert (decode_image(path, (64, 64)) == grained()).all()
    whole = path.read_bytes()
    at = whole.rindex(b"fdAT") + 50
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert "its fdAT" in refusal(path)


def test_pixels_in_many_chunks_an_empty_one_and_bytes_behind_the_end(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    right = save(path)
    chunks = png_chunks(path.read_bytes())
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    parts = [(b"IDAT", packed[at : at + 1000]) for at in range(0, len(packed), 1000)]
    path.write_bytes(png_file([chunks[0], (b"IDAT", b""), *parts, (b"IEND", b"")]) + b"a trailer" * 100)
    assert (decode_image(path, (64, 64)) == right).all()


def test_apples_own_png_and_unknown_chunks_that_must_be_known(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    save(path, "RGBA")
    chunks = png_chunks(path.read_bytes())
    path.write_bytes(png_file([(b"CgBI", b"\x50\0\x20\2"), *chunks]))
    assert "made for iPhone apps (CgBI), which cannot be decoded" in refusal(path)
    path.write_bytes(png_file([chunks[0], (b"XyZw", b"1"), *chunks[1:]]))
    assert "with a chunk XyZw" in refusal(path)
    path.write_bytes(png_file([chunks[0], (b"xyZw", b"1"), *chunks[1:]]))
    assert decode_image(path, (64, 64)).shape == (64, 64, 3)


def test_a_png_without_its_end_may_lack_what_turns_it(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    save(path)
    path.write_bytes(path.read_bytes()[:-12])
    assert "p.png is cut off: the file ends before the picture does" in refusal(path)


@pytest.mark.parametrize("options", [{}, {"tiled": True}])
def test_a_deflated_tiff_is_held_against_its_sums(tmp_path: Path, options: dict[str, bool]) -> None:
    path = tmp_path / "d.tif"
    tags = {322: 32, 323: 32} if options else {}
    right = save(path, compression="tiff_adobe_deflate", tiffinfo=tags)
    assert (right == grained()).all()
    whole = path.read_bytes()
    with Image.open(path) as image:
        tags = image.tag_v2
        places, lengths = (tags.get(324) or tags[273]), (tags.get(325) or tags[279])
    for place, length in zip(places, lengths, strict=True):
        for change in (b"\xff", bytes(40)):
            at = place + length // 2
            path.write_bytes(whole[:at] + change + whole[at + len(change) :])
            assert "d.tif is " in refusal(path)


def test_a_tile_of_a_tiff_counts_as_a_picture(tmp_path: Path) -> None:
    """Its decoder would take the memory of a whole tile, however small the picture is."""
    packed = zlib.compress(bytes(1000))
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: 40000, 323: 40000, 325: len(packed)}
    tags[324] = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    path = tmp_path / "t.tif"
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + packed)
    assert (
        refusal(path) == "t.tif has tiles of 1,600,000,000 pixels, limit 200,000,000; raise with --max-pixels"
    )


# ------------------------------------------------------------------------------------------------------- JPEG


def spoil(data: bytes, share: float, hole: bytes) -> bytes:
    """The JPEG with other bytes at that share of its last scan."""
    start = data.rindex(b"\xff\xda") + 14
    at = start + int((len(data) - 2 - start) * share)
    return data[:at] + hole + data[at + len(hole) :]


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"subsampling": 0}])
def test_a_jpeg_with_a_hole_in_its_scan_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    """Mostly: where as many blocks follow the hole as before, nothing in the format can tell."""
    path = tmp_path / "p.jpg"
    Image.fromarray(grained(200, 200)).save(path, quality=95, **options)
    whole = path.read_bytes()
    missed = 0
    for share in np.linspace(0.02, 0.9, 10):
        rest = int((1 - share) * (len(whole) - 700))
        for hole in (bytes(60), b"\x5a\x3c" * 30, bytes(4096), bytes(rest)):
            path.write_bytes(spoil(whole, share, hole))
            try:
                decode_image(path, (64, 64))
                missed += 1
            except ImageError as error:
                assert str(error).startswith("p.jpg is ")
    assert missed <= 12  # of 40


def test_a_jpeg_with_restart_markers_must_have_them_in_order(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    right = save(path, restart_marker_blocks=2)
    whole = path.read_bytes()
    assert whole.count(b"\xff\xd1") == 1 or whole.count(b"\xff\xd1") == 2
    at = whole.index(b"\xff\xd1")
    for other in (b"\xff\xd3", b"\x12\x34"):
        path.write_bytes(whole[:at] + other + whole[at + 2 :])
        assert "restart markers" in refusal(path) or "is damaged" in refusal(path)
    end = whole.index(b"\xff\xd2") + 2  # one interval lost as a whole
    path.write_bytes(whole[:at] + whole[end:])
    assert "restart markers are not in order" in refusal(path)
    path.write_bytes(whole + b"\0" * 100)
    assert (decode_image(path, (64, 64)) == right).all()
    path.write_bytes(whole.replace(b"\xff\xdd\0\4", b"\xff\xfe\0\4"))  # restarts that nothing announces
    assert "is damaged" in refusal(path)


def test_a_progressive_jpeg_must_have_all_its_scans_and_no_unfilled_blocks(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    Image.fromarray(grained(400, 400)).save(path, progressive=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"\xff\xda")] + b"\xff\xd9")
    assert "p.jpg is cut off: parts of the picture are missing" in refusal(path)
    at = (whole.rindex(b"\xff\xda") // 512 + 2) * 512
    path.write_bytes(whole[:at] + bytes(1024) + whole[at + 1024 :])
    assert "1024 zero bytes" in refusal(path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_plain_pictures_are_full_of_zeros_and_good(tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "p.jpg"
    for colour in (0, 128, 255):
        Image.new("L", (2000, 1500), colour).save(path, optimize=True, **options)
        assert abs(int(decode_image(path, (8, 8)).mean()) - colour) <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 3), (250, 401)])
def test_good_jpegs_take_exactly_their_bytes(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    path = tmp_path / "p.jpg"
    image = Image.fromarray(grained(*size)).convert(mode)
    for quality in (1, 20, 50, 75, 90, 100):
        for options in ({}, {"optimize": True}, {"restart_marker_blocks": 3}, {"progressive": True}):
            image.save(path, quality=quality, **options)
            assert decode_image(path, (4, 4)).shape == (4, 4, 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.mpo"])
def test_whatever_follows_a_jpeg_is_not_looked_at(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    right = save(path, **({"save_all": True} if name == "a.mpo" else {}))
    whole = path.read_bytes()
    for trailer in (
        bytes(64),
        b"ftypmp42" + bytes(5000),
        b"SEFT" + bytes(range(256)) + bytes(70),
        whole[:99],
    ):
        path.write_bytes(whole + trailer)
        assert (decode_image(path, (64, 64)) == right).all()


def test_the_second_frame_of_an_mpo_may_be_broken(tmp_path: Path) -> None:
    path = tmp_path / "a.mpo"
    frames = [Image.fromarray(grained(seed=seed)) for seed in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:], quality=95)
    right = decode_image(path, (64, 64))
    whole = path.read_bytes()
    second = whole.index(b"\xff\xd8", 100)
    path.write_bytes(whole[:second] + bytes(len(whole) - second))
    assert (decode_image(path, (64, 64)) == right).all()
    path.write_bytes(spoil(whole[:second], 0.3, bytes(60)) + whole[second:])
    assert "a.mpo is damaged" in refusal(path)


@pytest.mark.parametrize(
    ("mark", "bits", "said"),
    [
        (0xC1, 12, "is a JPEG of 12 bits, which cannot be decoded: convert it to PNG"),
        (0xC3, 8, "is a lossless JPEG, which cannot be decoded"),
        (0xC3, 16, "is a lossless JPEG, which cannot be decoded"),
        (0xF7, 8, "is a JPEG-LS picture, which cannot be decoded"),
        (0xC5, 8, "is a hierarchical JPEG, which cannot be decoded"),
    ],
)
def test_good_jpegs_of_a_kind_that_is_not_decoded(tmp_path: Path, mark: int, bits: int, said: str) -> None:
    path = tmp_path / "x.jpg"
    save(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = mark, bits
    path.write_bytes(data)
    assert said in refusal(path)
