"""Recommenders of latent factors: a fit, and the run that comes of it. Never loads torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from tenfold.collab.evaluate import evaluate
from tenfold.collab.pack import pack_factor_model, unpack_factor_model
from tenfold.collab.predict import FactorScorer
from tenfold.collab.recommend import held_out_pairs
from tenfold.events import begin_stage
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.explain_factors import explain_factors
from tenfold.recommenders.methods import fit_model
from tenfold.recommenders.page import ratings_page
from tenfold.recommenders.prepare import RatingsWork, prepare_ratings
from tenfold.recommenders.run import MODEL, RecommenderRun, peak_bytes, write_held_out
from tenfold.reports.html import Page
from tenfold.runs.folder import RunFolder, read_arrays
from tenfold.runs.job import Fitted, Notes, PeakMemory
from tenfold.runs.options import SOME_ROWS, ExplainOptions, FitOptions
from tenfold.runs.run import Explanation
from tenfold.schema import Schema
from tenfold.values import FactorModel, Scores

__all__ = ["FactorFit", "FactorRun"]


@dataclass(frozen=True, repr=False)
class FactorRun(RecommenderRun):
    """A finished run of latent factors."""

    kind: ClassVar = "ratings"
    words: ClassVar = "a run of ratings"

    @cached_property
    def recipe(self) -> FactorRecipe:
        """How ratings were read and learned."""
        return FactorRecipe.from_toml(self.read_text("recipe.toml"))

    @cached_property
    def trained(self) -> FactorScorer:
        """The factors, which know times by the schema's column."""
        model = unpack_factor_model(*read_arrays(self.path / MODEL))
        return FactorScorer(model, self.schema.time, self.record.time_format)

    @property
    def model(self) -> FactorModel:
        """The factors and biases, and what each user has rated."""
        scorer = self.scorer
        assert isinstance(scorer, FactorScorer)
        return scorer.model

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """A workbook of factors and their products, the predictions; see `recommenders.explain_factors`."""
        return explain_factors(self, rows, options)

    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Its page: scores, what was fitted to what, maps of the factors."""
        factors = {"user": self.model.user_factors, "item": self.model.item_factors}
        how = f"Factors by method {self.record.method}"
        return ratings_page(self, how, factors, "factors", worst=worst)


class FactorFit:
    """The fit of latent factors to a table of ratings or events.

    schema: two id columns, the user's first, and a rating; names that are "" or None are looked for.
    table: a path, a data frame, a mapping of columns or a `Table`.
    """

    word = "fit"

    def __init__(self, schema: Schema, recipe: FactorRecipe, table: object, options: FitOptions) -> None:
        self.schema, self.recipe, self.table, self.options = schema, recipe, table, options

    @contextmanager
    def machine(self) -> Iterator[PeakMemory]:
        """The CPU as it is: the recipe says how many threads there are."""
        yield peak_bytes

    def prepare(self, notes: Notes) -> _Prepared:
        """Read, check and split the ratings."""
        begin_stage(self.options.on_progress, "reading the ratings")
        work = prepare_ratings(self.schema, self.recipe, self.table, self.options, notes)
        self.table = None
        return _Prepared(work, self.options)


@dataclass(frozen=True)
class _Prepared:
    work: RatingsWork
    options: FitOptions

    @cached_property
    def identity(self) -> dict[str, object]:
        """Everything that decides the model, for JSON; the data by a checksum."""
        ratings, sides = self.work.train, self.work.sides
        digest = hashlib.sha256()
        for text in (*ratings.users, *ratings.items):
            digest.update(str(text).encode("utf-8", "surrogatepass") + b"\0")
        arrays = [ratings.user_index, ratings.item_index, ratings.ratings, np.array(ratings.scale)]
        arrays += [] if ratings.times is None else [ratings.times]
        for role in sorted(sides):
            arrays += [sides[role].start, sides[role].feature]
            digest.update(" ".join(sides[role].names).encode("utf-8", "surrogatepass"))
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return {
            "recipe": self.work.recipe.model_dump(mode="json"),
            "schema": self.work.schema.model_dump(mode="json"),
            "implicit": ratings.implicit,
            "data": digest.hexdigest(),
        }

    def train(self, folder: RunFolder, notes: Notes) -> Fitted:
        """Fit, score the held-out ratings, and write the model."""
        from tenfold.collab import kernels  # compiled code takes its time to load

        work = self.work
        # A fit that was stopped after its last sweep has its model in the checkpoint.
        kept = folder.read_checkpoint(self.identity, FactorFit.word)
        if kept is not None:
            model = unpack_factor_model(kept.arrays, kept.about["model"])
        else:
            begin_stage(self.options.on_progress, f"starting {work.recipe.method}")
            model = fit_model(work.train, work.recipe, work.sides, self.options.on_progress)
            arrays, described = pack_factor_model(model)
            folder.write_checkpoint(arrays, {"identity": self.identity, "model": described})
        notes.add([note for note in model.notes if note not in notes.lines])
        for note in kernels.notes():
            notes.tell(note)
        listed = work.listed_side()
        if listed is not None:
            from tenfold.collab.listed import add_listed_items

            model, messages = add_listed_items(model, *listed)
            notes.add(messages)
        scores: Scores = {}
        held = work.held_out()
        if held is not None:
            cells = {} if held.times is None else {"time": held.times}
            begin_stage(self.options.on_progress, "scoring the held-out ratings")
            evaluation = evaluate(FactorScorer(model), held, cells)
            scores = evaluation.scores
            notes.add(evaluation.notes)
            if evaluation.predicted is not None:
                target = str(work.schema.targets[0].name)
                write_held_out(folder, work.schema, target, held, evaluation.predicted)
            model = replace(model, **held_out_pairs(model, held))
        folder.write_arrays(MODEL, *pack_factor_model(model))
        work.write_items(folder)
        record = {
            "kind": FactorRun.kind,
            "method": work.recipe.method,
            **work.record(),
            "targets": {work.schema.targets[0].name or "event": scores} if scores else {},
        }
        return Fitted(work.schema, work.recipe, record)
