"""Sample submissions filled in: which row goes where, and what kind of answer a column wants.

Rows are joined by id, and ids are looked up under the name of their column; the number of a line is not an
id. The sample's own cells show what a column wants: class names, whole numbers, fractions. Words are never
written under numbers, nor numbers under words, unless the user says so.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import LISTED, OutputError, SchemaError, did_you_mean
from tenfold.files.sample import Sample, match_ids, read_sample, write_sample
from tenfold.files.tables import answer_text, formula_notes, is_formula
from tenfold.targets.kinds import KINDS
from tenfold.values import Predictions, TargetPrediction, answer_table, answer_words, id_text

__all__ = ["read_wishes", "write_submission"]

Path_ = str | os.PathLike[str]

_WHOLE = re.compile(r"[+-]?\d+")
_WHOLE_FLOAT = re.compile(r"[+-]?\d+[.,]0*")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_TRUTH = frozenset({"true", "false"})
#: Sources of a column: a target's answer, the probability of a class, or 0 and 1 for a class.
ANSWER, CHANCE, YES = "answer", "probability", "yes"
#: How a sample may write the run's classes.
_CASES: dict[str, Callable[[str], str]] = {
    "": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "capitals": str.capitalize,
    "title case": str.title,
}


def read_wishes(
    like: Path_, columns: Sequence[str], probabilities: Sequence[str]
) -> tuple[dict[str, str | None], dict[str, str]]:
    """Parse ``--column COLUMN=WHAT`` and ``--probability CLASS=COLUMN``: column -> what, and -> class.

    like: the sample, whose columns they name; names may hold ``=`` themselves. SchemaError where none fits.
    """
    names = read_sample(like).names
    pairs = [_split_at_column(text, names, "--column", first=True) for text in columns]
    asked = {column: what or None for column, what in pairs}
    pairs = [_split_at_column(text, names, "--probability", first=False) for text in probabilities]
    chance = {column: word for word, column in pairs}
    both = sorted(asked.keys() & chance.keys())
    if both:
        raise SchemaError(f"column {both[0]!r} is to be filled in two ways", fix="give one of them")
    return asked, chance


def _split_at_column(text: str, names: Sequence[str], flag: str, *, first: bool) -> tuple[str, str]:
    """The two sides of the equals sign that has a column of the sample on its first or second side."""
    for sign in re.finditer("=", text):
        sides = text[: sign.start()].strip(), text[sign.end() :].strip()
        if sides[0 if first else 1] in names:
            return sides
    form = "COLUMN=TARGET" if first else "CLASS=COLUMN"
    raise SchemaError(
        f"{flag} {text!r} does not name a column of the sample",
        found=", ".join(names),
        fix=f"write it as {flag} {form}, with a column as the sample spells it",
    )


def write_submission(
    path: Path_,
    predictions: Predictions,
    *,
    like: Path_,
    fill_missing: str | float | None = None,
    columns: Mapping[str, str | None] | None = None,
    probabilities: Mapping[str, str] | None = None,
    id_column: str | None = None,
) -> tuple[str, ...]:
    """Fill in a sample submission: its ids, order, header, separator, quotes, line ends and number look.

    A column is filled with the target of its name, or with the probability of the class of its name (also
    ``target:class`` and ``target_class``); the only column beside the id with the only target. Where the
    sample has fractions for a target of two classes, that is the probability of the second. `columns`
    overrides this: sample column -> target, ``target:class``, or None to keep the sample's cells;
    `probabilities`: sample column -> class. `id_column` is the column of ids. Without it, that is the
    column whose name the predicted table has, too, or else whose cells are ids of predicted rows.

    Ids of the sample without a prediction are an OutputError, unless `fill_missing` is the value to write
    for them; so are columns that want another kind of answer than there is. Predicted ids that the sample
    does not have are named in the notes that are returned.
    """
    sample = read_sample(like)
    ids = _find_ids(sample, predictions, id_column, {*(columns or {}), *(probabilities or {})})
    sources, notes = _find_sources(sample, ids.column, predictions, columns or {}, probabilities or {})
    chosen, row_notes = _choose_rows(sample, ids, predictions, fill_missing is not None)
    filled = {}
    for index, source in sources.items():
        answer = _as_text(predictions.targets[source.target], source)
        filled[index] = [str(fill_missing) if row < 0 else answer[row] for row in chosen]
    notes = [*ids.notes, *notes, *row_notes, *write_sample(path, sample, filled)]
    where = [
        (sample.lines[row], sample.names[index], cell)
        for index, cells in {**filled, ids.column: sample.cells(ids.column)}.items()
        for row, cell in enumerate(cells)
        if is_formula(cell)
    ]
    return (*notes, *formula_notes(where, safe=False))


@dataclass(frozen=True)
class _Source:
    """What fills a column: a target's answer, or the probability, or 0 and 1, of a class `word`.

    case: the letters of answers: a key of `_CASES`.
    """

    target: str
    how: str = ANSWER
    word: str = ""
    case: str = ""


def _as_text(target: TargetPrediction, source: _Source) -> list[str]:
    """A target's answers, or those of one class, as texts."""
    values = np.asarray(answer_words(target))
    if source.how == CHANCE and target.probabilities is not None:
        values = target.probabilities[:, target.classes.index(source.word)]
    elif source.how == YES:
        values = answer_table(target)[:, target.classes.index(source.word)]
    case = _CASES[source.case]
    return [case(answer_text(value)) for value in values.tolist()]


