"""A network's answers as one graph, which runs without Python, and so without its lock, between layers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from jaxtyping import Float64, Num
from torch import Tensor, nn

from tenfold.nn.network import Network

#: The most that answers of the graph may differ from the network's; of numbers above 1, relative to them.
MOST_DIFFERENT = 1e-5
#: Runs after which the graph is no longer made anew.
WARM = 3


class _Answers(nn.Module):
    def __init__(self, network: Network, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs: Num[Tensor, " rows *_"]) -> tuple[Float64[Tensor, "rows _"], ...]:
        return tuple(self.network.answers(dict(zip(self.names, inputs, strict=True))))


class TracedAnswers:
    """`Network.answers` for inputs of the very shapes that it was traced with.

    BatchNorm is folded into the convolutions before it: answers differ in the last digits.
    """

    def __init__(self, network: Network, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> None:
        self.names = tuple(inputs)
        self.shapes = {name: value.shape for name, value in inputs.items()}
        answers = _Answers(network, self.names).eval()
        graph = torch.jit.trace(answers, tuple(inputs.values()), check_trace=False)
        self._graph = torch.jit.freeze(graph)

    def fits(self, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> bool:
        """Whether these inputs have the shapes that it was traced with."""
        return {name: value.shape for name, value in inputs.items()} == self.shapes

    def __call__(self, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> list[Float64[Tensor, "rows _"]]:
        """See `Network.answers`."""
        return list(self._graph(*(inputs[name] for name in self.names)))


def trace_answers(network: Network, inputs: Mapping[str, Num[Tensor, " rows *_"]]) -> bool:
    """Let a network in evaluation answer inputs of these shapes through a graph, from now on.

    Returns False, with the network as it was, where it cannot be traced, or the graph answers otherwise: to
    these inputs, or to others of their shapes.
    """
    generator = torch.Generator().manual_seed(0)
    others = {
        name: torch.randn(value.shape, generator=generator, dtype=value.dtype).contiguous(
            memory_format=_layout(value)
        )
        if value.is_floating_point()
        else torch.zeros_like(value)
        for name, value in inputs.items()
    }
    network.traced = None
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is deprecated, and on constants, which the check finds
        try:
            made = TracedAnswers(network, inputs)
            for given in (inputs, others):
                wanted = network.answers(given)
                for _ in range(WARM):
                    if not all(map(_near, made(given), wanted)):
                        return False
        except Exception:  # noqa: BLE001 - whatever a network does in a trace, it answers layer by layer
            return False
    network.traced = made
    return True


def _layout(value: Num[Tensor, " rows *_"]) -> torch.memory_format:
    last = value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _near(made: Float64[Tensor, "rows _"], wanted: Float64[Tensor, "rows _"]) -> bool:
    far = (made - wanted).abs() / wanted.abs().clamp(min=1.0)
    return bool((far.nan_to_num(torch.inf) < MOST_DIFFERENT).all())
