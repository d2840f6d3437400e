"""``run.json``, typed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar, cast, overload

from tenfold.values import TargetScores

Value = TypeVar("Value")


def nan_to_none(values: Mapping[str, object]) -> dict[str, object]:
    """The values for a JSON file: NaN and infinities, which JSON lacks, become null."""
    return {str(name): _finite(value) for name, value in values.items()}


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return nan_to_none(value)
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def none_to_nan(value: Value) -> Value:
    """The opposite of `nan_to_none`, for numbers, and for mappings of numbers and texts."""
    if isinstance(value, Mapping):
        return cast(Value, {name: none_to_nan(item) for name, item in value.items()})
    return cast(Value, math.nan) if value is None else value


class BlendWay(TypedDict):
    """A way of blending: weights by member, and its loss on rows that chose no weights."""

    weights: Mapping[str, float]
    loss: float | None


class Entry(Generic[Value]):
    """A value of ``run.json``; a default where it is missing, as in older runs and runs of other kinds."""

    def __init__(self, default: Value) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, record: None, owner: type) -> Entry[Value]: ...
    @overload
    def __get__(self, record: RunRecord | MemberRecord, owner: type) -> Value: ...
    def __get__(self, record: RunRecord | MemberRecord | None, owner: type) -> Entry[Value] | Value:
        if record is None:
            return self
        value = record.values.get(self.name)
        return self.default if value is None else value


@dataclass(frozen=True)
class RunRecord:
    """``run.json`` of a run. values: all of it, in JSON's types, keys of later versions included."""

    values: Mapping[str, Any]

    kind = Entry("")
    files = Entry[Mapping[str, str]]({})
    of = Entry("network")
    finished = Entry("")
    versions = Entry[Mapping[str, str]]({})
    table = Entry[str | None](None)
    reading = Entry[Mapping[str, Any] | None](None)
    rows = Entry(0)
    train_rows = Entry(0)
    valid_rows = Entry(0)
    users = Entry(0)
    items = Entry(0)
    epochs = Entry(0)
    kept_epoch = Entry(0)
    method = Entry("")
    kind_of_ratings = Entry("explicit")
    scale = Entry[tuple[float, float]]((0.0, 0.0))
    target = Entry("")
    item_key = Entry[str | None](None)
    time_format = Entry[str | None](None)
    times_ignored = Entry(False)
    majority = Entry[Mapping[str, Any]]({})
    linear = Entry[TargetScores]({})
    extra_rows = Entry(0)
    without_extra = Entry[TargetScores]({})
    calibration = Entry[Mapping[str, Mapping[str, Any]]]({})
    weighted_by = Entry("")
    precision = Entry("")
    device = Entry("")
    plan = Entry[Mapping[str, Any]]({})
    identity = Entry[Mapping[str, Any]]({})
    fingerprint = Entry[Mapping[str, Any]]({})
    recipe = Entry[Mapping[str, Any]]({})
    seconds = Entry(0.0)
    peak_bytes = Entry(0)
    notes = Entry[list[str]]([])
    added_notes = Entry[list[str]]([])
    added_users = Entry[list[str]]([])
    updates = Entry[list[Mapping[str, Any]]]([])
    weights = Entry[Mapping[str, Mapping[str, float]]]({})
    blends = Entry[Mapping[str, Mapping[str, BlendWay]]]({})
    classes = Entry[Mapping[str, list[str]]]({})
    facts = Entry[Mapping[str, Mapping[str, Any]]]({})

    @property
    def run_kind(self) -> str:
        """The key of `registry.KINDS`: the kind, for a blend with that of its members."""
        return self.kind if self.kind != "blend" else f"blend of {self.of}"

    @property
    def targets(self) -> TargetScores:
        """Scores on the held-out rows; averaged over views where the recipe has them."""
        return none_to_nan(self.values.get("targets", {}))

    @property
    def without_views(self) -> TargetScores:
        """Scores of the plain view alone."""
        return none_to_nan(self.values.get("without_views", {}))

    @property
    def trained_recipe(self) -> Mapping[str, Any]:
        """The recipe, of the identity of a training or of an ensemble's record."""
        return self.identity.get("recipe") or self.recipe

    @property
    def members(self) -> list[MemberRecord]:
        """The records of an ensemble's members."""
        return [MemberRecord(member) for member in self.values.get("members", ())]

    def with_values(self, **values: object) -> RunRecord:
        """The record with some values replaced."""
        return RunRecord({**self.values, **values})


@dataclass(frozen=True)
class MemberRecord:
    """A member in the ``run.json`` of an ensemble. values: in JSON's types."""

    values: Mapping[str, Any]

    name = Entry("")
    weight = Entry(1.0)
    status = Entry("finished")
    error = Entry("")
    #: Of each run, a run per fold: ``path`` from the ensemble's folder, and ``sha256`` of its ``run.json``.
    runs = Entry[list[Mapping[str, str]]]([])
    scores = Entry[TargetScores]({})
    seconds = Entry(0.0)
    overhead_seconds = Entry(0.0)
    peak_bytes = Entry(0)

    @property
    def is_finished(self) -> bool:
        """Whether it has finished runs."""
        return self.status == "finished" and bool(self.runs)
