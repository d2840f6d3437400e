"""What a person sees: progress, decisions, scores. Progress goes to standard error, results to output."""

from __future__ import annotations

import codecs
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, SupportsFloat, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

from tenfold.errors import UNSEEN, printable
from tenfold.events import EpochEnded, Event, ImagesRead, RowsPredicted, StepEnded, SweepEnded
from tenfold.remedies import advice
from tenfold.targets.words import EPOCH, HEADINGS, SHORT

if TYPE_CHECKING:
    from tenfold.engine.finder import RateCurve
    from tenfold.memory.plan import Plan, Refusal
    from tenfold.recommenders.inspect import Inspection
    from tenfold.runs.run import Run
    from tenfold.studies.compare import Compared
    from tenfold.studies.demo import DemoData, DemoRatings, RatingsScores
    from tenfold.studies.trials import Tuned

#: Score -> value, or scores of another kind.
Scores = Mapping[str, object]

_errors = Console(stderr=True, highlight=False, soft_wrap=True)
# A pipe or a file has no width of its own; tables are cut to a person's window only.
_output = Console(highlight=False, soft_wrap=True, width=None if sys.stdout and sys.stdout.isatty() else 140)


class Outlet:
    """Standard output or error that never ends a command. After the first failure (a full disk, a closed
    pipe), which `fault` keeps, it writes nothing more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """As any text stream."""
        return self._try(self._stream.write, text) or 0

    def flush(self) -> None:
        """As any text stream."""
        self._try(self._stream.flush)

    def _try(self, do: Callable[..., int | None], *given: str) -> int | None:
        try:
            return do(*given)
        except OSError as error:
            self.fault = self.fault or error
            # The text in the buffer goes where it cannot fail, now and when Python ends.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            return None

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def take_any_text() -> None:
    """Let standard output and error take any text, whatever the locale, so that no file name ends a command.

    Letters that the encoding lacks are shown as ``\\u56fe``; undecodable bytes of file names are written as
    they are. A closed or full stream does not end a command either.
    """
    codecs.register_error("tenfold", _shown_anyhow)
    for number in (0, 1, 2):
        # Otherwise the next file that is opened, a table for example, would be standard output.
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
    """Return why standard output did not take the answer; "" if it did, or if its reader closed the pipe."""
    sys.stdout.flush()
    fault = getattr(sys.stdout, "fault", None)
    return "" if fault is None or isinstance(fault, BrokenPipeError) else str(fault.strerror)


def _shown_anyhow(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    shown = b""
    for letter in error.object[error.start : error.end]:
        raw = 0xDC80 <= ord(letter) <= 0xDCFF  # a byte that Python could not decode (PEP 383)
        shown += bytes([ord(letter) - 0xDC00]) if raw else letter.encode("ascii", "backslashreplace")
    return shown, error.end


def as_text(text: object) -> Text:
    """Return a cell of a table, without markup and without control characters."""
    return Text(printable(str(text)).replace("\n", "\\n").replace("\t", "\\t"))


def say(text: str) -> None:
    """Print lines on standard error, with advice that names options of the running command (`remedies`)."""
    _errors.print(Text(printable(advice(text))))


def tell(text: str) -> None:
    """Print a line on standard output."""
    _output.print(Text(printable(text)))


def progress_console() -> Console:
    """Return the console of standard error, where progress goes."""
    return _errors


def grid_of(headings: Iterable[str], *, left: Collection[str] = (), no_wrap: bool = False) -> Grid:
    """Return an empty table. left: headings of columns of text; the others are of numbers, to the right."""
    grid = Grid(box=None, pad_edge=False)
    for heading in headings:
        grid.add_column(as_text(heading), justify="left" if heading in left else "right", no_wrap=no_wrap)
    return grid


def output_grid(grid: Grid) -> None:
    """Print a table on standard output."""
    _output.print(grid)


def print_json(value: object) -> None:
    """Print a JSON object on standard output; NaN is null."""
    plain = _finite(value)
    text = UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(plain, ensure_ascii=False))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(plain)  # the same object in ASCII letters
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _finite(value: object) -> object:
    value = getattr(value, "tolist", lambda: value)()  # numbers and arrays of numpy
    if isinstance(value, Mapping):
        return {
            str(key): [advice(str(note)) for note in cell] if key == "notes" else _finite(cell)
            for key, cell in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_finite(cell) for cell in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


#: Seconds between two lines of progress where there is no terminal.
SECONDS_BETWEEN_LINES = 15.0


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
        self._task: TaskID | None = None
        self._name = ""
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Print a message above the bar."""
        say(text)

    def progress(self, event: Event) -> None:
        """Show an event."""
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
                self.note(epoch_line(event))
            case SweepEnded():
                self._show("sweeps", event.done, event.total, event.extra)

    def _show(self, name: str, done: int, total: int, extra: str = "") -> None:
        name, extra = printable(name), printable(extra)
        if not _errors.is_terminal and time.monotonic() - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = time.monotonic()
            self.note(f"{name}: {done}/{total}  {extra}".rstrip())
        if self._task is None or name != self._name:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._name = self._bar.add_task(name, total=total, extra=extra), name
        self._bar.update(self._task, completed=done, total=total, extra=extra)


