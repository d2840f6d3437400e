"""What all tests share: where real data is, which tests run here, and a cache that is nobody's."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# One thread: networks are tiny here, and threads that wait for each other cost more than they bring. Set
# before torch is loaded; child processes have it, too. Somebody else's choice stands.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TENFOLD_DATA") or ROOT.parent / "shared" / "data").resolve()

#: The files of `nn` and `engine` whose tensors and arrays say their shapes: from here on every call of their
#: functions is held to what they say. In this process only: no user has such a hook, no child process either.
#: `engine.trace` is left out, which counts references to tensors and watches their end: a check adds to both.
CHECKED = [
    f"tenfold.{path.parent.name}.{path.stem}"
    for room in ("nn", "engine")
    for path in sorted((ROOT / "src" / "tenfold" / room).glob("*.py"))
    if "\nfrom jaxtyping import " in path.read_text("utf-8") and path.stem != "trace"
]
# An int is a float here, as type checkers have it (PEP 484).
install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_configure(config: pytest.Config) -> None:
    # Set before any test module is imported, and as a variable, so that child processes obey it too.
    config.stash[CACHE] = tempfile.mkdtemp(prefix="tenfold-test-cache-")
    os.environ["TENFOLD_CACHE"] = config.stash[CACHE]


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[CACHE], ignore_errors=True)


CACHE = pytest.StashKey[str]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A broken law is the quickest to see and often the cause of the rest.
    items.sort(key=lambda item: "laws" not in item.path.parts)
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        if item.get_closest_marker("real") and not DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="no real data: set TENFOLD_DATA to their folder"))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets, for tests marked `real`."""
    if not DATA.is_dir():
        pytest.skip("no real data: set TENFOLD_DATA to their folder")
    return DATA
