"""The page's program: it puts texts into the page as texts, and only on a click."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from shown import needs_browser, opened
from tenfold.reports.html import (
    Cell,
    Clickable,
    Grid,
    Notes,
    Photo,
    Photos,
    Section,
    Shown,
    report_html,
    shortened,
    write_report,
)
from tenfold.reports.page import LIBRARY, POLICY, read_asset, read_library

BAD = "</script><img src=x onerror=alert(1)>&lt;"
DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060"
    "0000000500017a5eab7f0000000049454e44ae426082"
)


def sections() -> list[Section]:
    grid = Grid(("label", BAD), [[BAD, Cell("2", key="0:0", heat=0.5)]], title=BAD)
    click = Clickable(grid, ("row", BAD), {"0:0": [[BAD, "x"], ["b", BAD]]}, {"0:0": BAD}, hint="click")
    photos = Photos([Photo(BAD, None, [BAD]), Photo("b", DOT, ["fine"])], title=BAD)
    return [Section("s", BAD, (click, photos, Notes(BAD, [BAD])))]


def test_the_program_writes_texts_only_and_asks_nobody() -> None:
    for word in ("innerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "XMLHttp", "import("):
        assert word not in read_asset("page.js")
    style = read_asset("page.css")
    assert "default-src 'none'" in POLICY and "@import" not in style and "url(" not in style


def test_the_library_can_stand_in_a_page_and_its_licences_lie_beside_it() -> None:
    library, licences = read_library(), read_asset("LICENSES.txt")
    assert "</script" not in library and "eval(" not in library and "new Function" not in library
    assert all(name in licences for name in LIBRARY) and licences.count("MIT License") == 2


def test_data_of_lists_can_stand_in_a_page() -> None:
    page = report_html("t", sections())
    [data] = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data)["lists"]["0:0"][0][0] == BAD and "<" not in data
    assert BAD not in page
    assert "data:image/png;base64," in page and "no picture" in page
    assert "data-lists" not in report_html("t", [Section("s", "x")])


@needs_browser
def test_a_click_shows_the_rows_letter_by_letter(tmp_path: Path) -> None:
    write_report(tmp_path / "p.html", BAD, sections())
    with opened(tmp_path / "p.html", width=340) as (view, said):
        view.locator("button").click()
        cells = view.locator(".listed td")
        assert [cells.nth(place).inner_text() for place in (0, 3)] == [BAD, BAD]
        assert view.locator(".listed caption").inner_text() == BAD
        assert view.locator(".listed img").count() == 1  # the picture of row b
        assert view.title() == BAD and view.evaluate("document.documentElement.scrollWidth") <= 340
        assert not said


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_is_cut_off_and_a_long_name_is_told_when_it_is_touched(
    tmp_path: Path, dark: bool
) -> None:
    names = [f"Tomato___Yellow_Leaf_Curl_Virus_with_secondary_infection_stage_{one}" for one in range(2)]
    pairs = Grid(
        ("label", "answer", "rows", "rows right", "rows of the label"),
        [[names[0], names[1], Cell("12", key="0:1"), Cell("340"), Cell("1200")]], cut=24,
    )  # fmt: skip
    row = ["photo_000123_rotated_again.jpg", *names, "99.9%", "12.345"]
    heads = ("row", "label", "answer", "probability", "loss")
    write_report(tmp_path / "p.html", "t", [Section("s", "", (Clickable(pairs, heads, {"0:1": [row]}),))])
    with opened(tmp_path / "p.html", width=390, dark=dark) as (view, said):
        view.locator("button").click()
        for box in view.locator(".wide").all():
            assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
        assert view.locator(".listed td.number").all_inner_texts() == ["99.9%", "12.345"]
        for place, table in enumerate(view.locator("table").all()):
            cut = table.locator(".cut")
            texts = [one.replace("\n", "") for one in cut.all_inner_texts()]
            assert texts == [shortened(one, 24) for one in names] and len({*texts}) == 2
            cut.nth(1).click()
            assert view.locator("#tip").inner_text() == names[1], place
        assert not said


@needs_browser
def test_a_notebook_shows_a_page_in_a_frame_of_its_own(tmp_path: Path) -> None:
    shown = Shown("a page", report_html(BAD, sections()))
    assert "a page" in repr(shown) and ".save(" in repr(shown)
    shown.save(tmp_path / "own.html")
    assert (tmp_path / "own.html").read_text("utf-8") == shown.page
    (tmp_path / "book.html").write_text(f"<!doctype html><p>cell</p>{shown._repr_html_()}", encoding="utf-8")
    with opened(tmp_path / "book.html") as (view, said):
        frame = view.frame_locator("iframe")
        assert frame.locator("h1").inner_text() == BAD
        frame.locator("button").click()
        assert frame.locator(".listed td").first.inner_text() == BAD
        assert not said
