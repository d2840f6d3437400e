"""Tables: how they are read, and how what was said of the training's table holds for later ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tenfold
from tenfold.errors import TableError
from tenfold.jobs.blendruns import blend_runs
from tenfold.jobs.explain import explain
from tenfold.jobs.inputs import Reading, folder_schema, read_image_folder
from tenfold.recipe import FactorRecipe, PairRecipe, Recipe
from tenfold.schema import CategoryColumn, CategoryTarget, IdColumn, NumberColumn, RatingTarget, Schema

QUICK = Recipe(epochs=4, frozen_epochs=0, valid=0.25, seed=3)
JOBS = Schema(
    inputs=(CategoryColumn(name="job"), NumberColumn(name="age")), targets=(CategoryTarget(name="label"),)
)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def job_rows(rows: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """Jobs and ages with some cells '?', and a label that the job tells most of the time."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(rows):
        job = ["clerk", "farmer", "?"][rng.integers(3)]
        age = "?" if rng.random() < 0.2 else str(rng.integers(20, 60))
        rich = job == "clerk" if rng.random() < 0.9 else rng.random() < 0.5
        found.append((job, age, "rich" if rich else "poor"))
    return found


def joined(rows: list[tuple[str, ...]], separator: str = ",", header: str = "job,age,label") -> str:
    lines = [header.replace(",", separator)] if header else []
    return "\n".join([*lines, *(separator.join(row) for row in rows)]) + "\n"


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run whose table was read with '?' as missing, and the folder of its table."""
    folder = tmp_path_factory.mktemp("jobs")
    table = write(folder / "train.csv", joined(job_rows(120)))
    run = tenfold.fit(
        JOBS, QUICK, str(table), run=folder / "run", report=False,
        reading=Reading(table={"missing_values": ("?",)}),
    )  # fmt: skip
    return folder, run


def chances(run: Any, table: Any, **options: Any) -> np.ndarray:
    return run.predict(table, **options).targets["label"].probabilities


@pytest.mark.case("P6", "the words for missing of a fit hold for predict, evaluate and explain")
def test_missing_values_belong_to_the_run(jobs: tuple[Path, Any]) -> None:
    folder, run = jobs
    assert json.loads((run.path / "run.json").read_text())["reading"] == {"missing_values": ["?"]}
    run = tenfold.load_run(run.path)
    notes: list[str] = []
    marked = run.predict({"job": ["?", "clerk"], "age": ["?", 30]}, on_note=notes.append)
    empty = run.predict({"job": ["", "clerk"], "age": ["", 30]})
    np.testing.assert_array_equal(marked.targets["label"].probabilities, empty.targets["label"].probabilities)
    assert "read as the training's table was: --missing-values ?" in notes
    answers = write(folder / "answers.csv", joined([("clerk", "30", "?"), ("clerk", "31", "rich")]))
    assert run.evaluate(str(answers))["targets"]["label"]["scored"] == 1


@pytest.mark.metamorphic("explain's answer of a row is predict's answer of that row, however it was read")
def test_explain_answers_as_predict(jobs: tuple[Path, Any], tmp_path: Path) -> None:
    folder, run = jobs
    explained = explain(run, output=tmp_path / "book.xlsx", n=6)
    every = chances(run, str(folder / "train.csv"))
    for row in explained["rows"]:
        told = row["targets"]["label"]["probabilities"]
        np.testing.assert_allclose([told["poor"], told["rich"]], every[int(row["id"]) - 2], atol=1e-6)
    assert "read as the training's table was: --missing-values ?" in explained["notes"]


@pytest.mark.case("P6", "neighbour: a further word is missing beside the run's, a table in memory counts too")
def test_further_words_are_missing_too(jobs: tuple[Path, Any]) -> None:
    _, run = jobs
    table = tenfold.read_table({"job": ["?", "none"], "age": [30, 30]})
    found = chances(run, table, reading=Reading(table={"missing_values": ("none",)}))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found, chances(run, {"job": ["", ""], "age": [30, 30]}))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run of a table without a header, cells between carets, in an encoding that is not found."""
    folder = tmp_path_factory.mktemp("odd")
    rows = [(job.replace("clerk", "účetní"), age, label) for job, age, label in job_rows(80)]
    write(folder / "train.csv", joined(rows, "^", header=""), "cp1250")
    schema = Schema(
        inputs=(CategoryColumn(name="column_1"), NumberColumn(name="column_2")),
        targets=(CategoryTarget(name="column_3"),),
    )
    how = {"separator": "^", "encoding": "cp1250", "header": False, "missing_values": ("?",)}
    run = tenfold.fit(
        schema, QUICK, str(folder / "train.csv"), run=folder / "run", report=False, reading=Reading(table=how)
    )
    return folder, tenfold.load_run(run.path)


