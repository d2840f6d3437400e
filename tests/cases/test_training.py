"""Kinds of fault of trainings: what a step, an epoch and a plan do, and what is told of them."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tenfold
import tenfold.engine.train as engine
from photos import QUICK, write_photos, write_table
from tenfold.cli.progress import EpochTable
from tenfold.engine.batches import read_ahead
from tenfold.engine.optim import clip_gradients
from tenfold.engine.schedule import one_cycle
from tenfold.engine.train import StepResult, Trained, fit_network, train_step
from tenfold.errors import MemoryBudgetError, TrainingError
from tenfold.events import StepEnded
from tenfold.nn.augment import augment
from tenfold.nn.exact import group_sizes, make_batch_exact
from tenfold.nn.heads import build_head
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from tenfold.runs.options import Machine
from tenfold.schema import CategoryTarget, ImageColumn, NumberTarget
from tenfold.values import MemoryPlan
from training import (
    SCHEMA,
    largest_difference,
    make_batches,
    make_encoding,
    make_examples,
    make_training,
    state_of,
)

RECIPE = Recipe(
    arch="test_convnext", weights="none", image_size=32, batch_size=16, epochs=2, frozen_epochs=0, seed=1
)
STILL = {"dropout": 0.0, "drop_path": 0.0, "augment": "off", "flip": "none", "label_smoothing": 0.0}


def changed(**values: object) -> Recipe:
    return Recipe(**{**RECIPE.model_dump(), **values})


def train(
    recipe: Recipe = RECIPE, *, rows: int = 40, micro_batch: int = 16, precision: str = "float32", **more: Any
) -> tuple[dict[str, torch.Tensor], Trained, list[float]]:
    """Weights, what the training leaves, and the rate of every step."""
    encoding = make_encoding(recipe)
    network, _ = build_network(encoding, SCHEMA, recipe, fetch=False)
    rates: list[float] = []
    trained = fit_network(
        network,
        encoding,
        more.pop("examples", None) or make_examples(rows, size=recipe.image_size[0]),
        train=np.arange(rows - 8),
        valid=np.arange(rows - 8, rows),
        recipe=recipe,
        plan=MemoryPlan(micro_batch=micro_batch, workers=more.pop("workers", 0)),
        device=torch.device("cpu"),
        precision=precision,
        on_progress=lambda event: rates.append(event.rate) if isinstance(event, StepEnded) else None,
    )
    return state_of(network), trained, rates


def gradient(head: Any, raw: Any, labels: Any, weights: Any, parts: list[int]) -> torch.Tensor:
    """Gradient of a batch's loss with respect to the raw outputs, of micro-batches of these sizes."""
    raw = torch.tensor(raw, dtype=torch.float64, requires_grad=True)
    labels, weights = torch.tensor(labels), torch.tensor(weights, dtype=torch.float64)
    below = float(weights.sum()) or 1.0
    start = 0
    for size in parts:
        part = slice(start, start + size)
        loss = head.loss_sum(raw[part], labels[part], weights[part]) / below
        if loss.requires_grad:
            loss.backward()
        start += size
    return torch.zeros_like(raw) if raw.grad is None else raw.grad


X = [*range(1, 10), 30]


@pytest.mark.case("31", "a smaller last micro-batch has its rows' share: gradient 237, as of the batch")
@pytest.mark.parametrize("parts", [[10], [4, 4, 2], [1] * 10])
def test_a_small_last_micro_batch(parts: list[int]) -> None:
    head = build_head(NumberTarget(name="y"), (), label_smoothing=0.0)
    by_row = gradient(head, [[float(x)] for x in X], [0.0] * 10, [1.0] * 10, parts)
    assert float((by_row[:, 0] * torch.tensor(X)).sum()) == pytest.approx(237, abs=1e-6)


@pytest.mark.case("31", "neighbour: row weights and a ragged last batch, three steps, any cut: same weights")
def test_a_cut_changes_no_weight() -> None:
    recipe = changed(**STILL, epochs=1, batch_size=14, ema=0.0)
    whole = train(recipe, rows=40, micro_batch=14)[0]
    for micro_batch in (4, 1):
        assert largest_difference(whole, train(recipe, rows=40, micro_batch=micro_batch)[0]) < 1e-5


