"""Checks that a picture's file is whole, beyond those of its decoder.

Decoders skip what does not fit and fill up what is missing. A picture is good only without either, so the
sums, lengths and end marks of a format are compared with the bytes.

- *PNG*: the sum of each chunk, the sum and length of the pixels, the end; no chunk that must be known and is
  not.
- *TIFF with deflate*: the sum of each strip or tile.
- *JPEG*: the end mark, all parts of the picture, the order and number of restart markers; and, if a single
  scan holds the whole picture, that its last pixel takes its last byte. Most holes break that. Nothing tells
  altered bits after which as many blocks follow as before, between two restart markers and in a progressive
  scan nothing tells any that are still valid codes.

Other formats have no sums: altered bytes that are still valid are other pixels.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import NoReturn

from tenfold.errors import ImageError

#: Bytes that are read and unpacked at a time.
BLOCK = 1 << 20

PNG_KNOWN = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Interlaced passes: first column and row, and steps.
PNG_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)

#: Kinds of JPEG (start of frame) that are good pictures, but that nothing here decodes.
JPEG_STRANGE = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "a lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "a hierarchical JPEG"),
    0xF7: "a JPEG-LS picture",
}
JPEG_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
#: Given after the last byte of a scan: a decoder looks so far ahead. No picture has a code of ones alone.
AHEAD = b"\xff\0" * 8
#: Fewer bytes than this may fill up between the last pixel and the end mark: a hole is of whole disk blocks.
FILLING = 512
#: Bytes before the end that a decoder may leave, and bytes behind the last that it may take beforehand.
LEFT, TAKEN = 8, 9

CUT = "is cut off: the file ends before the picture does"


def check_png(file: BufferedReader, name: str) -> bytes:
    """Read a PNG file chunk by chunk to its end; returns its cICP chunk, which Pillow leaves out.

    Raises ImageError that calls it `name`: it is not whole.
    """
    file.seek(8)
    pixels, due, count, colours = zlib.decompressobj(), 0, 0, b""
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ImageError(f"{name} {CUT}")
        length, kind = struct.unpack(">I4s", head)
        if not kind.isalpha():
            raise ImageError(f"{name} is damaged (a chunk has no name)")
        if kind[:1].isupper() and kind not in PNG_KNOWN:
            said = "made for iPhone apps (CgBI)" if kind == b"CgBI" else f"with a chunk {kind.decode()}"
            raise ImageError(f"{name} is a PNG {said}, which cannot be decoded: convert it to PNG again")
        total = zlib.crc32(kind)
        for block in _blocks(file, length, name):
            total = zlib.crc32(block, total)
            if kind == b"IHDR":
                due = _png_bytes(block)
            elif kind == b"cICP" and length == 4 and not count:
                colours = block
            elif kind == b"IDAT":
                count += _unpack(pixels, block, due + BLOCK - count, name)
        if file.read(4) != struct.pack(">I", total):
            raise ImageError(f"{name} is damaged (the checksum of its {kind.decode()} is not met)")
        if kind == b"IEND":
            break
    if not pixels.eof or count < due:
        raise ImageError(f"{name} is damaged (its pixels end too early)")
    return colours


def _blocks(file: BufferedReader, length: int, name: str) -> Iterator[bytes]:
    while length:
        block = file.read(min(length, BLOCK))
        if not block:
            raise ImageError(f"{name} {CUT}")
        yield block
        length -= len(block)


def _unpack(stream: zlib._Decompress, block: bytes, most: int, name: str) -> int:
    """How many bytes a packed block unpacks to. Raises ImageError if it is damaged or above `most`."""
    count = 0
    try:
        while block and not stream.eof:
            part = len(stream.decompress(block, BLOCK))
            count, block = count + part, stream.unconsumed_tail
            if count > most:
                raise ImageError(f"{name} is damaged (it has more pixels than its size)")
    except zlib.error as error:
        raise ImageError(f"{name} is damaged ({error})") from error
    return count


def _png_bytes(header: bytes) -> int:
    """Bytes that the pixels unpack to, each row with its filter's."""
    if len(header) < 13:
        return 0
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    bits = depth * PNG_SAMPLES.get(colour, 1)
    total = 0
    for left, top, wide, high in PNG_PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // wide), -((top - height) // high)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def check_deflate(file: BufferedReader, name: str, starts: Sequence[int], lengths: Sequence[int]) -> None:
    """Unpack deflated parts of a file. Raises ImageError that calls it `name`: a sum is wrong."""
    for start, length in zip(starts, lengths, strict=False):
        file.seek(start)
        stream = zlib.decompressobj()
        for block in _blocks(file, length, name):
            _unpack(stream, block, 1 << 40, name)
        if not stream.eof:
            raise ImageError(f"{name} is damaged (its pixels end too early)")


