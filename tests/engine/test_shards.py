"""Which rank keeps what; `test_ranks.py` trains with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tenfold.engine.checkpoint import Progress, peek_checkpoint, restore_checkpoint, save_checkpoint
from tenfold.engine.optim import AveragedWeights, build_optimizer, clip_gradients, swapped_weights
from tenfold.engine.ranks import ONE_RANK, Ranks
from tenfold.engine.shards import UNSPLIT, Shards, keepers_of, largest_shard, split_parameters
from tenfold.engine.step import train_step
from tenfold.recipe import Recipe
from tenfold.runs.folder import begin_run
from training import make_batches, make_examples, make_training

RECIPE = Recipe(arch="test_vit", weights="none", image_size=96, batch_size=8, lr=1e-2, ema=0.9)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_parameter_has_a_single_keeper_and_their_loads_are_alike(count: int) -> None:
    network = make_training(RECIPE, micro_batch=8).network
    keepers = keepers_of(network, count)
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    loads = [sum(sizes[name] for name in sizes if keepers[name] == number) for number in range(count)]
    assert keepers.keys() == sizes.keys() and sum(loads) == sum(sizes.values())
    assert max(loads) - min(loads) <= max(sizes.values())
    largest = largest_shard(network, count)
    assert sum(size for name, size in sizes.items() if largest.keeps(name)) == max(loads)


def test_a_tied_parameter_is_kept_under_all_of_its_names() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    network[1].weight = network[0].weight
    keepers = keepers_of(network, 2)
    assert keepers["0.weight"] == keepers["1.weight"] and len(set(keepers.values())) == 2
    parts = [Shards(Ranks(number, 2), keepers, number).own(network.state_dict()) for number in range(2)]
    # Statistics are kept by all.
    assert {name for part in parts for name in part} == set(network.state_dict())
    assert {name for name in parts[0] if name in parts[1]} == {
        "2.running_mean", "2.running_var", "2.num_batches_tracked"
    }  # fmt: skip


def test_the_optimizers_of_all_ranks_are_the_whole_one() -> None:
    network = make_training(RECIPE, micro_batch=8).network
    for part in ("head", "all"):
        whole = build_optimizer(network, RECIPE, part=part)
        trained = {name for name, each in network.named_parameters() if each.requires_grad}
        split = [
            build_optimizer(network, RECIPE, part=part, shards=split_parameters(network, Ranks(number, 3)))
            for number in range(3)
        ]
        assert {name for name, each in network.named_parameters() if each.requires_grad} == trained
        for group, *parts in zip(whole.param_groups, *(one.param_groups for one in split), strict=True):
            assert all(part["peak_lr"] == group["peak_lr"] for part in parts)
            kept = [id(each) for part in parts for each in part["params"]]
            assert sorted(kept) == sorted(map(id, group["params"]))
        assert all(len(one.param_groups) == len(whole.param_groups) for one in split)


def test_a_part_restores_its_part_of_a_checkpoint(tmp_path: Path) -> None:
    whole = make_training(RECIPE, micro_batch=8)
    for step, batch in enumerate(make_batches(whole, make_examples(16, size=96))):
        train_step(whole, batch, step)
    folder = begin_run(tmp_path / "run", resume=False)[0]
    save_checkpoint(folder, Progress(), whole, {})
    kept = peek_checkpoint(folder, {})
    folder.leave()
    assert kept is not None
    seen = 0
    for number in range(3):
        again = make_training(RECIPE, micro_batch=8)
        again.shards = split_parameters(again.network, Ranks(number, 3))
        again.optimizer = build_optimizer(again.network, RECIPE, part="all", shards=again.shards)
        again.averaged = AveragedWeights(again.network, 0.9, again.shards)
        restore_checkpoint(kept, again, without_optimizer=False)
        there, made = (dict(each.network.named_parameters()) for each in (whole, again))
        own = again.shards.own(made)
        assert {id(each) for each in own.values()} == {id(each) for each in again.optimizer.state}
        for name, parameter in own.items():
            first, second = whole.optimizer.state[there[name]], again.optimizer.state[parameter]
            assert all(torch.equal(first[slot], second[slot]) for slot in first)
            assert again.averaged.state[name].equal(whole.averaged.state[name])  # type: ignore[union-attr]
        seen += len(own)
    assert seen == len(there)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "lamb", "lion"])
def test_a_rank_for_which_no_parameter_is_left_takes_its_steps(optimizer: str) -> None:
    recipe = RECIPE.model_copy(update={"optimizer": optimizer})
    training = make_training(recipe, micro_batch=8)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    training.shards = Shards(ONE_RANK, dict.fromkeys(dict(training.network.named_parameters()), 1), 0)
    training.optimizer = build_optimizer(training.network, recipe, part="all", shards=training.shards)
    training.averaged = AveragedWeights(training.network, 0.9, training.shards)
    for step, batch in enumerate(make_batches(training, make_examples(16, size=96))):
        assert train_step(training, batch, step).updated
    assert all(value.equal(before[name]) for name, value in training.network.state_dict().items())
    assert not training.optimizer.state


def test_no_rank_waits_for_the_others_after_an_error() -> None:
    network = nn.Linear(2, 2)

    class Counted(Ranks):
        shared = 0

        def share(self, tensors: object, keepers: object) -> None:
            Counted.shared += 1

    averaged = AveragedWeights(network, 0.9, Shards(Counted(), keepers_of(network, 2)))
    with swapped_weights(network, averaged):
        pass
    assert Counted.shared == 2
    with pytest.raises(ValueError, match="broken"), swapped_weights(network, averaged):
        raise ValueError("broken")
    assert Counted.shared == 3


def test_one_norm_over_all_parts() -> None:
    class Other(Ranks):
        def add(self, numbers: object) -> list[float]:
            return [3.0, 4.0]

    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.full((1,), 3.0)
    shards = Shards(Other(0, 2), {"here": 0, "there": 1})
    assert clip_gradients([parameter], 1.0, shards) == 5.0
    assert parameter.grad.item() == pytest.approx(3.0 / 5.0)
    assert clip_gradients([], 1.0, shards) == 5.0


def test_without_keepers_all_keep_all() -> None:
    network = nn.Linear(2, 2)
    assert not UNSPLIT.split and UNSPLIT.keeps("any") and UNSPLIT.ranks is ONE_RANK
    parameters, keepers = UNSPLIT.trained(network)
    assert parameters == list(network.parameters()) and keepers == []
    UNSPLIT.fill(network, {name: torch.ones_like(value) for name, value in network.state_dict().items()})
    assert all(bool((each == 1).all()) for each in network.parameters())
    assert UNSPLIT.whole({"a": torch.ones(1)})["a"].item() == 1
