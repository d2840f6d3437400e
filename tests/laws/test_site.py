"""The documentation site builds without a warning, opens from disk, and has every page and picture."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from laws.source import ROOT, assert_none, load_script

PICTURES = ROOT / "docs" / "pictures"
#: A picture that a page shows, in Markdown.
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^()\s]+)\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make site` builds it; a broken link or anchor is a warning, and fails."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return folder


def test_every_page_of_the_docs_is_on_the_site_and_in_its_navigation(site: Path) -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    pages = [path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.md")]
    assert_none(
        [f"{page} is not in the navigation" for page in pages if f" {page.as_posix()}\n" not in navigation]
    )
    assert len(list(site.rglob("*.html"))) >= len(pages)
    results = [path.stem for path in ROOT.glob("bench/results/*.md")]
    assert_none([name for name in results if not (site / "results" / f"{name}.html").is_file()])


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    # The offline plug-in has the search index in a script of its own, since a page on disk may not fetch one.
    assert list(site.glob("search/search_index.js"))
    loads = re.compile(
        r"""<(?:script|img|iframe)[^>]*\ssrc="(https?:)?//|<link[^>]*rel="stylesheet"[^>]*href="(https?:)?//"""
    )
    assert_none([page.name for page in site.rglob("*.html") if loads.search(page.read_text("utf-8"))])


def test_the_python_reference_has_every_public_name(site: Path) -> None:
    import tenfold

    page = (site / "python.html").read_text("utf-8")
    names = [name for name in tenfold.__all__ if not name.startswith("_")]
    assert_none(
        [f"{name} is not in the reference" for name in names if f">{name}<" not in re.sub(r"\s", "", page)]
    )
    assert "micro_batch" in page and "optimizer step" in page  # fields with their descriptions


@pytest.fixture(scope="module")
def hooks() -> Any:
    return load_script(ROOT / "docs" / "site.py")


@pytest.mark.parametrize(
    ("text", "path", "there"),
    [
        ("[a](docs/memory.md#b)", "README.md", "[a](memory.md#b)"),
        ("![p](docs/pictures/a.png)", "README.md", "![p](pictures/a.png)"),
        ("[r](../bench/results/ratings.md)", "docs/maths.md", "[r](results/ratings.md)"),
        ("[r](../../README.md)", "docs/lesson7/ensemble.md", "[r](../index.md)"),
        ("[r](../../docs/memory.md)", "bench/results/memory.md", "[r](../memory.md)"),
        ("[`bench/titanic.py`](../bench/titanic.py)", "docs/maths.md", "`bench/titanic.py`"),
        ("[x](https://a.b/c.md) [y](#z)", "docs/maths.md", "[x](https://a.b/c.md) [y](#z)"),
        ("```text\n[a](docs/memory.md)\n```", "README.md", "```text\n[a](docs/memory.md)\n```"),
    ],
)
def test_links_are_those_of_the_site(hooks: Any, text: str, path: str, there: str) -> None:
    assert hooks.relinked(text, path) == there


def test_every_picture_is_made_by_the_script_is_small_and_is_described() -> None:
    made = load_script(ROOT / "docs" / "make_pictures.py").PICTURES
    there = {path.name for path in PICTURES.iterdir()}
    assert there == set(made)
    assert_none(
        [
            f"{path.name}: {path.stat().st_size} bytes"
            for path in PICTURES.iterdir()
            if path.stat().st_size > 150_000
        ]
    )
    shown = set()
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        for text, target in SHOWN.findall(page.read_text("utf-8")):
            assert len(text.split()) > 2, f"{page.name}: {target} needs a description"
            assert (page.parent / target).resolve().is_relative_to(PICTURES), f"{page.name}: {target}"
            shown.add(Path(target).name)
    assert shown == there, "a picture that nobody shows, or one that is not there"


def test_docstrings_become_lists_of_names() -> None:
    listed = load_script(ROOT / "docs" / "docstrings.py").listed
    text = "Make it.\n\nrows: how many,\n    at most.  seed: of all.\nReturns a table::\n\n    a: 1\n"
    there = "Make it.\n\n- `rows`: how many,\n  at most.  seed: of all.\n\nReturns a table:\n\n    a: 1"
    assert listed(text) == there
    assert listed("Do.\n\na: one.  b: two.") == "Do.\n\n- `a`: one.\n- `b`: two."
    assert listed("cells by ``::`` or so: fine") == "cells by ``::`` or so: fine"


def test_figures_of_the_comparisons_stand_in_the_results() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "comparison.md"):
        rows = [
            line
            for line in page.read_text("utf-8").splitlines()
            if line.startswith("|") and "/results/" in line
        ]
        assert len(rows) > 5
        for row in rows:
            name = re.findall(r"results/([\w-]+)\.md", row)[-1]
            results = (ROOT / "bench" / "results" / f"{name}.md").read_text("utf-8")
            figures = re.findall(r"\d+\.\d+", row)
            assert_none([f"{name}.md has no {figure}: {row}" for figure in figures if figure not in results])
