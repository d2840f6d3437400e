"""A blend evaluated on held-out rows: its weights, its scores, a table of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import write_parquet
from tenfold.ensembles.joined import HeldOut, JoinedNetworks, held_out, number_scale
from tenfold.ensembles.weights import METHODS, Evidence, blended, fit_weights, nested_weights, random_parts
from tenfold.errors import RunError, shortened
from tenfold.metrics import score_text
from tenfold.runs.folder import RunFolder, nan_to_none, replacing
from tenfold.runs.heldout import held_out_columns
from tenfold.runs.rowjoin import JoinedRows, join_rows
from tenfold.schema import NetworkTarget, target_columns
from tenfold.targets.base import TargetKind, TargetStats, known_cells, known_rows
from tenfold.targets.kinds import kind_of
from tenfold.targets.labels import relative_weights
from tenfold.values import Scores

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Rows that all members were asked about, from which weights can be learned.
LEAST_ROWS = 10


@dataclass
class BlendEvaluation:
    """What was decided of a blend from held-out rows, target by target.

    weights: target -> member -> its part.  facts: target -> thresholds and the like.
    scores, without_views: of the blend.  members: member -> target -> scores, of its own held-out rows.
    blends: target -> way of blending -> weights, scores and loss.  taken: target -> the way that was taken.
    classes: target -> its classes in the blend.  weighted_by: column of weights, where scores are weighted.
    """

    weights: dict[str, dict[str, float]] = field(default_factory=dict)
    facts: dict[str, TargetStats] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict)
    without_views: dict[str, Scores] = field(default_factory=dict)
    members: dict[str, dict[str, Scores]] = field(default_factory=dict)
    blends: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    weighted_by: str | None = None

    @property
    def loss(self) -> float:
        """Mean over targets of the loss, on rows that chose no weights, of the way that was taken; of the
        targets that have one."""
        found = [self.blends[name][way]["loss"] for name, way in self.taken.items()]
        there = [one for one in found if np.isfinite(one)]
        return float(np.mean(there)) if there else float("nan")

    def record(self) -> dict[str, Any]:
        """For ``run.json``."""
        return {
            "weights": self.weights,
            "classes": {name: list(words) for name, words in self.classes.items()},
            "facts": {name: one.model_dump(mode="json") for name, one in self.facts.items()},
            "targets": nan_to_none(self.scores),
            "without_views": nan_to_none(self.without_views),
            "blends": nan_to_none(self.blends),
            **({"weighted_by": self.weighted_by} if self.weighted_by else {}),
        }


@dataclass(frozen=True)
class _Stack:
    """All members' answers on one list of rows: (members, rows, answers), NaN where a member has none.

    counts: (rows,) what each row counts in scores; None where all count alike.
    """

    names: tuple[str, ...]
    answers: Floats
    labels: NDArray[Any]
    part: Ints
    counts: Floats | None

    def weighed(self, rows: NDArray[Any]) -> Floats | None:
        """What some rows count."""
        return None if self.counts is None else self.counts[rows]

    @property
    def complete(self) -> NDArray[np.bool_]:
        """(rows,) which every member has answered."""
        return np.asarray(~np.isnan(self.answers).any(axis=(0, 2)))


def evaluate_blend(
    folder: RunFolder | None,
    blend: JoinedNetworks,
    *,
    method: str = "weights",
    seed: int = 0,
    one_table: bool = False,
) -> BlendEvaluation:
    """Learn the weights of a blend, score it honestly, and write ``oof.parquet``.

    method: ``weights``, ``greedy``, ``convex``, or the ``best`` of them. All three are tried and told where
        every member was asked about the same rows. Weights that are learned are scored by nested folds: a
        row's blend has weights that were learned without its fold.
    folder: where the table goes; None writes none.
    one_table: all members were trained on the very same table, row by row.
    Raises RunError where the members' rows cannot be joined, or their labels contradict each other.
    """
    evaluation = BlendEvaluation(classes=blend.classes)
    held = {one.name: found for one in blend.members if (found := held_out(blend, one)) is not None}
    if not held:
        evaluation.notes.append(
            "no member held rows out: the blend has no score, and its weights are as stated"
        )
        evaluation.weights = {name: _shares(each) for name, each in blend.weights.items()}
        return evaluation
    plain = {
        one.name: found for one in blend.members if (found := held_out(blend, one, plain=True)) is not None
    }
    rows = join_rows({name: one.marks for name, one in held.items()}, one_table=one_table)
    part = _parts(held, rows, seed)
    evaluation.notes += _said(held, rows)
    counts = _counts(evaluation, blend, held, rows)
    mixed: dict[str, Floats] = {}
    stacks: dict[str, _Stack] = {}
    for target in blend.schema.answers:
        stack = _stack(target, held, rows, part, counts)
        if stack is None:
            evaluation.weights[target.name] = _shares(blend.weights[target.name])
            continue
        stacks[target.name] = stack
        weights = _choose(evaluation, blend, target, stack, method)
        mixed[target.name] = blended(stack.answers, weights)
        kind = _settle(evaluation, blend, target, mixed[target.name], stack)
        baseline = _baseline(blend, target.name)
        evaluation.scores[target.name] = kind.scores(
            mixed[target.name], stack.labels, baseline=baseline, weights=counts
        )
        seen = _stack(target, plain, rows, part, counts)
        if _has_views(blend) and seen is not None:
            evaluation.without_views[target.name] = kind.scores(
                blended(seen.answers, weights), seen.labels, weights=counts
            )
        for name, own in zip(stack.names, stack.answers, strict=True):
            there = ~np.isnan(own).any(axis=1)
            scores = kind.scores(own[there], stack.labels[there], weights=stack.weighed(there))
            evaluation.members.setdefault(name, {})[target.name] = scores
    if folder is not None:
        _write(folder, blend, evaluation, held, rows, stacks, mixed)
    return evaluation


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values()) or 1.0
    return {name: weight / total for name, weight in weights.items()}


def _parts(held: Mapping[str, HeldOut], rows: JoinedRows, seed: int) -> Ints:
    """(rows,) the fold that held a row out, where all members have the same; else parts drawn at random,
    which fall alike in whatever order the tables stand."""
    fold = np.zeros(len(rows.row), dtype=np.int64)
    for name, one in held.items():
        at = rows.place[name]
        if not one.fold.all() or ((fold[at] > 0) & (fold[at] != one.fold)).any():
            drawn = np.empty_like(fold)
            drawn[rows.order] = random_parts(len(fold), seed=seed)
            return drawn
        fold[at] = one.fold
    return np.unique(fold, return_inverse=True)[1].astype(np.int64)


def _said(held: Mapping[str, HeldOut], rows: JoinedRows) -> list[str]:
    asked = sum(len(places) for places in rows.place.values()) / len(rows.row)
    if asked == len(held) or len(held) == 1:
        return []
    tables = [one.marks.table for one in held.values()]
    differ = all(tables) and not frozenset.intersection(*tables)
    other = ", which were fitted to tables that differ" if differ else ""
    return [
        f"{len(rows.row)} rows were held out, {rows.met} of them by all {len(held)} members{other}, each by "
        f"{asked:.1f} of {len(held)} members on average: the blend's score is of these alone, and so too "
        "low; folds, or split = 'same', ask every member"
    ]


def _counts(
    evaluation: BlendEvaluation, blend: JoinedNetworks, held: Mapping[str, HeldOut], rows: JoinedRows
) -> Floats | None:
    """(rows,) what each row counts in scores, None where all count alike; messages go to the evaluation."""
    column = blend.schema.weight
    if column is None:
        return None
    lacking = [name for name, one in held.items() if one.weights is None]
    if lacking:
        evaluation.notes.append(
            f"scores are not weighted by {column}: {shortened(lacking)} kept no row weights"
        )
        return None
    found = np.full(len(rows.row), np.nan)
    differ = 0
    for name, one in held.items():
        at, own = rows.place[name], np.asarray(one.weights, dtype=np.float64)
        differ += int((~np.isnan(found[at]) & (found[at] != own)).sum())
        found[at] = np.where(np.isnan(found[at]), own, found[at])
    if differ:
        evaluation.notes.append(f"{differ} row weights differ between members: those of the first are taken")
    evaluation.notes.append(f"scores are weighted by {column}")
    evaluation.weighted_by = column
    return relative_weights(found)


def _stack(
    target: NetworkTarget,
    held: Mapping[str, HeldOut],
    rows: JoinedRows,
    part: Ints,
    counts: Floats | None,
) -> _Stack | None:
    names = tuple(name for name, one in held.items() if target.name in one.answers)
    if not names:
        return None
    width = held[names[0]].answers[target.name].shape[1]
    answers = np.full((len(names), len(part), width), np.nan)
    for place, name in enumerate(names):
        answers[place, rows.place[name]] = held[name].answers[target.name]
    return _Stack(names, answers, _joined_labels(target, held, rows), part, counts)


def _joined_labels(target: NetworkTarget, held: Mapping[str, HeldOut], rows: JoinedRows) -> NDArray[Any]:
    """The members' labels as one; what one table lacks is taken from another.

    Raises RunError that names the rows whose labels contradict each other.
    """
    names = [name for name, one in held.items() if target.name in one.labels]
    first = held[names[0]].labels[target.name]
    found = np.full((len(rows.row), *first.shape[1:]), np.nan if first.dtype.kind == "f" else -1, first.dtype)
    source = np.full(len(found), -1, dtype=np.int64)
    problems = []
    for place, name in enumerate(names):
        at, own = rows.place[name], held[name].labels[target.name]
        # Another file format may keep a number with the digits of float32.
        same = np.isclose(own, found[at], rtol=1e-6, atol=0) if own.dtype.kind == "f" else own == found[at]
        wrong = known_cells(own) & known_cells(found[at]) & ~same
        for row in np.flatnonzero(wrong.reshape(len(own), -1).any(axis=1)).tolist():
            other = names[source[at[row]]]
            theirs = int(np.flatnonzero(rows.place[other] == at[row])[0])
            said = [
                ", ".join(str(held[one].words[column][line]) for column in target_columns(target))
                for one, line in ((other, theirs), (name, row))
            ]
            problems.append(
                f"row {held[name].ids[row]}, {target.name}: {said[0]!r} in {other}, {said[1]!r} in {name}"
            )
        fresh = (source[at] < 0) & known_cells(own).reshape(len(own), -1).any(axis=1)
        source[at] = np.where(fresh, place, source[at])
        found[at] = np.where(known_cells(own), own, found[at])
    if problems:
        raise RunError(
            f"the labels of {len(problems)} held-out rows differ between these runs",
            problems=problems,
            fix="fit them again to one table",
        )
    return found


def _evidence(kind: TargetKind, stack: _Stack) -> Evidence:
    """The evidence on the members of rows that all answered and whose label is known."""
    counting = stack.complete if stack.counts is None else stack.complete & (stack.counts > 0)
    rows = np.flatnonzero(counting & known_rows(stack.labels))
    given, row, truth = kind.evidence(stack.answers[:, rows], stack.labels[rows])
    return Evidence(given, rows[row], truth, stack.weighed(rows[row]))


def _choose(
    evaluation: BlendEvaluation, blend: JoinedNetworks, target: NetworkTarget, stack: _Stack, method: str
) -> Floats:
    """(rows, members) weights for the blend's honest answers; what was chosen stands in `evaluation`."""
    name = target.name
    own = [blend.weights[name].get(one, 0.0) for one in stack.names]
    stated = own if sum(own) else [1.0] * len(own)
    kind = _kind(blend, target, TargetStats(deviation=number_scale(blend, name)))
    evidence = _evidence(kind, stack)
    enough = len(np.unique(evidence.row)) >= LEAST_ROWS and len(stack.names) > 1
    tried: dict[str, tuple[Floats, Floats, float]] = {}
    for way in METHODS if enough else METHODS[:1]:
        # Stated weights saw no rows at all, so every part may have them.
        nested = nested_weights(evidence, stack.part, way, stated)[stack.part]
        loss = float("nan")
        if enough:
            rows = np.unique(evidence.row)
            loss = _nested_loss(evidence, nested)
            settled = _kind(
                blend, target, kind.tuned(blended(stack.answers, nested), stack.labels, stack.counts)
            )
            scores = settled.scores(
                blended(stack.answers, nested)[rows], stack.labels[rows], weights=stack.weighed(rows)
            )
        else:
            scores = {}
        weights = fit_weights(evidence, way, stated)
        tried[way] = (weights, nested, loss)
        evaluation.blends.setdefault(name, {})[way] = {
            "weights": dict(zip(stack.names, weights.tolist(), strict=True)),
            "loss": loss,
            "scores": scores,
        }
    if method not in ("best", *tried):
        evaluation.notes.append(
            f"{name}: too few rows that every member held out to learn weights: they are as stated"
        )
    way = method if method in tried else "weights"
    if method == "best" and enough:
        way = min(tried, key=lambda one: tried[one][2])
    if enough and len(tried) > 1:
        told = ", ".join(f"{one} {score_text(tried[one][2])}" for one in tried)
        evaluation.notes.append(f"{name}: loss on rows that chose no weights: {told}; taken: {way}")
    evaluation.taken[name] = way
    evaluation.weights[name] = dict(zip(stack.names, tried[way][0].tolist(), strict=True))
    return tried[way][1]


