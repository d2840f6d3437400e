"""One network: encoders, one last layer split among the targets, and every parameter's place."""

from __future__ import annotations

import pytest
import torch

from tenfold.data.encode import ColumnStats, Encoding
from tenfold.errors import RecipeError
from tenfold.nn.network import build_network, describe_layers, recompute, undrawn, uses_channels_last
from tenfold.recipe import Recipe
from tenfold.schema import CategoryColumn, CategoryTarget, ImageColumn, NumberColumn, Schema
from training import CLASSES, SCHEMA, make_encoding

RECIPE = Recipe(arch="test_resnet", weights="none", image_size=64, batchnorm_group=4)


def build(recipe: Recipe = RECIPE):
    return build_network(make_encoding(recipe), SCHEMA, recipe, fetch=False)


def test_outputs_are_split_among_the_targets() -> None:
    network, _ = build()
    raw = network.eval()({"image0": torch.rand(3, 3, 64, 64)})
    assert [part.shape for part in raw] == [(3, len(words)) for words in CLASSES.values()]
    # The last layer starts at zero: every class has the same chance before the first step.
    assert all(part.detach().abs().max().item() == 0.0 for part in raw)


def test_two_pictures_to_a_row_are_joined() -> None:
    schema = Schema(
        inputs=(ImageColumn(name="front", folder="a"), ImageColumn(name="back", folder="b")),
        targets=SCHEMA.targets,
    )
    network, _ = build_network(Encoding(classes=CLASSES, image_size=(64, 64)), schema, RECIPE, fetch=False)
    one, _ = build()
    assert network.last.in_features == 2 * one.last.in_features
    images = torch.rand(2, 3, 64, 64)
    assert network.eval().features({"image0": images, "image1": images}).shape == (
        2,
        network.last.in_features,
    )


def test_the_seed_decides_the_weights_and_nothing_else_does() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, _ = build()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    same, _ = build()
    other, _ = build(Recipe(**{**RECIPE.model_dump(), "seed": 5}))
    weights = [dict(net.named_parameters())["encoders.image0.conv1.0.weight"] for net in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_no_parameter_is_drawn_where_a_file_has_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(arch="test_vit", weights="none", image_size=160)
    drawn, _ = build_network(make_encoding(recipe), SCHEMA, recipe)
    fill = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **kind: fill(*size, **kind).fill_(7.0))
    with undrawn():
        built, _ = build_network(make_encoding(recipe), SCHEMA, recipe)
    monkeypatch.undo()
    layers = [layer for layer in built.modules() if isinstance(layer, torch.nn.Linear)]
    assert len(layers) > 4 and all((layer.weight == layer.weight[0, 0]).all() for layer in layers)
    built.load_state_dict(drawn.state_dict(), strict=True)
    pixels = {"image0": torch.rand(2, 3, 160, 160)}
    for before, after in zip(drawn.eval()(pixels), built.eval()(pixels), strict=True):
        assert torch.equal(before, after)


def test_every_parameter_has_one_place() -> None:
    network, _ = build()
    layers = {layer.name: layer for layer in describe_layers(network)}
    assert set(layers) == {name for name, _ in network.named_parameters()}
    assert layers["last.weight"].part == "head" and layers["last.weight"].decays
    assert not layers["last.bias"].decays
    norms = [layer for name, layer in layers.items() if ".bn" in name]
    assert norms and not any(layer.decays for layer in norms)


def test_convolutions_are_laid_out_with_channels_last() -> None:
    network, _ = build()
    assert uses_channels_last(network)
    weight = dict(network.named_parameters())["encoders.image0.layer1.0.conv1.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not uses_channels_last(build(Recipe(arch="test_vit", weights="none", image_size=160))[0])


def test_recomputing_is_switched_on_every_encoder() -> None:
    assert recompute(build()[0])


def test_a_schema_without_pictures_is_refused() -> None:
    with pytest.raises(RecipeError, match="--image"):
        build_network(
            Encoding(classes={"t": ("a", "b")}),
            Schema(inputs=(), targets=(CategoryTarget(name="t"),)),
            RECIPE,
            fetch=False,
        )


def test_a_picture_and_columns_of_a_table_stand_side_by_side() -> None:
    columns = (NumberColumn(name="age"), CategoryColumn(name="farm"))
    schema = Schema(inputs=(*SCHEMA.inputs, *columns), targets=SCHEMA.targets)
    facts = {"age": ColumnStats(), "farm": ColumnStats(words=("a", "b", "c"))}
    encoding = make_encoding(RECIPE).model_copy(update={"columns": facts})
    network, _ = build_network(encoding, schema, RECIPE, fetch=False)
    inputs = {
        "image0": torch.rand(3, 3, 64, 64),
        "column0": torch.rand(3, 2),
        "column1": torch.tensor([0, 1, 3]),
    }
    assert list(network.encoders) == list(inputs)
    assert [len(part[0]) for part in network.eval()(inputs)] == [len(words) for words in CLASSES.values()]
    # Only what was trained before rests while the head alone is trained.
    parts = {layer.name.split(".")[0]: layer.part for layer in describe_layers(network)}
    assert parts == {"encoders": "head", "body": "head", "last": "head"} | {"encoders": parts["encoders"]}
    resting = [layer.name for layer in describe_layers(network) if layer.part == "body"]
    assert resting and all(name.startswith("encoders.image0.") for name in resting)
    network.train()
    network.context.begin(0, torch.arange(3), (3,))
    network.features(inputs, frozen=True).sum().backward()
    grown = {name for name, each in network.named_parameters() if each.grad is not None}
    assert "encoders.column1.table.weight" in grown and not grown & set(resting)
