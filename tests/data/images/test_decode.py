"""Decoding by the stated rules, with the exact right pixels; and refusing, by name and reason."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import types
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from tenfold.data.images import decode as images
from tenfold.data.images.decode import (
    check_resize,
    decode_image,
    encode_png,
    pillow_settings,
    read_thumbnail,
)
from tenfold.errors import ImageError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def make_photo(height: int = 300, width: int = 400, seed: int = 0) -> Image.Image:
    """Slopes, edges and grain: neither flat nor pure noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = 127 + 60 * np.sin(x / 31) + 50 * np.cos(y / 17)
    pixels = np.stack([x * 255 / width, y * 255 / height, waves], -1) + rng.normal(0, 4, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_png(path: Path, depth: int, kind: int, rows: bytes, size: tuple[int, int], **chunks: bytes) -> None:
    """A PNG from raw rows (each with its filter byte), for what Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    middle = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    body = chunk(b"IHDR", head) + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def native(path: Path, **options: object) -> np.ndarray:
    """Decoded at the picture's own upright size."""
    with Image.open(path) as image:
        width, height = ImageOps.exif_transpose(image).size
    return decode_image(path, (height, width), **options)  # type: ignore[arg-type]


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(ImageError) as caught:
        call()
    return str(caught.value)


# ------------------------------------------------------------------------------------------ modes and depths


def test_every_mode_becomes_three_channels_by_value(tmp_path: Path) -> None:
    size = (16, 16)
    palette = Image.new("P", size, 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    made = {
        "cmyk.jpg": (Image.new("CMYK", size, (0, 255, 255, 0)), RED),
        "cmyk.tif": (Image.new("CMYK", size, (255, 0, 255, 0)), GREEN),
        "grey.png": (Image.new("L", size, 128), (128, 128, 128)),
        "one.png": (Image.new("1", size, 1), (255, 255, 255)),
        "zero.png": (Image.new("1", size, 0), (0, 0, 0)),
        "one.tif": (Image.new("1", size, 1), (255, 255, 255)),
        "palette.png": (palette, (10, 200, 30)),
        "palette.gif": (palette, (10, 200, 30)),
        "plain.png": (Image.new("RGB", size, (1, 2, 3)), (1, 2, 3)),
        "plain.bmp": (Image.new("RGB", size, (1, 2, 3)), (1, 2, 3)),
        "plain.ppm": (Image.new("RGB", size, (1, 2, 3)), (1, 2, 3)),
        "plain.tga": (Image.new("RGB", size, (1, 2, 3)), (1, 2, 3)),
        "plain.pcx": (Image.new("RGB", size, (1, 2, 3)), (1, 2, 3)),
        "plain.tif": (Image.new("RGB", size, (1, 2, 3)), (1, 2, 3)),
        "lab.tif": (Image.new("RGB", size, (200, 100, 50)).convert("LAB"), (200, 100, 50)),
        "ycbcr.tif": (Image.new("RGB", size, (200, 100, 50)).convert("YCbCr"), (200, 100, 50)),
    }
    rows = []
    for name, (image, expected) in made.items():
        image.save(tmp_path / name)
        rows.append(decode_image(tmp_path / name, size))
        loose = 2 if name.startswith(("cmyk", "lab", "ycbcr")) else 0
        assert np.abs(rows[-1].astype(int) - expected).max() <= loose, name
    assert np.stack(rows).shape == (len(made), 16, 16, 3)


def test_cmyk_jpeg_is_read_as_adobe_writes_it_with_or_without_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "c.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    data = path.read_bytes()
    at = data.index(b"Adobe") - 4
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    path.write_bytes(data[:at] + data[at + 2 + length :])
    assert b"Adobe" not in path.read_bytes()
    assert np.abs(decode_image(path, (16, 16)).astype(int) - RED).max() <= 2


@pytest.mark.parametrize("name", ["g.png", "g.tif", "big.tif", "g.pgm", "g.jp2"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
    path = tmp_path / name
    image = Image.fromarray(ramp)
    if name == "big.tif":
        image = Image.frombytes("I;16B", (256, 64), ramp.astype(">u2").tobytes())
    options = {"irreversible": False} if name == "g.jp2" else {}
    image.save(path, **options)
    seen = decode_image(path, (64, 256))
    assert (seen[..., 0] == np.arange(256)).all()
    assert (seen[..., 0] == seen[..., 1]).all() and (seen[..., 0] == seen[..., 2]).all()
    assert abs(seen.mean() - 127.5) < 0.01


def test_twelve_bits_in_sixteen_stay_dark_and_apart(tmp_path: Path) -> None:
    for value, right in ((4096, 16), (8192, 32), (65535, 255), (0, 0), (257, 1), (128, 0), (129, 1)):
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(tmp_path / "g.png")
        assert (decode_image(tmp_path / "g.png", (8, 8)) == right).all(), value


def test_tiff_says_how_many_bits_it_has_and_which_end_is_white(tmp_path: Path) -> None:
    path = tmp_path / "t.tif"
    ramp = np.array([[0, 65535], [4096, 32768]], np.uint16)
    Image.fromarray(ramp).save(path, tiffinfo={262: 0})  # white is zero
    assert native(path)[..., 0].tolist() == [[255, 0], [239, 127]]

    values = (0, 4095, 2048, 16)  # twelve bits each, packed
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x10])
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(packed)}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    path.write_bytes(b"II*\0" + struct.pack("<I", 16) + packed + b"\0\0" + struct.pack("<H", len(tags)))
    with open(path, "ab") as file:
        file.write(entries + bytes(4))
    assert native(path)[0, :, 0].tolist() == [round(value * 255 / 4095) for value in values]


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (np.linspace(0, 1, 256), 1),
        (np.linspace(0, 1.0000001, 256), 1),
        (np.arange(256.0), 255),
        (np.linspace(0, 65535, 256), 65535),
        (np.linspace(0, 4294967295, 256), 4294967295),
    ],
)
def test_float_grey_keeps_its_levels(tmp_path: Path, values: np.ndarray, white: float) -> None:
    path = tmp_path / "f.tif"
    Image.fromarray(np.tile(values.astype(np.float32), (4, 1))).save(path)
    assert (decode_image(path, (4, 256))[..., 0] == np.arange(256)).all()
    if white > 1:
        assert f"but white is {white / 2:g}" in reason(lambda: decode_image(path, (4, 256), white=white / 2))
    assert decode_image(path, (4, 256), white=2 * white).max() == 128


