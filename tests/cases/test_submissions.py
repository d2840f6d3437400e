"""Sample submissions: the right row by its id, and the kind of answer that the sample's cells ask for."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from command import tenfold as run_command
from tenfold.cli.options import AnswerOutput
from tenfold.cli.write import write_answers
from tenfold.errors import OutputError, SchemaError
from tenfold.files.submission import write_submission
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, NumberColumn, Schema
from tenfold.values import Predictions, TargetPrediction


def objects(values: Sequence[Any]) -> Any:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def category(
    chances: Sequence[Sequence[float]], classes: Sequence[str], kind: str = "category"
) -> TargetPrediction:
    chance = np.array(chances, dtype=float)
    return TargetPrediction(kind, tuple(classes), chance, objects([classes[one] for one in chance.argmax(1)]))


def predictions(ids: Sequence[str], **targets: TargetPrediction) -> Predictions:
    return Predictions(objects(ids), targets, np.zeros(len(ids), bool))


def fill(
    folder: Path, sample: str, found: Predictions, **options: Any
) -> tuple[list[list[str]], tuple[str, ...]]:
    (folder / "sample.csv").write_text(sample)
    notes = write_submission(folder / "out.csv", found, like=folder / "sample.csv", **options)
    with open(folder / "out.csv", newline="") as stream:
        return list(csv.reader(stream))[1:], notes


SICK = category([[0.8, 0.2], [0.3, 0.7]], ("0", "1"))
WORDS = category([[0.8, 0.2], [0.3, 0.7]], ("healthy", "sick"))
WORDS_OF_THREE = category([[0.8, 0.2], [0.3, 0.7], [0.9, 0.1]], ("healthy", "sick"))
PETS = category([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], ("cat", "dog", "fox"))


@pytest.mark.case(
    "P1", "fractions for a target of two classes are the probability of the second, and that is said"
)
@pytest.mark.parametrize("target", [SICK, WORDS], ids=["0 and 1", "words"])
@pytest.mark.parametrize("name", ["sick_", "probability"])
def test_fractions_of_two_classes(tmp_path: Path, target: TargetPrediction, name: str) -> None:
    rows, notes = fill(tmp_path, f"id,{name}\nb,0.5\na,0.5\n", predictions(["a", "b"], label=target))
    assert rows == [["b", "0.7"], ["a", "0.2"]]
    assert any(
        f"the probability of '{target.classes[1]}', the second class of 'label'" in one for one in notes
    )


@pytest.mark.case("P1", "neighbour: a column of the first class's name, or --probability, asks for the first")
def test_the_class_that_the_column_names(tmp_path: Path) -> None:
    found = predictions(["a", "b"], label=WORDS)
    rows, _ = fill(tmp_path, "id,healthy\na,0.5\nb,0.5\n", found)
    assert rows == [["a", "0.8"], ["b", "0.3"]]
    rows, _ = fill(tmp_path, "id,p\na,0.5\nb,0.5\n", found, probabilities={"p": "healthy"})
    assert rows == [["a", "0.8"], ["b", "0.3"]]
    # A target and a class of one name: the option means the class.
    rows, _ = fill(
        tmp_path, "id,p\na,0.5\nb,0.5\n", predictions(["a", "b"], sick=WORDS), probabilities={"p": "sick"}
    )
    assert rows == [["a", "0.2"], ["b", "0.7"]]


@pytest.mark.case("P1", "words are not written under numbers, nor numbers under words")
@pytest.mark.parametrize(
    ("sample", "target"),
    [
        ("0", WORDS), ("0.5", PETS), ("0", PETS), ("yes", SICK), ("True", WORDS), ("0.0", SICK),
        ("0.5", category([[0.9, 0.2], [0.1, 0.2]], ("a", "b"), "open")),
        ("x", TargetPrediction("number", (), None, np.array([1.5, 2.0]))),
        ("0", TargetPrediction("multilabel", ("dry", "wet"), np.ones((2, 2)), objects([("dry",), ()]))),
        ("0.5", TargetPrediction("multilabel", ("dry", "wet"), np.ones((2, 2)), objects([("dry",), ()]))),
    ],
)  # fmt: skip
def test_another_kind_of_answer_is_refused(tmp_path: Path, sample: str, target: TargetPrediction) -> None:
    with pytest.raises(OutputError, match="another kind of answer") as caught:
        fill(tmp_path, f"id,x\na,{sample}\nb,{sample}\n", predictions(["a", "b"], label=target))
    assert "column 'x' holds" in str(caught.value) and "--column" in str(caught.value)
    assert not (tmp_path / "out.csv").exists()
    rows, notes = fill(
        tmp_path,
        f"id,x\na,{sample}\nb,{sample}\n",
        predictions(["a", "b"], label=target),
        columns={"x": "label"},
    )
    assert [row[0] for row in rows] == ["a", "b"] and any(
        "all the same, as was asked" in one for one in notes
    )


@pytest.mark.case("P1", "neighbour: what fits is written without a question, whole numbers as whole numbers")
@pytest.mark.parametrize(
    ("sample", "target", "wanted"),
    [
        (["0", "0"], SICK, ["0", "1"]),
        (["0.0", "1.0"], SICK, ["0.0", "1.0"]),
        (["False", "True"], SICK, ["False", "True"]),
        (["", ""], WORDS, ["healthy", "sick"]),
        (["?", "?"], WORDS, ["healthy", "sick"]),
        (["normal", "normal"], PETS, ["cat", "fox"]),
        (["0", "0"], category([[0.1, 0.2, 0.7], [1, 0, 0]], ("0", "1", "2"), "ordered"), ["2", "0"]),
        (["0.5", "2.5"], category([[0.1, 0.2, 0.7], [1, 0, 0]], ("0.5", "1.5", "2.5"), "ordered"),
         ["2.5", "0.5"]),
        (["0", "0"], TargetPrediction("number", (), None, np.array([1.5, 2.0])), ["1.5", "2"]),
        (["0 2", "1"],
         TargetPrediction("multilabel", ("0", "1", "2"), np.ones((2, 3)), objects([("0", "1"), ()])),
         ["0 1", ""]),
    ],
)  # fmt: skip
def test_what_fits_is_written(
    tmp_path: Path, sample: list[str], target: TargetPrediction, wanted: list[str]
) -> None:
    rows, _ = fill(tmp_path, f"id,x\na,{sample[0]}\nb,{sample[1]}\n", predictions(["a", "b"], label=target))
    assert [row[1] for row in rows] == wanted


@pytest.mark.case("P1", "neighbour: answers that are no whole numbers, under whole numbers, are said")
def test_numbers_under_whole_numbers_are_said(tmp_path: Path) -> None:
    found = predictions(["a"], price=TargetPrediction("number", (), None, np.array([3.7])))
    _, notes = fill(tmp_path, "id,price\na,0\n", found)
    assert any(one.endswith("answers are not rounded: 3.7") for one in notes)


@pytest.mark.case("P1", "neighbour: classes are written in the letters of the sample, and that is said")
def test_classes_are_written_in_the_samples_letters(tmp_path: Path) -> None:
    shown = {"SICK": ["HEALTHY", "SICK"], "Healthy": ["Healthy", "Sick"], "sick": ["healthy", "sick"]}
    for word, expected in shown.items():
        rows, notes = fill(tmp_path, f"id,state\na,{word}\nb,{word}\n", predictions([*"ab"], state=WORDS))
        assert [row[1] for row in rows] == expected
        assert bool(notes) == (word != "sick") and (word == "sick" or word in " ".join(notes))
    # Letters that are no rule, and words that are no class: the run's own, said.
    for word in ("sIck", "unknown"):
        rows, notes = fill(tmp_path, f"id,state\na,{word}\nb,{word}\n", predictions([*"ab"], state=WORDS))
        assert [row[1] for row in rows] == ["healthy", "sick"]
        assert f"holds {word}, and 'state' answers healthy, sick" in " ".join(notes)
    # Classes that differ in case alone keep it.
    pair = category([[0.8, 0.2], [0.3, 0.7]], ("a", "A"))
    rows, _ = fill(tmp_path, "id,state\na,A\nb,A\n", predictions([*"ab"], state=pair))
    assert [row[1] for row in rows] == ["a", "A"]


@pytest.mark.case("P1", "neighbour: columns of 0 and 1 stay 0 and 1 where tags were read from such columns")
def test_columns_of_tags(tmp_path: Path) -> None:
    tags = TargetPrediction(
        "multilabel", ("dry", "wet"), np.array([[0.9, 0.2]]), objects([("dry",)]), columns=("dry", "wet")
    )
    found = predictions(["a"], tags=tags)
    rows, notes = fill(tmp_path, "id,dry,wet\na,0,0\n", found)
    assert rows == [["a", "1", "0"]] and any("--probability dry=dry" in one for one in notes)
    assert fill(tmp_path, "id,dry,wet\na,0.5,0.5\n", found)[0] == [["a", "0.9", "0.2"]]
    chosen = {"dry": "dry", "wet": "wet"}
    assert fill(tmp_path, "id,dry,wet\na,0,0\n", found, probabilities=chosen)[0] == [["a", "0.9", "0.2"]]
    with pytest.raises(OutputError, match="another kind"):
        fill(tmp_path, "id,dry,wet\na,yes,no\n", found)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run without a column of ids, whose answer follows from its one number."""
    folder = tmp_path_factory.mktemp("numbers")
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=(CategoryTarget(name="label"),))
    rows = [(value, "high" if value > 50 else "low") for value in range(100)]
    table = {"x": [row[0] for row in rows], "label": [row[1] for row in rows]}
    recipe = Recipe(epochs=12, frozen_epochs=0, valid=0, seed=1)
    return folder, tenfold.fit(schema, recipe, table, run=folder / "run", report=False)


