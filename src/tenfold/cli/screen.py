"""What a person sees: progress, decisions, scores. Progress goes to standard error, results to output."""

from __future__ import annotations

import codecs
import io
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

from tenfold.errors import UNSEEN, printable
from tenfold.events import EpochEnded, Event, ImagesRead, RowsPredicted, StepEnded, SweepEnded
from tenfold.remedies import advice
from tenfold.targets.words import EPOCH, HEADINGS, SHORT

_errors = Console(stderr=True, highlight=False, soft_wrap=True)
# A pipe or a file has no width of its own; tables are cut to a person's window only.
_output = Console(highlight=False, soft_wrap=True, width=None if sys.stdout and sys.stdout.isatty() else 140)


class Outlet:
    """Standard output or error that never ends a command, whose work is worth more than its words: after the
    first failure (a full disk, a reader that has gone) nothing is written any more.

    fault: what went wrong, or None.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self.fault = stream, None

    def write(self, text: str) -> int:
        """As any text stream."""
        return self._try(self._stream.write, text) or 0

    def flush(self) -> None:
        """As any text stream."""
        self._try(self._stream.flush)

    def _try(self, do: Callable[..., Any], *given: str) -> Any:
        try:
            return do(*given)
        except OSError as error:
            self.fault = self.fault or error
            # What waits to be written goes where it cannot fail, now and when Python ends.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def take_any_text() -> None:
    """Let standard output and error take any text, whatever the locale: a name of another script must not
    end a command whose work is done. Letters that the encoding lacks are shown as ``\\u56fe``, and bytes of
    file names that are no text leave as they came. A stream that is closed or full ends none either.
    """
    codecs.register_error("tenfold", _shown_anyhow)
    for number in (0, 1, 2):
        # Or the next file that is opened, a table or a run's, would be standard output.
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tenfold")
        setattr(sys, name, Outlet(stream))


def untold() -> str:
    """Why standard output has not taken the answer, or "" where it has, or where its reader has just gone."""
    sys.stdout.flush()
    fault = getattr(sys.stdout, "fault", None)
    return "" if fault is None or isinstance(fault, BrokenPipeError) else str(fault.strerror)


def _shown_anyhow(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = b""
    for letter in error.object[error.start : error.end]:
        raw = 0xDC80 <= ord(letter) <= 0xDCFF  # a byte that Python could not decode (PEP 383)
        found += bytes([ord(letter) - 0xDC00]) if raw else letter.encode("ascii", "backslashreplace")
    return found, error.end


def as_text(text: object) -> Text:
    """A cell of a table: nothing in it is read as markup, and no sign of it is obeyed by the terminal."""
    return Text(printable(str(text)).replace("\n", "\\n").replace("\t", "\\t"))


def say(text: str) -> None:
    """A line, or an error's lines, to standard error; advises what the running command has (`remedies`)."""
    _errors.print(Text(printable(advice(text))))


def tell(text: str) -> None:
    """One line to standard output."""
    _output.print(Text(printable(text)))


def progress_console() -> Console:
    """Where progress goes."""
    return _errors


def output_grid(grid: Grid) -> None:
    """A table to standard output."""
    _output.print(grid)


