"""A finished run: what it holds decides its answers, and what does not fit is refused in words."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asked import fit_alone
from photos import QUICK, write_photos, write_table
from tenfold.errors import RecipeError, RunError, SchemaError
from tenfold.networks.predict import kept_network, load_network, trace_kept, without_rows
from tenfold.networks.run import NetworkRun
from tenfold.recipe import Recipe
from tenfold.runs.options import Reading
from tenfold.runs.registry import load_run
from tenfold.schema import ImageColumn, Schema, UndecidedTarget
from tenfold.values import TargetPrediction

FIVE = {"id": [f"{number:04d}.png" for number in (3, 1, 4, 1, 5)]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> NetworkRun:
    """Two targets, one of which has no label among the validation rows; groups, a stated split, weights."""
    folder = tmp_path_factory.mktemp("netrun")
    columns: dict[str, list[Any]] = write_photos(folder, 30)
    columns["rare"] = ["a", "b", *[""] * 28]
    columns |= {"farm": [row // 3 for row in range(30)], "held": [row // 24 for row in range(30)]}
    columns["w"] = [1 + row % 2 for row in range(30)]
    schema = Schema(
        inputs=(ImageColumn(name="id", folder=str(folder / "photos")),),
        targets=(UndecidedTarget(name="label"), UndecidedTarget(name="rare")),
        group=("farm",),
        split="held",
        weight="w",
    )
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 2, "flip": "horizontal"})
    return fit_alone(schema, recipe, str(write_table(folder / "train.csv", columns)), run=folder / "run")


def strict(text: str) -> Any:
    """JSON as every other reader knows it, without NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_is_no_number_is_null_in_the_files_and_nan_in_python(run: NetworkRun) -> None:
    about = strict((run.path / "run.json").read_text("utf-8"))
    assert about["targets"]["rare"]["log_loss"] is None and about["targets"]["rare"]["scored"] == 0
    lines = (run.path / "history.jsonl").read_text("utf-8").splitlines()
    assert strict(lines[-1])["valid"]["rare"]["error_rate"] is None
    assert math.isnan(run.scores["rare"]["log_loss"]) and math.isnan(
        run.summary["targets"]["rare"]["macro_f1"]
    )
    assert math.isnan(run.history[-1]["valid"]["rare"]["error_rate"])
    assert run.history[-1]["valid"]["label"]["log_loss"] == strict(lines[-1])["valid"]["label"]["log_loss"]
    assert set(run.summary) == {"run", "rows", "weighted_by", "targets", "seconds", "peak_bytes"}


def test_evaluation_needs_inputs_and_targets_only(run: NetworkRun) -> None:
    table = {**FIVE, "label": ["cat", "dog", "dog", "dog", "bird"], "rare": ["a", "", "", "b", "zz"]}
    scores = run.evaluate(table)
    assert scores["rows"] == 5 and scores["targets"]["label"]["scored"] == 5
    assert scores["targets"]["rare"]["scored"] == 3
    with pytest.raises(SchemaError, match="no column 'rare'"):
        run.evaluate({name: table[name] for name in ("id", "label")})


def test_evaluation_agrees_with_the_predictions(run: NetworkRun) -> None:
    labels = ["cat", "dog", "fox", "", "bird"]
    found = run.predict(FIVE).targets["label"]
    notes: list[str] = []
    scores = run.evaluate({**FIVE, "label": labels, "rare": [""] * 5}, on_note=notes.append)["targets"][
        "label"
    ]
    known = [row for row in range(5) if labels[row]]
    wrong = [row for row in known if found.values[row] != labels[row]]
    assert scores["error_rate"] == len(wrong) / 4
    assert "label: 'fox' is not a class of this run: its 1 rows count as wrong" in notes
    assert scores["majority_error_rate"] == 0.75  # always the first of equals in training: bird


def test_evaluation_without_a_usable_row_is_refused(run: NetworkRun) -> None:
    table = {"id": ["gone.png"], "label": ["cat"], "rare": ["a"]}
    with pytest.raises(SchemaError, match="no usable row"):
        run.evaluate(table, reading=Reading(skip_bad=True))


@pytest.mark.parametrize("views", [3, 0, -1, 8])
def test_numbers_of_views_that_there_are_not_are_refused(run: NetworkRun, views: int) -> None:
    for ask in (run.predict, run.evaluate):
        with pytest.raises(RecipeError, match="views"):
            ask({**FIVE, "label": ["cat"] * 5, "rare": ["a"] * 5}, views=views)


def test_views_that_training_never_showed_are_refused(run: NetworkRun) -> None:
    assert run.predict(FIVE, views=2).targets["label"].probabilities.shape == (5, 3)
    with pytest.raises(RecipeError, match="upside down"):
        run.predict(FIVE, views=4)


