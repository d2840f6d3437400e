"""The body: the layers between the columns' features and the last layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import RecipeError
from tenfold.recipe import Recipe
from tenfold.schema import Schema


class MlpBody(nn.Module):
    """Fully connected layers, each followed by ReLU and dropout."""

    def __init__(self, width: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.width = width
        for size in hidden:
            layers += [nn.Linear(self.width, size), nn.ReLU(), nn.Dropout(dropout)]
            self.width = size
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows {self.width}"]:
        """Features -> outputs of the last hidden layer."""
        return self.layers(features)


class DotBody(nn.Module):
    """The biased dot product of two ids: the first entry of an embedding is its bias, the others its factors.

    a + b + p . q (Koren, Bell and Volinsky 2009, doi 10.1109/MC.2009.263, equation 4), one number per row.
    """

    width = 1

    def __init__(self, factors: int) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, features: Float[Tensor, "rows 2*(1+{self.factors})"]) -> Float[Tensor, "rows 1"]:
        """(rows, 2 x (1 + factors)) -> (rows, 1)."""
        left, right = features.split(1 + self.factors, dim=1)
        return left[:, :1] + right[:, :1] + (left[:, 1:] * right[:, 1:]).sum(dim=1, keepdim=True)


class ConcatBody(nn.Module):
    """No body: the last layer sees the concatenated features of the columns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: Float[Tensor, "rows {self.width}"]) -> Float[Tensor, "rows {self.width}"]:
        """(rows, width) -> (rows, width)."""
        return features


def body_kind(schema: Schema, recipe: Recipe) -> str:
    """``linear``, ``mlp`` or ``dot``: the recipe's, where ``auto`` is linear for pictures alone, else mlp.

    Raises RecipeError for a dot product of inputs other than two ids.
    """
    if recipe.body == "dot" and not (len(schema.ids) == len(schema.inputs) == 2):
        raise RecipeError(
            "body = 'dot' multiplies two ids",
            found=", ".join(f"{column.name} ({column.kind})" for column in schema.inputs),
            fix="set body = 'mlp', or name two id columns and no other input",
        )
    return recipe.body_for(schema)


def build_body(kind: str, widths: Sequence[int], recipe: Recipe) -> ConcatBody | MlpBody | DotBody:
    """The body of a kind (see `body_kind`). widths: of the columns' features."""
    if kind == "mlp":
        return MlpBody(sum(widths), recipe.hidden, recipe.body_dropout)
    return DotBody(widths[0] - 1) if kind == "dot" else ConcatBody(sum(widths))


def joined(parts: Sequence[Float[Tensor, "rows _"]]) -> Float[Tensor, "rows width"]:
    """Features (rows, width) of several columns, concatenated."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)
