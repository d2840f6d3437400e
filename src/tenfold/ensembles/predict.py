"""An ensemble of networks asked for predictions, and scored on rows whose answer is known."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
from tenfold.values import Predictions

Floats = NDArray[np.float64]


@dataclass
class Gathered:
    """What every member says of some rows.

    answers, plain: target -> member -> (rows, answers), with all views and with the plain one.
    bad: row -> why it cannot be used.  views: whether there are several.
    """

    rows: Rows
    bad: dict[int, str] = field(default_factory=dict)
    answers: dict[str, dict[str, Floats]] = field(default_factory=dict)
    plain: dict[str, dict[str, Floats]] = field(default_factory=dict)
    views: bool = False


def gather(blend: JoinedNetworks, source: object, options: PredictOptions, *, targets: bool) -> Gathered:
    """Every member's answers. Runs that want their pictures alike share one reading of them."""
    groups: dict[tuple[Any, ...], list[tuple[Member[OpenedNetwork], OpenedNetwork]]] = {}
    for member in blend.members:
        for run in member.runs:
            how = run.encoding
            read = repr(sorted((run.record.reading or {}).items()))
            key = (how.image_size, how.resize, how.interpolation, how.white, read)
            groups.setdefault(key, []).append((member, run))
    asked = {"group": (), "split": None, "weight": None, "time": None}
    schema = blend.schema.model_copy(
        update={**asked, **({"id": options.id} if options.id is not None else {})}
    )
    found: Gathered | None = None
    for users in groups.values():
        first = users[0][1]
        table, own = read_source(source, schema, options.reading, first.record)
        rows = prepare_rows(table, schema, first.encoding, own, targets=targets)
        found = found or Gathered(rows)
        _check_same_rows(found.rows, rows)
        found.bad |= {row: why for row, why in rows.bad.items() if row not in found.bad}
        for member, run in users:
            heads, all_views, plain = answer_rows(run, rows, replace(options, reading=own))
            recipe = with_views(run.recipe, options)
            found.views = found.views or recipe.views > 1 or recipe.tta > 0
            for head in heads:
                joined = blend.classes.get(head.name, ())
                for kept, one in ((found.answers, all_views), (found.plain, plain)):
                    mine = kept.setdefault(head.name, {})
                    answer = by_name(one[head.name], head.classes, joined) / len(member.runs)
                    mine[member.name] = mine[member.name] + answer if member.name in mine else answer
    assert found is not None
    return found


def _check_same_rows(rows: Rows, others: Rows) -> None:
    """Refuse a table of which members, each reading it as it was trained, see different rows."""
    if not np.array_equal(rows.ids, others.ids):
        raise SchemaError(
            f"{rows.table.source}: the members read it in different ways",
            found=f"{len(rows.ids)} and {len(others.ids)} rows, or other ids",
            fix="say how it is to be read: --sep, --header or --no-header, --encoding",
        )


def ensemble_kinds(blend: JoinedNetworks) -> list[TargetKind]:
    """One for each target, which decodes and scores the blend's answers."""
    stats = {name: TargetStats(**own) for name, own in blend.record.facts.items()}
    return kinds_of(blend.schema, blend.classes, stats)


def mixed_answers(blend: JoinedNetworks, answers: Mapping[str, Floats], target: str) -> Floats:
    """The blend's answers of one target. Of a row that a member could not answer, the others decide."""
    names = [member.name for member in blend.members if member.name in answers]
    weights = np.array([blend.weights[target].get(name, 0.0) for name in names])
    return blended(np.stack([answers[name] for name in names]), weights)


def predict_rows(blend: JoinedNetworks, source: object, options: PredictOptions) -> Predictions:
    """One answer per row of a table or picture of a folder, in its order; see `networks.predict`."""
    found = gather(blend, source, options, targets=False)
    log_all(options.log, (*blend.notes, *found.rows.notes))
    kinds = ensemble_kinds(blend)
    mixed = {kind.name: mixed_answers(blend, found.answers[kind.name], kind.name) for kind in kinds}
    answers = {kind.name: (kind, mixed[kind.name]) for kind in kinds}
    if options.members:
        for kind in kinds:
            for name, own in found.answers[kind.name].items():
                answers[f"{kind.name}@{name}"] = kind, own
    return decoded(found.rows, found.bad, answers, mixed.values())


def evaluate_rows(blend: JoinedNetworks, source: object, options: PredictOptions) -> dict[str, Any]:
    """Scores of a blend, and of each member, on rows whose answer is known; see `networks.predict`."""
    started = time.monotonic()
    device = pick_device(options.device)
    reset_peak(device)
    found = gather(blend, source, options, targets=True)
    rows = found.rows
    good = np.array([row for row in range(len(rows.ids)) if row not in found.bad], dtype=np.int64)
    if not len(good):
        raise SchemaError(f"{rows.table.source} has no usable row", fix="mend its pictures")
    weights, said = scoring_weights(blend.schema, rows)
    weights = None if weights is None else weights[good]
    notes = [*blend.notes, *rows.notes, *said]
    records = [run.record for member in blend.members for run in member.runs]
    notes += trained_on(records, blend.schema, rows, good)
    scores: dict[str, dict[str, Any]] = {"targets": {}, "without_views": {}}
    each: dict[str, dict[str, Any]] = {member.name: {} for member in blend.members}
    for kind in ensemble_kinds(blend):
        name = kind.name
        labels, said = kind.scoring_labels(rows.table)
        labels = labels[good]
        notes += [*said, *weightless(name, labels, weights)]
        baseline = blend.record.majority.get(name)
        seen = {"targets": found.answers, **({"without_views": found.plain} if found.views else {})}
        for word, answers in seen.items():
            mixed = mixed_answers(blend, answers[name], name)[good]
            scores[word][name] = kind.scores(mixed, labels, baseline=baseline, weights=weights)
        for member, own in found.answers[name].items():
            each[member][name] = kind.scores(own[good], labels, weights=weights)
    log_all(options.log, notes)
    return {
        "run": str(blend.path),
        "rows": len(good),
        **({} if weights is None else {"weighted_by": blend.schema.weight}),
        "targets": scores["targets"],
        **({"without_views": scores["without_views"]} if found.views else {}),
        "members": each,
        "seconds": round(time.monotonic() - started, 3),
        "peak_bytes": peak_bytes(device),
    }
