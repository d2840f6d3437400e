"""What all runs share: options that a kind does not take, a summary, a page, a workbook's refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from tenfold.errors import OutputError, RecipeError, RunError
from tenfold.reports.html import Page, Section
from tenfold.runs.options import AS_TRAINED, ExplainOptions, PredictOptions, Reading
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member, Run
from tenfold.schema import Schema
from tenfold.values import Predictions


class Plain(Run):
    """A run that answers nothing."""

    kind = "plain"
    words = "a plain run"
    takes: ClassVar = frozenset({"views"})
    summarised = ("rows", "seconds", "targets")

    @classmethod
    def open(cls, path: Path, record: RunRecord) -> Plain:
        return cls(path, Schema(inputs=(), targets=()), record)

    def predict(self, source: object, options: Any = AS_TRAINED, **changes: Any) -> Predictions:
        self.options(options, changes)  # type: ignore[arg-type]
        raise NotImplementedError

    def evaluate(self, source: object, options: Any = AS_TRAINED, **changes: Any) -> dict[str, Any]:
        return {}

    def page(self, **_: Any) -> Page:
        return Page("A plain page", "of nothing", [Section("Scores", "none")], ["not shown"])


@pytest.fixture
def run(tmp_path: Path) -> Plain:
    return Plain.open(tmp_path, RunRecord({"kind": "plain", "rows": 3, "targets": {"y": {"rmse": None}}}))


def test_an_option_that_such_a_run_does_not_take_is_named(run: Plain) -> None:
    with pytest.raises(RecipeError, match="a plain run, which has no option unknown") as caught:
        run.predict("table.csv", unknown="raise")
    assert caught.value.labels["fix"] == "leave it out; it takes views"


def test_words_for_the_table_are_words_of_the_reading(run: Plain) -> None:
    given = PredictOptions(reading=Reading(workers=5))
    made = run.options(given, {"table_options": {"separator": ";"}, "skip_bad": True, "views": 4, "id": None})
    assert made == PredictOptions(Reading(workers=5, table={"separator": ";"}, skip_bad=True), views=4)


def test_the_summary_has_what_there_is(run: Plain) -> None:
    assert list(run.summary) == ["run", "rows", "targets"] and run.scores == run.summary["targets"]


def test_its_page_is_shown_and_written(run: Plain, tmp_path: Path) -> None:
    assert "A plain page" in run.show().page
    found = run.write_page()
    assert found["sections"] == ["Scores"] and found["notes"] == ["not shown"]
    assert found["output"] == str(tmp_path / "report.html") and found["bytes"] > 0


def test_a_run_without_epochs_says_where_there_are_some(run: Plain) -> None:
    with pytest.raises(RunError, match="has no epochs to draw"):
        run.plot_losses()
    many = Plain(run.path, run.schema, run.record, members=(Member("a", 1.0, (run,)),))
    with pytest.raises(RunError) as caught:
        many.plot_losses()
    assert caught.value.labels["fix"] == f"its members have them: {run.path}"


def test_a_run_without_a_workbook_says_so(run: Plain, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a plain run, which has no workbook"):
        run.write_explanation()
    with pytest.raises(OutputError, match="written as .xlsx"):
        run.write_explanation(output=tmp_path / "book.csv")
    with pytest.raises(RecipeError, match="one row at least"):
        run.write_explanation(options=ExplainOptions(n=0))