@pytest.mark.parametrize(("top", "right"), [(65535, 255), (65536, 0), (2**31 - 1, 127), (2**32 - 1, 255)])
def test_integers_of_32_bits_keep_theirs(tmp_path: Path, top: int, right: int) -> None:
    path = tmp_path / "i.tif"
    pixels = np.array([[0, top]], np.uint32)
    Image.frombytes("I", (2, 1), pixels.tobytes()).save(path, tiffinfo={339: 1} if top >= 2**31 else {})
    if top >= 2**31:
        # Pillow writes its 32-bit pictures as signed: say that these are not.
        data = bytearray(path.read_bytes())
        at = data.index(struct.pack("<HH", 339, 3))
        data[at + 8] = 1
        path.write_bytes(data)
    assert native(path)[0, :, 0].tolist() == [0, right]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([[0.0, -3.0]], np.float32), "values from -3 to 0"),
        (np.array([[0.0, np.nan]], np.float32), "not finite"),
        (np.array([[0.0, np.inf]], np.float32), "not finite"),
        (np.array([[0.0, 1e12]], np.float32), "values from 0 to 1e+12"),
        (np.array([[-1000, 3000]], np.int32), "values from -1000 to 3000"),
    ],
)
def test_what_has_no_white_or_black_is_refused_by_name(tmp_path: Path, values: np.ndarray, said: str) -> None:
    Image.fromarray(values).save(tmp_path / "f.tif")
    text = reason(lambda: decode_image(tmp_path / "f.tif", (1, 2)))
    assert text.startswith("f.tif has ") and said in text


