"""The whole network: first layers, body, and one linear layer whose outputs are split among the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tenfold.data.encode import Encoding
from tenfold.errors import RecipeError
from tenfold.nn.encoders import (
    build_backbone,
    feature_width,
    has_convolutions,
    layer_numbers,
    load_weights,
    recompute_activations,
)
from tenfold.nn.familiar import Familiarity
from tenfold.nn.heads import Head, build_head
from tenfold.nn.rows import RowContext, make_row_exact
from tenfold.recipe import Recipe
from tenfold.schema import Schema


class Network(nn.Module):
    """Raw outputs of all targets from the encoded inputs of some rows.

    heads: one per target, in the schema's order; the last layer's outputs are split in that order.
    log_variances: (targets,) where the targets' weights are learnt, or None.
    familiar: name of an open target's place -> how much a row is like those of training.
    context: which rows are in the network now (see `nn.rows`).
    """

    def __init__(self, encoders: Mapping[str, nn.Module], width: int, heads: Sequence[Head], dropout: float):
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.dropout = nn.Dropout(dropout)
        self.heads = tuple(heads)
        self.last = nn.Linear(width, sum(head.outputs for head in heads))
        self.log_variances: nn.Parameter | None = None
        self.familiar = nn.ModuleDict()
        self.context: RowContext = RowContext(0)

    def learn_task_weights(self) -> None:
        """Give every target a log variance to be learnt, 0 at first (see `engine.loss.batch_loss`)."""
        self.log_variances = nn.Parameter(torch.zeros(len(self.heads)))

    def doubt_strangers(self) -> None:
        """Let open targets doubt rows that are like none of training's, once what is usual is known."""
        width = self.last.in_features
        for place, head in enumerate(self.heads):
            if head.kind == "open":
                self.familiar[str(place)] = Familiarity(len(head.classes), width)

    def answers(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """(rows, answers) float64 per target: probabilities, and numbers."""
        features = self.features(inputs)
        found = [head.probabilities(raw) for head, raw in zip(self.heads, self.raw(features), strict=True)]
        for place, familiar in self.familiar.items():
            found[int(place)] = found[int(place)] * familiar(features)
        return found

    def features(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Features (rows, width) of the encoded inputs, one encoder beside the other."""
        parts = [encoder(inputs[name]) for name, encoder in self.encoders.items()]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def raw(self, features: Tensor) -> tuple[Tensor, ...]:
        """Raw outputs (rows, outputs) per target from features (rows, width)."""
        outputs = self.last(self.dropout(features))
        return outputs.split([head.outputs for head in self.heads], dim=1)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return self.raw(self.features(inputs))


@dataclass(frozen=True)
class Layer:
    """One trainable parameter and where it stands.

    depth: 0 at the picture, 1.0 at the last layer.  number: depth counted in layers of the backbone.
    decays: false for biases and norms, which weight decay leaves alone.
    """

    name: str
    part: str
    number: int
    count: int
    decays: bool


def build_network(
    encoding: Encoding,
    schema: Schema,
    recipe: Recipe,
    *,
    weights: Mapping[str, Tensor] | None = None,
    weights_name: str = "",
    fetch: bool = True,
) -> tuple[Network, list[str]]:
    """The network of a schema and recipe, and notes on where its weights came from.

    weights: state dictionary for the backbone where the recipe names a file.
    fetch: false when all weights will be filled from a run folder, so that the hub is not asked.
    Random numbers come from the recipe's seed; the global generator is left as it was.
    """
    recipe.check()
    others = [f"{column.name} ({column.kind})" for column in schema.inputs if column not in schema.images]
    if others or not schema.images:
        raise RecipeError(
            "this version trains from pictures only",
            found=", ".join(others) or "no input column",
            fix="name image columns and no others: --image COLUMN=FOLDER",
        )
    notes: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # noqa: TID251 - timm draws from the global generator, forked here
        encoders, width = {}, 0
        for position in range(len(schema.images)):
            backbone = build_backbone(
                recipe.arch,
                image_size=recipe.image_size,
                drop_path=recipe.drop_path,
                pretrained=fetch and recipe.weights == "hub",
            )
            if weights is not None:
                notes += load_weights(backbone, weights, weights_name)
            width += feature_width(backbone, recipe.arch, recipe.image_size)
            encoders[f"image{position}"] = backbone
        network = Network(encoders, width, build_heads(encoding, schema, recipe), recipe.dropout)
    if recipe.task_weights == "learned":
        network.learn_task_weights()
    if recipe.familiarity:
        network.doubt_strangers()
    # A head that starts at zero gives every class the same probability, so that the first step is small.
    nn.init.zeros_(network.last.weight)
    nn.init.zeros_(network.last.bias)
    network.context = make_row_exact(network, seed=recipe.seed, batchnorm_group=recipe.batchnorm_group)
    if uses_channels_last(network):
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if network.context.norms:
        how = recipe.batchnorm_group
        said = "kept frozen" if how == "frozen" else f"averaged over fixed groups of at most {how} rows"
        notes.append(f"{len(network.context.norms)} BatchNorm layers, {said}: the micro-batch cannot matter")
    return network, notes


def build_heads(encoding: Encoding, schema: Schema, recipe: Recipe) -> tuple[Head, ...]:
    """One head per target, with what is known of it now; they hold no weights."""
    return tuple(
        build_head(
            target,
            encoding.classes.get(target.name, ()),
            label_smoothing=recipe.label_smoothing,
            facts=encoding.targets.get(target.name),
            huber=recipe.number_loss == "huber",
        )
        for target in schema.answers
    )


def uses_channels_last(network: Network) -> bool:
    """True where the network runs faster with channels as the last axis in memory: convolution nets."""
    return any(has_convolutions(encoder) for encoder in network.encoders.values())


def recompute(network: Network, on: bool = True) -> bool:
    """Let every encoder compute activations again in the backward pass; false where one cannot."""
    switched = [recompute_activations(encoder, on) for encoder in network.encoders.values()]
    return all(switched)


def input_name(position: int) -> str:
    """Name of the image column at `position` inside `Network.encoders` and `Batch.inputs`."""
    return f"image{position}"


def describe_layers(network: Network) -> list[Layer]:
    """Every parameter of the network with its depth, for the optimizer's groups."""
    found = []
    numbers: dict[str, int] = {}
    for name, encoder in network.encoders.items():
        for key, number in layer_numbers(encoder).items():
            numbers[f"encoders.{name}.{key}"] = number
    count = 1 + max(numbers.values(), default=0)
    for name, parameter in network.named_parameters():
        part = "body" if name in numbers else "head"
        decays = parameter.ndim > 1 and not name.endswith((".bias", "pos_embed", "cls_token"))
        found.append(Layer(name, part, numbers.get(name, count), count, decays))
    return found
