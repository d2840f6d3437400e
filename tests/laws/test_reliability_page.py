"""docs/reliability.md lists what the marks of the tests say today."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from laws.source import ROOT, load_script


def load_generator() -> Any:
    return load_script(ROOT / "docs" / "make_reliability.py")


def test_the_page_is_fresh() -> None:
    generator = load_generator()
    written = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    assert written == generator.reliability_page(list(generator.read_marks())), "run: make docs"


def test_no_mark_has_another_name_which_the_page_would_not_see() -> None:
    renamed = re.compile(r"=[^\n]*pytest\.mark\.(case|metamorphic)\b")
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if path.name != Path(__file__).name]
    assert [path.name for path in files if renamed.search(path.read_text("utf-8"))] == []


def test_marks_are_read_grouped_and_ordered(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(
        '@pytest.mark.case("12", "ids are text")\n@pytest.mark.metamorphic("order of rows")\n'
        "def test_x(): ...\n"
        '@pytest.mark.case("2", "one | type")\ndef test_y(): ...\n'
        '@pytest.mark.metamorphic("order of rows")\n@pytest.mark.slow\ndef test_z(): ...\n'
    )
    generator = load_generator()
    page = generator.reliability_page(list(generator.read_marks(tmp_path / "tests")))
    kinds, laws = page.split("## Metamorphic laws")
    assert kinds.index("| 2 | one \\| type | `tests/test_a.py::test_y` |") < kinds.index(
        "| 12 | ids are text |"
    )
    assert "| order of rows | `tests/test_a.py::test_x`<br>`tests/test_a.py::test_z` |" in laws
