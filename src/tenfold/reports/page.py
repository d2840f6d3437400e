"""What every report is put into: its look, its programs and its frame. Texts come from `reports.html`.

The files lie in `assets/`: the page's own style, program and frame, and Chart.js with its plugin for zooming
(MIT licences in `LICENSES.txt`), which draws the charts.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["LIBRARY", "POLICY", "read_asset", "read_library"]

#: What the page may do: its own styles and scripts, pictures made in place, and nothing from outside.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
#: The library of the charts, in the order in which a page needs its files.
LIBRARY = ("chart.umd.min.js", "chartjs-plugin-zoom.min.js")


@cache
def read_asset(name: str) -> str:
    """The text of a file of `assets/`."""
    return (files("tenfold.reports") / "assets" / name).read_text(encoding="utf-8")


def read_library() -> str:
    """The library of the charts, without the address of a map of its source, which no page has beside it."""
    return "\n".join(read_asset(name).partition("//# sourceMappingURL")[0] for name in LIBRARY)
