"""Pictures as files to pictures as arrays: recognise, decode to the end, resize, encode again.

One rule for each thing that a picture file may do, the same in training, prediction and previews:

- *What it is*: its first bytes say so, never its ending. Only the formats of `FORMATS` are opened, none of
  which runs a program or nests a picture of another size.
- *Size*: read from the header and held against `max_pixels` before memory is taken for the pixels.
- *Turned*: the EXIF orientation is applied.
- *Several frames*: the first is used.
- *Coloured*: to sRGB by the rules of `profiles`; without a profile CMYK is RGB by value.
- *Transparent*: laid on white.
- *Deep grey* (16 bits, 32 bits, float): scaled by the rules of `deepgrey`, never clipped.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from tenfold.data.images.checks import CUT, JpegFile, check_deflate, check_png, jpeg2000_bits, webp_size
from tenfold.data.images.deepgrey import find_white, scale_grey
from tenfold.data.images.files import HEIC_HINT, describe_stranger, open_picture, read_name, recognise
from tenfold.data.images.profiles import Change, colour_change
from tenfold.data.images.tiffs import mend_tiff
from tenfold.errors import ImageError, did_you_mean
from tenfold.values import MAX_PIXELS

#: Version of the rules above. Whoever keeps pixels must keep it with them.
RULE = 4
#: Version of the decoder: pixels depend on its rounding.
PILLOW = PIL.__version__

RESIZE_MODES = ("squish", "crop", "pad")

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

#: What is opened. EPS and WMF would start other programs; ICO and ICNS nest pictures of undeclared sizes.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM"),
    *("TGA", "PCX", "SGI", "QOI"),
)

JPEGS = ("JPEG", "MPO")

#: What Pillow and its plugins raise for damaged files, without a common base.
DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, AttributeError),
    *(AssertionError, RuntimeError, struct.error, zlib.error),
)

WHITE = (255, 255, 255)
#: JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves this many times the pixels needed.
DRAFT_GAP = 2.0
#: Pillow first shrinks by whole numbers where that leaves this many times the pixels needed.
REDUCING_GAP = 3.0
#: Pictures above this many pixels are decoded singly, or each worker would hold such a picture.
LARGE = 1 << 25
_large = threading.Lock()
#: How many times the memory of others some decoders take for each pixel.
HUNGRY = 2
#: Begins the digest of a picture that was decoded at a part of its size.
SMALL = "~"


class Progress(Protocol):
    """Told how many pictures of how many are done."""

    def __call__(self, done: int, total: int, /) -> object:
        """Called from the thread that waits, never from a worker."""
        ...


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    pixels: (height, width, 3) uint8, resized.
    width, height: of the picture in the file, upright.
    frames: true if the file has more frames than the first.
    deep: white that the values themselves ask for (see `deepgrey`), 0 where the format settles it.
    digest: of the upright RGB pixels before they were resized, so that equal digests are equal pictures in
        whatever format; it begins with ``SMALL`` where a JPEG was decoded at a part of its size.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    frames: bool
    deep: float
    digest: str


class _Settings:
    """Pillow's switches are global: they are set while tenfold decodes, in any thread, and then put back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int] = []

    @contextmanager
    def held(self, max_pixels: int) -> Iterator[None]:
        with self._lock:
            if not self._limits:
                self._before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                # Remarks on metadata: they would be errors under -W error, and say nothing of the pixels.
                warnings.filterwarnings("ignore", module=r"PIL\.")
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                ImageFile.LOAD_TRUNCATED_IMAGES = False
                Image.init()
            self._limits.append(max_pixels)
            # Pillow refuses above twice its limit. It also guards tiles and frames inside the file.
            Image.MAX_IMAGE_PIXELS = (max(self._limits) + 1) // 2
        try:
            yield
        finally:
            with self._lock:
                self._limits.remove(max_pixels)
                if self._limits:
                    Image.MAX_IMAGE_PIXELS = (max(self._limits) + 1) // 2
                else:
                    self._warnings.__exit__(None, None, None)
                    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_settings = _Settings()
