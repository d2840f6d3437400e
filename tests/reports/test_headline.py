"""The head of a page: main scores, their baselines, and standard errors that are right or left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tenfold.reports.headline import cost_card, headline_cards, score_error
from tenfold.runs.heldout import HeldOutRows, evaluate_target
from tenfold.runs.record import RunRecord
from tenfold.schema import CategoryTarget, MultiLabelTarget, NumberTarget

LABELS = ["a", "b", "a", "b", "a", "a"]
ANSWERS = ["a", "a", "a", "b", "b", "a"]


def classes():
    p = [0.9 if answer == "a" else 0.2 for answer in ANSWERS]
    columns = {"y": LABELS, "y:predicted": ANSWERS, "y:a": p, "y:b": [1 - one for one in p]}
    return evaluate_target(columns, CategoryTarget(name="y"), ("a", "b"))


def test_the_standard_error_of_an_error_rate_is_that_of_a_mean() -> None:
    wrong = np.array([label != answer for label, answer in zip(LABELS, ANSWERS, strict=True)], dtype=float)
    error = score_error("error_rate", wrong.mean(), classes(), None)
    assert error == pytest.approx(wrong.std(ddof=1) / math.sqrt(len(wrong)))
    # A weight of 2 for all rows changes nothing.
    assert score_error("error_rate", wrong.mean(), classes(), np.full(6, 2.0)) == pytest.approx(error)


def test_a_score_that_the_rows_do_not_give_has_no_standard_error() -> None:
    assert math.isnan(score_error("error_rate", 0.5, classes(), None))
    assert math.isnan(score_error("log_loss", 0.5, classes(), None))
    assert math.isnan(score_error("error_rate", 1 / 3, classes(), np.arange(6.0) ** 2))


def test_the_standard_errors_of_rmse_and_f1_are_those_of_repeated_draws() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    guess = truth + rng.normal(size=400)
    number = evaluate_target({"n": truth, "n:predicted": guess}, NumberTarget(name="n"), ())
    draws = rng.integers(0, 400, (500, 400))
    rmse = np.sqrt(((guess - truth)[draws] ** 2).mean(axis=1))
    found = score_error("rmse", float(np.sqrt(((guess - truth) ** 2).mean())), number, None)
    assert found == pytest.approx(rmse.std(), rel=0.15)

    yes = rng.random((400, 3)) < [0.5, 0.5, 1]  # a row without any tag would have no label
    said = np.where(rng.random((400, 3)) < 0.8, yes, ~yes)
    words = [[";".join(np.array([*"xyz"])[row]) for row in cells] for cells in (yes, said)]
    columns = {"t": words[0], "t:predicted": words[1]} | {
        f"t:{c}": said[:, k] * 1.0 for k, c in enumerate("xyz")
    }
    tags = evaluate_target(columns, MultiLabelTarget(name="t", separator=";"), ("x", "y", "z"))

    def f1(rows):
        return 2 * (yes[rows] & said[rows]).sum() / (yes[rows].sum() + said[rows].sum())

    spread = np.std([f1(rows) for rows in draws])
    assert score_error("micro_f1", f1(np.arange(400)), tags, None) == pytest.approx(spread, rel=0.15)


def test_cards_have_the_baseline_the_spread_and_the_cost() -> None:
    scores = {"error_rate": 1 / 3, "log_loss": 0.5, "majority_error_rate": 0.4, "scored": 6}
    record = RunRecord({"targets": {"y": scores, "unlabelled": {"error_rate": None}}, "seconds": 7300})
    [card] = headline_cards(record, HeldOutRows([*"123456"], [classes()]))
    assert (card.big, card.unit) == ("66.7%", "right ± 21.1%")
    assert card.share == pytest.approx(2 / 3) and card.mark == pytest.approx(0.6)
    assert card.lines[0] == "always the commonest answer: 60.0%" and "log loss 0.5000" in card.lines
    [bare] = headline_cards(record, None)
    assert bare.unit == "right" and bare.lines[1] == "over 6 held-out rows"
    assert (cost_card(record).big, cost_card(record).unit) == ("2.0", "hours")
    lists = {"n": 10, "ndcg": 0.2, "users": 3, "baselines": {"most_popular": {"ndcg": 0.1}}}
    rated = {"rmse": 0.9, "scored": 4, "baselines": {"biases": {"rmse": 0.95}}, "lists": lists}
    rating, listed = headline_cards(RunRecord({"targets": {"stars": rated}}), None)
    assert rating.big == "0.9000" and rating.lines[0] == "biases: 0.9500"
    assert listed.big == "0.2000" and "0.1000" in listed.lines[0]
