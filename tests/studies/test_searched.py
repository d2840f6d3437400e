"""What a search found, in words and on its page."""

from __future__ import annotations

import math

import pytest

from tenfold.recipe import Recipe
from tenfold.reports.html import report_html
from tenfold.studies.searched import Range, Searched, SearchTrial, search_page


def found(*, higher: bool = False) -> Searched:
    trials = (
        SearchTrial(0, {"lr": 0.002, "optimizer": "adamw"}, 0.5, "finished", 1.0, is_own=True),
        SearchTrial(1, {"lr": 0.01, "optimizer": "lion"}, 0.4, "finished", 1.0),
        SearchTrial(2, {"lr": 0.0001, "optimizer": "lion"}, math.nan, "pruned", 0.5),
        SearchTrial(3, {"lr": 0.005, "optimizer": "<b>"}, math.nan, "failed", 0.5, "the loss is not finite"),
    )
    space = {"lr": "0.0001:0.01", "optimizer": "adamw,lion"}
    own = {"lr": 0.002, "optimizer": "adamw"}
    return Searched(
        ("lr", "optimizer"), "loss", higher, own, trials, Recipe(lr=0.01), space, (0,), 80, 20, 3.0
    )  # fmt: skip


def test_the_best_is_named_with_its_gain_and_the_end_that_it_lies_at() -> None:
    lines = found().conclusions()
    assert "--lr 0.01 --optimizer lion (loss 0.4000)" in lines[0]
    assert lines[1] == "the recipe's own values: 0.5000, 0.1000 worse"
    assert lines[2].startswith("4 trials, 1 pruned, 1 failed") and "lr 0.01 is an end" in lines[3]
    assert found(higher=True).best.number == 0
    assert "no other was better" in found(higher=True).conclusions()[1]
    assert [trial.number for trial in found().ranked()] == [1, 0, 2, 3]


def test_the_page_has_every_trial_and_no_markup_of_theirs() -> None:
    page = report_html(*search_page(found()))
    assert "Searching lr, optimizer" in page and "the loss is not finite" in page and "<b></td>" not in page
    assert page.count("a trial") >= 2


def test_it_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(found()) == 4 and next(iter(found()))["status"] == "finished"
    record = found().record()
    assert record["best"] == {"lr": 0.01, "optimizer": "lion"} and record["tuned"] == ["lr", "optimizer"]


def test_a_range_is_logarithmic_from_tenfold_on_and_keeps_few_digits() -> None:
    assert Range(1e-4, 1e-3).log and not Range(0, 1).log and not Range(0.2, 1.9).log
    assert Range(1e-4, 1).value(0.0123456) == 0.0123 and Range(2, 64, True).value(7.0) == 7
    # Rounding never leaves the range.
    assert Range(0.12345, 0.2).value(0.12345) == 0.12345