# --- which row ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ids:
    """column: of the sample's ids.  matches: for each of its rows the predicted rows of that id.

    names: (predicted rows,) the ids that they were joined by.
    """

    column: int
    matches: list[list[int]]
    names: list[str]
    notes: list[str]


def _find_ids(sample: Sample, predictions: Predictions, id_column: str | None, filled: set[str]) -> _Ids:
    """The sample's id column, joined with the predicted table's column of that name, or with its ids.

    filled: columns that the user fills. The id is the first column that nothing fills: a number that both
    tables have, such as an age, is not an id.
    """
    columns = range(len(sample.names)) if id_column is None else [sample.column(id_column)]
    own = list(map(str, predictions.ids.tolist()))
    taken = {
        name.casefold() for name in (*filled, *predictions.targets, *_class_columns(predictions.targets))
    }
    lead = next((index for index in columns if sample.names[index].casefold() not in taken), columns[0])
    first = sample.names[lead]
    cells = {name.casefold(): name for name in predictions.cells}
    column = first if first in predictions.cells else cells.get(first.casefold())
    named = {lead: list(map(str, predictions.cells[column].tolist()))} if column is not None else {}
    ids = _best_ids(sample, named)
    if ids is None and not predictions.numbered:
        ids = _best_ids(sample, dict.fromkeys(columns, own))
    if ids is not None:
        return ids
    wanted = ", ".join(sample.cells(lead)[:3])
    if predictions.numbered and not named:
        raise OutputError(
            f"no column of the predicted table is called {first!r}, by which {sample.name} names its rows",
            found=f"sample: {wanted} ...; the predicted table has {', '.join(predictions.cells) or 'no ids'}",
            fix=f"call its column of ids {first!r}, or name that column: --id COLUMN",
        )
    there = next(iter(named.values()), own)
    fix = "predict the table that the sample belongs to, or name its column of ids: --id COLUMN"
    bare = {name.lstrip("0"): name for name in there}
    same = next((cell for cell in sample.cells(lead) if cell and cell.lstrip("0") in bare), None)
    if same is not None:
        fix = f"one of them has lost its leading zeros: write {same!r} and {bare[same.lstrip('0')]!r} alike"
    raise OutputError(
        f"no id of {sample.name} is among the predicted rows",
        found=f"sample: {wanted} ...; predicted: {', '.join(there[:3])} ...",
        fix=fix,
    )


def _best_ids(sample: Sample, there: Mapping[int, list[str]]) -> _Ids | None:
    """The first column unless another fits better. there: column of the sample -> ids to join it with."""
    best, most = None, 0
    for column, ids in there.items():
        cells = sample.cells(column)
        matches, notes = match_ids(cells, ids)
        hits = len({cell for cell, rows in zip(cells, matches, strict=True) if rows})
        # A column of zeros is not an id because a row is called 0.
        if hits > most and (column == next(iter(there)) or hits >= len(cells) / 2):
            best, most = _Ids(column, matches, ids, list(notes)), hits
        if hits == len(cells):
            break
    return best


# --- what goes into a column -------------------------------------------------------------------------