#: The stage in which the last layer alone is trained.
_HEAD = "last layer alone"


def epoch_line(epoch: EpochEnded) -> str:
    """Return an epoch in one line: each target's training loss, and its scores on the validation rows."""
    parts = [f"epoch {epoch.epoch + 1:>2} ({_HEAD if epoch.stage == 'head' else epoch.stage})"]
    steps = epoch.epoch_steps or 0
    skipped = 0 if epoch.updates is None else steps - epoch.updates
    for name in dict.fromkeys([*epoch.train, *epoch.valid]):
        train, valid = epoch.train.get(name, {}), epoch.valid.get(name)
        text = f"{name}: loss {'no update' if skipped and 'loss' not in train else _cell('loss', train)}"
        if valid is not None:
            shown = (f"{word} {_cell(key, valid)}" for key, word in EPOCH.items() if key in valid)
            text += f", {', '.join(shown)}"
        weight = epoch.task_weights.get(name, 1.0)
        parts.append(text if weight == 1.0 else f"{text}, weight {weight:.2f}")
    if skipped:
        parts.append(f"{skipped} of {steps} updates skipped (half precision overflowed)")
    return "   ".join([*parts, f"{epoch.seconds:.0f} s"])


def figure(value: float, *, digits: int = 4, nothing: str = "no labels") -> str:
    """Return a score as `metrics.score_text` writes it."""
    from tenfold.metrics import score_text  # late, since --help needs no arrays

    return score_text(value, digits=digits, nothing=nothing)


#: Scores of lists, and their headings.
_LISTS = {name: name for name in ("precision", "recall", "hit", "ndcg", "coverage", "users")}
_LISTS["ndcg"] = "NDCG"


def show_scores(targets: Mapping[str, Scores]) -> None:
    """Print tables of scores: a row for each target, then its baselines; and of lists, if there are any.

    Each kind of target has other scores, and so a table of its own.
    """
    alike: dict[tuple[str, ...], dict[str, Scores]] = {}
    for name, scores in targets.items():
        shown = tuple(score for score in HEADINGS if score in scores and score != "auc")
        if shown:
            alike.setdefault(shown, {})[name] = scores
    for group in alike.values():
        _show_grid("target", HEADINGS, group)
    for scores in targets.values():
        if lists := _inner(scores, "lists"):
            _show_grid(f"lists of {lists['n']}", _LISTS, {"this run": lists})


def _inner(scores: Scores, name: str) -> Scores:
    """Return scores within scores; nothing where there are none."""
    inner = scores.get(name)
    return inner if isinstance(inner, Mapping) else {}


