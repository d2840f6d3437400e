"""Columns as Arrow keeps them: the four forms of a table's column, and functions of these.

Every cell is text. It is kept in the smallest form that gives this text back letter for letter: whole numbers
(only where each is written in the one plain way), codes into a dictionary where values repeat, plain text
otherwise. Floating point stays what it is, and comes from data frames only. Null is a missing cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from tenfold.data.tables.cells import is_number, whole_number
from tenfold.values import cell_text

# Arrow makes its functions as it loads, so a type checker cannot see them.
pc: Any = pyarrow.compute

#: An Arrow column in one of the four forms, in one piece or several.
Column: TypeAlias = pa.ChunkedArray

CODED = pa.dictionary(pa.int32(), pa.string())
#: Whole numbers that floating point holds exactly.
_EXACT = 2.0**53
_EXACT_SINGLE = 2.0**24
#: Whole numbers within so wide a range, or within twice as many as there are rows, are codes as they are.
_SPAN = 1 << 20
_STEP = 1 << 18
#: Texts that are numbered at once by a thread: at least so many, and at most so many bytes.
_PART, _PART_BYTES = 1 << 20, 1 << 30


def is_floating(column: Column) -> bool:
    """Is the column floating point, as only data frames have it?"""
    return pa.types.is_floating(column.type)


def inexact(column: Column) -> NDArray[np.int64]:
    """Rows of a floating-point column whose numbers are so large that digits are lost."""
    limit = pa.scalar(_exact(column.type), column.type)
    return np.flatnonzero(np.asarray(pc.fill_null(pc.greater_equal(pc.abs(column), limit), False)))


def coarseness(column: Column) -> float:
    """How far apart the largest numbers of a column are at least; 0 where it is not floating point."""
    if not is_floating(column) or column.null_count == len(column):
        return 0.0
    low, high = (value.as_py() for value in pc.min_max(column).values())
    largest = column.type.to_pandas_dtype()(max(abs(low), abs(high)))
    return float(np.spacing(largest)) if np.isfinite(largest) else 0.0


def _exact(kind: pa.DataType) -> float:
    return _EXACT_SINGLE if pa.types.is_float32(kind) else _EXACT


def to_column(values: Iterable[object]) -> Column:
    """Any cells as an Arrow column; cells of mixed types one by one, as text."""
    values = list(values) if iter(values) is values else values  # an iterator can be read once only
    try:
        column = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        void = ("NAType", "NaTType")  # missing values of pandas
        texts = ["" if type(value).__name__ in void else cell_text(value) for value in values]
        column = pa.array(texts, pa.string())
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def keep_column(column: Column) -> Column:
    """Any Arrow column in one of the four forms; pa.ArrowInvalid if its cells are not text or numbers."""
    kind, types = column.type, pa.types
    if types.is_dictionary(kind):
        # Not every kind of dictionary can be cast as a whole, but its values can.
        values = [keep_column(pa.chunked_array([piece.dictionary])) for piece in column.chunks]
        pieces = zip(values, column.chunks, strict=True)
        return pa.chunked_array([texts.combine_chunks().take(piece.indices) for texts, piece in pieces])
    if types.is_null(kind):
        return pa.chunked_array([pa.nulls(len(column), pa.string())])
    if types.is_boolean(kind):
        return pc.if_else(column, "True", "False")
    if types.is_float16(kind):  # for which Arrow has no arithmetic
        return keep_column(pa.chunked_array([pa.array(_shortest(column).astype(np.float32))]))
    if types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        # Whole numbers become floating point in a data frame as soon as one of them is missing.
        whole = all(_is_whole(piece) for piece in column.chunks)
        return column.cast(pa.int64()) if whole and column.null_count < len(column) else column
    if types.is_uint64(kind) and (pc.max(column).as_py() or 0) >= 1 << 63:
        return column.cast(pa.string())
    if types.is_integer(kind):
        return column.cast(pa.int64() if kind.bit_width > 32 or types.is_uint32(kind) else pa.int32())
    if types.is_nested(kind) or types.is_duration(kind) or types.is_interval(kind):
        shown = str(kind) if len(str(kind)) <= 60 else f"{str(kind)[:60]}..."
        raise pa.ArrowInvalid(f"{shown} is not text, a number or a time")
    return column.cast(pa.string())


def _is_whole(piece: pa.Array) -> bool:
    """Are all numbers of a floating-point array whole, and small enough to be exact?"""
    return all(
        pc.all(pc.and_(pc.equal(pc.floor(part), part), pc.less(pc.abs(part), _exact(piece.type)))).as_py()
        in (True, None)
        for part in (piece.slice(start, _STEP) for start in range(0, len(piece), _STEP))
    )


def unify_codes(column: Column) -> Column:
    """Codes in one piece with one dictionary; other columns stay in the pieces they came in."""
    if not pa.types.is_dictionary(column.type):
        return column
    return pa.chunked_array([column.unify_dictionaries().combine_chunks()])


def count_letters(column: Column) -> int:
    """Bytes of all cells as text."""
    if pa.types.is_string(column.type):
        return pc.sum(pc.binary_length(column)).as_py() or 0
    if pa.types.is_dictionary(column.type):
        total = 0
        for piece in column.chunks:
            lengths = np.append(np.asarray(pc.binary_length(piece.dictionary)), 0)
            codes = piece.indices.fill_null(len(lengths) - 1).to_numpy()
            total += int(np.bincount(codes, minlength=len(lengths)) @ lengths)
        return total
    total = 0
    for piece in column.chunks:
        values = piece.fill_null(0).to_numpy()
        if not len(values):
            continue
        low, high = int(values.min()), int(values.max())
        if low < 0:
            total += int(np.count_nonzero(values < 0))
            values = np.abs(values.astype(np.int64))
            low, high = 0, max(high, -low)
        total += len(values) - piece.null_count
        power = 10
        while power <= high:
            total += len(values) if power <= low else int(np.count_nonzero(values >= power))
            power *= 10
    return total


def trim_column(column: Column) -> Column:
    """Strip outer blanks; cells that are empty then are missing."""
    if pa.types.is_dictionary(column.type):
        pieces = [_recode(piece, _trim(piece.dictionary)) for piece in column.chunks]
        return unify_codes(pa.chunked_array(pieces, column.type))
    if pa.types.is_string(column.type):
        return pa.chunked_array(map(_trim, column.chunks), pa.string())
    return column


def _trim(texts: pa.Array) -> pa.Array:
    letters = _letters_of(texts)
    if len(letters) and (letters.min() <= 32 or letters.max() >= 128):  # few columns have blanks of any kind
        texts = pc.utf8_trim_whitespace(texts)
    if pc.min(pc.binary_length(texts)).as_py() == 0:
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    return texts


def _recode(piece: pa.DictionaryArray, texts: pa.Array) -> pa.DictionaryArray:
    """The same codes over other texts, some of which may now be equal or null."""
    if texts is piece.dictionary or texts.equals(piece.dictionary):
        return piece
    coded = texts.dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices.take(piece.indices), coded.dictionary)


def drop_words(column: Column, words: Sequence[str]) -> Column:
    """The column with these words missing."""
    if pa.types.is_integer(column.type):
        # A whole number has a single spelling, so other words cannot match.
        values = [int(word) for word in words if whole_number(word)]
        gone = pc.is_in(column, pa.array(values, pa.int64()).cast(column.type, safe=False))
    elif pa.types.is_dictionary(column.type):
        void, gone = pa.scalar(None, pa.string()), pa.array(words, pa.string())
        pieces = [
            _recode(piece, pc.if_else(pc.is_in(piece.dictionary, gone), void, piece.dictionary))
            for piece in column.chunks
        ]
        return unify_codes(pa.chunked_array(pieces, column.type))
    elif is_floating(column):
        values = [float(word) for word in words if is_number(word)]
        gone = pc.is_in(column.cast(pa.float64()), pa.array(values, pa.float64()))
    else:
        gone = pc.is_in(column, pa.array(words, pa.string()))
    return pc.if_else(gone, pa.scalar(None, column.type), column) if pc.any(gone).as_py() else column


def _letters_of(texts: pa.Array) -> NDArray[np.uint8]:
    """The bytes of all texts, one after another."""
    _, offsets, letters = texts.buffers()
    if letters is None or not len(texts):
        return np.empty(0, np.uint8)
    bounds = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
    return np.frombuffer(letters, np.uint8)[bounds[0] : bounds[-1]]


def _text_pieces(column: Column) -> list[pa.Array]:
    """The texts of a column in pieces, those of codes once; nothing for numbers."""
    pieces = [chunk.dictionary if pa.types.is_dictionary(column.type) else chunk for chunk in column.chunks]
    return [piece for piece in pieces if pa.types.is_string(piece.type)]


def rows_where(column: Column, test: Callable[[pa.Array], pa.Array]) -> NDArray[np.bool_]:
    """(rows,) whether the text passes an Arrow test, which sees the texts of codes once; false if missing."""
    parts = [np.zeros(0, np.bool_)]
    for piece in column.chunks:
        coded = pa.types.is_dictionary(column.type)
        passed = np.asarray(pc.fill_null(test(piece.dictionary if coded else piece), False))
        if coded:
            passed = np.append(passed, False)[piece.indices.fill_null(len(passed)).to_numpy()]
        parts.append(passed)
    return np.concatenate(parts)


def letter_span(column: Column) -> tuple[int, int]:
    """The smallest and the largest byte of all texts; 255 and 0 without any."""
    letters = [text for text in map(_letters_of, _text_pieces(column)) if len(text)]
    return min((int(text.min()) for text in letters), default=255), max(
        (int(text.max()) for text in letters), default=0
    )


def holds_quotes(column: Column) -> bool:
    """Do the texts hold double quotes, or zero bytes?"""
    pieces = map(_letters_of, _text_pieces(column))
    # The smallest byte comes first: hardly any column has bytes so small.
    return any(len(text) and text.min() <= 34 and ((text == 34) | (text == 0)).any() for text in pieces)


def is_padded(column: Column) -> bool:
    """Does a text begin with a zero before another digit?"""
    pieces = _text_pieces(column)
    return any(pc.any(pc.match_substring_regex(piece, r"^[+-]?0[0-9]")).as_py() for piece in pieces)


def comma_cells(column: Column) -> list[str]:
    """The texts that hold a comma, some thousand at most."""
    texts: list[str] = []
    for piece in _text_pieces(column):
        letters = _letters_of(piece)
        if len(texts) < 1000 and len(letters) and letters.min() <= 44 and (letters == 44).any():
            texts += piece.filter(pc.match_substring(piece, ",")).slice(0, 1000).to_pylist()
    return texts


def cast_numbers(column: Column) -> NDArray[np.float64] | None:
    """The cells as numbers by Arrow's fast cast, NaN where missing; None if a cell is not a number."""
    try:
        if not pa.types.is_dictionary(column.type):
            return _floats(column)
        parts = [np.empty(0)]
        for piece in column.chunks:
            values = np.append(_floats(piece.dictionary), np.nan)
            parts.append(values[piece.indices.fill_null(len(values) - 1).to_numpy()])
        return np.concatenate(parts)
    except pa.ArrowInvalid:
        return None


