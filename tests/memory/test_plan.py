"""Plans: what must hold of any of them, what they refuse, and how."""

from __future__ import annotations

import json
from typing import Any

import pytest
import timm
import torch
from torch import nn

from tenfold.errors import RecipeError
from tenfold.memory import plan as memory
from tenfold.memory.cards import GIB, MIB
from tenfold.memory.plan import Plan, PlanRequest, plan_memory, timeline
from tenfold.memory.trace import KINDS
from tenfold.memory.training import NetworkTraining
from tenfold.recipe import Recipe
from tenfold.values import Sharding

SMALL: dict[str, Any] = {"image_size": 96, "batch_size": 24, "classes": 5, "card": "T4", "cached": False}


def request(**options: Any) -> PlanRequest:
    """A request from fields of a recipe and of its own."""
    recipe = {name: value for name, value in options.items() if name in Recipe.model_fields}
    others = {name: value for name, value in options.items() if name not in recipe}
    return PlanRequest(recipe=Recipe(**recipe), **others)


def small_plan(arch: str = "test_resnet", **options: Any) -> Plan:
    return plan_memory(arch, request(**{"budget_bytes": 4 * GIB, **SMALL, **options}))


def squeezed(arch: str = "test_convnext", passes: int = 3, **options: Any) -> Plan:
    """A plan whose budget forces about so many micro-batches."""
    options = {"batch_size": 96, "image_size": 160, **options}
    whole = small_plan(arch, **options)
    one = small_plan(arch, **options, micro_batch=whole.batch_size // passes)
    return small_plan(arch, **options, budget_bytes=one.band_bytes[1])


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_the_numbers_of_a_plan_agree_with_each_other(arch: str) -> None:
    plan = small_plan(arch)
    low, high = plan.band_bytes
    assert 0 < plan.live_bytes <= plan.reserved_bytes < plan.predicted_bytes
    assert low <= plan.predicted_bytes <= high
    assert sum(plan.parts.values()) == plan.predicted_bytes
    assert set(plan.parts) == {*KINDS, "allocator slack", "context"}
    assert min(plan.parts.values()) >= 0
    assert plan.fits and plan.fits_whole and plan.micro_batch == 24 and plan.accumulation == 1


def test_the_record_is_what_the_command_prints() -> None:
    plan = small_plan(image_size=(96, 64))
    record = json.loads(json.dumps(plan.record()))
    asked = "arch image_size batch_size micro_batch accumulation parts fits".split()
    assert {*asked, "live_bytes", "reserved_bytes", "process_bytes"} <= set(record)
    assert record["image_size"] == [96, 64] and record["process_bytes"] == plan.predicted_bytes


def test_known_parts_have_their_known_sizes() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 512), nn.ReLU(), nn.Linear(512, 8))
    weights = 4 * sum(p.numel() for p in network.parameters())
    fields = {**SMALL, "image_size": 64, "precision": "float32", "evaluated": 0, "classes": 8}
    fields["budget_bytes"] = GIB
    plan = plan_memory(network, request(**fields, ema=0.9))
    # The peak is in the update: gradients, two moments and the average, each as large as the weights.
    assert plan.parts["weights"] == weights
    assert plan.parts["gradients"] == weights
    assert plan.parts["optimizer"] == pytest.approx(3 * weights, rel=1e-4)
    without = plan_memory(network, request(**fields, ema=0.0))
    assert plan.parts["optimizer"] - without.parts["optimizer"] == weights
    plain = plan_memory(network, request(**fields, ema=0.0, optimizer="sgd", momentum=0.0))
    assert plain.parts["optimizer"] < 1024


def test_a_smaller_budget_never_means_a_larger_micro_batch() -> None:
    high = small_plan("test_convnext", batch_size=96, image_size=160).band_bytes[1]
    plans = [
        small_plan("test_convnext", batch_size=96, image_size=160, budget_bytes=int(high * part))
        for part in (1.0, 0.98, 0.95, 0.92, 0.9)
    ]
    sizes = [plan.micro_batch for plan in plans]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 96 > sizes[-1]
    for plan in plans:
        assert plan.fits == (plan.band_bytes[1] <= plan.budget_bytes)
        assert plan.micro_batch * plan.accumulation >= 96


