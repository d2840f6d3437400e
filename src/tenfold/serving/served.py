"""A run as the server asks it: rows, lists and neighbours in JSON's types."""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tenfold.collab.ids import as_ids, find_items, locate, near_items, title_words, words_of
from tenfold.errors import LISTED, ImageError, RatingsError, RecipeError, RunError, SchemaError, TenfoldError
from tenfold.events import Detail
from tenfold.files.records import answer_records, list_records
from tenfold.runs.options import PredictOptions, Reading
from tenfold.runs.place import DESCRIBED
from tenfold.runs.record import nan_to_none
from tenfold.runs.run import Run
from tenfold.serving.limits import Limits
from tenfold.values import Interactions, Neighbours, PairPredictions, Recommendations, id_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tenfold.networks.alike import Gallery
    from tenfold.networks.interpret import Interpreted
    from tenfold.recommenders.run import RecommenderRun

#: Cores that this process may use.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Of a network that takes pictures through a CPU; each lane has its share of the cores.
MOST_LANES = 4
#: A cell of a row as JSON has it.
Cell = str | int | float | bool | None
#: Rows of an answer.
Records = list[dict[str, object]]
#: From here on whole numbers and floating-point numbers of a column do not mix.
EXACT = 2**53
_DATA = re.compile(r"data:image/[\w.+-]+;base64,")


