"""What every report is put into: its look, its program and its frame. Texts come from `reports.html`."""

from __future__ import annotations

#: What the page may do: its own styles and scripts, pictures made in place, and nothing from outside.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d8dde3; --soft: #57606a;
  --low: #f7d9c4; --high: #b9dcf2; --c0: #1f77b4; --c1: #d9622b; --c2: #2f8f5b; --c3: #7d8590; --c4: #8a5fbf;
  --c5: #b8860b; --c6: #a3123f; --c7: #12a5b8; --c8: #e36fb4; --c9: #5b3a21; --point: #1f77b4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --paper: #14171a; --line: #343a41; --soft: #9aa4af;
    --low: #6b3a1e; --high: #1d4f73; --c0: #6cb4ee; --c1: #f0935f; --c2: #6fcf97; --c3: #9aa4af;
    --c4: #bf9bea; --c5: #e0b84c; --c6: #f2506e; --c7: #22c9d6; --c8: #f7a8d8; --c9: #a9825a;
    --point: #6cb4ee; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
p { max-width: 44rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; scroll-padding-left: min(17rem, 42vw); margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: left; font-weight: 400;
  overflow-wrap: normal; }
thead th { color: var(--soft); vertical-align: bottom; }
th[scope=row] { position: sticky; left: 0; background: var(--paper); min-width: min(7rem, 30vw);
  max-width: min(16rem, 40vw); overflow-wrap: anywhere; }
td:not(.number) { overflow-wrap: anywhere; min-width: min(5rem, 17vw); }
.number { text-align: right; white-space: nowrap; } th.number { white-space: normal; }
.cut { cursor: help; }
@media (max-width: 30rem) {
  .wide { margin: .6rem 0; } table { font-size: .75rem; } th, td { padding: .2rem; }
  th[scope=row] { min-width: 4.2rem; }
}
.heat { background: color-mix(in srgb, var(--high) calc(var(--heat) * 100%), var(--low)); }
.faint { font-style: italic; opacity: .75; } .strong { font-weight: 700; }
.upright thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left;
  max-height: 10rem; }
.upright thead th:first-child { writing-mode: horizontal-tb; transform: none; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr));
  gap: .5rem 1.5rem; margin: 1rem 0; }
figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; font-size: .875rem; }
svg.chart { width: 100%; height: auto; display: block; max-width: 40rem; }
svg.chart text { fill: var(--soft); font-size: 11px; }
svg.chart text.label { font-size: 10px; fill: var(--ink); paint-order: stroke; stroke: var(--paper);
  stroke-width: 3px; stroke-linejoin: round; pointer-events: none; }
svg.chart .grid { stroke: var(--line); stroke-width: 1; }
svg.chart polyline, svg.chart line.c3 { fill: none; stroke-width: 2; stroke-linejoin: round; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); }
.c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); } .c6 { stroke: var(--c6); } .c7 { stroke: var(--c7); }
.c8 { stroke: var(--c8); } .c9 { stroke: var(--c9); }
.dashed { stroke-dasharray: 6 4; } .dotted { stroke-dasharray: 1.5 3.5; }
circle.dot { stroke-dasharray: none; }
svg.chart circle.dot { fill: var(--paper); stroke-width: 2; } svg.chart .bar { fill: var(--high); }
svg.chart .point { fill: var(--point); fill-opacity: .5; cursor: pointer; }
svg.chart .point:hover { fill-opacity: 1; }
.key { font-weight: 400; color: var(--soft); margin-left: .7rem; white-space: nowrap; }
.key i { display: inline-block; width: 1.1rem; border-top: 3px solid; margin-right: .3rem;
  vertical-align: middle; }
.key i.dashed { border-top-style: dashed; } .key i.dotted { border-top-style: dotted; }
svg.chart .area { fill: currentColor; fill-opacity: .7; }
svg.chart .mark { stroke: var(--c3); stroke-width: 1; stroke-dasharray: 2 3; }
.k0 { color: var(--c0); } .k1 { color: var(--c1); } .k2 { color: var(--c2); } .k3 { color: var(--c3); }
.k4 { color: var(--c4); } .k5 { color: var(--c5); } .k6 { color: var(--c6); } .k7 { color: var(--c7); }
.k8 { color: var(--c8); } .k9 { color: var(--c9); }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem;
  margin: 1rem 0; }
.photos img, .gone { display: block; width: 100%; height: 9rem; object-fit: contain; background: var(--line);
  border-radius: 4px; }
.gone { display: flex; align-items: center; justify-content: center; color: var(--soft); font-size: .8rem; }
.photos figcaption { font-weight: 400; line-height: 1.35; margin-top: .3rem; } .photos b { display: block; }
td button { all: unset; cursor: pointer; display: block; width: 100%; text-decoration: underline dotted;
  text-underline-offset: 3px; }
td button:focus-visible { outline: 2px solid var(--c0); } td button[aria-pressed=true] { font-weight: 700; }
.listed { min-height: 2rem; } .listed img { height: 3rem; display: block; }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--soft); }
details li { font-size: .875rem; }
#tip { position: fixed; z-index: 9; pointer-events: none; background: var(--ink); color: var(--paper);
  padding: .2rem .5rem; border-radius: 4px; font-size: .8rem; max-width: min(20rem, 90vw); }