@pytest.mark.case("32", "class weights 1 and 9 act the same at micro-batch 1 as at 4")
@pytest.mark.parametrize("parts", [[4], [1, 1, 1, 1]])
def test_class_weights_at_micro_batch_one(parts: list[int]) -> None:
    head = build_head(CategoryTarget(name="y"), ("a", "b"), label_smoothing=0.0)
    found = gradient(head, [[0.0, 0.0]] * 4, [0, 0, 0, 1], [1.0, 1.0, 1.0, 9.0], parts)
    assert found[:, 1].tolist() == pytest.approx([1 / 24, 1 / 24, 1 / 24, -0.375])


@pytest.mark.case("32", "neighbour: label smoothing with class weights, cut or whole")
def test_smoothing_and_weights_at_micro_batch_one() -> None:
    head = build_head(CategoryTarget(name="y"), ("a", "b", "c"), label_smoothing=0.2)
    asked = ([[0.3, -1.0, 2.0]] * 4, [0, 2, 1, 1], [1.0, 0.5, 9.0, 2.0])
    whole = gradient(head, *asked, [4])
    assert torch.allclose(gradient(head, *asked, [1, 1, 1, 1]), whole, atol=1e-12)
    assert float(whole.abs().sum()) > 0.1


@pytest.mark.case("33", "a micro-batch without labels adds exactly 0: loss 0.6931, not NaN")
@pytest.mark.parametrize("parts", [[4], [2, 2]])
def test_a_micro_batch_without_labels(parts: list[int]) -> None:
    head = build_head(CategoryTarget(name="y"), ("a", "b"), label_smoothing=0.0)
    weights = [1.0, 0.0, 0.0, 0.0]
    # What is not known is left out, not multiplied by 0: not even infinities may reach the sum.
    raw = [[0.0, 0.0], [math.inf, 0.0], [math.nan, 0.0], [0.0, -math.inf]]
    found = gradient(head, raw, [0, 0, 0, 0], weights, parts)
    assert found.tolist() == [[-0.5, 0.5], [0, 0], [0, 0], [0, 0]]
    one = head.loss_sum(torch.tensor(raw), torch.tensor([0, 0, 0, 0]), torch.tensor(weights))
    assert float(one) == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.case("33", "neighbour: a training in which one target has no label at all says so")
def test_a_target_without_labels_is_told() -> None:
    examples = make_examples(24, size=32)
    examples.weights["variety"][:] = 0.0
    examples.labels["variety"][:] = -1
    state, trained, _ = train(changed(epochs=1), rows=24, examples=examples)
    assert all(bool(torch.isfinite(one).all()) for one in state.values() if one.is_floating_point())
    [epoch] = trained.history
    assert math.isnan(epoch.train.get("variety", {}).get("loss", math.nan))
    shown = EpochTable(epoch, 80).lines(epoch)[0].split()
    assert shown[1] != "-" and shown[-3] == "-"  # the last target's last score, before the seconds


@pytest.mark.case("34", "33 rows, batch 32, BatchNorm: the one row left over is trained")
@pytest.mark.parametrize("micro_batch", [32, 1])
def test_one_row_left_over(micro_batch: int) -> None:
    recipe = changed(arch="test_resnet", epochs=1, batch_size=32)
    state, trained, rates = train(recipe, rows=41, micro_batch=micro_batch)
    assert len(rates) == 2 and trained.history[0].rows == 33
    assert all(bool(torch.isfinite(one).all()) for one in state.values() if one.is_floating_point())


@pytest.mark.case("34", "neighbour: no BatchNorm group has one row unless the batch has")
def test_no_group_of_one() -> None:
    for rows in range(2, 80):
        for group in (2, 3, 16, 32):
            sizes = group_sizes(rows, group)
            assert sum(sizes) == rows and min(sizes) > 1 and max(sizes) <= group + (group == 2)
    assert group_sizes(1, 16) == (1,)


@pytest.mark.case("35", "BatchNorm of 0..7 in micro-batches of 2: the running mean is 0.35 after a step")
@pytest.mark.parametrize("parts", [[8], [2, 2, 2, 2]])
def test_running_statistics_move_once_a_step(parts: list[int]) -> None:
    net = nn.Sequential(nn.BatchNorm2d(1))
    context = make_batch_exact(net, seed=0, batchnorm_group=2 if len(parts) > 1 else 8)
    values = torch.arange(8.0).reshape(8, 1, 1, 1)
    start = 0
    for size in parts:
        context.begin(0, torch.arange(start, start + size), (size,))
        net(values[start : start + size])
        context.end_forward()
        start += size
    context.commit_statistics()
    assert float(net[0].running_mean) == pytest.approx(0.35)
    assert float(net[0].running_var) == pytest.approx(0.9 + 0.1 * 6.0)


