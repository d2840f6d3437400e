"""BatchNorm groups and per-row draws: what makes a batch's answer the same however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.layers import BatchNormAct2d, DropPath
from torch import nn

from tenfold.nn.exact import RowDropout, group_sizes, make_batch_exact, uniform


def rows_of(count: int, start: int = 0) -> torch.Tensor:
    return torch.arange(start, start + count)


@pytest.mark.parametrize("group", [2, 3, 16, 32])
def test_groups_hold_every_row_once_and_none_is_alone(group: int) -> None:
    for rows in range(1, 200):
        sizes = group_sizes(rows, group)
        assert sum(sizes) == rows
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(rows, 2)
        assert max(sizes) <= (group if group > 2 else 3)


def test_running_statistics_move_once_by_the_pooled_batch() -> None:
    # Eight rows of values 0..7: 0.1 x 3.5, and 0.9 + 0.1 x the unbiased variance over 32 values.
    values = torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 1, 2, 2).contiguous()
    for cut in (8, 4, 2):
        network = nn.Sequential(nn.BatchNorm2d(1)).train()
        context = make_batch_exact(network, seed=0, batchnorm_group=2)
        for start in range(0, 8, cut):
            context.begin(0, rows_of(cut, start), group_sizes(cut, 2))
            network(values[start : start + cut])
        assert float(network[0].running_mean) == 0.0
        context.commit_statistics()
        assert float(network[0].running_mean) == pytest.approx(0.35, abs=1e-6)
        assert float(network[0].running_var) == pytest.approx(0.9 + 0.1 * values.var().item(), abs=1e-6)
        assert int(network[0].num_batches_tracked) == 1


def test_each_group_is_normalised_by_itself() -> None:
    values = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.BatchNorm2d(3)).train()
    context = make_batch_exact(network, seed=0, batchnorm_group=3)
    context.begin(0, rows_of(6), (3, 3))
    out = network(values)
    plain = nn.BatchNorm2d(3).train()
    assert torch.equal(out[:3], plain(values[:3]))
    assert torch.equal(out[3:], plain(values[3:]))


def test_recomputed_activations_are_not_counted_twice() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2)).train()
    context = make_batch_exact(network, seed=0, batchnorm_group=4)
    values = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    context.begin(0, rows_of(4), (4,))
    network(values)
    context.end_forward()
    network(values + 100)
    context.commit_statistics()
    assert torch.allclose(network[0].running_mean, 0.1 * values.mean(0), atol=1e-6)


def test_discarded_statistics_leave_no_trace() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2)).train()
    context = make_batch_exact(network, seed=0, batchnorm_group=4)
    context.begin(0, rows_of(4), (4,))
    network(torch.ones(4, 2) * 5)
    context.discard_statistics()
    context.commit_statistics()
    assert network[0].running_mean.tolist() == [0.0, 0.0]


def test_a_single_row_uses_the_running_statistics() -> None:
    # 33 rows in batches of 32 leave one row, whose maps may be 1x1: BatchNorm alone would stop there.
    network = nn.Sequential(nn.BatchNorm2d(2)).train()
    context = make_batch_exact(network, seed=0, batchnorm_group=16)
    context.begin(0, rows_of(1), group_sizes(1, 16))
    value = torch.tensor([[[[2.0]], [[-1.0]]]])
    assert torch.allclose(network(value), value / np.sqrt(1 + 1e-5), atol=1e-6)
    context.commit_statistics()
    assert network[0].running_mean.tolist() == [0.0, 0.0]


def test_frozen_statistics_never_move() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2)).train()
    context = make_batch_exact(network, seed=0, batchnorm_group="frozen")
    context.begin(0, rows_of(4), (1, 1, 1, 1))
    assert torch.allclose(network(torch.ones(4, 2)), torch.ones(4, 2), atol=1e-4)
    context.commit_statistics()
    assert network[0].running_mean.tolist() == [0.0, 0.0]
    assert network[0].training


def test_statistics_start_from_no_garbage() -> None:
    # What an uninitialised buffer holds may be NaN, and 0 x NaN is NaN: repeated so that memory is reused.
    network = nn.Sequential(nn.BatchNorm1d(64)).train()
    context = make_batch_exact(network, seed=0, batchnorm_group=4)
    for step in range(50):
        poison = torch.full((64,), float("nan"))
        del poison
        context.begin(step, rows_of(4), (4,))
        network(torch.randn(4, 64, generator=torch.Generator().manual_seed(step)))
        context.commit_statistics()
    assert torch.isfinite(network[0].running_mean).all()


def test_uniform_depends_on_row_and_key_only() -> None:
    drawn = uniform(rows_of(100), 50, 1, 2, 3)
    assert torch.equal(drawn[40:60], uniform(rows_of(20, 40), 50, 1, 2, 3))
    assert torch.equal(drawn.flip(0), uniform(rows_of(100).flip(0), 50, 1, 2, 3))
    for key in ((1, 2, 4), (1, 3, 3), (2, 2, 3)):
        assert not torch.equal(drawn, uniform(rows_of(100), 50, *key))
    assert 0 <= float(drawn.min()) and float(drawn.max()) < 1


def test_uniform_is_uniform_and_uncorrelated() -> None:
    drawn = uniform(rows_of(400), 400, 9).double().numpy()
    assert drawn.mean() == pytest.approx(0.5, abs=0.005)
    assert drawn.var() == pytest.approx(1 / 12, abs=0.001)
    assert abs(np.corrcoef(drawn[0], drawn[1])[0, 1]) < 0.2
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.2
    assert np.histogram(drawn, bins=16, range=(0, 1))[0].min() > 0.95 * drawn.size / 16


def test_dropout_is_drawn_per_row() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8), nn.Dropout(0.25)).train()
    context = make_batch_exact(network, seed=5, batchnorm_group=2)
    assert isinstance(network[0], RowDropout)
    values = torch.ones(6, 8)
    context.begin(3, rows_of(6), (2, 2, 2))
    whole = network(values)
    for start in (0, 2, 4):
        context.begin(3, rows_of(2, start), (2,))
        assert torch.equal(network(values[start : start + 2]), whole[start : start + 2])
    context.begin(4, rows_of(6), (2, 2, 2))
    assert not torch.equal(network(values), whole)


def test_dropout_keeps_the_mean_and_rests_in_evaluation() -> None:
    network = nn.Sequential(nn.Dropout(0.4))
    context = make_batch_exact(network, seed=0, batchnorm_group=2)
    context.begin(0, rows_of(500), (500,))
    out = network.train()(torch.ones(500, 100))
    assert out.mean().item() == pytest.approx(1.0, abs=0.01)
    assert sorted(out.unique().tolist()) == [0.0, pytest.approx(1 / 0.6)]
    assert torch.equal(network.eval()(torch.ones(3, 4)), torch.ones(3, 4))


def test_windows_of_one_row_share_its_depth_mask() -> None:
    class DropPath(nn.Module):
        drop_prob = 0.5

    network = nn.Sequential(DropPath()).train()
    context = make_batch_exact(network, seed=0, batchnorm_group=2)
    context.begin(0, rows_of(40), (40,))
    out = network(torch.ones(120, 4, 4))
    per_row = out.reshape(40, 3 * 4 * 4)
    assert (per_row.max(1).values == per_row.min(1).values).all()
    assert 8 < int((per_row[:, 0] == 0).sum()) < 32


def test_layers_that_drop_nothing_are_left_alone() -> None:
    network = nn.Sequential(nn.Dropout(0.0))
    make_batch_exact(network, seed=0, batchnorm_group=2)
    assert type(network[0]) is nn.Dropout


def test_a_table_that_all_rows_share_loses_the_same_places_whatever_the_cut() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.meta_mlp = nn.Sequential(nn.Identity(), nn.Dropout(0.5))

    block = Block()
    context = make_batch_exact(block, seed=0, batchnorm_group=2)
    table = torch.ones(12, 40)  # 12 divides by every number of rows below
    found = []
    for rows in ([0, 1, 2], [3], [4, 5]):
        context.begin(7, torch.tensor(rows), (len(rows),))
        found.append(block.meta_mlp(table))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert 0.35 < (found[0] == 0).float().mean() < 0.65
    context.begin(8, torch.tensor([0]), (1,))
    assert not torch.equal(found[0], block.meta_mlp(table))


class Doubled(nn.BatchNorm2d):
    """A BatchNorm with a forward pass of its own."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, Doubled, BatchNormAct2d])