def test_the_fewest_and_evenest_micro_batches_that_fit_are_taken() -> None:
    plan = squeezed("test_convnext", 3)
    assert plan.fits and not plan.fits_whole
    assert (plan.micro_batch, plan.accumulation) == (32, 3)
    one_less = small_plan("test_convnext", batch_size=96, image_size=160, micro_batch=48)
    assert one_less.band_bytes[1] > plan.budget_bytes


def test_a_micro_batch_is_a_whole_number_of_batchnorm_groups() -> None:
    options = {"batch_size": 50, "batchnorm_group": 8, "image_size": 160}
    asked = small_plan("test_resnet", **options, micro_batch=10)
    # 50 rows are groups of 8, 7, ..., 7: ten rows are one group.
    assert asked.micro_batch in (7, 8) and "BatchNorm groups are not cut" in " ".join(asked.notes)
    frozen = small_plan("test_resnet", **{**options, "batchnorm_group": "frozen"}, micro_batch=10)
    assert (frozen.micro_batch, frozen.accumulation) == (10, 5)
    small = small_plan("test_resnet", **options, budget_bytes=700 * MIB)
    assert not small.fits and small.micro_batch == 8


def test_the_largest_batch_fits_and_one_much_larger_does_not() -> None:
    for arch, group in (("test_vit", 1), ("test_resnet", 16)):
        plan = small_plan(arch, image_size=160, budget_bytes=1400 * MIB)
        assert plan.largest_batch >= group and plan.largest_batch % group == 0
        options = {"image_size": 160, "budget_bytes": 1400 * MIB}
        assert small_plan(arch, **{**options, "batch_size": plan.largest_batch}).fits_whole
        assert not small_plan(
            arch, **{**options, "batch_size": int(plan.largest_batch * 1.1) + 2 * group}
        ).fits_whole


def test_recomputing_activations_takes_less() -> None:
    options = {**SMALL, "batch_size": 16, "image_size": 224, "evaluated": 0}
    plain = plan_memory("vit_tiny_patch16_224", request(**options, budget_bytes=GIB, micro_batch=16))
    again = plan_memory(
        "vit_tiny_patch16_224", request(**options, budget_bytes=GIB, micro_batch=16, checkpoint=True)
    )
    assert again.checkpoint and again.parts["activations"] < plain.parts["activations"] / 2