def test_sixteen_bit_colour_is_scaled(tmp_path: Path) -> None:
    rows = b"\0" + struct.pack(">6H", 65535, 4096, 0, 257, 32896, 65535)
    write_png(tmp_path / "c.png", 16, 2, rows, (2, 1))
    assert np.abs(native(tmp_path / "c.png")[0].astype(int) - [(255, 16, 0), (1, 128, 255)]).max() <= 1


# ----------------------------------------------------------------------------------------------- transparency


def test_transparency_lies_on_white_and_hidden_colour_never_matters(tmp_path: Path) -> None:
    seen = []
    for number, hidden in enumerate((RED, BLUE)):
        pixels = np.zeros((32, 32, 4), np.uint8)
        pixels[:, :16] = (*GREEN, 255)
        pixels[:, 16:] = (*hidden, 0)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(tmp_path / f"{number}.webp", lossless=True, exact=True)
        seen.append(decode_image(tmp_path / f"{number}.png", (32, 32)))
        assert (decode_image(tmp_path / f"{number}.webp", (32, 32)) == seen[0]).all()
        assert (decode_image(tmp_path / f"{number}.png", (7, 7))).tolist() == (
            decode_image(tmp_path / "0.png", (7, 7)).tolist()
        )
    assert (seen[0] == seen[1]).all()
    assert (seen[0][:, :16] == GREEN).all() and (seen[0][:, 16:] == 255).all()


def test_black_ink_on_clear_ground_is_black_on_white(tmp_path: Path) -> None:
    for mode, ink in (("LA", (0, 255)), ("RGBA", (0, 0, 0, 255))):
        image = Image.new(mode, (8, 8), (0,) * len(ink))
        image.putpixel((3, 3), ink)
        image.save(tmp_path / "ink.png")
        seen = decode_image(tmp_path / "ink.png", (8, 8))
        assert (seen[3, 3] == 0).all() and seen.sum() == 255 * 3 * 63
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 51))
    half.save(tmp_path / "half.png")
    assert (decode_image(tmp_path / "half.png", (4, 4)) == 204).all()


def test_clear_palette_entries_and_clear_colours(tmp_path: Path) -> None:
    path = tmp_path / "t.png"
    palette = bytes((*RED, *BLUE, *GREEN))
    write_png(path, 8, 3, b"\0\0\1\2", (3, 1), PLTE=palette, tRNS=bytes([0, 255, 0]))
    assert native(path)[0].tolist() == [[255] * 3, list(BLUE), [255] * 3]
    write_png(path, 8, 3, b"\0\0\1\2", (3, 1), PLTE=palette, tRNS=bytes([255, 0]))
    assert native(path)[0].tolist() == [list(RED), [255] * 3, list(GREEN)]
    write_png(path, 8, 2, b"\0" + bytes((*RED, *BLUE)), (2, 1), tRNS=struct.pack(">3H", *RED))
    assert native(path)[0].tolist() == [[255] * 3, list(BLUE)]
    write_png(path, 8, 0, b"\0\5\6", (2, 1), tRNS=struct.pack(">H", 5))
    assert native(path)[0, :, 0].tolist() == [255, 6]
    # One clear grey in 1, 2, 4 and 16 bits: stored as it is in the file, not as the pixels are spread.
    write_png(path, 1, 0, b"\0\x40", (2, 1), tRNS=struct.pack(">H", 0))
    assert native(path)[0, :, 0].tolist() == [255, 255]
    write_png(path, 2, 0, b"\0\x18", (3, 1), tRNS=struct.pack(">H", 1))  # values 0 1 2
    assert native(path)[0, :, 0].tolist() == [0, 255, 170]
    write_png(path, 4, 0, b"\0\x12", (2, 1), tRNS=struct.pack(">H", 1))
    assert native(path)[0, :, 0].tolist() == [255, 34]
    write_png(path, 16, 0, b"\0" + struct.pack(">2H", 300, 4096), (2, 1), tRNS=struct.pack(">H", 300))
    assert native(path)[0, :, 0].tolist() == [255, 16]
    rows = b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 0, 65535)
    write_png(path, 16, 2, rows, (2, 1), tRNS=struct.pack(">3H", 65535, 0, 0))
    assert native(path)[0].tolist() == [[255] * 3, list(BLUE)]