@pytest.mark.case("35", "neighbour: a ResNet's gradient is the batch's in micro-batches of whole groups")
def test_a_resnet_is_exact_in_whole_groups() -> None:
    recipe = changed(**STILL, arch="test_resnet", batch_size=16, batchnorm_group=4)
    grown = []
    for micro_batch in (16, 4):
        training = make_training(recipe, micro_batch=micro_batch)
        training.network.train()
        train_step(training, make_batches(training, make_examples(16))[0], 0)
        grown.append(state_of(training.network))
    assert largest_difference(*grown) < 1e-10


@pytest.mark.case("36", "40 rows and a batch of 64: all of them are trained in every epoch")
def test_fewer_rows_than_a_batch() -> None:
    seen: list[int] = []
    recipe = changed(batch_size=64)
    training = make_training(recipe, micro_batch=64)
    for epoch in range(2):
        for batch in make_batches(training, make_examples(40), epoch=epoch):
            seen += batch.rows.tolist()
    assert sorted(seen) == sorted([*range(40)] * 2)


@pytest.mark.case("36", "neighbour: batch sizes from 1 to beyond the rows, none is dropped")
@pytest.mark.parametrize("batch_size", [1, 7, 16, 39, 40, 41])
def test_no_row_is_dropped(batch_size: int) -> None:
    training = make_training(changed(batch_size=batch_size), micro_batch=8)
    batches = make_batches(training, make_examples(40))
    assert sorted(row for batch in batches for row in batch.rows.tolist()) == [*range(40)]
    assert len(batches) == math.ceil(40 / batch_size)


@pytest.mark.case("37", "64 rows, batch 16, 3 epochs: 12 rates, the same whatever the micro-batch")
def test_the_plan_counts_updates() -> None:
    recipe = changed(epochs=3)
    right = [recipe.lr * one_cycle(step, 12, warmup=recipe.warmup) for step in range(12)]
    for micro_batch in (16, 5):
        assert train(recipe, rows=72, micro_batch=micro_batch)[2] == right
    assert right[-1] == pytest.approx(recipe.lr * 1e-3) and max(right) == pytest.approx(recipe.lr)


@pytest.mark.case("37", "neighbour: after the epochs of the last layer all layers have a plan of their own")
def test_each_stage_has_its_plan() -> None:
    recipe = changed(epochs=2, frozen_epochs=1)
    _, trained, rates = train(recipe, rows=72)
    right = [recipe.lr * one_cycle(step, 4, warmup=recipe.warmup) for step in range(4)]
    right += [recipe.lr * one_cycle(step, 8, warmup=recipe.warmup) for step in range(8)]
    assert rates == pytest.approx(right)
    assert [one.stage for one in trained.history] == ["head", "all", "all"]


def _augmented(rows: list[int], epoch: int) -> torch.Tensor:
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).expand(
        len(rows), -1, -1, -1
    )
    return augment(
        picture, torch.tensor(rows), seed=3, epoch=epoch, strength="strong", flip="both", min_scale=0.5
    )


@pytest.mark.case("40", "8 rows get 8 draws, others in the next epoch, the same again with the seed")
def test_draws_depend_on_row_and_epoch() -> None:
    first, second = _augmented([*range(8)], 0), _augmented([*range(8)], 1)
    every = torch.cat([first, second]).flatten(1)
    assert len(torch.unique(every, dim=0)) == 16
    assert torch.equal(first, _augmented([*range(8)], 0))
    # Whoever draws, and beside which rows: the row's draw is its own.
    assert torch.equal(_augmented([5, 2], 1), second[[5, 2]])


@pytest.mark.case("40", "neighbour: a training has the same weights with 0, 1, 2 and 4 workers")
def test_workers_change_no_weight() -> None:
    recipe = changed(epochs=1, augment="strong", flip="both")
    found = [train(recipe, rows=24, workers=workers)[0] for workers in (0, 1, 2, 4)]
    assert all(largest_difference(found[0], other) == 0 for other in found[1:])


