"""`import tenfold` is light, and every public name resolves, lists and is known to type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

import tenfold
from laws.source import SRC, read_imports

HEAVY = ("torch", "torchvision", "timm", "numba", "pyarrow", "PIL", "sklearn", "pandas", "jinja2")
LAZY = [name for name in tenfold.__all__ if name != "__version__"]


def loaded_by(code: str) -> set[str]:
    """The heavy libraries that a fresh process has loaded after running `code`."""
    ask = f"{code}\nimport sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_tenfold_loads_nothing_heavy() -> None:
    assert loaded_by("import tenfold; dir(tenfold); tenfold.__version__") == set()


def test_the_words_of_the_house_load_nothing_heavy() -> None:
    assert loaded_by("from tenfold import Schema, Recipe, Predictions") == set()


def test_a_heavy_library_would_be_seen() -> None:
    assert loaded_by("import PIL") == {"PIL"}


def test_the_command_line_loads_neither_torch_nor_kernels() -> None:
    heavy = {"torch", "torchvision", "timm", "numba", "sklearn"}
    assert loaded_by("import tenfold.cli.main") & heavy == set()


@pytest.mark.parametrize("name", LAZY)
def test_every_public_name_resolves_to_one_object(name: str) -> None:
    first = getattr(tenfold, name)
    assert first is getattr(tenfold, name)
    assert name in dir(tenfold)


def test_the_list_the_table_and_the_type_checkers_agree() -> None:
    source = (SRC / "__init__.py").read_text("utf-8")
    typed = {one.name: one.target for one in read_imports(source, "__init__") if one.when == "typing"}
    assert typed == tenfold._HOMES
    assert sorted(tenfold._HOMES) == LAZY
    assert tenfold.__all__ == sorted(tenfold.__all__)


def test_a_public_name_is_defined_where_the_table_says() -> None:
    for name, home in tenfold._HOMES.items():
        path = SRC.joinpath(*home.split(".")[1:])
        if path.is_dir():  # a whole module is public
            assert (path / f"{name}.py").exists()
            continue
        tree = ast.parse(path.with_suffix(".py").read_text("utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        defined |= {ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)}
        assert name in defined, f"{name} comes from somewhere else than {home}"


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert tenfold.__version__ == version("tenfold")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tenfold' has no attribute 'fitt'"):
        tenfold.fitt  # noqa: B018
    with pytest.raises(ImportError):
        exec("from tenfold import fitt")
