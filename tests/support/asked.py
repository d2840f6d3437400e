"""Runs made, explained and shown in one line each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tenfold.runs.fitting import fit
from tenfold.runs.options import ExplainOptions, Reading
from tenfold.runs.registry import load_run
from tenfold.runs.run import Run

#: Without a line in the history, and without a page.
fit_alone = partial(fit, report=False, history=False)


def explain(
    run: Any,
    rows: Sequence[str] = (),
    *,
    output: str | Path | None = None,
    table_options: Mapping[str, Any] | None = None,
    skip_bad: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """`Run.write_explanation` of a run or the run in a folder."""
    options.setdefault("reading", Reading(table=table_options or {}, skip_bad=skip_bad))
    return _opened(run).write_explanation(rows, ExplainOptions(**options), output)


def write_run_report(run: Any, output: str | Path | None = None, **options: Any) -> dict[str, Any]:
    """`Run.write_page` of the run in a folder, opened anew."""
    return load_run(getattr(run, "path", run)).write_page(output, **options)


def _opened(run: Any) -> Run:
    return load_run(run) if isinstance(run, str | os.PathLike) else run