def _show_grid(title: str, names: Mapping[str, str], targets: Mapping[str, Scores]) -> None:
    rows: dict[str, Scores] = {}
    for name, scores in targets.items():
        baselines = _inner(scores, "baselines")
        rows[name] = scores
        rows |= {f"  {base.replace('_', ' ')}": _inner(baselines, base) for base in baselines}
    shown = [name for name in names if any(name in scores for scores in rows.values())]
    if not shown:
        return
    grid = grid_of([title, *(names[name] for name in shown)], left=[title])
    for name, scores in rows.items():
        grid.add_row(as_text(name), *(_cell(score, scores) for score in shown))
    output_grid(grid)


def _cell(name: str, scores: Scores) -> str:
    """Return a score in words: a share in percent, a count as a whole number; "" where it is missing."""
    score = scores.get(name, math.nan if name == "loss" else None)
    if not isinstance(score, SupportsFloat):
        return ""
    value = float(score)
    if math.isnan(value) and scores.get("scored"):
        return "undefined"  # there are labels for which this score is not defined, for example all alike
    if name in ("scored", "fallback", "users"):
        return str(int(value))
    if name.endswith(("error_rate", "subset_accuracy", "none_rate")) and not math.isnan(value):
        return f"{value:.1%}"
    return figure(value, digits=3)


def show_rows(columns: Mapping[str, Sequence[object]], most: int = 5) -> None:
    """Print the first rows of a table."""
    grid = grid_of(columns, left=columns)
    for row in zip(*(cells[:most] for cells in columns.values()), strict=True):
        grid.add_row(*(as_text(cell) for cell in row))
    output_grid(grid)


