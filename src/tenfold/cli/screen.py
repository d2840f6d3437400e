"""What a person sees of an answer: scores, rows, plans, what a study found. It goes to standard output."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, SupportsFloat, cast

from tenfold.cli.console import NOTE, output_width, say, show_table, tell
from tenfold.remedies import advice
from tenfold.targets.words import HEADINGS, SHORT, short_score

if TYPE_CHECKING:
    from tenfold.engine.finder import RateCurve
    from tenfold.files.graph import Exported
    from tenfold.memory.choose import Refusal
    from tenfold.memory.plan import Choice, Plan
    from tenfold.recommenders.inspect import Inspection
    from tenfold.recommenders.run import RecommenderRun
    from tenfold.runs.run import Run
    from tenfold.studies.compare import Compared
    from tenfold.studies.crossval import CrossValidated
    from tenfold.studies.demo import DemoData, DemoRatings, RatingsScores
    from tenfold.studies.distill import Distilled
    from tenfold.studies.searched import Searched
    from tenfold.studies.trials import Tuned

#: Score -> value, or scores of another kind.
Scores = Mapping[str, object]

#: How the best of several looks, and what failed.
BEST, FAILED = "green", "red"


def figure(value: float, *, digits: int = 4, nothing: str = "no labels") -> str:
    """Return a score as `metrics.score_text` writes it."""
    from tenfold.metrics import score_text  # late, since --help needs no arrays

    return score_text(value, digits=digits, nothing=nothing)


#: Scores of lists, and their headings.
_LISTS = {
    name: name for name in ("precision", "recall", "hit", "ndcg", "mrr", "coverage", "novelty", "users")
}
_LISTS |= {"ndcg": "NDCG", "mrr": "MRR"}


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
    cells = [[name, *(score_cell(score, scores) for score in shown)] for name, scores in rows.items()]
    show_table([title, *(names[name] for name in shown)], cells, left=[title])


def score_cell(name: str, scores: Scores, *, nothing: str = "no labels") -> str:
    """Return a score in words: a share in percent, a count as a whole number; "" where it is missing.

    nothing: of a score that is NaN for want of labels.
    """
    score = scores.get(name, math.nan if name == "loss" else None)
    if not isinstance(score, SupportsFloat):
        return ""
    value = float(score)
    if math.isnan(value) and scores.get("scored"):
        # There are labels for which this score is not defined, for example all alike.
        return "undefined" if nothing == "no labels" else nothing
    if name in ("scored", "fallback", "users"):
        return str(int(value))
    if name.endswith(("error_rate", "subset_accuracy", "none_rate")) and not math.isnan(value):
        return f"{value:.1%}"
    return figure(value, digits=3, nothing=nothing)


def short_scores(targets: Mapping[str, Scores]) -> str:
    """Return every target's most telling score."""
    parts = []
    for name, scores in targets.items():
        score = short_score(scores)
        value = scores.get(score)
        if isinstance(value, (int, float)) and value == value:
            shown = f"{value:.1%}" if score == "error_rate" else figure(value, digits=3)
            parts.append(f"{name} {SHORT[score].format(shown)}")
    return ", ".join(parts)


def minutes(seconds: float | None) -> str:
    """Return a time in seconds, minutes or hours; "" where it is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_rows(columns: Mapping[str, Sequence[object]], most: int = 5) -> None:
    """Print the first rows of a table."""
    rows = [*zip(*(cells[:most] for cells in columns.values()), strict=True)]
    show_table([*columns], rows, left=columns)


#: What is shown above the rows where it is the same in all of them; and what every row is expected to say.
_SHARED = ("user", "asked")
_EXPECTED = {"known_user": True, "known_item": True, "item_state": "rated", "user_state": "rated"}


def show_records(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows of one kind as a table: lists, neighbours, predicted pairs."""
    if not rows:
        return
    dull = {name for name, value in _EXPECTED.items() if all(row.get(name) == value for row in rows)}
    for name in _SHARED:
        values = {str(row[name]) for row in rows if name in row}
        if len(rows) > 1 and len(values) == 1:
            dull.add(name)
            tell(f"{name} {values.pop()}")
    shown = [{name: value for name, value in row.items() if name not in dull} for row in rows]
    texts = [name for name, value in shown[0].items() if not isinstance(value, (int, float))]
    cells = [[_shown(value) for value in row.values()] for row in shown]
    show_table([*shown[0]], cells, left=texts, below="reasons")


#: Classes of a target that are shown with an answer, the most probable ones.
MOST_CLASSES = 4


