"""One HTML file that needs nothing else: no network, no other file. The only room of jinja2.

A report is made of sections, a section of parts: tables, charts, pictures. Every text is escaped where it
is put, and the page forbids itself (by a Content-Security-Policy) to load anything from anywhere. Its own
program puts texts into the page as texts only.
"""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from tenfold.errors import printable
from tenfold.files.atomic import replacing
from tenfold.reports.charts import Chart, json_in_page
from tenfold.reports.page import POLICY, read_asset, read_library


@dataclass(frozen=True)
class Cell:
    """A number, or a mark, in a table.

    heat: 0 to 1 colours the cell, the more the deeper; blue, or orange where `bad`.  small: a line below it.
    faint: slanted, for what is computed among what is given.
    key: of a `Clickable`, which list a click on the cell shows.
    """

    text: str
    heat: float | None = None
    bad: bool = False
    small: str = ""
    faint: bool = False
    strong: bool = False
    key: str = ""


@dataclass(frozen=True)
class Link:
    """A text in a table that leads to another file. href: a relative address, quoted."""

    text: str
    href: str


@dataclass(frozen=True)
class Grid:
    """A table; plain texts stand to the left, cells to the right. Rows are as wide as the headings.

    upright: headings stand on end, where there are many narrow columns.
    cut: letters up to which a heading or a text is shown whole; a longer text when it is pointed at.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell | Link | str]]
    title: str = ""
    upright: bool = False
    cut: int = 0


@dataclass(frozen=True)
class Charts:
    """Charts of `reports.charts`, beside each other where there is room."""

    charts: Sequence[Chart]


@dataclass(frozen=True)
class Photo:
    """A small picture (bytes of a PNG or JPEG file, or None where there is none), its name, lines about it.

    mark: ``right`` or ``wrong`` gives it an edge of that colour.
    """

    name: str
    png: bytes | None
    lines: Sequence[str]
    mark: str = ""

    @property
    def source(self) -> str:
        """The picture as a part of the page."""
        return picture_source(self.png or b"")


@dataclass(frozen=True)
class Photos:
    """Small pictures beside each other."""

    photos: Sequence[Photo]
    title: str = ""


@dataclass(frozen=True)
class Clickable:
    """A table that shows a list when a cell with a key is clicked.

    lists: key -> its rows, as wide as `headings`.  titles: key -> what the list is of.  hint: shown at first.
    photos: first cell of a row -> its picture, where there is one.
    """

    grid: Grid
    headings: Sequence[str]
    lists: Mapping[str, Sequence[Sequence[str]]]
    titles: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""
    photos: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """The lists as JSON that can stand in a page."""
        lists = {"headings": list(self.headings), "lists": dict(self.lists), "titles": dict(self.titles)}
        return json_in_page({**lists, "cut": self.grid.cut})


@dataclass(frozen=True)
class Notes:
    """Lines that are folded away until a click."""

    title: str
    lines: Sequence[str]


Part = Grid | Charts | Photos | Clickable | Notes


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, and what it is about.  folded: only its heading shows until a click."""

    title: str
    text: str
    parts: Sequence[Part] = ()
    folded: bool = False


@dataclass(frozen=True)
class Card:
    """A headline: what is measured, the figure in large letters, its unit, and lines below.

    share: 0 to 1, drawn as a bar; mark: that of the baseline, a stroke on it.
    """

    name: str
    big: str
    unit: str = ""
    lines: Sequence[str] = ()
    share: float | None = None
    mark: float | None = None


@dataclass(frozen=True)
class Page:
    """A title, the line below it, headlines, sections; and what could not be shown."""

    title: str
    lead: str
    sections: Sequence[Section]
    notes: Sequence[str] = ()
    cards: Sequence[Card] = ()


def page_html(page: Page) -> str:
    """The whole page. No text of it is taken for markup, whatever it holds."""
    from jinja2 import Environment, StrictUndefined

    # Autoescape in every template; a misspelled name is an error, not an empty text.
    parts = [part for section in page.sections for part in section.parts]
    drawn = any(isinstance(part, Charts) and part.charts for part in parts)
    shown = {photo.name for part in parts if isinstance(part, Photos) for photo in part.photos if photo.png}
    pictures = {
        row: picture_source(png)
        for part in parts if isinstance(part, Clickable)
        for row, png in part.photos.items() if row not in shown
    }  # fmt: skip
    world = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_text)
    return (
        world.from_string(read_asset("page.html"))
        .render(
            page=page,
            numeric=_numeric,
            shortened=shortened,
            pieces=_pieces,
            policy=POLICY,
            style=read_asset("page.css"),
            script=read_asset("page.js"),
            library=read_library() if drawn else "",
            drawn=drawn,
            pictures=json_in_page(pictures) if pictures else "",
            active=drawn or len(page.sections) > 2 or any(isinstance(part, Clickable) for part in parts),
        )
        .lstrip()
    )


