"""A run's page: what was trained on what, curves, confusion, the worst rows, memory. Loads no torch.

Everything comes from the files of the run folder, and pictures from where the training found them; what is
not there any more is said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenfold.data.tables.table import read_parquet_columns
from tenfold.errors import RunError, TenfoldError
from tenfold.metrics import score_text
from tenfold.reports.html import Cell, Charts, Grid, Notes, Part, Photo, Photos, Section, write_report
from tenfold.reports.members import member_memory, members_section, what_it_is_of
from tenfold.reports.parts import (
    calibration_charts,
    confusion_part,
    curve_sections,
    memory_parts,
    none_to_nan_in,
    read_history,
    scores_grid,
    top_losses,
    top_losses_grid,
)
from tenfold.reports.thumbnails import find_thumbnails
from tenfold.runs.bundle import read_members
from tenfold.runs.folder import none_to_nan, read_object, read_run, read_text
from tenfold.runs.heldout import evaluate_target, held_out_columns
from tenfold.schema import Schema
from tenfold.targets.base import TargetEvaluation, TargetKind, TargetStats
from tenfold.targets.kinds import kinds_of

__all__ = ["NAME", "report_finished", "run_page", "write_run_report"]

#: Where the page goes when nothing is said.
NAME = "report.html"


@dataclass
class _Run:
    """What the files of a run say."""

    path: Path
    about: Mapping[str, Any]
    schema: Schema
    recipe: Mapping[str, Any]
    history: list[dict[str, Any]]
    classes: Mapping[str, list[str]]
    judged: list[TargetEvaluation]
    ids: list[str]
    kinds: Mapping[str, TargetKind] = field(default_factory=dict)
    white: float | None = None
    notes: list[str] = field(default_factory=list)


def write_run_report(
    run: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    folders: Mapping[str, str] | None = None,
    worst: int = 12,
) -> dict[str, Any]:
    """Write a run's page; ``report.html`` in its folder where no output is given.

    run: a run, or its folder.  folders: image column -> folder of pictures, instead of the schema's.
    worst: rows with the highest loss that are shown, per target.
    Returns what ``tenfold report --json`` prints (docs/formats.md).
    """
    folder, about = read_run(getattr(run, "path", run))
    if about.get("kind") == "blend":
        read_members(folder, about)
    path = Path(output) if output is not None else folder / NAME
    title, lead, sections, notes = run_page(folder, about, folders=folders, worst=worst)
    write_report(path, title, sections, lead=lead)
    return {
        "run": str(folder),
        "output": str(path),
        "kind": about.get("kind"),
        "sections": [one.title for one in sections],
        "bytes": path.stat().st_size if path.is_file() else 0,
        "notes": notes,
    }


def report_finished(run: Any) -> list[str]:
    """Write a finished run's page; returns what is to be said where it cannot be: the run is not lost."""
    try:
        write_run_report(run)
    except TenfoldError as error:
        return [f"no report was written: {error.headline}"]
    return []


def run_page(
    folder: Path,
    about: Mapping[str, Any],
    *,
    folders: Mapping[str, str] | None = None,
    worst: int = 12,
) -> tuple[str, str, list[Section], list[str]]:
    """Title, line below it, sections, and what is to be said, of a run that `runs.folder.read_run` has
    read."""
    kind = about.get("kind")
    if kind in ("ratings", "pairs") or about.get("of") == "ratings":
        from tenfold.recommenders.page import ratings_page

        return ratings_page(folder, about, worst=worst)
    if kind in ("network", "blend"):
        return _network_page(_read(folder, about), dict(folders or {}), worst)
    raise RunError(f"{folder} is a run of an unknown kind", found=repr(kind), fix="upgrade tenfold")


def _read(folder: Path, about: Mapping[str, Any]) -> _Run:
    schema = Schema.from_toml(read_text(folder, "schema.toml"))
    encoding = read_object(folder, "encoding.json") if (folder / "encoding.json").exists() else {}
    history = read_history(folder)
    recipe = about.get("identity", {}).get("recipe", {}) or about.get("recipe", {})
    classes = encoding.get("classes") or about.get("classes") or {}
    columns: dict[str, Any] = {}
    for name in ("validation.parquet", "oof.parquet"):
        if (folder / name).exists():
            columns = read_parquet_columns(folder / name)
            break
    targets = [target for target in schema.targets if columns and target.name]
    classes = {
        **classes,
        **{one.name: _found_classes(columns, one.name) for one in targets if one.name not in classes},
    }
    names = held_out_columns(targets, classes)
    judged = [evaluate_target(columns, target, classes[target.name], names) for target in targets]
    ids = [str(one) for one in columns.get(names.id, ())]
    there = [one for one in judged if one is not None]
    # A number's validation loss is its squared error in deviations, unless another loss trained it.
    stats = {name: TargetStats(**own) for name, own in encoding.get("targets", {}).items()}
    squared = recipe.get("number_loss", "squared") == "squared"
    kinds = {
        kind.name: kind
        for kind in kinds_of(schema, classes, stats)
        if kind.classes or (squared and kind.name in stats)
    }
    white = next(iter(encoding.get("white", ())), None)
    return _Run(folder, about, schema, recipe, history, classes, there, ids, kinds, white)


def _found_classes(columns: Mapping[str, Any], name: str) -> list[str]:
    """Classes by the columns of their probabilities, where no list of them is kept."""
    prefix = f"{name}:"
    return [one[len(prefix) :] for one in columns if one.startswith(prefix) and one != f"{prefix}predicted"]


