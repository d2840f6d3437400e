"""A network from pictures and cells as they are to its final answers, for graphs that leave the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Num, UInt8
from torch import Tensor, nn

from tenfold.data.encode import MOST_DEVIATIONS, ColumnStats, Encoding
from tenfold.nn.augment import Views, views
from tenfold.nn.network import Network, column_name, input_name
from tenfold.nn.resize import resized_as_pillow
from tenfold.schema import NumberColumn, Schema
from tenfold.values import AnswerPart


class AnswerGraph(nn.Module):
    """A network with all that stands before and behind it.

    Inputs, in the schema's order, first of pictures: pictures (rows, height, width, 3) uint8,
    numbers (rows,) float64 with NaN where missing, and codes (rows,) int64 of ids and categories.
    Answers: a tensor (rows, answers) float64 per target, calibrated.

    how: mirrored views to average.  down_first: see `nn.resize`; None if pictures have the encoding's size.
    """

    def __init__(
        self, network: Network, encoding: Encoding, schema: Schema, how: Views, down_first: bool | None
    ) -> None:
        super().__init__()
        self.network, self.encoding, self.schema = network, encoding, schema
        self.how, self.down_first = how, down_first
        self.dtype = next(network.parameters()).dtype

    def forward(self, *inputs: Num[Tensor, " rows *rest"]) -> tuple[Float64[Tensor, "rows _"], ...]:
        """See the class."""
        count = len(self.schema.images)
        pictures = [self._pictures(image) for image in inputs[:count]]
        cells = {}
        columns = zip(self.schema.columns, inputs[count:], strict=True)
        for position, (column, values) in enumerate(columns):
            if isinstance(column, NumberColumn):
                values = encoded_numbers(values, self.encoding.columns[column.name]).to(self.dtype)
            cells[column_name(position)] = values
        seen = [views(images, self.how.mirrored) for images in pictures]
        sums: list[Float64[Tensor, "rows _"]] = []
        # Without a picture all views are the plain one.
        for each in zip(*seen, strict=True) if seen else [()]:
            given = {input_name(place): self._normalised(images) for place, images in enumerate(each)}
            answers = self.network.answers({**cells, **given})
            sums = [a + b for a, b in zip(sums, answers, strict=True)] if sums else answers
        heads = zip(self.network.heads, sums, strict=True)
        divisor = self.how.mirrored if seen else 1
        return tuple(head.calibrated_tensor(total / divisor) for head, total in heads)

    def _pictures(
        self, pixels: UInt8[Tensor, "rows height width 3"]
    ) -> Float[Tensor, "rows 3 new_height new_width"]:
        """Pixels at the network's size, in 0..1."""
        how = self.encoding
        if self.down_first is None:
            images = pixels.permute(0, 3, 1, 2)
        else:
            images = resized_as_pillow(
                pixels, how.image_size, how.resize, how.interpolation, down_first=self.down_first
            )
        images = images.to(self.dtype) * (1 / 255)
        if how.final_size is not None:
            down, across = (
                interpolation_matrix(before, after).to(self.dtype)
                for before, after in zip(how.image_size, how.final_size, strict=True)
            )
            images = (down @ images @ across.T).clamp(0.0, 1.0)
        return images

    def _normalised(
        self, images: Float[Tensor, "rows channels height width"]
    ) -> Float[Tensor, "rows channels height width"]:
        mean = torch.tensor(self.encoding.mean, dtype=self.dtype)[:, None, None]
        std = torch.tensor(self.encoding.std, dtype=self.dtype)[:, None, None]
        return (images - mean) / std


class JoinedGraph(nn.Module):
    """Several graphs of the same inputs, whose answers are averaged.

    graphs: each an `AnswerGraph`.  parts: of each graph, by its targets in their order.
    widths: target -> answers of the ensemble.
    """

    def __init__(
        self, graphs: Sequence[nn.Module], parts: Sequence[Sequence[AnswerPart]], widths: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.graphs = nn.ModuleList(graphs)
        self.parts, self.widths = parts, dict(widths)

    def forward(self, *inputs: Num[Tensor, " rows *rest"]) -> tuple[Float64[Tensor, "rows _"], ...]:
        """See `AnswerGraph`."""
        sums: dict[str, Float64[Tensor, "rows _"]] = {}
        for graph, parts in zip(self.graphs, self.parts, strict=True):
            for part, answer in zip(parts, graph(*inputs), strict=True):
                places = torch.zeros(len(part.columns), self.widths[part.target], dtype=torch.float64)
                places[torch.arange(len(part.columns)), torch.tensor(part.columns)] = part.weight
                own = answer @ places
                sums[part.target] = sums[part.target] + own if part.target in sums else own
        return tuple(sums[name] for name in self.widths)


def encoded_numbers(values: Float64[Tensor, " rows"], facts: ColumnStats) -> Float64[Tensor, "rows 2"]:
    """Numbers, NaN where missing, as `data.encode` encodes them: standardised, and 1 where missing."""
    missing = torch.isnan(values)
    if facts.empty or facts.deviation == 0:
        scaled = torch.zeros_like(values)
    else:
        scaled = ((values - facts.mean) / facts.deviation).clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
        scaled = torch.where(missing, 0.0, scaled)
    mark = missing.double() if facts.gaps and not facts.empty else torch.zeros_like(values)
    return torch.stack([scaled, mark], dim=1)


def interpolation_matrix(before: int, after: int) -> Float[Tensor, "{after} {before}"]:
    """What `nn.augment.resized` multiplies a column of pixels by."""
    if before == after:
        return torch.eye(before)
    picture = torch.eye(before)[None, None]
    return F.interpolate(picture, size=(after, before), mode="bilinear", antialias=True)[0, 0]