class Greedy(nn.Module):
    """Runs out of memory above so many rows, after taking a large tensor."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most = inner, most
        self.taken: list[weakref.ref[torch.Tensor]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert all(one() is None for one in self.taken), "a failed try still holds its memory"
        if len(x) > self.most:
            big = torch.zeros(1000, 1000)
            self.taken.append(weakref.ref(big))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.")
        return self.inner(x)


@pytest.mark.case("41", "out of memory above 8 rows: settles at 8, holds nothing, ends as if begun at 8")
def test_out_of_memory_settles_at_what_fits() -> None:
    ends = []
    for start in (32, 8):
        training = make_training(changed(batch_size=32, ema=0.0), micro_batch=start)
        greedy = Greedy(training.network.encoders["image0"], 8)
        training.network.encoders["image0"] = greedy
        training.network.train()
        assert train_step(training, make_batches(training, make_examples(32))[0], 0).updated
        assert training.micro_batch == 8 and all(one() is None for one in greedy.taken)
        ends.append(state_of(training.network))
    assert largest_difference(*ends) == 0 and len(training.notes) == 0


@pytest.mark.case("41", "neighbour: at one row and still failing, a refusal with advice, weights untouched")
def test_out_of_memory_at_one_row() -> None:
    training = make_training(changed(batch_size=4), micro_batch=4)
    training.network.encoders["image0"] = Greedy(training.network.encoders["image0"], 0)
    before = state_of(training.network)
    with pytest.raises(MemoryBudgetError, match="1 rows") as refused:
        train_step(training, make_batches(training, make_examples(4))[0], 0)
    assert refused.value.labels["fix"] and largest_difference(before, state_of(training.network)) == 0


@pytest.mark.case("43", "an unguarded script under spawn starts no process of its own: workers are threads")
def test_an_unguarded_script_under_spawn(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "import multiprocessing\n"
        "multiprocessing.set_start_method('spawn')\n"
        "from tenfold.engine.batches import read_ahead\n"
        "print('start')\n"
        "change = lambda rows: [rows * 2]\n"
        "found = [part[0] for part in read_ahead([1, 2, 3], change, 2)]\n"
        "print(sum(found), multiprocessing.active_children())\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("start\n12 []\n", 0), done.stderr


@pytest.mark.case("43", "neighbour: what fails in a worker is raised by itself, in order, and nothing hangs")
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_a_fault_in_a_worker_is_its_own(workers: int) -> None:
    def read(rows: Any) -> list[Any]:
        if rows[0] == 2:
            raise ValueError("row 2")
        return [rows]

    parts = [np.array([number]) for number in range(5)]
    got = []
    with pytest.raises(ValueError, match="row 2"):
        for part in read_ahead(parts, read, workers):
            got += part[0].tolist()
    assert got == [0, 1]


@pytest.mark.case("44", "64 MB of shared memory do not matter: pictures are read by threads of one process")
def test_no_shared_memory_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing.shared_memory as shared

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared, "SharedMemory", refuse)
    monkeypatch.setattr(torch.multiprocessing, "Process", refuse)
    before = set(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else set()
    big = np.zeros((64, 96, 96, 3), np.uint8)
    parts = [np.arange(64)] * 4
    assert sum(len(part[0]) for part in read_ahead(parts, lambda rows: [big[rows]], 4)) == 256
    assert (set(os.listdir("/dev/shm")) if Path("/dev/shm").is_dir() else set()) == before


@pytest.mark.case("44", "neighbour: who stops in the middle of an epoch leaves no thread behind")
def test_no_thread_is_left_behind() -> None:
    parts = [np.array([number]) for number in range(9)]
    reader = read_ahead(parts, lambda rows: [rows], 3)
    assert next(reader)[0].tolist() == [0]
    reader.close()  # type: ignore[attr-defined]
    assert not [one.name for one in threading.enumerate() if one.name.startswith("tenfold-read")]


def _overflowing(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Let these steps of a training be left out, as where a half-precision gradient overflows."""

    def step_or_not(training: Any, batch: Any, step: int) -> StepResult:
        if step in steps:
            return StepResult({"disease": 1.0, "variety": math.inf}, math.inf, False)
        return StepResult({"disease": 1.0, "variety": 0.5}, 1.0, True)

    monkeypatch.setattr(engine, "train_step", step_or_not)


