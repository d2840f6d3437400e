"""What a person sees: numbers in words, nothing read as markup, JSON without NaN."""

from __future__ import annotations

import json

import pytest

from tenfold.screen import Display, epoch_line, print_json, show_rows, show_scores, tell

RECORD = {
    "epoch": 2, "stage": "all", "skipped": 1, "seconds": 12.4,
    "train": {"disease": {"loss": 0.5}, "variety": {"loss": 1.25}},
    "valid": {
        "disease": {"log_loss": 0.4, "error_rate": 0.125},
        "variety": {"log_loss": float("nan"), "error_rate": float("nan")},
    },
}  # fmt: skip


def test_an_epoch_in_one_line() -> None:
    line = epoch_line(RECORD)
    assert "epoch  3 (all)" in line and "disease: loss 0.500, validation 0.400, error 12.5%" in line
    assert "variety: loss 1.250, validation no labels, error no labels" in line
    assert "1 updates skipped" in line and line.endswith("12 s")


def test_json_has_null_where_there_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": "é", "e": (1, None)}})
    text = capsys.readouterr().out
    assert json.loads(text) == {"a": None, "b": [1.5, None], "c": {"d": "é", "e": [1, None]}}
    assert "é" in text and text.count("\n") == 1


def test_names_are_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    tell("[bold]x[/bold] [/nothing]")
    show_rows({"[red]id": ["[blue]a"], "b": ["[/]"]})
    show_scores({"[bold]t[/bold]": {"error_rate": 0.5, "log_loss": 1.0, "scored": 3}})
    out = capsys.readouterr().out
    for text in ("[bold]x[/bold] [/nothing]", "[blue]a", "[/]", "[bold]t[/bold]"):
        assert text in out


def test_scores_stand_beside_the_majority(capsys: pytest.CaptureFixture[str]) -> None:
    show_scores({"t": {"error_rate": 0.25, "majority_error_rate": 0.75, "log_loss": 0.5, "scored": 8}})
    out = capsys.readouterr().out
    assert "25.0%" in out and "75.0%" in out and "0.500" in out and "8" in out
    show_scores({})
    assert capsys.readouterr().out == ""


def test_progress_takes_every_event() -> None:
    with Display() as display:
        display.progress({"event": "images", "column": "id", "done": 1, "total": 2})
        display.progress(
            {
                "event": "step",
                "epoch": 0,
                "epochs": 2,
                "step": 1,
                "steps": 3,
                "rate": 0.1,
                "losses": {"t": 0.5},
            }
        )
        display.progress({"event": "epoch", **RECORD})
        display.progress({"event": "rows", "done": 2, "total": 2})
