"""A finished network opens without torch, and says what it cannot be asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shown import trained
from tenfold.errors import RecipeError
from tenfold.networks.run import NetworkRun


def test_opening_it_and_its_page_load_no_torch() -> None:
    code = "import sys; from tenfold.runs.registry import load_run; load_run(sys.argv[1]).page(); "
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(trained()[1].path)], check=False)
    assert done.returncode == 0


def test_items_and_members_are_not_its_own() -> None:
    _, run = trained()
    assert isinstance(run, NetworkRun) and run.members == ()
    with pytest.raises(RecipeError, match="no option members"):
        run.predict({"id": ["0001.png"]}, members=True)