def _find_sources(
    sample: Sample,
    id_column: int,
    predictions: Predictions,
    asked: Mapping[str, str | None],
    chance: Mapping[str, str],
) -> tuple[dict[int, _Source], list[str]]:
    """What goes into each column of the sample, by its index, and messages."""
    targets = predictions.targets
    for name in (*asked, *chance):
        sample.column(name)
    free = {name: index for index, name in enumerate(sample.names) if index != id_column}
    known = {**_class_columns(targets), **{name: _Source(name) for name in targets}}
    folded: dict[str, _Source | None] = {}
    for name, source in known.items():  # a name that fits two of them but for its case fits none
        folded[name.casefold()] = None if name.casefold() in folded else source
    columns: dict[int, _Source] = {}
    notes, lost = [], []
    for name, index in free.items():
        what = asked.get(name, name)
        source = known.get(what or "") or folded.get((what or "").casefold())
        if name in chance:
            columns[index] = _chance_of(chance[name], targets)
        elif what is None:
            notes.append(f"column {name!r} is kept as the sample has it")
        elif source is not None:
            columns[index] = source
        elif name not in asked and len(free) == 1 and len(targets) == 1:
            columns[index] = _Source(next(iter(targets)))
            notes.append(f"column {name!r} is filled with {next(iter(targets))!r}")
        else:
            lost.append(
                f"column {name!r}: {what!r} is neither a target nor a class; {did_you_mean(what, known)}"
            )
    if lost or not columns:
        raise SchemaError(
            f"{sample.name} has columns that the predictions do not fill",
            problems=lost or [f"{sample.name} has no column to fill"],
            found="; ".join(_describe(name, target) for name, target in targets.items()),
            fix="name what goes into them: --column COLUMN=TARGET, --probability CLASS=COLUMN, or --column "
            "COLUMN= to keep the sample's cells (columns and probabilities in Python)",
        )
    columns, kind_notes = _fit_kinds(sample, columns, targets, {*asked, *chance})
    return columns, notes + kind_notes + _absent_notes(sample, columns, targets)


def _chance_of(wanted: str, targets: Mapping[str, TargetPrediction]) -> _Source:
    """The class that ``CLASS`` or ``TARGET:CLASS`` names. SchemaError where none does, or several do."""
    every = [
        _Source(name, CHANCE, word)
        for name, target in targets.items()
        for word in (target.classes if target.probabilities is not None else ())
    ]
    matches = [source for source in every if wanted in (source.word, f"{source.target}:{source.word}")]
    if len(matches) == 1:
        return matches[0]
    words = [f"{source.target}:{source.word}" for source in matches] or [source.word for source in every]
    raise SchemaError(
        f"{wanted!r} is {'a class of several targets' if matches else 'not a class'}",
        found=", ".join(words[:LISTED]),
        fix=f"say which: --probability {words[0]}=COLUMN" if matches else did_you_mean(wanted, words),
    )


def _fit_kinds(
    sample: Sample,
    columns: Mapping[int, _Source],
    targets: Mapping[str, TargetPrediction],
    asked: set[str],
) -> tuple[dict[int, _Source], list[str]]:
    """The sources in the kind that the sample's cells show, and messages.

    asked: columns that the user decided on. OutputError where a column wants an answer that there is not.
    """
    fitted, notes, problems = dict(columns), [], []
    for index, source in columns.items():
        name, target = sample.names[index], targets[source.target]
        shown = sorted({cell for cell in sample.cells(index) if any(map(str.isalnum, cell))})
        if source.how == CHANCE:
            chosen, note, problem = _fit_chance(name, source, target, shown)
        else:
            chosen, note, problem = _fit_answer(name, source, target, shown)
        if name not in asked:
            fitted[index] = chosen
            problems += [problem] if problem else []
        elif problem:
            note = f"{problem}; it is written all the same, as was asked"
        elif chosen != source:
            note = f"column {name!r} is filled with the {source.how} as was asked, beside {_some(shown)}"
        notes += [note] if note else []
    if problems:
        raise OutputError(
            f"{sample.name} wants another kind of answer",
            problems=problems,
            fix="--probability CLASS=COLUMN writes a class's probability, --column COLUMN=TARGET the answers "
            "all the same, --column COLUMN= keeps the sample's cells (probabilities and columns in Python)",
        )
    return fitted, notes


#: A source, a message, and what is wrong.
_Fit = tuple[_Source, str, str]


def _fit_chance(name: str, source: _Source, target: TargetPrediction, shown: Sequence[str]) -> _Fit:
    """The fit of a column with the name of a class."""
    look = _look(shown)
    if look in ("words", "truth"):
        what = f"words ({_some(shown)}), not probabilities of {source.word!r}"
        return source, "", f"column {name!r} holds {what}"
    if look == "whole" and target.columns and set(shown) <= {"0", "1"}:
        yes = _Source(source.target, YES, source.word)
        more = f"; --probability {source.word}={name} writes the probability"
        return yes, f"column {name!r} is filled with 0 and 1, as the sample has it{more}", ""
    if look == "whole":
        return source, f"column {name!r} is filled with the probability of {source.word!r}", ""
    return source, "", ""


