"""A finished network. Opening it loads no torch; predicting does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Unpack

from tenfold.networks.interpret import Interpreted
from tenfold.networks.opened import OpenedNetwork
from tenfold.reports.html import Page, Shown
from tenfold.runs.heldout import HeldOutRows
from tenfold.runs.options import (
    AS_TRAINED,
    SOME_ROWS,
    ExplainOptions,
    ExportOptions,
    PredictChanges,
    PredictOptions,
)
from tenfold.runs.run import Explanation, Exported
from tenfold.values import Predictions

if TYPE_CHECKING:
    from tenfold.reports.notebook import TableOptions


@dataclass(frozen=True, repr=False)
class NetworkRun(OpenedNetwork, Interpreted):
    """A finished network of pictures, categories and numbers."""

    kind: ClassVar = "network"
    words: ClassVar = "a network"
    takes: ClassVar = frozenset({"device", "views", "tta", "plain_weight", "id"})
    summarised: ClassVar = ("rows", "targets", "seconds", "peak_bytes")
    blended_by: ClassVar = "blend of network"

    def predict(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> Predictions:
        """Answers to the rows of a table, or the pictures of a folder; see `networks.predict`."""
        from tenfold.networks.predict import predict_rows

        return predict_rows(self, source, self.options(options, changes))

    def evaluate(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> dict[str, object]:
        """Scores on labelled rows; see `networks.predict.evaluate_rows`."""
        from tenfold.networks.predict import evaluate_rows

        return evaluate_rows(self, source, self.options(options, changes))

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """A workbook of the last layer on some rows; see `networks.explain.explain_network`."""
        from tenfold.networks.explain import explain_network
        from tenfold.workbooks.lastlayer import build_loss_book

        explained = explain_network(self, rows, options)
        return Explanation(build_loss_book(explained), explained.record(self.kind))

    def write_graph(self, output: str, options: ExportOptions) -> Exported:
        """See `Run.export`, and docs/deploy.md."""
        from tenfold.networks.export import export_network

        return export_network(self, output, options)

    def quicken(self, device: str) -> None:
        """See `Run.quicken`."""
        from tenfold.networks.predict import trace_kept

        trace_kept(self, device)

    def held_out(self) -> HeldOutRows:
        """The rows that it held out, with their labels and answers."""
        from tenfold.networks.page import read_network_held_out

        return read_network_held_out(self)

    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Its page: curves, confusion, the rows with the highest losses, memory."""
        from tenfold.networks.page import network_page

        return network_page(self, folders=folders, worst=worst)

    def show_batch(
        self,
        table: object = None,
        *,
        n: int = 9,
        seed: int = 0,
        augmented: int = 0,
        **options: Unpack[TableOptions],
    ) -> Shown:
        """Rows of a table, by default the training's, which a notebook shows.

        augmented: of each picture so many changed versions, as training draws them.  options: of
        `read_table`.
        """
        from tenfold.reports.notebook import show_run_batch

        classes = self.encoding.classes
        return show_run_batch(
            self, self.recipe, classes, table, n=n, seed=seed, augmented=augmented, **options
        )

    @property
    def summary(self) -> dict[str, object]:
        """What ``tenfold fit --json`` prints (docs/formats.md)."""
        about, summary = self.about, super().summary
        more = ["epochs", "kept_epoch"] if self.recipe.patience or self.recipe.keeps_best else []
        more += ["calibration"] if self.recipe.calibrate_probabilities else []
        more += [name for name in ("weighted_by", "without_views") if about.get(name)]
        summary |= {name: about[name] for name in more}
        shown = ("micro_batch", "accumulation", "predicted_bytes", "measured_bytes")
        plan = self.record.plan
        planned = {name: plan[name] for name in shown if name in plan} if plan.get("predicted_bytes") else {}
        return {**summary, "plan": planned} if planned else summary
