"""What stands before and behind a network in a graph is what the package does."""

from __future__ import annotations

import numpy as np
import torch

from tenfold.data.encode import ColumnStats, encode_columns
from tenfold.data.tables.table import read_table
from tenfold.nn.augment import resized
from tenfold.nn.graph import JoinedGraph, encoded_numbers, interpolation_matrix
from tenfold.schema import CategoryTarget, NumberColumn, Schema
from tenfold.values import AnswerPart


def test_numbers_are_encoded_as_the_tables_are() -> None:
    cells = ["3.5", "", "-1e9", "12", "1e300", "0"]
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=(CategoryTarget(name="y"),))
    values = torch.tensor([float(cell or "nan") for cell in cells], dtype=torch.float64)
    for facts in (
        ColumnStats(mean=2.0, deviation=3.0),
        ColumnStats(mean=2.0, deviation=3.0, gaps=True),
        ColumnStats(mean=2.0, deviation=0.0, gaps=True),
        ColumnStats(deviation=0.0, gaps=True, empty=True),
    ):
        wanted = encode_columns({"x": facts}, schema, read_table({"x": cells}))[0]["x"]
        np.testing.assert_array_equal(encoded_numbers(values, facts).float().numpy(), wanted)


def test_two_matrices_resize_as_the_device_does() -> None:
    images = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    down, across = interpolation_matrix(20, 9), interpolation_matrix(31, 31)
    torch.testing.assert_close(down @ images @ across.T, resized(images, (9, 31)), rtol=0, atol=1e-6)


class _Fixed(torch.nn.Module):
    def __init__(self, *answers: torch.Tensor) -> None:
        super().__init__()
        self.fixed = answers

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.fixed


def test_members_are_averaged_by_name() -> None:
    one = torch.tensor([[0.7, 0.3]], dtype=torch.float64)
    two = torch.tensor([[0.1, 0.2, 0.7]], dtype=torch.float64)
    tall = torch.tensor([[1.8]], dtype=torch.float64)
    graph = JoinedGraph(
        [_Fixed(one, tall), _Fixed(two)],
        [
            [AnswerPart("sort", 0.25, (2, 0)), AnswerPart("tall", 1.0, (0,))],
            [AnswerPart("sort", 0.75, (0, 1, 2))],
        ],
        {"tall": 1, "sort": 3},
    )
    answers = graph()
    torch.testing.assert_close(answers[0], tall)
    wanted = [0.25 * 0.3 + 0.75 * 0.1, 0.75 * 0.2, 0.25 * 0.7 + 0.75 * 0.7]
    torch.testing.assert_close(answers[1], torch.tensor([wanted], dtype=torch.float64))
