"""Evaluates a blend on held-out rows: its weights, its scores, and a table of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import write_parquet
from tenfold.ensembles.joined import HeldOut, JoinedNetworks, held_out, number_scale
from tenfold.ensembles.weights import METHODS, Evidence, blended, fit_weights, nested_weights, random_parts
from tenfold.errors import RunError, shortened
from tenfold.metrics import score_text
from tenfold.reports.members import Contributions, leave_out
from tenfold.runs.folder import RunFolder, replacing
from tenfold.runs.heldout import held_out_columns
from tenfold.runs.record import nan_to_none
from tenfold.runs.rowjoin import JoinedRows, join_rows
from tenfold.schema import NetworkTarget, target_columns
from tenfold.targets.base import Baseline, Labels, TargetKind, TargetStats, known_cells, known_rows
from tenfold.targets.kinds import kind_of
from tenfold.targets.labels import relative_weights
from tenfold.targets.words import LOSSES
from tenfold.values import Scores

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Column = NDArray[np.generic]

#: Weights are learned from at least so many rows that all members held out.
LEAST_ROWS = 10


class MethodResult(TypedDict):
    """Weights by one method, and their loss and scores on rows that did not choose them."""

    weights: dict[str, float]
    loss: float
    scores: Scores


@dataclass(frozen=True)
class _Stack:
    """Held-out answers of all members to one target: (members, rows, answers), NaN where there is none.

    counts: (rows,) row weights in scores; None where all rows count alike.
    """

    names: tuple[str, ...]
    answers: Floats
    labels: Labels
    part: Ints
    counts: Floats | None

    def counts_of(self, rows: NDArray[np.bool_] | Ints) -> Floats | None:
        """The weights of some rows."""
        return None if self.counts is None else self.counts[rows]

    def evidence(self, kind: TargetKind) -> Evidence:
        """Evidence from the rows with a label that every member answered."""
        known = known_rows(self.labels) & ~np.isnan(self.answers).any(axis=(0, 2))
        rows = np.flatnonzero(known if self.counts is None else known & (self.counts > 0))
        given, row, truth = kind.evidence(self.answers[:, rows], self.labels[rows])
        return Evidence(given, rows[row], truth, self.counts_of(rows[row]))


@dataclass
class BlendEvaluation:
    """Weights and scores of a blend, from the rows that its members held out.

    weights: target -> member -> share.  facts: target -> thresholds and other stats.
    scores, without_views: target -> scores of the blend.  members: member -> target -> scores on its rows.
    blends: target -> method -> result.  chosen: target -> method.
    weighted_by: the column that weights the scores, if any.
    """

    blend: JoinedNetworks
    weights: dict[str, dict[str, float]] = field(default_factory=dict)
    facts: dict[str, TargetStats] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict)
    without_views: dict[str, Scores] = field(default_factory=dict)
    members: dict[str, dict[str, Scores]] = field(default_factory=dict)
    blends: dict[str, dict[str, MethodResult]] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    weighted_by: str | None = None
    _columns: dict[str, Column] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Mean over targets of the loss of the chosen method, on rows that chose no weights; or NaN."""
        losses = [self.blends[name][method]["loss"] for name, method in self.chosen.items()]
        finite = [loss for loss in losses if np.isfinite(loss)]
        return float(np.mean(finite)) if finite else float("nan")

    def record(self) -> dict[str, object]:
        """The evaluation as ``run.json`` holds it."""
        return {
            "weights": self.weights,
            "classes": {name: list(classes) for name, classes in self.blend.classes.items()},
            "facts": {name: stats.model_dump(mode="json") for name, stats in self.facts.items()},
            "targets": nan_to_none(self.scores),
            "without_views": nan_to_none(self.without_views),
            "blends": nan_to_none(self.blends),
            **({"weighted_by": self.weighted_by} if self.weighted_by else {}),
        }

    def write_answers(self, folder: RunFolder) -> None:
        """Write ``oof.parquet``: a line per held-out row in table order. Without such rows, do nothing."""
        if self._columns:
            with replacing(folder.file("oof.parquet")) as temporary:
                write_parquet(temporary, self._columns)


