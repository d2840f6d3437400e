"""A workbook of an ensemble: members' answers, their mean, and what each costs, as formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import xlogy

from losses import CLASSES, ROWS, rows_of, unlabelled
from office import assert_recomputes, needs_office, read_book, read_formulas, recompute, result, step
from tenfold.workbooks.blend import BlendedTarget, ExplainedBlend, build_blend_book
from tenfold.workbooks.rows import TargetRows

KINDS = ("category", "open", "multilabel", "ordered", "number", "count")
WEIGHTS = np.array([1.0, 0.0, 2.5])


def blend_of(*kinds: str, labelled: bool = True) -> ExplainedBlend:
    """Three members' answers to rows of every kind."""
    blended = []
    rows = rows_of(*kinds, smoothing=0.0)
    for target in (rows if labelled else unlabelled(rows)).targets:
        rng = np.random.default_rng(len(blended))
        given = rng.uniform(0.01, 1, (3, *target.answers.shape))
        if target.kind.exclusive:
            given /= given.sum(2, keepdims=True)
        elif target.kind.numeric:
            given = given * 30
        mixed = (WEIGHTS[:, None, None] * given).sum(0) / WEIGHTS.sum()
        losses = target.kind.row_losses(mixed, target.labels)
        own = replace(target, raw=mixed, answers=mixed, losses=losses, familiar=None)
        blended.append(BlendedTarget(own, ("a", "=b()", "c"), WEIGHTS, given))
    ids = [f"@{one}.png" for one in range(ROWS)]
    return ExplainedBlend("runs/x", ["=made of"], ids, ["asked for"] * ROWS, blended, ["+note"])


def loss_by_hand(target: TargetRows, answers: np.ndarray, row: int) -> float:
    truth = target.truth[row]
    if target.kind.kind == "count":
        return 2 * float(xlogy(truth[0], truth[0] / answers[row, 0]) - truth[0] + answers[row, 0])
    if target.kind.numeric:
        return float(((answers[row, 0] - truth[0]) / target.stats.deviation) ** 2)
    if not target.kind.exclusive:
        pairs = [(p, t) for p, t in zip(answers[row], truth, strict=True) if t == t]
        return float(np.mean([-np.log(p if t == 1 else 1 - p) for p, t in pairs]))
    return float(-np.log(answers[row, CLASSES.index(target.label_words[row])]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_what_the_truth_was_given(kind: str) -> None:
    target = blend_of(kind).targets[0]
    missing = 1
    for row in range(ROWS):
        wanted = 0.0 if row == missing else loss_by_hand(target, target.answers, row)
        assert target.losses[row] == pytest.approx(wanted)


@needs_office
@pytest.mark.parametrize("labelled", [True, False])
def test_every_formula_is_what_the_ensemble_says(tmp_path: Path, labelled: bool) -> None:
    path = tmp_path / "b.xlsx"
    build_blend_book(blend_of(*KINDS, labelled=labelled)).write(path)
    assert sum(map(len, read_formulas(path).values())) > 300
    computed = assert_recomputes(path)
    first = computed["Read me"]
    line = next(int(cell[1:]) for cell, value in first.items() if value == "largest difference")
    assert all(first[f"B{line + 1 + place}"] < 1e-12 for place in range(len(KINDS)))
    means = {first[f"D{line + 1 + place}"] for place in range(len(KINDS))}
    losses = {computed["Rows"][f"{letter}6"] for letter in ("F", "J", "N", "R", "V", "Z")}
    assert losses == {"no label"} and (means == {"no labels"}) != labelled


@needs_office
def test_another_weight_makes_another_answer(tmp_path: Path) -> None:
    found = blend_of("category")
    path = tmp_path / "b.xlsx"
    build_blend_book(found).write(path)
    cells = read_book(path)["category 0"]
    again = recompute(path, {("category 0", result(cells, "weight of =b()")): 50.0})["category 0"]
    weights = np.array([1.0, 50.0, 2.5])
    mixed = (weights[:, None, None] * found.blended[0].given).sum(0) / weights.sum()
    got = [[again[step(cells, "weighted mean", row, column)] for column in range(4)] for row in range(ROWS)]
    np.testing.assert_allclose(np.array(got, dtype=float), mixed, atol=1e-9)
    assert [again[step(cells, "answer", row, -1)] for row in range(ROWS)] == [
        CLASSES[place] for place in mixed.argmax(1)
    ]


def test_the_mean_of_the_ensemble_is_no_worse_than_its_members_on_average(tmp_path: Path) -> None:
    found = blend_of("category")
    build_blend_book(found).write(tmp_path / "b.xlsx")
    cells = read_book(tmp_path / "b.xlsx")["category 0"]
    own = [cells[result(cells, f"mean loss of {name}")] for name in ("a", "=b()", "c")]
    mixed = cells[result(cells, "mean loss of the ensemble")]
    assert mixed <= np.dot(WEIGHTS, np.array(own, dtype=float)) / WEIGHTS.sum()
