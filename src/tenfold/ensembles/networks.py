"""An ensemble of networks. Opening it loads no torch; predicting does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Unpack

from tenfold.ensembles.joined import JoinedNetworks, blend_of
from tenfold.errors import RunError
from tenfold.files.graph import Exported
from tenfold.networks.interpret import Interpreted
from tenfold.networks.run import NetworkRun
from tenfold.reports.html import Page, Section
from tenfold.runs.bundle import open_members
from tenfold.runs.folder import RunFolder, read_text
from tenfold.runs.heldout import HeldOutRows
from tenfold.runs.options import (
    AS_TRAINED,
    SOME_ROWS,
    ExplainOptions,
    ExportOptions,
    PredictChanges,
    PredictOptions,
)
from tenfold.runs.record import RunRecord
from tenfold.runs.run import Blended, Ensemble, Explanation, Member
from tenfold.schema import Schema
from tenfold.values import Predictions


@dataclass(frozen=True, repr=False)
class NetworkEnsemble(JoinedNetworks, Interpreted, Ensemble):
    """A blend of networks, which averages their answers."""

    kind: ClassVar = "blend of network"
    words: ClassVar = "an ensemble of networks"
    takes: ClassVar = frozenset({"device", "views", "tta", "plain_weight", "members", "id"})
    summarised: ClassVar = (
        *("rows", "weighted_by", "targets", "without_views", "weights", "blends", "members"),
        *("seconds", "peak_bytes"),
    )

    @classmethod
    def open(cls, path: Path, record: RunRecord) -> NetworkEnsemble:
        """Open the ensemble in a checked folder, and check its members.

        Raises RunError for a member that is missing, damaged, or not the run that was blended.
        """
        members = open_members(path, record, NetworkRun, "a run of pictures or tables")
        if not members:
            return cls(path, Schema.from_toml(read_text(path, "schema.toml")), record)
        return cls(**vars(blend_of(path, members, record)))

    def predict(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> Predictions:
        """Predict the rows of a table, or the pictures of a folder; see `ensembles.predict`."""
        from tenfold.ensembles.predict import predict_rows

        return predict_rows(self._whole(), source, self.options(options, changes))

    def evaluate(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> dict[str, object]:
        """Score the blend and each member on labelled rows; see `ensembles.predict`."""
        from tenfold.ensembles.predict import evaluate_rows

        return evaluate_rows(self._whole(), source, self.options(options, changes))

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """Build a workbook of the members' answers to some rows; see `ensembles.explain.explain_blend`."""
        from tenfold.ensembles.explain import explain_blend
        from tenfold.workbooks.blend import build_blend_book

        explained = explain_blend(self._whole(), rows, options)
        return Explanation(build_blend_book(explained), explained.record())

    def write_graph(self, output: str, options: ExportOptions) -> Exported:
        """See `Run.export`, and docs/deploy.md."""
        from tenfold.ensembles.export import export_ensemble

        return export_ensemble(self._whole(), output, options)

    def quicken(self, device: str) -> None:
        """See `Run.quicken`."""
        from tenfold.networks.predict import trace_kept

        for member in self.members:
            for run in member.runs:
                trace_kept(run, device)

    def held_out(self) -> HeldOutRows:
        """The rows that it held out, with their labels and answers."""
        from tenfold.networks.page import read_network_held_out

        return read_network_held_out(self)

    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Build its page: members, confusion, the rows with the highest losses, memory."""
        from tenfold.ensembles.evaluate import find_contributions
        from tenfold.networks.page import network_page
        from tenfold.reports.members import contributions_section

        learned = self.record.values.get("method") not in (None, "weights")
        try:
            found = find_contributions(self, self.record.facts) if self.members else []
            own = contributions_section(found, learned)
        except RunError as error:  # runs of earlier editions keep nothing that tells their rows apart
            own = [Section("What each member adds", f"It cannot be told: {error.headline}.")]
        return network_page(self, folders=folders, worst=worst, own_sections=own)

    @classmethod
    def blend(
        cls, folder: RunFolder, members: Sequence[Member[NetworkRun]], *, method: str, seed: int
    ) -> Blended:
        """Learn the weights by the method, and score the blend on the members' held-out rows."""
        from tenfold.engine.device import peak_bytes, pick_device
        from tenfold.ensembles.evaluate import evaluate_blend

        joined = blend_of(folder.path, members, RunRecord({}))
        evaluation = evaluate_blend(joined, method=method, seed=seed)
        evaluation.write_answers(folder)
        first = members[0].runs[0].record
        tables = {run.record.table for member in members for run in member.runs}
        record = {
            "of": "network",
            "table": tables.pop() if len(tables) == 1 else None,
            "reading": first.reading or {},
            **evaluation.record(),
            "rows": max(run.record.rows for member in members for run in member.runs),
            "majority": first.majority,
            "peak_bytes": peak_bytes(pick_device("auto")),
        }
        return Blended(joined.schema, record, evaluation.members, [*joined.notes, *evaluation.notes])

    def _whole(self) -> NetworkEnsemble:
        if not self.members:
            raise RunError(
                f"no member of {self.path} has finished", fix="go on with it: tenfold ensemble RECIPE.toml"
            )
        return self
