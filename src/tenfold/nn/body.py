"""The body: what stands between the features of the columns and the last layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import RecipeError
from tenfold.recipe import Recipe
from tenfold.schema import Schema


class MlpBody(nn.Module):
    """Fully connected layers, each followed by a rectifier and dropout. No layer looks beyond its row, so a
    batch may be cut anywhere."""

    def __init__(self, width: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.width = width
        for wide in hidden:
            layers += [nn.Linear(self.width, wide), nn.ReLU(), nn.Dropout(dropout)]
            self.width = wide
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows {self.width}"]:
        """Features -> outputs of the last hidden layer."""
        return self.layers(features)


class DotBody(nn.Module):
    """The biased dot product of two ids: the first entry of an embedding is its bias, the others its factors.

    a + b + p . q (Koren, Bell and Volinsky 2009, doi 10.1109/MC.2009.263, equation 4), one number to a row.
    """

    width = 1

    def __init__(self, factors: int) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, features: Float[Tensor, "rows 2*(1+{self.factors})"]) -> Float[Tensor, "rows 1"]:
        """(rows, 2 x (1 + factors)) -> (rows, 1)."""
        one, other = features.split(1 + self.factors, dim=1)
        product = (one[:, 1:] * other[:, 1:]).sum(dim=1, keepdim=True)
        return one[:, :1] + other[:, :1] + product


class ConcatBody(nn.Module):
    """The features as they are, one column's beside the other's: the last layer does it all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: Float[Tensor, "rows {self.width}"]) -> Float[Tensor, "rows {self.width}"]:
        """(rows, width) -> (rows, width)."""
        return features


def body_kind(schema: Schema, recipe: Recipe) -> str:
    """``linear``, ``mlp`` or ``dot``: as the recipe says, and for ``auto`` linear for pictures alone.

    Raises RecipeError for a dot product of anything but two ids.
    """
    if recipe.body == "dot" and not (len(schema.ids) == len(schema.inputs) == 2):
        raise RecipeError(
            "body = 'dot' multiplies two ids",
            found=", ".join(f"{column.name} ({column.kind})" for column in schema.inputs),
            fix="set body = 'mlp', or name two id columns and no other input",
        )
    if recipe.body != "auto":
        return recipe.body
    return "mlp" if schema.columns else "linear"


def build_body(kind: str, widths: Sequence[int], recipe: Recipe) -> ConcatBody | MlpBody | DotBody:
    """The body of that kind over columns whose features have these widths."""
    if kind == "mlp":
        return MlpBody(sum(widths), recipe.hidden, recipe.body_dropout)
    return DotBody(widths[0] - 1) if kind == "dot" else ConcatBody(sum(widths))


def joined(parts: Sequence[Float[Tensor, "rows _"]]) -> Float[Tensor, "rows width"]:
    """Features (rows, width) of several columns side by side; those of a single one as they are."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)