def test_clear_ground_of_a_gif(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 1), 1)
    image.save(tmp_path / "g.gif", transparency=0)
    seen = decode_image(tmp_path / "g.gif", (4, 4))
    assert seen[1, 1].tolist() == list(BLUE) and seen.sum() == 255 * (3 * 15 + 1)


# ------------------------------------------------------------------------------------------ turned and framed


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "lzw.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_rotation_tag_is_applied(tmp_path: Path, ending: str, orientation: int) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:10, :20], pixels[:10, 20:], pixels[10:, :20] = RED, BLUE, GREEN
    path, upright = tmp_path / f"p.{ending}", tmp_path / "upright.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(
        ending, {}
    )
    if ending == "lzw.tif":
        options = {"compression": "tiff_lzw"}
    Image.fromarray(pixels).save(path, exif=exif, **options)
    right = {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.rot90(p.swapaxes(0, 1), 2),
        8: np.rot90,
    }[orientation](pixels)
    seen = decode_image(path, right.shape[:2])
    assert np.abs(seen.astype(int) - right).max() <= (12 if ending == "jpg" else 0)
    Image.fromarray(right).save(upright)
    for mode in ("squish", "crop", "pad"):
        other = np.abs(decode_image(path, (9, 12), mode).astype(int) - decode_image(upright, (9, 12), mode))
        assert other.max() <= (12 if ending == "jpg" else 0), mode


def test_forty_by_twenty_with_orientation_six_is_red_on_top(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "p.jpg", exif=exif)
    seen = decode_image(tmp_path / "p.jpg", (40, 20)).astype(int)
    assert np.abs(seen[:16] - RED).max() < 12 and np.abs(seen[24:] - BLUE).max() < 12
    thumbnail = np.asarray(Image.open(io.BytesIO(read_thumbnail(tmp_path / "p.jpg", 40))))
    assert (thumbnail == decode_image(tmp_path / "p.jpg", (40, 20))).all()


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [(3, 1, 0), (3, 1, 9), (3, 1, 65535), (3, 2, 0x00060006), (2, 2, 0x36), (5, 1, 8), (77, 1, 6)],
)
def test_a_nonsense_rotation_tag_is_ignored(tmp_path: Path, kind: int, count: int, value: int) -> None:
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, kind, count, value, 0)
    Image.new("RGB", (6, 3), RED).save(tmp_path / "p.png", exif=exif)
    assert (decode_image(tmp_path / "p.png", (3, 6)) == RED).all()


def test_broken_metadata_do_not_spoil_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    Image.new("RGB", (16, 16), RED).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(40)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.abs(decode_image(path, (16, 16)).astype(int) - RED).max() <= 3


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_the_first_of_several_frames_is_used(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    path = tmp_path / f"a.{ending}"
    options = {"lossless": True} if ending == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert (decode_image(path, (8, 8)) == RED).all()
    with open(path, "rb") as file:
        done = images.decode_file(
            file, (8, 8), "squish", interpolation="bicubic", max_pixels=128, white=None, name="a"
        )
    assert done.frames


# --------------------------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_squish_crop_and_pad_agree_with_pillow(tmp_path: Path, interpolation: str) -> None:
    photo = make_photo()
    photo.save(tmp_path / "p.png")
    method = getattr(Image.Resampling, interpolation.upper())
    for height, width in ((224, 224), (120, 200), (200, 120), (400, 500)):
        right = {
            "squish": photo.resize((width, height), method),
            "crop": ImageOps.fit(photo, (width, height), method),
            "pad": ImageOps.pad(photo, (width, height), method),
        }
        for mode, expected in right.items():
            seen = decode_image(tmp_path / "p.png", (height, width), mode, interpolation=interpolation)
            # Shrinking is by more than REDUCING_GAP nowhere here, so that nothing but rounding may differ.
            assert np.abs(seen.astype(int) - np.asarray(expected)).max() <= 1, (mode, height, width)


def test_pad_is_black_and_centred(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), RED).save(tmp_path / "p.png")
    seen = decode_image(tmp_path / "p.png", (21, 20), "pad")
    assert (seen[5:15] == RED).all() and (seen[:5] == 0).all() and (seen[15:] == 0).all()


