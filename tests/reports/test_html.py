"""The report: one page, no text of which is taken for markup, that asks nothing of any network."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tenfold.errors import OutputError
from tenfold.reports.charts import point_chart
from tenfold.reports.html import Cell, Charts, Grid, Section, report_html, write_report

#: Names that would run, close, or change something if they were put in as they are.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"onmouseover="alert(2)',
    "' onclick='alert(3)",
    "</script><script>alert(4)</script>",
    "<script>1</script>",
    "{{ 7 * 7 }}{% raw %}",
    "--><!--",
    "</title></style>",
    "Fish &lt;&amp; Chips",
)


class Reader(HTMLParser):
    """Texts by tag, all tags with their attributes, and no text of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style") and data.strip():
            self.texts.append(data.strip())


def hostile_page() -> str:
    sections = [
        Section(bad, bad, (Grid(("", bad), [[bad, Cell(bad, heat=0.5)], [bad, Cell(bad)]], title=bad),))
        for bad in HOSTILE
    ]
    place = np.arange(2.0 * len(HOSTILE)).reshape(-1, 2)
    chart = point_chart(place, HOSTILE, title=HOSTILE[0], axes=(HOSTILE[0], HOSTILE[1]))
    return report_html(HOSTILE[0], [*sections, Section("map", "", (Charts([chart]),))], lead=HOSTILE[1])


def test_every_outside_text_is_shown_letter_by_letter() -> None:
    read = Reader(hostile_page())
    for bad in HOSTILE:
        # Contents, heading, paragraph, caption, column, two rows, two cells.
        assert read.texts.count(bad) >= 9, bad
    assert HOSTILE[0] in read.texts[:2], "the title"


def test_no_outside_text_becomes_a_tag_or_an_attribute() -> None:
    page = hostile_page()
    read = Reader(page)
    assert not any(tag == "img" for tag, _ in read.tags)
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    chart = point_chart(np.eye(2), ["a", "b"], title="t", axes=("x", "y"))
    plain = Reader(report_html("t", [Section("s", "x", (Charts([chart]),))]))
    scripts = [tag for tag, _ in read.tags].count("script")
    assert scripts == [tag for tag, _ in plain.tags].count("script")
    for bad in HOSTILE[:2] + HOSTILE[3:5]:
        assert bad not in page


def test_the_page_asks_nothing_of_any_network_and_fits_a_phone_and_the_dark() -> None:
    read = Reader(hostile_page())
    for tag, attributes in read.tags:
        assert not {"src", "action", "data"} & set(attributes), (tag, attributes)
        assert (attributes.get("href") or "#")[0] == "#", (tag, attributes)  # the contents
    metas = [attributes for tag, attributes in read.tags if tag == "meta"]
    policy = next(one["content"] for one in metas if one.get("http-equiv") == "Content-Security-Policy")
    assert policy and "default-src 'none'" in policy and "http" not in policy
    assert any("width=device-width" in (one.get("content") or "") for one in metas)
    assert "prefers-color-scheme: dark" in hostile_page()


def test_the_library_of_charts_is_in_a_page_once_and_only_where_there_are_charts() -> None:
    chart = point_chart(np.eye(2), ["a", "b"], title="t", axes=("x", "y"))
    page = report_html("t", [Section("", "", (Charts([chart, chart]),))])
    assert page.count("<canvas") == 2 and page.count("* Chart.js v") == 1 and "<h2" not in page
    assert 200_000 < len(page) < 300_000 and "sourceMappingURL" not in page
    assert len(report_html("t", [Section("s", "", (Charts([]),))])) < 20_000


def test_numbers_stand_to_the_right_under_their_headings() -> None:
    page = report_html("t", [Section("s", "", (Grid(("name", "score"), [["a", Cell("1.5", heat=0.25)]]),))])
    assert re.search(r'<th scope="col"[ ]class="number">score</th>', page)
    assert '<td class="number heat" style="--heat: 0.250">1.5</td>' in page
    assert '<th scope="row">a</th>' in page


def test_a_page_is_written_whole_and_half_characters_do_no_harm(tmp_path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(path, "half \ud83d", [Section("s", "t")])
    assert "half ?" in path.read_text("utf-8")
    with pytest.raises(OutputError):
        write_report(tmp_path, "t", [])
