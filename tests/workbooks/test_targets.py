"""What a sheet shows of each kind, step by step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from losses import CLASSES, ROWS, rows_of
from office import Cells, needs_office, read_book, read_formulas, recompute
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


def below(cells: Cells, title: str) -> int:
    """The line of a block's first row."""
    return next(int(cell[1:]) for cell, value in cells.items() if value == title and cell[0] == "A") + 1


@pytest.mark.parametrize("kind", STEPS)
def test_a_sheet_has_every_step(kind: str, tmp_path: Path) -> None:
    cells, _ = sheet_of(kind, tmp_path)
    for step in STEPS[kind]:
        assert step in cells.values(), step


def test_plain_and_safe_softmax_are_equal_and_one_row_sums_to_one(tmp_path: Path) -> None:
    cells, _ = sheet_of("category", tmp_path)
    plain, safe = below(cells, "softmax = exp(z) / sum"), below(cells, "safe softmax")
    for letter in "CDEFG":
        assert cells[f"{letter}{plain}"] == pytest.approx(cells[f"{letter}{safe}"])
    assert cells[f"C{plain}"] == pytest.approx(1)


def test_one_hot_tells_upper_from_lower_case_and_a_missing_label_is_nothing(tmp_path: Path) -> None:
    cells, _ = sheet_of("category", tmp_path)
    top, found = below(cells, "one-hot target"), rows_of("category").targets[0]
    for row, word in enumerate(found.label_words):
        hot = [cells[f"{letter}{top + row}"] for letter in "DEFG"]
        assert hot == [float(word == one) for one in CLASSES]
    assert "" in found.label_words and sum(hot) <= 1


def test_without_smoothing_the_loss_is_the_cross_entropy(tmp_path: Path) -> None:
    cells, _ = sheet_of("category", tmp_path, smoothing=0.0)
    assert "smoothed target x log" not in cells.values()
    top, found = below(cells, "target x log"), rows_of("category", smoothing=0.0).targets[0]
    for row, (word, loss) in enumerate(zip(found.label_words, found.losses, strict=True)):
        assert cells[f"C{top + row}"] == (pytest.approx(loss) if word else "no label")


@needs_office
def test_another_label_makes_another_loss_of_tags_too(tmp_path: Path) -> None:
    cells, path = sheet_of("multilabel", tmp_path, smoothing=0.0)
    top = below(cells, "answers t")
    was = float(cells[f"D{top}"])
    again = recompute(path, {("multilabel 0", f"D{top}"): 1 - was})["multilabel 0"]
    z = rows_of("multilabel", smoothing=0.0).targets[0].raw[0, 0]
    line = below(cells, "loss, safe form")
    assert again[f"D{line}"] == pytest.approx(np.log1p(np.exp(-z if was == 0 else z)))


@needs_office
def test_outputs_too_large_for_exp_still_have_a_loss(tmp_path: Path) -> None:
    cells, path = sheet_of("category", tmp_path, smoothing=0.0)
    label = rows_of("category").targets[0].label_words[0]
    letter = "DEFG"[(CLASSES.index(label) + 1) % 4]
    top = below(cells, "raw outputs z")
    again = recompute(path, {("category 0", f"{letter}{top}"): 1000.0})["category 0"]
    own = cells[f"{'DEFG'[CLASSES.index(label)]}{top}"]
    assert again[f"C{below(cells, 'target x log')}"] == pytest.approx(1000 - own)
    assert not isinstance(again[f"{letter}{below(cells, 'exp(z)')}"], float)


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
    kept, top = read_book(tmp_path / "b.xlsx"), below(read_book(tmp_path / "b.xlsx")["multilabel 0"],
                                                      "raw outputs z")  # fmt: skip
    changes = {("multilabel 0", f"{letter}{top}"): -50.0 for letter in "DEFG"}
    now = recompute(tmp_path / "b.xlsx", changes)
    wanted = [tags_of(found, row) for row in range(ROWS)]
    assert any(", " in one for one in wanted) and raw.shape == (ROWS, 4)
    assert [kept["Rows"][f"D{5 + row}"] for row in range(ROWS)] == wanted
    assert [now["Rows"][f"D{5 + row}"] for row in range(ROWS)] == ["no tag", *wanted[1:]]


@needs_office
def test_labels_of_tags_follow_the_cells_that_may_be_changed(tmp_path: Path) -> None:
    cells, path = sheet_of("multilabel", tmp_path, smoothing=0.0)
    top = below(cells, "answers t")
    line = top + 1  # the row without labels
    assert "C5" not in read_formulas(path)["Read me"] and cells[f"C{line}"] == 0
    now = recompute(path, {("multilabel 0", f"E{line}"): 1.0, ("multilabel 0", f"G{line}"): 1.0})
    assert now["Rows"].get("C6") == f"{CLASSES[1]}, {CLASSES[3]}"
    none = recompute(path, {("multilabel 0", f"E{line}"): 0.0})
    assert none["Rows"].get("C6") == 'no "one"'
    assert read_book(path)["Rows"].get("C6", "") == "" and isinstance(none["Rows"]["F6"], float)


def test_of_ordered_classes_the_answers_own_probability_is_shown(tmp_path: Path) -> None:
    _, path = sheet_of("ordered", tmp_path)
    [target] = rows_of("ordered").targets
    rows = read_book(path)["Rows"]
    for row, word in enumerate(target.decided):
        assert rows[f"D{5 + row}"] == word
        assert rows[f"E{5 + row}"] == pytest.approx(target.answers[row, CLASSES.index(word)])