@pytest.mark.parametrize(
    ("arch", "options", "says"),
    [
        ("convnext_smal", {}, "did you mean 'convnext_small'"),
        ("xcit_nano_12_p16_224", {"image_size": 225}, "xcit_nano_12_p16_224 refuses 225x225 pixels"),
        ("test_vit", {"precision": "float8"}, "precision = 'float8'"),
        ("test_vit", {"optimizer": "sdg"}, "optimizer = 'sdg'"),
        ("test_vit", {"batch_size": 0}, "batch_size = 0"),
        ("test_vit", {"micro_batch": 99}, "micro_batch is 99"),
        ("test_vit", {"device": "tpu"}, "no plan for device 'tpu'"),
        ("test_vit", {"card": "Voodoo 2"}, "no card 'Voodoo 2'"),
        ("test_vit", {"image_size": "big"}, "image_size = 'big'"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(arch: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        small_plan(arch, **options)
    assert says in str(caught.value)
    assert "\n" not in caught.value.headline


def test_a_network_that_cannot_be_traced_is_one_line_too() -> None:
    class Curious(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.layer(x.mean(dim=(2, 3)))
            return x * float(x.sum().item())

    with pytest.raises(RecipeError, match="the network cannot be planned") as caught:
        plan_memory(Curious(), request(**SMALL, budget_bytes=GIB))
    assert "\n" not in caught.value.headline


def test_an_answer_is_kept_under_all_that_decides_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    options = {**SMALL, "cached": True, "budget_bytes": GIB}
    first = plan_memory("test_vit", request(**options))
    monkeypatch.setattr(memory.Plans, "planner", lambda *_: pytest.fail("planned again"))
    assert plan_memory("test_vit", request(**options)) == first
    for change in (
        {"batch_size": 25},
        {"classes": 6},
        {"image_size": (96, 64)},
        {"card": "A100"},
        {"ema": 0.0},
    ):
        with pytest.raises(pytest.fail.Exception):
            plan_memory("test_vit", request(**{**options, **change}))
    monkeypatch.undo()
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    for path in (tmp_path / "memory").glob("*.json"):
        path.write_text("{", encoding="utf-8")
    assert plan_memory("test_vit", request(**options)) == first


def test_a_network_at_hand_is_planned_as_one_by_name_and_left_alone() -> None:
    settings = {**SMALL, "evaluated": 0, "drop_path": 0.0}
    real = timm.create_model("test_vit3", num_classes=5, img_size=96)
    before = {name: value.clone() for name, value in real.state_dict().items()}
    given = plan_memory(real, request(**settings, budget_bytes=GIB))
    built = plan_memory(
        lambda: timm.create_model("test_vit3", num_classes=5, img_size=96),
        request(**settings, budget_bytes=GIB),
    )
    assert (given.live_bytes, given.reserved_bytes) == (built.live_bytes, built.reserved_bytes)
    assert all(torch.equal(value, before[name]) for name, value in real.state_dict().items())
    assert all(type(p) is nn.Parameter and p.grad is None for p in real.parameters())


def test_precision_follows_the_card() -> None:
    assert small_plan("test_vit").precision == "float16"
    assert small_plan("test_vit", card="RTX 3090").precision == "bfloat16"
    assert small_plan("test_vit", card=None, device="cpu").precision == "float32"
    half, full = (small_plan("test_vit", precision=name, image_size=160) for name in ("float16", "float32"))
    assert half.parts["activations"] < full.parts["activations"]


def test_the_timeline_ends_where_it_began_and_peaks_where_the_plan_says() -> None:
    plan = small_plan("test_convnext", micro_batch=8)
    drawn = timeline("test_convnext", plan, request(**SMALL, budget_bytes=GIB))
    assert drawn.held.shape == (len(drawn.reserved), len(KINDS))
    assert drawn.held.min() >= 0
    assert drawn.held.sum(axis=1).max() == plan.live_bytes
    assert drawn.reserved.max() == plan.reserved_bytes
    assert [name for _, name in drawn.phases] == ["batch", *["micro-batch"] * 3, "update", "evaluation"]
    assert (drawn.reserved >= drawn.held.sum(axis=1)).all()


def test_a_plan_of_two_steps_is_a_plan_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for steps, micro_batches in ((2, 3), (4, 6)):
        monkeypatch.setattr("tenfold.memory.forecast.STEPS", steps)
        monkeypatch.setattr("tenfold.memory.forecast.MICRO_BATCHES", micro_batches)
        found.append(small_plan("test_convnext", micro_batch=4, image_size=160))
    assert found[0].live_bytes == found[1].live_bytes
    assert found[1].reserved_bytes == pytest.approx(found[0].reserved_bytes, rel=0.01)


def test_a_device_of_several_holds_its_part_of_the_batch_and_the_buffer_of_gradients() -> None:
    alone = small_plan("test_convnext", batch_size=16)
    one, two = (small_plan("test_convnext", batch_size=rows, devices=2) for rows in (16, 32))
    assert (one.batch_size, two.batch_size) == (8, 16)
    assert any(
        "2 devices share each batch of 16 rows; this plan is of one with 8" in note for note in one.notes
    )
    # As alone with that many rows, and the gradients once more, which all fit into the buffer.
    buffer = two.live_bytes - alone.live_bytes
    assert 0.5 < buffer / alone.parts["gradients"] < 1.5
    # Mixup takes pictures of the other device's rows.
    mixed = small_plan("test_convnext", batch_size=32, devices=2, mixup=0.2)
    assert mixed.live_bytes - two.live_bytes >= 2 * 16 * 3 * 4 * 96 * 96
    with pytest.raises(RecipeError, match="memory plan cannot be made") as refused:
        small_plan(devices=0)
    assert "devices is 0" in str(refused.value)


def test_a_device_that_keeps_a_part_of_the_optimizer() -> None:
    fields = {**SMALL, "image_size": 64, "precision": "float32", "classes": 8, "budget_bytes": GIB}
    fields |= {"device": "cpu", "card": None, "ema": 0.9, "batch_size": 8, "evaluated": 0, "clip_norm": 1.0}
    layers = [nn.Linear(3 * 64 * 64, 64), *(nn.Linear(64, 64) for _ in range(3)), nn.Linear(64, 8)]
    network = nn.Sequential(nn.Flatten(), *layers)
    weights = sum(4 * p.numel() for p in network.parameters())
    first = 4 * layers[0].weight.numel()
    for optimizer, copies in {"adamw": 2, "lion": 1, "sgd": 1}.items():
        whole = plan_memory(network, request(**fields, optimizer=optimizer, devices=2))
        split = plan_memory(network, request(**fields, optimizer=optimizer, devices=2, shard=True))
        # The first layer's weight is most of the network: one device keeps it, the other one all the rest.
        assert whole.parts["optimizer"] == pytest.approx((copies + 1) * weights, rel=1e-3)
        assert split.parts["optimizer"] == pytest.approx((copies + 1) * first, rel=1e-3)
        assert split.parts["gradients"] == pytest.approx(first, rel=1e-3)  # at the peak, which is the update
        assert split.parts["weights"] == whole.parts["weights"] == weights
    assert "the largest part of the optimizer's state" in " ".join(split.notes)
    with pytest.raises(RecipeError, match="no blocks whose weights"):
        plan_memory(network, request(**fields, devices=2, shard_weights=True))
    with pytest.raises(RecipeError) as refused:
        small_plan(shard=True)
    assert "over several devices: say how many" in str(refused.value)


@pytest.mark.metamorphic(
    "the largest batch that fits does not depend on the batch that is asked for, and fits"
)
def test_the_largest_batch_is_the_same_whatever_batch_is_asked_for() -> None:
    # Small batches have no room for the workspaces of the fastest kernels, and say little of large ones.
    options = {"image_size": 96, "budget_bytes": 1024 * MIB}
    for arch, near in (("test_resnet", 0.15), ("test_vit", 0.05)):
        found = [small_plan(arch, **options, batch_size=rows).largest_batch for rows in (1, 64)]
        assert min(found) > 0 and max(found) - min(found) <= max(near * max(found), 16)
        assert all(small_plan(arch, **options, batch_size=rows).fits_whole for rows in {*found})
    unasked = small_plan("test_vit", **options, largest=False)
    assert unasked.largest_batch == 0 and "largest" not in repr(unasked)


def test_a_device_that_keeps_a_part_of_the_weights() -> None:
    fields = {**SMALL, "precision": "float32", "ema": 0.9, "evaluated": 0, "devices": 2, "shard": True}
    alone, split = (
        small_plan("vit_tiny_patch16_224", **fields, shard_weights=weights) for weights in (False, True)
    )
    training = NetworkTraining(
        "vit_tiny_patch16_224", Recipe(image_size=96), precision="float32", classes=5, parts=2,
        sharding=Sharding.WEIGHTS,
    )  # fmt: skip
    absent = sum(p.numel() for name, p in training.network.named_parameters() if name in training.absent)
    assert 0.45 < 4 * absent / alone.parts["weights"] < 0.5
    assert split.parts["weights"] == alone.parts["weights"] - 4 * absent
    assert split.parts["optimizer"] == alone.parts["optimizer"]
    # A block computes again, and while it computes all of its weights are here, and of their gradients.
    assert split.checkpoint and not alone.checkpoint and split.live_bytes < alone.live_bytes - 4 * absent
    assert 0 < training.gathered < absent / 6
    assert "the largest part of weights, gradients and the optimizer's state" in " ".join(split.notes)
    # On a CPU the memory in which the first one brings a checkpoint together is the device's.
    host = small_plan("vit_tiny_patch16_224", **{**fields, "device": "cpu", "card": None}, shard_weights=True)
    assert host.parts["optimizer"] > 1.9 * split.parts["optimizer"] + 4 * absent
    again = small_plan("vit_tiny_patch16_224", **fields, checkpoint=True)
    assert split.live_bytes <= again.live_bytes - 4 * (absent - 2 * training.gathered)
    with pytest.raises(RecipeError) as refused:
        small_plan(shard_weights=True)
    assert "shard_weights splits weights over several devices: say how many" in str(refused.value)
