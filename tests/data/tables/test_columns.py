"""The forms in which a column is kept all give the same answers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from tenfold.data.tables import columns
from tenfold.data.tables.columns import (
    CODED,
    cast_numbers,
    code_column,
    comma_cells,
    count_letters,
    drop_words,
    holds_quotes,
    keep_column,
    to_column,
    trim_column,
    unify_codes,
)

CELLS = ["30", "-7", None, "30", "1000000", "0", "-7"]


def forms() -> dict[str, pa.ChunkedArray]:
    whole = [None if cell is None else int(cell) for cell in CELLS]
    parts = [pa.array(CELLS[:3], pa.string()), pa.array([], pa.string()), pa.array(CELLS[3:])]
    coded = pa.chunked_array([part.dictionary_encode() for part in parts], CODED)
    return {
        "int32": pa.chunked_array([pa.array(whole, pa.int32())]),
        "int64": pa.chunked_array([pa.array([None if one is None else one * 10**12 for one in whole])]),
        "text": pa.chunked_array(parts),
        "slice": pa.chunked_array([pa.array(["x", *CELLS, "y"]).slice(1, len(CELLS))]),
        "coded": coded,
        "float": pa.chunked_array([pa.array([None if one is None else one / 2 for one in whole])]),
    }


@pytest.mark.parametrize("form", ["int32", "int64", "text", "slice", "coded", "float"])
def test_codes_numbers_and_letters_are_those_of_the_texts(form: str) -> None:
    column = forms()[form]
    scale = {"int64": 1e12, "float": 0.5}.get(form, 1)
    codes, texts = code_column(column)
    assert codes.tolist() == [0, 1, 2, 0, 3, 4, 1] and codes.dtype == np.uint32
    read = [np.nan if text == "" else float(text) / scale for text in texts[codes]]
    np.testing.assert_array_equal(read, [30, -7, np.nan, 30, 1e6, 0, -7])
    numbers = cast_numbers(column)
    assert numbers is not None
    np.testing.assert_array_equal(numbers / scale, read)
    if form != "float":
        assert count_letters(unify_codes(column)) == count_letters(column)
        assert count_letters(column) == sum(len(text) for text in texts[codes])


@pytest.mark.metamorphic("texts have the same codes in one piece, in many, and numbered in parts by threads")
@pytest.mark.parametrize("part", [1, 7, 1 << 20])
def test_codes_do_not_depend_on_pieces_and_parts(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_PART", part)
    monkeypatch.setattr(pa, "cpu_count", lambda: 3 if part > 1 else 1000)
    rng = np.random.default_rng(part)
    words = ["7", "07", "u1", "\u00e9", "e\u0301", "\u65e5\u672c", "-", "a b", None]
    for rows, chance in ((0, None), (1, None), (60, None), (60, [0.0] * 8 + [1.0])):
        cells = [words[k] for k in rng.choice(len(words), rows, p=chance)]
        cuts = [0, *sorted(rng.integers(0, rows + 1, 5).tolist()), rows]
        pieces = [pa.array(cells[a:b], pa.string()) for a, b in pairwise(cuts)]
        codes, texts = code_column(pa.chunked_array(pieces, pa.string()))
        number: dict[str, int] = {}
        right = [number.setdefault(cell or "", len(number)) for cell in cells]
        assert codes.tolist() == right and texts.tolist() == [*number] and codes.dtype == np.uint32


@pytest.mark.parametrize("value", [0, 9, 10, 99, 100, -1, -10, 10**9, 10**17, -(10**17), 2**31 - 1, -(2**31)])
def test_the_letters_of_one_number_are_counted(value: int) -> None:
    column = pa.chunked_array([pa.array([value, value, None], pa.int64())])
    assert count_letters(column) == 2 * len(str(value))
    assert count_letters(pa.chunked_array([pa.array([value, 5, -3], pa.int64())])) == len(str(value)) + 3


def test_blanks_go_and_what_they_leave_is_one() -> None:
    cells = [" cat", "cat ", "cat", "", " ", "\u00a0dog\t", "a b"]
    right = ["cat", "cat", "cat", None, None, "dog", "a b"]
    text = pa.chunked_array([pa.array(cells)])
    assert trim_column(text).to_pylist() == right
    coded = trim_column(pa.chunked_array([text.chunk(0).dictionary_encode().cast(CODED)]))
    assert coded.to_pylist() == right and coded.null_count == 2
    assert code_column(coded)[1].tolist() == ["cat", "", "dog", "a b"]


def test_words_are_dropped_from_every_form() -> None:
    words = ["30", "x", "1e6", "nan"]
    right = [None, "-7", None, None, "1000000", "0", "-7"]
    every = forms()
    for form in ("int32", "text", "coded"):
        dropped = drop_words(every[form], words)
        assert dropped.null_count == 3
        codes, texts = code_column(dropped)
        assert [text or None for text in texts[codes]] == right
    assert drop_words(every["float"], ["15"]).null_count == 3


def test_quotes_and_commas_are_found() -> None:
    for form in (pa.string(), CODED):
        with_quote = pa.chunked_array([pa.array(["a!", 'b"']).cast(form)])
        assert holds_quotes(with_quote) and comma_cells(with_quote) == []
        plain = pa.chunked_array([pa.array(["a!", "b#", "1,5", "2,5"]).cast(form)])
        assert not holds_quotes(plain) and comma_cells(plain) == ["1,5", "2,5"]
    assert holds_quotes(pa.chunked_array([pa.array(["a\0"])]))
    assert not holds_quotes(forms()["int32"])


def test_whole_numbers_in_floating_point_become_whole_again() -> None:
    kept = keep_column(pa.chunked_array([pa.array([1.0, float("nan"), 0.0])]))
    assert kept.type == pa.int64() and kept.to_pylist() == [1, None, 0]
    for cells in ([1.5, 2.0], [1e300, 1.0], [float("inf"), 1.0]):
        assert keep_column(pa.chunked_array([pa.array(cells)])).type == pa.float64()
    assert keep_column(pa.chunked_array([pa.array([None, None], pa.float32())])).null_count == 2
    for kind in (pa.list_(pa.int64()), pa.duration("s")):
        with pytest.raises(pa.ArrowInvalid, match="is not text, a number or a time"):
            keep_column(pa.chunked_array([pa.array([], kind)]))


def test_whole_numbers_of_few_bits_stay_small_and_others_keep_every_digit() -> None:
    for kind, large in (
        (pa.int8(), 127),
        (pa.uint16(), 65535),
        (pa.int32(), -(2**31)),
        (pa.uint32(), 2**32 - 1),
    ):
        kept = keep_column(pa.chunked_array([pa.array([large, None, 7], kind)]))
        assert kept.to_pylist() == [large, None, 7]
        assert kept.type == (pa.int64() if kind == pa.uint32() else pa.int32())


@pytest.mark.metamorphic("numbers of single precision are read as written, whether they repeat or not")
def test_single_precision_is_read_as_written() -> None:
    texts = ["4.9", "0.1", "-3.25", "1e+30", "4.9", "0.5", "inf"]
    cells = [np.float32(text) for text in texts]
    found = cast_numbers(pa.chunked_array([pa.array([*cells, None], pa.float32())]))
    assert found is not None and np.isnan(found[-1])
    assert found[:-1].tolist() == [float(text) for text in texts]


def test_cells_of_mixed_types_are_read_one_by_one() -> None:
    class NAType:
        pass

    assert to_column([1, "01", None, 2.0, NAType(), float("nan"), 10**30]).to_pylist() == [
        "1",
        "01",
        "",
        "2",
        "",
        "",
        str(10**30),
    ]
    assert to_column([1, None]).to_pylist() == [1, None]
