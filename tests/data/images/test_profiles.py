"""A picture with a colour profile is the picture that a viewer shows: the same as one stored in sRGB."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pictures import grained, png_chunks, png_file, refusal
from shown import needs_browser, opened
from tenfold.data.images.decode import decode_image
from tenfold.data.images.profiles import _CURVE, PRIMARIES, SRGB, _power, matrix_profile

Pixels = NDArray[np.uint8]
ADOBE = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
P3_PROFILE = matrix_profile(PRIMARIES[12], _CURVE)
ADOBE_PROFILE = matrix_profile(ADOBE, _power(563 / 256))
#: From light in these spaces to light in sRGB, as published (the CSS Color 4 sample code).
P3_TO_SRGB = np.array(
    [[1.2249401762805602, -0.2249401762805598, 0.0],
     [-0.0420569547096881, 1.0420569547096880, 0.0],
     [-0.0196375545903344, -0.0786360455506319, 1.0982736001409664]]
)  # fmt: skip
ADOBE_TO_SRGB = np.array(
    [[1.3983557439607783, -0.3983557439607783, 0.0],
     [0.0, 1.0, 0.0],
     [0.0, -0.0429289889447326, 1.0429289889447326]]
)  # fmt: skip
GRAINED = grained(24, 32)


def from_curve(values: Any) -> Any:
    """From sRGB's values, 0 to 1, to light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_curve(light: Any) -> Any:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def converted(pixels: Any, matrix: Any, decode: Callable[[Any], Any]) -> Pixels:
    """The same colours in sRGB, by the book."""
    return np.round(255 * to_curve(decode(pixels / 255.0) @ matrix.T)).astype(np.uint8)


P3 = converted(GRAINED, P3_TO_SRGB, from_curve)
IN_ADOBE = converted(GRAINED, ADOBE_TO_SRGB, lambda values: values ** (563 / 256))


def seen(path: Path, pixels: Pixels | Image.Image, **options: Any) -> NDArray[np.int64]:
    """What is decoded of a picture that is saved with these options."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return decode_image(path, (image.height, image.width)).astype(int)


def grey_profile(exponent: float) -> bytes:
    """An ICC profile of grey."""
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)
    parts = {b"wtpt": white, b"kTRC": _power(exponent)}
    start, table, body = 132 + 12 * len(parts), b"", b""
    for name, data in parts.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    head = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x04200000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + white[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + table + body


def with_chunks(path: Path, image: Image.Image, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG with further chunks before its pixels."""
    plain = io.BytesIO()
    image.save(plain, "PNG")
    head, *rest = png_chunks(plain.getvalue())
    path.write_bytes(png_file([head, *chunks, *rest]))
    return path


def gama(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100000 * value))


def chrm(values: tuple[float, ...]) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(100000 * value) for value in values))


@pytest.mark.metamorphic("a picture in another colour space is the same picture stored in sRGB")
@pytest.mark.parametrize(
    ("profile", "right"), [(P3_PROFILE, P3), (ADOBE_PROFILE, IN_ADOBE)], ids=["Display P3", "Adobe RGB"]
)
@pytest.mark.parametrize(
    ("name", "options", "off"),
    [
        ("p.png", {}, 1),
        ("p.tif", {}, 1),
        ("p.tiff", {"compression": "tiff_lzw"}, 1),
        ("p.webp", {"lossless": True}, 1),
        ("p.jpg", {"quality": 100, "subsampling": 0}, 14),
    ],
)
def test_colours_of_another_space(
    tmp_path: Path, profile: bytes, right: Pixels, name: str, options: dict[str, Any], off: int
) -> None:
    found = seen(tmp_path / name, GRAINED, icc_profile=profile, **options)
    assert np.abs(found - right).max() <= off
    assert np.abs(found - GRAINED).mean() > 3  # which is not what the file holds