def _network_page(
    run: _Run, folders: dict[str, str], worst: int
) -> tuple[str, str, list[Section], list[str]]:
    about = run.about
    sections = [
        Section(
            "Scores",
            _where_scored(run),
            (scores_grid(none_to_nan_in(dict(about.get("targets", {})))),),
        )
    ]
    if about.get("members"):
        sections.append(members_section(about, run.path))
    sections.append(_trained_section(run))
    targets_named = [target.name for target in run.schema.targets]
    sections += curve_sections(
        run.history, run.recipe, targets_named, backbone=bool(run.schema.images), kinds=run.kinds
    )
    sections += _judged_sections(run, folders, worst)
    maps = _maps(run)
    if maps:
        text = (
            "Weights that belong to names, on the two directions in which they differ most (principal "
            "components). What lies near each other is alike to the network. Point at a dot for its name."
        )
        sections.append(Section("Maps", text, (Charts(maps),)))
    many = about.get("kind") == "blend"
    memory = member_memory(about, run.path) if many else memory_parts(about, run.history)
    if memory:
        text = "What was planned before the first step, and what was measured."
        sections.append(Section("Memory", text, memory))
    # Without pictures there is no backbone, whatever the recipe's default would be.
    what = run.recipe.get("arch") if run.schema.images else about.get("kind")
    what = what_it_is_of(about, run.path) if many else what
    lead = f"{what}: {run.schema.described}"
    return f"Report of {run.path.name}", lead, sections, run.notes


def _where_scored(run: _Run) -> str:
    if not run.ids:
        return "No rows were held out, so nothing was measured."
    held = "out-of-fold" if run.about.get("kind") == "blend" else "validation"
    text = f"On {len(run.ids)} {held} rows, which did not train; majority and mean: answers without a model."
    column = run.about.get("weighted_by")
    if column:
        text += f" Weighted by {column}; confusion, calibration and lists of rows count all rows alike."
    return text


def _trained_section(run: _Run) -> Section:
    about, recipe = run.about, run.recipe
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
        "made by": ", ".join(f"{name} {one}" for name, one in about.get("versions", {}).items()),
    }
    rows: list[list[Cell | str]] = [
        [name, str(value)] for name, value in facts.items() if value not in (None, "")
    ]
    parts: list[Part] = [Grid(("", ""), rows)]
    chosen = [f"{name} = {value}" for name, value in recipe.items()]
    parts += [Notes("the whole recipe", chosen)] if chosen else []
    said = [str(one) for one in about.get("notes", ())]
    parts += [Notes(f"{len(said)} things that were decided or noticed", said)] if said else []
    columns = [f"{one.name}: {one.kind} (input)" for one in run.schema.inputs]
    for one in run.schema.targets:
        words = run.classes.get(str(one.name))
        columns.append(f"{one.name}: {one.kind} (target" + (f", {len(words)} classes)" if words else ")"))
    return Section("What was trained on what", "; ".join(columns), tuple(parts))


def _judged_sections(run: _Run, folders: dict[str, str], worst: int) -> list[Section]:
    """Confusion, worst rows and calibration, of the rows that were held out."""
    if not run.judged:
        return []
    wanted: dict[int, None] = {}
    worst_of = {one.name: top_losses(one, worst) for one in run.judged}
    for rows in worst_of.values():
        wanted |= dict.fromkeys(rows)
    photos: dict[int, bytes] = {}
    if run.schema.images and wanted:
        photos, said = find_thumbnails(run.schema, run.about, run.ids, list(wanted), folders, white=run.white)
        run.notes += said
    right = (
        "Rows by their label, down, and the answer, across. Click a number to see its rows, those with the "
        "highest loss first."
    )
    confusion = tuple(part for one in run.judged for part in confusion_part(one, run.ids))
    costly = " ".join(["The rows that cost most: hard ones, rare ones, and wrong labels.", *run.notes])
    shown = tuple(_photos(run, one, worst_of[one.name], photos) for one in run.judged if worst_of[one.name])
    sections = [Section("Right and wrong", right, confusion), Section("The highest losses", costly, shown)]
    charts = [chart for one in run.judged for chart in calibration_charts(one)]
    if charts:
        text = (
            "How often answers of each probability are right. On the dashed line a probability means what it "
            "says; bars below it belong to answers that are too sure."
        )
        for name, found in (run.about.get("calibration") or {}).items():
            before, after = (none_to_nan(found[key]) for key in ("ece_before", "ece_after"))
            text += (
                f" {name} was calibrated, temperature {found['temperature']:.3f}: expected error "
                f"{before:.4f} before, {after:.4f} after, each half of the rows with the other half's "
                "temperature; the chart has the one that is kept, on all of them."
            )
        sections.append(Section("Calibration", text, (Charts(charts),)))
    return sections


def _photos(run: _Run, one: TargetEvaluation, rows: list[int], photos: Mapping[int, bytes]) -> Part:
    title = one.name if len(run.judged) > 1 else ""
    if not run.schema.images:
        return top_losses_grid(one, rows, run.ids, title=title)
    shown = []
    for row in rows:
        sure = "" if one.codes is None else f" ({one.sure[row]:.0%})"
        lines = [f"answer {one.predicted[row] or 'none'}{sure}", f"label {one.label[row] or 'none'}"]
        lines.append(f"{one.loss_word} {score_text(one.loss[row], digits=3)}")
        shown.append(Photo(run.ids[row], photos.get(row), lines))
    return Photos(shown, title=title)


def _maps(run: _Run) -> list[str]:
    from tenfold.reports.maps import weight_maps

    try:
        return weight_maps(run.path, [str(target.name) for target in run.schema.targets], run.classes)
    except TenfoldError:  # a run of many members has no weights of its own
        return []
