"""Networks joined by the names of their classes, and what they keep of rows that they held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shown import ODD, trained
from tenfold.ensembles.joined import blend_of, held_out, number_scale
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member


def test_held_out_answers_are_those_of_the_run() -> None:
    _, run = trained()
    blend = blend_of(Path("nowhere"), [Member("one", 1.0, (run,))], RunRecord({}))
    held = held_out(blend, blend.members[0])
    assert held is not None and held.answers[ODD].shape == (len(held.ids), len(blend.classes[ODD]))
    known = held.labels[ODD] >= 0
    labels = np.array(blend.classes[ODD])[held.labels[ODD][known]]
    assert (labels == held.words[ODD][known]).all()
    error = (held.answers[ODD].argmax(axis=1) != held.labels[ODD])[known].mean()
    assert error == pytest.approx(run.scores[ODD]["error_rate"])
    assert number_scale(blend, "age") == run.encoding.targets["age"].deviation
