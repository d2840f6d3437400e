"""A finished network of ratings. Opening it loads no torch; asking it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from tenfold.collab.pack import unpack_interactions
from tenfold.data.encode import Encoding
from tenfold.errors import RunError
from tenfold.recipe import RatingNetworkRecipe
from tenfold.recommenders.explain_factors import explain_factors
from tenfold.recommenders.page import ratings_page
from tenfold.recommenders.run import MODEL, RecommenderRun
from tenfold.reports.html import Page
from tenfold.runs.folder import read_arrays, read_object
from tenfold.runs.options import SOME_ROWS, ExplainOptions, ExportOptions
from tenfold.runs.run import Explanation, Exported
from tenfold.values import FactorModel, Interactions
from tenfold.workbooks.lastlayer import build_loss_book

if TYPE_CHECKING:
    from tenfold.recommenders.network_scorer import NetworkScorer

__all__ = ["RatingNetworkRun"]


@dataclass(frozen=True, repr=False)
class RatingNetworkRun(RecommenderRun):
    """A finished network of ratings."""

    kind: ClassVar = "pairs"
    words: ClassVar = "a network of ratings"
    takes: ClassVar = RecommenderRun.takes | {"device"}

    @cached_property
    def recipe(self) -> RatingNetworkRecipe:
        """How ratings were read, and the network trained."""
        return RatingNetworkRecipe.from_toml(self.read_text("recipe.toml"))

    @cached_property
    def encoding(self) -> Encoding:
        """Vocabularies, ranges and scales."""
        return Encoding(**read_object(self.path, "encoding.json"))

    @cached_property
    def _kept(self) -> tuple[Interactions, dict[str, NDArray[np.float32]]]:
        return unpack_interactions(*read_arrays(self.path / MODEL))

    @property
    def interactions(self) -> Interactions:
        """Who and what is known, and who rated what."""
        return self._kept[0]

    @property
    def embeddings(self) -> dict[str, NDArray[np.float32]]:
        """Side -> vectors to compare by cosine.

        Those of a dot product begin with a bias, which says how well liked an item is, not what it is like.
        """
        first = 1 if self.recipe.body == "dot" else 0
        return {side: rows[:, first:] for side, rows in self._kept[1].items()}

    @cached_property
    def trained(self) -> NetworkScorer:
        """The network with its weights."""
        from tenfold.recommenders.network_scorer import NetworkScorer, open_network

        network = open_network(self.path, self.schema, self.record, self.recipe, self.encoding)
        return NetworkScorer(self.interactions, network, self.encoding, self.schema, self.embeddings)

    @property
    def model(self) -> FactorModel:
        """Factors that multiply to the scores of a dot product. Raises RunError for any other body."""
        if self.recipe.body != "dot":
            raise RunError(
                f"{self.path} is a network of ratings: its scores are not products of factors",
                fix="predict, evaluate, recommend and similar work; for factors: --body dot, or no --body",
            )
        from tenfold.recommenders.explain import dot_model

        return dot_model(self.trained)

    @property
    def summary(self) -> dict[str, object]:
        """What ``tenfold fit --json`` prints (docs/formats.md)."""
        watched = self.recipe.patience or self.recipe.keeps_best
        names = ("epochs", "kept_epoch") if watched else ()
        return {**super().summary, **{name: self.about[name] for name in names if name in self.about}}

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """A workbook: of a dot product its factors, of another body its last layer on some pairs."""
        if self.recipe.body == "dot":
            return explain_factors(self, rows, options)
        from tenfold.recommenders.explain import explain_pairs

        shown = explain_pairs(self, self.trained, rows, options)
        return Explanation(build_loss_book(shown), shown.record(self.kind))

    def write_graph(self, output: str, options: ExportOptions) -> Exported:
        """See `Run.export`: a graph that scores pairs."""
        from tenfold.recommenders.network_export import export_rating_network

        return export_rating_network(self, self.trained, output, options)

    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Its page: scores, curves, the ratings that were missed most, maps of the embeddings."""
        how = f"A network ({self.recipe.body})"
        return ratings_page(self, how, self.embeddings, "embeddings", worst=worst, lists=False)

    def peak_bytes(self, device: str) -> int:
        """The most memory that was held, on the device."""
        from tenfold.engine.device import peak_bytes, pick_device

        return peak_bytes(pick_device(device))
