"""tenfold trains more model than the machine seems to hold.

A public name is imported when it is first used: ``import tenfold`` alone loads neither torch nor numba nor
pyarrow, and the command line starts at once.

    import tenfold

    table = tenfold.read_table("train.csv")
    run = tenfold.load_run("runs/first")
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names for editors and type checkers; a law keeps both equal
    __version__: str
    from tenfold.api.estimators import ImageClassifier, Recommender, TableModel
    from tenfold.api.fitting import fit, lr
    from tenfold.api.runs import blend, ensemble, explain, inspect, list_runs, load_run, report
    from tenfold.api.samples import sample
    from tenfold.api.studies import compare_targets, cross_validate, search, tune
    from tenfold.data.tables.table import Table, read_table
    from tenfold.engine import device
    from tenfold.errors import TenfoldError
    from tenfold.memory.module import plan_module
    from tenfold.networks.plan import plan
    from tenfold.networks.run import NetworkRun
    from tenfold.recipe import FactorRecipe, RatingNetworkRecipe, Recipe
    from tenfold.recommenders.run import RecommenderRun
    from tenfold.reports.notebook import show_batch
    from tenfold.runs.options import Machine, Reading
    from tenfold.runs.registry import evaluate, predict
    from tenfold.runs.run import Run
    from tenfold.schema import (
        CategoryColumn,
        CategoryTarget,
        CountTarget,
        IdColumn,
        ImageColumn,
        MultiLabelTarget,
        NumberColumn,
        NumberTarget,
        OpenTarget,
        OrderedTarget,
        RatingTarget,
        Schema,
        UndecidedTarget,
    )
    from tenfold.values import FactorModel, Predictions, Recommendations

__all__ = [
    "CategoryColumn",
    "CategoryTarget",
    "CountTarget",
    "FactorModel",
    "FactorRecipe",
    "IdColumn",
    "ImageClassifier",
    "ImageColumn",
    "Machine",
    "MultiLabelTarget",
    "NetworkRun",
    "NumberColumn",
    "NumberTarget",
    "OpenTarget",
    "OrderedTarget",
    "Predictions",
    "RatingNetworkRecipe",
    "RatingTarget",
    "Reading",
    "Recipe",
    "Recommendations",
    "Recommender",
    "RecommenderRun",
    "Run",
    "Schema",
    "Table",
    "TableModel",
    "TenfoldError",
    "UndecidedTarget",
    "__version__",
    "blend",
    "compare_targets",
    "cross_validate",
    "device",
    "ensemble",
    "evaluate",
    "explain",
    "fit",
    "inspect",
    "list_runs",
    "load_run",
    "lr",
    "plan",
    "plan_module",
    "predict",
    "read_table",
    "report",
    "sample",
    "search",
    "show_batch",
    "tune",
]

#: Public name -> the module that defines it, or the package of the public module.
_HOMES = {
    **dict.fromkeys((name for name in __all__ if name.endswith(("Column", "Target"))), "tenfold.schema"),
    **dict.fromkeys(("FactorRecipe", "RatingNetworkRecipe", "Recipe"), "tenfold.recipe"),
    **dict.fromkeys(("FactorModel", "Predictions", "Recommendations"), "tenfold.values"),
    **dict.fromkeys(("ImageClassifier", "Recommender", "TableModel"), "tenfold.api.estimators"),
    **dict.fromkeys(("Machine", "Reading"), "tenfold.runs.options"),
    **dict.fromkeys(("Table", "read_table"), "tenfold.data.tables.table"),
    **dict.fromkeys(
        ("blend", "ensemble", "explain", "inspect", "list_runs", "load_run", "report"), "tenfold.api.runs"
    ),
    **dict.fromkeys(("evaluate", "predict"), "tenfold.runs.registry"),
    **dict.fromkeys(("compare_targets", "cross_validate", "search", "tune"), "tenfold.api.studies"),
    **dict.fromkeys(("fit", "lr"), "tenfold.api.fitting"),
    "NetworkRun": "tenfold.networks.run",
    "RecommenderRun": "tenfold.recommenders.run",
    "Run": "tenfold.runs.run",
    "Schema": "tenfold.schema",
    "TenfoldError": "tenfold.errors",
    "device": "tenfold.engine",
    "plan": "tenfold.networks.plan",
    "plan_module": "tenfold.memory.module",
    "sample": "tenfold.api.samples",
    "show_batch": "tenfold.reports.notebook",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = _version()
    elif name in _HOMES:
        home = import_module(_HOMES[name])
        # A public name may be a module, which is an attribute of its package only after its import.
        value = getattr(home, name) if hasattr(home, name) else import_module(f"{_HOMES[name]}.{name}")
    else:
        raise AttributeError(
            f"module 'tenfold' has no attribute {name!r}", name=name, obj=sys.modules[__name__]
        )
    globals()[name] = value  # from now on a plain attribute
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tenfold")
    except PackageNotFoundError:  # a source tree on the path, not installed
        return "0+unknown"
