"""Where the rows of a run stand, which of them are told, and what their labels are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from photos import write_table
from shown import NAMES, ODD, trained
from tenfold.data.tables.table import read_table
from tenfold.errors import RunError, SchemaError
from tenfold.networks.inputs import prepare_rows
from tenfold.networks.predict import load_network
from tenfold.networks.rows import choose_rows, row_labels, rows_source
from tenfold.runs.options import Reading

HELD = "validation.parquet"


def test_the_rows_are_those_of_the_table_or_of_the_training(tmp_path: Path) -> None:
    _, run = trained()
    own, _, said = rows_source(run, HELD, run.encoding.classes, None, Reading())
    assert own.rows == 60 and said == []
    other = write_table(tmp_path / "t.csv", {"id": ["0001.png"]})
    assert rows_source(run, HELD, run.encoding.classes, other, Reading())[0].rows == 1
    lost = replace(run, record=run.record.with_values(table=None))
    remembered, _, said = rows_source(lost, HELD, run.encoding.classes, None, Reading())
    assert 0 < remembered.rows < 60 and "fitted to a table in memory" in said[0]
    with pytest.raises(RunError, match="cannot be read again"):
        rows_source(lost, "no-such.parquet", {}, None, Reading())


def test_chosen_are_those_asked_for_else_telling_ones_else_the_first() -> None:
    _, run = trained()
    table, _, _ = rows_source(run, HELD, run.encoding.classes, None, Reading())
    classes = run.encoding.classes
    index, why, _ = choose_rows(run, HELD, classes, table, ["0004.png", "0002", "0004.png"], 3, own=True)
    assert [table.text("id")[row] for row in index] == ["0004.png", "0002.png"] and set(why) == {"asked for"}
    index, why, said = choose_rows(run, HELD, classes, table, [], 6, own=True)
    assert len(index) == len(why) <= 6 and said == [] and any("wrong and sure" in one for one in why)
    index, why, said = choose_rows(run, "none.parquet", classes, table, [], 6, own=True)
    assert index.tolist() == [0, 1, 2, 3, 4, 5] and "no validation rows to choose from" in said[0]
    with pytest.raises(SchemaError, match="1 of 1 rows"):
        choose_rows(run, HELD, classes, table, ["nobody"], 6, own=True)


def test_labels_in_numbers_and_in_words(tmp_path: Path) -> None:
    folder, run = trained()
    schema = run.schema.model_copy(update={"targets": run.schema.targets[:1]})
    table, _, _ = rows_source(run, HELD, run.encoding.classes, None, Reading())
    rows = prepare_rows(table.take(np.array([3, 9, 10])), schema, run.encoding, Reading(), targets=False)
    target, head = run.schema.answers[0], load_network(run).heads[0]
    good = np.array([0, 1, 2])
    labels, words, said = row_labels(head, rows, good)
    assert target.name == ODD and labels[1] == -1 and said == []
    assert words[1] == "" and set(words) <= {*NAMES.values(), ""}
    own = load_network(run).heads[4]
    some = np.array([[1] * len(own.classes), [0] * len(own.classes), [-1] * len(own.classes)])
    assert own.label_words(some, None) == [", ".join(own.classes), "no tag", ""]
    bare = write_table(tmp_path / "t.csv", {"id": ["0001.png"]})
    other = prepare_rows(read_table(bare), schema, run.encoding, Reading(), targets=False)
    labels, words, said = row_labels(head, other, np.array([0]))
    assert labels.tolist() == [-1] and f"has no labels of {ODD}" in said[0]
    assert words == [""]
