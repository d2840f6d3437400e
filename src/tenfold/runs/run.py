"""A run: anything that has been trained and can be asked."""

from __future__ import annotations

import html
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypedDict, TypeVar, Unpack

from tenfold.errors import OutputError, RecipeError, RunError, did_you_mean
from tenfold.events import EpochRecord
from tenfold.files.graph import Exported
from tenfold.frames import html_table, text_table
from tenfold.metrics import score_text
from tenfold.remedies import option
from tenfold.runs.folder import RunFolder, read_text
from tenfold.runs.heldout import HeldOutRows
from tenfold.runs.options import (
    AS_TRAINED,
    SOME_ROWS,
    WHOLE_GRAPH,
    ExplainOptions,
    ExportChanges,
    ExportOptions,
    PredictChanges,
    PredictOptions,
)
from tenfold.runs.place import PAGE
from tenfold.runs.record import RunRecord
from tenfold.schema import Schema
from tenfold.targets.words import HEADINGS
from tenfold.values import PairPredictions, Predictions, Scores, TargetScores, read_score

if TYPE_CHECKING:
    from tenfold.reports.html import Page, Shown
    from tenfold.workbooks.workbook import Book

#: Where the workbook goes when no file is given.
WORKBOOK = "explain.xlsx"

#: Scores of a target that a `repr` shows.
MOST_SCORES = 6

#: A class of runs.
AnyRun = TypeVar("AnyRun", bound="OpenedRun", covariant=True)


@dataclass(frozen=True)
class Member(Generic[AnyRun]):
    """A member of an ensemble: its runs, a run per fold, whose answers count alike."""

    name: str
    weight: float
    runs: tuple[AnyRun, ...]


@dataclass(frozen=True)
class Explanation:
    """A workbook, and what it shows in JSON's types (docs/formats.md)."""

    book: Book
    record: dict[str, Any]


class WrittenPage(TypedDict):
    """A page that was written, as ``tenfold report --json`` prints it (docs/formats.md)."""

    run: str
    output: str
    kind: str
    sections: list[str]
    bytes: int
    notes: list[str]


@dataclass(frozen=True, repr=False)
class OpenedRun:
    """A finished run.

    path: its folder.  schema: with what was decided from the table.  record: its ``run.json``.
    members: of an ensemble; empty for a single run.
    source: the table in memory that it was just fitted to; None once it is opened from its folder.
    """

    path: Path
    schema: Schema
    record: RunRecord
    members: Sequence[Member[OpenedRun]] = field(default=(), kw_only=True)
    source: object = field(default=None, kw_only=True, compare=False)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return text_table(self._headline, *self._score_rows()) + (
            f"\n  report: {page}" if (page := self._page) else ""
        )

    def _repr_html_(self) -> str:
        page = html.escape(self._page, quote=True)
        link = f'<div>report: <a href="{page}" target="_blank">{page}</a></div>' if page else ""
        return html_table(self._headline, *self._score_rows()) + link

    @property
    def _headline(self) -> str:
        return f"{type(self).__name__} {_from_here(self.path)}: {self.schema.described}"

    @property
    def _page(self) -> str:
        path = self.path / PAGE
        return _from_here(path) if path.is_file() else ""

    def _score_rows(self) -> tuple[list[str], list[list[str]]]:
        """The headings and rows of a table of scores on the held-out rows."""
        targets = self.record.targets
        most = MOST_SCORES if len(targets) == 1 else MOST_SCORES // 3
        first = [[name for name in HEADINGS if name in scores][:most] for scores in targets.values()]
        names = [name for name in HEADINGS if any(name in own for own in first)]
        rows = [[str(name), *(_words(key, scores) for key in names)] for name, scores in targets.items()]
        return ["target", *(HEADINGS[name] for name in names)], rows