def test_crop_takes_the_centre(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 10), RED)
    image.paste(BLUE, (10, 0, 20, 10))
    image.save(tmp_path / "p.png")
    seen = decode_image(tmp_path / "p.png", (10, 10), "crop")
    assert (seen == BLUE).all()


@pytest.mark.parametrize("side", [(3264, 2448), (3001, 2003)])
@pytest.mark.parametrize("mode", ["squish", "crop", "pad"])
def test_a_jpeg_decoded_at_reduced_scale_is_as_good(tmp_path: Path, side: tuple[int, int], mode: str) -> None:
    """Within 4 levels of 255 anywhere and 0.5 on the mean of the full decoding, resized in one step."""
    make_photo().resize(side, Image.Resampling.BICUBIC).save(tmp_path / "p.jpg", quality=92)
    with Image.open(tmp_path / "p.jpg") as full:
        full.load()
        right = {
            "squish": full.resize((200, 160), Image.Resampling.BICUBIC),
            "crop": ImageOps.fit(full, (200, 160), Image.Resampling.BICUBIC),
            "pad": Image.new("RGB", (200, 160)),
        }[mode]
        if mode == "pad":
            scale = min(200 / side[0], 160 / side[1])
            inner = (round(side[0] * scale), round(side[1] * scale))
            corner = ((200 - inner[0]) // 2, (160 - inner[1]) // 2)
            right.paste(full.resize(inner, Image.Resampling.BICUBIC), corner)
    seen = decode_image(tmp_path / "p.jpg", (160, 200), mode).astype(int)
    difference = np.abs(seen - np.asarray(right))
    assert difference.max() <= 4 and difference.mean() < 0.5


@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (1, 1), (1, 2), (3, 7), (1, 70000), (70000, 1)])
@pytest.mark.parametrize("mode", ["squish", "crop", "pad"])
def test_any_shape_gives_the_size(tmp_path: Path, shape: tuple[int, int], mode: str) -> None:
    Image.new("RGB", shape, (9, 8, 7)).save(tmp_path / "s.png")
    for size in ((224, 224), (1, 1), (5, 300)):
        seen = decode_image(tmp_path / "s.png", size, mode)
        assert seen.shape == (*size, 3)
        used = seen[(seen != 0).any(-1)]
        assert len(used) >= 1 and (used == (9, 8, 7)).all()
        if mode != "pad":
            assert len(used) == size[0] * size[1]


PEAK = """
import resource, sys
from tenfold.data.images.decode import decode_image
from tenfold.errors import ImageError
decode_image(sys.argv[1], (224, 224))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    for mode in ("squish", "crop", "pad"):
        try:
            decode_image(path, (224, 224), mode)
        except ImageError as error:
            print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def run_peak(*paths: Path) -> tuple[str, float]:
    """What was said, and by how many MB the peak of the process rose over an ordinary picture's."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said, _, peak = done.stdout.strip().rpartition("\n")
    return said, float(peak)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux counts it")
def test_strips_and_bombs_cost_little_memory(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "plain.png")
    strips = [(1, 3000), (3000, 1), (1, 1), (1, 400_000), (400_000, 1)]
    for shape in strips:
        Image.new("RGB", shape).save(tmp_path / f"{shape[0]}.png")
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    said, peak = run_peak(
        tmp_path / "plain.png", *(tmp_path / f"{shape[0]}.png" for shape in strips), tmp_path / "bomb.png"
    )
    assert (
        said.splitlines()
        == ["bomb.png has 400,000,000 pixels, limit 200,000,000; raise with --max-pixels"] * 3
    )
    assert peak < 10


# --------------------------------------------------------------------------------------------------- refusing