def _floats(column: Column | pa.Array) -> NDArray[np.float64]:
    if pa.types.is_float32(column.type):
        return _shortest(column)
    cast = pc.cast(column, pa.float64(), safe=not pa.types.is_integer(column.type))
    return np.asarray(cast, np.float64)


def _shortest(column: Column) -> NDArray[np.float64]:
    """Numbers of single or half precision as they are written: a float32 of 4.9 is 4.9, not 4.900000095."""
    parts = [np.empty(0)]
    for piece in column.chunks:
        values = piece.to_numpy(zero_copy_only=False)
        for start in range(0, len(values), _STEP):
            # Few columns have many different numbers.
            own, place = np.unique(values[start : start + _STEP], return_inverse=True)
            # NumPy writes the shortest decimal that is this number in its own precision.
            parts.append(own.astype(str).astype(np.float64)[place.reshape(-1)])
    return np.concatenate(parts)


def code_column(column: Column) -> tuple[NDArray[np.uint32], NDArray[np.object_]]:
    """Codes, and the different texts that they number in the order of their first row; missing is ""."""
    if pa.types.is_string(column.type):
        return _code_texts(column)
    raw, size, spell = _raw_codes(column)
    order = _first_seen(raw, size)
    lookup = np.zeros(size, np.uint32)
    lookup[order] = np.arange(len(order), dtype=np.uint32)
    texts = np.empty(len(order), object)
    texts[:] = spell(order)
    return lookup[raw], texts


