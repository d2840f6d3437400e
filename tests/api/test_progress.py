"""Progress in Python: nothing when quiet, lines in a script, a growing table in a notebook."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from tenfold.api.progress import NotebookProgress, epoch_row, in_notebook, showing
from tenfold.events import EpochEnded, ImagesRead, StepEnded, SweepEnded


def epoch(number: int, **valid: float) -> EpochEnded:
    return EpochEnded(
        epoch=number, stage="all", steps=3, rows=10, rate=0.1, micro_batch=4, skipped=0,
        train={"y": {"loss": 0.5}}, task_weights={}, valid={"y": valid} if valid else {}, peak_bytes=0,
        seconds=1.4,
    )  # fmt: skip


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A notebook, as far as it shows things: the HTML of each drawing."""
    drawn: list[str] = []

    class Handle:
        def update(self, shown: NotebookProgress) -> None:
            drawn.append(shown._repr_html_())

    def display(shown: NotebookProgress, display_id: bool) -> Handle:
        drawn.append(shown._repr_html_())
        return Handle()

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return drawn


def test_an_epoch_is_a_row_of_losses_and_scores() -> None:
    row = epoch_row(epoch(0, log_loss=0.25, error_rate=0.125))
    assert row == {
        "epoch": "1",
        "training loss": "0.5",
        "validation": "0.25",
        "error": "12.5%",
        "seconds": "1",
    }
    assert "validation" not in epoch_row(epoch(1))


def test_a_notebook_gets_one_table_that_grows(notebook: list[str]) -> None:
    assert in_notebook()
    with showing(quiet=False) as (listener, note):
        assert listener and note
        note("a <b> decision")
        listener(ImagesRead("photo", 3, 9))
        listener(StepEnded(0, 2, "all", 1, 5, 0.1, {"y": 0.5}))
        listener(epoch(0, log_loss=0.3))
        listener(SweepEnded(1, 2, "rmse 0.9"))
        listener(epoch(1, log_loss=0.2))
    assert notebook[-1].count("<tr>") == 3 and "0.2" in notebook[-1]  # a heading and two epochs
    assert "progress" not in notebook[-1] and "1 messages" in notebook[-1] and "&lt;b&gt;" in notebook[-1]
    assert any("<progress" in shown for shown in notebook)


def test_a_notebook_that_was_interrupted_keeps_its_rows(notebook: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), showing(quiet=False) as (listener, _):
        assert listener
        listener(epoch(0, log_loss=0.3))
        raise KeyboardInterrupt
    assert "<progress" not in notebook[-1] and "0.3" in notebook[-1]


def test_a_script_gets_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert not in_notebook()
    with showing(quiet=False) as (listener, note):
        assert listener and note
        note("decided")
        listener(epoch(0, log_loss=0.3))
    shown = capsys.readouterr()
    assert "decided" in shown.err and "0.3" in shown.err and not shown.out


def test_quiet_shows_nothing_and_own_listeners_replace_what_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with showing(quiet=True) as told:
        assert told == (None, None)
    heard: list[object] = []
    with showing(False, heard.append) as (listener, note):
        assert listener is not None and note is None
        listener(epoch(0))
    assert len(heard) == 1 and capsys.readouterr().err == ""
