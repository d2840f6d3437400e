"""Functions by name, as a file can hold them: ``module:function``."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from typing import cast

from tenfold.errors import SchemaError

#: A function that somebody else has written.
AnyFunction = Callable[..., object]

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def function_name(value: object) -> object:
    """``module:function`` of a function; a text of that form, and None, stay as they are.

    Raises ValueError for what cannot be found again by its name: a lambda, a function within a function, one
    of a notebook or a script itself, or an object.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if not _NAME.fullmatch(value.strip()):
            raise ValueError("name a function as module:function, for example my_losses:pinball")
        return value.strip()
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    how = "write a function into a file, for example my_losses.py, and import it from there"
    if not callable(value) or not module or not name:
        raise ValueError(f"{type(value).__name__} is not a function with a name: {how}")
    if "<" in name:
        raise ValueError(f"{name} is a lambda, or lies within a function, and cannot be imported: {how}")
    if module == "__main__":
        raise ValueError(f"{name} is defined in the notebook or script itself, and cannot be imported: {how}")
    if _find(sys.modules.get(module), name) is not value:
        raise ValueError(f"{module} has another {name}, or none: {how}")
    return f"{module}:{name}"


def load_function(name: str) -> AnyFunction:
    """Import the function of a name. Raises SchemaError where there is none.

    Importing runs the module's code, so it is done for a training that somebody asked for, and never for a
    run that is opened or asked.
    """
    module, _, inner = name.partition(":")
    try:
        found = _find(importlib.import_module(module), inner)
    except ImportError as error:
        raise SchemaError(
            f"the function {name} cannot be imported: {error}",
            fix="its module must be installed or on the path (PYTHONPATH)",
        ) from None
    if not callable(found):
        raise SchemaError(f"{module} has no function {inner!r}", fix="name it as module:function")
    return cast(AnyFunction, found)


def imported_function(name: str) -> AnyFunction | None:
    """The function of a name, if this process has already imported its module; runs nothing."""
    module, _, inner = name.partition(":")
    found = _find(sys.modules.get(module), inner)
    return cast(AnyFunction, found) if callable(found) else None


def _find(module: object, name: str) -> object:
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
