"""The whole network: first layers, body, and a last linear layer with the outputs of all targets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float, Float64, Num, Shaped
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tenfold.data.encode import Encoding
from tenfold.errors import RecipeError
from tenfold.nn.blocks import recompute_blocks
from tenfold.nn.body import ConcatBody, body_kind, build_body, joined
from tenfold.nn.encoders import (
    CodeEncoder,
    NumberEncoder,
    build_backbone,
    build_column_encoder,
    feature_width,
    has_convolutions,
    layer_numbers,
    load_weights,
    recompute_activations,
)
from tenfold.nn.exact import RowContext, make_batch_exact
from tenfold.nn.heads import Head, build_head
from tenfold.nn.ood import MahalanobisScore
from tenfold.recipe import Recipe
from tenfold.schema import Schema

#: Prefixes of the names of encoders.
_IMAGE, _COLUMN = "image", "column"
#: Default number of factors of a biased dot product, as in fast.ai's lesson 7.
DOT_FACTORS = 50


class Answering(Protocol):
    """What stands in for `Network.answers`, for some inputs."""

    def fits(self, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> bool:
        """Whether it can answer these."""
        ...

    def __call__(self, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> list[Float64[Tensor, "rows _"]]:
        """See `Network.answers`."""
        ...


class Network(nn.Module):
    """Raw outputs of all targets from the encoded inputs of some rows.

    encoders: by `input_name` and `column_name`, in the order in which their features are concatenated.
    heads: of the targets, in the schema's order; the last layer's outputs are split in that order.
    log_variances: (targets,) if the targets' weights are learned, or None.
    familiar: index of an open target, as text -> its out-of-distribution score.
    context: the rows that the network sees now (see `nn.exact`).
    traced: what answers inputs of its shapes in place of the layers (see `nn.traced`).
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        width: int,
        heads: Sequence[Head],
        dropout: float,
        body: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.body = ConcatBody(width) if body is None else body
        self.dropout = nn.Dropout(dropout)
        self.heads = tuple(heads)
        self.last = nn.Linear(width, sum(head.outputs for head in heads))
        self.log_variances: nn.Parameter | None = None
        self.familiar = nn.ModuleDict()
        self.context: RowContext = RowContext(0)
        self.traced: Answering | None = None

    def learn_task_weights(self) -> None:
        """Give every target a learned log variance, 0 at first (see `engine.loss.batch_loss`)."""
        self.log_variances = nn.Parameter(torch.zeros(len(self.heads)))

    def enable_ood(self) -> None:
        """Give every open target an out-of-distribution score, which works once it is fitted."""
        for index, head in enumerate(self.heads):
            if head.doubts:
                self.familiar[str(index)] = MahalanobisScore(len(head.classes), self.last.in_features)

    def answers(self, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> list[Float64[Tensor, "rows _"]]:
        """(rows, answers) per target: probabilities, or numbers."""
        if self.traced is not None and self.traced.fits(inputs):
            return self.traced(inputs)
        features = self.features(inputs)
        answers = [head.probabilities(raw) for head, raw in zip(self.heads, self.raw(features), strict=True)]
        for index, score in self.familiar.items():
            answers[int(index)] = answers[int(index)] * score(features)
        return answers

    @property
    def backbones(self) -> dict[str, nn.Module]:
        """The encoders of pictures, by name."""
        return {name: encoder for name, encoder in self.encoders.items() if name.startswith(_IMAGE)}

    def features(
        self, inputs: Mapping[str, Num[Tensor, " rows *_"]], *, frozen: bool = False
    ) -> Float[Tensor, "rows {self.last.in_features}"]:
        """Features (rows, width) of all columns, through the body: the input of the last layer.

        frozen: compute no gradients of backbones.
        """
        parts = []
        for name, encoder in self.encoders.items():
            skip = frozen and name.startswith(_IMAGE)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not skip):
                parts.append(encoder(inputs[name]))
        return self.body(joined(parts))

    def raw(
        self, features: Float[Tensor, "rows {self.last.in_features}"]
    ) -> tuple[Float[Tensor, "rows _"], ...]:
        """Raw outputs (rows, outputs) per target from features (rows, width)."""
        outputs = self.last(self.dropout(features))
        return outputs.split([head.outputs for head in self.heads], dim=1)

    def forward(self, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> tuple[Float[Tensor, "rows _"], ...]:
        return self.raw(self.features(inputs))


@dataclass(frozen=True)
class Layer:
    """A trainable parameter and its depth.

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
    weights: Mapping[str, Shaped[Tensor, " ..."]] | None = None,
    weights_name: str = "",
    fetch: bool = True,
    width_of: Callable[[nn.Module, str, tuple[int, int]], int] = feature_width,
) -> tuple[Network, list[str]]:
    """The network of a schema and recipe, and messages on the source of its weights.

    weights: state dictionary for the backbone, if the recipe names a file.
    width_of: returns the width of a backbone's features.
    fetch: false if a run folder will supply all weights: the hub is not asked.
    Random numbers come from the recipe's seed; the global generator keeps its state.
    """
    recipe.check()
    if not schema.inputs:
        raise RecipeError(
            "there is no input column",
            fix="name one: --image COLUMN=FOLDER, --category COLUMN or --number COLUMN",
        )
    kind = body_kind(schema, recipe)
    notes: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # noqa: TID251 - timm draws from the global generator, forked here
        encoders: dict[str, nn.Module] = {}
        widths: list[int] = []
        for position in range(len(schema.images)):
            backbone = build_backbone(
                recipe.arch,
                image_size=recipe.image_size,
                drop_path=recipe.drop_path,
                pretrained=fetch and recipe.weights == "hub",
            )
            if weights is not None:
                notes += load_weights(backbone, weights, weights_name)
            widths.append(width_of(backbone, recipe.arch, recipe.image_size))
            encoders[input_name(position)] = backbone
        # Both embeddings of a dot product have the same width: a bias and the factors.
        fixed = 1 + (recipe.embedding or DOT_FACTORS) if kind == "dot" else recipe.embedding
        for position, column in enumerate(schema.columns):
            encoder = build_column_encoder(column, encoding.columns[column.name], embedding=fixed)
            widths.append(encoder.width)
            encoders[column_name(position)] = encoder
        body = build_body(kind, widths, recipe)
        heads = build_heads(encoding, schema, recipe)
        network = Network(encoders, body.width, heads, recipe.dropout, body)
    if recipe.task_weights == "learned":
        network.learn_task_weights()
    if recipe.familiarity:
        network.enable_ood()
    # Zero weights give every class the same probability: the first step is small.
    nn.init.zeros_(network.last.weight)
    nn.init.zeros_(network.last.bias)
    if kind == "dot":
        # The dot product is the raw output: the last layer only shifts and scales it.
        nn.init.ones_(network.last.weight)
    network.context = make_batch_exact(network, seed=recipe.seed, batchnorm_group=recipe.batchnorm_group)
    if uses_channels_last(network):
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, notes


class _Undrawn(TorchFunctionMode):
    """Leaves parameters as they are where a random number would be drawn for each."""

    _DRAWS = (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = args[0] if args else (kwargs or {}).get("tensor")
        draws = func in self._DRAWS or getattr(func, "__module__", "") == nn.init.__name__
        if draws and isinstance(given, nn.Parameter):
            return given
        return func(*args, **(kwargs or {}))


def undrawn() -> TorchFunctionMode:
    """While a network is built whose parameters all come from a file: none of them is drawn."""
    return _Undrawn()


def build_heads(encoding: Encoding, schema: Schema, recipe: Recipe) -> tuple[Head, ...]:
    """A head per target, with its classes or statistics; heads hold no weights."""
    return tuple(
        build_head(
            target,
            encoding.classes.get(target.name, ()),
            encoding.targets.get(target.name),
            label_smoothing=recipe.label_smoothing,
            huber=recipe.number_loss == "huber",
        )
        for target in schema.answers
    )


def uses_channels_last(network: Network) -> bool:
    """Whether the network is faster with channels as the last axis in memory: convolutional networks."""
    return any(has_convolutions(encoder) for encoder in network.backbones.values())


def recompute(network: Network, on: bool = True, blocks: Collection[str] = ()) -> bool:
    """Turn gradient checkpointing of every backbone on or off; False if one has none.

    blocks: only these, by their names in the network (`blocks.find_blocks`).
    """
    recompute_blocks(network, blocks)
    switched = [recompute_activations(encoder, on and not blocks) for encoder in network.backbones.values()]
    return bool(blocks) or all(switched)


def input_name(position: int) -> str:
    """Name of the image column at `position` inside `Network.encoders` and `Batch.inputs`."""
    return f"{_IMAGE}{position}"


def column_name(position: int) -> str:
    """Name of the column at `position` among the tabular ones (`Schema.columns`), as `input_name`."""
    return f"{_COLUMN}{position}"


def layer_widths(network: Network) -> int:
    """How many features a row has in all layers together, except backbones."""
    linear = [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]
    encoders = network.encoders.values()
    return sum(linear) + sum(e.width for e in encoders if isinstance(e, CodeEncoder | NumberEncoder))


def describe_layers(network: Network) -> list[Layer]:
    """Every parameter of the network with its depth, for the optimizer's groups."""
    layers = []
    numbers: dict[str, int] = {}
    for name, encoder in network.backbones.items():
        for key, number in layer_numbers(encoder).items():
            numbers[f"encoders.{name}.{key}"] = number
    count = 1 + max(numbers.values(), default=0)
    for name, parameter in network.named_parameters():
        part = "body" if name in numbers else "head"
        decays = parameter.ndim > 1 and not name.endswith((".bias", "pos_embed", "cls_token"))
        layers.append(Layer(name, part, numbers.get(name, count), count, decays))
    return layers
