"""The image wing: a finished run, asked for predictions, and measured on rows whose answer is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.data.encode import Encoding, encode, encode_columns
from tenfold.engine.batches import Preparation
from tenfold.engine.checkpoint import tensors_under
from tenfold.engine.device import peak_bytes, pick_device, pick_precision, reset_peak
from tenfold.engine.predict import Answers, predict_views, prediction_autocast
from tenfold.errors import RunError, SchemaError
from tenfold.events import RowsPredicted
from tenfold.networks.inputs import Rows, prepare_rows, read_source
from tenfold.nn.augment import views_of
from tenfold.nn.heads import Head
from tenfold.nn.network import Network, build_network, uses_channels_last
from tenfold.recipe import Recipe
from tenfold.runs.folder import none_to_nan, package_versions, read_arrays, read_object, read_text
from tenfold.runs.options import Reading
from tenfold.runs.rowjoin import row_fingerprints, rows_digest
from tenfold.schema import Schema
from tenfold.targets.base import TargetKind
from tenfold.targets.labels import relative_weights, row_weights, weightless
from tenfold.values import Predictions, TargetPrediction


@dataclass(frozen=True)
class NetworkRun:
    """A finished run of the image wing.

    path: its folder.  about: what ``run.json`` says: scores, notes, versions.
    """

    path: Path
    schema: Schema
    recipe: Recipe
    encoding: Encoding
    about: Mapping[str, Any]

    def predict(self, source: Any, **options: Any) -> Predictions:
        """Predict the rows of a table or the pictures of a folder; see `predict_rows`."""
        return predict_rows(self, source, **options)

    def evaluate(self, source: Any, **options: Any) -> dict[str, Any]:
        """Scores on rows whose answer is known; see `evaluate_rows`."""
        return evaluate_rows(self, source, **options)

    def show(self) -> Any:
        """The run's page, which a notebook shows; see `jobs.showing.show_run`."""
        from tenfold.reports.notebook import show_run

        return show_run(self)

    def plot_losses(self) -> Any:
        """The curves of the training, which a notebook shows; see `jobs.showing.plot_losses`."""
        from tenfold.reports.notebook import plot_losses

        return plot_losses(self)

    def show_batch(self, table: Any = None, **options: Any) -> Any:
        """Rows of a table (the training's where none is given), which a notebook shows."""
        from tenfold.reports.notebook import show_run_batch

        return show_run_batch(self, table, **options)

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record per epoch."""
        text = read_text(self.path, "history.jsonl")
        return [none_to_nan(json.loads(line)) for line in text.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """What ``tenfold fit --json`` prints (docs/formats.md)."""
        kept = ["rows", "targets", "seconds", "peak_bytes"]
        kept += ["epochs", "kept_epoch"] if self.recipe.patience or self.recipe.keeps_best else []
        kept += ["calibration"] if self.recipe.calibrate_probabilities else []
        kept += ["weighted_by"] if self.about.get("weighted_by") else []
        kept += ["without_views"] if self.about.get("without_views") else []
        plan = self.about.get("plan", {})
        told = ("micro_batch", "accumulation", "predicted_bytes", "measured_bytes")
        planned = {name: plan[name] for name in told if name in plan} if plan.get("predicted_bytes") else {}
        found = {"run": str(self.path), **{name: self.about[name] for name in kept}}
        return {**found, "plan": planned} if planned else found

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Target -> metric -> value on the validation rows."""
        return self.about.get("targets", {})


def open_network_run(folder: Path, about: Mapping[str, Any]) -> NetworkRun:
    """The run in a folder that `runs.folder.read_run` has checked."""
    return NetworkRun(
        folder,
        Schema.from_toml(read_text(folder, "schema.toml")),
        Recipe.from_toml(read_text(folder, "recipe.toml")),
        Encoding(**read_object(folder, "encoding.json")),
        {
            **about,
            **{name: none_to_nan(about[name]) for name in ("targets", "without_views") if name in about},
        },
    )


def load_network(run: NetworkRun) -> Network:
    """The run's network with its weights, on the CPU.

    Raises RunError where the installed timm builds another network of that name than the run was made with.
    """
    network, _ = build_network(run.encoding, run.schema, run.recipe, fetch=False)
    arrays, _ = read_arrays(run.path / "weights.safetensors")
    if any(value.dtype == np.float64 for name, value in arrays.items() if name.startswith("last.")):
        network.double()
    try:
        network.load_state_dict(tensors_under(arrays, ""), strict=True)
    except RuntimeError as error:
        made, now = run.about.get("versions", {}), package_versions()
        changed = [
            f"{name} {made[name]}, here {now.get(name)}" for name in made if made[name] != now.get(name)
        ]
        raise RunError(
            f"the weights of {run.path} do not fit {run.recipe.arch} as it is built here",
            problems=[line.strip() for line in str(error).splitlines()[1:]],
            found="made with " + ("; ".join(changed) or "the versions that are installed here"),
            fix="install the versions that the run was made with, or train it again",
        ) from None
    return network


