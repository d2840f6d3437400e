"""What ``run.json`` says of a run, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar, overload

from tenfold.runs.folder import none_to_nan
from tenfold.values import TargetScores

Value = TypeVar("Value")


class BlendWay(TypedDict):
    """A way of blending: weights by member, and its loss on rows that chose no weights."""

    weights: Mapping[str, float]
    loss: float | None


class Entry(Generic[Value]):
    """A value of `run.json`, read from its record; a default where older runs, or other kinds, have none."""

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
    """What ``run.json`` says. values: all of it, as JSON has it, keys of later versions included."""

    values: Mapping[str, Any]

    kind = Entry("")
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
    weights = Entry[Mapping[str, Mapping[str, float]]]({})
    blends = Entry[Mapping[str, Mapping[str, BlendWay]]]({})
    classes = Entry[Mapping[str, list[str]]]({})
    facts = Entry[Mapping[str, Mapping[str, Any]]]({})

    @property
    def run_kind(self) -> str:
        """The key of `registry.KINDS`: the kind, and of a blend what it is of."""
        return self.kind if self.kind != "blend" else f"blend of {self.of}"

    @property
    def targets(self) -> TargetScores:
        """Scores on the held-out rows; of several views where the recipe has them."""
        return none_to_nan(self.values.get("targets", {}))

    @property
    def without_views(self) -> TargetScores:
        """The same from the plain view alone."""
        return none_to_nan(self.values.get("without_views", {}))

    @property
    def trained_recipe(self) -> Mapping[str, Any]:
        """The recipe, as it stands in the identity of a training, or in an ensemble's record."""
        return self.identity.get("recipe") or self.recipe

    @property
    def members(self) -> list[MemberRecord]:
        """Of an ensemble: what is written of each member."""
        return [MemberRecord(member) for member in self.values.get("members", ())]

    def with_values(self, **values: Any) -> RunRecord:
        """The record with some values replaced."""
        return RunRecord({**self.values, **values})


@dataclass(frozen=True)
class MemberRecord:
    """What ``run.json`` says of a member of an ensemble. values: as JSON has it."""

    values: Mapping[str, Any]

    name = Entry("")
    weight = Entry(1.0)
    status = Entry("finished")
    error = Entry("")
    #: Of each run, one a fold: ``path`` from the ensemble's folder, and ``sha256`` of its ``run.json``.
    runs = Entry[list[Mapping[str, str]]]([])
    scores = Entry[TargetScores]({})
    seconds = Entry(0.0)
    overhead_seconds = Entry(0.0)
    peak_bytes = Entry(0)

    @property
    def is_finished(self) -> bool:
        """Whether it has finished runs to ask."""
        return self.status == "finished" and bool(self.runs)
