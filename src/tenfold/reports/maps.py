"""Weights that belong to names (classes, categories) as points on their principal components."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.reports.charts import point_chart
from tenfold.runs.folder import read_arrays, read_text
from tenfold.schema import Schema
from tenfold.targets.kinds import kind_of

__all__ = ["component_chart", "named_map", "principal_components", "weight_maps"]

#: Names below which a map shows nothing, and above which its points are too many.
LEAST, MOST = 4, 2000


def principal_components(values: NDArray[Any]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """(rows, 2) places on the two directions of most variance, and the share of each (Pearson 1901)."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    sizes, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(sizes)[::-1][:2]
    place = np.zeros((len(values), 2))
    place[:, : len(order)] = centred @ directions[:, order]
    total = float(sizes.sum())
    share = [float(max(sizes[one], 0) / total) if total > 0 else 0.0 for one in order] + [0.0, 0.0]
    # The sign of a direction means nothing; this one is the same on every machine.
    for axis in range(2):
        far = np.abs(place[:, axis]).argmax() if len(place) else 0
        if len(place) and place[far, axis] < 0:
            place[:, axis] *= -1
    return place, (share[0], share[1])


def named_map(
    values: NDArray[Any],
    names: Sequence[str],
    title: str,
    *,
    sizes: ArrayLike | None = None,
    notes: Sequence[str] = (),
) -> str:
    """A chart of rows of numbers that belong to names."""
    points, share = principal_components(values)
    return component_chart(points, share, names, title, sizes=sizes, notes=notes)


def component_chart(
    points: NDArray[np.float64],
    share: tuple[float, float],
    names: Sequence[str],
    title: str,
    *,
    sizes: ArrayLike | None = None,
    notes: Sequence[str] = (),
) -> str:
    """A chart of principal components. share: the fraction of the variance along each direction."""
    axes = (f"first direction: {share[0]:.0%} of the variance", f"second: {share[1]:.0%}")
    return point_chart(points, names, title=title, axes=axes, sizes=sizes, notes=notes)


def weight_maps(folder: Path, targets: Sequence[str], classes: Mapping[str, Sequence[str]]) -> list[str]:
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


def _embedding_maps(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Charts of embeddings, where the encoding names their rows; row 0 is the unknown."""
    path = folder / "encoding.json"
    encoding = json.loads(read_text(folder, path.name)) if path.exists() else {}
    charts = []
    for position, (name, words) in enumerate(_vocabularies(folder, encoding)):
        value = arrays.get(f"encoders.column{position}.table.weight")
        if value is not None and LEAST <= len(words) <= MOST and len(value) == len(words) + 1:
            names = [one or "(empty)" for one in words]
            charts.append(named_map(value[1:], names, f"{name}: categories by their embeddings"))
    return charts


def _vocabularies(folder: Path, encoding: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Columns that are no pictures, in the order of the network's encoders, and their words."""
    facts = encoding.get("columns") or {}
    schema = _schema(folder)
    names = [column.name for column in schema.inputs if column not in schema.images]
    return [(name, list(facts.get(name, {}).get("words") or ())) for name in names]
