"""What a sheet shows of each kind, step by step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from losses import CLASSES, ROWS, rows_of
from office import Cells, needs_office, read_book, read_formulas, recompute, step
from tenfold.targets.kinds import kind_of
from tenfold.workbooks import targets as losskinds
from tenfold.workbooks.lastlayer import build_loss_book

#: The steps that the lesson's spreadsheets have, as they are called here.
STEPS = {
    "category": ("raw outputs z", "exp(z)", "softmax = exp(z) / sum", "safe softmax", "one-hot target",
                 "log of the safe softmax", "target x log", "smoothed target x log", "binary cross-entropy"),
    "open": ("sigmoid(z) = 1 / (1 + exp(-z))", "answers t", "loss, safe form", "familiarity", "thresholds"),
    "multilabel": ("sigmoid(z) = 1 / (1 + exp(-z))", "answers t", "loss, safe form", "thresholds"),
    "ordered": ("log sigmoid(z): higher than this class", "log probability", "target x log"),
}  # fmt: skip


def sheet_of(kind: str, folder: Path, **options: float) -> tuple[Cells, Path]:
    build_loss_book(rows_of(kind, **options)).write(folder / "b.xlsx")
    return read_book(folder / "b.xlsx")[f"{kind} 0"], folder / "b.xlsx"


@pytest.mark.parametrize("kind", STEPS)
def test_a_sheet_has_every_step(kind: str, tmp_path: Path) -> None:
    cells, _ = sheet_of(kind, tmp_path)
    for name in STEPS[kind]:
        assert name in cells.values(), name


def test_plain_and_safe_softmax_are_equal_and_one_row_sums_to_one(tmp_path: Path) -> None:
    cells, _ = sheet_of("category", tmp_path)
    plain, safe = "softmax = exp(z) / sum", "safe softmax"
    for column in (-1, *range(4)):
        assert cells[step(cells, plain, 0, column)] == pytest.approx(cells[step(cells, safe, 0, column)])
    assert cells[step(cells, plain, 0, -1)] == pytest.approx(1)


def test_one_hot_tells_upper_from_lower_case_and_a_missing_label_is_nothing(tmp_path: Path) -> None:
    cells, _ = sheet_of("category", tmp_path)
    found = rows_of("category").targets[0]
    for row, word in enumerate(found.label_words):
        hot = [cells[step(cells, "one-hot target", row, column)] for column in range(4)]
        assert hot == [float(word == one) for one in CLASSES]
    assert "" in found.label_words and sum(hot) <= 1


def test_without_smoothing_the_loss_is_the_cross_entropy(tmp_path: Path) -> None:
    cells, _ = sheet_of("category", tmp_path, smoothing=0.0)
    assert "smoothed target x log" not in cells.values()
    found = rows_of("category", smoothing=0.0).targets[0]
    for row, (word, loss) in enumerate(zip(found.label_words, found.losses, strict=True)):
        assert cells[step(cells, "target x log", row, -1)] == (pytest.approx(loss) if word else "no label")


@needs_office
def test_another_label_makes_another_loss_of_tags_too(tmp_path: Path) -> None:
    cells, path = sheet_of("multilabel", tmp_path, smoothing=0.0)
    top = step(cells, "answers t")
    was = float(cells[top])
    again = recompute(path, {("multilabel 0", top): 1 - was})["multilabel 0"]
    z = rows_of("multilabel", smoothing=0.0).targets[0].raw[0, 0]
    assert again[step(cells, "loss, safe form")] == pytest.approx(np.log1p(np.exp(-z if was == 0 else z)))


@needs_office
def test_outputs_too_large_for_exp_still_have_a_loss(tmp_path: Path) -> None:
    cells, path = sheet_of("category", tmp_path, smoothing=0.0)
    label = rows_of("category").targets[0].label_words[0]
    other, raw = (CLASSES.index(label) + 1) % 4, "raw outputs z"
    again = recompute(path, {("category 0", step(cells, raw, 0, other)): 1000.0})["category 0"]
    own = cells[step(cells, raw, 0, CLASSES.index(label))]
    assert again[step(cells, "target x log", 0, -1)] == pytest.approx(1000 - own)
    assert not isinstance(again[step(cells, "exp(z)", 0, other)], float)


def tags_of(found, row: int) -> str:
    [target] = found.targets
    yes = target.answers[row] >= np.array(target.stats.thresholds)
    return ", ".join(np.array(CLASSES, dtype=object)[yes]) or target.kind.none or "no tag"


@needs_office
@pytest.mark.parametrize("joined", [100, 3])
def test_the_answer_of_tags_is_their_names(
    joined: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losskinds, "JOINED", joined)  # names to a formula
    found = rows_of("multilabel", smoothing=0.0)
    [target] = found.targets
    bare = target.kind.target.model_copy(update={"none": ""})
    kind = kind_of(bare, target.classes, target.stats)
    words = kind.label_words(target.labels, None)
    found = replace(found, targets=[replace(target, kind=kind, label_words=words)])
    raw = found.targets[0].raw
    build_loss_book(found).write(tmp_path / "b.xlsx")
    kept = read_book(tmp_path / "b.xlsx")
    top = [step(kept["multilabel 0"], "raw outputs z", 0, column) for column in range(4)]
    changes = {("multilabel 0", cell): -50.0 for cell in top}
    now = recompute(tmp_path / "b.xlsx", changes)
    wanted = [tags_of(found, row) for row in range(ROWS)]
    assert any(", " in one for one in wanted) and raw.shape == (ROWS, 4)
    assert [kept["Rows"][f"D{5 + row}"] for row in range(ROWS)] == wanted
    assert [now["Rows"][f"D{5 + row}"] for row in range(ROWS)] == ["no tag", *wanted[1:]]


@needs_office
def test_labels_of_tags_follow_the_cells_that_may_be_changed(tmp_path: Path) -> None:
    cells, path = sheet_of("multilabel", tmp_path, smoothing=0.0)
    known, *own = (step(cells, "answers t", 1, column) for column in (-1, *range(4)))  # without labels
    assert "C5" not in read_formulas(path)["Read me"] and cells[known] == 0
    now = recompute(path, {("multilabel 0", own[1]): 1.0, ("multilabel 0", own[3]): 1.0})
    assert now["Rows"].get("C6") == f"{CLASSES[1]}, {CLASSES[3]}"
    none = recompute(path, {("multilabel 0", own[1]): 0.0})
    assert none["Rows"].get("C6") == 'no "one"'
    assert read_book(path)["Rows"].get("C6", "") == "" and isinstance(none["Rows"]["F6"], float)


def test_of_ordered_classes_the_answers_own_probability_is_shown(tmp_path: Path) -> None:
    _, path = sheet_of("ordered", tmp_path)
    [target] = rows_of("ordered").targets
    rows = read_book(path)["Rows"]
    for row, word in enumerate(target.decided):
        assert rows[f"D{5 + row}"] == word
        assert rows[f"E{5 + row}"] == pytest.approx(target.answers[row, CLASSES.index(word)])
