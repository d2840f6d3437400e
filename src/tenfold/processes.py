"""Child processes of this interpreter that import no code from the current folder."""

from __future__ import annotations

import os
import sys

__all__ = ["module_command", "module_environment", "without_current_folder"]

#: The folder that holds this package.
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: Installed packages come first; the folder is for a source tree that is not installed.
_START = (
    "import sys; sys.path.append({root!r}); import runpy; "
    "runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *words: str) -> list[str]:
    """The command that runs a module as `python -m` does, but imports nothing from the current folder.

    ``PYTHONPATH`` and installed packages count as usual. `module_environment` does the same for its children.
    """
    return [sys.executable, "-P", "-c", _START.format(root=_ROOT, module=module), *words]


def module_environment(**more: str) -> dict[str, str]:
    """This process's environment for a `module_command`, with some more variables."""
    return {**os.environ, "PYTHONSAFEPATH": "1", **more}


def without_current_folder() -> None:
    """Remove the current folder, which `python -m` puts first in `sys.path`, unless it holds the package."""
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()) and sys.path[0] != _ROOT:
        del sys.path[0]