def show_answers(rows: Sequence[Mapping[str, object]]) -> None:
    """Print the answers to a few rows, a line to each target of a row."""
    cells = []
    for row in rows:
        first = str(next(iter(row.values())))
        answers = cast("Mapping[str, object]", row["answers"])
        probabilities = cast("Mapping[str, Mapping[str, float | None]]", row["probabilities"])
        for target, answer in answers.items():
            chances = sorted(probabilities.get(target, {}).items(), key=lambda pair: -(pair[1] or 0))
            told = ", ".join(f"{name} {chance or 0:.1%}" for name, chance in chances[:MOST_CLASSES])
            said = ", ".join(answer) if isinstance(answer, list) else _shown("" if answer is None else answer)
            cells.append([first, target, said, told + (", ..." if len(chances) > MOST_CLASSES else "")])
            first = ""
    heads = (next(iter(rows[0])), "target", "answer", "probabilities")
    show_table(heads, cells, left=heads)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return figure(value, digits=3, nothing="")
    if isinstance(value, list):  # reasons: the rated items that moved the score, and how far
        return "; ".join(f"{reason['name']} ({reason['moved']:+.2f})" for reason in value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def show_rates(curve: RateCurve, output: str | None) -> None:
    """Print a few points of a rate curve, and the rate it suggests."""
    stride = max(1, len(curve.rates) // 16)
    points = zip(curve.rates[::stride], curve.losses[::stride], strict=True)
    show_table(("rate", "loss"), [(f"{rate:.1e}", figure(loss)) for rate, loss in points])
    tell(f"steepest at {curve.steepest:.1e}: try --lr {curve.steepest:.1e}")
    if output:
        tell(f"curve: {output}")


def show_tuned(tuned: Tuned, output: str | None, best: str | None = None) -> None:
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
    rows, looks = [], {}
    for setting, targets in zip(settings, scores, strict=True):
        numbers = [setting.mean, *((setting.deviation, setting.behind) if several else ())]
        means = [(key, targets.get(name, {}).get(key)) for name, key in shown]
        marks = ["best"] if setting.value == tuned.best else []
        marks += ["recipe"] if setting.value == tuned.recipe_value else []
        failed = next((trial.failed for trial in setting.trials if trial.failed), "")
        if marks[:1] == ["best"] or failed:
            looks[len(rows)] = FAILED if failed else BEST
        rows.append(
            [
                f"{setting.value:g}",
                *(figure(value, nothing="-") for value in numbers),
                *("-" if mean != mean else score_cell(key, {key: mean}) for key, mean in means),
                ", ".join(marks) or failed,
            ]
        )
    show_table([*heads, ""], rows, left=("",), marks=looks)
    for line in tuned.conclusions():
        tell(line)
    _tell_files(output, best)


def show_searched(found: Searched, output: str | None, best: str | None = None) -> None:
    """Print a search's trials, best first, and the conclusions."""
    from tenfold.studies.searched import value_text

    rows, looks = [], {}
    for trial in found.ranked():
        if trial is found.best:
            looks[len(rows)] = BEST
        mark = "best" if trial is found.best else "" if trial.status == "finished" else trial.status
        own = "recipe" if trial.is_own else ""
        rows.append(
            [
                str(trial.number + 1),
                *(value_text(trial.choices[name]) for name in found.names),
                figure(trial.score, nothing="-"),
                ", ".join(word for word in (mark, own, trial.failed) if word),
            ]
        )
    heads = ["trial", *(name.replace("_", " ") for name in found.names), found.score]
    show_table([*heads, ""], rows, left=("",), marks=looks)
    for line in found.conclusions():
        tell(line)
    _tell_files(output, best)


def _tell_files(picture: str | None, job: str | None) -> None:
    if picture:
        tell(f"picture: {picture}")
    if job:
        tell(f"job: {job} (tenfold fit {job} -o RUN)")


def signed(value: float) -> str:
    """Return a difference of scores, with its sign."""
    if not math.isfinite(value):
        return "-"
    return ("" if value < 0 else "+") + figure(value + 0.0)  # -0.0 is +0


def show_compared(compared: Compared) -> None:
    """Print the scores of each target alone and with the others, and what their difference is worth."""
    heads = ("target", "score", "alone", "together", "difference", "standard error", "95 % interval")
    rows: list[list[str]] = []
    partial: list[str] = []
    for target in compared.targets:
        pairs = len(target.pairs)
        for score in target.scores:
            paired, word = target.difference(score), HEADINGS.get(score, score)
            rows.append(
                [
                    target.name if score == target.score else "",
                    word,
                    *(figure(target.mean(arm, score), nothing="-") for arm in ("alone", "together")),
                    signed(paired.mean),
                    figure(paired.error, nothing="-"),
                    "-" if math.isnan(paired.low) else f"{signed(paired.low)} to {signed(paired.high)}",
                ]
            )
            if paired.pairs < pairs:
                partial.append(f"{target.name}, {word}: {paired.pairs} of {pairs} pairs")
    show_table(heads, rows, left=heads[:2])
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


def show_cross_validated(found: CrossValidated) -> None:
    """Print means and deviations over the folds, the differences from the first method, and their worth."""
    from tenfold.studies.crossval import heading

    several = len(found.recipes) > 1
    first = found.recipes[0].name
    heads = ["target", "score", *(["method"] if several else []), "mean", "deviation"]
    heads += [f"- {first}", "95 % interval"] if several else []
    rows, before = [], ("", "")
    for target, score, own in found.lines():
        new = (target, score) != before
        row = [target if target != before[0] else "", heading(score) if new else ""]
        row += [own.name] if several else []
        spread = own.deviation(target, score)
        row += [figure(value, nothing="-") for value in (own.mean(target, score), spread)]
        if several:
            paired = found.difference(target, score, own.name)
            none = own is found.recipes[0]
            span = "" if none or math.isnan(paired.low) else f"{signed(paired.low)} to {signed(paired.high)}"
            row += ["" if none else signed(paired.mean), span]
        rows.append(row)
        before = (target, score)
    show_table(heads, rows, left=heads[: 3 if several else 2])
    for line in found.conclusions():
        tell(line)
    times = [f"{own.name} {own.seconds:.1f} s" for own in found.recipes]
    tell(f"{found.headline}; a fit takes {', '.join(times)}")


def show_update(run: str, done: Mapping[str, object], updates: int) -> None:
    """Print what an update learned, and how well the run predicted it."""
    counts = [(name, cast(int, done[name])) for name in ("learned", "changed", "already", "left_out")]
    words = {
        "learned": "learned",
        "changed": "of them changed",
        "already": "already in",
        "left_out": "left out",
    }
    tell(", ".join(f"{count} {words[name]}" for name, count in counts if count or name == "learned"))
    tell(f"{done['new_users']} new users, {done['new_items']} new items")
    error = cast(Mapping[str, float], done["error"])
    if "rmse" in error:
        own, base = figure(error["rmse"]), figure(error["biases_rmse"])
        tell(f"predicted before they were learned: RMSE {own}, biases {base} ({error['scored']} ratings)")
    elif "ndcg" in error:
        own, base = figure(error["ndcg"]), figure(error["popular_ndcg"])
        tell(f"predicted before they were learned: NDCG {own}, most popular {base} ({error['scored']} users)")
    tell(f"run: {run}, update {updates}")


def _show_choices(plan: Plan) -> None:
    """Print a row for each cut of the batch that was looked at, the fastest that fits first."""
    rows = [
        [
            f"{each.micro_batch} x {each.accumulation}{_again(each)}",
            f"{each.process_bytes / 2**30:.1f}" + ("" if each.fits else "!"),
            f"{each.high_bytes / 2**30:.1f}",
            f"{each.seconds:.3g}",
            "taken" if _way(each) == _way(plan) else "",
        ]
        for each in plan.choices
    ]
    show_table(("rows at once", "peak GiB", "at most", "s a step, predicted", ""), rows, left=())
    legend = ["*: activations computed again; with a number: of so many blocks"]
    legend = legend if any(each.checkpoint for each in plan.choices) else []
    if legend := legend + _offload_legend(plan.choices):
        tell("; ".join(legend), NOTE)


def _again(plan: Plan | Choice) -> str:
    """What is computed again: `` *``, or `` * 5`` where it is five blocks; `` ^`` with an offloaded state."""
    again = " *" + (f" {len(plan.blocks)}" if plan.blocks else "") if plan.checkpoint else ""
    return again + (" ^" if plan.offload else "")


def _offload_legend(plans: Sequence[Plan | Choice]) -> list[str]:
    return ["^: optimizer's state in the host's memory"] if any(each.offload for each in plans) else []


def _way(plan: Plan | Choice) -> tuple[int, bool, tuple[str, ...], bool]:
    return plan.micro_batch, plan.checkpoint, plan.blocks, plan.offload


def show_plans(plans: Sequence[Plan | Refusal], plot: str | None) -> None:
    """Print a row for each architecture: how its batch is divided, what it needs, and for what."""
    from tenfold.memory.choose import Refusal

    heads = ("architecture", "rows at once", "peak GiB", "range", "whole batch", "largest batch")
    rows: list[list[str]] = []
    looks: dict[int, str] = {}
    lines, notes = [], {}
    for plan in plans:
        if isinstance(plan, Refusal):
            looks[len(rows)] = FAILED
            rows.append([plan.arch, "no plan", *[""] * (len(heads) - 2)])
            lines.append(f"{plan.arch}: {plan.reason}")
            continue
        if not plan.fits:
            looks[len(rows)] = FAILED
        rows.append(
            [
                plan.arch,
                f"{plan.micro_batch} x {plan.accumulation}{_again(plan)}",
                f"{plan.predicted_bytes / 2**30:.1f}" + ("" if plan.fits else "!"),
                "-".join(f"{size / 2**30:.1f}" for size in plan.band_bytes),
                "yes" if plan.fits_whole else "no",
                str(plan.largest_batch),
            ]
        )
        parts = ", ".join(f"{name} {gib(size)}" for name, size in plan.parts.items() if size)
        lines.append(f"{plan.arch}: {parts}")
        notes |= dict.fromkeys(plan.notes)
    show_table(heads, rows, left=heads[:1], marks=looks)
    fits = [plan for plan in plans if not isinstance(plan, Refusal)]
    if fits:
        legend = "peak: predicted, and its range; whole batch: does it go through at once; largest: that does"
        legend += "; *: activations computed again" if any(plan.checkpoint for plan in fits) else ""
        legend = "; ".join([legend, *_offload_legend(fits)])
        tell(legend + ("; !: more than the budget" if not all(plan.fits for plan in fits) else ""), NOTE)
    if len(fits) == 1 and len(fits[0].choices) > 1:
        _show_choices(fits[0])
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
    fit = max(1, (output_width() - 32) // 7)
    rows = []
    for item, name in enumerate(table.names):
        pairs = zip(table.rating[:fit, item].tolist(), table.predicted[:fit, item].tolist(), strict=True)
        cells = [f"{given:g}" if given == given else f"({guessed:.1f})" for given, guessed in pairs]
        rows.append([_short(name, 28), *cells])
    show_table(["", *(_short(user, 6) for user in table.users[:fit])], rows, left=[""])
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


def show_next(run: Run) -> None:
    """Print where a run's page is, and a command to go on with."""
    page = run.path / "report.html"
    if page.is_file():
        tell(f"report: {page}")
    path = os.path.relpath(run.path)
    path = shlex.quote(str(run.path) if path.startswith("..") else path)
    if run.schema.rated:
        user = cast("RecommenderRun", run).interactions.users[0]
        tell(f"next: tenfold recommend {path} --user {shlex.quote(user)}")
    else:
        tell(f"next: tenfold predict {path} TABLE -o answers.csv")


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


def show_distilled(distilled: Distilled) -> None:
    """Print size, time and scores of the teacher, the distilled network, and that of the labels alone."""
    from tenfold.metrics import score_text
    from tenfold.values import read_score

    rows = []
    for model in distilled.measured:
        seconds = model["seconds_per_row"]
        row: dict[str, object] = {
            "network": model["name"],
            "arch": model["arch"],
            "weights": f"{model['bytes'] / 1e6:.1f} MB",
            "per picture": "" if seconds is None else f"{1000 * seconds:.1f} ms",
        }
        for target, scores in model["targets"].items():
            key = short_score(scores)
            if key:
                row[target] = SHORT[key].format(score_text(read_score(scores, key)))
        rows.append(row)
    show_records(rows)
    for note in distilled.notes:
        say(note)
    tell(f"run: {distilled.run.path}")


def show_exported(exported: Exported) -> None:
    """Print what a graph takes and answers, how near it is to the run, and its path."""
    for note in exported["notes"]:
        say(note)
    check, words = exported["check"], {"rows": "rows", "photos": "photos of their own size"}
    tell(f"takes    {', '.join(exported['inputs'])}")
    tell(f"answers  {', '.join(exported['outputs'])}")
    for key, name in (("largest_difference", "rows"), ("photos_difference", "photos")):
        if key in check:
            tell(f"largest difference on {check[name]:.0f} {words[name]}: {check[key]:.1e}")
    tell(f"graph: {exported['output']} (opset {exported['opset']}, {exported['bytes']:,} bytes)")
    tell(f"description: {exported['description']}")


def _texts(value: object) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list | tuple) else []
