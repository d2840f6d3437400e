"""The image wing: many runs as one, whose answers are averaged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.table import read_table
from tenfold.engine.device import peak_bytes, pick_device, reset_peak
from tenfold.ensembles.weights import blended, by_name, joined_classes
from tenfold.errors import RunError, SchemaError
from tenfold.networks.inputs import Rows, prepare_rows, read_source
from tenfold.networks.run import (
    NetworkRun,
    ViewOptions,
    answer_rows,
    decoded,
    open_network_run,
    scoring_weights,
    trained_on,
)
from tenfold.runs.bundle import read_members
from tenfold.runs.folder import none_to_nan
from tenfold.runs.heldout import held_out_columns
from tenfold.runs.options import Reading
from tenfold.runs.rowjoin import RowMarks
from tenfold.schema import NetworkTarget, Schema
from tenfold.targets.base import TargetKind, TargetStats
from tenfold.targets.kinds import kind_of, kinds_of
from tenfold.targets.labels import weightless
from tenfold.values import Predictions

Floats = NDArray[np.float64]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class BlendMember:
    """One member: its runs, one a fold, whose answers count alike."""

    name: str
    weight: float
    runs: tuple[NetworkRun, ...]


@dataclass(frozen=True)
class NetworkBlend:
    """Many runs of the image wing as one.

    path: its folder.  schema: the inputs, and the targets of all members.  classes: target -> joined classes.
    weights: target -> member -> its part.  about: what ``run.json`` says.
    """

    path: Path
    schema: Schema
    members: tuple[BlendMember, ...]
    classes: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, Mapping[str, float]]
    about: Mapping[str, Any]

    def show(self) -> Any:
        """The blend's page, which a notebook shows; see `jobs.showing.show_run`."""
        from tenfold.reports.notebook import show_run

        return show_run(self)

    def plot_losses(self) -> Any:
        """Raises RunError: its members have the curves; see `jobs.showing.plot_losses`."""
        from tenfold.reports.notebook import plot_losses

        return plot_losses(self)

    @property
    def summary(self) -> dict[str, Any]:
        """What ``tenfold ensemble --json`` and ``tenfold blend --json`` print (docs/formats.md)."""
        kept = (
            "rows",
            "weighted_by",
            "targets",
            "without_views",
            "weights",
            "blends",
            "members",
            "seconds",
            "peak_bytes",
        )
        return {"run": str(self.path), **{name: self.about[name] for name in kept if name in self.about}}

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """Target -> score -> value on the held-out rows."""
        return self.about.get("targets", {})

    def kinds(self) -> list[TargetKind]:
        """One for each target, which decodes and scores the blend's answers."""
        stats = {name: TargetStats(**own) for name, own in self.about.get("facts", {}).items()}
        return kinds_of(self.schema, self.classes, stats)

    def predict(self, source: Any, **options: Any) -> Predictions:
        """Predict the rows of a table or the pictures of a folder; see `predict_rows`."""
        return predict_rows(self, source, **options)

    def evaluate(self, source: Any, **options: Any) -> dict[str, Any]:
        """Scores on rows whose answer is known; see `evaluate_rows`."""
        return evaluate_rows(self, source, **options)


def open_network_blend(folder: Path, about: Mapping[str, Any]) -> NetworkBlend:
    """The blend in a folder that `runs.folder.read_run` has checked. Members are checked, too.

    Raises RunError for a member that is missing, damaged, or another run than the one that was blended.
    """
    kept = read_members(folder, about)
    others = [path for one in kept for path, described in one.runs if described.get("kind") != "network"]
    if others:
        raise RunError(f"{others[0]} is not a run of pictures or tables", fix="blend runs of one kind")
    members = [
        BlendMember(one.name, one.weight, tuple(open_network_run(*run) for run in one.runs)) for one in kept
    ]
    if not members:
        raise RunError(
            f"no member of {folder} has finished", fix="go on with it: tenfold ensemble RECIPE.toml"
        )
    return blend_of(folder, members, about.get("weights", {}), about)


