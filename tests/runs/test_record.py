"""A record is what `run.json` says, typed; nothing of it is lost."""

from __future__ import annotations

import math

from tenfold.runs.record import RunRecord


def test_a_value_that_an_older_run_lacks_has_its_default() -> None:
    record = RunRecord({"kind": "network"})
    assert (record.rows, record.table, record.notes, record.weighted_by) == (0, None, [], "")


def test_keys_of_a_later_version_are_kept() -> None:
    record = RunRecord({"kind": "network", "rows": 7, "later": [1]})
    assert record.with_values(rows=8).values == {"kind": "network", "rows": 8, "later": [1]}


def test_a_score_that_was_not_measured_is_nan() -> None:
    record = RunRecord({"targets": {"label": {"error_rate": None, "rows": 3}}})
    assert math.isnan(record.targets["label"]["error_rate"]) and record.targets["label"]["rows"] == 3


def test_a_blend_is_called_after_what_it_is_of() -> None:
    kinds = [{"kind": "blend"}, {"kind": "blend", "of": "ratings"}, {"kind": "pairs"}]
    assert [RunRecord(about).run_kind for about in kinds] == [
        "blend of network",
        "blend of ratings",
        "pairs",
    ]


def test_a_member_without_runs_has_not_finished() -> None:
    members = [{"name": "a", "runs": [{"path": "a", "sha256": ""}]}, {"name": "b", "status": "failed"}]
    found = RunRecord({"kind": "blend", "members": members}).members
    assert [(member.name, member.is_finished) for member in found] == [("a", True), ("b", False)]
