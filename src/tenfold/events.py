"""Progress events: what a run reports while it is made. A worker writes them as lines of JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar, Required, TypedDict

if TYPE_CHECKING:
    from tenfold.values import TargetScores


class Detail(str):
    """A message that no reader needs to check: shown on request only (``-v``), and kept in the run."""

    __slots__ = ()


@dataclass(frozen=True)
class Event:
    """A step of progress. `kind` names it in JSON."""

    kind: ClassVar[str]

    def record(self) -> dict[str, object]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to_dict(self) -> dict[str, object]:
        """The event in JSON's types."""
        return {"event": self.kind, **self.record()}


@dataclass(frozen=True)
class ImagesRead(Event):
    """So many images of a column have been read."""

    kind = "images"
    column: str
    done: int
    total: int


@dataclass(frozen=True)
class RowsPredicted(Event):
    """So many rows have been predicted, or what is predicted for `what`."""

    kind = "rows"
    done: int
    total: int
    what: str = "predicting"


@dataclass(frozen=True)
class StepEnded(Event):
    """An optimizer step. epoch: from 0.  step: from 1, of `steps` in this epoch.
    stage: ``head`` while only the last layers train.  losses: target -> mean loss of the epoch so far."""

    kind = "step"
    epoch: int
    epochs: int
    stage: str
    step: int
    steps: int
    rate: float
    losses: Mapping[str, float]


@dataclass(frozen=True)
class EpochEnded(Event):
    """An epoch, as `history.jsonl` keeps it. epoch: from 0.  steps: optimizer steps in all.
    epoch_steps, updates: steps of this epoch, and those that changed the weights.
    skipped: the other steps of the training so far.
    train, valid: target -> scores.  seconds: since the training began."""

    kind = "epoch"
    epoch: int
    stage: str
    steps: int
    epoch_steps: int | None = field(default=None, kw_only=True)  # not known of an early edition's checkpoint
    updates: int | None = field(default=None, kw_only=True)
    rows: int
    rate: float
    micro_batch: int
    skipped: int
    train: TargetScores
    task_weights: Mapping[str, float]
    valid: TargetScores
    peak_bytes: int
    seconds: float

    def record(self) -> dict[str, object]:
        """The fields by name, as far as they are known."""
        return {name: value for name, value in super().record().items() if value is not None}


class EpochRecord(TypedDict, total=False):
    """A line of `history.jsonl`: the fields of `EpochEnded`, of which early versions wrote fewer."""

    epoch: Required[int]
    stage: str
    steps: int
    train: TargetScores
    valid: TargetScores
    task_weights: Mapping[str, float]
    peak_bytes: int


@dataclass(frozen=True)
class SweepEnded(Event):
    """A pass of a factor model over its ratings."""

    kind = "sweep"
    done: int
    total: int
    extra: str = ""


@dataclass(frozen=True)
class StageBegan(Event):
    """Another part of the work begins, which does not tell how far it is."""

    kind = "stage"
    name: str


@dataclass(frozen=True)
class TrialBegan(Event):
    """A training of several begins. done: those before it."""

    kind = "trial"
    done: int
    total: int


@dataclass(frozen=True)
class NoteAdded(Event):
    """A worker made a decision that its user should know."""

    kind = "note"
    text: str


@dataclass(frozen=True)
class TrainingChanged(Event):
    """A checkpoint belongs to another training. what: the differences."""

    kind = "changed"
    what: Sequence[str]


@dataclass(frozen=True)
class MemberRow:
    """A member of an ensemble while it trains. status: waiting, running, finished or failed."""

    member: str
    status: str
    stage: str
    scores: TargetScores
    peak_bytes: int
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class MembersChanged(Event):
    """The state of every member of an ensemble."""

    kind = "members"
    rows: Sequence[MemberRow]


Listener = Callable[[Event], None]


def begin_stage(listener: Listener | None, name: str) -> None:
    """Tell a listener, if there is one, that a part of the work begins."""
    if listener is not None:
        listener(StageBegan(name))


_KINDS: Mapping[str, type[Event]] = {
    kind.kind: kind
    for kind in (
        ImagesRead,
        RowsPredicted,
        StepEnded,
        EpochEnded,
        SweepEnded,
        StageBegan,
        TrialBegan,
        NoteAdded,
        TrainingChanged,
    )
}


def event_of(line: Mapping[str, object]) -> Event | None:
    """The event that `Event.to_dict` wrote; None for another line."""
    kind = _KINDS.get(str(line.get("event")))
    return kind(**{name: value for name, value in line.items() if name != "event"}) if kind else None
