"""What a worker answers for networks: all faults of a check at once."""

from __future__ import annotations

from pathlib import Path

from ensembles.test_worker import ask, request_of


def test_every_fault_of_a_check_is_answered_at_once(tmp_path: Path) -> None:
    members = [
        {"name": "a", "recipe": {"arch": "test_resnett", "weights": "none"}},
        {"name": "b", "recipe": {"arch": "test_resnet", "weights": "missing.pth"}},
        {"name": "c", "recipe": {"arch": "test_resnet", "weights": "none", "task_weights": {"lable": 1}}},
    ]
    request = request_of(tmp_path, task="check", members=members, folds=40)
    request["table"] = "train.csv"
    code, lines = ask(tmp_path, request)
    faults = lines[-1]["faults"]
    assert code == 0 and [one["member"] for one in faults] == ["", "a", "b", "c"]
    assert "40 folds" in faults[0]["message"] and "did you mean 'label'?" in faults[3]["fix"]