@pytest.mark.case("45", "clipping acts on the unscaled gradient, whatever the scale")
def test_clipping_knows_no_scale() -> None:
    pair = nn.Parameter(torch.zeros(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    optimizer = torch.optim.SGD([pair], lr=1.0)
    scaler.scale((pair * torch.tensor([3.0, 4.0])).sum()).backward()
    scaler.unscale_(optimizer)
    assert float(clip_gradients([pair], 1.0)) == pytest.approx(5.0)
    scaler.step(optimizer)
    assert pair.tolist() == pytest.approx([-0.6, -0.8], rel=1e-4)

    training = make_training(changed(clip_norm=0.01, batch_size=8), micro_batch=4, precision="float16")
    training.network.train()
    training.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    result = train_step(training, make_batches(training, make_examples(8))[0], 0)
    left = [one.grad for one in training.network.parameters() if one.grad is not None]
    assert result.updated and result.norm > 0.01
    assert float(torch.stack([one.norm() for one in left]).norm()) == pytest.approx(0.01, rel=1e-2)


@pytest.mark.case("45", "an update that is left out does not move the plan of rates on")
def test_a_skipped_update_does_not_advance_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = changed(epochs=2, frozen_epochs=1)
    _overflowing(monkeypatch, 1, 3, 4)
    _, trained, rates = train(recipe, rows=40, precision="float16")
    head = [recipe.lr * one_cycle(step, 2, warmup=recipe.warmup) for step in (0, 1)]
    right = [one_cycle(step, 4, warmup=recipe.warmup) for step in (0, 1, 1, 1)]
    assert rates == pytest.approx([*head, *(recipe.lr * one for one in right)])
    assert [one.skipped for one in trained.history] == [1, 2, 3]
    assert [one.updates for one in trained.history] == [1, 1, 1]


@pytest.mark.case("45", "neighbour: an epoch whose updates were all left out says that, and not: no labels")
def test_an_epoch_of_skipped_updates_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _overflowing(monkeypatch, 2, 3)
    history = train(changed(epochs=3), rows=40, precision="float16")[1].history
    lines = [EpochTable(epoch, 80).lines(epoch) for epoch in history]
    assert len(lines[0]) == len(lines[2]) == 1
    assert lines[1][1].strip() == "2 of 2 updates skipped (half precision overflowed)"


@pytest.mark.case("45", "neighbour: a training without one single update is refused, with advice")
@pytest.mark.parametrize(("epochs", "said"), [(20, "25 updates in a row overflowed"), (2, "all 4 updates")])
def test_a_training_without_an_update_is_refused(
    monkeypatch: pytest.MonkeyPatch, epochs: int, said: str
) -> None:
    _overflowing(monkeypatch, *range(100))
    with pytest.raises(TrainingError, match=said) as ended:
        train(changed(epochs=epochs), rows=40, precision="float16")
    assert "bfloat16" in ended.value.labels["fix"]


@pytest.mark.case("35", "neighbour: the rows at once that are told are those of whole BatchNorm groups")
def test_the_record_says_what_went_through(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 24)
    table = write_table(tmp_path / "train.csv", {"id": columns["id"], "label": columns["label"]})
    schema = tenfold.Schema(
        inputs=(ImageColumn(name="id", folder=str(tmp_path / "photos")),),
        targets=(CategoryTarget(name="label"),),
    )
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, "frozen_epochs": 1})
    notes: list[str] = []
    run = tenfold.fit(
        schema,
        recipe,
        table,
        run=tmp_path / "run",
        machine=Machine(micro_batch=2, device="cpu"),
        on_note=notes.append,
        report=False,
    )
    plan = run.about["plan"]
    told = "\n".join(notes)
    rows = int(re.search(r"rows: (\d+) train", told)[1])  # type: ignore[index]
    assert plan["micro_batch"] == max(group_sizes(min(16, rows), 16)) > 2
    assert plan["micro_batch"] * plan["accumulation"] >= min(16, rows)
    assert f"{plan['micro_batch']} rows at once x {plan['accumulation']}" in told
    assert "BatchNorm groups are not cut" in told
    assert "epochs: 1 of the last layer alone, then 1 of all layers" in told


@pytest.mark.case("V12", "pictures that are kept smaller than the network sees them are said to be enlarged")
def test_small_items_are_told(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 6)
    schema = tenfold.Schema(
        inputs=[ImageColumn(name="id", folder=str(tmp_path / "photos"))],
        targets=[CategoryTarget(name="label")],
    )
    table = {name: columns[name] for name in ("id", "label")}
    for kept, said in ((16, True), (48, False)):
        notes: list[str] = []
        recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, "item_size": kept, "valid": 0.0})
        tenfold.fit(schema, recipe, table, run=tmp_path / str(kept), report=False, on_note=notes.append)
        assert (
            any(one.startswith("pictures are kept at 16x16 and enlarged to 32x32") for one in notes) == said
        )
