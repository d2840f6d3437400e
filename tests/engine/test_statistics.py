"""BatchNorm's statistics are those of training rows, for the weights that are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tenfold.engine import statistics as engine_statistics
from tenfold.engine import train as engine_train
from tenfold.engine.statistics import estimate_statistics, estimated_norms, statistics_rows
from tenfold.engine.step import Training
from tenfold.engine.train import Trained, fit_network
from tenfold.nn.exact import group_sizes
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from tenfold.runs.folder import begin_run
from tenfold.values import MemoryPlan
from training import SCHEMA, make_encoding, make_examples, make_training, state_of

RECIPE = Recipe(
    arch="test_efficientnet",
    weights="none",
    image_size=32,
    batch_size=16,
    epochs=2,
    frozen_epochs=1,
    batchnorm_group=4,
)
CPU = torch.device("cpu")


def changed(**values: object) -> Recipe:
    return Recipe(**{**RECIPE.model_dump(), **values})


def train(
    recipe: Recipe = RECIPE, *, micro_batch: int = 16, valid: int = 10, folder: Path | None = None
) -> tuple[dict[str, torch.Tensor], Trained]:
    encoding = make_encoding(recipe)
    network, _ = build_network(encoding, SCHEMA, recipe, fetch=False)
    run = begin_run(folder, resume=True)[0] if folder else None
    try:
        trained = fit_network(
            network,
            encoding,
            make_examples(40),
            train=np.arange(40 - valid),
            valid=np.arange(40 - valid, 40),
            recipe=recipe,
            plan=MemoryPlan(micro_batch=micro_batch, workers=0),
            device=CPU,
            precision="float64",
            folder=run,
        )
    finally:
        if run is not None:
            run.close()
    return state_of(network), trained


def estimate(training: Training, rows: int = 22, group: int = 4) -> None:
    norms = estimated_norms(training.network, head_only=False)
    examples = make_examples(40)
    estimate_statistics(
        training.network, norms, examples, np.arange(rows), training.preparation, group=group, workers=0
    )


def buffers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if "running" in name}


def test_statistics_are_the_mean_and_variance_of_what_enters_the_layer() -> None:
    training = make_training(changed(), micro_batch=16)
    first = training.network.context.norms[0]
    assert isinstance(first, nn.BatchNorm2d)
    seen: list[torch.Tensor] = []
    handle = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    before = state_of(training.network)
    estimate(training)
    handle.remove()
    assert tuple(len(part) for part in seen) == group_sizes(22, 4)
    entered = torch.cat(seen).transpose(0, 1).flatten(1)
    torch.testing.assert_close(first.running_mean, entered.mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(first.running_var, entered.var(1), rtol=1e-12, atol=1e-12)
    after = state_of(training.network)
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - buffers(before).keys())


def test_estimating_twice_changes_nothing_and_leaves_the_mode() -> None:
    training = make_training(changed(), micro_batch=16)
    training.network.train()
    estimate(training)
    once = state_of(training.network)
    estimate(training)
    assert training.network.training
    assert all(torch.equal(value, once[name]) for name, value in state_of(training.network).items())


def test_frozen_layers_keep_their_statistics() -> None:
    frozen = make_training(changed(batchnorm_group="frozen"), micro_batch=16)
    assert frozen.network.context.norms
    assert estimated_norms(frozen.network, head_only=False) == []
    training = make_training(changed(), micro_batch=16)
    assert estimated_norms(training.network, head_only=True) == []
    assert estimated_norms(training.network, head_only=False) == training.network.context.norms


@pytest.mark.parametrize("ema", [0.0, 0.99])
@pytest.mark.parametrize("valid", [0, 10])
def test_what_is_kept_has_the_statistics_of_its_own_weights(ema: float, valid: int) -> None:
    recipe = changed(ema=ema)
    kept, _ = train(recipe, valid=valid)
    training = make_training(recipe, micro_batch=16)
    training.network.load_state_dict(kept)
    rows = statistics_rows(np.arange(40 - valid), most=512, seed=recipe.seed)
    estimate_statistics(
        training.network,
        estimated_norms(training.network, head_only=False),
        make_examples(40),
        rows,
        training.preparation,
        group=4,
        workers=0,
    )
    assert buffers(kept)
    assert all(torch.equal(value, kept[name]) for name, value in state_of(training.network).items())


def test_the_micro_batch_changes_no_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    real = engine_statistics.estimate_statistics

    def counted(*args: object, **options: object) -> None:
        drawn.append(1)
        real(*args, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(engine_statistics, "estimate_statistics", counted)
    whole, _ = train(micro_batch=16)
    cut, _ = train(micro_batch=4)
    assert len(drawn) == 4  # the head's epoch trains no layer that has statistics
    for name, value in buffers(whole).items():
        torch.testing.assert_close(cut[name], value, rtol=1e-11, atol=1e-12)


def test_a_training_begun_with_running_averages_ends_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_train, "STATISTICS_ROWS", 0)
    running, _ = train()
    monkeypatch.undo()
    estimated, _ = train()
    assert not torch.equal(*(next(iter(buffers(state).values())) for state in (running, estimated)))

    class Stopped(Exception):
        pass

    def stop(self: object) -> None:
        saved(self)
        raise Stopped

    saved = engine_train._Loop._save
    monkeypatch.setattr(engine_train, "STATISTICS_ROWS", 0)
    monkeypatch.setattr(engine_train._Loop, "_save", stop)
    with pytest.raises(Stopped):
        train(folder=tmp_path / "run")
    monkeypatch.undo()
    resumed, _ = train(folder=tmp_path / "run")
    assert all(torch.equal(value, running[name]) for name, value in resumed.items())