def test_transparent_pictures_and_palettes_have_profiles_too(tmp_path: Path) -> None:
    image, cover = Image.fromarray(GRAINED), grained(24, 32, 1)[..., 0]
    image.putalpha(Image.fromarray(cover))
    alpha = cover[..., None] / 255.0
    right = np.round(P3 * alpha + 255 * (1 - alpha))
    assert np.abs(seen(tmp_path / "a.png", image, icc_profile=P3_PROFILE) - right).max() <= 2
    few = Image.fromarray(GRAINED).quantize(16)
    colours = np.asarray(few.convert("RGB"))
    right = converted(colours, P3_TO_SRGB, from_curve)
    assert np.abs(seen(tmp_path / "p.png", few, icc_profile=P3_PROFILE) - right).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_profile_of_srgb_changes_nothing(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(GRAINED).convert(mode)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    without = seen(tmp_path / "a.png", image)
    assert (seen(tmp_path / "b.png", image, icc_profile=profile) == without).all()
    # As the primaries of sRGB, spelt out.
    assert (seen(tmp_path / "c.png", image, icc_profile=matrix_profile(SRGB, _CURVE)) == without).all()


@pytest.mark.parametrize("profile", [b"x" * 300, P3_PROFILE[:200], P3_PROFILE[:10], grey_profile(1.0)])
def test_a_profile_that_cannot_be_used_is_ignored(tmp_path: Path, profile: bytes) -> None:
    assert (seen(tmp_path / "a.png", GRAINED, icc_profile=profile) == GRAINED).all()
    cmyk = Image.fromarray(GRAINED).convert("CMYK")
    without = seen(tmp_path / "b.tif", cmyk)
    assert (seen(tmp_path / "c.tif", cmyk, icc_profile=P3_PROFILE) == without).all()


@pytest.mark.parametrize("exponent", [1.0, 1.8])
def test_grey_by_its_profile(tmp_path: Path, exponent: float) -> None:
    grey = GRAINED[..., 0]
    right = np.round(255 * to_curve((grey / 255.0) ** exponent))[..., None]
    profile = grey_profile(exponent)
    assert np.abs(seen(tmp_path / "a.png", grey, icc_profile=profile) - right).max() <= 1
    both = Image.fromarray(grey).convert("LA")
    assert np.abs(seen(tmp_path / "b.png", both, icc_profile=profile) - right).max() <= 1
    # Cameras write grey pictures with a profile of RGB, whose curve counts.
    of_colour = matrix_profile(SRGB, _power(exponent))
    assert np.abs(seen(tmp_path / "c.png", grey, icc_profile=of_colour) - right).max() <= 1


def test_lab_is_converted(tmp_path: Path) -> None:
    # Without vivid colours, which Lab holds and sRGB does not.
    image = Image.fromarray((GRAINED // 2 + 64).astype(np.uint8))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert lab is not None
    off = np.abs(seen(tmp_path / "lab.tif", lab) - np.asarray(image))
    assert off.mean() < 1 and np.percentile(off, 99) < 5


def test_the_words_of_a_png(tmp_path: Path) -> None:
    image, grey = Image.fromarray(GRAINED), Image.fromarray(GRAINED[..., 0])

    def found(*chunks: tuple[bytes, bytes], of: Image.Image = image) -> NDArray[np.int64]:
        path = with_chunks(tmp_path / "p.png", of, *chunks)
        return decode_image(path, (of.height, of.width)).astype(int)

    light = np.round(255 * to_curve(GRAINED / 255.0))
    assert np.abs(found(gama(1.0)) - light).max() <= 1
    assert np.abs(found(gama(1.0), of=grey) - light[..., :1]).max() <= 1
    assert np.abs(found(gama(1.0), of=image.convert("RGBA")) - light).max() <= 1
    # What nearly all programs write means nothing, and sRGB comes first.
    for words in ([gama(0.45455)], [chrm(ADOBE)], [(b"sRGB", b"\0"), gama(1.0)], [gama(0.0)]):
        assert (found(*words) == GRAINED).all()
    assert np.abs(found(gama(256 / 563), chrm(ADOBE)) - IN_ADOBE).max() <= 1
    assert (found(gama(0.5), chrm((0.0,) * 8)) == GRAINED).all()  # no primaries
    # cICP comes before a profile.
    assert np.abs(found((b"cICP", bytes([12, 13, 0, 1])), gama(1.0)) - P3).max() <= 1
    assert (found((b"cICP", bytes([1, 13, 0, 1])), gama(1.0)) == GRAINED).all()
    assert np.abs(found((b"cICP", bytes([1, 8, 0, 1]))) - light).max() <= 1


def test_light_that_no_ordinary_screen_shows_is_refused(tmp_path: Path) -> None:
    path = with_chunks(tmp_path / "hdr.png", Image.fromarray(GRAINED), (b"cICP", bytes([9, 16, 0, 1])))
    assert "cICP 9, 16" in refusal(path) and "convert it to sRGB" in refusal(path)


def test_deep_grey_by_its_words(tmp_path: Path) -> None:
    deep = Image.fromarray(GRAINED[..., 0].astype(np.uint16) * 257)
    path = with_chunks(tmp_path / "deep.png", deep, gama(1.0))
    right = np.round(255 * to_curve(GRAINED[..., :1] / 255.0))
    assert np.abs(decode_image(path, (24, 32)).astype(int) - right).max() <= 1


def viewed(folder: Path) -> dict[str, Path]:
    """Pictures of many kinds, all of which a browser opens."""
    image = Image.fromarray(GRAINED)
    clear = image.copy()
    clear.putalpha(Image.fromarray(grained(24, 32, 1)[..., 0]))
    for name, profile in {"p3": P3_PROFILE, "adobe": ADOBE_PROFILE, "bad": b"x" * 300}.items():
        image.save(folder / f"{name}.png", icc_profile=profile)
        image.save(folder / f"{name}.jpg", icc_profile=profile, quality=95)
        clear.save(folder / f"clear-{name}.png", icc_profile=profile)
        image.quantize(32).save(folder / f"palette-{name}.png", icc_profile=profile)
        image.convert("L").save(folder / f"grey-{name}.png", icc_profile=profile)
    image.convert("L").save(folder / "grey.jpg", icc_profile=grey_profile(1.8), quality=95)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    for value in (1.0, 0.45455, 0.55, 0.3):
        with_chunks(folder / f"gama-{value}.png", image, gama(value))
        with_chunks(folder / f"gama-grey-{value}.png", image.convert("L"), gama(value))
    with_chunks(folder / "chrm.png", image, gama(1 / 2.2), chrm(ADOBE))
    with_chunks(folder / "cicp.png", image, (b"cICP", bytes([12, 13, 0, 1])))
    for turn in range(1, 9):
        tags = Image.Exif()
        tags[0x112] = turn
        image.save(folder / f"turn-{turn}.jpg", exif=tags.tobytes(), quality=95)
        image.save(folder / f"turn-{turn}.png", exif=tags.tobytes())
    words = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    image.save(folder / "xmp.jpg", xmp=words, quality=95)
    with_chunks(folder / "xmp.png", image, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + words))
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "green", "blue")]
    for name, options in (("a.gif", {}), ("a.png", {}), ("b.png", {"default_image": True})):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], **options)
    (folder / "part.gif").write_bytes(small_frame())
    return {path.name: path for path in sorted(folder.iterdir())}


