"""Kinds of fault of security: files that would run code, formulas, markup, and files that are no files."""

from __future__ import annotations

import csv
import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import save_file

import tenfold
from asked import explain, write_run_report
from office import read_formulas
from tenfold.errors import WeightsError
from tenfold.files.tables import write_predictions
from tenfold.nn.encoders import build_backbone, load_weights
from tenfold.recipe import Recipe
from tenfold.runs.weights import read_weights
from tenfold.schema import CategoryTarget, NumberColumn, NumberTarget


def read_cells(path: Path) -> dict[str, list[str]]:
    """Column -> its cells, as a program of another make reads them."""
    with open(path, encoding="utf-8", newline="") as stream:
        head, *rows = list(csv.reader(stream))
    return {name: [row[place] for row in rows] for place, name in enumerate(head)}


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


@pytest.mark.case("76", "weights that hold code are refused, also where the environment allows them")
@pytest.mark.parametrize("protocol", [0, 1, 2, 4, None])
def test_weights_that_hold_code(
    protocol: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker, file = tmp_path / "marker", tmp_path / "weights.pth"
    hostile = {"state_dict": {"w": torch.ones(2)}, "more": Hostile(marker)}
    if protocol is None:
        torch.save(hostile, file)
    else:
        file.write_bytes(pickle.dumps({"a": Hostile(marker)}, protocol=protocol))
    with pytest.raises(WeightsError, match="holds code, not only weights"):
        read_weights(str(file))
    assert not marker.exists()


def _zip(**members: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return held.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69\nsize 12345\n"


@pytest.mark.case("76", "neighbour: what is no weights file is called what it is, not a file that holds code")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (LFS, "is a git-lfs pointer"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
        (b'{"error": "not found"}', "is JSON text"),
        (_zip(a="1", b="2"), "zip archive without weights"),
        (b"\x1f\x8b\x08\x00rest", "is compressed"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"hello\n" * 40, "is not a weights file"),
        (b"\x00" * 100, "is not a weights file"),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": 1', "is not a weights file, or is damaged"),
    ],
)
def test_strangers_are_called_what_they_are(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(WeightsError) as refused:
        read_weights(str(file))
    assert said in refused.value.headline and "code" not in str(refused.value)
    assert refused.value.labels["fix"]


@pytest.mark.case("76", "neighbour: pipes, folders, devices and links to themselves are refused at once")
@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "device", "forbidden"])
def test_files_that_are_no_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path = path / ("x" * 300)
    with pytest.raises(WeightsError) as refused:
        read_weights(str(path))
    assert str(path) in refused.value.headline and "Errno" not in str(refused.value)


def _wrapped(state: dict[str, Any], how: str) -> Any:
    last = {"last.weight": torch.ones(3, 4), "last.bias": torch.zeros(3)}
    return {
        "plain": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "model": {"model": state, "optimizer": {"lr": 0.1}},
        "parallel": {f"module.{key}": value for key, value in state.items()},
        "compiled": {f"_orig_mod.module.{key}": value for key, value in state.items()},
        "lightning": {
            "state_dict": {f"model.{key}": one for key, one in state.items()} | {"loss.w": torch.ones(1)}
        },
        "run": {f"encoders.image0.{key}": value for key, value in state.items()} | last,
    }[how]


@pytest.mark.case("T5", "a run's own weights begin the next training: body loaded, last layer left out")
@pytest.mark.parametrize("how", ["plain", "state_dict", "model", "parallel", "compiled", "lightning", "run"])
@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_weights_under_any_name(how: str, arch: str, tmp_path: Path) -> None:
    size = (160, 160) if arch == "test_vit" else (32, 32)
    source, target = (build_backbone(arch, image_size=size) for _ in range(2))
    state = {key: torch.full_like(value, 0.5) for key, value in source.state_dict().items()}
    file = tmp_path / "weights.pth"
    if how in ("plain", "parallel", "run"):
        save_file({key: value.clone() for key, value in _wrapped(state, how).items()}, file)
    else:
        torch.save(_wrapped(state, how), file)
    notes = load_weights(target, read_weights(str(file)), "weights.pth")
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())
    assert f"{len(state)} of {len(state)} tensors loaded" in notes[-1]
    if how == "run":
        assert "from encoders.image0; 2 left out (last.bias, last.weight)" in notes[-1]


@pytest.mark.case("T5", "neighbour: another network's weights are refused under any name, and named")
def test_weights_of_another_network() -> None:
    state = build_backbone("test_resnet", image_size=(32, 32)).state_dict()
    larger = {f"encoders.image0.{key}": value for key, value in state.items()}
    larger["encoders.image0.layer9.0.weight"] = torch.ones(2)
    with pytest.raises(WeightsError, match="does not fit this architecture") as refused:
        load_weights(build_backbone("test_resnet", image_size=(32, 32)), larger, "w.safetensors")
    assert any("layer9" in one for one in refused.value.problems)
    wrong = {f"module.{key}": torch.ones(1) for key in state}
    with pytest.raises(WeightsError, match="does not fit"):
        load_weights(build_backbone("test_resnet", image_size=(32, 32)), wrong, "w.safetensors")


