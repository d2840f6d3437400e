"""An ensemble whose members have not finished is described, and cannot be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenfold.ensembles.networks import NetworkEnsemble
from tenfold.errors import RunError
from tenfold.runs.record import RunRecord
from tenfold.schema import CategoryTarget, NumberColumn, Schema


def test_without_a_finished_member_it_has_a_page_and_no_answers(tmp_path: Path) -> None:
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=(CategoryTarget(name="y"),))
    (tmp_path / "schema.toml").write_text(schema.to_toml(), encoding="utf-8")
    member = {"name": "one", "weight": 1.0, "status": "failed", "runs": [], "scores": {}}
    run = NetworkEnsemble.open(tmp_path, RunRecord({"kind": "blend", "of": "network", "members": [member]}))
    assert "Members" in [section.title for section in run.page().sections]
    with pytest.raises(RunError, match="no member of"):
        run.predict({"x": [1]})
