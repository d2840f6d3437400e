"""Recommenders as graphs of ONNX, made of their arrays: products of factors, and weights between items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import word_codes
from tenfold.files.atomic import replacing
from tenfold.files.graph import ML_OPSET, OPSET, described_graph

if TYPE_CHECKING:
    import onnx

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class FactorTables:
    """A factor model as tables, whose first row stands for whom or what is unknown.

    users, items: ids.  user_bias (1 + users,), user_factors (1 + users, factors), and so for items.
    range: ends of the sigmoid, if there is one.  scale: what the score is cut to.  neither: the score where
    user and item are both unknown.  weight: share in the mean of several models.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    user_bias: Floats
    item_bias: Floats
    user_factors: Floats
    item_factors: Floats
    mean: float
    range: tuple[float, float] | None
    scale: tuple[float, float] | None
    neither: float | None
    weight: float = 1.0

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What an ``.npz`` file holds of it."""
        ends = {"sigmoid_range": self.range, "scale": self.scale, "neither": self.neither}
        return {
            "users": np.array(self.users, dtype=np.str_),
            "items": np.array(self.items, dtype=np.str_),
            **{
                name: getattr(self, name)
                for name in ("user_bias", "item_bias", "user_factors", "item_factors")
            },
            "mean": np.asarray(self.mean, np.float64),
            "weight": np.asarray(self.weight, np.float64),
            **{name: np.array(end, np.float64) for name, end in ends.items() if end is not None},
        }


class _Drawn:
    """Nodes and constants of a graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: object, dtype: type[np.generic]) -> str:
        """The name of a constant."""
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(
        self, operator: str, *inputs: str, output: str = "", domain: str = "", **attributes: object
    ) -> str:
        """The name of what an operator makes."""
        from onnx import helper

        name = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))  # pyright: ignore[reportArgumentType]
        return name

    def codes(self, texts: str, words: Sequence[str]) -> str:
        """Texts as their places among words, from 1; 0 for others."""
        codes = word_codes(words)
        keys = {"keys_strings": list(codes), "values_int64s": list(codes.values())}
        return self.add("LabelEncoder", texts, domain="ai.onnx.ml", default_int64=0, **keys)

    def graph(
        self,
        inputs: Mapping[str, Sequence[str | int]],
        outputs: Mapping[str, tuple[Sequence[str | int], type[np.generic]]],
        about: Mapping[str, object],
    ) -> bytes:
        """The whole as a file; inputs are texts. Axes are names, or fixed lengths."""
        from onnx import TensorProto, helper

        given = [
            helper.make_tensor_value_info(name, TensorProto.STRING, axes) for name, axes in inputs.items()
        ]
        made = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), axes)
            for name, (axes, kind) in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, "tenfold", given, made, self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tenfold")
        return described_graph(model, about)


def factor_graph(
    models: Sequence[FactorTables], names: tuple[str, str, str], about: Mapping[str, object]
) -> bytes:
    """A graph of pairs: (rows,) users and items -> (rows,) float32 scores, the weighted mean of the models'.

    names: of the user's, the item's and the score's column.
    """
    drawn, total = _Drawn(), ""
    for model in models:
        score = _factor_score(drawn, model, names)
        part = drawn.add("Mul", score, drawn.constant(model.weight, np.float64))
        total = drawn.add("Add", total, part) if total else part
    drawn.add("Cast", total, to=1, output=names[2])
    axes = {names[0]: ["rows"], names[1]: ["rows"]}
    return drawn.graph(axes, {names[2]: (["rows"], np.float32)}, about)


