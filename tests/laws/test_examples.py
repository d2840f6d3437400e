"""The example notebooks run from top to bottom, in a folder of their own, and what they show is good."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from laws.source import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def executed(path: Path, folder: Path) -> object:
    """The notebook with the outputs of its cells, run in a kernel of this Python."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def texts(notebook: object) -> list[str]:
    """What each cell of code shows, as text and as HTML."""
    shown = []
    for cell in notebook.cells:  # type: ignore[attr-defined]
        if cell.cell_type == "code":
            parts = [one.get("data", {}) for one in cell.outputs]
            words = [one.get("text", "") for one in cell.outputs]
            shown.append("\n".join([*words, *(str(value) for part in parts for value in part.values())]))
    return shown


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_example_runs_and_shows_what_it_says(path: Path, tmp_path: Path) -> None:
    shown = texts(executed(path, tmp_path))
    assert not any("Warning" in text for text in shown)
    whole = "\n".join(shown)
    if path.stem == "leaves":
        right = [int(part) for part in re.findall(r"(\d+)% right", shown[-1])]
        assert len(right) == 2 and min(right) >= 65  # a quarter by chance
        assert whole.count("<img") > 30 and "<iframe" in whole
    else:
        assert "Recommendations of 5 items" in whole and "Neighbours of 1 asked" in whole
        assert (tmp_path / "runs" / "films" / "report.html").exists()


def test_the_examples_are_kept_without_outputs() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"films", "leaves"}
    for path in NOTEBOOKS:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert cells and all(not cell.outputs and cell.execution_count is None for cell in cells)