def _nested_loss(evidence: Evidence, weights: Floats) -> float:
    return evidence.loss_of((evidence.given * weights[evidence.row]).sum(axis=1))


def _kind(blend: JoinedNetworks, target: NetworkTarget, stats: TargetStats) -> TargetKind:
    return kind_of(target, tuple(blend.classes.get(target.name, ())), stats)


def _settle(
    evaluation: BlendEvaluation, blend: JoinedNetworks, target: NetworkTarget, mixed: Floats, stack: _Stack
) -> TargetKind:
    """The kind with thresholds tuned on the blend's own answers."""
    own = [run.encoding.targets.get(target.name) for member in blend.members for run in member.runs]
    base = next((one for one in own if one is not None), TargetStats())
    # Members' answers are calibrated each by itself, and their classes may be fewer than the blend's.
    kind = _kind(blend, target, base.model_copy(update={"temperature": 1.0, "thresholds": ()}))
    there = np.asarray(~np.isnan(mixed).any(axis=1))
    evaluation.facts[target.name] = kind.tuned(mixed[there], stack.labels[there], stack.weighed(there))
    return _kind(blend, target, evaluation.facts[target.name])


def _baseline(blend: JoinedNetworks, target: str) -> Any:
    """What the first member would answer without a model, with its class where the blend has it."""
    for member in blend.members:
        run = member.runs[0]
        found = run.record.majority.get(target)
        if found is not None:
            same = run.encoding.classes.get(target, ()) == blend.classes.get(target, ())
            return found if same else None
    return None


