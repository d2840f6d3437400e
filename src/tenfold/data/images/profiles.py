"""Colours as a viewer shows them on an ordinary (sRGB) screen.

- *ICC profiles* (Display P3 of phones, Adobe RGB of cameras, grey, CMYK and Lab of prints): converted to
  sRGB, perceptual intent. A profile that moves no colour by more than `SAME` levels is sRGB in other words:
  then the values stay as they are. One that is damaged, or of other colours than the picture, counts as none.
- *PNG's own words*: cICP before a profile; where there is none, gAMA, alone or with cHRM, unless an sRGB
  chunk is there.

Grey of more than 8 bits is brought to 8 by the rules of `deepgrey` first.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tenfold.errors import ImageError

#: Levels of 255 that a profile may move a colour by and still be taken for sRGB.
SAME = 2
#: Colour space in an ICC header -> modes of pictures that it may describe. Others are of RGB once converted.
_GREY = ("L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_SPACES = {b"GRAY": _GREY, b"CMYK": ("CMYK",), b"Lab ": ("LAB",)}
#: The exponent of an ordinary screen; a gAMA within 5 % of its inverse changes nothing, as in libpng.
SCREEN, NEAR = 2.2, 0.05
#: x and y of white, red, green and blue.
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
#: The primaries of a cICP chunk (ITU-T H.273).
PRIMARIES = {
    1: SRGB,
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
#: Its transfer functions: the curve of sRGB, which stands for that of television, and light itself.
CURVED, LINEAR = (1, 6, 13, 14, 15), 8

#: For the 256 levels of grey: tables would be too coarse for the dark ones.
_SLOW = ImageCms.Flags.NOOPTIMIZE | ImageCms.Flags.NOCACHE

Change = Callable[[Image.Image], Image.Image]


def colour_change(image: Image.Image, name: str) -> Change:
    """What brings the colours of an opened picture to sRGB, once it is grey (L), RGB, RGBA or CMYK.

    Its results are L, RGB or RGBA; a picture without a profile stays as it is. Raises ImageError that calls
    it `name`: no ordinary screen shows its colours.
    """
    if image.mode == "LAB":
        return _applied(_transform(ImageCms.createProfile("LAB"), "LAB"))
    profile, change = image.info.get("icc_profile"), None
    if "cicp" in image.info:
        change = _cicp_change(image.info["cicp"], image.mode, name)
    elif isinstance(profile, bytes) and len(profile) > 128:
        # Viewers that find a profile do not look for PNG's other words.
        change = _icc_change(profile, image.mode)
    elif image.format == "PNG" and "srgb" not in image.info:
        change = _png_change(image.info.get("gamma"), image.info.get("chromaticity"), image.mode)
    return change or _unchanged


def _unchanged(image: Image.Image) -> Image.Image:
    return image


@lru_cache(maxsize=16)
def _icc_change(profile: bytes, mode: str) -> Change | None:
    """The change that a profile asks for; None where it asks for none, or cannot be used."""
    space = profile[16:20]
    of_grey = mode in _GREY
    if not (mode in _SPACES[space] if space in _SPACES else space == b"RGB " and mode not in ("1", "CMYK")):
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if space == b"GRAY":
            return _grey_change(_transform(opened, "L", _SLOW))
        if space in (b"CMYK", b"Lab "):
            return _applied(_transform(opened, mode))
        if of_grey:
            return _grey_change(_transform(opened, "RGB", _SLOW))
        transforms = {kind: _transform(opened, kind) for kind in ("RGB", "RGBA")}
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if _is_srgb(transforms["RGB"]) else _of_rgb(transforms)


def _transform(
    profile: object, mode: str, how: ImageCms.Flags = ImageCms.Flags.NOCACHE
) -> ImageCms.ImageCmsTransform:
    """From a profile to sRGB; without a cache it is safe to apply from several threads."""
    return ImageCms.buildTransform(
        profile,  # type: ignore[arg-type]
        ImageCms.createProfile("sRGB"),
        mode,
        "RGBA" if mode == "RGBA" else "RGB",
        ImageCms.Intent.PERCEPTUAL,
        how,
    )


def _applied(transform: ImageCms.ImageCmsTransform) -> Change:
    return lambda image: _bare(transform.apply(image))


def _bare(image: Image.Image) -> Image.Image:
    image.info.pop("icc_profile", None)
    return image


def _of_rgb(transforms: dict[str, ImageCms.ImageCmsTransform]) -> Change:
    def change(image: Image.Image) -> Image.Image:
        if image.mode not in transforms:
            image = image.convert("RGB")
        return _bare(transforms[image.mode].apply(image))

    return change


def _is_srgb(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.linspace(0, 255, 18).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(1, -1, 3)
    moved = np.asarray(transform.apply(Image.fromarray(colours)))
    return bool(np.abs(moved.astype(int) - colours).max() <= SAME)


def _grey_change(transform: ImageCms.ImageCmsTransform) -> Change | None:
    """Of a profile of grey, or of RGB whose grey it is."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return _levels_change(np.asarray(transform.apply(ramp.convert(transform.input_mode)))[0, :, 1])


