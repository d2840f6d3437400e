"""Weights that belong to names (classes, categories) as points on their principal components."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.reports.charts import Chart, point_chart
from tenfold.runs.folder import read_arrays, read_text
from tenfold.schema import Schema
from tenfold.targets.kinds import kind_of

#: Names below which a map shows nothing, and above which its points are too many.
LEAST, MOST = 4, 2000


def principal_components(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Return (rows, 2) points on the two directions of most variance, and their shares (Pearson 1901)."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    sizes, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(sizes)[::-1][:2]
    points = np.zeros((len(values), 2))
    points[:, : len(order)] = centred @ directions[:, order]
    total = float(sizes.sum())
    share = [float(max(sizes[axis], 0) / total) if total > 0 else 0.0 for axis in order] + [0.0, 0.0]
    # The sign of a direction means nothing; this one is the same on every machine.
    for axis in range(2):
        far = np.abs(points[:, axis]).argmax() if len(points) else 0
        if len(points) and points[far, axis] < 0:
            points[:, axis] *= -1
    return points, (share[0], share[1])


def named_map(
    values: NDArray[np.floating],
    names: Sequence[str],
    title: str,
    *,
    sizes: ArrayLike | None = None,
    notes: Sequence[str] = (),
) -> Chart:
    """Return a chart of named rows on their principal components."""
    points, share = principal_components(values)
    axes = (f"first direction: {share[0]:.0%} of the variance", f"second: {share[1]:.0%}")
    return point_chart(points, names, title=title, axes=axes, sizes=sizes, notes=notes)


def weight_maps(folder: Path, targets: Sequence[str], classes: Mapping[str, Sequence[str]]) -> list[Chart]:
    """Charts of a network's classes by the last layer's weights, and of categories by their embeddings."""
    path = folder / "weights.safetensors"
    if not path.exists():
        return []
    # A backbone may be large, and nothing of it is drawn.
    arrays = {**read_arrays(path, beginning="last.")[0], **read_arrays(path, beginning="encoders.column")[0]}
    charts = []
    weight, start = arrays.get("last.weight"), 0
    declared = {target.name: target for target in _schema(folder).answers}
    for name in targets:
        words = list(classes.get(name, ()))
        outputs = kind_of(declared[name], tuple(words)).outputs
        if weight is not None and LEAST <= len(words) == outputs <= MOST and start + outputs <= len(weight):
            title = f"{name}: classes by their weights in the last layer"
            charts.append(named_map(weight[start : start + outputs], words, title))
        start += outputs
    return charts + _embedding_maps(folder, arrays)


def _schema(folder: Path) -> Schema:
    return Schema.from_toml(read_text(folder, "schema.toml"))


def _embedding_maps(folder: Path, arrays: Mapping[str, NDArray[np.floating]]) -> list[Chart]:
    """Charts of embeddings whose rows the encoding names; row 0 is the unknown category."""
    path = folder / "encoding.json"
    facts = json.loads(read_text(folder, path.name)).get("columns") or {} if path.exists() else {}
    schema = _schema(folder)
    # Encoders are numbered in the order of the columns without pictures.
    columns = [column.name for column in schema.inputs if column not in schema.images]
    charts = []
    for position, name in enumerate(columns):
        words = facts.get(name, {}).get("words") or ()
        value = arrays.get(f"encoders.column{position}.table.weight")
        if value is not None and LEAST <= len(words) <= MOST and len(value) == len(words) + 1:
            names = [word or "(empty)" for word in words]
            charts.append(named_map(value[1:], names, f"{name}: categories by their embeddings"))
    return charts
