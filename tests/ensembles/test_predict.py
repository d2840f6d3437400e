"""Runs of pictures as one: joined by name, read once, refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asked import fit_alone
from photos import QUICK, write_photos
from tenfold.ensembles import predict as netblend
from tenfold.ensembles.blend import blend_runs
from tenfold.ensembles.joined import blend_of, number_scale
from tenfold.ensembles.networks import NetworkEnsemble
from tenfold.errors import RecipeError, RunError
from tenfold.networks.inputs import prepare_rows
from tenfold.networks.run import NetworkRun
from tenfold.recipe import Recipe
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member
from tenfold.schema import CategoryTarget, ImageColumn, NumberTarget, Schema

ASK = {"id": ["0003.png", "0001.png", "0003.png"]}


def fitted(folder: Path, name: str, columns: dict[str, Any], *targets: Any, **changes: Any) -> NetworkRun:
    image = ImageColumn(name="id", folder=str(folder / "photos"))
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, **changes})
    return fit_alone(Schema(inputs=(image,), targets=targets), recipe, columns, run=folder / name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NetworkRun]:
    folder = tmp_path_factory.mktemp("netblend")
    columns: dict[str, Any] = write_photos(folder, 24)
    few = {
        name: [cell for cell, row in zip(cells, range(24), strict=True) if row % 3]
        for name, cells in columns.items()
    }
    label, size = CategoryTarget(name="label"), CategoryTarget(name="size")
    columns["mass"] = [float(row % 5) for row in range(24)]
    return {
        "both": fitted(folder, "both", columns, label, size),
        "few": fitted(folder, "few", few, label, seed=2),  # knows no cat, and no size
        "mass": fitted(folder, "mass", columns, NumberTarget(name="mass"), flip="horizontal", views=2),
        "number": fitted(folder, "number", {**columns, "size": columns["mass"]}, NumberTarget(name="size")),
    }


def blended(runs: dict[str, NetworkRun], *names: str, weights: Any = None) -> NetworkEnsemble:
    members = [Member(name, 1.0 + place, (runs[name],)) for place, name in enumerate(names)]
    return NetworkEnsemble(**vars(blend_of(Path("nowhere"), members, RunRecord({"weights": weights or {}}))))


def test_classes_are_joined_by_name_and_missing_targets_answered_by_the_others(runs) -> None:
    blend = blended(runs, "few", "both")
    assert blend.classes["label"] == ("bird", "dog", "cat")
    assert [*blend.notes] == [
        "label: few does not know cat: its probability of them is 0",
        "size is answered without few, which have no such target",
    ]
    found = blend.predict(ASK, members=True).targets
    own, other = found["label@few"].probabilities, found["label@both"].probabilities
    assert own is not None and other is not None and (own[:, 2] == 0).all()
    assert found["label"].probabilities == pytest.approx((own + 2 * other) / 3)
    assert found["label"].probabilities.sum(axis=1) == pytest.approx(np.ones(3))
    alone = runs["both"].predict(ASK).targets
    assert found["size"].probabilities == pytest.approx(alone["size"].probabilities)
    assert "size@few" not in found


def test_numbers_are_averaged(runs) -> None:
    blend = blended(runs, "mass", "both")
    found = blend.predict(ASK).targets
    assert found["mass"].values == pytest.approx(runs["mass"].predict(ASK).targets["mass"].values)
    assert number_scale(blend, "mass") == pytest.approx(runs["mass"].encoding.targets["mass"].deviation)
    assert number_scale(blend, "label") == 1.0


def test_one_name_with_two_kinds_is_refused_by_name(runs) -> None:
    with pytest.raises(RunError) as caught:
        blended(runs, "both", "number")
    assert "number: target 'size' is a number, elsewhere a category" in str(caught.value)


def test_other_inputs_are_refused_by_name(runs) -> None:
    image = ImageColumn(name="photo", folder="photos")
    schema = runs["few"].schema.model_copy(update={"inputs": (image,)})
    other = replace(runs["few"], schema=schema)
    with pytest.raises(RunError, match="cannot be blended") as caught:
        blended({**runs, "few": other}, "both", "few")
    assert "few has the inputs photo" in str(caught.value)


def test_pictures_are_read_once_for_all_that_share_a_size(runs, monkeypatch) -> None:
    asked: list[Any] = []

    def counted(*given: Any, **options: Any) -> Any:
        asked.append(given[2].image_size)
        return prepare_rows(*given, **options)

    monkeypatch.setattr(netblend, "prepare_rows", counted)
    blended(runs, "both", "few", "mass").predict(ASK)
    assert asked == [(32, 32)]


def test_learned_weights_take_the_place_of_the_stated_ones(runs) -> None:
    blend = blended(runs, "both", "few", weights={"label": {"both": 1.0, "few": 0.0}})
    alone = runs["both"].predict(ASK).targets["label"]
    answer = blend.predict(ASK).targets["label"]
    order = [alone.classes.index(name) for name in answer.classes]
    assert answer.probabilities == pytest.approx(alone.probabilities[:, order])


def test_scores_are_of_the_blend_and_of_each_member(runs) -> None:
    scores = blended(runs, "both", "few").evaluate(
        {**ASK, "label": ["cat", "dog", "zebra"], "size": ["big", "", ""]}
    )
    assert scores["targets"]["label"]["scored"] == 3 and scores["targets"]["size"]["scored"] == 1
    assert set(scores["members"]["few"]) == {"label"} and "without_views" not in scores
    with_views = blended(runs, "mass", "both").evaluate(
        {**ASK, "label": ["cat"] * 3, "size": ["big"] * 3, "mass": [1.0] * 3}, views=1
    )
    assert "without_views" not in with_views


def test_views_that_there_are_not_are_refused(runs) -> None:
    with pytest.raises(RecipeError, match="views"):
        blended(runs, "both", "few").predict(ASK, views=3)


def test_rows_whose_picture_is_bad_stay_and_are_marked(runs, tmp_path: Path) -> None:
    from tenfold.runs.options import Reading

    found = blended(runs, "both", "few").predict(
        {"id": ["0001.png", "none.png"]}, reading=Reading(skip_bad=True)
    )
    assert found.failed.tolist() == [False, True] and found.targets["label"].values[1] == ""


def test_a_blend_shows_its_page_and_says_whose_curves_there_are(runs, tmp_path: Path) -> None:
    blend = blend_runs([runs["both"].path, runs["mass"].path], output=tmp_path / "blend")
    assert "Members" in blend.show().page
    with pytest.raises(RunError, match="no epochs") as caught:
        blend.plot_losses()
    assert str(runs["mass"].path) in str(caught.value)