def test_a_device_that_is_not_there_is_refused(run: NetworkRun) -> None:
    with pytest.raises(RecipeError, match="'gpu' is not a device"):
        run.predict(FIVE, device="gpu")


def test_the_preparation_is_the_runs_own(run: NetworkRun, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run.predict(FIVE).targets["label"].probabilities
    for name in ("tenfold.networks.prepare.preprocessing_of", "tenfold.nn.encoders.preprocessing_of"):
        monkeypatch.setattr(name, lambda arch: pytest.fail("the library's defaults were asked for"))
    assert np.array_equal(run.predict(FIVE).targets["label"].probabilities, plain)
    darker = replace(run, encoding=run.encoding.model_copy(update={"mean": (0.9, 0.9, 0.9)}))
    assert not np.allclose(darker.predict(FIVE).targets["label"].probabilities, plain)


def test_answers_that_are_no_numbers_are_no_classes(run: NetworkRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(one: NetworkRun) -> Any:
        network = load_network(one)
        network.last.bias.data[:3] = math.nan
        return network

    monkeypatch.setattr("tenfold.networks.predict.load_network", spoilt)
    rows = {"id": ["0001.png", "gone.png"]}
    found = replace(run).predict(rows, reading=Reading(skip_bad=True))  # without the network that it keeps
    assert found.failed.tolist() == [True, True]
    assert found.reasons[0] == "its answer is not a number" and "gone" in found.reasons[1]
    assert found.targets["label"].values.tolist() == ["", ""]


def test_rows_without_an_answer_are_empty() -> None:
    chance = np.array([[0.5, 0.5], [1.0, 0.0]])
    answer = TargetPrediction("category", ("a", "b"), chance, np.array(["a", "a"], dtype=object))
    assert without_rows(answer, []) is answer
    some = without_rows(answer, [0])
    assert some.values.tolist() == ["", "a"] and np.isnan(some.probabilities[0]).all()
    assert answer.values.tolist() == ["a", "a"] and chance[0, 0] == 0.5
    numbers = without_rows(TargetPrediction("number", (), None, np.array([1.0, 2.0])), [1])
    assert numbers.values[0] == 1.0 and np.isnan(numbers.values[1])


def test_weights_that_do_not_fit_the_network_name_keys_and_versions(run: NetworkRun) -> None:
    other = replace(
        run,
        recipe=Recipe(**{**run.recipe.model_dump(), "arch": "test_convnext"}),
        record=run.record.with_values(versions={**run.record.versions, "timm": "0.0.1"}),
    )
    with pytest.raises(RunError, match="do not fit test_convnext") as caught:
        load_network(other)
    assert "timm 0.0.1, here" in caught.value.labels["found"] and caught.value.problems


def test_a_run_opens_elsewhere(run: NetworkRun, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "moved")
    photos = Path(run.schema.images[0].folder)
    shutil.copytree(photos, tmp_path / "pictures")
    found = load_run(tmp_path / "moved").predict(
        FIVE, reading=Reading(folders={"id": str(tmp_path / "pictures")})
    )
    assert np.array_equal(
        found.targets["label"].probabilities, run.predict(FIVE).targets["label"].probabilities
    )


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("summed", [True, False])
def test_weights_that_hold_code_are_refused(
    run: NetworkRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, summed: bool
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    shutil.copytree(run.path, tmp_path / "foreign")
    content = pickle.dumps(Trap(tmp_path / "ran"))
    (tmp_path / "foreign" / "weights.safetensors").write_bytes(content)
    if summed:  # whoever made the run made its sums, too
        described = tmp_path / "foreign" / "run.json"
        about = json.loads(described.read_text("utf-8"))
        about["files"]["weights.safetensors"] = hashlib.sha256(content).hexdigest()
        described.write_text(json.dumps(about), "utf-8")
    with pytest.raises(RunError, match="damaged"):
        load_run(tmp_path / "foreign").predict(FIVE)
    assert not (tmp_path / "ran").exists()


def test_a_quickened_run_answers_as_before(run: NetworkRun) -> None:
    fresh, photos = load_run(run.path), Path(run.schema.images[0].folder)
    asked: list[object] = sorted(photos.glob("*.png"))[:3]
    assert trace_kept(fresh, "cpu")
    network = kept_network(fresh, torch.device("cpu"), few=True)
    assert network.traced is not None
    plain, quick = run.predict(asked), fresh.predict(asked)
    for name, answer in plain.targets.items():
        own = quick.targets[name].probabilities
        np.testing.assert_allclose(own, answer.probabilities, atol=1e-6)
        assert not np.array_equal(own, np.roll(answer.probabilities, 1, axis=0))
    # Many rows take the layers, in the same network.
    assert len(fresh.predict(str(photos)).ids) == 30
    assert kept_network(fresh, torch.device("cpu"), few=False) is network