def _fit_answer(name: str, source: _Source, target: TargetPrediction, shown: Sequence[str]) -> _Fit:
    """The fit of a column for a target."""
    look = _look(shown)
    own = source.target
    classes = list(target.classes)
    kind = KINDS[target.kind]
    if kind.numeric:
        if look in ("words", "truth"):
            return source, "", f"column {name!r} holds words ({_some(shown)}), and {own!r} is a number"
        values = np.asarray(target.values, dtype=np.float64)
        broken = values[np.isfinite(values) & (values != np.floor(values))]
        if look == "whole" and broken.size:
            return source, f"column {name!r} has whole numbers; answers are not rounded: {broken[0]:g}", ""
        return source, "", ""
    second = classes[-1] if target.probabilities is not None and len(classes) <= 2 else None
    second = None if len(classes) == 2 and not kind.exclusive else second
    if second is not None and "prob" in name.casefold() and look in ("whole", "float", "empty"):
        look = "fraction"
    if look == "empty" or _are_answers(shown, target):
        return source, "", ""
    numeric = all(map(_NUMBER.fullmatch, classes)) or {*map(str.casefold, classes)} <= _TRUTH
    if look == "float" and second is not None and numeric and len(shown) < 2:
        both = f"--column {name}={own} for the class, --probability {second}={name} for its probability"
        return source, "", f"column {name!r} holds {shown[0]} alone, a class or a probability: {both}"
    if look in ("whole", "float", "truth") and numeric:
        return source, "", ""
    if look == "fraction" and second is not None:
        which = f"the second class of {own!r}" if len(classes) == 2 else f"the class of {own!r}"
        other = f"; for the other: --probability {classes[0]}={name}" if classes[1:] else ""
        note = f"column {name!r} is filled with the probability of {second!r}, {which}{other}"
        return _Source(own, CHANCE, second), note, ""
    if look == "words" and not (numeric and classes):
        return _fit_case(name, source, target, shown)
    what = "fractions" if look == "fraction" else "words" if look in ("words", "truth") else "numbers"
    answers = ", ".join(classes[:3]) + (" ..." if classes[3:] else "")
    return source, "", f"column {name!r} holds {what} ({_some(shown)}), and {own!r} answers {answers}"


def _fit_case(name: str, source: _Source, target: TargetPrediction, shown: Sequence[str]) -> _Fit:
    """The fit of a column of words that are not the run's: its classes in other letters, or other words."""
    folded = {id_text(word).casefold(): word for word in (*target.classes, target.none)}
    meant = [folded.get(id_text(cell).casefold()) for cell in shown]
    for case, spell in _CASES.items():
        if None in meant or len(set(map(spell, folded.values()))) < len(folded):
            continue
        if shown == [spell(str(word)) for word in meant]:
            example = f"{shown[0]!r} for {meant[0]!r}"
            return replace(source, case=case), f"column {name!r} is filled in {case}, as there: {example}", ""
    odd = [cell for cell, word in zip(shown, meant, strict=True) if cell != word]
    answers = ", ".join(target.classes[:3]) + (" ..." if target.classes[3:] else "")
    return source, f"column {name!r} holds {_some(odd)}, and {source.target!r} answers {answers}", ""


def _look(shown: Sequence[str]) -> str:
    """The kind of a column's cells: empty, whole, float (3.0), fraction, truth or words."""
    if not shown:
        return "empty"
    if all(map(_WHOLE.fullmatch, shown)):
        return "whole"
    if all(_WHOLE.fullmatch(cell) or _WHOLE_FLOAT.fullmatch(cell) for cell in shown):
        return "float"
    if all(map(_NUMBER.fullmatch, shown)):
        return "fraction"
    return "truth" if {*map(str.casefold, shown)} <= _TRUTH else "words"


def _are_answers(shown: Sequence[str], target: TargetPrediction) -> bool:
    """Whether all cells are answers that the target could give."""
    mark = (target.separator or " ") if target.many else None
    names = [name.strip() for cell in shown for name in cell.split(mark)] if mark else shown
    return {*names} <= {*target.classes, target.none}


def _some(shown: Sequence[str]) -> str:
    return ", ".join(shown[:3]) + (" ..." if shown[3:] else "")