def evaluate_blend(
    blend: JoinedNetworks, *, method: str = "weights", seed: int = 0, one_table: bool = False
) -> BlendEvaluation:
    """Learn the weights of a blend, and score it on held-out rows.

    method: ``weights``, ``greedy``, ``convex``, or the ``best`` of them. All three are tried and reported
        where all members held out the same rows. Learned weights are scored by nested folds: a row's blend
        uses weights that were learned without the row's fold.
    one_table: all members were trained on the very same table, row by row.
    Raises RunError where the members' rows cannot be joined, or their labels contradict each other.
    """
    evaluation = BlendEvaluation(blend)
    held = _held_out(blend)
    if not held:
        evaluation.notes.append(
            "no member held rows out: the blend has no score, and its weights are as stated"
        )
        evaluation.weights = {name: _shares(weights) for name, weights in blend.weights.items()}
        return evaluation
    plain = _held_out(blend, plain=True) if _has_views(blend) else {}
    rows = join_rows({name: own.marks for name, own in held.items()}, one_table=one_table)
    part = _parts(held, rows, seed)
    evaluation.notes += [*_coverage_notes(held, rows), *_input_notes(blend, held, rows)]
    counts = _counts(evaluation, held, rows)
    stacks: dict[str, _Stack] = {}
    mixed: dict[str, Floats] = {}
    for target in blend.schema.answers:
        name = target.name
        names = tuple(member for member, own in held.items() if name in own.answers)
        if not names:
            evaluation.weights[name] = _shares(blend.weights[name])
            continue
        labels = _joined_labels(target, held, rows)
        stack = stacks[name] = _Stack(names, _answers(name, names, held, rows), labels, part, counts)
        weights = _choose(evaluation, target, stack, method)
        mixed[name] = blended(stack.answers, weights)
        kind = _tune(evaluation, target, mixed[name], stack)
        baseline = _baseline(blend, name)
        evaluation.scores[name] = kind.scores(mixed[name], labels, baseline=baseline, weights=counts)
        if plain:
            answers = blended(_answers(name, names, plain, rows), weights)
            evaluation.without_views[name] = kind.scores(answers, labels, weights=counts)
        for member, own in zip(names, stack.answers, strict=True):
            answered = ~np.isnan(own).any(axis=1)
            evaluation.members.setdefault(member, {})[name] = kind.scores(
                own[answered], labels[answered], weights=stack.counts_of(answered)
            )
    evaluation._columns = _answer_columns(evaluation, held, rows, stacks, mixed)
    return evaluation


def find_contributions(
    blend: JoinedNetworks, facts: Mapping[str, Mapping[str, object]]
) -> list[Contributions]:
    """What each member adds to the blend, target by target, on rows that all of its members held out.

    facts: target -> thresholds and other stats, as ``run.json`` of the blend has them. Nothing of blends of a
    single member, or whose members share no rows, or of an earlier version that did not keep which these are.
    """
    held = _held_out(blend)
    if len(held) < 2:
        return []
    try:
        rows = join_rows({name: own.marks for name, own in held.items()})
    except RunError:
        return []
    found = []
    for target in blend.schema.answers:
        names = [name for name, own in held.items() if target.name in own.answers]
        if len(names) < 2:
            continue
        answers, labels = _answers(target.name, names, held, rows), _joined_labels(target, held, rows)
        shared = np.asarray(~np.isnan(answers).any(axis=(0, 2))) & known_rows(labels)
        if not shared.any():
            continue
        stats = TargetStats.model_validate(dict(facts.get(target.name) or {}))
        kind = _kind(blend, target, stats)
        weights = np.array([blend.weights[target.name].get(name, 0.0) for name in names])

        scores = partial(_scores, kind, answers[:, shared], labels[shared])
        score = next((name for name in LOSSES if name in scores(weights)), "")
        if score:
            found.append(leave_out(target.name, score, names, weights, int(shared.sum()), scores))
    return found


