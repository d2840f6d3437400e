"""One run of hostile names for the tests that look at it, trained once to a process; and a real browser."""

from __future__ import annotations

import atexit
import csv
import shutil
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from photos import QUICK, write_photos
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.schema import (
    CategoryTarget,
    IdColumn,
    ImageColumn,
    MultiLabelTarget,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
    RatingTarget,
    Schema,
)

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")

#: Classes that would run if they were taken for markup, or for formulas.
NAMES = {"cat": "<img src=x onerror=alert(1)>", "dog": '=1+1 "dog"\'s', "bird": "</script><b>&lt;bird"}
ODD = "kind <script>1</script> [a]"


@cache
def trained() -> tuple[Path, Any]:
    """A folder with train.csv and photos, and a run there with a target of every kind."""
    folder = Path(tempfile.mkdtemp(prefix="tenfold-shown-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    columns: dict[str, list[str]] = write_photos(folder, 60)
    rng = np.random.default_rng(0)
    labels = columns["label"]
    columns[ODD] = [NAMES[one] if row % 9 else "" for row, one in enumerate(labels)]
    columns["grade"] = [str(["bird", "cat", "dog"].index(one)) for one in labels]
    columns["age"] = [f"{10 * len(one) + rng.normal():.2f}" for one in labels]
    columns["tags"] = [";".join([one, *(["furry"] if one != "bird" else [])]) for one in labels]
    columns["known"] = [one if one != "bird" else "none" for one in labels]
    with open(folder / "train.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    schema = Schema(
        inputs=(ImageColumn(name="id", folder=str(folder / "photos")),),
        targets=(
            CategoryTarget(name=ODD),
            CategoryTarget(name="size"),
            OrderedTarget(name="grade"),
            NumberTarget(name="age", low=0, high=60),
            MultiLabelTarget(name="tags"),
            OpenTarget(name="known", none="none"),
        ),
    )
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 2, "task_weights": {"size": 0.5}})
    return folder, tenfold.fit(schema, recipe, folder / "train.csv", run=folder / "run")


@cache
def rated(method: str = "sgd") -> tuple[Path, Any]:
    """A folder with ratings.csv, and a run of it."""
    folder = Path(tempfile.mkdtemp(prefix="tenfold-rated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(1)
    lines = ["user,item,rating"]
    lines += [f"u{u},<m{i}>,{rng.integers(1, 6)}" for u in range(20) for i in range(12) if rng.random() < 0.7]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
    )
    recipe = FactorRecipe(method=method, factors=3, valid=0.1, threads=1)  # type: ignore[arg-type]
    return folder, tenfold.fit(schema, recipe, folder / "ratings.csv", run=folder / "run")


def point_at(view: Any, title: str, line: int = 0, row: int = 0) -> str:
    """Point at a point of a chart of the page, by its title; returns what is shown of it."""
    canvas = view.locator(f'canvas[aria-label="{title}"]')
    canvas.scroll_into_view_if_needed()
    x, y = canvas.evaluate(
        """(canvas, [line, row]) => {
            const box = canvas.getBoundingClientRect(), chart = Chart.getChart(canvas);
            const point = chart.getDatasetMeta(line).data[row];
            return [box.left + point.x, box.top + point.y];
        }""",
        [line, row],
    )
    view.mouse.move(x, y)
    view.wait_for_timeout(100)
    return canvas.evaluate(
        """(canvas) => {
            const tip = Chart.getChart(canvas).tooltip;
            const lines = tip.opacity ? [...tip.title, ...tip.body.flatMap((one) => one.lines)] : [];
            return lines.join(" \u00b7 ");
        }"""
    )


@contextmanager
def opened(page: Path, *, width: int = 1200, dark: bool = False):
    """A page in a real browser, from the disk and without a network; and what its console has said."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            context = browser.new_context(
                viewport={"width": width, "height": 800},
                color_scheme="dark" if dark else "light",
                offline=True,
            )
            view = context.new_page()
            view.on("console", lambda message: said.append(message.text))
            view.on("pageerror", lambda error: said.append(str(error)))
            view.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
            view.goto(page.as_uri())
            yield view, said
        finally:
            browser.close()
