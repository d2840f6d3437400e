"""A run's page: what was trained on what, curves, confusion, the worst rows, memory. Loads no torch.

Everything comes from the files of the run folder, and pictures from where the training found them; a
note says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenfold.data.tables.table import read_parquet_columns
from tenfold.events import EpochRecord
from tenfold.metrics import score_text
from tenfold.reports.html import Charts, Page, Part, Photo, Photos, Section
from tenfold.reports.maps import weight_maps
from tenfold.reports.members import member_memory, members_section, what_it_is_of
from tenfold.reports.parts import (
    calibration_charts,
    confusion_part,
    curve_sections,
    facts_parts,
    memory_parts,
    scores_grid,
    top_losses,
    top_losses_grid,
)
from tenfold.reports.thumbnails import find_thumbnails
from tenfold.runs.folder import read_object
from tenfold.runs.heldout import evaluate_target, held_out_columns
from tenfold.runs.record import RunRecord, none_to_nan
from tenfold.runs.run import Run
from tenfold.schema import Schema
from tenfold.targets.base import TargetEvaluation, TargetKind, TargetStats
from tenfold.targets.kinds import kinds_of
from tenfold.targets.words import SHORT, short_score
from tenfold.values import read_score

#: Files of the held-out rows of a network, and of an ensemble.
_HELD_OUT = ("validation.parquet", "oof.parquet")


@dataclass
class _Facts:
    """What the files of a run say."""

    path: Path
    record: RunRecord
    schema: Schema
    recipe: Mapping[str, Any]
    history: list[EpochRecord]
    classes: Mapping[str, list[str]]
    evaluations: list[TargetEvaluation]
    ids: list[str]
    kinds: Mapping[str, TargetKind] = field(default_factory=dict)
    white: float | None = None
    notes: list[str] = field(default_factory=list)


def _read(run: Run) -> _Facts:
    folder, record, schema = run.path, run.record, run.schema
    encoding = read_object(folder, "encoding.json") if (folder / "encoding.json").exists() else {}
    classes = encoding.get("classes") or record.classes
    held = next((folder / name for name in _HELD_OUT if (folder / name).exists()), None)
    columns = {} if held is None else read_parquet_columns(held)
    targets = schema.answers if columns else ()
    names_of = [str(target.name) for target in targets]
    classes = {**classes, **{name: _classes_in(columns, name) for name in names_of if name not in classes}}
    names = held_out_columns(targets, classes)
    evaluations = [evaluate_target(columns, target, classes[target.name], names) for target in targets]
    ids = [str(name) for name in columns.get(names.id, ())]
    known = [evaluation for evaluation in evaluations if evaluation is not None]
    # A number's validation loss is its squared error in deviations, unless another loss trained it.
    recipe = record.trained_recipe
    stats = {name: TargetStats(**own) for name, own in encoding.get("targets", {}).items()}
    squared = recipe.get("number_loss", "squared") == "squared"
    kinds = {
        kind.name: kind
        for kind in kinds_of(schema, {name: tuple(words) for name, words in classes.items()}, stats)
        if kind.classes or (squared and kind.name in stats)
    }
    white = next(iter(encoding.get("white", ())), None)
    return _Facts(folder, record, schema, recipe, run.history, classes, known, ids, kinds, white)


def _classes_in(columns: Iterable[str], name: str) -> list[str]:
    """Return the classes with a column of probabilities, where no list of them is kept."""
    prefix = f"{name}:"
    words = [column.removeprefix(prefix) for column in columns if column.startswith(prefix)]
    return [word for word in words if word != "predicted"]


def network_page(run: Run, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
    """The page of a network, or of an ensemble of networks. Parameters as of `Run.page`."""
    facts = _read(run)
    record, recipe, schema = facts.record, facts.recipe, facts.schema
    sections = [Section("Scores", _where_scored(facts), (scores_grid(record.targets),))]
    many = bool(record.members)
    if many:
        sections.append(members_section(record, run.path))
    sections.append(_trained_section(facts))
    targets = [target.name for target in schema.targets]
    sections += curve_sections(
        facts.history, recipe, targets, backbone=bool(schema.images), kinds=facts.kinds
    )
    sections += _evaluation_sections(facts, dict(folders or {}), worst)
    maps = [] if many else weight_maps(run.path, [str(name) for name in targets], facts.classes)
    if maps:
        text = (
            "Weights that belong to names, on the two directions in which they differ most (principal "
            "components). What lies near each other is alike to the network. Point at a dot for its name."
        )
        sections.append(Section("Maps", text, (Charts(maps),)))
    memory = member_memory(record, run.path) if many else memory_parts(record, facts.history)
    if memory:
        text = "What was planned before the first step, and what was measured."
        sections.append(Section("Memory", text, memory))
    # Without pictures there is no backbone, whatever the recipe's default would be.
    what = recipe.get("arch") if schema.images else record.kind
    what = what_it_is_of(record, run.path) if many else what
    return Page(f"Report of {run.path.name}", f"{what}: {schema.described}", sections, facts.notes)


def _where_scored(run: _Facts) -> str:
    if not run.ids:
        return "No rows were held out, so nothing was measured."
    held = "out-of-fold" if run.record.members else "validation"
    text = f"On {len(run.ids)} {held} rows, which did not train; majority and mean: answers without a model."
    for name, scores in run.record.linear.items():
        key = short_score(scores)
        if key:
            score = SHORT[key].format(score_text(read_score(scores, key)))
            text += f" {name}, a linear layer on frozen features: {score}."
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
        words = run.classes.get(str(target.name))
        columns.append(
            f"{target.name}: {target.kind} (target" + (f", {len(words)} classes)" if words else ")")
        )
    return Section(
        "What was trained on what", "; ".join(columns), facts_parts(facts, recipe, about.get("notes", ()))
    )


def _evaluation_sections(run: _Facts, folders: dict[str, str], worst: int) -> list[Section]:
    """Confusion, worst rows and calibration, of the rows that were held out."""
    if not run.evaluations:
        return []
    wanted: dict[int, None] = {}
    worst_of = {target.name: top_losses(target, worst) for target in run.evaluations}
    for rows in worst_of.values():
        wanted |= dict.fromkeys(rows)
    photos: dict[int, bytes] = {}
    if run.schema.images and wanted:
        photos, said = find_thumbnails(
            run.schema, run.record.values, run.ids, list(wanted), folders, white=run.white
        )
        run.notes += said
    right = (
        "Rows by their label, down, and the answer, across. Click a number to see its rows, those with the "
        "highest loss first."
    )
    confusion = tuple(part for target in run.evaluations for part in confusion_part(target, run.ids))
    costly = " ".join(["The rows that cost most: hard ones, rare ones, and wrong labels.", *run.notes])
    shown = tuple(
        _photos(run, target, worst_of[target.name], photos)
        for target in run.evaluations
        if worst_of[target.name]
    )
    sections = [Section("Right and wrong", right, confusion), Section("The highest losses", costly, shown)]
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


def _photos(run: _Facts, target: TargetEvaluation, rows: list[int], photos: Mapping[int, bytes]) -> Part:
    title = target.name if len(run.evaluations) > 1 else ""
    if not run.schema.images:
        return top_losses_grid(target, rows, run.ids, title=title)
    shown = []
    for row in rows:
        sure = "" if target.codes is None else f" ({target.sure[row]:.0%})"
        lines = [f"answer {target.predicted[row] or 'none'}{sure}", f"label {target.label[row] or 'none'}"]
        lines.append(f"{target.loss_word} {score_text(target.loss[row], digits=3)}")
        shown.append(Photo(run.ids[row], photos.get(row), lines))
    return Photos(shown, title=title)
