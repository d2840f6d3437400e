"""Child processes that import no code from the current folder, and which of several processes this is."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

__all__ = ["Rank", "module_command", "module_environment", "this_rank", "without_current_folder"]

#: What `torchrun` tells every process that it starts.
_OF_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

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


@dataclass(frozen=True)
class Rank:
    """One of the processes that share a training.

    number: from 0, over all machines.  count: how many there are.  local: its number on its machine.
    """

    number: int = 0
    count: int = 1
    local: int = 0


def this_rank() -> Rank:
    """Which rank this process is, by the environment that `torchrun` gives it; the only one without that."""
    told = [os.environ.get(name, "") for name in _OF_RANKS]
    if not all(told):
        return Rank()
    number, count, local = map(int, told[:3])
    return Rank(number, count, local) if count > 1 else Rank()