@pytest.mark.case("V7", "weights that are not finite are refused by name, not taken for a rate too high")
def test_weights_that_are_not_finite() -> None:
    backbone = build_backbone("test_resnet", image_size=(32, 32))
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    next(iter(state.values())).view(-1)[3] = torch.nan
    with pytest.raises(
        WeightsError, match="w.safetensors is damaged, or of a training that failed"
    ) as refused:
        load_weights(backbone, state, "w.safetensors")
    assert [one.split(": ")[1] for one in refused.value.problems] == ["1 values are not finite"]


#: Names that a spreadsheet, a browser, a terminal or an XML file would trip over.
CLASSES = ("=1+1", "<img src=x onerror=alert(1)>", "a\x0b\x1b[31mb\x9bc\u202ed\uffff&lt;")
COLUMN = "<script>1</script>\x07"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder, and a run there of a small table whose names are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [(f"=cmd{row}", row % 3, -0.25) for row in range(48)]
    table = {
        "id": [one[0] for one in rows],
        COLUMN: [one[1] for one in rows],
        "@SUM(A1)": [CLASSES[one[1]] for one in rows],
        "score": [one[2] for one in rows],
    }
    schema = tenfold.Schema(
        inputs=(NumberColumn(name=COLUMN),),
        targets=(CategoryTarget(name="@SUM(A1)"), NumberTarget(name="score")),
        id="id",
    )
    recipe = Recipe(epochs=3, batch_size=16, seed=1, valid=0.25)
    run = tenfold.fit(schema, recipe, table, run=folder / "run", report=False)
    return folder, (run, table)


@pytest.mark.case("78", "files for a site are exact, and the cells named; files for people are inert")
def test_formulas_in_files(hostile: tuple[Path, Any]) -> None:
    folder, (run, table) = hostile
    found = run.predict(table)
    notes = write_predictions(folder / "exact.csv", found, id_name="id")
    exact = read_cells(folder / "exact.csv")
    assert exact["id"] == table["id"] and set(exact["@SUM(A1)"]) <= set(CLASSES)
    assert any("=cmd0" in note for note in notes)
    write_predictions(folder / "safe.csv", found, id_name="id", spreadsheet_safe=True)
    safe = read_cells(folder / "safe.csv")
    assert safe["id"] == [f"'{one}" for one in table["id"]]
    assert not any(one.startswith(("=", "@", "+")) for one in (*safe, *sum(safe.values(), [])))
    assert all(float(one) == pytest.approx(-0.25, abs=0.2) for one in safe["score"])
    assert safe["score"] == exact["score"] and exact["score"][0].startswith("-")


@pytest.mark.case(
    "78", "neighbour: in a workbook names are text, in valid XML, and no formula but the program's"
)
def test_formulas_in_workbooks(hostile: tuple[Path, Any]) -> None:
    folder, (run, table) = hostile
    explain(run, ["=cmd0", "=cmd1"], output=folder / "book.xlsx", table=table)
    with zipfile.ZipFile(folder / "book.xlsx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name.endswith((".xml", ".rels"))}
    for part in parts.values():
        ElementTree.fromstring(part)
    text = b"".join(parts.values()).decode("utf-8")
    assert not set(text) & set("\x0b\x1b\x07\uffff") and "=cmd0" in text
    formulas = read_formulas(folder / "book.xlsx")
    # A name may stand in a formula as text, or as a sheet's, never as a part of its own.
    bare = [
        re.sub(r"\"(?:[^\"]|\"\")*\"|'[^']*'!", "", one)
        for sheet in formulas.values()
        for one in sheet.values()
    ]
    assert bare and not any("1+1" in one or "SUM(A1)" in one for one in bare)


@pytest.mark.case("80", "classes, columns and ids with markup are text wherever a page shows them")
def test_markup_in_pages(hostile: tuple[Path, Any]) -> None:
    folder, (run, _) = hostile
    write_run_report(run.path, folder / "report.html")
    page = (folder / "report.html").read_text("utf-8")
    assert "<img src=x" not in page and "<script>1" not in page
    # Escaped for the place they are put in: as text, and inside of the page's own data.
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "&amp;lt;" in page and "&lt;\n" not in page


@pytest.mark.case("80", "neighbour: signs that end a page, or turn its reading order, are not in it raw")
def test_control_signs_in_pages(hostile: tuple[Path, Any]) -> None:
    folder, (run, _) = hostile
    write_run_report(run.path, folder / "report.html")
    page = (folder / "report.html").read_text("utf-8")
    assert not set(page) & set("\x00\x07\x0b\x1b\x9b\u202e\uffff")