def blend_of(
    folder: Path,
    members: Sequence[BlendMember],
    weights: Mapping[str, Mapping[str, float]],
    about: Mapping[str, Any],
) -> NetworkBlend:
    """Members as one. Raises RunError where their inputs, or the kinds of a target, differ.

    A target that some members lack is answered by the others. Classes are joined by name; a member gives 0 to
    those that it does not know.
    """
    first = members[0].runs[0]
    problems: list[str] = []
    targets: dict[str, NetworkTarget] = {}
    classes: dict[str, tuple[str, ...]] = {}
    lists: dict[str, dict[str, tuple[str, ...]]] = {}
    for member in members:
        for run in member.runs:
            if [(one.kind, one.name) for one in run.schema.inputs] != [
                (one.kind, one.name) for one in first.schema.inputs
            ]:
                names = ", ".join(one.name for one in run.schema.inputs)
                problems.append(f"{member.name} has the inputs {names}")
            for target in run.schema.answers:
                known = targets.setdefault(target.name, target)
                if known.kind != target.kind:
                    problems.append(
                        f"{member.name}: target {target.name!r} is a {target.kind}, elsewhere a {known.kind}"
                    )
                if target.name in run.encoding.classes:
                    lists.setdefault(target.name, {})[member.name] = run.encoding.classes[target.name]
    notes = []
    for name, each in lists.items():
        classes[name], said = joined_classes(each)
        notes += [f"{name}: {one}" for one in said]
        if said and kind_of(targets[name]).ranked:
            problems.append(f"target {name!r} is ordered, and its members know different classes")
    if problems:
        raise RunError(
            "these runs cannot be blended",
            problems=list(dict.fromkeys(problems)),
            fix="blend runs of the same inputs, whose targets of one name are of one kind",
        )
    for name in targets:
        lacking = [one.name for one in members if name not in _targets(one)]
        if lacking:
            notes.append(f"{name} is answered without {', '.join(lacking)}, which have no such target")
    columns = list(dict.fromkeys(run.schema.weight for member in members for run in member.runs))
    weight = columns[0] if len(columns) == 1 else None
    if len(columns) > 1:
        told = ", ".join("none" if one is None else repr(one) for one in columns)
        notes.append(f"members have row weights of different columns ({told}): no score is weighted")
    schema = first.schema.model_copy(update={"targets": tuple(targets.values()), "weight": weight})
    stated = {name: {one.name: one.weight for one in members if name in _targets(one)} for name in targets}
    chosen = {name: dict(weights.get(name, stated[name])) for name in targets}
    about = {
        **about,
        **{name: none_to_nan(about[name]) for name in ("targets", "without_views") if name in about},
    }
    return NetworkBlend(
        folder, schema, tuple(members), classes, chosen, {**about, "joining": [*dict.fromkeys(notes)]}
    )


def _targets(member: BlendMember) -> set[str]:
    return {target.name for target in member.runs[0].schema.answers}


# --- prediction --------------------------------------------------------------------------------------


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


def gather(
    blend: NetworkBlend,
    source: Any,
    view_options: ViewOptions,
    reading: Reading,
    device: str,
    targets: bool,
    id: str | None = None,
) -> Gathered:
    """Every member's answers. Runs that want their pictures alike share one reading of them."""
    groups: dict[tuple[Any, ...], list[tuple[BlendMember, NetworkRun]]] = {}
    for member in blend.members:
        for run in member.runs:
            how = run.encoding
            read = repr(sorted((run.about.get("reading") or {}).items()))
            key = (how.image_size, how.resize, how.interpolation, how.white, read)
            groups.setdefault(key, []).append((member, run))
    asked = {"group": (), "split": None, "weight": None, "time": None}
    schema = blend.schema.model_copy(update={**asked, **({"id": id} if id is not None else {})})
    found: Gathered | None = None
    for users in groups.values():
        first = users[0][1]
        table, own = read_source(source, schema, reading, first.about)
        rows = prepare_rows(table, schema, first.encoding, own, targets=targets)
        found = found or Gathered(rows)
        _check_same_rows(found.rows, rows)
        found.bad |= {row: why for row, why in rows.bad.items() if row not in found.bad}
        for member, run in users:
            heads, all_views, plain = answer_rows(
                run, rows, view_options=view_options, reading=own, device=device
            )
            recipe = view_options.recipe(run.recipe)
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


def mixed_answers(blend: NetworkBlend, answers: Mapping[str, Floats], target: str) -> Floats:
    """The blend's answers of one target. Of a row that a member could not answer, the others decide."""
    names = [member.name for member in blend.members if member.name in answers]
    weights = np.array([blend.weights[target].get(name, 0.0) for name in names])
    return blended(np.stack([answers[name] for name in names]), weights)