@pytest.mark.case("P6", "the separator, header and encoding of a fit hold for later tables of that form")
def test_a_later_table_of_the_same_form(odd: tuple[Path, Any], tmp_path: Path) -> None:
    folder, run = odd
    same = write(tmp_path / "test.csv", "účetní^30\nfarmer^40\n", "cp1250")
    notes: list[str] = []
    found = run.predict(str(same), on_note=notes.append)
    wanted = run.predict({"column_1": ["účetní", "farmer"], "column_2": [30, 40]})
    np.testing.assert_array_equal(
        found.targets["column_3"].probabilities, wanted.targets["column_3"].probabilities
    )
    assert any("--sep '^' --no-header" in note for note in notes) and not any("seen" in one for one in notes)
    explained = explain(run, output=tmp_path / "book.xlsx", n=3)
    every = run.predict(str(folder / "train.csv")).targets["column_3"].probabilities
    for row in explained["rows"]:
        told = row["targets"]["column_3"]["probabilities"]
        np.testing.assert_allclose([told["poor"], told["rich"]], every[int(row["id"]) - 1], atol=1e-6)


@pytest.mark.case(
    "P6", "neighbour: a later table in another form is read as its own lines say, and that is said"
)
@pytest.mark.parametrize(
    ("text", "encoding"),
    [("účetní;30\nfarmer;40\n", "utf-8"), ("job^age\núčetní^30\nfarmer^40\n", "cp1250")],
    ids=["utf-8 and semicolons", "a header"],
)
def test_a_later_table_of_another_form(
    odd: tuple[Path, Any], tmp_path: Path, text: str, encoding: str
) -> None:
    _, run = odd
    other = write(tmp_path / "test.csv", text, encoding)
    notes: list[str] = []
    found = run.predict(str(other), on_note=notes.append)
    wanted = run.predict({"column_1": ["účetní", "farmer"], "column_2": [30, 40]})
    np.testing.assert_array_equal(
        found.targets["column_3"].probabilities, wanted.targets["column_3"].probabilities
    )


@pytest.mark.case(
    "P6", "neighbour: a run of an earlier version, which does not say how it read, opens as before"
)
def test_a_run_without_reading(jobs: tuple[Path, Any]) -> None:
    _, run = jobs
    from dataclasses import replace

    old = replace(run, about={name: value for name, value in run.about.items() if name != "reading"})
    notes: list[str] = []
    old.predict({"job": ["?"], "age": [30]}, on_note=notes.append)
    assert any(note.startswith("job: 1 value not seen in training (?)") for note in notes)


RATINGS = Schema(inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="stars"),))


def rating_rows(seed: int = 0) -> list[tuple[str, str, str]]:
    rng = np.random.default_rng(seed)
    return [
        (f"u{u}", f"m{i}", str(rng.integers(1, 6))) for u in range(8) for i in range(9) if rng.random() < 0.8
    ]


