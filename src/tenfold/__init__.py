"""tenfold trains more model than the machine seems to hold.

The public names are resolved when they are first used: ``import tenfold`` by itself loads neither torch
nor numba nor pyarrow, so that the command line and the reports answer at once.

    import tenfold

    table = tenfold.read_table("train.csv")
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names once more, for editors and type checkers; a law keeps both equal
    from tenfold.errors import TenfoldError
    from tenfold.recipe import Recipe
    from tenfold.schema import Schema
    from tenfold.values import Predictions, Recommendations

__all__ = [
    "Predictions",
    "Recipe",
    "Recommendations",
    "Schema",
    "TenfoldError",
    "__version__",
]

#: Public name -> the module that has it, or the package of which it is a module.
_HOMES = {
    "Predictions": "tenfold.values",
    "Recipe": "tenfold.recipe",
    "Recommendations": "tenfold.values",
    "Schema": "tenfold.schema",
    "TenfoldError": "tenfold.errors",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        home = import_module(_HOMES[name])
        # A public name may be a whole module, which its package knows only once it is imported.
        value = getattr(home, name) if hasattr(home, name) else import_module(f"{_HOMES[name]}.{name}")
    else:
        raise AttributeError(
            f"module 'tenfold' has no attribute {name!r}", name=name, obj=sys.modules[__name__]
        )
    globals()[name] = value  # from now on a plain attribute
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tenfold")
    except PackageNotFoundError:  # a source tree on the path that was never installed
        return "0+unknown"
