"""Plans by name, for a job file, and for a training at hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tenfold
from photos import QUICK, write_photos, write_table
from tenfold.errors import MemoryBudgetError, RecipeError
from tenfold.memory.choose import Refusal
from tenfold.memory.plan import Plan
from tenfold.networks.plan import draw_plan, plan, plan_command
from tenfold.recipe import Recipe
from tenfold.runs.options import Machine
from tenfold.schema import CategoryTarget, ImageColumn, Schema

GIVEN = SimpleNamespace(
    archs=["test_resnet"], image_size="64", batch_size=32, budget="4GiB", micro_batch=None, precision=None,
    optimizer=None, classes=10, checkpoint=False, offload=False, device="cuda", devices=None, shard=False,
    shard_weights=False,
)  # fmt: skip


def test_a_plan_per_architecture_or_the_reason_why_not() -> None:
    found = plan(["test_resnet", "no_such_net"], image_size=64, batch_size=16, budget="T4")
    assert isinstance(found[0], Plan) and found[0].fits and found[0].micro_batch == 16
    assert isinstance(found[1], Refusal) and "no_such_net" in found[1].reason


def test_the_documented_keys() -> None:
    record = plan_command(GIVEN)[0][0].record()
    assert set(record) >= {
        "arch", "image_size", "batch_size", "micro_batch", "accumulation", "live_bytes", "reserved_bytes",
        "process_bytes", "parts", "fits",
    }  # fmt: skip
    assert record["image_size"] == [64, 64] and record["batch_size"] == 32
    assert record["live_bytes"] <= record["reserved_bytes"] < record["process_bytes"]


def test_less_memory_means_smaller_micro_batches_never_another_batch() -> None:
    options: dict[str, Any] = {"image_size": 320, "batch_size": 64, "classes": 10}
    wide = plan("test_resnet", budget="8GiB", **options)[0]
    assert isinstance(wide, Plan)
    less = wide.band_bytes[1] - 2**24
    tight = plan("test_resnet", budget=less, **options)[0]
    assert isinstance(tight, Plan) and tight.fits
    assert wide.micro_batch == 64 and tight.micro_batch < 64
    assert tight.micro_batch % 16 == 0  # whole BatchNorm groups
    assert tight.batch_size == wide.batch_size == 64
    assert tight.band_bytes[1] <= less


def test_a_job_file_is_planned_by_its_recipe(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(
        'table = "t.csv"\n[schema]\ninputs = []\ntargets = []\n'
        '[recipe]\narch = "test_resnet"\nimage_size = [64, 96]\nbatch_size = 24\n'
    )
    found = plan_command(
        SimpleNamespace(
            **{**dict.fromkeys(vars(GIVEN)), "archs": [str(job)], "budget": "16GiB", "device": "cuda"}
        )
    )[0][0]
    assert isinstance(found, Plan) and found.image_size == (64, 96) and found.batch_size == 24


def test_a_budget_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match="not a budget"):
        plan("test_resnet", budget="a lot")


def test_the_picture_names_the_kinds(tmp_path: Path) -> None:
    path = str(tmp_path / "step.html")
    found, request = plan_command(GIVEN)
    draw_plan(found[0], request, path)
    page = (tmp_path / "step.html").read_text()
    assert "activations" in page and "reserved" in page
    with pytest.raises(RecipeError, match="has no plan"):
        draw_plan(Refusal("x", "because"), request, path)


def fit(folder: Path, recipe: Recipe, machine: Machine) -> Any:
    table = folder / "train.csv"
    if not table.exists():
        write_table(table, write_photos(folder, 40))
    schema = Schema(
        inputs=(ImageColumn(name="id", folder=str(folder / "photos")),),
        targets=(CategoryTarget(name="label"),),
    )
    return tenfold.fit(schema, recipe, table, run=folder / "run", machine=machine)


def test_fit_uses_the_plan_and_writes_prediction_and_truth(tmp_path: Path) -> None:
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, "batch_size": 32})
    run = fit(tmp_path, recipe, Machine(budget="16GiB", probe=True))
    kept = run.about["plan"]
    assert kept["micro_batch"] == 32 and kept["predicted_bytes"] > 0
    assert kept["band_bytes"][0] <= kept["predicted_bytes"] <= kept["band_bytes"][1]
    assert any(note.startswith("probe: predicted peak") for note in run.about["notes"])
    assert 0 < kept["measured_bytes"] <= kept["band_bytes"][1]
    assert run.summary["plan"]["measured_bytes"] == kept["measured_bytes"]


def test_a_probe_changes_nothing(tmp_path: Path) -> None:
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 2, "frozen_epochs": 1})
    plain = (fit(tmp_path, recipe, Machine()).path / "weights.safetensors").read_bytes()
    probed = (fit(tmp_path, recipe, Machine(probe=True)).path / "weights.safetensors").read_bytes()
    assert plain == probed


def test_a_budget_that_nothing_fits_is_refused_with_the_parts(tmp_path: Path) -> None:
    with pytest.raises(MemoryBudgetError) as raised:
        fit(tmp_path, QUICK, Machine(budget="5MiB"))
    text = str(raised.value)
    assert "parts" in text and "weights" in text and "fix" in text
    assert not (tmp_path / "run").exists()
