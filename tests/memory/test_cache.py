"""Plans are kept by what decides them, and a bad cache costs time only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenfold.memory.cache import digest, recall, remember


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    return tmp_path


def test_what_was_kept_is_found_again() -> None:
    key = digest(["test_resnet", {"rows": 4}])
    assert recall(key) is None
    remember(key, {"a": [1, 2], "b": "x"})
    assert recall(key) == {"a": [1, 2], "b": "x"}


def test_every_difference_is_another_key() -> None:
    keys = {digest(values) for values in ([1, "a"], [1, "b"], [2, "a"], [1, "a", None])}
    assert len(keys) == 4 and digest([1, "a"]) in keys


def test_no_key_keeps_nothing(own_folder: Path) -> None:
    remember("", {"a": 1})
    assert recall("") is None and not list(own_folder.rglob("*.json"))


@pytest.mark.parametrize("text", ["", "[1]", "{", "null"])
def test_what_cannot_be_read_is_not_there(own_folder: Path, text: str) -> None:
    remember("key", {"a": 1})
    next(own_folder.rglob("key.json")).write_text(text)
    assert recall("key") is None


def test_what_was_changed_is_not_there(own_folder: Path) -> None:
    remember("key", {"fits": True})
    file = next(own_folder.rglob("key.json"))
    file.write_text(file.read_text().replace("true", "false"))
    assert recall("key") is None


def test_a_folder_that_cannot_be_written_is_no_error(own_folder: Path) -> None:
    (own_folder / "memory").write_text("a file stands in the way")
    remember("key", {"a": 1})
    assert recall("key") is None
