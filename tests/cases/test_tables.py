"""Tables: how they are read, and how what was said of the training's table holds for later ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tenfold
from asked import explain
from tenfold.data.images.files import find_images
from tenfold.data.ratings.index import index_ratings
from tenfold.data.tables.jobfile import read_job
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import TableError
from tenfold.files.sample import read_sample
from tenfold.networks.inputs import folder_schema, read_image_folder, read_source
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.runs.options import Reading
from tenfold.runs.record import RunRecord
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    IdColumn,
    ImageColumn,
    NumberColumn,
    RatingTarget,
    Schema,
)

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

    old = replace(
        run, record=RunRecord({name: value for name, value in run.about.items() if name != "reading"})
    )
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
    for name, recipe in (
        ("als", FactorRecipe(method="als", factors=2)),
        ("dot", RatingNetworkRecipe(epochs=1)),
    ):
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
    assert memory.show_batch(n=9).words.startswith("8 of 8 rows")


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
        ([1, 2], "is not a table"),
        (np.zeros((2, 2)), "is not a table"),
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


# --- cells, encodings and separators ---------------------------------------------------------------


@pytest.mark.case("1", "ids and names of pictures keep their leading zeros, and 007 and 7 are two users")
def test_leading_zeros(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, value in (("0007", 10), ("0012", 100), ("7", 200)):
        Image.new("RGB", (4, 4), (value,) * 3).save(tmp_path / "photos" / f"{name}.png")
    table = tenfold.read_table(write(tmp_path / "t.csv", "image_id,label\n0007,cat\n0012,dog\n"))
    found = find_images(
        table.text("image_id"), tmp_path / "photos", lines=table.lines, source="t.csv", column="image_id",
        allow_outside=False,
    )  # fmt: skip
    assert [Path(one).name for one in found.paths] == ["0007.png", "0012.png"]
    ratings = read_ratings(tmp_path, "user,item,rating\n007,1,5\n7,1,1\n")
    assert sorted(ratings.users) == ["007", "7"] and sorted(ratings.ratings) == [1, 5]


@pytest.mark.case("1", "neighbour: exponents, booleans, dates and signs are ids as they stand")
def test_ids_that_look_like_something_else(tmp_path: Path) -> None:
    ids = ["1e5", "100000", "True", "2021-03-01", "+5", "5", "1_000", "0x1F", ".5", "1.0", "1"]
    table = tenfold.read_table(write(tmp_path / "t.csv", "id,y\n" + "".join(f"{one},1\n" for one in ids)))
    assert table.text("id").tolist() == ids


@pytest.mark.case("2", "a long column has one type: 007 is one user in 600,000 rows as in 1,000")
def test_one_type_for_a_whole_column(tmp_path: Path) -> None:
    for rows in (1_000, 600_000):
        body = "".join(f"007,{row},3\n" for row in range(rows))
        path = write(tmp_path / "t.csv", f"user,item,rating\n{body}x9,3,5\n")
        assert tenfold.read_table(path).codes("user")[1].tolist() == ["007", "x9"]


@pytest.mark.case("2", "neighbour: words and empty cells after many numbers change nothing above them")
def test_a_late_word(tmp_path: Path) -> None:
    body = "".join(f"{row % 7},a\n" for row in range(60_000))
    table = tenfold.read_table(write(tmp_path / "t.csv", f"x,y\n{body},a\n07,a\n1.0,a\n"))
    assert table.codes("x")[1].tolist() == [*"0123456", "", "07", "1.0"]


@pytest.mark.case("3", "long ids beside an empty cell stay two users, and the empty one is named")
def test_long_ids(tmp_path: Path) -> None:
    text = "user,item,rating\n9007199254740993,1,3\n9007199254740992,2,4\n,3,5\n"
    with pytest.raises(tenfold.TenfoldError, match="user") as caught:
        read_ratings(tmp_path, text)
    assert "line 4" in str(caught.value)
    found = read_ratings(tmp_path, text, skip_bad=True)
    assert list(found.users) == ["9007199254740993", "9007199254740992"]


@pytest.mark.case("3", "neighbour: of Arrow and of numpy, too; what has been rounded already is refused")
def test_long_ids_in_memory() -> None:
    exact = tenfold.read_table({"user": [9007199254740993, 9007199254740992, None]})
    assert exact.text("user").tolist() == ["9007199254740993", "9007199254740992", ""]
    with pytest.raises(TableError, match="digits of ids are lost"):
        tenfold.read_table({"user": np.array([9007199254740993.0, np.nan])}).text("user")


@pytest.mark.case("4", "NA, None, null and nan are classes and ids; only the empty cell is missing")
def test_words_that_look_missing(tmp_path: Path) -> None:
    words = ["NA", "None", "null", "nan", "N/A", "NULL", "#N/A", "-", "?"]
    body = "".join(f"{row}.png,{word}\n" for row, word in enumerate([*words, ""]))
    table = tenfold.read_table(write(tmp_path / "t.csv", f"id,country\n{body}"))
    assert table.text("country").tolist() == [*words, ""]
    assert table.missing("country").tolist() == [False] * len(words) + [True]
    assert "country: 1 of 10 cells missing" in table.notes
    assert list(read_ratings(tmp_path, "user,item,rating\nNA,None,3\nnull,nan,4\n").users) == ["NA", "null"]


@pytest.mark.case("4", "neighbour: a word that is listed is missing in every kind of column")
def test_listed_words_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,b,c\nNA,-99,x\n1,3,NA\n2,-99,-99.0\n")
    table = tenfold.read_table(path, missing_values=["NA", "-99"])
    assert [table.missing(name).tolist() for name in table.names] == [
        [True, False, False], [True, False, True], [False, True, False],
    ]  # fmt: skip


MARKS = {
    "utf-8-sig": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16 without a mark": lambda text: text.encode("utf-16-be"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
}


@pytest.mark.case("5", "a byte-order mark is no part of a name or an id, in any text file that is opened")
@pytest.mark.parametrize("form", MARKS)
def test_marks(tmp_path: Path, form: str) -> None:
    def marked(name: str, text: str) -> Path:
        (tmp_path / name).write_bytes(MARKS[form](text))
        return tmp_path / name

    table = tenfold.read_table(marked("t.csv", "image_id,label\na.png,cat\nb.png,dog\n"))
    assert table.names == ("image_id", "label") and table.text("image_id").tolist() == ["a.png", "b.png"]
    bare = tenfold.read_table(marked("r.tsv", "10\t20\t3\t890000001\n11\t20\t4\t890000002\n"))
    assert not bare.header and bare.text("column_1").tolist() == ["10", "11"]
    if "without" not in form:
        sample = read_sample(marked("s.csv", "id,label\n1,x\n"))
        assert sample.names == ("id", "label") and sample.cells(0) == ["1"]
        job = read_job(marked("j.toml", 'table = "t.csv"\n[schema]\ninputs = []\ntargets = []\n'))
        assert job.table == "t.csv"


@pytest.mark.case("6", "a table in cp1252 is read and that is said; Greek and Russian are asked for by line")
def test_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    table = tenfold.read_table(write(tmp_path / "t.csv", "id,label\n1.png,café\n2.png,thé\n", "cp1252"))
    assert table.text("label").tolist() == ["café", "thé"]
    assert any("line 2, byte 0xE9" in note and "café" in note for note in table.notes)
    for text, encoding in (("кошка", "cp1251"), ("γάτα", "cp1253"), ("猫と犬", "shift_jis")):
        path = write(tmp_path / "u.csv", f"id,label\n1,{text}\n", encoding)
        with pytest.raises(TableError, match="line 2, byte") as caught:
            tenfold.read_table(path)
        assert "--encoding" in str(caught.value)
        assert tenfold.read_table(path, encoding=encoding).text("label").tolist() == [text]


@pytest.mark.case(
    "6", "neighbour: a job file that is not UTF-8 is refused by line, a sample is answered in its own"
)
def test_other_text_files_that_are_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(tenfold.TenfoldError, match="not UTF-8") as caught:
        read_job(write(tmp_path / "j.toml", '\ntable = "été.csv"\n', "cp1252"))
    assert "line 2" in str(caught.value) and "UTF-8" in str(caught.value)
    sample = read_sample(write(tmp_path / "s.csv", "id,label\né,x\n", "cp1252"))
    assert sample.cells(0) == ["é"] and sample.encoding == "cp1252"


@pytest.mark.case(
    "9", "an unquoted comma is named by line; quotes, doubled quotes and line ends in cells are kept"
)
def test_unquoted_commas(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "movieId,title,genres\n1,Sun, Moon (1999),Drama\n2,Star, Sky (2000),Comedy\n"
    )
    with pytest.raises(TableError, match="line 2 has 4 cells, the header has 3") as caught:
        tenfold.read_table(path)
    assert "not quoted?" in str(caught.value)
    good = 'movieId,title,genres\n1,"The ""Best"", Part 2",Drama\n2,"Two\nlines",Comedy\n'
    table = tenfold.read_table(write(tmp_path / "g.csv", good))
    assert table.text("title").tolist() == ['The "Best", Part 2', "Two\nlines"]


@pytest.mark.case(
    "9", "neighbour: a line that is cut short, and one cell too many in the midst of a long file"
)
def test_ragged_lines(tmp_path: Path) -> None:
    rows = [f"{row},a,b" for row in range(5000)]
    rows[4000], rows[4500] = "4000,a", "4500,a,b,c"
    with pytest.raises(TableError) as caught:
        tenfold.read_table(write(tmp_path / "t.csv", "\n".join(["id,x,y", *rows]) + "\n"))
    assert "line 4002 has 2 cells" in str(caught.value) and "line 4502 has 4 cells" in str(caught.value)


@pytest.mark.case("10", "a header is recognised and said, and so is its absence")
def test_headers(tmp_path: Path) -> None:
    found = read_ratings(
        tmp_path, "userId,movieId,rating,timestamp\n4,17,2.5,1300000100\n4,905,3.0,1300000160\n"
    )
    assert len(found.ratings) == 2 and list(found.users) == ["4"] and list(found.items) == ["17", "905"]
    bare = tenfold.read_table(write(tmp_path / "b.csv", "4,17,2.5\n4,905,3.0\n"))
    assert bare.rows == 2 and any("no header" in note and "give --header" in note for note in bare.notes)


@pytest.mark.case("10", "neighbour: columns of other names are listed with how to name them")
def test_headers_of_other_names(tmp_path: Path) -> None:
    with pytest.raises(tenfold.TenfoldError) as caught:
        read_ratings(tmp_path, "wer,was,wie\na,b,2.5\na,c,3.0\n")
    assert "wer, was, wie" in str(caught.value) and "--user" in str(caught.value)


@pytest.mark.case("11", "'::' and tabs are found, and a single colon stays in its title")
@pytest.mark.parametrize("mark", ["::", "\t", ";", "|", ",", "  "])
def test_separators(tmp_path: Path, mark: str) -> None:
    path = write(tmp_path / "r.dat", f"1{mark}10{mark}5{mark}97830\n2{mark}11{mark}3{mark}97831\n")
    assert texts(tenfold.read_table(path))[:3] == [["1", "2"], ["10", "11"], ["5", "3"]]
    titles = write(
        tmp_path / "m.dat",
        "7::Café: The Movie (1995)::Drama|Comedy\n8::B 2 (1996)::Drama\n9::C (1997)::A\n",
        "latin-1",
    )
    assert tenfold.read_table(titles).text("column_2").tolist()[0] == "Café: The Movie (1995)"


@pytest.mark.case(
    "11", "neighbour: a sign that nobody knows is asked for, decimal commas are found between semicolons"
)
def test_a_separator_that_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="found 1 column in r.dat") as caught:
        tenfold.read_table(write(tmp_path / "r.dat", "1^10^5\n2^11^3\n"))
    assert "'1^10^5'" in str(caught.value) and "--sep" in str(caught.value)
    table = tenfold.read_table(write(tmp_path / "d.csv", "a;b\n1,5;x\n2,25;y\n"))
    assert table.numbers("a").tolist() == [1.5, 2.25]


@pytest.mark.case(
    "12", "bad cells are named with file, line, column and value; empty lines at the end are nothing"
)
def test_bad_cells(tmp_path: Path) -> None:
    good = "".join(f"u{row % 30},i{row},4\n" for row in range(699))
    with pytest.raises(tenfold.TenfoldError) as caught:
        read_ratings(tmp_path, f"user,item,rating\n{good}u9,i9,\nu9,i8,four\n\n\n")
    said = str(caught.value)
    assert (
        "t.csv" in said
        and "line 701, column rating: ''" in said
        and "line 702, column rating: 'four'" in said
    )
    found = read_ratings(tmp_path, f"user,item,rating\n{good}u9,i9,\nu9,i8,four\n\n\n", skip_bad=True)
    assert len(found.ratings) == 699


@pytest.mark.case(
    "12",
    "neighbour: nan, inf, 1_000 and numbers with a unit are no numbers; ten are listed, the rest counted",
)
def test_more_bad_cells(tmp_path: Path) -> None:
    cells = ["nan", "inf", "1_000", "5kg", "1,000.5", "--3", "1e999", "٣"]
    body = "".join(f'{row},"{cell}"\n' for row, cell in enumerate(cells))
    table = tenfold.read_table(write(tmp_path / "t.csv", f"id,x\n{body}"))
    with pytest.raises(TableError) as caught:
        table.numbers("x")
    assert all(f"line {row + 2}, column x: {cell!r}" in str(caught.value) for row, cell in enumerate(cells))
    many = tenfold.read_table({"x": ["1", *["bad"] * 40]})
    with pytest.raises(TableError, match="40 cells") as caught:
        many.numbers("x")
    assert str(caught.value).count("'bad'") == 10


def read_ratings(folder: Path, text: str, **options: Any) -> Any:
    return index_ratings(tenfold.read_table(write(folder / "t.csv", text)), **options)


@pytest.mark.case("P6", "neighbour: every member of a blend reads a table as its own training did")
def test_a_blend_reads_as_its_members(jobs: tuple[Path, Any], tmp_path: Path) -> None:
    folder, run = jobs
    plain = tenfold.fit(JOBS, QUICK, write(tmp_path / "t.csv", joined(
        [row for row in job_rows(120) if row[1] != "?"]
    )), run=tmp_path / "plain", report=False)  # fmt: skip
    blend = blend_runs([run.path, plain.path], output=tmp_path / "blend", weights=[1, 1])
    table = {"job": ["?", "clerk"], "age": ["30", "40"]}
    mean = (chances(run, table) + chances(plain, table)) / 2
    np.testing.assert_allclose(chances(blend, table), mean, atol=1e-12)
    assert not np.allclose(chances(run, table)[0], chances(plain, table)[0])


@pytest.mark.case("56", "a plain folder of pictures is predicted by name, without labels and system files")
def test_a_plain_folder(tmp_path: Path) -> None:
    for name in ("a.png", "b c.png", "é.png", "sub/d.png", "._a.jpg", ".DS_Store", "Thumbs.db"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("png"):
            Image.new("RGB", (8, 8), (len(name) * 20,) * 3).save(tmp_path / "photos" / name)
        else:
            (tmp_path / "photos" / name).write_bytes(b"\0\1\2")
    table = read_image_folder(tmp_path / "photos", labels=False)
    assert sorted(table.text("image")) == ["a.png", "b c.png", "sub/d.png", "é.png"]


@pytest.mark.case(
    "56", "neighbour: a folder takes the place of the pictures' folder and needs no column of labels"
)
def test_a_folder_in_place_of_a_table(tmp_path: Path) -> None:
    schema = Schema(
        inputs=(ImageColumn(name="file", folder=str(tmp_path / "gone")),), targets=(CategoryTarget(name="y"),)
    )
    (tmp_path / "new" / "x").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "new" / "x" / "1.png")
    table, reading = read_source(tmp_path / "new", schema, Reading())
    assert table.names == ("file",) and table.text("file").tolist() == ["x/1.png"]
    assert reading.folders == {"file": str(tmp_path / "new")}


@pytest.mark.case(
    "6", "neighbour: a table of items is in the encoding that was given, and its words are missing, too"
)
def test_the_encoding_of_side_tables(tmp_path: Path) -> None:
    table = write(tmp_path / "r.csv", joined(rating_rows(), header="user,item,stars"))
    titles = "item;title;genre\n" + "".join(f"m{one};Žluťoučký {one};?;\n" for one in range(9))
    items = write(tmp_path / "items.csv", titles, "cp1250")
    schema = RATINGS.model_copy(update={"item_table": str(items), "item_name": "title"})
    notes: list[str] = []
    run = tenfold.fit(
        schema, FactorRecipe(method="als", factors=2), str(table), run=tmp_path / "run", report=False,
        table_options={"encoding": "cp1250", "missing_values": ["?"]}, on_note=notes.append,
    )  # fmt: skip
    assert run.model.item_names["m3"] == "Žluťoučký 3"
    assert any("items.csv is read as cp1250" in note for note in notes)
    assert any("items.csv: column_4 has no name and no value: left out" in note for note in notes)


@pytest.mark.metamorphic("a row's answer is the same alone, twice, in another order and among other rows")
def test_a_rows_answer_is_its_own(jobs: tuple[Path, Any]) -> None:
    _, run = jobs
    rows = job_rows(40, seed=9)
    table = {"job": [row[0] for row in rows], "age": [row[1] for row in rows]}
    every = chances(run, table)
    order = np.random.default_rng(1).permutation([*range(40), 3, 3])
    mixed = chances(run, {name: [column[row] for row in order] for name, column in table.items()})
    np.testing.assert_array_equal(mixed, every[order])
    alone = [chances(run, {name: [column[row]] for name, column in table.items()})[0] for row in range(5)]
    np.testing.assert_array_equal(alone, every[:5])


@pytest.mark.metamorphic("further columns, and columns in another order, change no prediction")
def test_further_columns_do_not_matter(jobs: tuple[Path, Any]) -> None:
    _, run = jobs
    rows = job_rows(12, seed=4)
    jobs_, ages = [row[0] for row in rows], [row[1] for row in rows]
    plain = chances(run, {"job": jobs_, "age": ages})
    more = chances(run, {"zip": list("abcdefghijkl"), "age": ages, "label": ["?"] * 12, "job": jobs_})
    np.testing.assert_array_equal(more, plain)
