"""Members' answers and their mean, recomputed by LibreOffice, are what the ensemble predicts and loses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tenfold
from asked import explain
from office import assert_recomputes, needs_office
from shown import ODD, trained
from tenfold.ensembles.blend import blend_runs
from tenfold.ensembles.explain import explain_blend
from tenfold.ensembles.networks import NetworkEnsemble
from tenfold.errors import SchemaError
from tenfold.recipe import Recipe
from tenfold.runs.options import ExplainOptions


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> NetworkEnsemble:
    folder, first = trained()
    recipe = Recipe(**{**first.recipe.model_dump(), "epochs": 1, "seed": 5, "resize": "crop"})
    place = tmp_path_factory.mktemp("blend")
    second = tenfold.fit(first.schema, recipe, folder / "train.csv", run=place / "second")
    return blend_runs([first.path, second.path], weights=[1, 3], output=place / "both")


def test_answers_and_losses_are_the_ensembles_own(blend: NetworkEnsemble) -> None:
    folder, _ = trained()
    found = explain_blend(blend, (), ExplainOptions(n=60, table=folder / "train.csv"))
    predicted = blend.predict({"id": list(found.ids)}, members=True)
    scores = blend.evaluate(folder / "train.csv", plain_weight=None)["targets"]
    assert len(found.ids) > 6
    for one in found.blended:
        own = predicted.targets[one.rows.name]
        wanted = own.values[:, None] if one.rows.kind.numeric else own.probabilities
        np.testing.assert_allclose(one.rows.answers, wanted, atol=1e-6)
        for member, given in zip(one.members, one.given, strict=True):
            each = predicted.targets[f"{one.rows.name}@{member}"]
            wanted = each.values[:, None] if one.rows.kind.numeric else each.probabilities
            np.testing.assert_allclose(given, wanted, atol=1e-6)
    every = explain_blend(blend, [f"{row:04d}.png" for row in range(60)])
    assert len(every.ids) == 60 and set(every.why) == {"asked for"}
    for target in every.targets:
        if target.kind.exclusive:
            assert target.mean_loss == pytest.approx(scores[target.name]["log_loss"], rel=1e-5)


@needs_office
def test_every_formula_is_what_the_ensemble_says(blend: NetworkEnsemble, tmp_path: Path) -> None:
    record = explain(blend, ["0003.png", "0010.png", "0009.png"], output=tmp_path / "b.xlsx")
    computed = assert_recomputes(tmp_path / "b.xlsx", within=1e-6)
    first = computed["Read me"]
    line = next(int(cell[1:]) for cell, value in first.items() if value == "largest difference")
    assert all(first[f"B{line + 1 + place}"] < 1e-6 for place in range(len(blend.schema.targets)))
    row = record["rows"][0]["targets"][ODD]
    assert record["kind"] == "blend" and len(row["members"]) == 2
    assert sum(row["probabilities"].values()) == pytest.approx(1)


def test_telling_rows_are_held_out_ones_and_strangers_are_refused(blend: NetworkEnsemble) -> None:
    found = explain_blend(blend, (), ExplainOptions(n=8))
    assert 4 <= len(found.ids) <= 8 and any("wrong and sure" in why for why in found.why)
    assert any("2 members" in line for line in found.trained)
    with pytest.raises(SchemaError, match="1 of 2 rows"):
        explain_blend(blend, ["0003.png", "nowhere.png"])


def test_a_table_that_is_gone_is_said(blend: NetworkEnsemble) -> None:
    lost = replace(blend, record=blend.record.with_values(table=None))
    found = explain_blend(lost, (), ExplainOptions(n=4))
    assert any("fitted to different tables" in note for note in found.notes)