def _scores(kind: TargetKind, answers: Floats, labels: Labels, weights: Floats) -> Scores:
    return kind.scores(blended(answers, weights), labels)


def _held_out(blend: JoinedNetworks, *, plain: bool = False) -> dict[str, HeldOut]:
    """Member -> its held-out rows, of the members that have some."""
    pairs = ((member.name, held_out(blend, member, plain=plain)) for member in blend.members)
    return {name: held for name, held in pairs if held is not None}


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values()) or 1.0
    return {name: weight / total for name, weight in weights.items()}


def _parts(held: Mapping[str, HeldOut], rows: JoinedRows, seed: int) -> Ints:
    """(rows,) the fold that held a row out, where all members agree; else random parts.

    Random parts do not depend on the order of the tables.
    """
    fold = np.zeros(len(rows.row), dtype=np.int64)
    for name, own in held.items():
        index = rows.place[name]
        if not own.fold.all() or ((fold[index] > 0) & (fold[index] != own.fold)).any():
            drawn = np.empty_like(fold)
            drawn[rows.order] = random_parts(len(fold), seed=seed)
            return drawn
        fold[index] = own.fold
    return np.unique(fold, return_inverse=True)[1].astype(np.int64)


def _coverage_notes(held: Mapping[str, HeldOut], rows: JoinedRows) -> list[str]:
    mean = sum(map(len, rows.place.values())) / len(rows.row)
    if mean == len(held) or len(held) == 1:
        return []
    tables = [own.marks.table for own in held.values()]
    differ = all(tables) and not frozenset.intersection(*tables)
    other = ", which were fitted to tables that differ" if differ else ""
    return [
        f"{len(rows.row)} rows were held out, {rows.met} of them by all {len(held)} members{other}, each by "
        f"{mean:.1f} of {len(held)} members on average: the score is of a blend of so few, and worse than "
        "that of all; folds, or split = 'same', ask every member"
    ]


def _input_notes(blend: JoinedNetworks, held: Mapping[str, HeldOut], rows: JoinedRows) -> list[str]:
    """Say how many held-out rows the members know by other inputs: a column that was changed in between, as
    its unit, misleads one of them in every row that the blend is asked about."""
    order = {one.name: tuple(column.name for column in one.runs[0].schema.inputs) for one in blend.members}
    prints: dict[tuple[object, int], set[str]] = {}
    for name, own in held.items():
        if own.marks.prints is not None:
            for place, mark in zip(rows.place[name].tolist(), own.marks.prints, strict=True):
                prints.setdefault((order[name], place), set()).add(str(mark))
    differ = sum(len(marks) > 1 for marks in prints.values())
    if not differ:
        return []
    return [
        f"{differ} held-out rows have other inputs in a member's table than in another's: if a column was "
        "changed in between (its unit, how it is written), the blend answers worse than its score says; fit "
        "both to one table"
    ]


def _counts(evaluation: BlendEvaluation, held: Mapping[str, HeldOut], rows: JoinedRows) -> Floats | None:
    """(rows,) row weights in scores, None where all rows count alike; notes go to the evaluation."""
    column, notes = evaluation.blend.schema.weight, evaluation.notes
    if column is None:
        return None
    lacking = [name for name, own in held.items() if own.weights is None]
    if lacking:
        notes.append(f"scores are not weighted by {column}: {shortened(lacking)} kept no row weights")
        return None
    counts = np.full(len(rows.row), np.nan)
    differ = 0
    for name, own in held.items():
        index, weights = rows.place[name], np.asarray(own.weights, dtype=np.float64)
        known = ~np.isnan(counts[index])
        differ += int((known & (counts[index] != weights)).sum())
        counts[index] = np.where(known, counts[index], weights)
    if differ:
        notes.append(f"{differ} row weights differ between members: those of the first are taken")
    notes.append(f"scores are weighted by {column}")
    evaluation.weighted_by = column
    return relative_weights(counts)


