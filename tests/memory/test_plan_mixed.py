"""Plans of networks from pictures and cells: their encoders and their body are counted as the backbone is."""

from __future__ import annotations

from typing import Any

import pytest

from profiled import profiled_peak
from tenfold.engine.step import train_step
from tenfold.memory.allocator import replay
from tenfold.memory.cards import GIB
from tenfold.memory.phases import Phases, StepAllocations
from tenfold.memory.plan import Plan, PlanRequest, plan_memory
from tenfold.memory.training import NetworkTraining
from tenfold.nn.network import Network, build_network, recompute
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, ImageColumn, Schema
from training import (
    SCHEMA,
    cells_schema,
    make_batches,
    make_encoding,
    make_examples,
    make_kinds,
    make_training,
    with_cells,
)  # fmt: skip

SIDE, ROWS = 64, 24
RECIPE = Recipe(
    arch="test_resnet", weights="none", image_size=SIDE, batch_size=ROWS, hidden=(512, 256),
    body_dropout=0.1, drop_path=0.0, ema=0.0, augment="off", batchnorm_group=ROWS,
)  # fmt: skip
TARGETS = tuple(CategoryTarget(name=name) for name in ("disease", "sick"))
MIXED = cells_schema(pictures=True, targets=TARGETS)


def network_of(schema: Any) -> Network:
    return build_network(make_encoding(RECIPE, schema), schema, RECIPE, fetch=False)[0]


def plan_of(network: Network, **options: Any) -> Plan:
    chosen = {"image_size": SIDE, "batch_size": ROWS, "precision": "float32", "ema": 0.9, **options}
    request = PlanRequest(4 * GIB, Recipe(**chosen), device="cpu", evaluated=0)
    return plan_memory(network, request)


def bytes_of(network: Network) -> int:
    return 4 * sum(parameter.numel() for parameter in network.parameters())


def test_encoders_and_body_are_weights_gradients_and_state_like_all_others() -> None:
    mixed, pictures = network_of(MIXED), network_of(SCHEMA)
    more = bytes_of(mixed) - bytes_of(pictures)
    assert more > 4 * 512 * 256
    # With few rows the peak is in the update: gradients, two moments and the average, each of every weight.
    one, other = (plan_of(each, batch_size=2, batchnorm_group=2) for each in (mixed, pictures))
    assert one.parts["weights"] - other.parts["weights"] == more
    assert one.parts["gradients"] - other.parts["gradients"] == more
    assert one.parts["optimizer"] - other.parts["optimizer"] == pytest.approx(3 * more, rel=1e-3)
    assert one.live_bytes - other.live_bytes >= 5 * more


def test_what_cells_and_body_keep_of_a_row_is_counted() -> None:
    def held(network: Network, rows: int) -> int:
        """Bytes that a forward pass keeps: what is there when the first gradient arrives."""
        log = phases_of(network).micro_batch(rows)
        signs = [(abs(event), 1 if event > 0 else -1) for event in log.events[: log.events.index(0)]]
        return sum(sign * log.sizes[number] for number, sign in signs)

    def per_row(network: Network) -> float:
        return (held(network, 2 * ROWS) - held(network, ROWS)) / ROWS

    # Of each hidden layer the rectifier's output and the mask of dropout.
    layers = 4 * 2 * (512 + 256)
    assert per_row(network_of(MIXED)) - per_row(network_of(SCHEMA)) >= layers


def test_every_column_of_pictures_is_in_the_batch() -> None:
    second = ImageColumn(name="leaf", folder="leaves")
    two = network_of(Schema(inputs=(*SCHEMA.inputs, second), targets=TARGETS))

    def kept(network: Network) -> int:
        log = phases_of(network).batch(ROWS)
        return sum(log.sizes[number] for number in log.left())

    assert kept(two) - kept(network_of(SCHEMA)) == 4 * ROWS * 3 * SIDE * SIDE


def phases_of(network: Network) -> Phases:
    return Phases(NetworkTraining(network, RECIPE, precision="float32"), "cpu")


@pytest.mark.parametrize("rows", [ROWS, 2 * ROWS])
def test_a_real_step_of_a_mixed_network_takes_what_was_predicted(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tenfold.engine.undo.SMALL_COPY", -1
    )  # a copy in the host's memory, no part of a plan
    recipe = Recipe(**{**RECIPE.model_dump(), "batch_size": rows})
    training = make_training(recipe, micro_batch=rows, precision="float32", schema=MIXED)
    batch = make_batches(training, with_cells(make_kinds(rows, size=SIDE), pictures=True))[0]
    phases, script = phases_of(network_of(MIXED)), StepAllocations()
    script.play_micro(phases.micro_batch(rows), {}, phases.trained())
    script.play(phases.updates()[1])
    predicted = replay(script.events, script.sizes, None).live
    assert predicted == pytest.approx(measured(training, batch), rel=0.02)


@pytest.mark.parametrize("blocks", [(), ("layer1.0",), ("layer1.0", "layer2.0", "layer3.0")])
def test_a_real_step_with_some_blocks_computed_again_takes_what_was_predicted(
    blocks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenfold.engine.undo.SMALL_COPY", -1)
    training = make_training(RECIPE, micro_batch=ROWS, precision="float32")
    batch = make_batches(training, make_examples(ROWS, size=SIDE))[0]
    first = next(name for name, part in training.network.encoders.items())
    named = tuple(f"encoders.{first}.{block}" for block in blocks)
    recompute(training.network, bool(named), named)
    how: dict[str, Any] = {"checkpoint": bool(named), "blocks": named}
    kept = NetworkTraining(network_of(SCHEMA), RECIPE, precision="float32", **how)
    phases, script = Phases(kept, "cpu"), StepAllocations()
    script.play_micro(phases.micro_batch(ROWS), {}, phases.trained())
    script.play(phases.updates()[1])
    predicted = replay(script.events, script.sizes, None).live
    assert predicted == pytest.approx(measured(training, batch), rel=0.02)


def measured(training: Any, batch: Any) -> int:
    """Bytes that a step asks for at its highest, by PyTorch's profiler."""
    training.network.train()
    train_step(training, batch, 0)  # makes the optimizer's state, which is no part of what is compared
    training.optimizer.zero_grad(set_to_none=True)
    return profiled_peak(lambda: train_step(training, batch, 1))
