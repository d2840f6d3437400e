"""The kinds of targets, by their word in the schema. Who asks a target anything asks its kind."""

from __future__ import annotations

from collections.abc import Mapping

from tenfold.schema import NetworkTarget, Schema
from tenfold.targets.base import TargetKind, TargetStats
from tenfold.targets.classes import CategoryKind, OrderedKind
from tenfold.targets.count import CountKind
from tenfold.targets.number import NumberKind
from tenfold.targets.questions import MultiLabelKind, OpenKind

KINDS: dict[str, type[TargetKind]] = {
    kind.kind: kind for kind in (CategoryKind, OrderedKind, OpenKind, MultiLabelKind, NumberKind, CountKind)
}


def kind_of(
    target: NetworkTarget, classes: tuple[str, ...] = (), stats: TargetStats | None = None
) -> TargetKind:
    """A target with its classes and what else was decided of it."""
    return KINDS[target.kind](target, classes, stats)


def kinds_of(
    schema: Schema, classes: Mapping[str, tuple[str, ...]], stats: Mapping[str, TargetStats]
) -> list[TargetKind]:
    """Every target of a network, in the order of the schema."""
    return [
        kind_of(target, classes.get(target.name, ()), stats.get(target.name)) for target in schema.answers
    ]