def print_json(value: object) -> None:
    """One JSON object on standard output; what is not a number (no labels) is null."""
    plain = _finite(value)
    text = UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(plain, ensure_ascii=False))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(plain)  # the same object in ASCII letters
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numbers and arrays of numpy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {
            str(key): [advice(str(text)) for text in one] if key == "notes" else _finite(one)
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value


class Display:
    """A progress bar and the lines above it, on standard error."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[extra]}", markup=False),
            console=_errors,
            transient=True,
        )
        self._task: Any = None
        self._name = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """A decision, above the bar."""
        say(text)

    def progress(self, event: Event) -> None:
        """Images read, steps taken, epochs finished."""
        match event:
            case ImagesRead():
                self._show(f"reading {event.column}", event.done, event.total)
            case RowsPredicted():
                self._show("predicting", event.done, event.total)
            case StepEnded():
                losses = "  ".join(f"{name} {figure(loss, digits=3)}" for name, loss in event.losses.items())
                name = f"epoch {event.epoch + 1}/{event.epochs}"
                name = f"{_HEAD}, {name}" if event.stage == "head" else name
                self._show(name, event.step, event.steps, f"loss {losses}")
            case EpochEnded():
                self.note(epoch_line(event.record()))
            case SweepEnded():
                self._show("sweeps", event.done, event.total, event.extra)

    def _show(self, name: str, done: int, total: int, extra: str = "") -> None:
        name, extra = printable(name), printable(extra)
        if self._task is None or name != self._name:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._name = self._bar.add_task(name, total=total, extra=extra), name
        self._bar.update(self._task, completed=done, total=total, extra=extra)


#: What an epoch is called in which the last layer alone is trained.
_HEAD = "last layer alone"


def epoch_line(record: Mapping[str, Any]) -> str:
    """An epoch in one line: each target's training loss, and its scores on the validation rows."""
    parts = [f"epoch {record['epoch'] + 1:>2} ({_HEAD if record['stage'] == 'head' else record['stage']})"]
    steps = record.get("epoch_steps", 0)
    skipped = steps - record.get("updates", steps)
    for name in dict.fromkeys([*record["train"], *record["valid"]]):
        train, valid = record["train"].get(name, {}), record["valid"].get(name)
        loss = "no update" if skipped and "loss" not in train else _number(train.get("loss", math.nan))
        text = f"{name}: loss {loss}"
        if valid is not None:
            told = [f"{word} {_cell(key, valid)}" for key, word in EPOCH.items() if key in valid]
            text += ", " + ", ".join(told)
        weight = record.get("task_weights", {}).get(name, 1.0)
        if weight != 1.0:
            text += f", weight {weight:.2f}"
        parts.append(text)
    if skipped:
        parts.append(f"{skipped} of {steps} updates skipped (half precision overflowed)")
    return "   ".join([*parts, f"{record['seconds']:.0f} s"])


def figure(value: float, *, digits: int = 4, nothing: str = "no labels") -> str:
    """A score as `metrics.score_text` writes it."""
    from tenfold.metrics import score_text  # late, since --help needs no arrays

    return score_text(value, digits=digits, nothing=nothing)


def _number(value: float) -> str:
    return figure(value, digits=3)


def _percent(value: float) -> str:
    return "no labels" if value != value else f"{value:.1%}"


#: Scores of lists, and their headings.
_LISTS = {
    "precision": "precision",
    "recall": "recall",
    "hit": "hit",
    "ndcg": "NDCG",
    "coverage": "coverage",
    "users": "users",
}


def show_scores(targets: Mapping[str, Mapping[str, Any]]) -> None:
    """Tables of scores: one row per target, then its baselines; and of lists, where there are any.

    Targets of different kinds have different scores, and so a table for each kind.
    """
    alike: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for name, scores in targets.items():
        shown = tuple(one for one in HEADINGS if one in scores and one != "auc")
        if shown:
            alike.setdefault(shown, {})[name] = scores
    for group in alike.values():
        _show_grid("target", HEADINGS, group)
    for scores in targets.values():
        if "lists" in scores:
            _show_grid(f"lists of {scores['lists']['n']}", _LISTS, {"this run": scores["lists"]})


def _show_grid(title: str, names: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> None:
    every = {}
    for name, scores in rows.items():
        beside = scores.get("baselines", {})
        every |= {name: scores, **{f"  {one.replace('_', ' ')}": beside[one] for one in beside}}
    shown = [name for name in names if any(name in scores for scores in every.values())]
    if not shown:
        return
    grid = Grid(box=None, pad_edge=False)
    grid.add_column(as_text(title))
    for name in shown:
        grid.add_column(names[name], justify="right")
    for name, scores in every.items():
        grid.add_row(as_text(name), *(_cell(one, scores) for one in shown))
    _output.print(grid)


def _cell(name: str, scores: Mapping[str, Any]) -> str:
    value = scores.get(name)
    if value is None:
        return ""
    if value != value and scores.get("scored"):
        return "undefined"  # there are labels, of which this score says nothing: all alike, for example
    if name in ("scored", "fallback", "users"):
        return str(int(value))
    part = name.endswith(("error_rate", "subset_accuracy", "none_rate"))
    return _percent(value) if part else _number(value)


def show_rows(columns: Mapping[str, Any], most: int = 5) -> None:
    """The first rows of a table."""
    grid = Grid(box=None, pad_edge=False)
    for name in columns:
        grid.add_column(as_text(name))
    for row in zip(*(list(cells[:most]) for cells in columns.values()), strict=True):
        grid.add_row(*(as_text(cell) for cell in row))
    _output.print(grid)


def show_records(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of one kind as a table: lists, neighbours, predicted pairs."""
    if not rows:
        return
    grid = Grid(box=None, pad_edge=False)
    for name, value in rows[0].items():
        grid.add_column(as_text(name), justify="right" if isinstance(value, (int, float)) else "left")
    for row in rows:
        grid.add_row(*(as_text(_shown(value)) for value in row.values()))
    _output.print(grid)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return figure(value, digits=3, nothing="")
    if isinstance(value, list):  # reasons: the rated items that moved the score, and how far
        return "; ".join(f"{one['name']} ({one['moved']:+.2f})" for one in value)
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def show_rates(curve: Any, output: str | None) -> None:
    """A few points of a rate curve, and what it suggests."""
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("rate", justify="right")
    grid.add_column("loss", justify="right")
    stride = max(1, len(curve.rates) // 16)
    for rate, loss in list(zip(curve.rates, curve.losses, strict=True))[::stride]:
        grid.add_row(f"{rate:.1e}", figure(loss))
    _output.print(grid)
    tell(f"steepest at {curve.steepest:.1e}: try --lr {curve.steepest:.1e}")
    if output:
        tell(f"curve: {output}")


def show_tuned(record: Mapping[str, Any]) -> None:
    """Every value that was tried with its score, and what follows from them."""
    grid = Grid(box=None, pad_edge=False)
    several = len(record["seeds"]) > 1
    targets = dict.fromkeys(name for one in record["settings"] for name in one["targets"])
    shown = [
        (name, key)
        for name in targets
        for key in (*SHORT, "mae")
        if any(key in one["targets"].get(name, {}) for one in record["settings"]) and key != record["score"]
    ]
    heads = [record["tuned"].replace("_", " "), record["score"]]
    heads += ["between seeds", "behind"] if several else []
    for name in (*heads, *(f"{name} {HEADINGS[key]}" for name, key in shown)):
        grid.add_column(as_text(name), justify="right")
    grid.add_column("")
    for one in record["settings"]:
        words = [f"{one['value']:g}", _number4(one["mean"])]
        words += [_number4(one["deviation"]), _number4(one["behind"])] if several else []
        found = [(key, one["targets"].get(name, {}).get(key)) for name, key in shown]
        words += [
            "-" if value is not None and value != value else _cell(key, {key: value}) for key, value in found
        ]
        marks = ["best"] if one["value"] == record["best"] else []
        marks += ["recipe"] if one["value"] == record["recipe_value"] else []
        grid.add_row(*words, as_text(", ".join(marks) or one["failed"] or ""))
    _output.print(grid)
    for line in record["verdict"]:
        tell(line)
    if record["output"]:
        tell(f"picture: {record['output']}")


def _number4(value: float) -> str:
    return figure(value, nothing="-")


def signed(value: float) -> str:
    """A difference of scores, with its sign."""
    if not math.isfinite(value):
        return "-"
    return ("" if value < 0 else "+") + figure(value + 0.0)  # of -0.0 the sign is no news


def show_compared(record: Mapping[str, Any]) -> None:
    """Each target alone and together with the others, and what their difference is worth."""
    grid = Grid(box=None, pad_edge=False)
    for name in ("target", "score", "alone", "together", "difference", "standard error", "95 % interval"):
        grid.add_column(name, justify="left" if name in ("target", "score") else "right")
    partial: list[str] = []
    for name, one in record["targets"].items():
        for score, found in one["scores"].items():
            low, high = found["interval"]
            numbers = (found["alone"], found["together"])
            grid.add_row(
                as_text(name if score == one["score"] else ""),
                HEADINGS.get(score, score),
                *(_number4(value) for value in numbers),
                signed(found["difference"]),
                _number4(found["standard_error"]),
                "-" if low != low else f"{signed(low)} to {signed(high)}",
            )
            pairs = len(one["per_fold"])
            if found["pairs"] < pairs:
                partial.append(f"{name}, {HEADINGS.get(score, score)}: {found['pairs']} of {pairs} pairs")
    _output.print(grid)
    if partial:
        tell(f"means are of the pairs in which the score is defined: {'; '.join(partial)}")
    for name, one in record["targets"].items():
        others = " and ".join(one["others"])
        verdict = {
            "helps": f"learning {others} too helps {name}",
            "harms": f"learning {others} too harms {name}",
            "not defined": f"whether learning {others} too helps {name} cannot be told in any fold",
        }.get(one["answer"], f"whether learning {others} too helps {name} cannot be told from chance")
        tell(f"{verdict} ({HEADINGS.get(one['score'], one['score'])}, {len(one['per_fold'])} pairs)")


def show_plans(found: Sequence[Any], plot: str | None) -> None:
    """One row per architecture: how it is cut, what it needs, and of what."""
    grid = Grid(box=None, pad_edge=False)
    for name in ("architecture", "rows at once", "GiB", "low to high", "undivided", "largest batch"):
        grid.add_column(name, justify="left" if name == "architecture" else "right", no_wrap=True)
    for one in found:
        plan = one.record()
        if "reason" in plan:
            grid.add_row(as_text(plan["arch"]), "no plan")
            continue
        low, high = plan["band_bytes"]
        grid.add_row(
            as_text(plan["arch"]),
            f"{plan['micro_batch']} x {plan['accumulation']}" + (" *" if plan["checkpoint"] else ""),
            f"{plan['process_bytes'] / 2**30:.1f}" + ("" if plan["fits"] else "!"),
            f"{low / 2**30:.1f}-{high / 2**30:.1f}",
            "fits" if plan["fits_whole"] else "no",
            str(plan["largest_batch"]),
        )
    _output.print(grid)
    for one in found:
        plan = one.record()
        if "reason" in plan:
            tell(f"{plan['arch']}: {plan['reason']}")
            continue
        parts = ", ".join(f"{name} {_gib(size)}" for name, size in plan["parts"].items() if size)
        tell(f"{plan['arch']}: {parts}")
    for note in dict.fromkeys(note for one in found for note in one.record().get("notes", ())):
        tell(advice(f"  {note}"))
    if plot:
        tell(f"picture: {plot}")


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def show_inspection(found: Any, output: str | None) -> None:
    """A ratings run in tables: the crosstab, items by bias, the ends of the map, a score's terms."""
    tell(f"{found.lead}\n\nratings, and (predictions in the gaps): users across, items down")
    table = found.crosstab
    # As many users as the window has room for; the JSON and the report have all.
    fit = max(1, (_output.width - 32) // 7)
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("")
    for user in table.users[:fit]:
        grid.add_column(as_text(_short(user, 6)), justify="right", no_wrap=True)
    for item, name in enumerate(table.names):
        pairs = zip(table.rating[:fit, item].tolist(), table.predicted[:fit, item].tolist(), strict=True)
        cells = [f"{given:g}" if given == given else f"({guessed:.1f})" for given, guessed in pairs]
        grid.add_row(as_text(_short(name, 28)), *cells)
    _output.print(grid)
    for title, items in (
        ("good beyond their audience", found.best),
        ("bad in spite of their audience", found.worst),
    ):
        if items:
            tell(f"\n{title}")
            show_records([{**vars(one), "name": _short(one.name, 40)} for one in items])
    if found.map:
        tell("\nthe directions in which items differ most")
    for axis in range(2 if found.map else 0):
        low, high = found.map.ends(axis)
        tell(f"  {found.map.share[axis]:.0%} of the variance: {'; '.join(low)}  <->  {'; '.join(high)}")
    tell("\none-hot x matrix = look-up")
    for one in found.lookups:
        shown = " ".join(f"{value:.3f}" for value in one.looked_up[:6])
        verdict = "equal" if one.equal else "NOT equal"
        tell(f"  {one.what} {one.id}: row {one.row} of {one.rows}, {shown} ...: {verdict}")
    tell("  " + ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.terms.items()))
    for note in found.notes:
        tell(advice(note))
    if output:
        tell(f"report: {output}")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def show_demo(data: Any, summary: Mapping[str, Any], submission: Any, scores: Mapping[str, Any]) -> None:
    """What the demo did, and where everything is."""
    tell("\nOn the rows held out from training:")
    show_scores(summary["targets"])
    tell("\nOn the test folder, whose answers the network never saw:")
    show_scores(scores["targets"])
    tell("\nWhere everything is:")
    for what, where in (
        ("table", data.train),
        ("pictures", data.photos),
        ("run", summary["run"]),
        ("submission", submission),
    ):
        tell(f"  {what:<11} {where}")
    tell(
        f"\nThe same with your own photos:\n  tenfold fit {data.train} --image image_id={data.photos} "
        "--target disease --target variety -o runs/first"
    )


def show_demo_ratings(data: Any, found: Mapping[str, Any]) -> None:
    """The second act: how near the truth the run came, and ten films with the reasons for them."""
    tell("\nOn the ratings held out (the truth itself misses them by its noise and by rounding to stars):")
    errors = {"this run": found["rmse"], "the truth": found["truth_rmse"], **found["baselines"]}
    show_records([{"": name.replace("_", " "), "RMSE": value} for name, value in errors.items()])
    tell(
        f"\nNeighbours: of the {found['neighbours']} films truly nearest to a film, "
        f"{found['neighbours_found']:.1f} are among the {found['neighbours']} that were found, on average "
        f"(by chance {found['neighbours_by_chance']:.1f}); for {found['nearest_found']} of {found['films']} "
        "films the nearest one of all is."
    )
    tell(
        f"\nTen films for {found['user']}, who is hard to please and has rated none of them; "
        "truth is what they would get:"
    )
    show_records(found["recommended"])
    tell(
        f"\nThe same with your own ratings:\n  tenfold fit {data.ratings} --user user --item item "
        f"--target rating --item-table {data.films} --item-name title -o runs/films\n"
        f"  tenfold inspect {found['run']} -o films.html"
    )


def show_explained(found: Mapping[str, Any]) -> None:
    """Which rows a workbook explains, and where it is."""
    from tenfold.workbooks.rows import explained_rows

    rows = explained_rows(found)
    show_records(rows)
    if rows and "training loss" in rows[0]:
        tell(
            "training loss: before calibration, with label smoothing; the report's is -log of the probability"
        )
    if "users" in found:
        tell(f"{len(found['users'])} users by {len(found['items'])} items, {found['rated']} ratings")
        tell(
            "RMSE over these ratings: "
            + ("none" if found["rmse"] != found["rmse"] else f"{found['rmse']:.4f}")
        )
    for note in found["notes"]:
        say(note)
    tell(f"sheets: {', '.join(found['sheets'])}")
    tell(f"workbook: {found['output']}")
