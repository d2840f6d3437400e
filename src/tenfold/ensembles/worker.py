"""The worker process of an ensemble: it checks a recipe, trains a member, or blends the members.

``python -m tenfold.ensembles.worker`` reads a JSON request from standard input, and writes a JSON object per
line to standard output. What libraries print goes to standard error. All memory is freed with the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from tenfold.data.split.shared import SharedFolds
from tenfold.ensembles.requests import (
    BlendRequest,
    CheckRequest,
    FitRequest,
    Request,
    ScoreRequest,
    TimeRequest,
    request_of,
)
from tenfold.errors import RunError, TenfoldError, of_machine
from tenfold.events import (
    Event,
    ImagesRead,
    Listener,
    NoteAdded,
    RowsPredicted,
    StageBegan,
    StepEnded,
    TrainingChanged,
)
from tenfold.runs.fitting import fit
from tenfold.runs.record import nan_to_none

#: Frequent events, and the least seconds between two of them that are written.
_MANY, OFTEN = (ImagesRead, StepEnded, RowsPredicted), 0.2


def main() -> int:
    """Answer the request on standard input; return 0, or 2 for an error that a user can mend."""
    # The parent may ignore Ctrl-C, as a background job of a shell does; a worker must stop when asked to.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with _own_output() as stream:
        write, tell = _writer(stream), _teller(stream)
        request = json.load(sys.stdin)
        try:
            write({"event": "done", **_answer(request_of(request), tell)})
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            # The parent is gone; the checkpoint stays for the next request.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return 130
        except (TenfoldError, OSError, MemoryError) as error:
            error = error if isinstance(error, TenfoldError) else of_machine(error)
            about = {"kind": type(error).__name__, "message": error.headline, "text": str(error)}
            write({"event": "failed", **about, "problems": list(error.problems)})
            return 2
    return 0


@contextmanager
def _own_output() -> Iterator[TextIO]:
    """Yield standard output for this file alone; what others print goes to standard error."""
    handle = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
        yield stream


def _writer(stream: TextIO) -> Callable[[Mapping[str, object]], None]:
    def write(line: Mapping[str, object]) -> None:
        stream.write(json.dumps(nan_to_none(line), default=str) + "\n")
        stream.flush()

    return write


def _teller(stream: TextIO) -> Listener:
    last, write = 0.0, _writer(stream)

    def tell(event: Event) -> None:
        nonlocal last
        if isinstance(event, _MANY):
            if time.monotonic() - last < OFTEN:
                return
            last = time.monotonic()
        write(event.to_dict())

    return tell


def _answer(request: Request, tell: Listener) -> Mapping[str, object]:
    # Late: members of ratings never load torch.
    match request:
        case FitRequest():
            return _fit(request, tell)
        case ScoreRequest():
            from tenfold.studies.scored import answer_score

            return answer_score(request, tell)
        case CheckRequest() if request.schema.rated:
            from tenfold.ensembles.ratings import check_ratings

            return check_ratings(request)
        case CheckRequest():
            from tenfold.ensembles.tasks import check_networks

            return check_networks(request, tell)
        case TimeRequest():
            from tenfold.ensembles.tasks import measure_members

            return measure_members(request)
        case BlendRequest():
            from tenfold.ensembles.tasks import blend_networks

            return blend_networks(request, tell)
    raise NotImplementedError(request.task)


def _fit(request: FitRequest, tell: Listener) -> dict[str, object]:
    """Train a member, from its checkpoint if that is of the very same training."""

    folds = None if request.folds is None else SharedFolds.read(request.folds)

    def train(resume: bool) -> dict[str, object]:
        run = fit(
            request.schema,
            request.recipe,
            request.table,
            run=request.run,
            resume=resume,
            reading=request.reading,
            machine=request.machine,
            time_limit=request.time_limit,
            time_format=request.time_format,
            report=request.page,
            history=request.page,
            split_rule=folds,
            on_progress=tell,
            on_note=lambda line: tell(NoteAdded(line)),
        )
        return {"summary": run.summary, **({} if folds is None else {"folds": folds.record()})}

    tell(StageBegan("preparing"))
    try:
        return train(resume=True)
    except RunError as error:
        # The error has problems if the checkpoint is another training's, or damaged; not if it is in use.
        if not error.problems:
            raise
        tell(TrainingChanged(error.problems))
    return train(resume=False)


if __name__ == "__main__":
    sys.exit(main())