def show_records(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows of one kind as a table: lists, neighbours, predicted pairs."""
    if not rows:
        return
    texts = [name for name, value in rows[0].items() if not isinstance(value, (int, float))]
    grid = grid_of(rows[0], left=texts)
    for row in rows:
        grid.add_row(*(as_text(_shown(value)) for value in row.values()))
    output_grid(grid)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return figure(value, digits=3, nothing="")
    if isinstance(value, list):  # reasons: the rated items that moved the score, and how far
        return "; ".join(f"{reason['name']} ({reason['moved']:+.2f})" for reason in value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def show_rates(curve: RateCurve, output: str | None) -> None:
    """Print a few points of a rate curve, and the rate it suggests."""
    grid = grid_of(("rate", "loss"))
    stride = max(1, len(curve.rates) // 16)
    for rate, loss in zip(curve.rates[::stride], curve.losses[::stride], strict=True):
        grid.add_row(f"{rate:.1e}", figure(loss))
    output_grid(grid)
    tell(f"steepest at {curve.steepest:.1e}: try --lr {curve.steepest:.1e}")
    if output:
        tell(f"curve: {output}")


def show_tuned(tuned: Tuned, output: str | None) -> None:
    """Print every value that was tried with its scores, and the conclusions."""
    from tenfold.studies.trials import mean_scores

    settings, several = tuned.settings, len(tuned.seeds) > 1
    scores = [mean_scores([trial.targets for trial in setting.trials]) for setting in settings]
    shown = [
        (name, key)
        for name in dict.fromkeys(name for targets in scores for name in targets)
        for key in (*SHORT, "mae")
        if key != tuned.score and any(key in targets.get(name, {}) for targets in scores)
    ]
    heads = [tuned.field.replace("_", " "), tuned.score]
    heads += ["between seeds", "behind"] if several else []
    heads += [f"{name} {HEADINGS[key]}" for name, key in shown]
    grid = grid_of([*heads, ""], left=("",))
    for setting, targets in zip(settings, scores, strict=True):
        numbers = [setting.mean, *((setting.deviation, setting.behind) if several else ())]
        means = [(key, targets.get(name, {}).get(key)) for name, key in shown]
        marks = ["best"] if setting.value == tuned.best else []
        marks += ["recipe"] if setting.value == tuned.recipe_value else []
        failed = next((trial.failed for trial in setting.trials if trial.failed), "")
        grid.add_row(
            f"{setting.value:g}",
            *(figure(value, nothing="-") for value in numbers),
            *("-" if mean != mean else _cell(key, {key: mean}) for key, mean in means),
            as_text(", ".join(marks) or failed),
        )
    output_grid(grid)
    for line in tuned.conclusions():
        tell(line)
    if output:
        tell(f"picture: {output}")


def signed(value: float) -> str:
    """Return a difference of scores, with its sign."""
    if not math.isfinite(value):
        return "-"
    return ("" if value < 0 else "+") + figure(value + 0.0)  # -0.0 is +0


def show_compared(compared: Compared) -> None:
    """Print the scores of each target alone and with the others, and what their difference is worth."""
    heads = ("target", "score", "alone", "together", "difference", "standard error", "95 % interval")
    grid = grid_of(heads, left=heads[:2])
    partial: list[str] = []
    for target in compared.targets:
        pairs = len(target.pairs)
        for score in target.scores:
            paired, word = target.difference(score), HEADINGS.get(score, score)
            grid.add_row(
                as_text(target.name if score == target.score else ""),
                word,
                *(figure(target.mean(arm, score), nothing="-") for arm in ("alone", "together")),
                signed(paired.mean),
                figure(paired.error, nothing="-"),
                "-" if math.isnan(paired.low) else f"{signed(paired.low)} to {signed(paired.high)}",
            )
            if paired.pairs < pairs:
                partial.append(f"{target.name}, {word}: {paired.pairs} of {pairs} pairs")
    output_grid(grid)
    if partial:
        tell(f"means are of the pairs in which the score is defined: {'; '.join(partial)}")
    for target in compared.targets:
        subject = f"learning {' and '.join(target.others)} too"
        verdict = {
            "helps": f"{subject} helps {target.name}",
            "harms": f"{subject} harms {target.name}",
            "not defined": f"whether {subject} helps {target.name} cannot be told in any fold",
        }.get(target.answer, f"whether {subject} helps {target.name} cannot be told from chance")
        tell(f"{verdict} ({HEADINGS.get(target.score, target.score)}, {len(target.pairs)} pairs)")


def show_plans(plans: Sequence[Plan | Refusal], plot: str | None) -> None:
    """Print a row for each architecture: how its batch is divided, what it needs, and for what."""
    from tenfold.memory.plan import Refusal

    heads = ("architecture", "rows at once", "GiB", "low to high", "undivided", "largest batch")
    grid = grid_of(heads, left=heads[:1], no_wrap=True)
    lines, notes = [], {}
    for plan in plans:
        if isinstance(plan, Refusal):
            grid.add_row(as_text(plan.arch), "no plan")
            lines.append(f"{plan.arch}: {plan.reason}")
            continue
        grid.add_row(
            as_text(plan.arch),
            f"{plan.micro_batch} x {plan.accumulation}" + (" *" if plan.checkpoint else ""),
            f"{plan.predicted_bytes / 2**30:.1f}" + ("" if plan.fits else "!"),
            "-".join(f"{size / 2**30:.1f}" for size in plan.band_bytes),
            "fits" if plan.fits_whole else "no",
            str(plan.largest_batch),
        )
        parts = ", ".join(f"{name} {gib(size)}" for name, size in plan.parts.items() if size)
        lines.append(f"{plan.arch}: {parts}")
        notes |= dict.fromkeys(plan.notes)
    output_grid(grid)
    for line in lines:
        tell(line)
    for note in notes:
        tell(advice(f"  {note}"))
    if plot:
        tell(f"picture: {plot}")


def gib(size: int) -> str:
    """Return bytes as GiB; "" where they are not known."""
    return f"{size / 2**30:.2f} GiB" if size else ""


def show_inspection(run: Inspection, output: str | None) -> None:
    """Print tables of a ratings run: the crosstab, items by bias, the ends of the map, a score's terms."""
    tell(f"{run.lead}\n\nratings, and (predictions in the gaps): users across, items down")
    table = run.crosstab
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
    output_grid(grid)
    titles = {"good beyond their audience": run.best, "bad in spite of their audience": run.worst}
    for title, items in titles.items():
        if items:
            tell(f"\n{title}")
            show_records([{**vars(item), "name": _short(item.name, 40)} for item in items])
    if run.map:
        tell("\nthe directions in which items differ most")
        for axis in (0, 1):
            low, high = run.map.ends(axis)
            tell(f"  {run.map.share[axis]:.0%} of the variance: {'; '.join(low)}  <->  {'; '.join(high)}")
    tell("\none-hot x matrix = look-up")
    for lookup in run.lookups:
        shown = " ".join(f"{value:.3f}" for value in lookup.looked_up[:6])
        verdict = "equal" if lookup.equal else "NOT equal"
        tell(f"  {lookup.what} {lookup.id}: row {lookup.row} of {lookup.rows}, {shown} ...: {verdict}")
    tell("  " + ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in run.terms.items()))
    for note in run.notes:
        tell(advice(note))
    if output:
        tell(f"report: {output}")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def show_demo(data: DemoData, run: Run, submission: Path, scores: Mapping[str, object]) -> None:
    """Print what the demo scored, and the paths of its files. scores: as `Run.evaluate` returns them."""
    from tenfold.runs.record import RunRecord

    tell("\nOn the rows held out from training:")
    show_scores(run.scores)
    tell("\nOn the test folder, whose answers the network never saw:")
    show_scores(RunRecord(scores).targets)
    tell("\nWhere everything is:")
    paths = {"table": data.train, "pictures": data.photos, "run": run.path, "submission": submission}
    for what, path in paths.items():
        tell(f"  {what:<11} {path}")
    tell(
        f"\nThe same with your own photos:\n  tenfold fit {data.train} --image image_id={data.photos} "
        "--target disease --target variety -o runs/first"
    )