def predict_rows(
    run: NetworkRun,
    source: Any,
    *,
    views: int | None = None,
    tta: int | None = None,
    plain_weight: float | None = None,
    id: str | None = None,
    reading: Reading | None = None,
    device: str = "auto",
    on_note: Callable[[str], None] | None = None,
) -> Predictions:
    """One answer per row of a table (path, data frame, mapping) or per picture of a folder, in its order.

    views, tta, plain_weight: see `ViewOptions`.  reading: how to read the rows.
    id: the column that names a row, in place of the one of the training.
    Raises ImageError that names unusable pictures; with ``Reading(skip_bad=True)`` those rows stay, marked.
    A row whose probabilities are no numbers is marked likewise, and is never a class.
    """
    schema = run.schema if id is None else run.schema.model_copy(update={"id": id})
    table, reading = read_source(source, schema, reading or Reading(), run.about)
    rows = prepare_rows(table, schema, run.encoding, reading, targets=False)
    rows = _note_unseen_values(run, rows)
    if on_note is not None:
        for note in rows.notes:
            on_note(note)
    view_options = ViewOptions(views, tta, plain_weight)
    heads, found, _ = answer_rows(run, rows, view_options=view_options, reading=reading, device=device)
    return decoded(rows, rows.bad, {head.name: (head, found[head.name]) for head in heads}, found.values())


def decoded(
    rows: Rows,
    bad: Mapping[int, str],
    answers: Mapping[str, tuple[TargetKind, NDArray[np.float64]]],
    needed: Iterable[NDArray[np.float64]],
) -> Predictions:
    """Answers in the user's words; nothing is said of rows that cannot be used or have no number.

    bad: row -> why it cannot be used.  answers: target -> its kind and probabilities.
    needed: the probabilities without which a row has no answer.
    """
    spoilt = np.any([np.isnan(one).any(axis=1) for one in needed], axis=0)
    bad = {**dict.fromkeys(np.flatnonzero(spoilt).tolist(), "its answer is not a number"), **bad}
    told = {name: without_rows(kind.decode(found), sorted(bad)) for name, (kind, found) in answers.items()}
    failed = np.zeros(len(rows.ids), dtype=bool)
    failed[sorted(bad)] = True
    return Predictions(rows.ids, told, failed, bad, rows.notes, rows.numbered, rows.table.cells)


def _note_unseen_values(run: NetworkRun, rows: Rows) -> Rows:
    """The rows with what is to be said of cells that training never saw the like of."""
    _, said = encode_columns(run.encoding.columns, run.schema, rows.table)
    return replace(rows, notes=(*rows.notes, *said))


def without_rows(answer: TargetPrediction, bad: list[int]) -> TargetPrediction:
    """The answer with nothing said of the `bad` rows: an empty value, NaN probabilities."""
    if not bad:
        return answer
    values, probabilities = answer.values.copy(), answer.probabilities
    for row in bad:
        values[row] = () if isinstance(values[row], tuple) else "" if values.dtype == object else np.nan
    if probabilities is not None:
        probabilities = probabilities.copy()
        probabilities[bad] = np.nan
    return replace(answer, values=values, probabilities=probabilities)


@dataclass(frozen=True)
class ViewOptions:
    """Which views of a picture are predicted; what is None is as the run's recipe says.

    views: mirrored views.  tta: augmented views.  plain_weight: part of the plain view beside these.
    """

    views: int | None = None
    tta: int | None = None
    plain_weight: float | None = None

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with these views. Raises RecipeError for views that there are not."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        # Mirrored and augmented views exclude each other: who asks for the ones does not want the others.
        if (self.views or 1) > 1 and self.tta is None:
            said["tta"] = 0
        if self.tta and self.views is None:
            said["views"] = 1
        # Made anew, so that a number of views that there is not is refused as in a recipe.
        chosen = Recipe(**{**recipe.model_dump(), **said}) if said else recipe
        chosen.check()
        return chosen


#: The views of the run's own recipe.
AS_TRAINED = ViewOptions()