class Frame:
    """As much of a pandas frame as is needed, for tests without pandas."""

    def __init__(self, columns: dict[str, Any], labels: Any, name: str | None = None) -> None:
        self.columns = list(columns)
        self.iloc = self
        self._cells = list(columns.values())
        self.index = RangeIndex(labels, name) if isinstance(labels, range) else Index(labels, name)

    def __getitem__(self, place: tuple[slice, int]) -> Any:
        return self._cells[place[1]]


class Index:
    """A pandas index of one level."""

    def __init__(self, labels: Any, name: str | None) -> None:
        self.names, self._labels = [name], list(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def tolist(self) -> list[Any]:
        return self._labels

    def get_level_values(self, place: int) -> list[Any]:
        return self._labels


class RangeIndex(Index):
    """An index that only counts."""

    start, step = 0, 1


def high(number: int) -> str:
    return "high" if number > 50 else "low"


@pytest.mark.case("P2", "rows of a sample are joined by its id's column, never by the number of a line")
@pytest.mark.metamorphic("a predicted table in another row order fills a sample submission alike")
def test_ids_are_joined_by_name(numbers: tuple[Path, Any], tmp_path: Path) -> None:
    folder, run = numbers
    rng = np.random.default_rng(0)
    ids, values = np.arange(1, 21), rng.permutation(100)[:20]
    values = np.where(np.abs(values - 50) < 12, 90, values)
    sample = tmp_path / "sample.csv"
    sample.write_text("id,label\n" + "".join(f"{one},low\n" for one in ids))
    wanted = {str(one): high(value) for one, value in zip(ids, values, strict=True)}
    outputs = []
    for name, order in (("sorted", np.arange(20)), ("shuffled", rng.permutation(20))):
        test = tmp_path / f"{name}.csv"
        test.write_text("x,id\n" + "".join(f"{values[one]},{ids[one]}\n" for one in order))
        run_command("predict", run.path, test, "--like", sample, "-o", f"{name}_out.csv", cwd=tmp_path)
        outputs.append((tmp_path / f"{name}_out.csv").read_bytes())
    assert outputs[0] == outputs[1]
    assert dict(line.split(",") for line in outputs[0].decode().splitlines()[1:]) == wanted


@pytest.mark.case("P2", "neighbour: a table without that column is refused, and --id names another one")
def test_a_table_without_the_ids_is_refused(numbers: tuple[Path, Any], tmp_path: Path) -> None:
    _, run = numbers
    (tmp_path / "sample.csv").write_text("PassengerId,label\n2,low\n3,low\n")
    (tmp_path / "test.csv").write_text("x,number\n90,3\n10,2\n")
    found = run_command(
        "predict", run.path, "test.csv", "--like", "sample.csv", "-o", "out.csv", cwd=tmp_path, code=2
    )
    assert "PassengerId" in found.stderr and "--id COLUMN" in found.stderr
    words = ("predict", run.path, "test.csv", "--like", "sample.csv", "-o", "out.csv", "--id", "number")
    run_command(*words, cwd=tmp_path)
    assert (tmp_path / "out.csv").read_text() == "PassengerId,label\n2,low\n3,high\n"
    (tmp_path / "sample.csv").write_text("PassengerId,p,extra\n2,0.5,k\n3,0.5,k\n4,0.5,k\n")
    more = ("--probability", "high=p", "--column", "extra=", "--fill-missing", "0.25")
    run_command(*words, *more, cwd=tmp_path)
    rows = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    assert [row[2] for row in rows] == ["k", "k", "k"] and rows[2][1] == "0.25"
    assert float(rows[0][1]) < 0.5 < float(rows[1][1])


@pytest.mark.case("P2", "neighbour: of a data frame the index names the rows, and a named one is a column")
def test_a_frames_index_is_given_back(numbers: tuple[Path, Any], tmp_path: Path) -> None:
    _, run = numbers
    assert run.predict(Frame({"x": [90, 10, 80]}, ["c", "a", "b"])).ids.tolist() == ["c", "a", "b"]
    plain = Frame({"x": [90, 10, 80, 5]}, range(4))
    assert run.predict(plain).ids.tolist() == ["1", "2", "3", "4"]
    assert run.predict(Frame({"x": [90, 80]}, [0, 2])).ids.tolist() == ["0", "2"]
    named = Frame({"x": [90, 10]}, [7, 3], "key")
    rows, _ = fill(tmp_path, "key,label\n3,low\n7,low\n", run.predict(named))
    assert rows == [["3", "low"], ["7", "high"]]
    with pytest.raises(OutputError, match="no column of the predicted table is called 'key'"):
        fill(tmp_path, "key,label\n1,low\n2,low\n", run.predict(plain))


@pytest.mark.case("55", "the submission is the sample filled in: its ids, order, header and whole numbers")
def test_the_sample_filled_in(tmp_path: Path) -> None:
    ids = [str(one) for one in range(892, 902)]
    order = [ids[one] for one in (8, 0, 9, 1, 7, 2, 6, 3, 5, 4)]
    values = category([[0.2, 0.8] if int(one) % 2 else [0.8, 0.2] for one in ids], ("0", "1"))
    rows, _ = fill(
        tmp_path,
        "PassengerId,Survived\n" + "".join(f"{one},0\n" for one in order),
        predictions(ids, Survived=values),
    )
    assert rows == [[one, str(int(one) % 2)] for one in order]


@pytest.mark.case("55", "neighbour: an id that was not predicted stops by name, or is filled and said")
def test_an_id_that_was_not_predicted(tmp_path: Path) -> None:
    found = predictions(["a", "c"], label=WORDS)
    with pytest.raises(OutputError, match="1 of 2 ids") as caught:
        fill(tmp_path, "id,label\nb,\na,\n", found)
    assert "line 2: id 'b'" in str(caught.value) and "--fill-missing" in str(caught.value)
    rows, notes = fill(tmp_path, "id,label\nb,\na,\n", found, fill_missing="sick")
    assert rows == [["b", "sick"], ["a", "healthy"]]
    assert any("'b'" in one for one in notes) and any("not in sample.csv: c" in one for one in notes)


@pytest.mark.case("P1", "neighbour: an option that names no column or no class is refused by name")
def test_wishes_that_name_nothing(tmp_path: Path) -> None:
    found = predictions(["a", "b"], label=PETS)
    with pytest.raises(SchemaError, match="'cta' is not a class"):
        fill(tmp_path, "id,p\na,0.5\n", found, probabilities={"p": "cta"})
    with pytest.raises(SchemaError, match="no column 'q'"):
        fill(tmp_path, "id,p\na,0.5\n", found, probabilities={"q": "cat"})


@pytest.mark.case("P2", "neighbour: a column that both tables have, but that is no id, joins nothing")
def test_a_shared_column_is_no_id(tmp_path: Path) -> None:
    found = Predictions(
        objects(["2", "3"]), {"label": SICK}, np.zeros(2, bool), numbered=True,
        cells={"age": objects(["30", "40"]), "ID": objects(["x", "y"]), "id": objects(["b", "a"])},
    )  # fmt: skip
    keep = {"age": None}
    with pytest.raises(OutputError, match="'key'"):
        fill(tmp_path, "key,age,label\na,30,0\nb,40,0\n", found, columns=keep)
    assert fill(tmp_path, "id,age,label\na,30,0\nb,40,0\n", found, columns=keep)[0] == [
        ["a", "30", "1"],
        ["b", "40", "0"],
    ]
    assert fill(tmp_path, "label,id\n0,a\n0,b\n", found)[0] == [["1", "a"], ["0", "b"]]


@pytest.mark.case("C5", "neighbour: an id in the other Unicode form is the same row of a sample")
def test_ids_of_a_sample_in_two_forms(tmp_path: Path) -> None:
    rows, _ = fill(
        tmp_path, "id,label\ncafe\u0301,0\n", predictions(["caf\u00e9"], label=category([[0, 1]], ("0", "1")))
    )
    assert rows == [["cafe\u0301", "1"]]


@pytest.mark.metamorphic("ids of a sample that passed through floating point are the same rows")
def test_ids_of_a_sample_in_floating_point(tmp_path: Path) -> None:
    label = category([[0, 1], [1, 0]], ("0", "1"))
    rows, notes = fill(tmp_path, "id,label\n2.0,0\n1.0,0\n", predictions(["1", "2"], label=label))
    assert rows == [["2.0", "0"], ["1.0", "1"]] and "'2.0' is '2'" in " ".join(notes)
    rows, _ = fill(tmp_path, "id,label\n2,0\n1,0\n", predictions(["1.0", "2.0"], label=label))
    assert rows == [["2", "0"], ["1", "1"]]
    with pytest.raises(OutputError, match="no id of") as refused:
        fill(tmp_path, "id,label\n01,0\n02,0\n", predictions(["1", "2"], label=label))
    assert "leading zeros: write '01' and '1' alike" in refused.value.labels["fix"]


@pytest.mark.case("N7", "the number of rows that is told is that of the file: the sample's, not the table's")
def test_the_number_of_rows_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("id,label\nb,no\n")
    given = AnswerOutput(output=str(tmp_path / "out.csv"), like=str(tmp_path / "sample.csv"))
    told = write_answers(predictions(["a", "b", "c"], label=WORDS_OF_THREE), given, id_name="id")
    assert told["rows"] == 1 and (tmp_path / "out.csv").read_text() == "id,label\nb,sick\n"
