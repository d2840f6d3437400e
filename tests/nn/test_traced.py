"""A graph answers as the network does, or the network goes on layer by layer."""

from __future__ import annotations

import pytest
import torch

from tenfold.data.encode import ColumnStats, Encoding
from tenfold.nn.network import Network, build_network
from tenfold.nn.traced import trace_answers
from tenfold.recipe import Recipe
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    ImageColumn,
    NumberColumn,
    NumberTarget,
    Schema,
)
from tenfold.targets.base import TargetStats

SIZE = (48, 32)


@pytest.fixture
def network() -> Network:
    schema = Schema(
        inputs=(
            ImageColumn(name="photo", folder="."),
            CategoryColumn(name="farm"),
            NumberColumn(name="height"),
        ),
        targets=(CategoryTarget(name="sort"), NumberTarget(name="tall")),
    )
    encoding = Encoding(
        classes={"sort": ("a", "b", "c")},
        targets={"tall": TargetStats(mean=170.0, deviation=9.0)},
        columns={"farm": ColumnStats(words=("", "north")), "height": ColumnStats(mean=1.0, deviation=2.0)},
        image_size=SIZE,
    )
    recipe = Recipe(arch="test_efficientnet", weights="none", image_size=SIZE)
    made = build_network(encoding, schema, recipe, fetch=False)[0].eval()
    with torch.no_grad():
        made.last.weight.normal_(generator=torch.Generator().manual_seed(3))
    return made


def rows(count: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "image0": torch.randn(count, 3, *SIZE, generator=generator),
        "column0": torch.randint(0, 3, (count,), generator=generator),
        "column1": torch.randn(count, 2, generator=generator),
    }


def test_the_graph_answers_as_the_layers_do(network: Network) -> None:
    wanted = network.answers(rows(1, 5))
    assert trace_answers(network, rows(1, 0)) and network.traced is not None
    assert network.traced.fits(rows(1, 5)) and not network.traced.fits(rows(2, 5))
    made = network.answers(rows(1, 5))
    for own, other in zip(made, wanted, strict=True):
        assert own.dtype == other.dtype
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-7)
    # Inputs of other shapes go through the layers.
    assert [len(answer) for answer in network.answers(rows(4, 1))] == [4, 4]


def test_a_network_that_decides_by_its_inputs_stays_as_it_is(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = network.features

    def deciding(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        features = whole(inputs)
        # A trace holds the branch that its example took.
        return features if float(inputs["column1"].sum()) > 1e6 or not inputs["column0"].any() else -features

    monkeypatch.setattr(network, "features", deciding)
    example = {**rows(1, 0), "column0": torch.ones(1, dtype=torch.int64)}
    assert not trace_answers(network, example) and network.traced is None


def test_a_network_that_cannot_be_traced_stays_as_it_is(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        raise RuntimeError("no")

    monkeypatch.setattr(network, "features", failing)
    assert not trace_answers(network, rows(1, 0)) and network.traced is None