def answer_rows(
    run: NetworkRun,
    rows: Rows,
    *,
    view_options: ViewOptions = AS_TRAINED,
    reading: Reading,
    device: str = "auto",
) -> tuple[tuple[Head, ...], Answers, Answers]:
    """The run's heads, their probabilities of prepared rows, and those from the plain view alone."""
    recipe = view_options.recipe(run.recipe)
    place = pick_device(device)
    precision = run.about.get("precision") or pick_precision(recipe.precision, place)
    network = load_network(run).to(place)
    examples, _ = encode(run.encoding, run.schema, rows.table, rows.caches, ids=rows.ids, targets=False)
    tell = reading.on_progress
    total = len(rows.ids)
    found, plain = predict_views(
        network,
        examples,
        np.arange(total),
        Preparation(
            run.encoding,
            place,
            next(network.parameters()).dtype,
            channels_last=uses_channels_last(network),
        ),
        views=views_of(recipe),
        autocast=prediction_autocast(precision, place),
        workers=reading.workers,
        on_rows=None if tell is None else lambda done: tell(RowsPredicted(done, total)),
    )
    return network.heads, found, plain


def scoring_weights(schema: Schema, rows: Rows) -> tuple[NDArray[np.float64] | None, list[str]]:
    """(rows,) what each row counts in scores, None where all count alike; and what is to be said of it."""
    if schema.weight is None:
        return None, []
    if schema.weight not in rows.table.names:
        return None, [f"scores are not weighted: {rows.table.source} has no column {schema.weight!r}"]
    weights = relative_weights(row_weights(schema, rows.table))
    return weights, [f"scores are weighted by {schema.weight}"]


def trained_on(
    kept: Sequence[Mapping[str, Any]], schema: Schema, rows: Rows, good: NDArray[np.int64]
) -> list[str]:
    """A note where the rows are those of a training, whose scores are too good.

    kept: what each run says of itself.  good: numbers of the rows that are scored.
    """
    same = [about for about in kept if about.get("rows") == len(good) and about.get("fingerprint")]
    if not same:
        return []
    table, contents = rows.table.take(good), [one[good] for one in rows.contents]
    found = rows_digest(schema, rows.ids[good], row_fingerprints(table, schema, contents))
    counts = [int(about["train_rows"]) for about in same if about["fingerprint"].get("rows") == found]
    if not counts:
        return []
    if len(kept) > 1:
        return [f"members were trained on up to {max(counts)} of these {len(good)} rows: scores are too good"]
    return [f"{counts[0]} of {len(good)} rows were trained on: their scores are too good"]


def evaluate_rows(
    run: NetworkRun,
    source: Any,
    *,
    views: int | None = None,
    tta: int | None = None,
    plain_weight: float | None = None,
    reading: Reading | None = None,
    device: str = "auto",
    on_note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Scores of a run on rows whose answer is known. The table needs the inputs and the targets only, not
    the columns of groups, splits and weights that the training had. Where it has that of weights, the scores
    are weighted, and say so.

    A label that is no class of the run counts as wrong in the error rate and with probability 0 in the
    log loss; a missing label is left out. Returns the keys that ``--json`` prints (docs/formats.md).
    """
    started = time.monotonic()
    place = pick_device(device)
    reset_peak(place)
    schema = run.schema.model_copy(update={"group": (), "split": None, "weight": None, "time": None})
    table, reading = read_source(source, schema, reading or Reading(), run.about)
    rows = prepare_rows(table, schema, run.encoding, reading, targets=True)
    good = np.array([row for row in range(len(rows.ids)) if row not in rows.bad], dtype=np.int64)
    if not len(good):
        raise SchemaError(f"{rows.table.source} has no usable row", fix="mend its pictures")
    notes = list(_note_unseen_values(run, rows).notes)
    weights, said = scoring_weights(run.schema, rows)
    notes += [*said, *trained_on([run.about], run.schema, rows, good)]
    weights = None if weights is None else weights[good]
    view_options = ViewOptions(views, tta, plain_weight)
    heads, found, plain = answer_rows(run, rows, view_options=view_options, reading=reading, device=device)
    several = views_of(view_options.recipe(run.recipe)).count > 1
    targets, without = {}, {}
    for head in heads:
        labels, said = head.scoring_labels(rows.table)
        notes += [*said, *weightless(head.name, labels[good], weights)]
        targets[head.name] = head.scores(
            found[head.name][good],
            labels[good],
            baseline=run.about["majority"].get(head.name),
            weights=weights,
        )
        if several:
            without[head.name] = head.scores(plain[head.name][good], labels[good], weights=weights)
    for note in notes if on_note is not None else ():
        on_note(note)  # type: ignore[misc]
    return {
        "run": str(run.path),
        "rows": len(good),
        **({} if weights is None else {"weighted_by": run.schema.weight}),
        "targets": targets,
        **({"without_views": without} if several else {}),
        "seconds": round(time.monotonic() - started, 3),
        "peak_bytes": peak_bytes(place),
    }
