"""A workbook of losses: every formula is computed by LibreOffice and is what torch says."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from losses import CLASSES, ROWS, rows_of, unlabelled
from office import assert_recomputes, needs_office, read_book, read_formulas, recompute, step
from tenfold.workbooks import lastlayer as lossbook
from tenfold.workbooks.lastlayer import build_loss_book
from tenfold.workbooks.workbook import column_letters

KINDS = ("category", "open", "multilabel", "ordered", "number", "bounded", "huber", "count")


def written(found, path: Path) -> Path:
    build_loss_book(found).write(path)
    return path


def gaps_of(cells: dict) -> list[float]:
    """The first sheet's largest differences, target by target."""
    start = next(int(cell[1:]) for cell, value in cells.items() if value == "largest difference")
    found = []
    while isinstance(cells.get(f"B{start + 1}"), float):
        start += 1
        found.append(cells[f"B{start}"])
    return found


@needs_office
@pytest.mark.parametrize(
    ("smoothing", "temperature", "weighed"), [(0.1, 1.0, False), (0.0, 1.7, False), (0.1, 1.0, True)]
)
def test_every_formula_is_what_the_model_says(
    tmp_path: Path, smoothing: float, temperature: float, weighed: bool
) -> None:
    found = rows_of(*KINDS, smoothing=smoothing, temperature=temperature, weighed=weighed)
    path = written(found, tmp_path / "b.xlsx")
    assert sum(map(len, read_formulas(path).values())) > 800
    computed = assert_recomputes(path)
    assert len(gaps_of(computed["Read me"])) == len(KINDS)
    assert max(gaps_of(computed["Read me"])) < 1e-12


def test_the_sum_is_that_of_the_targets_weights(tmp_path: Path) -> None:
    found = rows_of("category", "multilabel", "number")
    cells = read_book(written(found, tmp_path / "b.xlsx"))["Loss"]
    one, tags, number = found.targets
    known = np.array([bool(word) for word in one.label_words])
    asked = (tags.labels >= 0).sum(1)
    means = [
        one.losses.sum() / known.sum(),
        (tags.losses * asked).sum() / asked.sum(),  # the denominator counts questions
        number.losses.sum() / (~np.isnan(number.labels)).sum(),
    ]
    wanted = sum(target.task_weight * mean for target, mean in zip(found.targets, means, strict=True))
    line = next(cell[1:] for cell, value in cells.items() if value == "loss")
    assert cells[f"B{line}"] == pytest.approx(wanted)


def test_learnt_weights_stand_as_log_variances(tmp_path: Path) -> None:
    found = replace(rows_of("category", "number"), learnt={"category 0": 0.3, "number 1": -0.2})
    cells = read_book(written(found, tmp_path / "b.xlsx"))["Loss"]
    mean = [
        cells[f"{letter}{line}"]
        for line in [next(cell[1:] for cell, value in cells.items() if value == "mean of the batch")]
        for letter in "BC"
    ]
    wanted = mean[0] * math.exp(-0.3) + 0.15 + mean[1] * 0.5 * math.exp(0.2) - 0.1
    line = next(cell[1:] for cell, value in cells.items() if value == "loss")
    assert cells[f"B{line}"] == pytest.approx(wanted)


