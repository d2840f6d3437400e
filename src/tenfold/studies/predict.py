"""Open a run of either wing, and ask it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tenfold.errors import RunError
from tenfold.runs.folder import read_run
from tenfold.values import Predictions

if TYPE_CHECKING:
    from tenfold.recommenders.factors import RatingsRun


def load_run(path: str | os.PathLike[str]) -> Any:
    """Open a finished run folder. Its files are checked against their sums and cannot run code.

    Raises RunError where there is no run, or it is damaged, unfinished or of a later version.
    """
    folder, about = read_run(path)
    kind = about.get("kind")
    # Each wing is loaded only when it is asked for: ratings never wait for torch.
    if kind == "network":
        from tenfold.networks.run import open_network_run

        return open_network_run(folder, about)
    if kind == "ratings":
        from tenfold.recommenders.factors import open_ratings_run

        return open_ratings_run(folder, about)
    if kind == "pairs":
        from tenfold.recommenders.network import open_pair_run

        return open_pair_run(folder, about)
    if kind == "blend" and about.get("of") == "ratings":
        from tenfold.ensembles.recommenders import open_ratings_blend

        return open_ratings_blend(folder, about)
    if kind == "blend":
        from tenfold.ensembles.networks import open_network_blend

        return open_network_blend(folder, about)
    raise RunError(f"{path} is a run of an unknown kind", found=repr(kind), fix="upgrade tenfold")


def open_recommender(path: str | os.PathLike[str]) -> RatingsRun:
    """The ratings run in a folder; RunError where it is a run of another kind."""
    run = load_run(path)
    if not run.schema.rated:
        raise RunError(
            f"{path} is not a run of ratings",
            fix="give one that was made so: tenfold fit TABLE --user COLUMN --item COLUMN -o RUN",
        )
    return run  # type: ignore[return-value]


def predict(run: Any, source: Any, **options: Any) -> Predictions:
    """Predictions of a run (or of the run in a folder) for a table or a folder of pictures.

    options: as the wing's own `predict` takes them, e.g. ``views=4`` for pictures.
    """
    return _opened(run).predict(source, **options)


def evaluate(run: Any, source: Any, **options: Any) -> dict[str, Any]:
    """Scores of a run (or of the run in a folder) on rows whose answer is known (docs/formats.md)."""
    return _opened(run).evaluate(source, **options)


def _opened(run: Any) -> Any:
    return load_run(run) if isinstance(run, (str, os.PathLike)) else run
