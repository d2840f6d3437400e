"""What a person sees: numbers in words, nothing read as markup, JSON without NaN."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tenfold.cli.screen import (
    Display,
    epoch_line,
    print_json,
    say,
    show_rows,
    show_scores,
    take_any_text,
    tell,
)
from tenfold.events import EpochEnded, ImagesRead, RowsPredicted, StepEnded, SweepEnded

RECORD: dict[str, Any] = {
    "epoch": 2, "stage": "all", "skipped": 7, "epoch_steps": 9, "updates": 8, "seconds": 12.4,
    "steps": 27, "rows": 9, "rate": 0.1, "micro_batch": 1, "task_weights": {}, "peak_bytes": 0,
    "train": {"disease": {"loss": 0.5}, "variety": {"loss": 1.25}},
    "valid": {
        "disease": {"log_loss": 0.4, "error_rate": 0.125},
        "variety": {"log_loss": float("nan"), "error_rate": float("nan")},
    },
}  # fmt: skip


def test_an_epoch_in_one_line() -> None:
    line = epoch_line(EpochEnded(**RECORD))
    assert "epoch  3 (all)" in line and "disease: loss 0.500, validation 0.400, error 12.5%" in line
    assert "variety: loss 1.250, validation no labels, error no labels" in line
    assert "1 of 9 updates skipped" in line and line.endswith("12 s")


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


def test_a_score_without_a_value_is_told_from_one_without_labels(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = float("nan")
    show_scores({"one": {"rmse": 1.0, "r2": nothing, "scored": 4}})
    assert "undefined" in capsys.readouterr().out
    show_scores({"none": {"rmse": nothing, "r2": nothing, "scored": 0}})
    out = capsys.readouterr().out
    assert "no labels" in out and "undefined" not in out


def test_progress_takes_every_event() -> None:
    with Display() as display:
        display.progress(ImagesRead("id", 1, 2))
        display.progress(StepEnded(0, 2, "all", 1, 3, 0.1, {"t": 0.5}))
        display.progress(EpochEnded(**RECORD))
        display.progress(RowsPredicted(2, 2))
        display.progress(SweepEnded(1, 2))


def test_a_target_without_a_training_label_is_told_so() -> None:
    line = epoch_line(EpochEnded(**{**RECORD, "updates": 9, "train": {"disease": {"loss": 0.5}}}))
    assert "variety: loss no labels, validation no labels" in line
    assert "disease: loss 0.500" in line
    alone = epoch_line(EpochEnded(**{**RECORD, "train": {"disease": {"loss": 0.5}}, "valid": {}}))
    assert "disease: loss 0.500   1 of 9 updates" in alone


def test_json_takes_numbers_of_numpy(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(
        {
            "a": np.float32(2.5),
            "b": np.int64(3),
            "c": np.float32("nan"),
            "d": np.array([1.0, np.nan]),
            "e": np.bool_(True),
            5: [np.float64("inf")],
        }
    )
    found = json.loads(capsys.readouterr().out)
    assert found == {"a": 2.5, "b": 3, "c": None, "d": [1.0, None], "e": True, "5": [None]}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_text_can_be_shown_in_any_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    text = "caf\u00e9 \u56fe \udce9"  # the last is a byte of a file name that is no text
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    take_any_text()
    tell(text)
    print_json({text: [text]})
    say(text)
    with Display() as display:
        display.note(text)
        display.progress(ImagesRead(text, 1, 1))
    for stream in streams.values():
        stream.flush()
    shown, told = streams["stdout"].buffer.getvalue().split(b"\n")[:2]  # type: ignore[attr-defined]
    wanted = {
        "ascii": b"caf\\xe9 \\u56fe \xe9",
        "cp1252": b"caf\xe9 \\u56fe \xe9",
        "utf-8": "café 图 ".encode() + b"\xe9",
    }
    assert shown.strip() == wanted[encoding]
    assert json.loads(told.decode(encoding)) == {text: [text]}
    assert wanted[encoding] in streams["stderr"].buffer.getvalue()  # type: ignore[attr-defined]


def test_a_command_does_not_fail_over_the_letters_of_a_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tenfold", "predict", "runs/图", "x.csv"],
        capture_output=True,
        env={**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii:strict"},
    )
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert b"runs/\\u56fe does not exist" in done.stderr


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


def test_an_epoch_shows_the_scores_of_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    record = {
        **RECORD,
        "updates": 9,
        "train": {"stage": {"loss": 0.5}, "price": {"loss": 0.25}},
        "valid": {
            "stage": {"log_loss": 0.75, "error_rate": 0.5, "rank_error": 0.625, "scored": 8},
            "price": {"rmse": 2.5, "r2": 0.5, "mae": 2.0, "scored": 8},
        },
        "task_weights": {"stage": 1.0, "price": 0.5},
    }
    text = epoch_line(EpochEnded(**record))
    assert "stage: loss 0.500, validation 0.750, error 50.0%, ranks off 0.625" in text
    assert "price: loss 0.250, validation RMSE 2.500, R2 0.500, weight 0.50" in text
