"""The page that asks a server's runs: one file, which loads nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["serving_page"]

#: What the page may do: its own styles and scripts, pictures made in place, and questions to its own server.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)


@cache
def serving_page() -> str:
    """The page, with its styles and its program in it."""
    folder = files("tenfold.serving") / "assets"
    page, style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
    return page.replace("POLICY", POLICY, 1).replace("/*STYLE*/", style, 1).replace("/*SCRIPT*/", script, 1)
