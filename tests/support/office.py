"""Workbooks computed again by LibreOffice, and read cell by cell."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tenfold.workbooks.workbook import column_letters

SOFFICE = shutil.which("soffice")
needs_office = pytest.mark.skipif(
    SOFFICE is None, reason="needs LibreOffice: apt-get install libreoffice-calc"
)

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"

Cells = dict[str, float | str]


def read_book(path: Path) -> dict[str, Cells]:
    """Sheet -> cell -> value as it stands in the file; empty cells are left out."""
    return {name: {cell: value for cell, (value, _) in cells.items()} for name, cells in _read(path).items()}


def read_formulas(path: Path) -> dict[str, dict[str, str]]:
    """Sheet -> cell -> formula."""
    return {
        name: {cell: formula for cell, (_, formula) in cells.items() if formula}
        for name, cells in _read(path).items()
    }


def _read(path: Path) -> dict[str, dict[str, tuple[float | str, str]]]:
    with zipfile.ZipFile(path) as archive:
        strings: list[str] = []
        if "xl/sharedStrings.xml" in archive.namelist():
            root = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
            strings = ["".join(part.text or "" for part in one.iter(f"{_MAIN}t")) for one in root]
        links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
        targets = {one.get("Id"): str(one.get("Target")).lstrip("/") for one in links}
        found = {}
        for sheet in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter(f"{_MAIN}sheet"):
            name = targets[sheet.get(_LINK)]
            root = ElementTree.fromstring(archive.read(name if name.startswith("xl/") else f"xl/{name}"))
            cells = {}
            for cell in root.iter(f"{_MAIN}c"):
                value, formula = cell.find(f"{_MAIN}v"), cell.find(f"{_MAIN}f")
                made = "" if formula is None else formula.text or ""
                text = "" if value is None or value.text is None else value.text
                if value is None and not made:
                    continue
                kind = cell.get("t", "n")
                if kind == "s":
                    content: float | str = strings[int(text)]
                else:
                    content = float(text) if kind in ("n", "b") and text else text
                cells[str(cell.get("r"))] = (content, made)
            found[str(sheet.get("name"))] = cells
    return found


def step(cells: Cells, title: str, row: int = 0, column: int = 0) -> str:
    """The cell of a row and column of a step on a sheet whose steps stand side by side.

    column: counted from the step's first one; -1 is what it says of whole rows, beside them.
    """
    named = [re.fullmatch(r"([A-Z]+)(\d+)", cell) for cell, value in cells.items() if value == title]
    places = [found.groups() for found in named if found]
    # Two lines below the titles of a band stand the names of its columns.
    letters, line = next(place for place in places if cells.get(f"B{int(place[1]) + 2}") == "label")
    first = column_number(letters)
    if column < 0:
        column = 0
        while f"{column_letters(first + column + 1)}{int(line) + 2}" in cells:
            column += 1
    return f"{column_letters(first + column)}{int(line) + 3 + row}"


def result(cells: Cells, words: str) -> str:
    """The cell of what stands under a step, by its words."""
    at = next(cell for cell, value in cells.items() if value == words)
    letters, line = re.match(r"([A-Z]+)(\d+)", at).groups()  # type: ignore[union-attr]
    after = range(column_number(letters) + 1, column_number(letters) + 9)
    named = [f"{column_letters(one)}{line}" for one in after]
    return next(cell for cell in named if cells.get(cell, "") != "")


def column_number(letters: str) -> int:
    """A -> 0, AA -> 26: the opposite of `column_letters`."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - 64
    return number - 1


def recompute(path: Path, changes: dict[tuple[str, str], float] | None = None) -> dict[str, Cells]:
    """What LibreOffice makes of a workbook whose formulas have lost their values: it has to compute them.

    changes: (sheet, cell) -> number that stands there instead.
    """
    assert SOFFICE is not None
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.xlsx"
        _strip(path, bare, changes or {})
        out = Path(folder) / "out"
        home = f"-env:UserInstallation=file://{folder}/home"
        command = [SOFFICE, home, "--headless", "--convert-to", "xlsx", "--outdir", str(out), str(bare)]
        subprocess.run(command, check=True, capture_output=True, timeout=240)
        return read_book(out / "bare.xlsx")


def assert_recomputes(path: Path, within: float = 1e-9) -> dict[str, Cells]:
    """What LibreOffice makes of a workbook, every formula found to be what the file says it is.

    within: numbers may differ by so much; texts must be equal.
    """
    kept, computed = read_book(path), recompute(path)
    for sheet, cells in read_formulas(path).items():
        for cell, formula in cells.items():
            stored, now = kept[sheet][cell], computed[sheet].get(cell, "")
            same = pytest.approx(stored, abs=within) if isinstance(stored, float) else stored
            assert now == same, (sheet, cell, formula)
    return computed


def _strip(path: Path, bare: Path, changes: dict[tuple[str, str], float]) -> None:
    names = list(_read(path))
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(bare, "w", zipfile.ZIP_DEFLATED) as made:
        for name in archive.namelist():
            data = archive.read(name)
            if name.startswith("xl/worksheets/sheet"):
                text = data.decode("utf-8")
                sheet = names[int(re.findall(r"\d+", name)[0]) - 1]
                for (own, cell), value in changes.items():
                    if own == sheet:
                        text, count = re.subn(
                            rf'<c r="{cell}"( s="\d+")?[^>]*?(/>|>.*?</c>)',
                            rf'<c r="{cell}"\1><v>{value}</v></c>',
                            text,
                        )
                        assert count == 1, cell
                data = re.sub(r"(</f>)<v>[^<]*</v>", r"\1", text).encode("utf-8")
            made.writestr(name, data)
