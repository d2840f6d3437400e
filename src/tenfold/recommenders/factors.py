"""Recommenders of latent factors: a fit, and the run that comes of it. Never loads torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.evaluate import evaluate_held_out
from tenfold.collab.interest import fit_lists, pack_lists
from tenfold.collab.pack import Packed, pack_factor_model, unpack_factor_model
from tenfold.collab.predict import FactorScorer, PairScorer
from tenfold.collab.recommend import held_out_pairs
from tenfold.events import begin_stage
from tenfold.recipe import FactorRecipe
from tenfold.recommenders.explain_factors import explain_factors
from tenfold.recommenders.items import PreparedItems
from tenfold.recommenders.methods import METHODS, fit_model, side_notes
from tenfold.recommenders.page import ratings_page
from tenfold.recommenders.prepare import RatingsWork, prepare_ratings, recent_record
from tenfold.recommenders.run import LISTS, MODEL, RecommenderRun, peak_bytes, write_held_out
from tenfold.reports.html import Page
from tenfold.runs.folder import RunFolder, read_arrays
from tenfold.runs.job import Fitted, Notes, PeakMemory, Prepared
from tenfold.runs.options import SOME_ROWS, ExplainOptions, ExportOptions, FitOptions
from tenfold.runs.run import Explanation, Exported
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

    def learn(
        self,
        users: NDArray[np.object_],
        items: NDArray[np.object_],
        ratings: NDArray[np.float64],
        before: NDArray[np.float64],
        times: NDArray[np.float64] | None = None,
    ) -> tuple[PairScorer, list[str]]:
        """See `collab.learn.update_ratings`."""
        from tenfold.collab.learn import update_ratings  # with compiled code

        model, notes = update_ratings(self.model, users, items, ratings, before, times)
        return FactorScorer(model, self.schema.time, self.record.time_format), notes

    def packed(self, scorer: PairScorer) -> tuple[str, Packed]:
        """The file of biases, factors and interactions."""
        assert isinstance(scorer, FactorScorer)
        return MODEL, pack_factor_model(scorer.model)

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """A workbook of factors and their products, the predictions; see `recommenders.explain_factors`."""
        return explain_factors(self, rows, options)

    def write_graph(self, output: str, options: ExportOptions) -> Exported:
        """See `Run.export`: the factors as arrays, and a graph that scores pairs."""
        from tenfold.recommenders.export import export_factors

        return export_factors(self, self.factor_scorers(), output, options)

    def factor_scorers(self) -> list[tuple[float, FactorScorer]]:
        """Its scorer, with the weight 1."""
        scorer = self.scorer
        assert isinstance(scorer, FactorScorer)
        return [(1.0, scorer)]

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
        self.before: str | None = None
        self.session: Any = None

    @contextmanager
    def machine(self) -> Iterator[PeakMemory]:
        """The CPU as it is: the recipe says how many threads there are. Or a session of Spark."""
        if self.recipe.engine == "local":
            yield peak_bytes
            return
        from tenfold.recommenders.spark import spark_session

        with spark_session() as self.session:
            yield peak_bytes

    def continues(self, recipe: Mapping[str, object]) -> None:
        """Stay with als where a run of events has it: it was their default before ease."""
        if recipe.get("method") == "als" and "method" not in self.recipe.model_fields_set:
            self.before = "als"

    def prepare(self, notes: Notes) -> Prepared:
        """Read, check and split the ratings."""
        begin_stage(self.options.on_progress, "reading the ratings")
        if self.recipe.engine == "spark":
            from tenfold.recommenders.spark import fit_spark, read_spark

            data = read_spark(self.session, self.schema, self.recipe, self.table, self.options, notes)
            return _Prepared(data.work, self.options, partial(fit_spark, data))
        work = prepare_ratings(self.schema, self.recipe, self.table, self.options, notes, before=self.before)
        self.table = None
        return (
            PreparedItems(work) if METHODS[work.recipe.method].fit is None else _Prepared(work, self.options)
        )


@dataclass(frozen=True)
class _Prepared:
    work: RatingsWork
    options: FitOptions
    fit: Callable[[FactorRecipe], FactorModel] | None = None

    @property
    def identity(self) -> dict[str, object]:
        """Everything that decides the model, for JSON; the data by a checksum."""
        return self.work.identity

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
            if self.fit is None:
                model = fit_model(work.train, work.recipe, work.sides, self.options.on_progress)
            else:
                model = self.fit(work.recipe)
            arrays, described = pack_factor_model(model)
            folder.write_checkpoint(arrays, {"identity": self.identity, "model": described})
        notes.add([note for note in model.notes if note not in notes.lines])
        for note in kernels.notes():
            notes.tell(note)
        notes.add(side_notes(work.recipe, work.sides))
        for role in ("item", "user"):
            listed = work.listed_side(role)
            if listed is not None:
                from tenfold.collab.listed import add_listed

                model, messages = add_listed(model, *listed, role)
                notes.add(messages)
        scores: Scores = {}
        held = work.held_out()
        if held is not None:
            begin_stage(self.options.on_progress, "scoring the held-out ratings")
            evaluation = evaluate_held_out(FactorScorer(model), held, work.how)
            scores = evaluation.scores
            notes.add(evaluation.notes)
            if evaluation.predicted is not None:
                target = str(work.schema.targets[0].name)
                write_held_out(folder, work.schema, target, evaluation.test, evaluation.predicted)
        recent = 0.0
        if not model.implicit:
            recipe = work.recipe
            begin_stage(self.options.on_progress, "weights between items, for lists")
            lists, messages = fit_lists(
                FactorScorer(model),
                None if work.how == "users" else held,
                core=recipe.core_items,
                recent=recipe.recent,
                threads=recipe.threads,
                seed=recipe.seed,
            )
            notes.add(messages)
            recent = lists.model.recent
            folder.write_arrays(LISTS, *pack_lists(lists))
        if not recent:
            model = replace(model, seen_times=None)
        if held is not None:
            model = replace(model, **held_out_pairs(model, held))
        folder.write_arrays(MODEL, *pack_factor_model(model))
        work.write_items(folder)
        record = {
            "kind": FactorRun.kind,
            "method": work.recipe.method,
            **work.record(),
            **recent_record(recent),
            "targets": {work.schema.targets[0].name or "event": scores} if scores else {},
        }
        return Fitted(work.schema, work.recipe, record)