def small_frame() -> bytes:
    """A GIF of 20 x 16 whose only frame is 8 x 8, all of colour 1, without any clear colour."""
    bits = [4, *(code for _ in range(32) for code in (1, 1, 4)), 5]  # clear before the codes grow longer
    stream = sum(code << (3 * place) for place, code in enumerate(bits))
    data = stream.to_bytes((3 * len(bits) + 7) // 8, "little")
    colours = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    head = b"GIF89a" + struct.pack("<HHBBB", 20, 16, 0b10000001, 0, 0) + colours
    frame = b"," + struct.pack("<HHHHB", 5, 4, 8, 8, 0)
    return head + frame + b"\x02" + bytes([len(data)]) + data + b"\0;"


SHOW = """async (source) => {
  const image = new Image(); image.src = source; await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext('2d', {colorSpace: 'srgb'});
  context.fillStyle = 'white'; context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.width, canvas.height, btoa(String.fromCharCode(...data))];
}"""


@needs_browser
@pytest.mark.metamorphic("a picture is decoded as a browser shows it")
def test_pictures_are_what_a_browser_shows(tmp_path: Path) -> None:
    kinds = {".jpg": "jpeg", ".png": "png", ".gif": "gif"}
    wrong = []
    (tmp_path / "pictures").mkdir()
    (tmp_path / "blank.html").write_text("<!DOCTYPE html>")
    with opened(tmp_path / "blank.html") as (page, _):
        for name, path in viewed(tmp_path / "pictures").items():
            data = base64.b64encode(path.read_bytes()).decode()
            width, height, text = page.evaluate(SHOW, f"data:image/{kinds[path.suffix]};base64,{data}")
            shown = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]
            # A JPEG's colours are rounded elsewhere: by some levels, at its edges.
            off = np.abs(decode_image(path, (height, width)).astype(int) - shown)
            if off.mean() > 1 or np.percentile(off, 99) > (6 if path.suffix == ".jpg" else 3):
                wrong.append(f"{name}: {off.mean():.1f}")
    assert not wrong