#: ``with pillow_settings(max_pixels):`` around many decodings saves setting and resetting for each.
pillow_settings = _settings.held


@cache
def heic_ready() -> bool:
    """Whether HEIC can be decoded: pillow-heif is installed, and now known to Pillow."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def decode_image(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    resize: str = "squish",
    *,
    interpolation: str = "bicubic",
    max_pixels: int = MAX_PIXELS,
    white: float | None = None,
    name: str = "",
) -> NDArray[np.uint8]:
    """A picture file as (height, width, 3) uint8 pixels at `size` = (height, width).

    resize: ``squish`` to the size whatever the proportions; ``crop`` the largest centred part of the size's
    proportions; ``pad`` the whole picture with black.
    white: of float and 32-bit grey, see `find_white`.  name: how errors call the picture (its file's name).

    Raises ImageError that names the picture and why it cannot be used.
    """
    with open_picture(path, name) as file:
        return decode_file(
            file,
            size,
            resize,
            interpolation=interpolation,
            max_pixels=max_pixels,
            white=white,
            name=name or read_name(Path(path).name),
        ).pixels


def decode_file(
    file: BufferedReader,
    size: tuple[int, int],
    resize: str,
    *,
    interpolation: str,
    max_pixels: int,
    white: float | None,
    name: str,
) -> Picture:
    """`decode_image` of an open file, with what was noticed on the way."""
    resampling = INTERPOLATIONS[interpolation]
    with pillow_settings(max_pixels), _opened(file, name, max_pixels) as image:
        width, height = image.size
        stored = _stored_mode(image)
        frames = bool(getattr(image, "is_animated", False))
        orientation = _orientation(image)  # which decodes all but a JPEG
        if orientation >= 5:
            width, height = height, width
        if image.format in JPEGS and interpolation != "nearest":
            _draft(image, (width, height), size, resize, swapped=orientation >= 5)
        extent = _drafted_extent(image, (width, height), orientation)
        plain, deep = _plain(image, name, white, stored)
        plain = _whole_screen(image, plain)
        if orientation > 1:
            plain = plain.transpose(_TURNS[orientation])
        digest = ("" if plain.size == (width, height) else SMALL) + _digest(plain)
        pixels = _fit(plain, extent, size, resize, resampling)
    return Picture(pixels, width, height, frames, deep, digest)


def decode_within(path: str | os.PathLike[str], largest: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture file as (height, width, 3) uint8 pixels: its size, but for longer sides than `largest`.

    Raises ImageError as `decode_image`.
    """
    name = read_name(Path(path).name)
    with open_picture(path, name) as file:
        how = {"interpolation": "bicubic", "max_pixels": MAX_PIXELS, "white": None, "name": name}
        known = decode_file(file, (1, 1), "squish", **how)
        size = (min(known.height, largest[0]), min(known.width, largest[1]))
        return decode_file(file, size, "squish", **how).pixels


def digest_whole(file: BufferedReader, *, max_pixels: int, name: str) -> str:
    """`Picture.digest` of a file decoded at its full size, whatever it is to be resized to."""
    with pillow_settings(max_pixels), _opened(file, name, max_pixels) as image:
        stored = _stored_mode(image)
        orientation = _orientation(image)
        plain = _whole_screen(image, _plain(image, name, None, stored)[0])
        return _digest(plain.transpose(_TURNS[orientation]) if orientation > 1 else plain)


def _digest(plain: Image.Image) -> str:
    digest = hashlib.blake2b(f"{plain.width}x{plain.height}".encode(), digest_size=16)
    # By strips, so that grey is never held three times over.
    strip = max(1, (1 << 20) // plain.width)
    for top in range(0, plain.height, strip):
        part = plain.crop((0, top, plain.width, min(top + strip, plain.height)))
        digest.update(part.convert("RGB").tobytes())
    return digest.hexdigest()


def check_pixels(pixels: int, name: str, max_pixels: int) -> None:
    """Refuse a picture of more pixels than the limit. Raises ImageError."""
    if pixels > max_pixels:
        raise ImageError(f"{name} has {pixels:,} pixels, limit {max_pixels:,}; raise with --max-pixels")


@contextmanager
def _opened(file: BufferedReader, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """The picture with its header read and its size within the limit; its faults become ImageError.

    A large picture keeps all other large pictures waiting.
    """
    file.seek(0)
    head = file.read(256)
    file.seek(0)
    kind = recognise(head)
    formats = [name for name in FORMATS if name in Image.OPEN]  # an older Pillow lacks some
    if kind == "HEIC":
        if not heic_ready():
            raise ImageError(f"{name} is a HEIC picture, {HEIC_HINT}")
        formats = ["HEIF"]
    jpeg = JpegFile(file, name) if kind == "JPEG" else None
    try:
        with ExitStack() as held:
            canvas = webp_size(head) if kind == "WebP" else None
            if canvas is not None:  # its decoder takes the memory of all its pixels as soon as it is opened
                _enter(held, canvas, name, max_pixels, times=HUNGRY)
            source = cast("IO[bytes]", jpeg or file)
            image = held.enter_context(Image.open(source, formats=formats))
            if canvas is None:
                hungry = image.format == "JPEG2000" and len(image.getbands()) > 2
                _enter(held, image.size, name, max_pixels, times=HUNGRY if hungry else 1)
            _check_sums(image, file, name, max_pixels)
            if image.format == "TIFF":
                mend_tiff(image, name)
            if jpeg is not None:
                file.seek(0)
                jpeg.hold()
            yield image
            if jpeg is not None:
                jpeg.settle()
    except Image.DecompressionBombError as error:
        match = re.search(r"\((\d+) pixels\)", str(error))
        check_pixels(int(match[1]) if match else max_pixels + 1, name, max_pixels)
        raise ImageError(f"{name} is damaged ({error})") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} {describe_stranger(head)}") from error
    except MemoryError as error:
        raise ImageError(
            f"{name} needs more memory than there is; lower --max-pixels or --workers"
        ) from error
    except DAMAGED as error:
        if jpeg is not None and jpeg.short:
            raise ImageError(f"{name} is damaged (its data end before the last pixel)") from error
        said = CUT if "truncated" in str(error).lower() else f"is damaged ({error})"
        raise ImageError(f"{name} {said}") from error


def _enter(held: ExitStack, size: tuple[int, int], name: str, max_pixels: int, *, times: int) -> None:
    """Refuse a size of 0 or above the limit; a large picture waits for its turn."""
    pixels = size[0] * size[1]
    if min(size) < 1:
        raise ImageError(f"{name} has no pixels ({size[0]} x {size[1]})")
    check_pixels(pixels, name, max_pixels)
    if pixels * times > max_pixels:
        raise ImageError(
            f"{name} has {pixels:,} pixels, of which its decoder holds {times} copies at once, limit"
            f" {max_pixels // times:,}; raise with --max-pixels"
        )
    if pixels > LARGE:
        held.enter_context(_large)


def _check_sums(image: Image.Image, file: BufferedReader, name: str, max_pixels: int) -> None:
    """Hold what the file says of itself, if its format has any sums, against its bytes."""
    position = file.tell()
    if image.format == "PNG":
        if colours := check_png(file, name):
            image.info["cicp"] = colours
        if getattr(image, "default_image", False):
            image.seek(1)  # what stands before the first frame is for viewers that know no frames
    elif image.format == "JPEG2000":
        bits = jpeg2000_bits(file)
        if bits > 8 and not image.mode.startswith("I"):
            # Its decoder rounds white up to 256, which a byte holds as 0: black.
            raise ImageError(
                f"{name} is a JPEG 2000 of {bits} bits in colour, which cannot be decoded: convert it to PNG"
            )
    elif image.format == "TIFF":
        tags: Mapping[int, Any] = image.tag_v2  # type: ignore[attr-defined]
        tile = int(tags.get(322, 0)) * int(tags.get(323, 0))  # which is unpacked as a whole
        if tile > max_pixels:
            raise ImageError(
                f"{name} has tiles of {tile:,} pixels, limit {max_pixels:,}; raise with --max-pixels"
            )
        if tags.get(259) in (8, 32946):
            first, lengths = (273, 279) if 273 in tags else (324, 325)
            check_deflate(file, name, tags.get(first, ()), tags.get(lengths, ()))
    file.seek(position)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is absent or nonsense."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself while it loads them
    if image.format not in JPEGS:
        image.load()  # what turns a PNG may stand behind its pixels; what spoils them is told here
    for words in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(words, None)  # viewers turn pictures by EXIF alone; Pillow would read these, too
    try:
        orientation = image.getexif().get(0x0112, 1)
    except DAMAGED:
        return 1  # broken metadata do not spoil the pixels
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _draft(
    image: Image.Image, upright: tuple[int, int], size: tuple[int, int], resize: str, *, swapped: bool
) -> None:
    """Let the JPEG decoder shrink by 2, 4 or 8, where enough pixels are left for the resizing."""
    (left, top, right, bottom), (width, height), _ = _plan(upright, size, resize)
    factor = min((right - left) / width, (bottom - top) / height) / DRAFT_GAP
    if factor >= 2 and isinstance(image, ImageFile.ImageFile):
        wide, high = int(upright[0] / factor), int(upright[1] / factor)
        image.draft(None, (high, wide) if swapped else (wide, high))


def _drafted_extent(
    image: Image.Image, upright: tuple[int, int], orientation: int
) -> tuple[float, float, float, float]:
    """Left, top, width and height of the real picture in the upright, drafted picture.

    A side that the scale does not divide is rounded up by the decoder, with a last pixel that is only partly
    picture; taking it for whole would shift everything by up to half a pixel.
    """
    scale = 1
    while max(upright) > max(image.size) * scale:
        scale *= 2
    width, height = upright[0] / scale, upright[1] / scale
    real_width, real_height = image.size[::-1] if orientation >= 5 else image.size
    left = real_width - width if orientation in (2, 3, 6, 7) else 0.0
    top = real_height - height if orientation in (3, 4, 7, 8) else 0.0
    return left, top, width, height


def _plan(
    upright: tuple[float, float], size: tuple[int, int], resize: str
) -> tuple[tuple[float, float, float, float], tuple[int, int], tuple[int, int]]:
    """What goes where: a box of the picture, its (width, height) in the result, and its corner there."""
    width, height = upright
    out_height, out_width = size
    whole = (0.0, 0.0, float(width), float(height))
    if resize == "pad":
        scale = min(out_width / width, out_height / height)
        inner = (min(out_width, max(1, round(width * scale))), min(out_height, max(1, round(height * scale))))
        return whole, inner, ((out_width - inner[0]) // 2, (out_height - inner[1]) // 2)
    if resize == "crop":
        scale = max(out_width / width, out_height / height)
        part_width, part_height = min(width, out_width / scale), min(height, out_height / scale)
        left, top = (width - part_width) / 2, (height - part_height) / 2
        return (left, top, left + part_width, top + part_height), (out_width, out_height), (0, 0)
    return whole, (out_width, out_height), (0, 0)


def _fit(
    image: Image.Image,
    extent: tuple[float, float, float, float],
    size: tuple[int, int],
    resize: str,
    interpolation: Image.Resampling,
) -> NDArray[np.uint8]:
    """Resized to (height, width, 3).

    No step makes more than a few times the pixels of the picture or of the result: a strip is never blown up
    to its full length, since the part that is wanted is cut before and shrunk before the other side grows.
    """
    left, top, width, height = extent
    box, inner, corner = _plan((width, height), size, resize)
    box = (box[0] + left, box[1] + top, box[2] + left, box[3] + top)
    if max(image.size) > 1 << 16:
        # Pillow holds boxes in single precision; cut first, so that the numbers are small.
        cut = (int(box[0]), int(box[1]), -int(-box[2] // 1), -int(-box[3] // 1))
        image = image.crop(cut)
        box = (box[0] - cut[0], box[1] - cut[1], box[2] - cut[0], box[3] - cut[1])
    image, box = _reduced(image, box, inner)
    if image.size != inner or box != (0.0, 0.0, *map(float, inner)):
        image = image.resize(inner, interpolation, box=box, reducing_gap=REDUCING_GAP)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if inner == (size[1], size[0]):
        return np.array(image)
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[corner[1] : corner[1] + inner[1], corner[0] : corner[0] + inner[0]] = np.asarray(image)
    return pixels


@cache
def resizes_down_first() -> bool:
    """Whether this Pillow resizes a high picture down before it resizes it across, as later versions do."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 30, 3), dtype=np.uint8)
    high = Image.fromarray(pixels)
    bilinear = Image.Resampling.BILINEAR
    return high.resize((20, 16), bilinear) == high.resize((30, 16), bilinear).resize((20, 16), bilinear)


def _reduced(
    image: Image.Image, box: tuple[float, float, float, float], inner: tuple[int, int]
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Shrunk by a whole number where very much is to go, box and all.

    Pillow would do it in a single step: its fixed-point sum over some 100,000 pixels turns white into grey.
    """
    while True:
        wide = max(1, int((box[2] - box[0]) / inner[0] / REDUCING_GAP))
        high = max(1, int((box[3] - box[1]) / inner[1] / REDUCING_GAP))
        if wide * high <= 4096:
            return image, box
        wide, high = min(wide, 64), min(high, 64)
        image = image.reduce((wide, high))
        box = (box[0] / wide, box[1] / high, box[2] / wide, box[3] / high)


def _plain(image: Image.Image, name: str, white: float | None, stored: str) -> tuple[Image.Image, float]:
    """Decode to the end, and bring to RGB, or L where it is grey; with `Picture.deep`."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        return _deep(image, name, white)
    if image.mode == "L" and 2 in tuple(tags.get(339, ())):
        raise ImageError(f"{name} has signed 8-bit values, which are not supported: convert it to PNG")
    shown = colour_change(image, name)
    if image.has_transparency_data:
        return _on_white(image, stored, shown), 0.0
    if image.mode == "1":
        return image.convert("L"), 0.0
    image = shown(image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB"))
    return (image if image.mode in ("L", "RGB") else image.convert("RGB")), 0.0


def _whole_screen(image: Image.Image, plain: Image.Image) -> Image.Image:
    """White where the first frame of a GIF leaves its screen uncovered, which viewers leave clear."""
    frame = getattr(image, "dispose_extent", None) if image.format == "GIF" else None
    if frame is None or tuple(frame) == (0, 0, *image.size):
        return plain
    ground = Image.new("RGB", plain.size, WHITE)
    ground.paste(plain.crop(frame), frame)
    return ground


def _stored_mode(image: Image.Image) -> str:
    """How the pixels lie in the file, in Pillow's words; known until they are loaded."""
    tile = image.tile[0][3] if isinstance(image, ImageFile.ImageFile) and image.tile else ()
    return tile if isinstance(tile, str) else str(tile[0]) if tile else ""


def _on_white(image: Image.Image, stored: str, shown: Change) -> Image.Image:
    """Transparency laid on white. shown: what becomes of the colours."""
    clear = image.info.get("transparency")
    if image.mode in ("1", "L") and isinstance(clear, int):
        # PNG gives the transparent grey as stored, in 1, 2 or 4 bits; Pillow has spread the pixels to 8.
        image.info["transparency"] = clear * {"1": 255, "L;2": 85, "L;4": 17}.get(stored, 1)
    elif image.mode == "RGB" and isinstance(clear, tuple) and ";16" in stored:
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    if image.mode in ("La", "PA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    image = shown(image.convert("RGBA"))
    ground = Image.new("RGB", image.size, WHITE)
    ground.paste(image, (0, 0), image)
    return ground


def _deep(image: Image.Image, name: str, white: float | None) -> tuple[Image.Image, float]:
    """16-bit, 32-bit and float grey as 8-bit grey, with `Picture.deep`."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    bits, unsigned = tags.get(258, (16,))[0], tags.get(339, (1,))[0] == 1
    asked = 0.0
    if image.mode.startswith("I;16"):
        top = float(2 ** min(16, bits) - 1)
    elif image.mode == "I" and image.format in ("PPM", "PNG"):
        top = 65535.0  # both spread whatever they hold to 16 bits
    else:
        if image.mode == "I" and unsigned and bits == 32:
            values = values.view(np.uint32)  # Pillow has no such mode
        top, asked = find_white(values, white, name)
    clear = image.info.get("transparency")
    grey = scale_grey(
        values, top, inverted=tags.get(262) == 0, clear=clear if isinstance(clear, int) else None
    )
    return colour_change(image, name)(Image.fromarray(grey)), asked


#: Modes of Pillow that a PNG keeps as they are.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """(height, width, 3) or (height, width) uint8 as the bytes of a PNG file."""
    with io.BytesIO() as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=False)
        return file.getvalue()


def picture_bytes(picture: object) -> bytes:
    """A picture in memory as a PNG file: of Pillow with its orientation and transparency, or an array."""
    with io.BytesIO() as file:
        if isinstance(picture, np.ndarray):
            flat = picture[:, :, 0] if picture.shape[2] == 1 else picture
            Image.fromarray(np.ascontiguousarray(flat)).save(file, "PNG", compress_level=1)
        elif isinstance(picture, Image.Image):
            whole = picture if picture.mode in _PNG_MODES else picture.convert("RGB")
            more = {"icc_profile": profile} if (profile := picture.info.get("icc_profile")) else {}
            whole.save(file, "PNG", compress_level=1, exif=picture.getexif(), **more)
        else:
            raise ImageError(
                f"{type(picture).__name__} is not a picture",
                fix="give a file, a picture of Pillow, or (height, width, 3) uint8",
            )
        return file.getvalue()


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """(height, width, 3) or (height, width) uint8 as the bytes of a JPEG file. quality: of 95 at most."""
    with io.BytesIO() as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
        return file.getvalue()


def read_thumbnail(
    path: str | os.PathLike[str], longest: int = 160, *, white: float | None = None, quality: int = 0
) -> bytes:
    """A picture file, upright and in its own proportions, as the bytes of a small PNG file.

    longest: pixels of the longer side.  white: see `decode_image`.  quality: if not 0, of a JPEG file.
    Raises ImageError as `decode_image`.
    """
    with open_picture(path) as file, pillow_settings(MAX_PIXELS):
        name = read_name(Path(path).name)
        with _opened(file, name, MAX_PIXELS) as image:
            width, height = image.size[::-1] if _orientation(image) >= 5 else image.size
        scale = min(1.0, longest / max(width, height))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        pixels = decode_file(
            file, size, "squish", interpolation="bicubic", max_pixels=MAX_PIXELS, white=white, name=name
        ).pixels
        return encode_jpeg(pixels, quality) if quality else encode_png(pixels)


def check_resize(size: Iterable[int], resize: str, interpolation: str) -> tuple[int, int]:
    """`size` as (height, width), if all three are possible; else ImageError."""
    sides = tuple(int(side) for side in size)
    if len(sides) != 2 or min(sides) < 1:
        raise ImageError(
            f"image size {sides} is not (height, width) in whole pixels from 1 up",
            fix="give two numbers such as (224, 224)",
        )
    for word, choices, what in (
        (resize, RESIZE_MODES, "resize mode"),
        (interpolation, tuple(INTERPOLATIONS), "interpolation"),
    ):
        if word not in choices:
            raise ImageError(f"there is no {what} {word!r}", fix=did_you_mean(word, choices))
    return sides