def predict_rows(
    blend: NetworkBlend,
    source: Any,
    *,
    views: int | None = None,
    tta: int | None = None,
    plain_weight: float | None = None,
    members: bool = False,
    id: str | None = None,
    reading: Reading | None = None,
    device: str = "auto",
    on_note: Tell | None = None,
) -> Predictions:
    """One answer per row of a table or picture of a folder, in its order; as `networks.run.predict_rows`.

    members: every member's own answers, too, as targets called ``target@member``.
    """
    reading = reading or Reading()
    view_options = ViewOptions(views, tta, plain_weight)
    found = gather(blend, source, view_options, reading, device, targets=False, id=id)
    for note in (*blend.about.get("joining", ()), *found.rows.notes) if on_note is not None else ():
        on_note(note)  # type: ignore[misc]
    kinds = blend.kinds()
    mixed = {kind.name: mixed_answers(blend, found.answers[kind.name], kind.name) for kind in kinds}
    answers = {kind.name: (kind, mixed[kind.name]) for kind in kinds}
    if members:
        for kind in kinds:
            for name, own in found.answers[kind.name].items():
                answers[f"{kind.name}@{name}"] = kind, own
    return decoded(found.rows, found.bad, answers, mixed.values())


def evaluate_rows(
    blend: NetworkBlend,
    source: Any,
    *,
    views: int | None = None,
    tta: int | None = None,
    plain_weight: float | None = None,
    reading: Reading | None = None,
    device: str = "auto",
    on_note: Tell | None = None,
) -> dict[str, Any]:
    """Scores of a blend, and of each member, on rows whose answer is known; as
    `networks.run.evaluate_rows`."""
    started = time.monotonic()
    reading = reading or Reading()
    place = pick_device(device)
    reset_peak(place)
    found = gather(blend, source, ViewOptions(views, tta, plain_weight), reading, device, targets=True)
    rows = found.rows
    good = np.array([row for row in range(len(rows.ids)) if row not in found.bad], dtype=np.int64)
    if not len(good):
        raise SchemaError(f"{rows.table.source} has no usable row", fix="mend its pictures")
    weights, said = scoring_weights(blend.schema, rows)
    weights = None if weights is None else weights[good]
    notes = [*blend.about.get("joining", ()), *rows.notes, *said]
    runs = [run.about for member in blend.members for run in member.runs]
    notes += trained_on(runs, blend.schema, rows, good)
    scores: dict[str, dict[str, Any]] = {"targets": {}, "without_views": {}}
    each: dict[str, dict[str, Any]] = {member.name: {} for member in blend.members}
    for kind in blend.kinds():
        name = kind.name
        labels, said = kind.scoring_labels(rows.table)
        labels = labels[good]
        notes += [*said, *weightless(name, labels, weights)]
        baseline = blend.about.get("majority", {}).get(name)
        seen = {"targets": found.answers, **({"without_views": found.plain} if found.views else {})}
        for word, answers in seen.items():
            mixed = mixed_answers(blend, answers[name], name)[good]
            scores[word][name] = kind.scores(mixed, labels, baseline=baseline, weights=weights)
        for member, own in found.answers[name].items():
            each[member][name] = kind.scores(own[good], labels, weights=weights)
    for note in notes if on_note is not None else ():
        on_note(note)  # type: ignore[misc]
    return {
        "run": str(blend.path),
        "rows": len(good),
        **({} if weights is None else {"weighted_by": blend.schema.weight}),
        "targets": scores["targets"],
        **({"without_views": scores["without_views"]} if found.views else {}),
        "members": each,
        "seconds": round(time.monotonic() - started, 3),
        "peak_bytes": peak_bytes(place),
    }


# --- what the members said of rows that they did not train on ----------------------------------------


@dataclass(frozen=True)
class HeldOut:
    """A member's answers to rows that it did not train on.

    marks: what tells its rows from each other.  ids: (rows,) their names.  fold: (rows,) from 1, or 0.
    labels, answers: target -> as `data.labels` and `Head.probabilities` have them, classes as in the blend.
    words: columns of the labels as the table has them.
    weights: (rows,) what each row counts, None of runs that do not say so.
    """

    marks: RowMarks
    ids: NDArray[np.object_]
    fold: NDArray[np.int64]
    labels: Mapping[str, NDArray[Any]]
    answers: Mapping[str, Floats]
    words: Mapping[str, NDArray[Any]]
    weights: Floats | None = None