def test_the_limit_is_one_number_the_user_can_raise(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    Image.new("1", (100, 50), 1).save(path)
    for allowed in (5000, 5001, 10**9):
        assert (decode_image(path, (4, 4), max_pixels=allowed) == 255).all()
    for limit in (4999, 2499, 100, 1):  # at half of it Pillow would only warn, at a quarter raise its own
        text = reason(lambda limit=limit: decode_image(path, (4, 4), max_pixels=limit))
        assert text == f"big.png has 5,000 pixels, limit {limit:,}; raise with --max-pixels"


def test_a_hundred_million_pixels_pass(tmp_path: Path) -> None:
    Image.new("1", (10000, 10000), 1).save(tmp_path / "scan.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (decode_image(tmp_path / "scan.png", (8, 8)) == 255).all()


def test_settings_of_pillow_are_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    filters = list(warnings.filters)
    make_photo(200, 200).save(tmp_path / "p.jpg")
    whole = (tmp_path / "p.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])

    # Whatever the program around it allows itself, a cut picture is refused.
    def is_cut(name: str) -> bool:
        try:
            decode_image(tmp_path / name, (8, 8))
        except ImageError as error:
            return "cut off" in error.headline
        return False

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(is_cut, ["p.jpg", "cut.jpg"] * 20)] == [False, True] * 20
    assert Image.MAX_IMAGE_PIXELS == 7 and ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert warnings.filters == filters


def test_settings_hold_while_any_thread_decodes() -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with pillow_settings(100):
            entered.set()
            leave.wait(10)

    before = Image.MAX_IMAGE_PIXELS
    thread = threading.Thread(target=hold, daemon=True)
    with pillow_settings(1000):
        thread.start()
        entered.wait(10)
        assert Image.MAX_IMAGE_PIXELS == 500
    assert Image.MAX_IMAGE_PIXELS == 50  # the other thread still decodes
    leave.set()
    thread.join()
    assert before == Image.MAX_IMAGE_PIXELS


WRITERS: dict[str, dict[str, object]] = {
    "a.jpg": {},
    "progressive.jpg": {"progressive": True},
    "a.png": {},
    "a.gif": {},
    "a.bmp": {},
    "a.tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "jpeg.tif": {"compression": "jpeg"},
    "a.webp": {},
    "a.jp2": {},
    "a.ppm": {},
    "a.tga": {},
    "a.pcx": {},
    "a.sgi": {},
    "a.qoi": {},
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_cut_anywhere_is_named(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / name
    Image.fromarray(noise).save(path, **WRITERS[name])
    whole = path.read_bytes()
    assert decode_image(path, (64, 64)).shape == (64, 64, 3)
    for share in (0.01, 0.1, 0.5, 0.9, 0.98):
        path.write_bytes(whole[: int(len(whole) * share)])
        text = reason(lambda: decode_image(path, (8, 8)))
        assert text.startswith(f"{name} is ") and "\n" not in text, share


def test_a_download_into_a_prepared_file_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    make_photo(200, 200).save(path)
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes(half))
    assert "p.jpg is cut off" in reason(lambda: decode_image(path, (8, 8)))
    path.write_bytes(whole + bytes(4096))  # whole, and filled up to a block's end
    assert decode_image(path, (8, 8)).shape == (8, 8, 3)
    path.write_bytes(bytes(len(whole)))
    assert "nothing but zero bytes" in reason(lambda: decode_image(path, (8, 8)))


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "z.jpg is empty (0 bytes)"),
        (HEIC, "z.jpg is a HEIC picture, which needs an extra package: install pillow-heif, or convert"),
        (b"\n<!DOCTYPE html><html>404", "z.jpg is not a picture: it is a web page"),
        (b"\xef\xbb\xbf<svg xmlns=''/>", "z.jpg is not a picture: it is an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\n", "z.jpg is not a picture: it is a Git LFS pointer"),
        (b"%PDF-1.7", "z.jpg is not a picture: it is a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is a PostScript drawing"),
        (b"\0\0\0\x20ftypisom", "it is a video"),
        (b"hello, world", "z.jpg is not a picture, or of a format that is not supported"),
        (b"\xff\xd8\xff", "z.jpg is a JPEG picture that is damaged"),
        (b"\x89PNG\r\n\x1a\n", "z.jpg is a PNG picture that is damaged"),
    ],
)
def test_what_is_no_picture_is_named_with_its_reason(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "z.jpg"
    path.write_bytes(content)
    assert said in reason(lambda: decode_image(path, (8, 8)))


def test_the_content_and_not_the_ending_says_what_a_file_is(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), RED).save(tmp_path / "p.png")
    for name in ("p.jpg", "p.heic", "p.txt", "p"):
        (tmp_path / name).write_bytes((tmp_path / "p.png").read_bytes())
        assert (decode_image(tmp_path / name, (8, 8)) == RED).all()