@pytest.mark.case(
    "P6", "neighbour: factors, networks of ratings and their blend read later tables as the fit did"
)
def test_ratings_read_as_they_were_fitted(tmp_path: Path) -> None:
    rows = [*rating_rows(), ("u1", "m99", "-"), ("-", "m1", "3")]
    table = write(tmp_path / "r.txt", joined(rows, "^", header="user,item,stars"))
    how = {"separator": "^", "missing_values": ["-"]}
    runs = []
    for name, recipe in (("als", FactorRecipe(method="als", factors=2)), ("dot", PairRecipe(epochs=1))):
        run = tenfold.fit(
            RATINGS, recipe, str(table), run=tmp_path / name, report=False, table_options=how, skip_bad=True
        )
        assert run.about["reading"] == how
        runs.append(tenfold.load_run(run.path))
    runs.append(blend_runs([tmp_path / "als", tmp_path / "dot"], output=tmp_path / "blend"))
    test = write(tmp_path / "t.txt", "user^item^stars\nu1^m1^3\nu2^m2^-\nu3^m3^4\n")
    for run in runs:
        notes: list[str] = []
        pairs = run.predict(str(test), on_note=notes.append)
        assert list(pairs.users) == ["u1", "u2", "u3"] and pairs.known_user.all()
        assert "read as the training's table was: --missing-values - --sep '^'" in notes
        scores = run.evaluate(str(test), skip_bad=True)
        assert scores["rows"] == 2
    own = write(tmp_path / "mine.txt", "item^stars\nm1^5\nm2^-\nm3^1\n")
    with pytest.raises(tenfold.TenfoldError, match="stars"):
        runs[0].with_ratings(str(own))


