"""What a person sees while they wait: a line for each epoch, one for each member, the time that is left."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from tenfold.cli import progress
from tenfold.cli.progress import Display, EpochTable, MembersDisplay, cut, members_lines, pace
from tenfold.events import (
    EpochEnded,
    ImagesRead,
    MemberRow,
    MembersChanged,
    RowsPredicted,
    StageBegan,
    StepEnded,
    SweepEnded,
    TrialBegan,
)

RECORD: dict[str, Any] = {
    "epoch": 2, "stage": "all", "skipped": 7, "epoch_steps": 9, "updates": 8, "seconds": 12.4,
    "steps": 27, "rows": 9, "rate": 0.1, "micro_batch": 1, "task_weights": {}, "peak_bytes": 0,
    "train": {"disease": {"loss": 0.5}, "variety": {"loss": 1.25}},
    "valid": {
        "disease": {"log_loss": 0.4, "error_rate": 0.125},
        "variety": {"log_loss": float("nan"), "error_rate": float("nan")},
    },
}  # fmt: skip


def table_of(width: int = 80, **changes: Any) -> list[str]:
    """Headings and the line of an epoch."""
    epoch = EpochEnded(**{**RECORD, **changes})
    table = EpochTable(epoch, width)
    return [*table.heads, *table.lines(epoch)]


def test_an_epoch_of_two_targets_is_a_line_of_80_columns() -> None:
    names, heads, line, skipped = table_of()
    assert max(map(len, (names, heads, line))) <= 80
    assert names.split() == ["disease", "variety"]
    assert heads.split() == ["epoch", *["train", "valid", "error"] * 2, "time"]
    assert line.split() == ["3", "0.500", "0.400", "12.5%", "1.250", "-", "-", "12", "s"]
    assert skipped.strip() == "1 of 9 updates skipped (half precision overflowed)"
    assert names.index("disease") == heads.index("train") - 2  # a name begins where its columns begin


def test_a_target_without_a_training_label_has_no_loss() -> None:
    line = table_of(updates=9, train={"disease": {"loss": 0.5}})[2]
    assert line.split() == ["3", "0.500", "0.400", "12.5%", "-", "-", "-", "12", "s"]
    alone = table_of(updates=9, train={"disease": {"loss": 0.5}}, valid={})
    assert alone[1].split() == ["epoch", "train", "time"] and alone[2].split() == ["3", "0.500", "12", "s"]


def test_an_epoch_shows_the_scores_of_each_kind() -> None:
    changes: dict[str, Any] = {
        "updates": 9,
        "train": {"stage": {"loss": 0.5}, "price": {"loss": 0.25}},
        "valid": {
            "stage": {"log_loss": 0.75, "error_rate": 0.5, "rank_error": 0.625, "scored": 8},
            "price": {"rmse": 2.5, "r2": 0.5, "mae": 2.0, "scored": 8},
        },
        "task_weights": {"stage": 1.0, "price": 0.5},
    }
    _, heads, line = table_of(100, **changes)
    assert heads.split() == "epoch train valid error ranks train RMSE R2 weight time".split()
    assert line.split() == "3 0.500 0.750 50.0% 0.625 0.250 2.500 0.500 0.50 12 s".split()
    # In a narrow window what matters least goes first, and a score of each target stays.
    assert table_of(88, **changes)[1].split() == "epoch train valid error ranks train RMSE R2 time".split()
    assert table_of(72, **changes)[1].split() == "epoch valid error ranks RMSE R2 time".split()
    assert table_of(44, **changes)[1].split() == "epoch error RMSE time".split()


@pytest.mark.parametrize("targets", [1, 2, 3, 5, 8, 30])
def test_any_number_of_targets_is_a_line(targets: int) -> None:
    scores = {"log_loss": 0.4, "error_rate": 0.125}
    names = [f"a target of a long name {number}" for number in range(targets)]
    changes: dict[str, Any] = {
        "updates": 9, "train": {name: {"loss": 1.0} for name in names}, "valid": dict.fromkeys(names, scores),
    }  # fmt: skip
    lines = table_of(80, **changes)
    assert len(lines) == 3 and max(map(cell_len, lines)) <= 80
    shown = lines[2].count("12.5%")
    assert shown == targets or f"+{targets - shown} more" in lines[0]


def test_the_epochs_of_the_last_layer_are_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    step: dict[str, Any] = {"step": 1, "steps": 2, "losses": {"disease": 1.0}, "epochs": 4, "rate": 0.1}
    with display:
        display.progress(StepEnded(**step, epoch=0, stage="head"))
        assert display._bar.tasks[0].description == "last layer 1/4"
        display.progress(StepEnded(**step, epoch=1, stage="all"))
        task = display._bar.tasks[0]
        # The bar is of all epochs, so that its time left is that of the training.
        assert (task.description, task.completed, task.total) == ("epoch 2/4", 3, 8)
    assert table_of(stage="head")[2].startswith("  3 last layer")


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_is_a_rate_and_the_time_left() -> None:
    clock, display = _Clock(), Display()
    display._bar.get_time = clock
    display._begin("waiting", None)
    clock.now = 7.0
    assert pace(display._bar.tasks[0]) == "7 s"
    for done in range(1, 7):
        display.progress(ImagesRead("photo", 10 * done, 600))
        clock.now += 1.0
    assert pace(display._bar.tasks[0]) == "10/s, 54 s left"
    for step in range(1, 4):
        display.progress(StepEnded(0, 4, "all", step, 10, 0.1, {"a": 1.0}))
        clock.now += 30.0
    assert pace(display._bar.tasks[0]) == "30.0 s each, 18 min left"
    # All layers take longer than the last one alone: its time left would be too short.
    display.progress(StepEnded(0, 4, "head", 1, 10, 0.1, {"a": 1.0}))
    clock.now += 0.5
    display.progress(StepEnded(0, 4, "head", 2, 10, 0.1, {"a": 1.0}))
    assert pace(display._bar.tasks[0]) == "2.0/s"


def test_progress_takes_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display.progress(StageBegan("reading"))
        display.progress(TrialBegan(0, 2))
        display.progress(ImagesRead("id", 1, 2))
        display.progress(StepEnded(0, 2, "all", 1, 3, 0.1, {"t": 0.5}))
        display.progress(EpochEnded(**{**RECORD, "epoch": 0}))
        display.progress(EpochEnded(**RECORD))
        display.progress(TrialBegan(1, 2))
        display.progress(RowsPredicted(2, 2))
        display.progress(SweepEnded(1, 2))
    lines = capsys.readouterr().err.splitlines()
    assert sum("train" in line for line in lines) == 1  # one heading to a training


def test_without_a_window_a_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = _Clock()
    monkeypatch.setattr("tenfold.cli.progress.time.monotonic", clock)
    with Display() as display:
        display._bar.get_time = clock
        for step in range(1, 41):
            clock.now += 1.0
            display.progress(StepEnded(0, 1, "all", step, 60, 0.1, {"a": 1.0}))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/1", "epoch 1/1"]
    assert lines[1] == "epoch 1/1: 30/60  1.0/s, 30 s left  loss 1.000"


def row(**changes: Any) -> MemberRow:
    return replace(MemberRow("one", "waiting", "", {}, 0, 0.0, None), **changes)


def test_a_member_is_a_line_with_stage_score_and_time_left() -> None:
    scores = {"label": {"error_rate": 0.125}, "mass": {"rmse": 2.5}}
    long = "tf_efficientnet_lite0-squish-224-2"
    rows = [
        row(status="finished", stage="finished", scores=scores, peak_bytes=3 << 30, seconds=100.0),
        row(member=long, status="running", stage="epoch 2/12", seconds_left=600.0),
        row(member="three"),
    ]
    lines = [line.plain for line in members_lines(rows, 80)]
    assert max(map(len, lines)) <= 80 and len(lines) == 5
    assert lines[1].split()[:2] == ["one", "finished"] and "label 12.5% wrong" in lines[1]
    assert "tf_efficientnet_lite0-squ…  epoch 2/12" in lines[2] and lines[2].endswith("10 min")
    # What runs, and what waits at the pace of what has finished.
    assert lines[4].strip() == "12 min"
    assert str(members_lines([row(status="failed")], 80)[1].style) == "red"
    assert cut("图图图", 4) == "图 …" and cut("ab", 4) == "ab  " and cut("abcdef", 0) == ""


def test_without_a_window_only_what_ends_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with MembersDisplay() as display:
        for status, stage in (
            ("waiting", ""),
            ("running", "starting"),
            ("running", "epoch 1/2"),
            ("failed", "no"),
        ):
            display.progress(MembersChanged([row(status=status, stage=stage)]))
        display.progress(StageBegan("blending"))
        display.note("[bold]a note[/bold]")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["one: starting", "one: no", "blending", "[bold]a note[/bold]"]


@pytest.mark.parametrize("display", [Display, MembersDisplay])
def test_a_window_shows_something_from_the_start(
    monkeypatch: pytest.MonkeyPatch, display: type[Display | MembersDisplay]
) -> None:
    stream = io.StringIO()
    made = Console(file=stream, force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr(progress, "progress_console", lambda: made)
    with display() as shown:
        if isinstance(shown, MembersDisplay):
            shown._live.refresh()
        assert "loading" in stream.getvalue()
        shown.progress(StageBegan("planning"))
        shown.progress(MembersChanged([row(stage="epoch 1/2", status="running")]))