@dataclass(frozen=True)
class Upload:
    """A picture's file. name: as the user has it."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Asked:
    """Rows of a request: column -> cell."""

    rows: tuple[Mapping[str, Cell | Upload], ...]

    @property
    def size(self) -> int:
        """How many rows it has."""
        return len(self.rows)

    @property
    def key(self) -> Hashable:
        """Equal for rows that mean the same whether they stand in one table or in two.

        A column is read as one: an empty cell makes whole numbers floating point, and commas may be decimal.
        So rows of the same columns and types go together, and those with commas or large numbers alone.
        """
        shapes = {
            tuple(sorted((name, type(cell).__name__) for name, cell in row.items())) for row in self.rows
        }
        cells = [cell for row in self.rows for cell in row.values()]
        if len(shapes) > 1 or any(
            "," in cell if isinstance(cell, str) else isinstance(cell, int) and abs(cell) >= EXACT
            for cell in cells
        ):
            return object()
        return shapes.pop()


@dataclass(frozen=True)
class Answered:
    """The answer to a request: rows, and messages."""

    rows: Records
    notes: tuple[str, ...] = ()
    order: str = ""


class Served:
    """A run that answers requests. Its methods are called from threads.

    name: of the run within the server.  device: where networks compute.
    """

    def __init__(self, name: str, run: Run, limits: Limits, device: str = "auto") -> None:
        self.name, self.run, self.limits, self.device = name, run, limits, device
        members = [other for member in run.members for other in member.runs]
        self._files = [part.path / DESCRIBED for part in (run, *members)]
        self._opened = [(_mark(file), _content(file)) for file in self._files]
        self.gallery: Gallery | None = None

    @cached_property
    def lanes(self) -> int:
        """Batches at the same time. Of pictures several: a CPU gains nothing from larger batches, and beside
        a GPU one lane decodes while the other computes."""
        if not self.run.schema.images:
            return 1
        from tenfold.engine.device import pick_device

        return min(MOST_LANES, max(1, CORES)) if pick_device(self.device).type == "cpu" else 2

    @property
    def replaced(self) -> bool:
        """Whether the run's folder holds another run than was opened, or none."""
        # The description has the sums of all files: the same bytes are the same run, copied anew or not.
        return any(
            _mark(file) != mark and _content(file) != content
            for file, (mark, content) in zip(self._files, self._opened, strict=True)
        )

    def check(self) -> None:
        """Raise RunError where the run's folder was replaced."""
        if self.replaced:
            raise RunError(
                f"the folder of {self.name} was replaced since the server opened it", fix="start it again"
            )

    @property
    def recommender(self) -> RecommenderRun:
        """The run. Raises SchemaError where it is not one of ratings."""
        if not self.run.schema.rated:
            raise SchemaError(
                f"{self.name} is {self.run.words}, which lists no items", fix="ask POST /predict"
            )
        return cast("RecommenderRun", self.run)

    def warm(self) -> None:
        """Answer once, so that the first request finds all loaded. A run that refuses is asked later."""
        import numpy as np

        schema = self.run.schema
        try:
            self.run.quicken(self.device)
            if schema.rated:
                self.recommend(str(self.recommender.interactions.users[0]), 1)
            elif schema.images and not schema.columns:
                picture = np.zeros((32, 32, 3), np.uint8)
                self.run.predict({column.name: picture for column in schema.images}, self._options())
            else:
                self.run.predict([{column.name: None for column in schema.columns}], self._options())
        except TenfoldError:
            return

    # --- rows

    def asked(self, rows: Sequence[Mapping[str, Cell | Upload]]) -> Asked:
        """Rows as a question. A picture in a row of JSON is a ``data:`` address.

        Raises SchemaError for a picture by its path: whoever asks has no business with this machine's files.
        """
        if len(rows) > self.limits.max_rows:
            raise RecipeError(
                f"{len(rows)} rows in a request",
                fix=f"ask for {self.limits.max_rows} at most, and more often",
            )
        pictures = {column.name for column in self.run.schema.images}
        made: list[dict[str, Cell | Upload]] = []
        for number, row in enumerate(rows, start=1):
            if not row:
                raise SchemaError(f"row {number} is empty", fix=f"give {', '.join(self._inputs)}")
            made.append(
                {name: _picture(name, cell) if name in pictures else cell for name, cell in row.items()}
            )
            for name, cell in made[-1].items():
                if isinstance(cell, Upload) and name not in pictures:
                    raise SchemaError(
                        f"row {number}: {name} is not a picture",
                        found=cell.name,
                        fix=f"give {', '.join(self._inputs)}",
                    )
        return Asked(tuple(made))

    def uploads(self, files: Sequence[tuple[str, Upload]], cells: Mapping[str, str]) -> Asked:
        """A form as a question: a picture to each row where pictures are all, else a single row.

        files: (name of the field, picture).  cells: further fields.
        """
        images = [column.name for column in self.run.schema.images]
        if not images:
            raise SchemaError(f"{self.name} reads no pictures", fix=f"send JSON: {', '.join(self._inputs)}")
        if len(images) == 1 and not self.run.schema.columns:
            return self.asked([{images[0]: upload} for _, upload in files])
        row: dict[str, Cell | Upload] = dict(cells)
        for name, upload in files:
            column = images[0] if len(images) == 1 else name
            if column in row:
                raise SchemaError(f"there are two pictures of {column}", fix="send a row at a time")
            row[column] = upload
        return self.asked([row])

    @property
    def _inputs(self) -> list[str]:
        return [column.name for column in self.run.schema.inputs]

    def _options(self) -> PredictOptions:
        # Lanes work at the same time: threads within one would only wait for each other.
        options = PredictOptions(reading=Reading(max_pixels=self.limits.max_pixels, workers=0))
        if "device" in self.run.takes:
            options = replace(options, device=self.device)
        ranking = self.run.schema.rated and self.recommender.interactions.implicit
        return replace(options, ranking=ranking)

    def predict(self, asked: Sequence[Asked]) -> list[Answered | Exception]:
        """Answer questions of one key.

        They are predicted as one table. Where that is refused, or there is something to tell, each is
        predicted alone: nobody reads about the rows of others.
        """
        if len(asked) > 1:
            try:
                whole = self._predict(asked)
            except TenfoldError:
                pass
            else:
                if not whole.notes:
                    rows = iter(whole.rows)
                    return [Answered([next(rows) for _ in one.rows]) for one in asked]
        answers: list[Answered | Exception] = []
        for one in asked:
            try:
                answers.append(self._predict([one]))
            except TenfoldError as error:
                answers.append(error)
        return answers

    def _predict(self, asked: Sequence[Asked]) -> Answered:
        self.check()
        rows = [row for one in asked for row in one.rows]
        with tempfile.TemporaryDirectory(prefix="tenfold-serve-") as folder:
            names: dict[str, str] = {}
            try:
                answers = self.run.predict(_on_disk(rows, Path(folder), names), self._options())
            except ImageError as error:
                if not error.problems:
                    raise
                problems = [_named(problem, names) for problem in error.problems]
                raise ImageError(
                    problems[0] if len(problems) == 1 else f"{len(problems)} pictures cannot be used",
                    problems=problems[1:] and problems,
                ) from None
        notes = tuple(_named(note, names) for note in answers.notes if not isinstance(note, Detail))
        if isinstance(answers, PairPredictions):
            return Answered(_list(answers), notes)
        made = answer_records(answers, "row")
        numbers = [number for one in asked for number in range(1, one.size + 1)]
        for number, row, record in zip(numbers, rows, made, strict=True):
            own = [cell.name for cell in row.values() if isinstance(cell, Upload)]
            record["row"] = own[0] if own else id_text(row.get(self.run.schema.id or "")) or str(number)
        return Answered(made, notes)

    # --- photos that are alike

    def collect(self) -> None:
        """Prepare to show training photos. Raises RunError where they are not there any more."""
        if not self.run.schema.images:
            return
        self.gallery = cast("Interpreted", self.run).gallery(self.device)

    def alike(self, asked: Asked, n: int) -> Answered:
        """The training photos most alike to a photo."""
        self.check()
        if self.gallery is None:
            raise SchemaError(f"{self.name} shows no training photos", fix="serve it with --alike")
        with tempfile.TemporaryDirectory(prefix="tenfold-serve-") as folder:
            names: dict[str, str] = {}
            row = _on_disk(asked.rows[:1], Path(folder), names)
            try:
                found = self.gallery.alike(row, n, Reading(max_pixels=self.limits.max_pixels))
            except ImageError as error:
                raise ImageError(_named(error.problems[0], names), fix="send another picture") from None
        return Answered(
            [
                {
                    "row": one.id,
                    "cosine": round(one.cosine, 4),
                    "labels": dict(one.labels),
                    "picture": "data:image/jpeg;base64," + base64.b64encode(one.picture).decode("ascii"),
                }
                for one in found
            ]
        )

    # --- lists

    def recommend(self, user: str | None, n: int, ratings: Sequence[tuple[str, float]] = ()) -> Answered:
        """The list of a user.

        ratings: (item, rating) that are learned first, of this user, or of a new one where there is none.
        """
        self.check()
        run, notes = self.recommender, list[str]()
        if ratings:
            items, notes = self._items([item for item, _ in ratings])
            table: dict[str, object] = {"item": items}
            columns: dict[str, str | None] = {"item": "item", "time": "none"}
            if not run.interactions.implicit:
                table["rating"] = [rating for _, rating in ratings]
                columns["rating"] = "rating"
            run = run.with_ratings(table, user="me" if user is None else user, columns=columns)
            user = run.record.added_users[0]
            # What was read and learned is what was asked: there is nothing to say of it.
            run = replace(run, record=run.record.with_values(added_notes=[]))
        lists = run.recommend([user if user is not None else ""], n=n)
        return Answered(_list(lists), (*notes, *lists.notes), lists.order)

    def _items(self, asked: Sequence[str]) -> tuple[list[str], list[str]]:
        """Items by their ids, titles or words of these, and messages. RatingsError names unknown ones."""
        known = self._known
        found, notes = find_items(known, as_ids(asked))
        absent = [item for item, index in zip(found, locate(found, known.items), strict=True) if index < 0]
        if absent:
            raise RatingsError(
                f"{len(absent)} of {len(found)} items are not known to {self.name}",
                problems=[f"{item!r}: {near_items(known, item)}".rstrip(": ") for item in absent[:LISTED]],
                fix="name items by their ids or titles in the run",
            )
        return found.tolist(), notes

    def similar(self, item: str, n: int) -> Answered:
        """The items nearest to an item."""
        self.check()
        found = self.recommender.similar([item], n=n)
        return Answered(_list(found), found.notes)

    def users(self, text: str, n: int) -> Records:
        """Users whose ids have this text, those that begin with it first, with how many ratings they gave."""
        known, text = self.recommender.interactions, id_text(text)
        found = [index for index, user in enumerate(known.users) if text in user]
        found.sort(key=lambda index: (not known.users[index].startswith(text), len(known.users[index])))
        return [{"user": known.users[index], "ratings": int(known.given[index])} for index in found[:n]]

    def items(self, text: str, n: int) -> Records:
        """Items whose titles have words that begin so, the most rated first."""
        asked = words_of(text)
        found: Records = []
        for index in self._by_fame.tolist():
            item, words = self._titles[index]
            if all(any(word.startswith(part) for word in words) for part in asked):
                found.append({"item": item, "name": self._known.item_names.get(item) or item})
                if len(found) == n:
                    break
        return found

    def rated(self, user: str, n: int) -> Records:
        """What a user has rated, the highest ratings first."""
        known = self.recommender.interactions
        [index] = locate(as_ids(user), known.users)
        if index < 0:
            return []
        own = slice(known.seen_start[index], known.seen_start[index + 1])
        pairs = zip(known.seen_items[own].tolist(), known.seen_ratings[own].tolist(), strict=True)
        best = sorted(pairs, key=lambda pair: -pair[1])[:n]
        named = [(str(known.items[item]), rating) for item, rating in best]
        return [
            {"item": item, "name": known.item_names.get(item) or item, "rating": round(rating, 4)}
            for item, rating in named
        ]

    @property
    def _known(self) -> Interactions:
        return self.recommender.interactions

    @cached_property
    def _titles(self) -> list[tuple[str, list[str]]]:
        titled = title_words(self._known)
        return [(item, [*titled.get(item, ()), *words_of(item)]) for item in self._known.items]

    @cached_property
    def _by_fame(self) -> NDArray[np.int64]:
        return (-self._known.received).argsort(kind="stable")

    # --- what it is

    def about(self) -> dict[str, object]:
        """What the run takes and answers, for those who ask it and for the page."""
        schema = self.run.schema
        told: dict[str, object] = {
            "name": self.name,
            "kind": self.run.words,
            "what": schema.described,
            "images": [column.name for column in schema.images],
            "columns": [] if schema.rated else self._columns(),
            "targets": [str(target.name) for target in schema.targets if target.name],
            "recommends": schema.rated,
            "alike": self.gallery is not None,
        }
        if schema.rated:
            known = self._known
            told |= {
                "users": len(known.users),
                "items": len(known.items),
                "events": known.implicit,
                "scale": [float(known.scale[0]), float(known.scale[1])],
                "learns": self.recommender.scorer.fold_in is not None,
                "needs": list(self.recommender.scorer.columns),
            }
        return told

    def _columns(self) -> Records:
        """The columns of a row, each with the categories, or the mean, that the training saw."""
        seen = cast("Interpreted", self.run).columns_seen
        told: Records = []
        for column in self.run.schema.columns:
            stats = seen[column.name]
            more: dict[str, object] = (
                {"values": sorted(stats.words, key=lambda word: not word)}
                if stats.words
                else {"typical": round(stats.mean, 2)}
            )
            told.append({"name": column.name, "kind": column.kind, **more})
        return told