def _answers(target: str, names: Sequence[str], held: Mapping[str, HeldOut], rows: JoinedRows) -> Floats:
    """(members, rows, answers) NaN where a member did not hold a row out."""
    width = held[names[0]].answers[target].shape[1]
    answers = np.full((len(names), len(rows.row), width), np.nan)
    for stacked, name in zip(answers, names, strict=True):
        stacked[rows.place[name]] = held[name].answers[target]
    return answers


def _joined_labels(target: NetworkTarget, held: Mapping[str, HeldOut], rows: JoinedRows) -> Labels:
    """The members' labels, row by row; those that a table lacks are taken from another.

    Raises RunError that names the rows with labels that contradict each other.
    """
    names = [name for name, own in held.items() if target.name in own.labels]
    first = held[names[0]].labels[target.name]
    is_number = first.dtype.kind == "f"
    labels = np.full((len(rows.row), *first.shape[1:]), np.nan if is_number else -1, first.dtype)
    source = np.full(len(labels), -1, dtype=np.int64)
    problems = []
    for number, name in enumerate(names):
        index, own = rows.place[name], held[name].labels[target.name]
        old = labels[index]
        # Another file format may keep a number with the digits of float32.
        same = np.isclose(own, old, rtol=1e-6, atol=0) if is_number else own == old
        wrong = known_cells(own) & known_cells(old) & ~same
        for row in np.flatnonzero(wrong.reshape(len(own), -1).any(axis=1)).tolist():
            other = names[source[index[row]]]
            other_row = int(np.flatnonzero(rows.place[other] == index[row])[0])
            theirs, mine = (
                ", ".join(str(held[member].words[column][line]) for column in target_columns(target))
                for member, line in ((other, other_row), (name, row))
            )
            row_id = held[name].ids[row]
            problems.append(f"row {row_id}, {target.name}: {theirs!r} in {other}, {mine!r} in {name}")
        source[index] = np.where((source[index] < 0) & known_rows(own), number, source[index])
        labels[index] = np.where(known_cells(own), own, old)
    if problems:
        raise RunError(
            f"the labels of {len(problems)} held-out rows differ between these runs",
            problems=problems,
            fix="fit them again to one table",
        )
    return labels


def _choose(evaluation: BlendEvaluation, target: NetworkTarget, stack: _Stack, method: str) -> Floats:
    """(rows, members) weights that score each row honestly; the evaluation records the chosen method."""
    name, blend = target.name, evaluation.blend
    own = [blend.weights[name].get(member, 0.0) for member in stack.names]
    stated = own if sum(own) else [1.0] * len(own)
    kind = _kind(blend, target, TargetStats(deviation=number_scale(blend, name)))
    evidence = stack.evidence(kind)
    rows = np.unique(evidence.row)
    enough = len(rows) >= LEAST_ROWS and len(stack.names) > 1
    nested: dict[str, Floats] = {}
    results = evaluation.blends[name] = {}
    for way in METHODS if enough else METHODS[:1]:
        # Stated weights are learned from no rows, so they may be used for every part.
        nested[way] = nested_weights(evidence, stack.part, way, stated)[stack.part]
        weights = dict(zip(stack.names, fit_weights(evidence, way, stated).tolist(), strict=True))
        results[way] = MethodResult(weights=weights, loss=float("nan"), scores={})
        if enough:
            mixed = blended(stack.answers, nested[way])
            tuned = _kind(blend, target, kind.tuned(mixed, stack.labels, stack.counts))
            results[way]["loss"] = evidence.loss_of((evidence.given * nested[way][evidence.row]).sum(axis=1))
            results[way]["scores"] = tuned.scores(
                mixed[rows], stack.labels[rows], weights=stack.counts_of(rows)
            )
    if method not in ("best", *results):
        evaluation.notes.append(
            f"{name}: too few rows that every member held out to learn weights: they are as stated"
        )
    chosen = method if method in results else "weights"
    if enough:
        if method == "best":
            chosen = min(results, key=lambda way: results[way]["loss"])
        losses = ", ".join(f"{way} {score_text(result['loss'])}" for way, result in results.items())
        evaluation.notes.append(f"{name}: loss on rows that chose no weights: {losses}; taken: {chosen}")
    evaluation.chosen[name] = chosen
    evaluation.weights[name] = results[chosen]["weights"]
    return nested[chosen]


