"""What a person sees of many runs."""

from __future__ import annotations

import pytest

from tenfold.cli.screen import gib, minutes, short_scores
from tenfold.cli.screen_many import show_blend, show_history


def test_numbers_in_words() -> None:
    assert gib(0) == "" and gib(1 << 29) == "0.50 GiB"
    assert minutes(None) == "" and minutes(12.4) == "12 s" and minutes(240) == "4 min"
    assert short_scores({"a": {"micro_f1": 0.5}, "b": {"error_rate": float("nan")}}) == "a F1 0.500"


def test_a_blend_shows_members_ways_and_both_scores(capsys) -> None:
    ways = {"weights": {"loss": 0.5}, "greedy": {"loss": 0.25}}
    members = [
        {"name": "one", "status": "finished", "scores": {"y": {"error_rate": 0.5}}},
        {"name": "two", "status": "failed"},
    ]
    scores = {"y": {"error_rate": 0.25, "log_loss": 0.25, "scored": 8}}
    show_blend(
        {
            "run": "runs/top",
            "members": members,
            "weights": {"y": {"one": 0.75}},
            "blends": {"y": ways},
            "targets": scores,
            "without_views": scores,
        }
    )
    text = capsys.readouterr().out
    assert "0.75" in text and "50.0% wrong" in text and "failed" in text
    assert text.count("25.0%") == 2 and "runs/top" in text


def test_the_history_says_what_changed(capsys) -> None:
    from tenfold.runs.history import Recorded

    made = {"file": "sub.csv", "sha256": "0", "when": "today"}
    one = Recorded(
        "two", "d", "t", "network", "x", {}, "0.1", {"y": {"error_rate": 0.1}}, 0.1, 60.0, 1 << 30,
        parent="one", changed=("epochs: 3 -> 9",), gain=0.2, leaderboard=(0.9,), submissions=(made,),
        there=False,
    )  # fmt: skip
    show_history([one])
    text = capsys.readouterr().out
    assert "two (gone)" in text and "+0.2000" in text and "0.9" in text
    assert "one: epochs: 3 -> 9" in text and "sub.csv was made by two on today" in text


@pytest.mark.case("B6", "a blend without a score of its own says so, beside its members' scores")
def test_a_blend_of_ratings_promises_no_score(capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"rating": {"rmse": 0.912}}
    one = {"name": "films", "status": "finished", "scores": scores, "seconds": 1.0, "peak_bytes": 1 << 30}
    show_blend({"run": "runs/both", "members": [one], "weights": {"rating": {"films": 1.0}}, "targets": {}})
    said = " ".join(capsys.readouterr().out.split())
    assert "RMSE 0.912" in said and "no score of its own" in said and "tenfold evaluate runs/both" in said
    assert "held out:" not in said
