"""Pictures for tests: with something in them, spoilt in stated ways, and chunks of a PNG to be changed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tenfold.data.images.decode import decode_image
from tenfold.errors import ImageError


def grained(height: int = 64, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """(height, width, 3): slopes and grain, so that no two parts are alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    slopes = np.stack([x * 255 / width, y * 255 / height, 127 + 60 * np.sin(x / 5)], -1)
    return (slopes + rng.normal(0, 12, (height, width, 3))).clip(0, 255).astype(np.uint8)


def save(path: Path, mode: str = "RGB", **options: object) -> NDArray[np.uint8]:
    """Write the picture in that mode; returns what is decoded of it."""
    image = Image.fromarray(grained())
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)
    elif mode == "RGBA":
        image.putalpha(Image.fromarray(grained(seed=1)[..., 0]))
    else:
        image = image.convert(mode)
    image.save(path, **options)
    return decode_image(path, (64, 64))


def refusal(path: Path) -> str:
    """What is said of a picture that cannot be used: one line that begins with its name."""
    with pytest.raises(ImageError) as caught:
        decode_image(path, (64, 64))
    text = str(caught.value)
    assert text.startswith(f"{path.name} ") and "\n" not in text
    return text


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, body) of each chunk of a PNG."""
    found, place = [], 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def png_file(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with right sums."""
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def change_pixels(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The PNG with other packed pixels and right sums of the chunks."""
    chunks = png_chunks(data)
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    first = next(at for at, (kind, _) in enumerate(chunks) if kind == b"IDAT")
    others = [(at, one) for at, one in enumerate(chunks) if one[0] != b"IDAT"]
    before = [one for at, one in others if at < first]
    after = [one for at, one in others if at > first]
    return png_file([*before, (b"IDAT", change(packed)), *after])


def tiff_file(
    strips: Sequence[bytes], size: tuple[int, int], tags: Mapping[int, Sequence[int]], order: str = "<"
) -> bytes:
    """A TIFF of (height, width) whose strips hold these bytes; tags of shorts, beside those of the strips."""
    height, width = size
    starts = [8 + sum(map(len, strips[:at])) for at in range(len(strips))]
    shorts = {256: [width], 257: [height], 258: [1], 259: [1], 277: [1], 278: [height], **tags}
    fields = {tag: ("H", list(values)) for tag, values in shorts.items()}
    fields |= {273: ("I", starts), 279: ("I", [len(one) for one in strips])}
    begin = 8 + sum(map(len, strips))
    entries, rest, place = b"", b"", begin + 2 + 12 * len(fields) + 4
    for tag, (letter, values) in sorted(fields.items()):
        body = struct.pack(f"{order}{len(values)}{letter}", *values)
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[letter], len(values))
        if len(body) > 4:
            entries += struct.pack(f"{order}I", place + len(rest))
            rest += body
        else:
            entries += body.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", begin)
    count = struct.pack(f"{order}H", len(fields))
    return head + b"".join(strips) + count + entries + bytes(4) + rest
