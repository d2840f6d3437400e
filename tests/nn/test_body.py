"""Between features and outputs: a small network, a dot product, or nothing."""

from __future__ import annotations

import pytest
import torch

from tenfold.data.encode import ColumnStats, Encoding
from tenfold.errors import RecipeError
from tenfold.nn.body import DotBody, MlpBody, body_kind
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from tenfold.schema import CategoryColumn, IdColumn, ImageColumn, NumberColumn, NumberTarget, Schema

IMAGE, AGE, SEX = ImageColumn(name="i", folder="f"), NumberColumn(name="age"), CategoryColumn(name="sex")
PAIR = (IdColumn(name="user"), IdColumn(name="item"))


def schema_of(*inputs: object) -> Schema:
    return Schema(inputs=inputs, targets=(NumberTarget(name="stars"),))


def test_auto_keeps_pictures_linear_and_gives_tables_a_small_network() -> None:
    recipe = Recipe()
    assert body_kind(schema_of(IMAGE), recipe) == "linear"
    assert body_kind(schema_of(IMAGE, AGE), recipe) == body_kind(schema_of(SEX), recipe) == "mlp"
    assert body_kind(schema_of(IMAGE), Recipe(body="mlp")) == "mlp"


@pytest.mark.parametrize("inputs", [(SEX, AGE), (PAIR[0],), (*PAIR, AGE), (IMAGE, SEX)])
def test_a_dot_product_is_of_two_ids(inputs: tuple) -> None:
    with pytest.raises(RecipeError, match="multiplies two ids"):
        body_kind(schema_of(*inputs), Recipe(body="dot"))


def test_the_dot_product_has_biases() -> None:
    body = DotBody(2)
    one, other = torch.tensor([[0.5, 1.0, 2.0]]), torch.tensor([[-0.25, 3.0, 4.0]])
    assert body(torch.cat([one, other], dim=1)).item() == 0.5 - 0.25 + 1 * 3 + 2 * 4


def test_the_dot_product_is_the_networks_raw_output_at_first() -> None:
    encoding = Encoding(
        classes={}, columns={"user": ColumnStats(words=("a", "b")), "item": ColumnStats(words=("x",))}
    )
    network, _ = build_network(encoding, schema_of(*PAIR), Recipe(body="dot", embedding=3))
    users, items = (network.encoders[f"column{place}"].table.weight for place in range(2))
    (raw,) = network.eval()({"column0": torch.tensor([2, 0]), "column1": torch.tensor([1, 1])})
    for row, user in enumerate((2, 0)):
        right = users[user, 0] + items[1, 0] + users[user, 1:] @ items[1, 1:]
        assert torch.allclose(raw[row, 0], right)


def test_a_row_of_an_mlp_does_not_know_its_neighbours() -> None:
    body = MlpBody(5, (7, 3), 0.5).eval()
    features = torch.rand(6, 5)
    assert body.width == 3
    assert torch.allclose(body(features)[2:3], body(features[2:3]))


def test_without_hidden_layers_an_mlp_is_linear() -> None:
    assert Recipe(hidden="").hidden == () and MlpBody(5, (), 0.5).width == 5
    assert Recipe(hidden="200, 100").hidden == (200, 100) == Recipe(hidden="200x100").hidden
    with pytest.raises(RecipeError, match="hidden"):
        Recipe(hidden="200,0")
