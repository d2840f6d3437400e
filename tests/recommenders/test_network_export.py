"""Networks of ratings leave as graphs of pairs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
import pytest

from tenfold.recommenders.run import RecommenderRun
from tenfold.runs.registry import load_run

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2" / "runs"


@pytest.mark.parametrize("name", ["dot", "mlp"])
def test_pairs_are_scored_as_the_run_scores_them(name: str, tmp_path: Path) -> None:
    run = cast(RecommenderRun, load_run(shutil.copytree(GOLDEN / name, tmp_path / name)))
    told = run.export(tmp_path / "new" / "a.onnx")
    assert told["check"]["rows"] > 3 and told["check"]["largest_difference"] < 1e-5
    users, items = [*run.interactions.users[:5], "nobody"], [*run.interactions.items[:5], "nothing"]
    session = onnxruntime.InferenceSession(told["output"], providers=["CPUExecutionProvider"])
    feeds = zip(told["inputs"], (users, items), strict=True)
    made = session.run(None, {key: np.array(ids, object) for key, ids in feeds})[0]
    np.testing.assert_allclose(made[:, 0], run.predict_pairs(users, items).score, rtol=1e-6)
