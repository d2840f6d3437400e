"""Predictions of an ensemble of networks, and its scores on labelled rows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tenfold.engine.device import peak_bytes, pick_device, reset_peak
from tenfold.ensembles.joined import JoinedNetworks
from tenfold.ensembles.weights import blended, by_name
from tenfold.errors import SchemaError
from tenfold.networks.inputs import Rows, prepare_rows, read_source
from tenfold.networks.opened import OpenedNetwork
from tenfold.networks.predict import answer_rows, decoded, scoring_weights, trained_on, with_views
from tenfold.runs.job import log_all
from tenfold.runs.options import PredictOptions
from tenfold.runs.run import Member
from tenfold.targets.base import TargetKind, TargetStats
from tenfold.targets.kinds import kinds_of
from tenfold.targets.labels import weightless
from tenfold.values import Predictions, Scores

Floats = NDArray[np.float64]


@dataclass
class Gathered:
    """The answers of every member to some rows.

    answers, plain: target -> member -> (rows, answers), with all views and with the plain view.
    bad: row -> why it cannot be used.  views: whether there are several views.
    """

    rows: Rows
    bad: dict[int, str] = field(default_factory=dict)
    answers: dict[str, dict[str, Floats]] = field(default_factory=dict)
    plain: dict[str, dict[str, Floats]] = field(default_factory=dict)
    views: bool = False

    @property
    def good(self) -> NDArray[np.int64]:
        """The rows that can be used."""
        return np.array([row for row in range(len(self.rows.ids)) if row not in self.bad], dtype=np.int64)


def gather(blend: JoinedNetworks, source: object, options: PredictOptions, *, targets: bool) -> Gathered:
    """Ask every member. Runs that read pictures in the same way share one reading of them."""
    groups: dict[tuple[object, ...], list[tuple[Member[OpenedNetwork], OpenedNetwork]]] = {}
    for member in blend.members:
        for run in member.runs:
            how = run.encoding
            reading = repr(sorted((run.record.reading or {}).items()))
            key = (how.image_size, how.resize, how.interpolation, how.white, reading)
            groups.setdefault(key, []).append((member, run))
    changes: dict[str, object] = {"group": (), "split": None, "weight": None, "time": None}
    changes |= {"id": options.id} if options.id is not None else {}
    schema = blend.schema.model_copy(update=changes)
    gathered: Gathered | None = None
    for group in groups.values():
        first = group[0][1]
        table, own = read_source(source, schema, options.reading, first.record)
        rows = prepare_rows(table, schema, first.encoding, own, targets=targets)
        gathered = gathered or Gathered(rows)
        _check_same_rows(gathered.rows, rows)
        for row, why in rows.bad.items():
            gathered.bad.setdefault(row, why)
        for member, run in group:
            heads, all_views, plain = answer_rows(run, rows, replace(options, reading=own))
            recipe = with_views(run.recipe, options)
            gathered.views = gathered.views or recipe.views > 1 or recipe.tta > 0
            for head in heads:
                joined = blend.classes.get(head.name, ())
                for sums, answers in ((gathered.answers, all_views), (gathered.plain, plain)):
                    by_member = sums.setdefault(head.name, {})
                    answer = by_name(answers[head.name], head.classes, joined) / len(member.runs)
                    by_member[member.name] = by_member.get(member.name, 0.0) + answer
    assert gathered is not None
    return gathered


def _check_same_rows(rows: Rows, others: Rows) -> None:
    """Refuse a table if members, each reading it as in training, get different rows."""
    if not np.array_equal(rows.ids, others.ids):
        raise SchemaError(
            f"{rows.table.source}: the members read it in different ways",
            found=f"{len(rows.ids)} and {len(others.ids)} rows, or other ids",
            fix="say how it is to be read: --sep, --header or --no-header, --encoding",
        )


def ensemble_kinds(blend: JoinedNetworks) -> list[TargetKind]:
    """The kind of each target, to decode and score the blend's answers."""
    stats = {name: TargetStats(**facts) for name, facts in blend.record.facts.items()}
    return kinds_of(blend.schema, blend.classes, stats)


def mixed_answers(blend: JoinedNetworks, answers: Mapping[str, Floats], target: str) -> Floats:
    """The blend's answers to a target. Rows that a member could not answer are left to the others."""
    names = [member.name for member in blend.members if member.name in answers]
    weights = np.array([blend.weights[target].get(name, 0.0) for name in names])
    return blended(np.stack([answers[name] for name in names]), weights)


def predict_rows(blend: JoinedNetworks, source: object, options: PredictOptions) -> Predictions:
    """Predict each row of a table, or picture of a folder, in order; see `networks.predict`."""
    gathered = gather(blend, source, options, targets=False)
    log_all(options.log, (*blend.notes, *gathered.rows.notes))
    kinds = ensemble_kinds(blend)
    mixed = {kind.name: mixed_answers(blend, gathered.answers[kind.name], kind.name) for kind in kinds}
    answers = {kind.name: (kind, mixed[kind.name]) for kind in kinds}
    if options.members:
        for kind in kinds:
            for name, own in gathered.answers[kind.name].items():
                answers[f"{kind.name}@{name}"] = kind, own
    return decoded(gathered.rows, gathered.bad, answers, mixed.values())


def evaluate_rows(blend: JoinedNetworks, source: object, options: PredictOptions) -> dict[str, object]:
    """Score a blend, and each member, on labelled rows; see `networks.predict`."""
    started = time.monotonic()
    device = pick_device(options.device)
    reset_peak(device)
    gathered = gather(blend, source, options, targets=True)
    rows, good = gathered.rows, gathered.good
    if not len(good):
        raise SchemaError(f"{rows.table.source} has no usable row", fix="mend its pictures")
    weights, messages = scoring_weights(blend.schema, rows)
    weights = None if weights is None else weights[good]
    notes = [*blend.notes, *rows.notes, *messages]
    records = [run.record for member in blend.members for run in member.runs]
    notes += trained_on(records, blend.schema, rows, good)
    scores: dict[str, Scores] = {}
    without_views: dict[str, Scores] = {}
    each: dict[str, dict[str, Scores]] = {member.name: {} for member in blend.members}
    for kind in ensemble_kinds(blend):
        name = kind.name
        labels, messages = kind.scoring_labels(rows.table)
        labels = labels[good]
        notes += [*messages, *weightless(name, labels, weights)]
        baseline = blend.record.majority.get(name)
        views = [(scores, gathered.answers), *([(without_views, gathered.plain)] if gathered.views else [])]
        for made, answers in views:
            mixed = mixed_answers(blend, answers[name], name)[good]
            made[name] = kind.scores(mixed, labels, baseline=baseline, weights=weights)
        for member, own in gathered.answers[name].items():
            each[member][name] = kind.scores(own[good], labels, weights=weights)
    log_all(options.log, notes)
    return {
        "run": str(blend.path),
        "rows": len(good),
        **({} if weights is None else {"weighted_by": blend.schema.weight}),
        "targets": scores,
        **({"without_views": without_views} if gathered.views else {}),
        "members": each,
        "seconds": round(time.monotonic() - started, 3),
        "peak_bytes": peak_bytes(device),
    }
