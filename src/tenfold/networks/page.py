"""A run's page: scores, samples, confusion, curves, the worst rows, what was trained on what. Loads no torch.

Everything comes from the files of the run folder, and pictures from where the training found them; a
note says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenfold.events import EpochRecord
from tenfold.metrics import score_text
from tenfold.reports.headline import cost_card, headline_cards
from tenfold.reports.html import Charts, Page, Part, Photo, Photos, Section
from tenfold.reports.maps import weight_maps
from tenfold.reports.members import member_memory, members_section, what_it_is_of
from tenfold.reports.parts import (
    answer_line,
    calibration_charts,
    class_grid,
    confusion_part,
    curve_sections,
    facts_parts,
    listed_rows,
    memory_parts,
    sample_rows,
    samples_grid,
    scores_grid,
    top_losses,
    top_losses_grid,
)
from tenfold.reports.thumbnails import find_thumbnails
from tenfold.runs.folder import read_object
from tenfold.runs.heldout import HeldOutRows, read_held_out
from tenfold.runs.record import RunRecord, none_to_nan
from tenfold.runs.run import Run
from tenfold.schema import Schema
from tenfold.targets.base import TargetEvaluation, TargetKind, TargetStats
from tenfold.targets.kinds import kinds_of
from tenfold.targets.words import SHORT, short_score
from tenfold.values import read_score

#: Pictures of a page at most: of rows that a click lists, those with the highest loss.
PICTURES = 240
#: Bytes below which a run's memory is of little interest.
DULL = 2**30
#: Sample rows of each sort, right and wrong.
SAMPLES = 6


@dataclass
class _Facts:
    """What the files of a run say."""

    path: Path
    record: RunRecord
    schema: Schema
    recipe: Mapping[str, Any]
    history: list[EpochRecord]
    held: HeldOutRows
    kinds: Mapping[str, TargetKind] = field(default_factory=dict)
    white: float | None = None
    photos: Mapping[int, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def evaluations(self) -> Sequence[TargetEvaluation]:
        """The targets on the held-out rows."""
        return self.held.evaluations


def read_network_held_out(run: Run) -> HeldOutRows:
    """Read the rows that a network, or an ensemble of networks, held out."""
    folder = run.path
    encoding = read_object(folder, "encoding.json") if (folder / "encoding.json").exists() else {}
    return read_held_out(folder, run.schema, encoding.get("classes") or run.record.classes)


def _read(run: Run) -> _Facts:
    folder, record, schema = run.path, run.record, run.schema
    encoding = read_object(folder, "encoding.json") if (folder / "encoding.json").exists() else {}
    held = read_network_held_out(run)
    # A number's validation loss is its squared error in deviations, unless another loss trained it.
    recipe = record.trained_recipe
    stats = {name: TargetStats(**own) for name, own in encoding.get("targets", {}).items()}
    squared = recipe.get("number_loss", "squared") == "squared"
    kinds = {
        kind.name: kind
        for kind in kinds_of(schema, {name: tuple(words) for name, words in held.classes.items()}, stats)
        if kind.target.loss is None and (kind.classes or (squared and kind.name in stats))
    }
    white = next(iter(encoding.get("white", ())), None)
    return _Facts(folder, record, schema, recipe, run.history, held, kinds, white)


def network_page(
    run: Run,
    *,
    folders: Mapping[str, str] | None = None,
    worst: int = 12,
    own_sections: Sequence[Section] = (),
) -> Page:
    """The page of a network, or of an ensemble of networks. Parameters as of `Run.page`.

    own_sections: of this kind of run, below the samples.
    """
    facts = _read(run)
    record, recipe, schema = facts.record, facts.recipe, facts.schema
    many, targets = bool(record.members), [str(target.name) for target in schema.targets]
    worst_of = {target.name: top_losses(target, worst) for target in facts.evaluations}
    samples = sample_rows(facts.evaluations, SAMPLES)
    _find_photos(facts, dict(folders or {}), [*samples, *(row for rows in worst_of.values() for row in rows)])
    sections = [_samples_section(facts, samples)] if samples else []
    if many:
        sections += [members_section(record, run.path), *own_sections]
    sections += _evaluation_sections(facts, worst_of)
    sections += curve_sections(
        facts.history, recipe, targets, backbone=bool(schema.images), kinds=facts.kinds
    )
    maps = [] if many else weight_maps(run.path, targets, facts.held.classes)
    if maps:
        text = (
            "Weights that belong to names, on the two directions in which they differ most (principal "
            "components). What lies near each other is alike to the network."
        )
        sections.append(Section("Maps", text, (Charts(maps),)))
    memory = member_memory(record, run.path) if many else memory_parts(record, facts.history)
    if memory:
        text = "What was planned before the first step, and what was measured."
        sections.append(
            Section(
                "Memory",
                text,
                memory,
                folded=many or record.peak_bytes < DULL or not record.plan.get("predicted_bytes"),
            )
        )
    sections.append(Section("All scores", _where_scored(facts), (scores_grid(record.targets),), folded=True))
    sections.append(_trained_section(facts))
    cards = [*headline_cards(record, facts.held), cost_card(record)]
    return Page(f"Report of {run.path.name}", _lead(run, facts), sections, facts.notes, cards)


def _lead(run: Run, facts: _Facts) -> str:
    """What was trained, in one line."""
    record, recipe, schema = facts.record, facts.recipe, facts.schema
    # Without pictures there is no backbone, whatever the recipe's default would be.
    what = str(recipe.get("arch", record.kind)) if schema.images else "A network of table columns"
    if record.members:
        what = what_it_is_of(record, run.path) if schema.images else f"{len(record.members)} members"
    size = recipe.get("image_size")
    if isinstance(size, list) and schema.images and not record.members:
        what += f", pictures of {'x'.join(map(str, size))}"
    rows = f"{record.train_rows} rows to train on" if record.train_rows else f"{record.rows} rows"
    held = f", {len(facts.held.ids)} held out" if facts.held.ids else ", none held out: nothing was measured"
    epochs = record.epochs or len(facts.history)
    return f"{what}. {schema.described}. {rows}{held}{f'; {epochs} epochs' if epochs else ''}."


def _where_scored(run: _Facts) -> str:
    if not run.held.ids:
        return "No rows were held out, so nothing was measured."
    held = "out-of-fold" if run.record.members else "validation"
    text = f"On {len(run.held.ids)} {held} rows, which did not train. Majority and mean: without a model."
    for name, scores in run.record.linear.items():
        key = short_score(scores)
        if key:
            score = SHORT[key].format(score_text(read_score(scores, key)))
            text += f" {name}, a linear layer on frozen features: {score}."
    for name, scores in run.record.without_extra.items():
        key = short_score(scores)
        if key:
            score = SHORT[key].format(score_text(read_score(scores, key)))
            text += f" {name}, without the extra photos: {score}."
    if run.record.weighted_by:
        column = run.record.weighted_by
        text += f" Weighted by {column}; confusion, calibration and lists of rows count all rows alike."
    return text


def _trained_section(run: _Facts) -> Section:
    about, recipe = run.record.values, run.recipe
    size = recipe.get("image_size")
    facts = {
        "table": about.get("table"),
        "rows": about.get("rows"),
        "to train on": about.get("train_rows"),
        "to validate on": about.get("valid_rows"),
        "extra photos": about.get("extra_rows"),
        "architecture": recipe.get("arch") if run.schema.images else None,
        "first weights": recipe.get("weights") if run.schema.images else None,
        "picture": "x".join(map(str, size)) + " pixels"
        if isinstance(size, list) and run.schema.images
        else None,
        "batch": recipe.get("batch_size"),
        "epochs": about.get("epochs") or len(run.history) or None,
        "kept epoch": about.get("kept_epoch"),
        "seed": recipe.get("seed"),
        "device": f"{about['device']}, {about.get('precision', '')}" if about.get("device") else None,
        "blended by": about.get("method"),
        "time": f"{about.get('seconds', 0):.0f} s",
        "finished": about.get("finished"),
        "made by": ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items()),
    }
    columns = [f"{column.name}: {column.kind} (input)" for column in run.schema.inputs]
    for target in run.schema.targets:
        words = run.held.classes.get(str(target.name))
        columns.append(
            f"{target.name}: {target.kind} (target" + (f", {len(words)} classes)" if words else ")")
        )
    parts = facts_parts(facts, recipe, about.get("notes", ()))
    return Section("What was trained on what", "; ".join(columns), parts, folded=True)


def _find_photos(run: _Facts, folders: dict[str, str], first: Sequence[int]) -> None:
    """Find small pictures of these rows, and of what a click lists, up to `PICTURES`."""
    if not run.schema.images:
        return
    wanted = dict.fromkeys(first)
    for row in listed_rows(run.evaluations):
        if len(wanted) < PICTURES:
            wanted.setdefault(row)
    if wanted:
        run.photos, said = find_thumbnails(
            run.schema, run.record.values, run.held.ids, list(wanted), folders, white=run.white
        )
        run.notes += said


def _samples_section(run: _Facts, samples: Sequence[int]) -> Section:
    """Rows drawn at random, those with a wrong answer apart."""
    right = [row for row in samples if all(own.right[row] or not own.known[row] for own in run.evaluations)]
    text = "Held-out rows drawn at random, not chosen: label \u2192 answer, with its probability."
    parts: list[Part] = []
    for title, rows in (("right", right), ("wrong", [row for row in samples if row not in right])):
        if not rows:
            continue
        title = f"{title} in all targets" if title == "right" and len(run.evaluations) > 1 else title
        if not run.schema.images:
            parts.append(samples_grid(run.evaluations, rows, run.held.ids, title=title))
            continue
        mark = "right" if rows is right else "wrong"
        photos = [Photo(run.held.ids[row], run.photos.get(row), _lines(run, row), mark) for row in rows]
        parts.append(Photos(photos, title=title))
    return Section("Samples", text, parts)


def _lines(run: _Facts, row: int) -> list[str]:
    return [answer_line(own, row, named=len(run.evaluations) > 1) for own in run.evaluations]


def _evaluation_sections(run: _Facts, worst_of: Mapping[str, list[int]]) -> list[Section]:
    """Confusion, worst rows and calibration, of the rows that were held out."""
    if not run.evaluations:
        return []
    photos = {run.held.ids[row]: png for row, png in run.photos.items()}
    sections = []
    for target in run.evaluations:
        numbers = target.truth is not None
        text = "Rows by their label, down, and the answer, across, with the percentage of the label's rows."
        parts = [*confusion_part(target, run.held.ids, photos), *class_grid(target)]
        title = f"{target.name}: right and wrong" if len(run.evaluations) > 1 else "Right and wrong"
        if parts:
            sections.append(Section(title, "" if numbers else text, parts))
    costly = " ".join(["The rows that cost most: hard ones, rare ones, and wrong labels.", *run.notes])
    shown = tuple(
        _worst_rows(run, target, worst_of[target.name]) for target in run.evaluations if worst_of[target.name]
    )
    sections.append(Section("The highest losses", costly, shown))
    charts = [chart for target in run.evaluations for chart in calibration_charts(target)]
    if charts:
        text = (
            "How often answers of each probability are right. On the dashed line a probability means what it "
            "says; bars below it belong to answers that are too sure."
        )
        for name, facts in run.record.calibration.items():
            before, after = (none_to_nan(facts[key]) for key in ("ece_before", "ece_after"))
            text += (
                f" {name} was calibrated, temperature {facts['temperature']:.3f}: expected error "
                f"{before:.4f} before, {after:.4f} after, each half of the rows with the other half's "
                "temperature; the chart has the one that is kept, on all of them."
            )
        sections.append(Section("Calibration", text, (Charts(charts),)))
    return sections


def _worst_rows(run: _Facts, target: TargetEvaluation, rows: list[int]) -> Part:
    title = target.name if len(run.evaluations) > 1 else ""
    if not run.schema.images:
        return top_losses_grid(target, rows, run.held.ids, title=title)
    shown = []
    for row in rows:
        lines = [answer_line(target, row), f"{target.loss_word} {score_text(target.loss[row], digits=3)}"]
        mark = "" if target.truth is not None else "right" if target.right[row] else "wrong"
        shown.append(Photo(run.held.ids[row], run.photos.get(row), lines, mark))
    return Photos(shown, title=title)
