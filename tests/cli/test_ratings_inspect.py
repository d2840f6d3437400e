"""``tenfold inspect`` as a person types it: in a process of its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from command import tenfold
from tenfold.data.synthetic import draw_ratings


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    drawn = draw_ratings(40, 30, 500, seed=2)
    with open(folder / "ratings.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(
            [("user", "item", "rating"), *zip(drawn["user"], drawn["item"], drawn["rating"], strict=True)]
        )
    with open(folder / "films.csv", "w", encoding="utf-8", newline="") as stream:
        titles = [*drawn["titles"][:-1], "<script>alert(1)</script>"]
        csv.writer(stream).writerows([("item", "title"), *zip(drawn["items"], titles, strict=True)])
    films = ("--item-table", "films.csv", "--item-name", "title")
    tenfold(
        "fit",
        "ratings.csv",
        "--user",
        "user",
        "--item",
        "item",
        *films,
        "--method",
        "als",
        "-o",
        "run",
        cwd=folder,
    )
    return folder


def test_it_is_shown_and_written_as_a_page(place: Path) -> None:
    shown = tenfold("inspect", "run", "-n", 4, "-o", "page.html", cwd=place).stdout
    for part in (
        "predictions in the gaps",
        "good beyond their audience",
        "of the variance",
        "equal",
        "page.html",
    ):
        assert part in shown, part
    page = (place / "page.html").read_text("utf-8")
    # The run's own page, and what looks inside it.
    for title in ("Example users", "Maps of the factors", "Ratings and their gaps", "Directions of the map"):
        assert f"<h2>{title}</h2>" in page
    assert "<script>alert(1)</script>" not in page


def test_json_is_one_object_and_says_what_the_run_says(place: Path) -> None:
    found = json.loads(tenfold("inspect", "run", "-n", 5, "--json", cwd=place).stdout)
    table = found["crosstab"]
    assert len(table["users"]) == len(table["rating"]) == 5 and found["ratings"] == 500
    assert all(one["equal"] for one in found["lookups"])
    pair = ("--user", table["users"][0], "--item", table["items"][3])
    score = json.loads(tenfold("predict", "run", *pair, "--json", cwd=place).stdout)["rows"][0]["score"]
    assert table["predicted"][0][3] == pytest.approx(score, abs=1e-5)


def test_what_is_no_run_is_refused(place: Path) -> None:
    assert "RunError" in tenfold("inspect", "ratings.csv", cwd=place, code=2).stderr
    assert "crosstab" in tenfold("inspect", "run", "-n", 0, cwd=place, code=2).stderr
    assert not (place / "none.html").exists()
