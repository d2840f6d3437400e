"""Times are read by one stated format for the whole column, or refused with example lines."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.data.tables.table import read_table
from tenfold.data.tables.times import format_time, parse_span, read_times
from tenfold.errors import RecipeError, TableError


def times(*cells, time_format=None):
    """The cells as seconds, and what was said."""
    table = read_table({"time": list(cells), "item": [str(n) for n in range(len(cells))]})
    seconds, notes = read_times(table, "time", time_format)
    return seconds.tolist(), " ".join(notes)


def test_seconds_and_finer_units_are_told_by_their_size():
    assert times("1614556800", "1612173600") == (
        [1614556800, 1612173600],
        "time is read as seconds since 1970",
    )
    for unit, factor in (("milliseconds", 1000), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        found, note = times(str(1614556800 * factor), str(1612173600 * factor), "0")
        assert found == [1614556800, 1612173600, 0] and unit in note
    assert times("1", "200", "97830")[0] == [1, 200, 97830]


def test_iso_dates_order_rightly():
    found, note = times(
        "2021-03-01", "2021-02-01T10:00:00Z", "2021-02-01 12:00:00+03:00", "2021-02-01T10:00:00.5"
    )
    assert found == [1614556800, 1612173600, 1612170000, 1612173600.5] and "ISO 8601" in note


def test_missing_times_stay_missing():
    found, _ = times("1614556800", "", "1612173600")
    assert np.isnan(found[1]) and found[2] == 1612173600
    found, _ = times("2021-03-01", "")
    assert np.isnan(found[1]) and found[0] == 1614556800


@pytest.mark.parametrize(
    ("cells", "lines"),
    [
        (("1614556800", "1614556801", "1614556800000"), ("row 1", "row 3")),
        (("1614556800000000000", "1614556800000000", "1614556800000"), ("row 1", "row 2", "row 3")),
        (("2021-03-01", "2021-02-01T10:00:00Z", "1614556800"), ("row 1", "row 3")),
        (("1614556800", "2021-03-01"), ("row 1", "row 2")),
    ],
)
def test_a_mixture_is_refused_with_a_line_of_each(cells, lines):
    with pytest.raises(TableError, match="the times mix") as error:
        times(*cells)
    assert all(line in str(error.value) for line in lines) and "--time-format" in str(error.value)


@pytest.mark.parametrize("cell", ["05112025", "20251105", "11052025", "20251105103000"])
def test_eight_digits_may_be_a_date(cell):
    with pytest.raises(TableError, match=f"cannot tell the format of '{cell}'"):
        times(cell, cell[:1] + cell[1:].replace("5", "6") if cell.startswith("2") else cell)


@pytest.mark.parametrize("cells", [("051125", "041125"), ("0097830",), ("202511051030", "202511050930")])
def test_digits_of_other_lengths_may_be_dates_too(cells):
    with pytest.raises(TableError, match=f"cannot tell the format of '{cells[0]}'"):
        times(*cells)


@pytest.mark.parametrize("cells", [("151125", "141125"), ("251105", "251231"), ("202511", "202601")])
def test_six_digits_may_be_a_date(cells):
    with pytest.raises(TableError, match="cannot tell the format"):
        times(*cells)
    assert times(*cells, time_format="seconds")[0] == [float(cell) for cell in cells]


def test_digits_that_are_no_date_are_seconds():
    assert times("100000", "970000")[0] == [100000, 970000]
    assert times("20251105", "97830")[0] == [20251105, 97830]
    assert times("881250949", "891717742")[0] == [881250949, 891717742]


def test_a_stated_format_is_obeyed():
    found, note = times("05112025", "04112025", time_format="%d%m%Y")
    assert found[0] - found[1] == 86400 and "%d%m%Y" in note
    assert times("05/11/2025", time_format="%m/%d/%Y")[0] < times("05/11/2025", time_format="%d/%m/%Y")[0]
    assert times("20251105", time_format="seconds")[0] == [20251105]
    assert times("1614556800000", "5", time_format="milliseconds")[0] == [1614556800, 0.005]
    assert times("20251105", time_format="iso")[0] == times("2025-11-05")[0]


def test_what_does_not_fit_is_listed():
    with pytest.raises(TableError) as error:
        times("05/11/2025", "06/11/2025")
    assert "row 1, column time: '05/11/2025' is not ISO 8601" in str(error.value)
    assert "and 1 more" in str(error.value)
    with pytest.raises(TableError, match="cannot tell the format of 'soon'"):
        times("2021-03-01", "soon")
    with pytest.raises(TableError, match="'31/31/2025'"):
        times("05/11/2025", "31/31/2025", time_format="%d/%m/%Y")
    with pytest.raises(TableError, match="'inf'"):
        times("5", "inf")
    with pytest.raises(RecipeError, match="did you mean 'seconds'"):
        times("5", time_format="second")


def test_a_file_is_named_by_line(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("user,time\na,1614556800\nb,1614556800000\n")
    with pytest.raises(
        TableError, match="ratings.csv, column time: the times mix seconds and milli"
    ) as error:
        read_times(read_table(path), "time")
    assert "line 2, column time: '1614556800'" in str(error.value) and "line 3" in str(error.value)


def test_a_moment_is_shown_in_utc():
    assert format_time(1300000100) == "2011-03-13 07:08:20"
    assert format_time(1e30) == "1e+30"


def test_times_in_the_future_are_pointed_out():
    found, note = times("1614556800", "32503680000", "1614556801")
    assert found[1] == 32503680000
    assert "1 of 3 times lies in the future, first at row 2 (3000-01-01 00:00:00)" in note
    assert "2 of 2 times lie in the future" in times("2999-05-01", "2999-06-01")[1]
    assert "future" not in times("1614556800", "1612173600")[1]


def test_stretches_of_time():
    spans = [parse_span(text) for text in ("90d", "12h", "1.5 w", "2Y", "30min", "5s")]
    assert spans == [90 * 86400, 43200, 1.5 * 7 * 86400, 2 * 365.25 * 86400, 1800, 5]
    for text in ("", "90", "d", "-3d", "0d", "3 moons"):
        with pytest.raises(RecipeError, match="not a stretch of time"):
            parse_span(text)