def _kind(blend: JoinedNetworks, target: NetworkTarget, stats: TargetStats) -> TargetKind:
    return kind_of(target, tuple(blend.classes.get(target.name, ())), stats)


def _tune(evaluation: BlendEvaluation, target: NetworkTarget, mixed: Floats, stack: _Stack) -> TargetKind:
    """The kind with thresholds tuned on the blend's own answers."""
    blend, name = evaluation.blend, target.name
    members = (run.encoding.targets.get(name) for member in blend.members for run in member.runs)
    base = next((stats for stats in members if stats is not None), TargetStats())
    # Each member's answers are calibrated already, and it may know fewer classes than the blend.
    kind = _kind(blend, target, base.model_copy(update={"temperature": 1.0, "thresholds": ()}))
    answered = np.asarray(~np.isnan(mixed).any(axis=1))
    stats = kind.tuned(mixed[answered], stack.labels[answered], stack.counts_of(answered))
    evaluation.facts[name] = stats
    return _kind(blend, target, stats)


def _baseline(blend: JoinedNetworks, target: str) -> Baseline:
    """The first member's answer without a model; None where the blend has other classes."""
    for member in blend.members:
        run = member.runs[0]
        baseline = run.record.majority.get(target)
        if baseline is not None:
            same = run.encoding.classes.get(target, ()) == blend.classes.get(target, ())
            return baseline if same else None
    return None


def _has_views(blend: JoinedNetworks) -> bool:
    return any(run.recipe.views > 1 or run.recipe.tta for member in blend.members for run in member.runs)


def _answer_columns(
    evaluation: BlendEvaluation,
    held: Mapping[str, HeldOut],
    rows: JoinedRows,
    stacks: Mapping[str, _Stack],
    mixed: Mapping[str, Floats],
) -> dict[str, Column]:
    """Columns of ``oof.parquet``: labels, the blend's answers, and each member's."""
    blend = evaluation.blend
    columns: dict[str, Column] = {}

    def add(name: str, values: Column) -> None:
        while name in columns:
            name += "_"
        columns[name] = values

    def joined(pick: Callable[[HeldOut], Column | None], empty: str | int | None) -> Column:
        cells = np.full(len(rows.row), empty, dtype=np.int64 if isinstance(empty, int) else object)
        # The first member's cell of a row stands, as its row number does.
        for name, own in reversed(list(held.items())):
            values = pick(own)
            if values is not None:
                filled = np.array([value not in (None, "") for value in values], dtype=bool)
                cells[rows.place[name][filled]] = values[filled]
        return cells

    named = held_out_columns(blend.schema.answers, blend.classes)
    add(named.id, joined(lambda own: own.ids, ""))
    add(named.row, rows.row)
    add(named.fold, joined(lambda own: own.fold, 0))
    for name in dict.fromkeys(column for own in held.values() for column in own.words):
        add(named.label[name], joined(lambda own, name=name: own.words.get(name), None))
    for target in blend.schema.answers:
        name = target.name
        if name not in stacks:
            continue
        kind = _kind(blend, target, evaluation.facts[name])
        for column, values in named.answered(name, kind.decode(mixed[name]), mixed[name]).items():
            add(column, values)
        for member, own in zip(stacks[name].names, stacks[name].answers, strict=True):
            labels = [f"{name}:{word}" for word in kind.classes] or [name]
            for label, values in zip(labels, own.T, strict=False):
                add(f"{label}@{member}", values)
    return columns