def test_a_batchnorm_of_any_class_works_by_groups(kind: type[nn.BatchNorm2d]) -> None:
    values = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    network, plain = nn.Sequential(kind(3)).train(), kind(3).train()
    context = make_batch_exact(network, seed=0, batchnorm_group=3)
    context.begin(0, rows_of(6), (3, 3))
    assert torch.equal(network(values), torch.cat([plain(values[:3]), plain(values[3:])]))
    assert int(network[0].num_batches_tracked) == 0
    context.commit_statistics()
    moved = 0.9 + 0.1 * (values - values.mean((0, 2, 3), keepdim=True)).square().sum((0, 2, 3)) / 149
    assert torch.allclose(network[0].running_var, moved, atol=1e-6)
    assert int(network[0].num_batches_tracked) == 1


def test_each_layers_paths_are_drawn_by_themselves() -> None:
    network = nn.Sequential(*(DropPath(0.5) for _ in range(3))).train()
    context = make_batch_exact(network, seed=5, batchnorm_group=2)
    ones = torch.ones(64, 2)
    seen = []
    for step in (3, 4):
        context.begin(step, rows_of(64), (64,))
        seen += [layer(ones) for layer in network]
        for layer, kept in enumerate(seen[-3:]):
            drawn = uniform(rows_of(64), 1, 5, step, layer)
            assert torch.equal(kept, (drawn >= 0.5).float() / 0.5 * ones)
    assert not any(torch.equal(seen[0], other) for other in seen[1:])


def test_a_path_that_is_computed_again_is_the_same() -> None:
    network = nn.Sequential(DropPath(0.5), DropPath(0.25)).train()
    context = make_batch_exact(network, seed=5, batchnorm_group=2)
    context.begin(3, rows_of(64), (64,))
    first = network(torch.ones(64, 2))
    context.end_forward()
    assert torch.equal(network(torch.ones(64, 2)), first)