def _class_columns(targets: Mapping[str, TargetPrediction]) -> dict[str, _Source]:
    """Names that stand for the probability of a class; a class name that two targets share is ambiguous."""
    names: dict[str, _Source] = {}
    shared = set()
    for name, target in targets.items():
        for word in target.classes if target.probabilities is not None else ():
            shared |= {word} if word in names else set()
            names |= dict.fromkeys((word, f"{name}:{word}", f"{name}_{word}"), _Source(name, CHANCE, word))
    return {name: source for name, source in names.items() if name not in shared and name not in targets}


def _absent_notes(
    sample: Sample, columns: Mapping[int, _Source], targets: Mapping[str, TargetPrediction]
) -> list[str]:
    notes = []
    for name, target in targets.items():
        used = {source.word for source in columns.values() if source.target == name}
        left = [word for word in target.classes if word not in used]
        if used - {""} and left and len(target.classes) > 2:  # of two, one says all
            notes.append(f"{name}: classes without a column in {sample.name}: {', '.join(left[:LISTED])}")
        if not used:
            notes.append(f"{name}: has no column in {sample.name}")
    return notes


def _describe(name: str, target: TargetPrediction) -> str:
    more = " ..." if len(target.classes) > LISTED else ""
    return f"{name} ({', '.join(target.classes[:LISTED])}{more})" if target.classes else f"{name} (a number)"


def _choose_rows(
    sample: Sample, joined: _Ids, predictions: Predictions, fill: bool
) -> tuple[list[int], list[str]]:
    """The predicted row for each row of the sample, -1 where `fill_missing` goes, and messages."""
    ids = sample.cells(joined.column)
    failed = _broken(predictions)
    seen: Counter[str] = Counter()
    times = Counter(ids)
    chosen, lacking, unclear = [], [], []
    for line, name, rows in zip(sample.lines, ids, joined.matches, strict=True):
        where = f"line {line}: id {name!r}"
        if len(rows) > 1 and times[name] != len(rows) and not _alike(predictions, rows):
            unclear.append(
                f"{where} is there {times[name]} times in the sample, and "
                f"{len(rows)} times in the predictions with different answers"
            )
        # An id that both have equally often is joined in order of appearance.
        row = rows[seen[name]] if len(rows) == times[name] else rows[0] if rows else -1
        seen[name] += 1
        if row < 0:
            lacking.append(f"{where} is not among the predicted rows")
        elif failed[row]:
            reason = predictions.reasons.get(row, "its answer is not a number")
            lacking.append(f"{where} could not be predicted: {reason}")
            row = -1
        chosen.append(row)
    if unclear:
        raise OutputError(
            f"{sample.name}: ids cannot be joined",
            problems=unclear,
            fix="give each id once, or as often in both",
        )
    if lacking and not fill:
        raise OutputError(
            f"{len(lacking)} of {len(ids)} ids of {sample.name} have no prediction",
            problems=lacking,
            fix="predict them too, or say what to write for them: --fill-missing VALUE (fill_missing in "
            "Python)",
        )
    notes = (
        [f"{len(lacking)} of {len(ids)} rows are filled in: {'; '.join(lacking[:LISTED])}"] if lacking else []
    )
    used = {row for rows in joined.matches for row in rows}
    extra = [name for row, name in enumerate(joined.names) if row not in used]
    if extra:
        more = f" and {len(extra) - LISTED} more" if len(extra) > LISTED else ""
        notes.append(
            f"{len(extra)} predicted ids are not in {sample.name}: {', '.join(extra[:LISTED])}{more}"
        )
    return chosen, notes


def _broken(predictions: Predictions) -> NDArray[np.bool_]:
    """Rows that failed, or whose answer holds a NaN."""
    broken = np.array(predictions.failed, dtype=bool)
    for target in predictions.targets.values():
        if target.probabilities is not None:
            broken |= np.isnan(target.probabilities).any(axis=1)
        elif np.asarray(target.values).dtype.kind == "f":
            broken |= np.isnan(target.values)
    return broken


def _alike(predictions: Predictions, rows: Sequence[int]) -> bool:
    """Whether doubled rows have one answer."""
    for target in predictions.targets.values():
        if len(set(map(answer_text, target.values[list(rows)].tolist()))) > 1:
            return False
        chance = None if target.probabilities is None else target.probabilities[list(rows)]
        if chance is not None and not np.allclose(chance, chance[0], atol=1e-6, equal_nan=True):
            return False
    return True