@dataclass(frozen=True, repr=False)
class Run(OpenedRun, ABC):
    """A finished run that predicts, scores, explains and shows itself."""

    #: Its key in `registry.KINDS`, and its name in messages.
    kind: ClassVar[str]
    words: ClassVar[str]
    #: Fields of `PredictOptions` that it takes beside `reading` and `log`.
    takes: ClassVar[frozenset[str]]
    #: Values of the record in its summary, if present.
    summarised: ClassVar[tuple[str, ...]]
    #: Kind of the runs that blend such runs; "" if they cannot be blended.
    blended_by: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def open(cls, path: Path, record: RunRecord) -> Self:
        """Open the run in a folder whose files have been checked. Loads no weights."""

    @abstractmethod
    def predict(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> Predictions | PairPredictions:
        """Predict the rows of a table (path, data frame, mapping) or a folder of pictures, in its order.

        changes: fields of `options` by name. Raises RecipeError for those that such a run does not take.
        """

    @abstractmethod
    def evaluate(
        self, source: object, options: PredictOptions = AS_TRAINED, **changes: Unpack[PredictChanges]
    ) -> dict[str, Any]:
        """Score rows whose answer is known; returns the keys that ``--json`` prints (docs/formats.md)."""

    @abstractmethod
    def page(self, *, folders: Mapping[str, str] | None = None, worst: int = 12) -> Page:
        """Its page. folders: image column -> folder, instead of the schema's. worst: rows per target."""

    def held_out(self) -> HeldOutRows:
        """The rows that it held out, with their labels and answers; without rows where it keeps none."""
        return HeldOutRows((), ())

    def explain(self, rows: Sequence[str] = (), options: ExplainOptions = SOME_ROWS) -> Explanation:
        """A workbook whose formulas recompute answers and losses. rows: ids; of a recommender, users."""
        raise RunError(
            f"{self.path} is {self.words}, which has no workbook", fix="see its page: tenfold report"
        )

    def quicken(self, device: str) -> None:
        """Prepare to answer few rows many times, as a server does; answers may differ in the last digits."""

    def write_graph(self, output: str, options: ExportOptions) -> Exported:
        """What `export` does, for runs of this kind."""
        raise RunError(
            f"{self.path} is {self.words}, which cannot be exported",
            fix="its answers as files: tenfold predict, tenfold recommend",
        )

    # --- the same for all

    @property
    def about(self) -> Mapping[str, Any]:
        """``run.json`` in JSON's types; scores that were not measured are NaN."""
        values = self.record.values
        scores = {"targets": self.record.targets, "without_views": self.record.without_views}
        return {**values, **{name: value for name, value in scores.items() if name in values}}

    @property
    def scores(self) -> TargetScores:
        """Target -> score -> value on the held-out rows."""
        return self.record.targets

    @property
    def summary(self) -> dict[str, Any]:
        """The summary that ``--json`` prints (docs/formats.md)."""
        about = self.about
        return {"run": str(self.path), **{name: about[name] for name in self.summarised if name in about}}

    @cached_property
    def history(self) -> list[EpochRecord]:
        """A record per epoch; empty for a run without epochs."""
        from tenfold.reports.parts import read_history

        return read_history(self.path)

    def show(self) -> Shown:
        """Return its page for a notebook."""
        from tenfold.reports.html import Shown, page_html

        page = self.page()
        return Shown(page.title, page_html(page), 720)

    def write_page(
        self,
        output: str | os.PathLike[str] | None = None,
        *,
        folders: Mapping[str, str] | None = None,
        worst: int = 12,
    ) -> WrittenPage:
        """Write its page. folders, worst: as in `page`.  output: by default ``report.html`` in its folder."""
        from tenfold.reports.html import write_page

        path = self.path / PAGE if output is None else Path(output)
        page = self.page(folders=folders, worst=worst)
        write_page(path, page)
        return {
            "run": str(self.path),
            "output": str(path),
            "kind": self.record.kind,
            "sections": [section.title for section in page.sections],
            "bytes": path.stat().st_size if path.is_file() else 0,
            "notes": list(page.notes),
        }

    def plot_losses(self) -> Shown:
        """Plot the losses and learning rates of its training. Raises RunError where it has no epochs."""
        from tenfold.reports.html import Charts, Section, Shown, report_html
        from tenfold.reports.parts import curve_charts, rate_chart

        if not self.history:
            raise RunError(f"{self.path} has no epochs to draw", fix=self._without_epochs())
        charts = curve_charts(self.history, [str(target.name) for target in self.schema.targets])
        rate = rate_chart(self.history, self.record.trained_recipe)
        title = f"Losses of {self.path.name}"
        section = Section("", "", (Charts([*charts, *([rate] if rate else [])]),))
        return Shown(title, report_html(title, [section]), 340 * (1 + len(charts)) // 2 + 120)

    def _without_epochs(self) -> str:
        if self.members:
            runs = [run for member in self.members for run in member.runs]
            return f"its members have them: {', '.join(os.path.normpath(run.path) for run in runs)}"
        return (
            "give a run of a network; the page of factors is run.show(), and tenfold inspect looks into them"
        )

    def export(
        self,
        output: str | os.PathLike[str],
        options: ExportOptions = WHOLE_GRAPH,
        **changes: Unpack[ExportChanges],
    ) -> Exported:
        """Write what it answers with as a graph of ONNX (``.onnx``), and a JSON file that describes it.

        changes: fields of `options` by name. The graph is run by onnxruntime on held-out rows first.
        Raises RunError, with nothing written, where its answers differ by 1e-5 or more, DependencyError
        without the extra ``onnx``.
        """
        return self.write_graph(os.fspath(output), replace(options, **changes))

    def write_explanation(
        self,
        rows: Sequence[str] = (),
        options: ExplainOptions = SOME_ROWS,
        output: str | os.PathLike[str] | None = None,
    ) -> dict[str, object]:
        """Write the workbook of `explain`; returns what ``tenfold explain --json`` prints.

        output: an ``.xlsx`` file, by default ``explain.xlsx`` in the run's folder.
        """
        path = self.path / WORKBOOK if output is None else Path(output)
        if path.suffix.lower() != ".xlsx":
            raise OutputError(f"{path}: workbooks are written as .xlsx", fix="name it book.xlsx")
        if options.n < 1:
            raise RecipeError(f"n = {options.n}: one row at least is explained", fix="give n = 12")
        if options.items and not self.schema.rated:
            raise RecipeError("this run has no items", fix="leave out --item")
        made = self.explain(rows, options)
        made.book.write(path)
        return {**made.record, "output": str(path), "sheets": [sheet.name for sheet in made.book.sheets]}

    def options(self, options: PredictOptions, changes: PredictChanges) -> PredictOptions:
        """The options with these changes. Raises RecipeError for those that such a run does not take."""
        chosen: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        strange = next((name for name in chosen if name not in PredictChanges.__annotations__), None)
        if strange is not None:
            raise RecipeError(
                f"there is no option {strange!r}", fix=did_you_mean(strange, PredictChanges.__annotations__)
            )
        reading = chosen.pop("reading", options.reading)
        if "image" in chosen:
            reading = replace(reading, folders=self._folders(chosen.pop("image")))
        table, skip_bad = chosen.pop("table_options", reading.table), chosen.pop("skip_bad", reading.skip_bad)
        log = chosen.pop("on_note", options.log)
        made = replace(options, reading=replace(reading, table=table, skip_bad=skip_bad), log=log, **chosen)
        for field_ in fields(PredictOptions):
            given, name = getattr(made, field_.name), option(field_.name)
            if field_.name not in ("reading", "log", *self.takes) and given != field_.default:
                raise RecipeError(
                    f"{self.path} is {self.words}, which has no option {name}",
                    found=f"{name} = {given!r}",
                    fix=f"leave it out; it takes {', '.join(map(option, sorted(self.takes)))}",
                )
        return made

    def _folders(self, image: str | os.PathLike[str] | Mapping[str, str]) -> Mapping[str, str]:
        """Image column -> folder, of which a run with a single image column needs only the folder."""
        if isinstance(image, Mapping):
            return image
        names = [column.name for column in self.schema.images]
        if len(names) != 1:
            what = f"has the image columns {', '.join(names)}" if names else "reads no pictures"
            raise RecipeError(
                f"image = {os.fspath(image)!r}: {self.path} {what}",
                fix="give a folder for each: image={'photo': 'photos', ...}" if names else "leave it out",
            )
        return {names[0]: os.fspath(image)}

    def read_text(self, name: str) -> str:
        """Read a text file of the run."""
        return read_text(self.path, name)


def _from_here(path: Path) -> str:
    """A path as one would write it in the current folder, so that a notebook's link finds it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _words(name: str, scores: Scores) -> str:
    """A score in a few letters; "" where it is missing."""
    value = read_score(scores, name)
    if name not in scores or value != value:
        return ""
    if name in ("scored", "fallback"):
        return f"{value:.0f}"
    return f"{value:.1%}" if name.endswith(("error_rate", "subset_accuracy")) else score_text(value, digits=3)


@dataclass(frozen=True)
class Blended:
    """The result of blending runs.

    record: for ``run.json``, without what all blends have.  scores: member -> its own, on its held-out rows.
    """

    schema: Schema
    record: dict[str, Any]
    scores: Mapping[str, TargetScores]
    notes: Sequence[str]


class Ensemble(Run):
    """Many runs that answer together."""

    @classmethod
    @abstractmethod
    def blend(cls, folder: RunFolder, members: Sequence[Member[Any]], *, method: str, seed: int) -> Blended:
        """Find the members' weights by a method of `ensembles.weights`, in the folder of the blend.

        seed: of the folds in which learned weights are scored.
        """
