"""One HTML file that needs nothing else: no network, no other file. The only room of jinja2.

A report is made of sections, a section of parts: a `Grid` or a `Picture`. Every text is escaped where it is
put, and the page forbids itself (by a Content-Security-Policy) to load anything from anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.out.figures import figure_html
from tenfold.out.files import replacing

__all__ = ["Cell", "Grid", "Picture", "Section", "report_html", "write_report"]


@dataclass(frozen=True)
class Cell:
    """A number, or a mark, in a table.

    heat: 0 to 1 colours the cell.  faint: slanted, for what is computed among what is given.
    """

    text: str
    heat: float | None = None
    faint: bool = False
    strong: bool = False


@dataclass(frozen=True)
class Grid:
    """A table; plain texts stand to the left, cells to the right. Rows are as wide as the headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure of `out.figures`, whose own texts its maker has escaped (see `figures.escaped`)."""

    figure: Any


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, and what it is about."""

    title: str
    text: str
    parts: Sequence[Grid | Picture] = ()


#: What the page may do: its own styles and scripts, pictures made in place, and nothing from outside.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d8dde3; --soft: #57606a;
  --low: #f7d9c4; --high: #b9dcf2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --paper: #14171a; --line: #343a41; --soft: #9aa4af;
    --low: #6b3a1e; --high: #1d4f73; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { max-width: 44rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: left; font-weight: 400;
  overflow-wrap: normal; }
thead th { color: var(--soft); vertical-align: bottom; }
th[scope=row] { position: sticky; left: 0; background: var(--paper); min-width: 7rem; max-width: 16rem; }
.number { text-align: right; white-space: nowrap; }
.heat { background: color-mix(in srgb, var(--high) calc(var(--heat) * 100%), var(--low)); }
.faint { font-style: italic; opacity: .75; } .strong { font-weight: 700; }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<h1>{{ title }}</h1>
{% if lead %}<p class="soft">{{ lead }}</p>{% endif %}
{% for section in sections %}
<section>
<h2>{{ section.title }}</h2>
<p>{{ section.text }}</p>
{% for part in section.parts %}{% if part.figure is defined %}
<div class="picture">{{ figures[part.figure | id] | safe }}</div>
{% else %}
<div class="wide"><table>
{% if part.title %}<caption>{{ part.title }}</caption>{% endif %}
<thead><tr>{% for text in part.headings %}<th scope="col"{% if loop.index0 in numeric(part) %} class="number"
{%- endif %}>{{ text }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in part.rows %}<tr>{% for cell in row %}{% if cell is string %}
<{{ 'th scope="row"' | safe if loop.first else 'td' }}>{{ cell }}</{{ 'th' if loop.first else 'td' }}>
{%- else %}
<td class="number{{ ' heat' if cell.heat is not none }}{{ ' faint' if cell.faint }}
{{- ' strong' if cell.strong }}"
{%- if cell.heat is not none %} style="--heat: {{ '%.3f' | format(cell.heat) }}"{% endif %}>
{{- cell.text }}</td>
{%- endif %}{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endif %}{% endfor %}</section>
{% endfor %}
</body>
</html>
"""


def report_html(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The whole page. No text of it is taken for markup, whatever it holds."""
    from jinja2 import Environment, StrictUndefined

    # Autoescape whatever the template is called; a misspelled name is an error and not an empty place.
    world = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    world.filters["id"] = id
    pictures = [part.figure for one in sections for part in one.parts if isinstance(part, Picture)]
    # plotly's own program is in the page once, before the first picture.
    drawn = {id(one): figure_html(one, program=place == 0) for place, one in enumerate(pictures)}
    return world.from_string(PAGE).render(
        title=title,
        lead=lead,
        sections=sections,
        figures=drawn,
        numeric=_numeric,
        policy=POLICY,
        style=STYLE,
    )


def write_report(
    path: str | os.PathLike[str], title: str, sections: Sequence[Section], *, lead: str = ""
) -> None:
    """Write the page; what was there before is replaced whole or not at all."""
    # A name from a damaged file may hold half a character, which UTF-8 refuses.
    page = report_html(title, sections, lead=lead).encode("utf-8", "replace")
    with replacing(path) as stream:
        stream.write(page)


def _numeric(grid: Grid) -> set[int]:
    """Columns of cells, whose headings stand to the right as their numbers do."""
    return {place for row in grid.rows for place, one in enumerate(row) if isinstance(one, Cell)}