def test_a_run_of_a_folder_is_explained(tmp_path: Path) -> None:
    for place, name in enumerate(["cat", "dog"]):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for one in range(6):
            pixels = np.full((8, 8, 3), 60 + 120 * place + one, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{one}.png")
    recipe = Recipe(arch="test_resnet", weights="none", image_size=32, epochs=1, frozen_epochs=0, valid=0.34)
    schema = folder_schema(str(tmp_path / "photos"))
    table = read_image_folder(tmp_path / "photos", labels=True)
    run = tenfold.fit(schema, recipe, table, run=tmp_path / "run", report=False)
    found = explain(run, ["cat/1.png"], output=tmp_path / "book.xlsx")
    assert found["rows"][0]["targets"]["label"]["label"] == "cat"
    assert run.show_batch(n=2).words.startswith("2 of 12 rows")
    columns = {"image": ["cat/1.png", "dog/1.png", "cat/2.png", "dog/2.png"] * 2, "label": list("abab") * 2}
    memory = tenfold.fit(schema, recipe, columns, run=tmp_path / "memory", report=False)
    held = memory.about["valid_rows"]
    assert 0 < held < 8 and memory.show_batch(n=9).words.startswith(f"{held} of {held} rows")


@pytest.mark.metamorphic("rows as mappings, a structured array and columns are the same table")
def test_rows_in_other_forms() -> None:
    wanted = {"x": ["1", "2"], "y": ["a", ""]}
    structured = np.array([(1, "a"), (2, "")], dtype=[("x", "i8"), ("y", "U3")])
    for source in ([{"x": 1, "y": "a"}, {"x": 2}], structured, {"x": map(int, "12"), "y": iter(["a", None])}):
        table = tenfold.read_table(source)
        assert {name: table.text(name).tolist() for name in table.names} == wanted
    one = tenfold.read_table({"x": 5, "y": "abc", "z": None})
    assert [one.rows, *(one.text(name)[0] for name in one.names)] == [1, "5", "abc", ""]
    for source, said in (
        ({"x": 5, "y": ["abc"]}, "one cell"),
        ([1, 2], "is no table"),
        (np.zeros((2, 2)), "is no table"),
        (type("Series", (), {})(), "one column, or one row"),
    ):
        with pytest.raises(TableError, match=said):
            tenfold.read_table(source)


def texts(table: Any) -> list[list[str]]:
    return [table.text(name).tolist() for name in table.names]


@pytest.mark.case("P5", "the header of a joined file is no class and no user, and is said")
@pytest.mark.parametrize(
    "again", ["id,label", '"id","label"', "ID, Label", "\ufeffid,label", "id,label\n\nid,label"]
)
def test_a_header_in_the_middle(tmp_path: Path, again: str) -> None:
    path = write(tmp_path / "t.csv", f"id,label\na,cat\nb,dog\n{again}\nc,cat\n")
    table = tenfold.read_table(path)
    assert texts(table) == [["a", "b", "c"], ["cat", "dog", "cat"]]
    assert any("the header" in note and "left out" in note and "(line 4" in note for note in table.notes)
    assert table.lines[-1] == 5 + again.count("\n")


@pytest.mark.case(
    "P5", "neighbour: numbers stay numbers, a header in another order is refused, a class of its name stays"
)
def test_headers_in_joined_files_of_other_kinds(tmp_path: Path) -> None:
    table = tenfold.read_table(write(tmp_path / "t.csv", "user,x\nu1,1\nuser,x\nu2,2\n"))
    assert table.numbers("x").tolist() == [1, 2] and table.text("user").tolist() == ["u1", "u2"]
    with pytest.raises(TableError, match="another order") as caught:
        tenfold.read_table(write(tmp_path / "o.csv", "id,label\na,cat\nlabel,id\ndog,b\n"))
    assert "line 3" in str(caught.value)
    kept = tenfold.read_table(write(tmp_path / "k.csv", "id,label\na,label\nb,x\nid,y\n"))
    assert texts(kept) == [["a", "b", "id"], ["label", "x", "y"]]


@pytest.mark.case("P5", "comment and title lines are left out by options that the message names")
@pytest.mark.parametrize(
    ("text", "said", "options"),
    [
        ("Sales of 2021\nid,label\n1,cat\n2,dog\n", "--skip-lines 1", {"skip_lines": 1}),
        ("Sales\nby nobody\n\nid,label\n1,cat\n2,dog\n", "--skip-lines 3", {"skip_lines": 3}),
        ("# made by x\nid,label\n1,cat\n2,dog\n", "--skip-lines 1", {"comment": "#"}),
        ("id,label\n1,cat\n# a part\n2,dog\n", "--comment '#'", {"comment": "#"}),
        ("id,label\n1,cat\n# a, b, part\n2,dog\n", "--comment '#'", {"comment": "#"}),
    ],
)
def test_lines_that_are_no_rows(tmp_path: Path, text: str, said: str, options: dict[str, Any]) -> None:
    path = write(tmp_path / "t.csv", text)
    with pytest.raises(TableError) as caught:
        tenfold.read_table(path)
    assert said in str(caught.value)
    table = tenfold.read_table(path, **options)
    assert table.names == ("id", "label") and texts(table) == [["1", "2"], ["cat", "dog"]]
    assert table.lines[-1] == text.count("\n") and table.options == options
    assert any("left out" in note for note in table.notes)


@pytest.mark.case("P5", "neighbour: a comment of as many cells is pointed out; one within quotes is a cell")
def test_comments_that_look_like_rows(tmp_path: Path) -> None:
    table = tenfold.read_table(write(tmp_path / "t.csv", "id,label\n1,cat\n#x,y\n2,dog\n"))
    assert any("line 3" in note and "--comment '#'" in note for note in table.notes)
    path = write(tmp_path / "q.csv", 'id,label\n1,"two\n# lines"\n#2,x\n3,y\n')
    assert texts(tenfold.read_table(path, comment="#")) == [["1", "3"], ["two\n# lines", "y"]]


@pytest.mark.case(
    "P5", "neighbour: a separator at the end of every row but not of the header is left out and said"
)
def test_a_separator_at_every_rows_end(tmp_path: Path) -> None:
    body = "1,Sun,Drama,\n2,Moon,,\n"
    table = tenfold.read_table(write(tmp_path / "t.csv", "id,title,genre\n" + body))
    assert table.names == ("id", "title", "genre") and texts(table)[2] == ["Drama", ""]
    assert any("no name and no value: left out" in note for note in table.notes)
    with pytest.raises(TableError, match="line 4") as caught:
        tenfold.read_table(write(tmp_path / "u.csv", "id,title,genre\n" + body + "3,Sun, Moon,Drama\n"))
    assert "4 cells, the header has 3" in str(caught.value)