def _has_views(blend: JoinedNetworks) -> bool:
    return any(run.recipe.views > 1 or run.recipe.tta for member in blend.members for run in member.runs)


def _write(
    folder: RunFolder,
    blend: JoinedNetworks,
    evaluation: BlendEvaluation,
    held: Mapping[str, HeldOut],
    rows: JoinedRows,
    stacks: Mapping[str, _Stack],
    mixed: Mapping[str, Floats],
) -> None:
    """One line a held-out row, in the table's order: labels, the blend's answers, and each member's."""
    columns: dict[str, NDArray[Any]] = {}

    def add(name: str, values: NDArray[Any]) -> None:
        while name in columns:
            name += "_"
        columns[name] = values

    def spread(pick: Any, empty: Any) -> NDArray[Any]:
        found = np.full(len(rows.row), empty, dtype=object if not isinstance(empty, int) else np.int64)
        # What the first says of a row stands, as its number does.
        for name, one in reversed(list(held.items())):
            values = pick(one)
            if values is not None:
                told = np.array([value not in (None, "") for value in values], dtype=bool)
                found[rows.place[name][told]] = values[told]
        return found

    named = held_out_columns(blend.schema.answers, blend.classes)
    add(named.id, spread(lambda one: one.ids, ""))
    add(named.row, rows.row)
    add(named.fold, spread(lambda one: one.fold, 0))
    words = dict.fromkeys(name for one in held.values() for name in one.words)
    for name in words:
        add(named.label[name], spread(lambda one, name=name: one.words.get(name), None))
    for target in blend.schema.answers:
        if target.name not in stacks:
            continue
        kind = _kind(blend, target, evaluation.facts[target.name])
        stack = stacks[target.name]
        own_answers = mixed[target.name]
        for column, values in named.answered(target.name, kind.decode(own_answers), own_answers).items():
            add(column, values)
        for name, own in zip(stack.names, stack.answers, strict=True):
            if not kind.classes:
                add(f"{target.name}@{name}", own[:, 0])
            for place, word in enumerate(kind.classes):
                add(f"{target.name}:{word}@{name}", own[:, place])
    with replacing(folder.file("oof.parquet")) as temporary:
        write_parquet(temporary, columns)