def _code_texts(column: Column) -> tuple[NDArray[np.uint32], NDArray[np.object_]]:
    """As `code_column`, of texts: parts of the column at once, each numbered in the order of its rows."""
    parts = _parts(column)

    def encode(part: list[pa.Array]) -> pa.DictionaryArray:
        return pa.concat_arrays(part).dictionary_encode()

    if len(parts) < 2:  # a few rows are done before a thread has started
        coded = [encode(part) for part in parts]
    else:
        with ThreadPoolExecutor(min(len(parts), pa.cpu_count())) as pool:
            coded = list(pool.map(encode, parts))
    texts, codes = pa.array([], pa.string()), [np.zeros(0, np.uint32)]
    for part in coded:
        place = pc.index_in(part.dictionary, value_set=texts)
        new = np.asarray(place.is_null())
        number = np.where(new, len(texts) + np.cumsum(new) - 1, place.fill_null(0).to_numpy())
        texts = pa.concat_arrays([texts, part.dictionary.filter(pa.array(new))])
        own = part.indices.fill_null(0).to_numpy() if len(number) else np.zeros(len(part), np.int32)
        codes.append(number.astype(np.uint32)[own] if len(number) else own.astype(np.uint32))
    raw = np.concatenate(codes)
    words = [text.strip() for text in texts.to_pylist()]
    if column.null_count:
        missing = column.is_null().to_numpy()
        first = int(missing.argmax())
        # As many texts as the rows before have come before it.
        rank = int(raw[:first].max()) + 1 if first else 0
        raw[raw >= rank] += 1
        raw[missing] = rank
        words.insert(rank, "")
    names = np.empty(len(words), object)
    names[:] = words
    return raw, names


