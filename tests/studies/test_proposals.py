"""Proposals and their file: what was stopped half-way is forgotten, and what ended is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenfold.studies.proposals import Proposals, quiet
from tenfold.studies.searched import Range, SearchTrial

pytest.importorskip("optuna")
SPACE = {"lr": Range(1e-4, 1e-1), "optimizer": ("adamw", "lion")}


def test_a_trial_that_was_stopped_is_proposed_again(tmp_path: Path) -> None:
    with quiet():
        kept = Proposals.open(tmp_path, higher=False, seed=3, unjudged=None)
        kept.check({"table": "one"})
        first = kept.ask(SPACE, 0, {"lr": 0.002, "optimizer": "lion"})
        assert dict(first.drawn) == {"lr": 0.002, "optimizer": "lion"} and first.is_own
        again = Proposals.open(tmp_path, higher=False, seed=3, unjudged=None)
        again.check({"table": "one"})
        second = again.ask(SPACE, 0, {"lr": 0.002, "optimizer": "lion"})
        assert dict(second.drawn) == dict(first.drawn)
        again.tell(second, SearchTrial(0, {"lr": 0.002}, 0.25, "finished", 1.0, is_own=True, targets={}))
        other = again.ask(SPACE, 1, None)
        assert dict(other.drawn) != dict(first.drawn)
        again.tell(other, SearchTrial(1, {"lr": 0.1}, 0.0, "failed", 1.0, "no", targets={}))
        third = Proposals.open(tmp_path, higher=False, seed=3, unjudged=None)
        ended = third.ended()
    assert [(trial.score, trial.status, trial.is_own) for trial in ended[:1]] == [(0.25, "finished", True)]
    assert ended[1].status == "failed" and ended[1].failed == "no" and ended[1].score != ended[1].score


def test_a_line_that_was_cut_off_loses_that_line_only(tmp_path: Path) -> None:
    with quiet():
        kept = Proposals.open(tmp_path, higher=False, seed=3, unjudged=None)
        kept.check({})
        kept.tell(kept.ask(SPACE, 0, None), SearchTrial(0, {"lr": 1.0}, 0.5, "finished", targets={}))
        (file,) = [path for path in tmp_path.iterdir() if path.suffix == ".log"]
        whole = file.read_bytes()
        with open(file, "ab") as stream:
            stream.write(b'{"op_code":6,"wor')
        again = Proposals.open(tmp_path, higher=False, seed=3, unjudged=None)
        assert [trial.score for trial in again.ended()] == [0.5]
    assert file.read_bytes().startswith(whole)
