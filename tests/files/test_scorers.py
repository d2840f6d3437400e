"""Recommenders as graphs of their arrays: the formula, what is unknown, and what is given twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tenfold.files.scorers import FactorTables, ItemTables, factor_graph, item_graph, write_tables


def run(model: bytes, **feeds: object) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.array(value, object) for name, value in feeds.items()})[0]


@pytest.mark.parametrize("ends", [None, (0.5, 5.5)])
def test_a_score_is_the_formula(ends: tuple[float, float] | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=shape).astype(np.float32) for shape in (3, 4, (3, 2), (4, 2))]
    model = FactorTables(("a", "b"), ("x", "y", "ü"), *tables, 3.0, ends, (1.0, 5.0), 3.25)
    users, items = ["b", "a", "b", "?", "?"], ["ü", "x", "?", "y", "?"]
    made = run(factor_graph([model], ("u", "i", "score"), {}), u=users, i=items)
    for (u, i), score in zip([(2, 3), (1, 1), (2, 0), (0, 2)], made, strict=False):
        z = 3.0 + tables[0][u] + tables[1][i] + tables[2][u] @ tables[3][i]
        z = z if ends is None else ends[0] + (ends[1] - ends[0]) / (1 + np.exp(-z))
        assert score == pytest.approx(np.clip(z, 1, 5), rel=1e-6)
    assert made[4] == 3.25 and made.dtype == np.float32
    twice = factor_graph([model, model], ("u", "i", "score"), {})
    np.testing.assert_allclose(run(twice, u=users, i=items), 2 * made, rtol=1e-6)  # weights of 1 each
    write_tables(str(tmp_path / "a.npz"), model.arrays())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as kept:
        assert list(kept["items"]) == ["x", "y", "ü"] and ("sigmoid_range" in kept) == (ends is not None)


def test_a_list_counts_an_item_once_and_knows_who_took_nothing() -> None:
    weights = np.array([[0, 0.5, 0.1], [0.2, 0, 0.3], [0.4, 0.6, 0]], np.float32)
    taken = np.array([0.4, 0.3, 0.2, 0.1])
    nobody = np.array([0.4, 0.3, 0.2 - 1, 0.1])
    model = ItemTables(("a", "b", "c", "d"), taken, nobody, np.array([0, 1, 3]), weights, 1e-9)
    graph = item_graph(model, ("item", "interest"), {})
    rows = run(graph, item=[["b", "a", "b"], ["a", "b", ""], ["", "c", "?"]])
    np.testing.assert_allclose(rows[0], rows[1])
    np.testing.assert_allclose(rows[0], [0.2, 0.5, 0.2 - 1, 0.4], atol=1e-6)
    # Nothing with weights: by how many users took each.
    np.testing.assert_allclose(rows[2], nobody, atol=1e-6)
    # An item without a row adds nothing: who took it alone took nothing that counts.
    fewer = ItemTables(model.items, taken, nobody, model.core, weights[:2], 1e-9)
    rows = run(item_graph(fewer, ("item", "interest"), {}), item=[["d", "a"], ["d", ""]])
    np.testing.assert_allclose(rows, [[0, 0.5, 0.2 - 1, 0.1], nobody], atol=1e-6)