@needs_office
@pytest.mark.parametrize("weighed", [False, True])
def test_without_labels_there_is_no_loss_and_a_label_that_is_typed_makes_one(
    tmp_path: Path, weighed: bool
) -> None:
    found = unlabelled(rows_of(*KINDS, weighed=weighed))
    assert math.isnan(found.loss)
    path = written(found, tmp_path / "b.xlsx")
    kept = read_book(path)
    start = next(int(cell[1:]) for cell, value in kept["Read me"].items() if value == "mean loss")
    lines = range(start + 1, start + 2 + len(KINDS))
    assert {kept["Read me"][f"D{line}"] for line in lines} == {"no labels"}
    letters = [column_letters(5 + 4 * one) for one in range(len(KINDS))]
    assert {kept["Rows"][f"{letter}{line}"] for letter in letters for line in range(5, 10)} == {"no label"}
    total = next(int(cell[1:]) for cell, value in kept["Loss"].items() if value == "loss")
    assert kept["Loss"][f"B{total}"] == "no labels" and kept["Loss"]["C5"] == "no label"
    assert_recomputes(path)
    # A number's label, typed: its target alone has a loss, and is the sum.
    again = recompute(path, {("number 4", step(kept["number 4"], "label")): 20.0})
    target = found.targets[4]
    stats = target.stats
    loss = ((stats.mean + stats.deviation * target.raw[0, 0] - 20) / stats.deviation) ** 2
    assert again["Loss"][f"B{total}"] == pytest.approx(target.task_weight * loss)
    assert again["Rows"]["S5"] == 20 and again["Rows"]["V5"] == pytest.approx(loss)
    assert again["Loss"]["B5"] == "no label" and max(gaps_of(again["Read me"])) < 1e-12


def test_a_target_without_labels_is_no_part_of_the_sum(tmp_path: Path) -> None:
    whole = rows_of("category", "number")
    found = replace(whole, targets=[whole.targets[0], unlabelled(whole).targets[1]])
    found = replace(found, learnt={"category 0": 0.3, "number 1": -0.2})
    wanted = found.targets[0].mean_loss * math.exp(-0.3) + 0.15
    assert found.loss == pytest.approx(wanted)
    cells = read_book(written(found, tmp_path / "b.xlsx"))["Loss"]
    line = next(cell[1:] for cell, value in cells.items() if value == "loss")
    assert cells[f"B{line}"] == pytest.approx(wanted)


@needs_office
def test_all_follows_a_feature_and_a_raw_output(tmp_path: Path) -> None:
    found = rows_of("category", smoothing=0.0)
    path = written(found, tmp_path / "b.xlsx")
    features = found.features.copy()
    features[0, 0] += 1.5
    raw = features @ found.weight.T + found.bias
    raw[2, 1] = 3.25
    logs = raw - np.log(np.exp(raw).sum(1, keepdims=True))
    losses = [
        -logs[row, CLASSES.index(word)] for row, word in enumerate(found.targets[0].label_words) if word
    ]
    own = step(read_book(path)["category 0"], "raw outputs z", 2, 1)
    changes = {("Features", "B6"): float(features[0, 0]), ("category 0", own): 3.25}
    assert read_formulas(path)["category 0"][own].startswith("SUMPRODUCT(")
    cells = recompute(path, changes)["Loss"]
    line = next(cell[1:] for cell, value in cells.items() if value == "loss")
    assert cells[f"B{line}"] == pytest.approx(np.mean(losses), abs=1e-9)


def test_outside_words_are_texts_wherever_they_stand(tmp_path: Path) -> None:
    path = written(rows_of("category", "open"), tmp_path / "b.xlsx")
    for sheet, cells in read_formulas(path).items():
        assert not {"cat()", "note", "trained", "@0.png"} & set(cells.values()), sheet
    heads = read_book(path)["category 0"]
    assert [heads[step(heads, "raw outputs z", -1, column)] for column in range(4)] == list(CLASSES)


def test_of_many_classes_the_telling_ones_keep_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lossbook, "MOST_WEIGHTS", 14)  # of two outputs
    found = rows_of("category")
    formulas = read_formulas(written(found, tmp_path / "b.xlsx"))["category 0"]
    linked = {cell[0] for cell, text in formulas.items() if text.startswith("SUMPRODUCT('Features'")}
    best = np.argsort(-found.targets[0].raw.max(0))[:2]
    assert linked == {"CDEF"[place] for place in best}
    assert len(read_book(tmp_path / "b.xlsx")["Rows"]) > ROWS
