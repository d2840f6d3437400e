"""A number's sheet: stretched within its range or not, squared or Huber's error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from losses import rows_of
from office import read_book, step
from tenfold.workbooks.lastlayer import build_loss_book
from tenfold.workbooks.number import sigmoid


@pytest.mark.parametrize("kind", ["number", "bounded", "huber", "count"])
def test_answers_and_losses_are_the_models(kind: str, tmp_path: Path) -> None:
    found = rows_of(kind)
    build_loss_book(found).write(tmp_path / "b.xlsx")
    cells = read_book(tmp_path / "b.xlsx")[f"{kind} 0"]
    target = found.targets[0]
    answers = [cells[step(cells, "answer", row)] for row in range(5)]
    losses = [cells[step(cells, "loss", row, -1)] for row in range(5)]
    assert answers == pytest.approx(list(target.answers[:, 0]))
    assert [losses[0], *losses[2:]] == pytest.approx(target.losses[[0, 2, 3, 4]].tolist())
    assert losses[1] == "no label" and step(cells, "label", 1) not in cells  # its label is missing


def test_the_sigmoid_never_overflows() -> None:
    assert sigmoid(np.array([-1e9, 0.0, 1e9])).tolist() == [0.0, 0.5, 1.0]
