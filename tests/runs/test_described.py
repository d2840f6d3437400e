"""What ``run.json`` says: a changed value is seen, and one without a sum is held to its types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import RunError
from tenfold.runs.described import FORMAT, faults_of, is_inside, read_description, sealed

ABOUT: dict[str, Any] = {
    "format": FORMAT,
    "kind": "network",
    "rows": 3,
    "targets": {"a": {"error_rate": 0.5, "auc": None, "labels": {"x": {"ap": 1.0}}}},
    "seconds": 1.5,
    "peak_bytes": 7,
    "majority": {"a": 0},
    "notes": ["ümlaut"],
    "files": dict.fromkeys(("schema.toml", "recipe.toml", "encoding.json", "weights.safetensors"), "0"),
}


def write(folder: Path, about: Any) -> Path:
    file = folder / "run.json"
    file.write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")
    return file


def test_a_sum_covers_every_value_and_no_spelling(tmp_path: Path) -> None:
    whole = sealed({**ABOUT, "shape": (1, 2), "by number": {4: 1e-300}})
    assert read_description(write(tmp_path, whole), "run").values["shape"] == [1, 2]
    turned = dict(reversed(json.loads(json.dumps(whole)).items()))
    file = tmp_path / "run.json"
    file.write_text(json.dumps(turned), encoding="utf-8")
    assert read_description(file, "run").rows == 3
    assert sealed(whole) == whole


@pytest.mark.parametrize(
    ("name", "value"), [("rows", 4), ("seconds", 1.25), ("kind", "pairs"), ("notes", []), ("extra", None)]
)
def test_a_changed_value_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    whole = {**sealed(ABOUT), name: value}
    with pytest.raises(RunError, match="is damaged") as caught:
        read_description(write(tmp_path, whole), "run")
    assert "sum" in caught.value.labels["found"] and caught.value.labels["fix"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", "3"), ("rows", -1), ("rows", True), ("targets", []), ("targets", {"a": 1}),
        ("targets", {"a": {"error_rate": "x"}}), ("seconds", None), ("kind", 4), ("notes", [1]),
        ("files", {"a": 1}), ("format", "1"), ("members", [{"name": "x"}]), ("scale", [1]),
        ("plan", {"parts": {"weights": "x"}}), ("plan", {"band_bytes": [1]}), ("plan", []),
    ],
)  # fmt: skip
def test_without_a_sum_a_value_of_the_wrong_type_is_named(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(RunError, match="is damaged") as caught:
        read_description(write(tmp_path, {**ABOUT, name: value}), "run")
    assert any(one.startswith(name) for one in caught.value.problems)


def test_without_a_sum_what_is_right_is_read_and_what_is_missing_is_named(tmp_path: Path) -> None:
    assert read_description(write(tmp_path, ABOUT), "run").values == ABOUT
    assert faults_of({"kind": "pairs", "format": 1, "files": {}})[0] == "rows is missing"


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "nul", "[" * 100_000, '{"a": 1}'])
def test_what_is_no_description_is_damaged(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    with pytest.raises(RunError, match="is damaged"):
        read_description(file, "run")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "C:x", "", "\\x"])
def test_names_that_lead_outside(name: str) -> None:
    assert not is_inside(name) and is_inside("a/b.txt")
