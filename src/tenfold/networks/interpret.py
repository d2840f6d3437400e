"""What a network got right and wrong on its held-out rows: confusion, costly rows, samples; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RunError, did_you_mean
from tenfold.frames import RowTable, frame_of
from tenfold.metrics import score_text
from tenfold.reports.html import Photo
from tenfold.reports.notebook import confusion_html, photo_grid
from tenfold.reports.parts import answer_line, top_losses
from tenfold.reports.thumbnails import find_thumbnails
from tenfold.runs.folder import read_object
from tenfold.runs.heldout import HeldOutRows
from tenfold.runs.run import Run
from tenfold.targets.base import TargetEvaluation

if TYPE_CHECKING:
    from tenfold.data.encode import ColumnStats
    from tenfold.frames import Frame
    from tenfold.networks.alike import Gallery
    from tenfold.networks.opened import OpenedNetwork

Folders = Mapping[str, str] | None


@dataclass(frozen=True, repr=False)
class Confusion(RowTable):
    """How many held-out rows of each class were answered as each class.

    target: its name.  classes: names of rows and columns.
    counts: (labels, answers) int64, in the order of `classes`.
    """

    target: str
    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """``label``, and a column for each answer."""
        answers = dict(zip(self.classes, self.counts.T, strict=True))
        return {"label": np.array(self.classes, dtype=object), **answers}

    @property
    def headline(self) -> str:
        right, rows = int(np.trace(self.counts)), int(self.counts.sum())
        return f"{self.target}: {right} of {rows} held-out rows are right; labels down, answers across"

    def to_frame(self) -> Frame:
        """The counts as a data frame: an index of labels, and a column for each answer."""
        frame = frame_of(dict(zip(self.classes, self.counts.T, strict=True)), list(self.classes))
        frame.index.name, frame.columns.name = "label", "answer"
        return frame

    def most_confused(self, n: int = 10) -> list[tuple[str, str, int]]:
        """The n most frequent mistakes, as (label, answer, rows)."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:n]
        pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
        return [(self.classes[i], self.classes[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]]

    def _repr_html_(self) -> str:
        return confusion_html(self.headline, self.classes, self.counts)


@dataclass(frozen=True, repr=False)
class ShownRows(RowTable):
    """Some held-out rows, with their labels and answers, and small pictures where there are any.

    title: what they are.  cells: name -> (rows,) cells.  photos: a picture of each row, with lines about it.
    """

    title: str
    cells: Mapping[str, NDArray[np.generic]]
    photos: Sequence[Photo] = ()

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """``id``, labels, answers, and what was asked for."""
        return dict(self.cells)

    @property
    def headline(self) -> str:
        """What the rows are."""
        return self.title

    def _repr_html_(self) -> str:
        return photo_grid(self.title, self.photos) if self.photos else super()._repr_html_()


class Interpreted(Run):
    """A run of networks, whose held-out rows can be looked at."""

    @property
    def columns_seen(self) -> Mapping[str, ColumnStats]:
        """Column of categories or numbers -> what the training saw in it; of a blend its first member's."""
        first = self.members[0].runs[0] if self.members else self
        return cast("OpenedNetwork", first).encoding.columns

    def gallery(self, device: str = "auto") -> Gallery:
        """The photos of its training, to look for those alike to another; of a blend by its first member.

        Raises RunError where they are not there any more; see `networks.alike`.
        """
        from tenfold.networks.alike import build_gallery

        first = self.members[0].runs[0] if self.members else self
        return build_gallery(cast("OpenedNetwork", first), device)

    def confusion(self, target: str | None = None) -> Confusion:
        """How many held-out rows of each class were answered as each class.

        target: one of several.  ``.to_frame()`` makes a data frame, ``.most_confused()`` lists mistakes.
        Raises RunError for a target without exactly one class a row, or where no rows were held out.
        """
        held, own = self._evaluation(target)
        if own.codes is None or own.guesses is None:
            raise RunError(
                f"{own.name} has not one class a row, so there is no table of labels and answers",
                fix="run.top_losses() has its worst rows, run.show() its classes",
            )
        known = own.codes >= 0
        counts = np.zeros((len(own.names), len(own.names)), dtype=np.int64)
        np.add.at(counts, (own.codes[known], own.guesses[known]), 1)
        return Confusion(own.name, tuple(own.names), counts)

    def top_losses(self, n: int = 9, target: str | None = None, *, folders: Folders = None) -> ShownRows:
        """The held-out rows that cost most: hard ones, rare ones, and wrong labels.

        target: one of several.  folders: image column -> folder, if the pictures have moved.
        """
        held, own = self._evaluation(target)
        rows = top_losses(own, n)
        sure = {} if own.codes is None else {"probability": own.sure[rows]}
        cells = {
            "id": _words([held.ids[row] for row in rows]),
            own.name: _words([own.label[row] for row in rows]),
            "answer": _words([own.predicted[row] for row in rows]),
            **sure,
            own.loss_word: own.loss[rows],
        }
        lines = [
            [answer_line(own, row), f"{own.loss_word} {score_text(own.loss[row], digits=3)}"] for row in rows
        ]
        title = f"{own.name}: the {len(rows)} held-out rows of the highest {own.loss_word}"
        return ShownRows(title, cells, self._photos(held, rows, lines, [own], folders))

    def show_results(self, n: int = 9, *, seed: int = 0, folders: Folders = None) -> ShownRows:
        """Some held-out rows with their labels and answers, drawn from the seed.

        folders: image column -> folder, if the pictures have moved.
        """
        held, _ = self._evaluation(None, one=False)
        drawn: list[int] = np.sort(np.random.default_rng(seed).permutation(len(held.ids))[:n]).tolist()
        cells: dict[str, NDArray[np.generic]] = {"id": _words([held.ids[row] for row in drawn])}
        for own in held.evaluations:
            cells[own.name] = _words([own.label[row] for row in drawn])
            cells[f"{own.name}: answer"] = _words([own.predicted[row] for row in drawn])
        many = len(held.evaluations) > 1
        lines = [[answer_line(own, row, named=many) for own in held.evaluations] for row in drawn]
        title = f"{len(drawn)} of {len(held.ids)} held-out rows: label \u2192 answer"
        return ShownRows(title, cells, self._photos(held, drawn, lines, held.evaluations, folders))

    def _evaluation(self, target: str | None, *, one: bool = True) -> tuple[HeldOutRows, TargetEvaluation]:
        held = self.held_out()
        if not held.evaluations:
            raise RunError(
                f"{self.path} held out no rows, so nothing is known of its mistakes",
                fix="fit with valid=0.2, or score a table with run.evaluate(table)",
            )
        names = [own.name for own in held.evaluations]
        if target is None and one and len(names) > 1:
            raise RunError(
                "the run has several targets", found=", ".join(names), fix=f"give target={names[0]!r}"
            )
        own = held.evaluations[0] if target is None else held.of(target)
        if own is None:
            raise RunError(f"there is no target {target!r}", fix=did_you_mean(str(target), names))
        return held, own

    def _photos(
        self,
        held: HeldOutRows,
        rows: Sequence[int],
        lines: Sequence[Sequence[str]],
        targets: Sequence[TargetEvaluation],
        folders: Folders,
    ) -> list[Photo]:
        """A small picture of each row, marked by whether all of the targets are right."""
        if not self.schema.images:
            return []
        encoding = read_object(self.path, "encoding.json") if (self.path / "encoding.json").exists() else {}
        found, _ = find_thumbnails(
            self.schema,
            self.record.values,
            held.ids,
            rows,
            dict(folders or {}),
            white=next(iter(encoding.get("white", ())), None),
        )
        judged = [own for own in targets if own.truth is None]
        right = [all(own.right[row] or not own.known[row] for own in judged) for row in rows]
        marks = ["" if not judged else "right" if good else "wrong" for good in right]
        return [
            Photo(held.ids[row], found.get(row), own, mark)
            for row, own, mark in zip(rows, lines, marks, strict=True)
        ]


def _words(words: Sequence[str]) -> NDArray[np.object_]:
    return np.array(words, dtype=object)
