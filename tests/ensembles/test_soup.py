"""Soups: the mean of weights, of networks that have one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asked import fit_alone
from photos import QUICK, write_photos
from shown import trained
from tenfold.ensembles import soup as soup_module
from tenfold.ensembles.evaluate import evaluate_blend
from tenfold.ensembles.joined import blend_of, held_out
from tenfold.ensembles.soup import averaged, make_soup, soup_groups
from tenfold.errors import RunError
from tenfold.networks.opened import OpenedNetwork
from tenfold.recipe import Recipe
from tenfold.runs.options import Reading
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Member
from tenfold.schema import CategoryTarget, ImageColumn, Schema


def test_weights_are_averaged_and_counts_are_not() -> None:
    one = {"w": np.array([1.0, 2.0], np.float32), "n": np.array(3)}
    other = {"w": np.array([3.0, 6.0], np.float32), "n": np.array(9)}
    found = averaged([one, other])
    assert found["w"].tolist() == [2.0, 4.0] and found["w"].dtype == np.float32 and found["n"] == 3
    with pytest.raises(RunError, match="different layers"):
        averaged([one, {"w": np.zeros(3), "n": np.array(1)}])


def test_a_soup_is_a_run_whose_held_out_answers_are_its_own(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 24)
    image = ImageColumn(name="id", folder=str(tmp_path / "photos"))
    schema = Schema(inputs=(image,), targets=(CategoryTarget(name="label"),))
    members = []
    for name, changes in {
        "one": {"seed": 1},
        "two": {"seed": 2},
        "other": {"seed": 3, "split_seed": 9},
        "large": {"seed": 1, "image_size": 48},
        "deep": {"seed": 1, "body": "mlp", "hidden": (4,)},
    }.items():
        recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, "split_seed": 5, "valid": 0.5, **changes})
        run = fit_alone(schema, recipe, columns, run=tmp_path / name)
        members.append(Member(name, 1.0, (run,)))
    groups = soup_groups(members)
    # Another split has other held-out rows, and another size other pictures; another body
    # has other layers.
    assert [[one.name for one in group] for group in groups] == [["one", "two"]]
    soup = make_soup(groups[0], tmp_path / "members", columns, Reading())
    assert soup.runs[0].path == tmp_path / "members" / "soup-test_resnet"
    blend = blend_of(tmp_path, [*members[:2], soup], RunRecord({}))
    held = held_out(blend, blend.members[2])
    assert held is not None and len(held.ids) == 12
    rows = {"id": held.ids.tolist()}
    assert held.answers["label"] == pytest.approx(soup.runs[0].predict(rows).targets["label"].probabilities)
    judged = evaluate_blend(blend, method="best")
    assert set(judged.members) == {"one", "two", "soup-test_resnet"} and np.isfinite(judged.loss)


def test_no_finished_soup_has_the_answers_of_another_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands as finished only once its own network has answered its held-out rows."""
    _, run = trained()
    stood: list[bool] = []

    def answer(one: OpenedNetwork, *_: Any) -> None:
        stood.append((tmp_path / "soup-test_resnet" / "run.json").exists())
        raise RunError("stopped here")

    monkeypatch.setattr(soup_module, "answer_rows", answer)
    monkeypatch.setattr(soup_module, "read_source", lambda *_: (None, None))
    monkeypatch.setattr(soup_module, "prepare_rows", lambda *_, **__: None)
    group = [Member("one", 1.0, (run,)), Member("two", 1.0, (run,))]
    with pytest.raises(RunError, match="stopped here"):
        make_soup(group, tmp_path, "t.csv", Reading())
    assert stood == [False] and not (tmp_path / "soup-test_resnet" / "run.json").exists()
