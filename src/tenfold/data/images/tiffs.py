"""What TIFF files say that their decoder takes for something else; corrected before the pixels are read.

The decoder is right for the common forms. It forgets what a form means where two rarer things meet:

- *One channel, said to lie in a plane of its own*: bits, inversion and byte order are forgotten.
- *Colour of 16 bits in separate planes, not compressed*: read as bytes, half of each plane.
- *Compressed, big-endian, signed, of 32 bits or float*: the bytes are turned round twice.
- *Palettes of 8 bits*, as old programs wrote them into a table of 16: all black.
"""

from __future__ import annotations

from typing import Any

from tenfold.errors import ImageError

BITS, COMPRESSION, CHANNELS, PLANES, COLOURS = 258, 259, 277, 284, 320


def mend_tiff(image: Any, name: str) -> None:
    """Let an opened TIFF of Pillow be decoded as its tags say.

    Raises ImageError that calls it `name`: nothing here can decode it.
    """
    tags = image.tag_v2
    if tags.get(PLANES) == 2 and tags.get(COMPRESSION, 1) == 1:
        if tags.get(CHANNELS, 1) == 1:
            tags[PLANES] = 1  # which is the same for one channel
            image._setup()
        else:
            image.tile = _planes(image, name)
    if image.tile and image.tile[0].codec_name == "libtiff":
        raw, *others = image.tile[0].args
        if raw[:2] in ("I;", "F;"):  # libtiff gives numbers in the order of this machine
            image.tile = [image.tile[0]._replace(args=(raw.replace("B", "N"), *others))]
    if image.mode in ("P", "PA") and max(tags[COLOURS]) < 256:
        image.palette.palette = bytes(tags[COLOURS])


def _planes(image: Any, name: str) -> list[Any]:
    """The parts of a picture in separate planes, each with how its numbers lie."""
    bits = set(image.tag_v2[BITS])
    if bits == {8}:
        return list(image.tile)
    if bits != {16} or image.mode not in ("RGB", "RGBA"):
        raise ImageError(
            f"{name} has colour of {max(bits)} bits in separate planes, which cannot be decoded:"
            " convert it to PNG"
        )
    order = "L" if image.tag_v2.prefix == b"II" else "B"
    # Further channels without a meaning are not part of the picture.
    kept = [part for part in image.tile if part.args[0] in image.mode]
    return [part._replace(args=(f"{part.args[0]};16{order}", *part.args[1:])) for part in kept]