def webp_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) of the canvas of a WebP file by its first 30 bytes, None where they do not say it."""
    if len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        wide, high = struct.unpack("<HH", head[26:30])
        return wide & 0x3FFF, high & 0x3FFF
    return None


def jpeg2000_bits(file: BufferedReader) -> int:
    """Bits of the deepest channel of a JPEG 2000 file, 0 where it does not say."""
    file.seek(0)
    head = file.read(4)
    position = 0
    while head and not head.startswith(b"\xff\x4f\xff\x51"):  # box after box, to the pixels
        length, kind = int.from_bytes(head, "big"), file.read(4)
        begin = 16 if length == 1 else 8
        length = int.from_bytes(file.read(8), "big") if length == 1 else length
        if kind != b"jp2c" and length < begin:
            return 0
        position += begin if kind == b"jp2c" else length
        file.seek(position)
        head = file.read(4)
    size = file.read(36 + 3 * 16384)
    parts = int.from_bytes(size[36:38], "big")
    return max(((bits & 127) + 1 for bits in size[38 : 38 + 3 * parts : 3]), default=0)


class JpegFile(io.RawIOBase):
    """An open JPEG for its decoder, which shows whether the decoder took neither less nor more.

    After `hold`, the last byte of the picture's scan comes alone, and after it only what a decoder looks
    ahead: a decoder that never asks for it had its picture before; if it asks for more, the picture is short.

    Raises ImageError that calls it `name`: it is of a kind that cannot be decoded, or its markers do not fit.
    """

    def __init__(self, file: BufferedReader, name: str) -> None:
        self._file = file
        self._name = name
        self._end = -1  # of the only scan
        self._stops: list[int] = []  # where reading is noticed: at the last byte, and within what fills up
        self._held = self._begun = False
        self.short = False  # whether the decoder asked for more than there is, though the end mark is
        self._passed = 0
        marks = _Markers(file, name)
        if marks.read() and marks.last >= 0:
            self._end = marks.end
            filled = marks.end - marks.last > LEFT + TAKEN
            self._stops = [marks.last, *((marks.last + TAKEN, marks.end - LEFT) if filled else ())]

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def hold(self) -> None:
        """From now on the decoder reads the pixels."""
        self._held = bool(self._stops)

    def settle(self) -> None:
        """After the decoding. Raises ImageError: it did not take all that is there, or some of what fills up.

        A picture ends where the filling begins, or where it ends if the filling is pixels of one colour.
        """
        name = self._name
        if self._begun and not self._passed:
            raise ImageError(f"{name} is damaged (its data go on after the last pixel)")
        if self._begun and 1 < self._passed < len(self._stops):
            raise ImageError(f"{name} is damaged (its pixels end in a hole)")

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As of any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell()

    def read(self, count: int = -1, /) -> bytes:
        """Up to `count` bytes, at times fewer."""
        if not self._held:
            return self._file.read(count)
        position, self._begun = self._file.tell(), True
        self._passed = sum(position >= stop for stop in self._stops)
        if self._passed < len(self._stops):
            left = self._stops[self._passed] - position
            return self._file.read(left if count < 0 else min(count, left))
        self.short = position >= self._end
        return b"" if self.short else self._file.read(self._end - position) + AHEAD


class _Markers:
    """The markers of a JPEG in their order, up to its end mark."""

    def __init__(self, file: BufferedReader, name: str) -> None:
        file.seek(0)
        self._file, self._name = file, name
        self._data = bytearray()
        self.last = self.end = -1
        self._frame = 0
        self._size = (0, 0)
        self._parts: dict[int, tuple[int, int]] = {}  # component -> its samples across and down
        self._bits: dict[int, list[int]] = {}  # component -> the lowest bit known of each coefficient
        self._interval = self._scans = 0

    def read(self) -> bool:
        """Read to the end mark; false without a frame, which the decoder will report."""
        at = 2
        while True:
            at = self._search(rb"\xff[^\0\xff]", at)
            if at < 0:
                if self._frame:
                    self._refuse(CUT)
                return False
            mark = self._data[at + 1]
            if mark == 0xD9:
                break
            if self.last >= 0 and mark not in (0xDC, 0xFE, *range(0xE0, 0xF0)):
                self._damaged(f"marker {mark:02X} after its picture")
            at += 2
            if mark == 0x01 or 0xD0 <= mark <= 0xD8:
                if self._scans and mark != 0x01:
                    self._damaged(f"marker {mark:02X} in its data")
                continue
            self._reach(at + 2)
            length = int.from_bytes(self._data[at : at + 2], "big")
            self._reach(at + length)
            body = bytes(self._data[at + 2 : at + length])
            at += max(2, length)
            if mark in JPEG_STRANGE or mark in JPEG_FRAMES:
                self._read_frame(mark, body)
            elif mark == 0xDD and len(body) >= 2:
                self._interval = int.from_bytes(body[:2], "big")
            elif mark == 0xDA:
                if self._frame == 0:
                    return False
                at = self._read_scan(body, at)
        self._check_parts()
        return bool(self._frame)

    def _damaged(self, said: str) -> NoReturn:
        self._refuse(f"is damaged ({said})")

    def _refuse(self, said: str) -> NoReturn:
        name = self._name
        raise ImageError(f"{name} {said}")

    def _reach(self, end: int) -> None:
        while len(self._data) < end:
            block = self._file.read(BLOCK)
            if not block:
                return
            self._data += block

    def _search(self, pattern: bytes, start: int) -> int:
        """Where the pattern of two bytes is next, -1 where it is not."""
        while True:
            match = re.compile(pattern, re.DOTALL).search(self._data, start)
            if match:
                return match.start()
            start = max(start, len(self._data) - 1)
            self._reach(len(self._data) + 1)
            if start >= len(self._data) - 1:
                return -1

    def _read_frame(self, mark: int, body: bytes) -> None:
        strange = JPEG_STRANGE.get(mark)
        bits = body[0] if body else 8
        if strange is None and bits != 8:
            strange = f"a JPEG of {bits} bits"
        if strange:
            self._refuse(f"is {strange}, which cannot be decoded: convert it to PNG")
        if self._frame or len(body) < 6 or len(body) < 6 + 3 * body[5]:
            self._damaged("its header does not fit")
        self._frame = mark
        self._size = (int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"))
        for at in range(6, 6 + 3 * body[5], 3):
            self._parts[body[at]] = (body[at + 1] >> 4 or 1, body[at + 1] & 15 or 1)
        self._bits = {part: [99] * 64 for part in self._parts}

    def _read_scan(self, body: bytes, start: int) -> int:
        """Note what the scan holds; returns where the next marker is."""
        count = body[0] if body else 0
        parts = list(body[1 : 1 + 2 * count : 2])
        if len(body) < 4 + 2 * count or any(part not in self._parts for part in parts):
            self._damaged("the header of a scan does not fit")
        first, last, low = body[-3], body[-2], body[-1] & 15
        progressive = self._frame in (0xC2, 0xCA)
        for part in parts:
            for at in range(first, min(last, 63) + 1) if progressive else range(64):
                self._bits[part][at] = low if progressive else 0
        end = self._search(rb"\xff[^\0\xd0-\xd7\xff]" if self._interval else rb"\xff[^\0\xff]", start)
        if end < 0:
            self._refuse(CUT)
        self._scans += 1
        past = self._check_restarts(parts, start, end)
        if self._frame in (0xC0, 0xC1) and len(parts) == len(self._parts):
            # Filling before the mark is the custom of some cameras and of encoders in hardware.
            first = max(start, past - FILLING)
            kept = len(bytes(self._data[first:past]).rstrip(b"\0\xff"))
            self.last, self.end = first + kept - 1 if kept else max(start, past - LEFT), past
        else:
            self._check_holes(start, end)
        return end

    def _check_restarts(self, parts: Sequence[int], start: int, end: int) -> int:
        """Refuse restart markers that are missing or not in order; returns where the picture's data end.

        Scanners and encoders in hardware write a marker, or whole rows, more than the header says.
        """
        if not self._interval or self._frame not in JPEG_FRAMES[:3]:
            return end
        wide, high = (max(size[axis] for size in self._parts.values()) for axis in (0, 1))
        across, down = wide * 8, high * 8
        width, height = self._size
        if len(parts) == 1:
            own = self._parts[parts[0]]
            width, height = -(-width * own[0] // wide), -(-height * own[1] // high)
            across = down = 8
        units = -(-width // across) * -(-height // down)
        markers = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", self._data[start:end])]
        numbers = bytes(self._data[start + marker + 1] & 7 for marker in markers)
        due = max(0, -(-units // self._interval) - 1)
        if len(numbers) < due or any(number != k % 8 for k, number in enumerate(numbers)):
            self._damaged("its restart markers are not in order")
        return start + markers[due] if len(markers) > due else end

    def _check_holes(self, start: int, end: int) -> None:
        """Refuse whole disk blocks of zeros, as a download leaves them that was not filled."""
        for hole in re.finditer(rb"\0{512,}", self._data[start:end]):
            if (start + hole.start()) % 512 == 0 and (start + hole.end()) % 512 == 0:
                self._damaged(f"{len(hole[0])} zero bytes in its data")

    def _check_parts(self) -> None:
        if any(any(low) for low in self._bits.values()):
            self._refuse("is cut off: parts of the picture are missing")
