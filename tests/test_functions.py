"""Functions by name: what can be found again by its name, and what is refused with the reason."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

import tenfold
from tenfold.errors import SchemaError
from tenfold.functions import function_name, imported_function, load_function


def outer() -> object:
    def inner() -> None: ...

    return inner


def local(outputs: object, labels: object) -> None: ...


local.__module__ = "__main__"


def test_a_function_and_its_name_are_the_same() -> None:
    from tenfold.metrics import score_text

    name = function_name(score_text)
    assert name == "tenfold.metrics:score_text" == function_name(name)
    assert load_function(str(name)) is score_text and imported_function(str(name)) is score_text
    assert function_name(None) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda outputs, labels: outputs, "is a lambda"),
        (outer(), "lies within a function"),
        (local, "notebook or script itself"),
        (partial(print, "x"), "not a function with a name"),
        (3, "not a function with a name"),
        ("pinball", "module:function"),
        ("os.system('x')", "module:function"),
        ("a:b:c", "module:function"),
    ],
)
def test_what_cannot_be_found_again_is_refused_with_a_way_out(value: object, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        tenfold.NumberTarget(name="y", loss=value)


@pytest.mark.parametrize("name", ["no_such_module:f", "tenfold.metrics:no_such", "tenfold.metrics:np.pi"])
def test_a_name_without_a_function_is_refused(name: str) -> None:
    with pytest.raises(SchemaError):
        load_function(name)
    assert imported_function(name) is None


def test_only_load_function_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "never_imported_losses.py").write_text("def f(a, b): return a\n")
    monkeypatch.syspath_prepend(tmp_path)
    name = "never_imported_losses:f"
    text = tenfold.Schema(
        inputs=(tenfold.NumberColumn(name="x"),), targets=(tenfold.NumberTarget(name="y", loss=name),)
    ).to_toml()
    assert tenfold.Schema.from_toml(text).targets[0].loss == name
    assert imported_function(name) is None and "never_imported_losses" not in sys.modules
    assert load_function(name) is imported_function(name)
    sys.modules.pop("never_imported_losses")