def show_demo_ratings(data: DemoRatings, scores: RatingsScores) -> None:
    """Print how near the truth the run came, and ten films with the reasons for them."""
    tell("\nOn the ratings held out (the truth itself misses them by its noise and by rounding to stars):")
    errors = {"this run": scores["rmse"], "the truth": scores["truth_rmse"], **scores["baselines"]}
    show_records([{"": name.replace("_", " "), "RMSE": value} for name, value in errors.items()])
    tell(
        f"\nNeighbours: of the {scores['neighbours']} films truly nearest to a film, "
        f"{scores['neighbours_found']:.1f} are among the {scores['neighbours']} that were found, on average "
        f"(by chance {scores['neighbours_by_chance']:.1f}); for {scores['nearest_found']} of "
        f"{scores['films']} films the nearest of all is."
    )
    tell(
        f"\nTen films for {scores['user']}, who is hard to please and has rated none of them; "
        "truth is what they would get:"
    )
    show_records(scores["recommended"])
    tell(
        f"\nThe same with your own ratings:\n  tenfold fit {data.ratings} --user user --item item "
        f"--target rating --item-table {data.films} --item-name title -o runs/films\n"
        f"  tenfold inspect {scores['run']} -o films.html"
    )


def show_explained(book: Mapping[str, object]) -> None:
    """Print which rows a workbook explains, and its path. book: as `Run.write_explanation` returns it."""
    from tenfold.workbooks.rows import explained_rows

    rows = explained_rows(book)
    show_records(rows)
    if rows and "training loss" in rows[0]:
        tell(
            "training loss: before calibration, with label smoothing; the report's is -log of the probability"
        )
    users, items, notes, sheets = (_texts(book.get(name)) for name in ("users", "items", "notes", "sheets"))
    if "users" in book:
        rmse = book["rmse"]
        tell(f"{len(users)} users by {len(items)} items, {book['rated']} ratings")
        tell(f"RMSE over these ratings: {'none' if rmse != rmse else f'{rmse:.4f}'}")
    for note in notes:
        say(note)
    tell(f"sheets: {', '.join(sheets)}")
    tell(f"workbook: {book['output']}")


def _texts(value: object) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list | tuple) else []
