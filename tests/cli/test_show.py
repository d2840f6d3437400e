"""explain and report from the command line: files, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tenfold.cli.main  # noqa: F401 - registers the commands
from shown import rated, trained
from tenfold.cli.commands import app


def run(*words: object, code: int = 0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def test_explain(tmp_path: Path) -> None:
    _, network = trained()
    found = json.loads(
        run("explain", network.path, "0003.png", "0005.png", "-o", tmp_path / "b.xlsx", "--json").stdout
    )
    assert [row["id"] for row in found["rows"]] == ["0003.png", "0005.png"]
    assert (tmp_path / "b.xlsx").read_bytes()[:2] == b"PK"
    text = run("explain", network.path, "-n", "6", "-o", tmp_path / "c.xlsx").stdout
    assert "workbook:" in text and "chosen because" in text


def test_explain_of_ratings(tmp_path: Path) -> None:
    _, ratings = rated()
    found = json.loads(
        run("explain", ratings.path, "u1", "--item", "<m1>", "-o", tmp_path / "b.xlsx", "--json").stdout
    )
    assert found["users"] == ["u1"] and found["items"] == ["<m1>"]
    assert (
        "RMSE over these ratings" in run("explain", ratings.path, "-n", "4", "-o", tmp_path / "b.xlsx").stdout
    )


def test_report(tmp_path: Path) -> None:
    _, network = trained()
    found = json.loads(
        run("report", network.path, "-o", tmp_path / "r.html", "--worst", "3", "--json").stdout
    )
    assert found["output"] == str(tmp_path / "r.html") and "Curves" in found["sections"]
    worst = (tmp_path / "r.html").read_text("utf-8").split("<h2>The highest losses</h2>")[1]
    assert worst.split("<section")[0].count("<figure") == 3 * len(network.schema.targets)
    assert "report:" in run("report", rated()[1].path).stdout
    both = json.loads(
        run("report", network.path, rated()[1].path, "-o", tmp_path / "c.html", "--json").stdout
    )
    assert both["kind"] == "comparison" and (tmp_path / "c.html").exists()


@pytest.mark.parametrize(
    "words",
    [("explain", "{run}", "nobody"), ("report", "{here}"), ("explain", "{run}", "-o", "{here}/b.csv")],
)
def test_mistakes_end_with_2(tmp_path: Path, words: tuple[str, ...]) -> None:
    _, ratings = rated()
    said = [one.format(run=ratings.path, here=tmp_path) for one in words]
    assert "fix" in run(*said, code=2).stderr
