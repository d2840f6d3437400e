"""What a network got right and wrong: counts that agree with its scores, rows that agree with its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tenfold
from shown import ODD, trained
from tenfold.errors import RunError


def test_a_confusion_agrees_with_the_error_rate() -> None:
    _, run = trained()
    for target in (ODD, "size", "grade"):
        counts = run.confusion(target).counts
        wrong = 1 - np.trace(counts) / counts.sum()
        assert wrong == pytest.approx(run.scores[target]["error_rate"])
        assert counts.sum() == run.scores[target]["scored"]


def test_mistakes_are_listed_the_most_frequent_first() -> None:
    from tenfold.networks.interpret import Confusion

    counts = np.array([[5, 2, 0], [7, 1, 0], [0, 1, 3]])
    found = Confusion("y", ("a", "b", "c"), counts)
    assert found.most_confused() == [("b", "a", 7), ("a", "b", 2), ("c", "b", 1)]
    assert found.most_confused(1) == [("b", "a", 7)]
    assert "9 of 19" in repr(found) and len(found) == 3
    assert list(found)[0] == {"label": "a", "a": 5, "b": 2, "c": 0}


def test_a_confusion_is_a_data_frame_of_labels_by_answers() -> None:
    pytest.importorskip("pandas")
    _, run = trained()
    frame = run.confusion("size").to_frame()
    assert list(frame.index) == list(frame.columns) == ["big", "small"]
    assert frame.index.name == "label" and frame.columns.name == "answer"
    np.testing.assert_array_equal(frame.to_numpy(), run.confusion("size").counts)


def test_the_costly_rows_come_first_and_say_why() -> None:
    folder, run = trained()
    rows = run.top_losses(5, "size")
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True) and len(rows) == 5
    chances = run.predict(folder / "train.csv")
    answer = chances.targets["size"]
    index = {str(name): row for row, name in enumerate(chances.ids)}
    for row in rows:
        chance = answer.probabilities[index[str(row["id"])], answer.classes.index(str(row["size"]))]
        assert -np.log(chance) == pytest.approx(row["loss"], rel=1e-4)
    assert rows._repr_html_().count("<img") == 5
    assert "error" in run.top_losses(2, "age").columns()


def test_results_are_held_out_rows_and_the_same_again() -> None:
    _, run = trained()
    held = set(run.held_out().ids)
    shown = run.show_results(6)
    assert {str(row["id"]) for row in shown} <= held and len(shown) == 6
    assert list(shown) == list(run.show_results(6)) != list(run.show_results(6, seed=1))
    assert shown._repr_html_().count("<figure") == 6


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda run: run.confusion(), "several targets"),
        (lambda run: run.confusion("tags"), "not one class a row"),
        (lambda run: run.confusion("age"), "not one class a row"),
        (lambda run: run.top_losses(target="sizes"), "did you mean 'size'"),
    ],
)
def test_what_has_no_answer_is_refused_with_a_way_out(ask: object, said: str) -> None:
    _, run = trained()
    with pytest.raises(RunError, match=said) as caught:
        ask(run)  # type: ignore[operator]
    assert caught.value.labels["fix"]


def test_a_table_without_held_out_rows_and_one_without_pictures(tmp_path: Path) -> None:
    ship = tenfold.sample("passengers", rows=60)
    run = tenfold.fit(ship, epochs=1, run=tmp_path / "run", quiet=True)
    assert run.confusion().target == "survived"
    assert "<table" in run.top_losses(3)._repr_html_() and "<img" not in run.show_results(3)._repr_html_()
    none = tenfold.fit(ship, epochs=1, valid=0, run=tmp_path / "none", quiet=True)
    with pytest.raises(RunError, match="held out no rows"):
        none.confusion()