def _parts(column: Column) -> list[list[pa.Array]]:
    """The pieces of a column in parts of about a million texts, of which none is too long for one array."""
    parts: list[list[pa.Array]] = []
    rows = size = 0
    share = max(_PART, -(-len(column) // pa.cpu_count()))
    for piece in column.chunks:
        if not parts or rows + len(piece) > share or size + piece.nbytes > _PART_BYTES:
            parts.append([])
            rows = size = 0
        parts[-1].append(piece)
        rows, size = rows + len(piece), size + piece.nbytes
    return parts


def _raw_codes(column: Column) -> tuple[NDArray[np.integer], int, Callable[[NDArray[np.int64]], list[str]]]:
    """Codes in any order, the size that they lie below, and the function that spells them."""
    if pa.types.is_integer(column.type) and len(column) > column.null_count:
        low, high = (value.as_py() for value in pc.min_max(column).values())
        span = high - low + 1
        if span <= max(_SPAN, 2 * len(column)):
            raw = np.empty(len(column), np.int32 if span < 1 << 31 else np.int64)
            begin = 0
            for piece in column.chunks:
                part = raw[begin : begin + len(piece)]
                np.subtract(piece.fill_null(low).to_numpy(), low, out=part, casting="unsafe")
                if piece.null_count:
                    part[np.asarray(piece.is_null())] = span
                begin += len(piece)

            def spell_number(order: NDArray[np.int64]) -> list[str]:
                return ["" if code == span else str(code + low) for code in order.tolist()]

            return raw, span + 1, spell_number
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = unify_codes(column)
    piece = column.chunk(0)
    values = piece.dictionary.to_numpy(zero_copy_only=False)
    texts = [*map(cell_text, values), ""]
    # Both a null in the dictionary and a null among the codes are the missing cell.
    codes = piece.indices.fill_null(len(values)).to_numpy()
    if piece.dictionary.null_count:
        codes = np.where(
            np.asarray(piece.dictionary.is_null())[np.minimum(codes, len(values) - 1)], len(values), codes
        )
    return codes, len(texts), lambda order: [texts[code] for code in order]


def _first_seen(raw: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """The codes that occur, in the order of their first row."""
    first = np.full(size, len(raw), np.int64)
    for begin in range(0, len(raw), _STEP):
        piece = raw[begin : begin + _STEP]
        new = np.flatnonzero(first[piece] == len(raw))
        # Written from the end, the first row of each code is written last, and stays.
        first[piece[new[::-1]]] = new[::-1] + begin
    seen = np.flatnonzero(first < len(raw))
    return seen[np.argsort(first[seen])]
