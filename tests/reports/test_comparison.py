"""Runs side by side: paired on rows that are the same, or refused."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shown import needs_browser, opened, rated, trained
from tenfold.errors import RunError
from tenfold.reports.comparison import Difference, compare_rows, comparison_page, write_comparison
from tenfold.runs.heldout import HeldOutRows, evaluate_target
from tenfold.runs.record import RunRecord
from tenfold.runs.registry import load_run
from tenfold.schema import CategoryTarget, NumberTarget

IDS = [f"r{row}" for row in range(40)]


def run(scored: str = "", name: str | None = "id") -> Any:
    record = RunRecord({"fingerprint": {"scored": scored}})
    return SimpleNamespace(record=record, schema=SimpleNamespace(row_name=name, rated=False))


def classes(wrong: int, ids: list[str] = IDS, label: str = "a") -> HeldOutRows:
    """Held-out rows with the label, of which the first are wrong."""
    answers = ["b"] * wrong + ["a"] * (len(ids) - wrong)
    p = [float(one == "a") for one in answers]
    columns = {"y": [label] * len(ids), "y:predicted": answers, "y:a": p, "y:b": [1 - one for one in p]}
    return HeldOutRows(ids, [evaluate_target(columns, CategoryTarget(name="y"), ("a", "b"))])


def compared(first: HeldOutRows, second: HeldOutRows, *runs: Any) -> Difference:
    found = compare_rows(*(runs or (run(), run()))[:1], first, *(runs or (run(), run()))[1:], second, "y")
    assert isinstance(found, Difference), found
    return found


def test_a_difference_is_paired_row_by_row_and_turns_with_the_runs() -> None:
    found, turned = compared(classes(4), classes(10)), compared(classes(10), classes(4))
    gaps = np.array([0] * 4 + [1] * 6 + [0] * 30)
    assert (found.first, found.second, found.rows) == (0.1, 0.25, 40)
    assert found.error == pytest.approx(gaps.std(ddof=1) / math.sqrt(40)) and found.clear
    assert turned.difference == -found.difference and turned.error == pytest.approx(found.error)
    assert found.sides is not None and found.sides.tolist() == [[30, 6], [0, 4]] and len(found.split) == 6
    same = compared(classes(4), classes(4))
    assert same.difference == same.error == 0 and not same.clear
    # The order of a run's rows means nothing.
    shuffled = classes(10, IDS[:10][::-1] + IDS[10:])
    assert compared(classes(4), shuffled).difference == found.difference


def test_numbers_are_compared_by_rmse() -> None:
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=300), rng.normal(size=(2, 300))
    held = [
        HeldOutRows(
            [str(row) for row in range(300)],
            [evaluate_target({"y": truth, "y:predicted": truth + error}, NumberTarget(name="y"), ())],
        )
        for error in (noise[0], 1.5 * noise[1])
    ]
    found = compared(*held)
    draws = rng.integers(0, 300, (400, 300))
    rmse = [np.sqrt((error[draws] ** 2).mean(axis=1)) for error in (noise[0], 1.5 * noise[1])]
    assert found.error == pytest.approx(np.std(rmse[1] - rmse[0]), rel=0.15) and found.clear


def test_only_rows_that_are_the_same_are_compared() -> None:
    part = classes(3, IDS[20:] + ["other"])
    found = compared(classes(4), part)
    assert found.rows == 20 and found.first == 0 and found.second == pytest.approx(3 / 20)
    other = [f"s{row}" for row in range(40)]
    for first, second, runs, word in (
        (classes(4), classes(4, other), (run(), run()), "held out other rows"),
        (classes(4), classes(4, label="b"), (run(), run()), "labels of shared rows differ"),
        (classes(4, ["x"] * 4), classes(4, ["x"] * 4), (run(), run()), "names of rows repeat"),
        (classes(4), classes(4), (run("one", None), run("two", None)), "table or split differ"),
        (classes(4), HeldOutRows((), ()), (run(), run()), "keeps no held-out rows"),
    ):
        said = compare_rows(runs[0], first, runs[1], second, "y")
        assert isinstance(said, str) and word in said, said
    # Numbers of rows name rows only where table and split are known to be the same.
    assert compared(classes(4), classes(5), run("one", None), run("one", None)).rows == 40


@needs_browser
def test_runs_of_one_split_stand_side_by_side(tmp_path: Path) -> None:
    _, one = trained()
    other = load_run(shutil.copytree(one.path, tmp_path / "copy"))
    written = write_comparison([one, other], tmp_path / "c.html")
    assert written["kind"] == "comparison" and "What differs" in written["sections"]
    with opened(tmp_path / "c.html", width=390) as (view, said):
        text = view.inner_text("body")
        assert "run against copy" in view.title() and "Nothing that the runs keep differs" in text
        assert "+0.0000" in text and "error rate" in text
        assert view.evaluate("document.documentElement.scrollWidth") <= 390 and not said
    with pytest.raises(RunError, match="named twice"):
        comparison_page([one, one])


def test_runs_of_other_kinds_are_not_compared_but_shown(tmp_path: Path) -> None:
    page = comparison_page([trained()[1], rated()[1]], tmp_path / "c.html")
    assert not page.cards and "rating" in [section.title for section in page.sections]
