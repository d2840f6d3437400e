"""Laws of pictures: a spoilt file is the same picture or refused; a picture is the same in any lossless file.

What cannot be told: formats without sums (BMP, PPM, TGA, QOI, GIF, WebP, plain and LZW TIFF, JPEG 2000, AVIF)
and the coded data of a JPEG hold bytes that may be altered into other valid ones. Such a file is read as what
it now says, or refused; it never ends in anything else.
"""

from __future__ import annotations

import functools
import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from pictures import grained
from tenfold.data.images.decode import decode_image
from tenfold.errors import ImageError

#: Name -> how it is written, for formats whose own sums tell any change of a pixel.
SUMMED = {
    "rgb.png": {},
    "grey.png": {"mode": "L"},
    "palette.png": {"mode": "P"},
    "bit.png": {"mode": "1"},
    "clear.png": {"mode": "RGBA"},
    "deep.png": {"mode": "I;16"},
    "deflate.tif": {"compression": "tiff_adobe_deflate"},
}
#: The same for those that have none.
PLAIN = {
    "a.jpg": {},
    "progressive.jpg": {"progressive": True},
    "restart.jpg": {"restart_marker_blocks": 3},
    "cmyk.jpg": {"mode": "CMYK"},
    "a.gif": {"mode": "P"},
    "a.bmp": {},
    "a.tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
    "jpeg.tif": {"compression": "jpeg"},
    "float.tif": {"mode": "F"},
    "a.webp": {},
    "lossless.webp": {"lossless": True},
    "a.jp2": {},
    "a.avif": {},
    "a.ppm": {},
    "a.tga": {"compression": "tga_rle"},
    "a.pcx": {},
    "a.sgi": {},
    "a.qoi": {},
}
LAW = settings(deadline=None, derandomize=True, max_examples=150, database=None)


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    """The bytes of a picture file of that ending."""
    file = io.BytesIO()
    kinds = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000", "tga": "TGA", "pgm": "PPM"}
    ending = name.rpartition(".")[2]
    image.save(file, kinds.get(ending, ending.upper()), **options)
    return file.getvalue()


@functools.cache
def whole_file(name: str) -> bytes:
    options = dict({**SUMMED, **PLAIN}[name])
    image = Image.fromarray(grained(40, 36))
    mode = str(options.pop("mode", "RGB"))
    if mode in ("I;16", "F"):
        image = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16 if mode == "I;16" else np.float32))
    elif mode == "RGBA":
        image.putalpha(Image.fromarray(grained(40, 36, seed=1)[..., 0]))
    else:
        image = image.convert(mode)
    return encode(image, name, **options)


