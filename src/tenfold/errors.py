"""Every error that tenfold raises on purpose.

    TenfoldError
    ├── SchemaError          a column or target that the table does not have, or of the wrong kind
    │   └── LabelError       labels from which nothing can be learned
    ├── RecipeError          a choice that does not exist or contradicts another
    ├── TableError           a text table or data frame that cannot be read as it stands
    ├── ImageError           a picture that is missing, ambiguous, damaged, too large or outside its folder
    ├── RatingsError         ratings that contradict their scale, or from which nothing can be learned
    ├── SplitError           a split or a fold that cannot be made
    ├── WeightsError         a weights file that is damaged, foreign or not made for this network
    ├── RunError             a run folder that is missing, locked, damaged or of another version
    ├── OutputError          a result that cannot be written to the given file or in the given form
    ├── MemoryBudgetError    a network that does not fit into memory with any plan
    ├── TrainingError        training that cannot go on (loss not finite, nothing to learn)
    ├── DependencyError      an optional package that is not installed, or a network that is not there
    └── MachineError         a file or a disk that the system refuses

Each says what is wrong and where, what stands there, and how to fix it:

    SchemaError: train.csv has no column 'lable' (target).
      found  image_id, label, variety
      fix    did you mean 'label'?
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable, Sequence

#: How many problems an error lists before it counts the rest.
LISTED = 10


class TenfoldError(Exception):
    """Base class of every error that a user can fix.

    headline: one sentence: what is wrong, and where.
    problems: one a line; at most ten are shown and the rest counted.
    labels: further lines such as ``found=``, ``parts=``, ``fix=``, in the given order.
    """

    def __init__(self, headline: str, *, problems: Sequence[str] = (), **labels: str) -> None:
        self.headline = headline
        self.problems = tuple(problems)
        self.labels = {name: text for name, text in labels.items() if text}
        super().__init__(headline)

    def __str__(self) -> str:
        lines = [self.headline]
        lines += [f"  - {problem}" for problem in listed(self.problems)]
        lines += [f"  {name:<6} {text}" for name, text in self.labels.items()]
        return printable("\n".join(lines))


#: Characters that move a terminal's cursor, colour it or turn the reading order: C0 except tab and line end,
#: DEL, C1, separators of lines, overrides and isolates of direction, and noncharacters.
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


def printable(text: str) -> str:
    """The text with control characters escaped (``\\x1b``): a terminal shows them and does not obey them."""
    return UNSEEN.sub(lambda match: repr(match[0])[1:-1], text)


class SchemaError(TenfoldError):
    """A column or target that is missing, is there twice, or has the wrong kind."""


class LabelError(SchemaError, ValueError):
    """Labels from which nothing can be learned; a ValueError, too, as scikit-learn's tools expect."""


class RecipeError(TenfoldError):
    """A choice that does not exist, is out of range or contradicts another."""


class TableError(TenfoldError):
    """A table that cannot be read as it stands."""


class ImageError(TenfoldError):
    """A picture that is missing, ambiguous, damaged, too large or outside its folder."""


class RatingsError(TenfoldError):
    """Ratings that contradict their scale, or from which nothing can be learned."""


class SplitError(TenfoldError):
    """A split or a fold that cannot be made as asked."""


class WeightsError(TenfoldError):
    """A weights file that is damaged, holds code, or does not belong to this network."""


class RunError(TenfoldError):
    """A run folder that is missing, in use, damaged, unfinished or of another version."""


class OutputError(TenfoldError):
    """A result that cannot be written to the given file or in the given form."""


class MemoryBudgetError(TenfoldError):
    """A network that does not fit into memory with any plan."""


class TrainingError(TenfoldError):
    """Training that cannot go on: the loss is not finite, or there is nothing to learn."""


class DependencyError(TenfoldError):
    """An optional package that is not installed, or a network that cannot be reached."""


class MachineError(TenfoldError):
    """A file or a disk that the system refuses."""


def of_machine(error: OSError | MemoryError) -> TenfoldError:
    """The system's error as a TenfoldError: the last resort, for errors that no other code has caught."""
    if isinstance(error, MemoryError):
        fix = "close other programs, or give fewer rows or smaller pictures"
        return MemoryBudgetError("there is not enough memory.", found=str(error), fix=fix)
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    return MachineError(
        f"{name or 'a file'}: {error.strerror or error}",
        fix="mend what is named, and run the same command again",
    )


def home_path(path: str) -> str:
    """The path, with a leading ``~/`` replaced by the home folder, unless a folder ``~`` exists here."""
    return os.path.expanduser(path) if path.startswith("~/") and not os.path.lexists("~") else path


def no_file(path: str | os.PathLike[str]) -> str:
    """``a pipe``, ``a device`` or ``not a plain file`` if that is what the path is, else ""."""
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
        return ""
    return "a pipe" if stat.S_ISFIFO(kind) else "a device" if stat.S_ISCHR(kind) else "not a plain file"


def listed(problems: Sequence[str], most: int = LISTED) -> list[str]:
    """The first `most` problems, and a line that counts the others."""
    rest = len(problems) - most
    return [*problems[:most], *([f"and {rest} more"] if rest > 0 else [])]


def shortened(names: Sequence[object], separator: str = ", ") -> str:
    """The names in one line: the first ten, and how many more there are."""
    rest = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return separator.join(map(str, names[:LISTED])) + rest


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """``did you mean 'label'?`` for the nearest choice, or a list of the choices."""
    names = [str(choice) for choice in choices]
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(str(word).casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"did you mean {folded[near[0]]!r}?"
    return f"there is: {shortened(names)}" if names else ""
