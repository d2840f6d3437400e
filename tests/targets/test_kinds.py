"""Every kind of target says the same of one row wherever it is asked."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tenfold import metrics
from tenfold.ensembles.weights import Evidence
from tenfold.runs.heldout import evaluate_target
from tenfold.schema import CategoryTarget, MultiLabelTarget, OpenTarget, OrderedTarget
from tenfold.targets.kinds import KINDS, kind_of

LEAST = -math.log(metrics.SMALLEST)
CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("model", [CategoryTarget, OrderedTarget, OpenTarget, MultiLabelTarget])
def test_a_surely_wrong_row_costs_the_same_in_scores_report_blend_and_workbook(model: type) -> None:
    target = model(name="y")
    kind = kind_of(target, CLASSES)
    # Sure of "b", and it was "a"; of questions two of three answers are surely wrong.
    chance = np.array([[0.0, 1.0, 0.0]])
    labels = np.array([[1, 0, 0]]) if target.kind == "multilabel" else np.array([0])
    wanted = LEAST if kind.exclusive else LEAST * 2 / 3
    assert kind.scores(chance, labels)["log_loss"] == pytest.approx(wanted, rel=1e-12)
    assert kind.row_losses(chance, labels) == pytest.approx([wanted], rel=1e-12)
    given, row, _ = kind.evidence(chance[None], labels)
    assert Evidence(given, row).loss_of(given @ np.ones(1)) == pytest.approx(wanted, rel=1e-12)
    columns = {"id": ["r"], "y": ["a"], "y:predicted": ["b"], "y:a": [0.0], "y:b": [1.0], "y:c": [0.0]}
    found = evaluate_target(columns, target, CLASSES)
    # A report tells the loss of the label's class, and of tags that of all questions.
    assert found is not None
    assert found.loss == pytest.approx([wanted if target.kind == "multilabel" else LEAST], rel=1e-12)


def test_kinds_are_known_by_their_word_in_the_schema() -> None:
    assert all(kind.kind == word for word, kind in KINDS.items())
    assert kind_of(OpenTarget(name="x", none="other"), ("a",)).stratum_names() == ("a", "other")