def _list(answers: Recommendations | Neighbours | PairPredictions) -> Records:
    return [nan_to_none(row) for row in list_records(answers)]


def _mark(file: Path) -> tuple[int, ...] | None:
    """What changes with a file; None where there is none."""
    try:
        about = os.stat(file)
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _picture(name: str, cell: Cell | Upload) -> Upload:
    """A picture's cell as its file."""
    if isinstance(cell, Upload):
        return cell
    match = _DATA.match(cell) if isinstance(cell, str) else None
    if isinstance(cell, str) and match:
        try:
            return Upload(name, base64.b64decode(cell[match.end() :], validate=True))
        except ValueError:
            raise SchemaError(
                f"{name}: the picture's address is not in base64",
                fix="write data:image/jpeg;base64, and the bytes of its file in base64",
            ) from None
    raise SchemaError(
        f"{name} is a picture, and {str(cell)[:80]!r} is none",
        fix="send its file in a form, or as 'data:image/jpeg;base64,...'",
    )


def _on_disk(
    rows: Sequence[Mapping[str, Cell | Upload]], folder: Path, names: dict[str, str]
) -> list[dict[str, object]]:
    """The rows with their pictures as files of a folder. names: file -> the name that the user knows."""
    made: list[dict[str, object]] = []
    for row in rows:
        made.append({})
        for column, cell in row.items():
            if isinstance(cell, Upload):
                file = f"picture{len(names):05d}"
                names[file] = cell.name
                (folder / file).write_bytes(cell.data)
                cell = str(folder / file)
            made[-1][column] = cell
    return made


def _named(message: str, names: Mapping[str, str]) -> str:
    """A message with the user's names of pictures."""
    message = re.sub(r"^the given rows (?:row|line) \d+: (?=picture\d{5})", "", message)
    return re.sub(r"picture\d{5}", lambda match: names.get(match[0], match[0]), message)