def _factor_score(drawn: _Drawn, model: FactorTables, names: tuple[str, str, str]) -> str:
    codes = [drawn.codes(names[0], model.users), drawn.codes(names[1], model.items)]
    tables = [(model.user_bias, model.user_factors), (model.item_bias, model.item_factors)]
    biases, factors = [], []
    for code, (bias, factor) in zip(codes, tables, strict=True):
        for table, taken in ((bias, biases), (factor, factors)):
            rows = drawn.add("Gather", drawn.constant(table, np.float32), code, axis=0)
            taken.append(drawn.add("Cast", rows, to=11))
    product = drawn.add("Mul", *factors)
    raw = drawn.add("ReduceSum", product, drawn.constant([1], np.int64), keepdims=0)
    for term in (*biases, drawn.constant(model.mean, np.float64)):
        raw = drawn.add("Add", raw, term)
    if model.range is not None:
        low, high = model.range
        stretched = drawn.add("Mul", drawn.add("Sigmoid", raw), drawn.constant(high - low, np.float64))
        raw = drawn.add("Add", stretched, drawn.constant(low, np.float64))
    if model.neither is not None:
        known = drawn.add("Add", *codes)
        unknown = drawn.add("Equal", known, drawn.constant(0, np.int64))
        raw = drawn.add("Where", unknown, drawn.constant(model.neither, np.float64), raw)
    if model.scale is not None:
        raw = drawn.add("Clip", raw, *(drawn.constant(end, np.float64) for end in model.scale))
    return raw


@dataclass(frozen=True)
class ItemTables:
    """Weights between items as tables.

    items: ids of all.  taken: (items,) the fraction of users that took each.  nobody: (items,) interest of a
    user of whom nothing is known.  core: indices of the items with weights.  weights: (inputs, core), row j
    what having taken j adds; the first items of the core have a row.  tie: what decides between equal scores.
    """

    items: tuple[str, ...]
    taken: NDArray[np.float64]
    nobody: NDArray[np.float64]
    core: NDArray[np.int64]
    weights: NDArray[np.float32]
    tie: float

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What an ``.npz`` file holds of it."""
        items = np.array(self.items, dtype=np.str_)
        return {"items": items, "taken": self.taken, "core": self.core, "weights": self.weights}


def item_graph(model: ItemTables, names: tuple[str, str], about: Mapping[str, object]) -> bytes:
    """A graph of lists: (rows, taken) items that were taken, "" if fewer -> (rows, items) float32 interest.

    An item that is given twice counts once. names: of the input and of the answer.
    """
    drawn = _Drawn()
    core = [model.items[index] for index in model.core[: len(model.weights)]]
    codes = drawn.codes(names[0], core)
    rows = drawn.add("Slice", drawn.add("Shape", codes), *(drawn.constant([at], np.int64) for at in (0, 1)))
    width = drawn.constant([len(core) + 1], np.int64)
    empty = drawn.add("Expand", drawn.constant(0, np.float32), drawn.add("Concat", rows, width, axis=0))
    ones = drawn.add("Expand", drawn.constant(1, np.float32), drawn.add("Shape", codes))
    row = drawn.add("ScatterElements", empty, codes, ones, axis=1)
    ends = (
        drawn.constant([1], np.int64),
        drawn.constant([len(core) + 1], np.int64),
        drawn.constant([1], np.int64),
    )
    row = drawn.add("Slice", row, *ends)
    some = drawn.add("ReduceMax", row, axes=[1], keepdims=1)
    sums = drawn.add("MatMul", row, drawn.constant(model.weights, np.float32))
    outside = np.ones(len(model.items), np.bool_)
    outside[model.core] = False
    inside = np.where(outside, model.taken - 1, model.taken * model.tie)
    least = drawn.add("Expand", drawn.constant(inside, np.float32), drawn.add(
        "Concat", rows, drawn.constant([len(model.items)], np.int64), axis=0))  # fmt: skip
    columns = drawn.add("Expand", drawn.constant(model.core, np.int64), drawn.add("Shape", sums))
    own = drawn.constant((model.taken * model.tie)[model.core], np.float32)
    interest = drawn.add("ScatterElements", least, columns, drawn.add("Add", sums, own), axis=1)
    strange = drawn.constant(model.nobody, np.float32)
    drawn.add("Where", drawn.add("Cast", some, to=9), interest, strange, output=names[1])
    answer = {names[1]: (["rows", len(model.items)], np.float32)}
    return drawn.graph({names[0]: ["rows", "taken"]}, answer, about)


def write_tables(path: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays as an ``.npz`` file, which numpy reads without running code."""
    with replacing(path) as stream:
        np.savez(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]