def _levels_change(levels: NDArray[np.uint8]) -> Change | None:
    """The change of every level alone; transparency stays."""
    if np.abs(levels.astype(int) - np.arange(256)).max() <= SAME:
        return None
    table = levels.tolist()

    def change(image: Image.Image) -> Image.Image:
        bands = len(image.getbands())
        alpha = list(range(256)) if image.mode in ("RGBA", "LA") else []
        return image.point(table * (bands - bool(alpha)) + alpha)

    return change


@lru_cache(maxsize=16)
def _png_change(gamma: object, chromaticity: object, mode: str) -> Change | None:
    """The change that gAMA and cHRM ask for. chromaticity: x and y of white, red, green and blue."""
    if not isinstance(gamma, float) or not 0.01 < gamma < 10:
        return None
    primaries = SRGB
    if isinstance(chromaticity, tuple) and len(chromaticity) == 8:
        primaries = tuple(map(float, chromaticity))
    elif abs(gamma * SCREEN - 1) < NEAR:
        return None
    profile = matrix_profile(primaries, _power(1 / gamma))
    return _icc_change(profile, mode) if profile else None


def _cicp_change(words: bytes, mode: str, name: str) -> Change | None:
    """The change that a cICP chunk asks for."""
    primaries, transfer = PRIMARIES.get(words[0]), words[1]
    if transfer not in (*CURVED, LINEAR) or primaries is None:
        raise ImageError(
            f"{name} has colours that no ordinary screen shows (cICP {words[0]}, {words[1]}):"
            " convert it to sRGB"
        )
    return _icc_change(matrix_profile(primaries, _power(1.0) if transfer == LINEAR else _CURVE), mode)


# --- a profile of three primaries ------------------------------------------------------------------------

#: The white of ICC's connection space (D50), and Bradford's cone responses.
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


#: The curve of sRGB, as an ICC profile has it: ((v + 0.055) / 1.055) ^ 2.4, and v / 12.92 below 0.04045.
_CURVE = b"para" + struct.pack(
    ">IHxx5i", 0, 3, *(round(65536 * each) for each in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)


def _power(exponent: float) -> bytes:
    """The curve of values that are light to this power, as an ICC profile has it."""
    return b"para" + struct.pack(">IHxxi", 0, 0, round(65536 * exponent))


def matrix_profile(chromaticity: Sequence[float], curve: bytes) -> bytes:
    """The ICC profile of an RGB space; empty where its primaries make none.

    chromaticity: x and y of white, red, green and blue.  curve: from values to light.
    """
    if any(not math.isfinite(each) for each in chromaticity) or min(chromaticity[1::2]) <= 0:
        return b""
    white, *primaries = (
        np.array([x / y, 1.0, (1 - x - y) / y])
        for x, y in zip(chromaticity[::2], chromaticity[1::2], strict=True)
    )
    try:
        matrix = np.stack(primaries, axis=1)
        matrix = matrix * np.linalg.solve(matrix, white)
    except np.linalg.LinAlgError:
        return b""
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD @ matrix
    tags = {b"wtpt": _xyz(_D50)}
    for name, colour in zip((b"r", b"g", b"b"), adapted.T, strict=True):
        tags |= {name + b"XYZ": _xyz(colour), name + b"TRC": curve}
    start = 128 + 4 + 12 * len(tags)
    entries, body = [], b""
    for name, data in tags.items():
        entries.append(struct.pack(">4sII", name, start + len(body), len(data)))
        body += data
    head = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + _xyz(_D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + b"".join(entries) + body


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + struct.pack(">I3i", 0, *(round(float(value) * 65536) for value in values))