def test_missing_folders_and_pipes(tmp_path: Path) -> None:
    assert reason(lambda: decode_image(tmp_path / "none.jpg", (8, 8))) == "none.jpg is missing"
    (tmp_path / "d.jpg").mkdir()
    assert reason(lambda: decode_image(tmp_path / "d.jpg", (8, 8))) == "d.jpg is a folder, not a picture"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        assert (
            reason(lambda: decode_image(tmp_path / "pipe.jpg", (8, 8)))
            == "pipe.jpg is a named pipe, not a picture"
        )


def test_heic_is_decoded_where_its_package_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stand(ImageFile.ImageFile):
        """In the place of pillow-heif's: reads any such file as a red pixel."""

        format = "HEIF"

        def _open(self) -> None:
            self._mode, self._size = "RGB", (1, 1)
            self.tile = [ImageFile._Tile("raw", (0, 0, 1, 1), 24, ("RGB", 0, 1))]

    package = types.ModuleType("pillow_heif")
    package.register_heif_opener = lambda: Image.register_open("HEIF", Stand)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    monkeypatch.setitem(Image.OPEN, "HEIF", None)
    images.heic_ready.cache_clear()
    path = tmp_path / "p.heic"
    path.write_bytes(HEIC[:24] + bytes(RED))
    try:
        assert (decode_image(path, (2, 2)) == RED).all()
    finally:
        images.heic_ready.cache_clear()


def test_no_format_starts_a_program(tmp_path: Path) -> None:
    assert not {"EPS", "WMF", "ICO", "ICNS", "MPEG", "PSD"} & set(images.FORMATS)
    Image.new("RGB", (8, 8)).save(tmp_path / "p.eps")
    assert "PostScript" in reason(lambda: decode_image(tmp_path / "p.eps", (8, 8)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (((0, 5), "squish", "bicubic"), "image size (0, 5)"),
        (((5,), "squish", "bicubic"), "image size (5,)"),
        (((5, 5), "sqish", "bicubic"), "did you mean 'squish'?"),
        (((5, 5), "pad", "cubic"), "did you mean 'bicubic'?"),
    ],
)
def test_impossible_settings_are_refused(arguments: tuple[tuple[int, ...], str, str], said: str) -> None:
    assert said in reason(lambda: check_resize(*arguments))


# --------------------------------------------------------------------------------------------------- encoding


def test_png_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for part in (pixels, pixels[..., 0], pixels[::2, ::-1]):
        assert (np.asarray(Image.open(io.BytesIO(encode_png(part)))) == part).all()


def test_thumbnails_keep_the_proportions_and_never_grow(tmp_path: Path) -> None:
    make_photo(300, 400).save(tmp_path / "p.jpg")
    assert Image.open(io.BytesIO(read_thumbnail(tmp_path / "p.jpg", 100))).size == (100, 75)
    Image.new("RGB", (1, 3000)).save(tmp_path / "s.png")
    assert Image.open(io.BytesIO(read_thumbnail(tmp_path / "s.png", 100))).size == (1, 100)
    Image.new("RGB", (6, 3)).save(tmp_path / "t.png")
    assert Image.open(io.BytesIO(read_thumbnail(tmp_path / "t.png", 100))).size == (6, 3)
    assert "none.png is missing" in reason(lambda: read_thumbnail(tmp_path / "none.png"))


@pytest.mark.real
def test_real_photos_decode_as_pillow_decodes_them(data_folder: Path) -> None:
    paths = sorted((data_folder / "coffee-leaf" / "images").glob("*.jpg"))[:20]
    for path in paths:
        with Image.open(path) as image:
            right = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))
        assert np.abs(decode_image(path, (224, 224)).astype(int) - right).max() <= 1
