"""Hooks of the documentation site (mkdocs.yml): pages from outside `docs/`, and links between them.

Links in the repository are those of a checkout, so that they work where the repository is browsed. On the
site the README is the first page, `bench/results/` lies in `results/`, and a link to another file
becomes its name.
"""

from __future__ import annotations

import inspect
import posixpath
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from docstrings import listed

ROOT = Path(__file__).resolve().parents[1]
#: Where a file of the repository is on the site, if not under `docs/`.
PLACES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"(?ms)^(`{3,}).*?^\1\s*$")
GROUPS = (
    ("Fit, open, predict", lambda name: name[0].islower()),
    ("Columns", lambda name: name.endswith("Column")),
    ("Targets", lambda name: name.endswith("Target")),
    ("Schema and recipes", lambda name: name.endswith(("Schema", "Recipe"))),
    ("Everything else", lambda name: True),
)


def results() -> list[str]:
    """The pages of bench/results, as paths of the repository."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("bench/results/*.md"))


def place_of(path: str) -> str | None:
    """Where a file of the repository is on the site; None if it is not there."""
    if path.startswith("bench/results/") and path.endswith(".md"):
        return path.removeprefix("bench/")
    if path.startswith("docs/") and not path.endswith(".py"):
        return path.removeprefix("docs/")
    return PLACES.get(path)


def python_page() -> str:
    """The Python reference: every public name once, in groups, from its docstring by mkdocstrings."""
    import tenfold

    lines = ["# Python", "", "Every public name of `import tenfold`, from its docstring.", ""]
    left = [name for name in sorted(tenfold.__all__) if not name.startswith("_")]
    for title, belongs in GROUPS:
        names = [name for name in left if belongs(name)]
        left = [name for name in left if name not in names]
        lines += [f"## {title}", ""]
        for name in names:
            fields = getattr(getattr(tenfold, name), "model_fields", None)
            lines += [f"::: tenfold.{name}\n"] if fields is None else model(getattr(tenfold, name), fields)
    return "\n".join(lines)


def model(one: Any, fields: Mapping[str, Any]) -> list[str]:
    """A pydantic model as a table of its fields, whose meaning only the running program knows."""
    lines = [f"### {one.__name__}", "", listed(inspect.cleandoc(one.__doc__ or "")), ""]
    lines += ["| field | default | meaning |", "|---|---|---|"]
    for name, field in fields.items():
        if field.exclude or name == "kind":
            continue
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
        meaning = " ".join((field.description or "").split())
        lines.append(f"| `{name}` | {default} | {meaning} |".replace("||", "\\|\\|"))
    return [*lines, ""]


def relinked(markdown: str, path: str) -> str:
    """The page's text with its links as they are on the site; path: the page's in the repository."""
    here = posixpath.dirname(place_of(path) or path)

    def link(found: re.Match[str]) -> str:
        picture, text, target = found.groups()
        name, mark, anchor = target.partition("#")
        if not name or re.match(r"[a-z]+:", target):
            return found[0]
        place = place_of(posixpath.normpath(posixpath.join(posixpath.dirname(path), name)))
        if place is None:
            return text
        return f"{picture}[{text}]({posixpath.relpath(place, here or '.')}{mark}{anchor})"

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(link, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(link, markdown[end:])])


def on_config(config: Any) -> Any:
    """Every measured result gets its line in the navigation."""
    config.nav = [
        {title: [place_of(path) for path in results()]} if value == "RESULTS" else {title: value}
        for line in config.nav
        for title, value in line.items()
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not under `docs/`."""
    for path in [*PLACES, *results()]:
        text = (ROOT / path).read_text("utf-8")
        files.append(File.generated(config, str(place_of(path)), content=text))
    files.append(File.generated(config, "python.md", content=python_page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as they are on the site, and no comments of tests."""
    sources = {str(place_of(path)): path for path in [*PLACES, *results()]}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return relinked(re.sub(r"(?m)^<!-- test: .*-->\n", "", markdown), source)