"""

#: Shows a list when its cell is clicked, and a point's name when it is pointed at.
SCRIPT = """
"use strict";
(() => {
  const make = (tag, text) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const named = (text, most) => {
    const letters = Array.from(text);
    if (!most || letters.length <= most) return text;
    const end = Math.floor((most - 1) * .4), made = make("span");
    made.textContent = letters.slice(0, most - 1 - end).join("") + "\u2026" + letters.slice(-end).join("");
    made.dataset.name = text;
    made.className = "cut";
    return made;
  };
  const photos = new Map();
  for (const image of document.querySelectorAll("img[data-row]")) photos.set(image.dataset.row, image.src);
  for (const box of document.querySelectorAll("[data-lists]")) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const out = box.querySelector(".listed");
    box.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-key]");
      if (!button) return;
      for (const other of box.querySelectorAll("button[data-key]")) {
        other.setAttribute("aria-pressed", other === button);
      }
      const rows = data.lists[button.dataset.key] || [];
      const table = make("table"), head = make("tr"), body = make("tbody");
      table.append(make("caption", data.titles[button.dataset.key] || ""), make("thead"), body);
      table.tHead.append(head);
      const figure = /^(-?[0-9.]+%?|nan%?)$/, numeric = new Set();
      data.headings.forEach((text, index) => {
        if (index && rows.every((row) => figure.test(row[index]))) numeric.add(index);
        head.append(make("th", text));
        if (numeric.has(index)) head.lastChild.className = "number";
      });
      for (const row of rows) {
        const line = make("tr");
        row.forEach((text, index) => {
          const cell = make("td");
          cell.append(named(text, index ? data.cut : 0));
          if (numeric.has(index)) cell.className = "number";
          if (!index && photos.has(text)) {
            const picture = make("img");
            picture.src = photos.get(text);
            picture.alt = "";
            cell.prepend(picture);
          }
          line.append(cell);
        });
        body.append(line);
      }
      out.replaceChildren(table);
    });
  }
  const tip = make("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const point = (event) => {
    const at = event.target.closest ? event.target.closest("[data-name]") : null;
    tip.hidden = !at;
    if (!at) return;
    tip.textContent = at.dataset.name + (at.dataset.note ? " \u00b7 " + at.dataset.note : "");
    const left = Math.min(event.clientX + 12, window.innerWidth - tip.offsetWidth - 8);
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, event.clientY - 34) + "px";
  };
  document.addEventListener("pointerover", point);
  document.addEventListener("click", point);
})();
"""


TABLE = """{% macro named(text, most) %}{% if most and text | length > most %}
<span class="cut" data-name="{{ text }}">{{ shortened(text, most) }}</span>
{%- else %}{{ text }}{% endif %}{% endmacro %}
{% macro table(part) %}
<div class="wide"><table{% if part.upright %} class="upright"{% endif %}>
{% if part.title %}<caption>{{ part.title }}</caption>{% endif %}
<thead><tr>{% for text in part.headings %}<th scope="col"{% if loop.index0 in numeric(part) %} class="number"
{%- endif %}>{{ named(text, part.cut) }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in part.rows %}<tr>{% for cell in row %}{% if cell is string %}
<{{ 'th scope="row"' | safe if loop.first else 'td' }}>{{ named(cell, part.cut) }}
{{- '' }}</{{ 'th' if loop.first else 'td' }}>
{%- else %}
<td class="number{{ ' heat' if cell.heat is not none }}{{ ' faint' if cell.faint }}
{{- ' strong' if cell.strong }}"
{%- if cell.heat is not none %} style="--heat: {{ '%.3f' | format(cell.heat) }}"{% endif %}>
{%- if cell.key %}<button type="button" data-key="{{ cell.key }}">{{ cell.text }}</button>
{%- else %}{{ cell.text }}{% endif %}</td>
{%- endif %}{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endmacro %}"""

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
{% if section.title %}<h2>{{ section.title }}</h2>{% endif %}
{% if section.text %}<p>{{ section.text }}</p>{% endif %}
{% for part in section.parts %}{% if part.charts is defined %}
<div class="charts">{% for chart in part.charts %}{{ chart | safe }}{% endfor %}</div>
{% elif part.photos is defined %}
{% if part.title %}<h3>{{ part.title }}</h3>{% endif %}
<div class="photos">{% for photo in part.photos %}<figure>
{%- if photo.png is none %}<span class="gone">no picture</span>
{%- else %}<img src="{{ photo.source }}" alt="" data-row="{{ photo.name }}">{% endif %}
<figcaption><b>{{ photo.name }}</b>{% for line in photo.lines %}{{ line }}
{%- if not loop.last %}<br>{% endif %}
{%- endfor %}</figcaption></figure>{% endfor %}</div>
{% elif part.lists is defined %}
<div data-lists><script type="application/json">{{ part.data | safe }}</script>
{{ table(part.grid) }}<div class="wide listed soft" aria-live="polite">{{ part.hint }}</div></div>
{% elif part.lines is defined %}
<details><summary>{{ part.title }}</summary>
<ul>{% for line in part.lines %}<li>{{ line }}</li>{% endfor %}</ul>
</details>
{% else %}
{{ table(part) }}{% endif %}{% endfor %}</section>
{% endfor %}
{% if active %}<script>{{ script | safe }}</script>{% endif %}
</body>
</html>
"""