def report_html(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """A page of a title and sections."""
    return page_html(Page(title, lead, sections))


def picture_source(data: bytes) -> str:
    """A picture, the bytes of a PNG or JPEG file, as a part of the page."""
    kind = "jpeg" if data[:2] == b"\xff\xd8" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


def _pieces(text: str) -> list[str]:
    """The text, cut where a line may end: after underscores, which names of classes are full of."""
    return re.split(r"(?<=_)(?=[^_])", text)


def _text(value: object) -> object:
    # What is markup already was made of escaped text.
    return printable(value) if type(value) is str else value


def write_page(path: str | os.PathLike[str], page: Page) -> None:
    """Write the page; what was there before is replaced whole or not at all."""
    # A name from a damaged file may hold half a character, which UTF-8 refuses.
    text = page_html(page).encode("utf-8", "replace")
    with replacing(path) as stream:
        stream.write(text)


def write_report(
    path: str | os.PathLike[str], title: str, sections: Sequence[Section], *, lead: str = ""
) -> None:
    """Write a page of a title and sections."""
    write_page(path, Page(title, lead, sections))


def shortened(text: str, most: int) -> str:
    """So many letters of a text: its beginning, and its end, by which long names differ as often."""
    end = int((most - 1) * 0.4)
    return text if len(text) <= most else f"{text[: most - 1 - end]}…{text[-end:]}"


def _numeric(grid: Grid) -> set[int]:
    """Return the columns of cells, whose headings are aligned to the right like their numbers."""
    return {index for row in grid.rows for index, cell in enumerate(row) if isinstance(cell, Cell)}


#: At the end of a page in a frame: it tells the notebook its height, whenever that changes.
TELLS_HEIGHT = """<script>(() => {
  const page = document.documentElement;
  const tell = () => parent.postMessage({tenfoldHeight: page.offsetHeight}, "*");
  tell();
  addEventListener("load", tell);  // an observer of a frame out of sight hears nothing
  new ResizeObserver(tell).observe(page);
})()</script>"""
#: What a page asks the operating system, as a page in a light notebook has it.
IN_LIGHT = {
    "(prefers-color-scheme: dark)": "(max-width: 0)",
    "color-scheme: light dark": "color-scheme: light",
    'content="light dark"': 'content="light"',
}
#: Beside the frame: it gives the frame that height, and turns the page dark where the notebook is.
FITS_FRAME = """(() => {
  let frame = document.getElementById("OWN");
  addEventListener("message", (event) => {
    const height = event.source === frame.contentWindow && Number(event.data.tenfoldHeight);
    if (height) frame.style.height = Math.ceil(height) + 2 + "px";
  });
  let shade = null;
  for (let node = frame; node && shade === null; node = node.parentElement) {
    const parts = (getComputedStyle(node).backgroundColor.match(/[\\d.]+/g) || []).map(Number);
    if (parts.length >= 3 && parts[3] !== 0) shade = (parts[0] + parts[1] + parts[2]) / 765;
  }
  if (shade === null || shade >= 0.4) return;
  const dark = frame.cloneNode();  // another page in the same frame may be laid out at no size at all
  dark.srcdoc = frame.srcdoc.replaceAll("(max-width: 0)", "(min-width: 0)")
    .replaceAll("color-scheme: light", "color-scheme: dark").replace('content="light"', 'content="dark"');
  frame.replaceWith(dark);
  frame = dark;
})()"""


@dataclass(frozen=True)
class Shown:
    """A page that a notebook shows as the value of a cell.

    words: its `repr`.  page: the whole HTML.  height: of its frame, in pixels, until the page tells its own.
    inline: HTML that stands in the notebook itself, without a frame.
    """

    words: str
    page: str
    height: int = 480
    inline: str = ""

    def _repr_html_(self) -> str:
        if self.inline:
            return self.inline
        # A frame of its own: neither the notebook's styles nor the page's reach into the other.
        own, page = f"tenfold-{uuid4().hex}", self.page + TELLS_HEIGHT
        for asked, answer in IN_LIGHT.items():
            page = page.replace(asked, answer)
        page, style = html.escape(page, quote=True), f"width:100%;height:{self.height}px;border:0"
        frame = f'<iframe id="{own}" srcdoc="{page}" style="{style}" sandbox="allow-scripts"></iframe>'
        return f"{frame}<script>{FITS_FRAME.replace('OWN', own)}</script>"

    def __repr__(self) -> str:
        return f"<{self.words}; a notebook shows it, and .save('page.html') writes it>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page as a file of its own."""
        with replacing(path) as stream:
            stream.write(self.page.encode("utf-8", "replace"))
