"""What a person sees: numbers in words, nothing read as markup, JSON without NaN."""

from __future__ import annotations

import pytest

from tenfold.cli.console import tell
from tenfold.cli.screen import show_rows, show_scores


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


def test_a_score_without_a_value_is_told_from_one_without_labels(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = float("nan")
    show_scores({"one": {"rmse": 1.0, "r2": nothing, "scored": 4}})
    assert "undefined" in capsys.readouterr().out
    show_scores({"none": {"rmse": nothing, "r2": nothing, "scored": 0}})
    out = capsys.readouterr().out
    assert "no labels" in out and "undefined" not in out


def test_targets_of_different_kinds_have_tables_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"error_rate": 0.25, "log_loss": 0.5, "macro_f1": 0.7, "scored": 8}
    show_scores(
        {
            "label": error,
            "sick": {**error, "auc": 0.875},
            "price": {"rmse": 2.0, "mae": 1.5, "r2": 0.75, "mean_rmse": 4.0, "scored": 9, "unscored": 0},
            "tags": {"log_loss": 0.4, "micro_f1": 0.9, "subset_accuracy": 0.5, "scored": 7, "labels": {}},
        }
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["target", "label", "sick", "target", "price", "target", "tags"]
    assert "0.875" in lines[2] and lines[4][1:] == ["2.000", "4.000", "1.500", "0.750", "9"]
    assert "50.0%" in lines[6]