def held_out(blend: NetworkBlend, member: BlendMember, *, plain: bool = False) -> HeldOut | None:
    """What the member's run folders keep of their validation rows; None where there are none.

    plain: from the plain view alone, where there were several.
    """
    parts = [one for one in (_of_run(blend, run, plain) for run in member.runs) if one is not None]
    if not parts:
        return None
    names = parts[0].labels

    def joined(pick: Callable[[HeldOut], Any]) -> Any:
        return np.concatenate([pick(one) for one in parts])

    words = {name: joined(lambda one, name=name: one.words[name]) for name in parts[0].words}
    return HeldOut(
        _joined_marks([one.marks for one in parts], words),
        joined(lambda one: one.ids),
        joined(lambda one: one.fold),
        {name: joined(lambda one, name=name: one.labels[name]) for name in names},
        {name: joined(lambda one, name=name: one.answers[name]) for name in names},
        words,
        None if any(one.weights is None for one in parts) else joined(lambda one: one.weights),
    )


def _joined_marks(parts: Sequence[RowMarks], words: Mapping[str, NDArray[Any]]) -> RowMarks:
    """Of a member's folds together."""
    ids = [one.ids for one in parts if one.ids is not None]
    prints = [one.prints for one in parts if one.prints is not None]
    names = np.concatenate(ids) if len(ids) == len(parts) else None
    return RowMarks(
        np.concatenate([one.rows for one in parts]),
        names,
        parts[0].id_column,
        all(one.unique for one in parts) and names is not None and len(set(names)) == len(names),
        np.concatenate(prints) if len(prints) == len(parts) else None,
        words,
        frozenset().union(*(one.data for one in parts)),
        frozenset().union(*(one.table for one in parts)),
    )


def _of_run(blend: NetworkBlend, run: NetworkRun, plain: bool) -> HeldOut | None:
    path = run.path / "validation_plain.parquet"
    if not plain or not path.exists():
        path = run.path / "validation.parquet"
    if not path.exists():
        return None
    table = read_table(path)
    named = held_out_columns(run.schema.answers, run.encoding.classes)
    labels, answers, words = {}, {}, {}
    for target in run.schema.answers:
        own = run.encoding.classes.get(target.name, ())
        facts = run.encoding.targets.get(target.name, TargetStats())
        facts = facts if facts.separator else facts.model_copy(update={"separator": ";"})
        # A member's own class list is a part of the blend's, so that each of its labels is known.
        kind = kind_of(target, blend.classes.get(target.name, ()), facts)
        as_table = read_table({name: _cells(table, named.label[name]) for name in kind.columns})
        words |= {name: as_table.text(name, ids=False) for name in kind.columns}
        labels[target.name], _ = kind.scoring_labels(as_table)
        if own:
            given = np.column_stack([table.numbers(name) for name in named.chances[target.name]])
            answers[target.name] = by_name(given, own, blend.classes[target.name])
        else:
            answers[target.name] = table.numbers(named.predicted[kind.columns[0]])[:, None]
    fold = run.recipe.fold[0] if run.recipe.fold else 0
    ids, known = table.text(named.id), run.about.get("fingerprint", {})
    marks = RowMarks(
        table.numbers(named.row).astype(np.int64),
        ids if run.schema.row_name else None,
        run.schema.row_name or "",
        # Of runs that do not say so, the held-out rows at least are told apart.
        known.get("unique_ids", run.schema.row_name is not None),
        table.text(named.fingerprint) if named.fingerprint in table.names else None,
        words,
        frozenset(filter(None, [run.about.get("identity", {}).get("data")])),
        frozenset(filter(None, [known.get("rows")])),
    )
    weights = table.numbers(named.weight) if named.weight in table.names else None
    return HeldOut(marks, ids, np.full(len(ids), fold), labels, answers, words, weights)


def _cells(table: Any, name: str) -> list[Any]:
    return [
        None if gone else cell
        for cell, gone in zip(table.text(name, ids=False), table.missing(name), strict=True)
    ]


def number_scale(blend: NetworkBlend, target: str) -> float:
    """The deviation of a number's training labels, in whose squares its loss is told; 1 where not known."""
    for member in blend.members:
        for run in member.runs:
            facts = run.encoding.targets.get(target)
            if facts is not None and math.isfinite(facts.deviation) and facts.deviation > 0:
                return facts.deviation
    return 1.0