def decode(data: bytes, size: tuple[int, int], name: str = "p.png") -> NDArray[np.uint8]:
    """What a file of these bytes shows; a warning is an error, and so is more than 4,096 pixels."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(folder, name)
        path.write_bytes(data)
        return decode_image(path, size, max_pixels=4096)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, float, int, bytes]:
    """What is done to a file, where, over how many bytes, and with which."""
    how = draw(st.sampled_from(["flip", "put", "insert", "delete", "cut", "zeros", "swap"]))
    return how, draw(st.floats(0, 1)), draw(st.integers(1, 300)), draw(st.binary(min_size=1, max_size=40))


def spoil(data: bytes, change: tuple[str, float, int, bytes]) -> bytes:
    how, share, count, other = change
    at = int(share * (len(data) - 1))
    if how == "flip":
        return data[:at] + bytes([data[at] ^ (1 << count % 8)]) + data[at + 1 :]
    if how == "put":
        return data[:at] + other + data[at + len(other) :]
    if how == "insert":
        return data[:at] + other + data[at:]
    if how == "delete":
        return data[:at] + data[at + count :]
    if how == "cut":
        return data[:at]
    if how == "zeros":
        return data[:at] + bytes(len(data[at : at + count])) + data[at + count :]
    return data[:at] + data[at + count : at + 2 * count] + data[at : at + count] + data[at + 2 * count :]


@given(name=st.sampled_from(sorted(SUMMED)), change=changes())
@LAW
def test_a_spoilt_file_with_sums_is_the_same_picture_or_refused(
    name: str, change: tuple[str, float, int, bytes]
) -> None:
    whole = whole_file(name)
    spoilt = spoil(whole, change)
    try:
        seen = decode(spoilt, (40, 36), name)
    except ImageError as error:
        assert spoilt != whole and str(error).startswith(f"{name} ") and "\n" not in str(error)
    else:
        # The few tags of a TIFF have no sums: what they say of the same bytes may be another picture.
        assert name == "deflate.tif" or (seen == decode(whole, (40, 36))).all()


@given(name=st.sampled_from(sorted(PLAIN)), change=changes())
@LAW
def test_a_spoilt_file_is_a_picture_or_refused_by_name(
    name: str, change: tuple[str, float, int, bytes]
) -> None:
    try:
        assert decode(spoil(whole_file(name), change), (8, 8), name).shape == (8, 8, 3)
    except ImageError as error:
        assert str(error).startswith(f"{name} ") and "\n" not in str(error)


# ------------------------------------------------------------------------------------ one picture, many files

drawn = st.builds(
    lambda height, width, seed: grained(height, width, seed),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 99),
)
COLOUR = {
    **{name: {} for name in ("a.png", "a.bmp", "a.tif", "a.ppm", "a.tga", "a.qoi", "a.sgi", "a.pcx")},
    "b.png": {"optimize": True},
    "lzw.tif": {"compression": "tiff_lzw"},
    "deflate.tif": {"compression": "tiff_adobe_deflate"},
    "packbits.tif": {"compression": "packbits"},
    "tiled.tif": {"tiffinfo": {322: 16, 323: 16}},
    "rle.tga": {"compression": "tga_rle"},
    "a.webp": {"lossless": True},
    "a.jp2": {"irreversible": False},
}


def assert_one(files: dict[str, bytes], size: tuple[int, int]) -> None:
    """All files show the same, at their own size and resized."""
    for wanted in (size, (5, 7)):
        seen = {name: decode(data, wanted, name) for name, data in files.items()}
        first = next(iter(seen.values()))
        assert not [name for name, pixels in seen.items() if (pixels != first).any()]


@pytest.mark.metamorphic("a colour picture in another lossless format (16 of them) has the same pixels")
@given(pixels=drawn)
@settings(LAW, max_examples=12)
def test_colour_is_the_same_in_every_lossless_format(pixels: NDArray[np.uint8]) -> None:
    image = Image.fromarray(pixels)
    files = {name: encode(image, name, **options) for name, options in COLOUR.items()}
    assert (decode(files["a.png"], pixels.shape[:2]) == pixels).all()
    assert_one(files, pixels.shape[:2])


@pytest.mark.metamorphic(
    "grey, 1-bit, palette and clear pictures have the same pixels in every lossless format"
)
@given(pixels=drawn, mode=st.sampled_from(["L", "1", "P", "RGBA"]))
@settings(LAW, max_examples=24)
def test_other_modes_are_the_same_in_every_lossless_format(pixels: NDArray[np.uint8], mode: str) -> None:
    image = Image.fromarray(pixels)
    names = {
        "L": (
            "a.png",
            "a.bmp",
            "a.tif",
            "lzw.tif",
            "a.pgm",
            "a.tga",
            "a.gif",
            "a.sgi",
            "a.pcx",
            "a.jp2",
            "a.webp",
        ),
        "1": ("a.png", "a.bmp", "a.tif", "lzw.tif", "a.ppm", "a.tga", "a.gif", "a.pcx"),
        "P": ("a.png", "a.bmp", "a.tif", "lzw.tif", "a.gif", "a.tga", "a.pcx"),
        "RGBA": ("a.png", "a.tif", "deflate.tif", "a.webp", "a.tga", "a.qoi", "a.jp2"),
    }[mode]
    if mode == "P":
        image = image.quantize(16)
    elif mode == "RGBA":
        image.putalpha(Image.fromarray(grained(*pixels.shape[:2], seed=7)[..., 0]))
    else:
        image = image.convert(mode)
    files = {name: encode(image, name, **COLOUR.get(name, {})) for name in names}
    files["rgb.png"] = encode(image.convert("RGB"), "a.png") if mode != "RGBA" else files["a.png"]
    assert_one(files, pixels.shape[:2])


@pytest.mark.metamorphic("a picture stored turned, with its orientation, is the picture stored upright")
@given(pixels=drawn, orientation=st.integers(1, 8), name=st.sampled_from(["a.png", "a.webp", "lzw.tif"]))
@settings(LAW, max_examples=24)
def test_an_orientation_is_the_turned_picture(pixels: NDArray[np.uint8], orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encode(Image.fromarray(pixels), name, exif=exif, **COLOUR.get(name, {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(turned)))
    assert_one({name: turned, "upright.png": encode(upright.convert("RGB"), "a.png")}, upright.size[::-1])


@pytest.mark.metamorphic("a profile of sRGB, a comment, a resolution or another file name changes no pixel")
@given(pixels=drawn)
@settings(LAW, max_examples=8)
def test_metadata_change_no_pixel(pixels: NDArray[np.uint8]) -> None:
    image = Image.fromarray(pixels)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    notes = PngInfo()
    notes.add_text("Comment", "leaf " * 50, zip=True)
    for name, options in {
        "a.png": {"pnginfo": notes},
        "b.png": {"icc_profile": profile, "dpi": (300, 300)},
        "a.jpg": {"icc_profile": profile, "comment": b"leaf", "dpi": (72, 72)},
        "a.webp": {"icc_profile": profile, "lossless": True},
        "a.tif": {"icc_profile": profile, "description": "leaf", "compression": "tiff_lzw"},
        "a.gif": {"comment": b"leaf"},
    }.items():
        plain = {one: options[one] for one in ("lossless", "compression") if one in options}
        files = {"other name.dat": encode(image, name, **plain), name: encode(image, name, **options)}
        assert_one(files, pixels.shape[:2])
