"""The last layer of a real run, recomputed by LibreOffice, is what the run predicts and what it lost."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tenfold
from office import assert_recomputes, needs_office
from photos import QUICK, write_photos, write_table
from shown import NAMES, ODD, trained
from tenfold.data.tables.table import read_parquet_columns, read_table
from tenfold.errors import RunError, SchemaError
from tenfold.networks.explain import explain_network
from tenfold.networks.predict import load_network
from tenfold.recipe import Recipe
from tenfold.runs.options import ExplainOptions, Reading
from tenfold.schema import (
    CategoryTarget,
    ImageColumn,
    MultiLabelTarget,
    NumberColumn,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
    Schema,
)
from tenfold.targets.classweights import class_weighted
from tenfold.targets.labels import label_arrays
from tenfold.workbooks.lastlayer import build_loss_book


def test_raw_outputs_make_the_runs_own_probabilities_and_losses() -> None:
    _, run = trained()
    names = ["0003.png", "0010.png", "0041.png", "0009.png"]
    found = explain_network(run, names)
    assert list(found.ids) == names and set(found.why) == {"asked for"}
    predicted = run.predict({"id": names})
    for target in found.targets:
        own = predicted.targets[target.name]
        wanted = own.values[:, None] if target.kind.numeric else own.probabilities
        np.testing.assert_allclose(target.answers, wanted, atol=1e-6)
    one = found.targets[0]
    assert one.name == ODD and one.smoothing == run.recipe.label_smoothing
    assert one.label_words[0] == NAMES["cat"] and one.label_words[3] == "" and one.losses[3] == 0
    logs = one.raw - np.log(np.exp(one.raw).sum(1, keepdims=True))
    code = one.classes.index(one.label_words[0])
    e = one.smoothing
    assert one.losses[0] == pytest.approx(-(1 - e) * logs[0, code] - e * logs[0].mean(), abs=1e-6)
    assert {target.name: target.task_weight for target in found.targets}["size"] == 0.5


@needs_office
def test_every_formula_is_what_the_run_says(tmp_path: Path) -> None:
    _, run = trained()
    build_loss_book(explain_network(run)).write(tmp_path / "b.xlsx")
    computed = assert_recomputes(tmp_path / "b.xlsx", within=1e-6)
    first = computed["Read me"]
    line = next(int(cell[1:]) for cell, value in first.items() if value == "largest difference")
    gaps = [first[f"B{line + 1 + place}"] for place in range(len(run.schema.targets))]
    assert max(gaps) < 1e-6


def test_weights_of_classes_and_rows_count_as_in_training(tmp_path: Path) -> None:
    columns: dict[str, list[str]] = write_photos(tmp_path, 24)
    columns["w"] = [f"{1 + row % 3}" for row in range(24)]
    columns["tags"] = [";".join([one, *(["furry"] if one != "bird" else [])]) for one in columns["label"]]
    columns["known"] = [one if row % 5 else "" for row, one in enumerate(columns["label"])]
    columns["age"] = [f"{len(one)}" for one in columns["label"]]
    table = write_table(tmp_path / "train.csv", columns)
    schema = Schema(
        inputs=(ImageColumn(name="id", folder=str(tmp_path / "photos")),),
        targets=(
            CategoryTarget(name="size"),
            MultiLabelTarget(name="tags"),
            OpenTarget(name="known"),
            OrderedTarget(name="label", classes=("bird", "cat", "dog")),
            NumberTarget(name="age"),
        ),
        weight="w",
    )
    classes = {"tags": "balanced", "known": {"cat": 3.0}, "label": {"dog": 0.25}, "size": "balanced"}
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, "class_weights": classes})
    run = tenfold.fit(schema, recipe, table, run=tmp_path / "run")
    found = explain_network(run, columns["id"])
    read = read_table(table)
    labels, weights, _ = label_arrays(run.encoding.classes, run.encoding.targets, run.schema, read)
    weights = class_weighted(run.encoding.targets, labels, weights)
    assert len({*weights["size"], *weights["label"]}) > 6
    for one, head in zip(found.targets, load_network(run).heads, strict=True):
        own, weight = (torch.from_numpy(np.array(some[head.name])) for some in (labels, weights))
        wanted = head.loss_sum(torch.from_numpy(one.raw), own, weight) / weight.sum()
        assert one.mean_loss == pytest.approx(float(wanted), rel=1e-6), head.name


def test_without_rows_telling_ones_are_chosen() -> None:
    _, run = trained()
    found = explain_network(run, (), ExplainOptions(n=18))
    valid = read_parquet_columns(run.path / "validation.parquet")
    assert set(found.ids) <= set(valid["id"]) and 6 <= len(found.ids) <= 18
    reasons = {why.rpartition(": ")[2] for why in found.why}
    assert reasons & {"right and sure", "wrong and sure", "undecided", "farthest from its label"}


def test_a_table_elsewhere_and_rows_without_labels(tmp_path: Path) -> None:
    _, run = trained()
    table = write_table(tmp_path / "test.csv", {"id": ["0001.png", "0002.png"]})
    found = explain_network(run, (), ExplainOptions(table=table))
    assert list(found.ids) == ["0001.png", "0002.png"] and len(found.notes) >= len(run.schema.targets)
    assert all(not any(target.label_words) and np.isnan(target.mean_loss) for target in found.targets)
    with pytest.raises(SchemaError, match="0004.png"):
        explain_network(run, ["0004.png"], ExplainOptions(table=table))


def test_an_unknown_row_is_refused_with_the_nearest() -> None:
    _, run = trained()
    with pytest.raises(SchemaError) as caught:
        explain_network(run, ["0003.png", "0003.jpeg", "nowhere"])
    assert "2 of 3 rows" in str(caught.value) and "did you mean '0003.png'" in str(caught.value)
    assert list(explain_network(run, ["0003"]).ids) == ["0003.png"]


def test_what_is_gone_is_said(tmp_path: Path) -> None:
    folder, run = trained()
    lost = replace(run, record=run.record.with_values(table=str(tmp_path / "gone.csv")))
    found = explain_network(
        lost, (), ExplainOptions(n=4)
    )  # the ids are the pictures' names, which the run remembers
    assert any("gone.csv is not there any more" in note for note in found.notes)
    (tmp_path / "run").mkdir()
    for name in ("encoding.json", "weights.safetensors", "schema.toml", "recipe.toml"):
        shutil.copy(run.path / name, tmp_path / "run" / name)
    with pytest.raises(RunError, match="cannot be read again"):
        explain_network(replace(lost, path=tmp_path / "run"))
    (folder / "photos").rename(folder / "moved")
    try:
        with pytest.raises(Exception, match="no folder"):
            explain_network(run)
        reading = Reading(folders={"id": str(folder / "moved")})
        assert explain_network(run, ["0001.png"], ExplainOptions(reading=reading)).ids == ["0001.png"]
    finally:
        (folder / "moved").rename(folder / "photos")


def test_a_table_without_pictures_names_no_backbone(tmp_path: Path) -> None:
    columns = {"x": [str(row % 5) for row in range(20)], "y": ["ab"[row % 2] for row in range(20)]}
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=(CategoryTarget(name="y"),))
    table = write_table(tmp_path / "t.csv", columns)
    run = tenfold.fit(schema, Recipe(epochs=1), table, run=tmp_path / "run")
    found = explain_network(run)
    assert found.trained[0] == "a network of a table: x (number) -> y (category)"
