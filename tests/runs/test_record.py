"""A record is what `run.json` says, typed; nothing of it is lost."""

from __future__ import annotations

import json
import math

from tenfold.runs.record import RunRecord, nan_to_none, none_to_nan


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


def test_what_is_no_number_is_null_and_comes_back() -> None:
    value = {
        "a": {"x": float("nan"), "y": 0.5, "n": 3},
        "b": [1.5, float("inf"), ("c", -float("inf"))],
        4: True,
    }
    plain = nan_to_none(value)
    assert plain == {"a": {"x": None, "y": 0.5, "n": 3}, "b": [1.5, None, ["c", None]], "4": True}
    json.dumps(plain, allow_nan=False)
    back = none_to_nan({"a": plain["a"]})
    assert back["a"]["x"] != back["a"]["x"] and back["a"]["y"] == 0.5
