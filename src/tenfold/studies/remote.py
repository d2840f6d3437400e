"""Trainings of a study as tasks of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tenfold.ensembles.children import Needs
from tenfold.ensembles.places import tasks_on
from tenfold.ensembles.requests import FitRequest
from tenfold.errors import SchemaError, TrainingError
from tenfold.events import Event, NoteAdded
from tenfold.recipe import AnyRecipe
from tenfold.runs.job import Notes

__all__ = ["needs_of", "table_path", "train_on"]


def table_path(table: object) -> str:
    """The path of a table that goes to other machines. SchemaError for one in memory."""
    if not isinstance(table, str | os.PathLike):
        raise SchemaError(
            "a table in memory cannot be sent to other machines", fix="write it to a file, and name that"
        )
    return os.fspath(table)


def needs_of(recipe: AnyRecipe) -> Needs:
    """What a training takes: its threads are those of this machine, so that its bytes are the same."""
    if recipe.of_ratings == "factors":
        return Needs(threads=getattr(recipe, "threads", 1))
    from tenfold.engine.device import compute_threads

    return Needs(threads=compute_threads())


def train_on(
    on: str, requests: Mapping[str, FitRequest], notes: Notes
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Train all at once on a cluster; yields name and answer as they end. TrainingError if one fails."""

    def tell(name: str, event: Event | None) -> None:
        if isinstance(event, NoteAdded) and "node was lost" in event.text:
            notes.tell(event.text)

    with tasks_on(on, tell) as tasks:
        for name, request in requests.items():
            tasks.start(name, request.to_json(), _errors(request), needs_of(request.recipe))
        for _ in requests:
            ended = tasks.next_finished()
            assert ended is not None  # all that were started end
            if failure := ended.failure():
                raise TrainingError(f"{ended.name}: {failure}", problems=ended.answer.get("problems", []))
            yield ended.name, ended.answer


def _errors(request: FitRequest) -> Path:
    return Path(f"{request.run}.txt")
