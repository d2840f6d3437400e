"""Files of answers: exact for machines, inert for people, whole or not at all."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest

from predicted import category_of, number_of, predictions_of, read_of, text_of
from tenfold.errors import OutputError
from tenfold.files.tables import (
    write_neighbours,
    write_pairs,
    write_predictions,
    write_recommendations,
)
from tenfold.values import Neighbours, PairPredictions, Recommendations, TargetPrediction

# --- predictions -----------------------------------------------------------------------------------


def test_one_row_per_input_row_in_input_order(tmp_path):
    # Cases 1 and 47: ids byte for byte, a doubled one twice, the order as given.
    found = predictions_of(["0012", "7", "0012", "007"], label=category_of(["b", "a", "b", "a"]))
    assert write_predictions(tmp_path / "p.csv", found, id_name="image_id") == ()
    assert (tmp_path / "p.csv").read_bytes() == b"image_id,label\n0012,b\n7,a\n0012,b\n007,a\n"


def test_several_targets_with_probabilities(tmp_path):
    found = predictions_of(
        ["x", "y"],
        disease=category_of(["rust", "healthy"], ["healthy", "rust"], [[0.1, 0.9], [2 / 3, 1 / 3]]),
        age=number_of([22, 0.1]),
    )
    write_predictions(tmp_path / "p.csv", found, probabilities=True)
    rows = read_of(tmp_path / "p.csv")
    assert rows[0] == ["id", "disease", "disease:healthy", "disease:rust", "age"]
    assert rows[1] == ["x", "rust", "0.1", "0.9", "22.0"]
    assert [float(one) for one in rows[2][2:]] == [2 / 3, 1 / 3, 0.1]  # all digits


def test_class_names_are_the_files_own(tmp_path):
    # Cases 4 and 7: 1 and not 1.0, NA and not an empty cell.
    found = predictions_of(["a", "b", "c"], t=category_of(["1", "NA", "None"]))
    write_predictions(tmp_path / "p.csv", found)
    assert [row[1] for row in read_of(tmp_path / "p.csv")] == ["t", "1", "NA", "None"]


def test_a_failed_row_stays_in_its_place_and_is_flagged(tmp_path):
    # Case 53.
    ids = [str(one) for one in range(1, 11)]
    found = predictions_of(
        ids,
        failed=[3, 6],
        reasons={3: "truncated", 6: "no such file"},
        t=category_of(["a", "b"] * 5),
        n=number_of(range(10)),
    )
    write_predictions(tmp_path / "p.csv", found, probabilities=True)
    rows = read_of(tmp_path / "p.csv")
    assert rows[0] == ["id", "t", "t:a", "t:b", "n", "failed", "reason"]
    assert [row[0] for row in rows[1:]] == ids
    assert rows[4] == ["4", "", "", "", "", "1", "truncated"]
    assert rows[7] == ["7", "", "", "", "", "1", "no such file"]
    assert rows[5] == ["5", "a", "1.0", "0.0", "4.0", "0", ""]


def test_names_that_collide_are_refused_or_evaded(tmp_path):
    with pytest.raises(OutputError, match="column 'label' twice"):
        write_predictions(
            tmp_path / "p.csv", predictions_of(["1"], label=category_of(["a"])), id_name="label"
        )
    found = predictions_of(["1"], failed=[0], reason=category_of(["a"]), failed_=category_of(["a"]))
    write_predictions(tmp_path / "p.csv", found)
    assert read_of(tmp_path / "p.csv")[0] == ["id", "reason", "failed_", "failed", "row_reason"]


def test_no_rows_make_a_header(tmp_path):
    empty = TargetPrediction("category", ("a", "b"), np.zeros((0, 2)), text_of([]))
    write_predictions(tmp_path / "p.csv", predictions_of([], t=empty), probabilities=True)
    assert (tmp_path / "p.csv").read_text() == "id,t,t:a,t:b\n"


def test_ids_with_separators_quotes_and_line_ends_come_back(tmp_path):
    ids = ["a,b", 'say "x"', "two\nlines", "cr\rhere", " blank ", "", "图片 é/ß 1.png", "tab\there"]
    write_predictions(tmp_path / "p.csv", predictions_of(ids, t=category_of(["c"] * len(ids))))
    assert [row[0] for row in read_of(tmp_path / "p.csv")[1:]] == ids
    write_predictions(tmp_path / "p.tsv", predictions_of(ids, t=category_of(["c"] * len(ids))))
    assert [row[0] for row in read_of(tmp_path / "p.tsv", delimiter="\t")[1:]] == ids


def test_file_names_that_are_no_text_leave_as_they_came(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    write_predictions(tmp_path / "p.csv", predictions_of([name], t=category_of(["c"])))
    assert (tmp_path / "p.csv").read_bytes() == b"id,t\ncaf\xe9.png,c\n"


def test_equal_predictions_are_equal_files_packed_or_not(tmp_path):
    found = predictions_of(["1", "2"], t=category_of(["a", "b"]))
    for name in ("a.csv", "b.csv", "a.csv.gz", "b.csv.gz"):
        write_predictions(tmp_path / name, found)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == (tmp_path / "b.csv").read_bytes()


def test_many_rows_are_written_in_pieces(tmp_path):
    ids = [str(one) for one in range(20_000)]
    write_predictions(tmp_path / "p.csv", predictions_of(ids, n=number_of(np.arange(20_000) / 7)))
    rows = read_of(tmp_path / "p.csv")
    assert [row[0] for row in rows[1:]] == ids
    assert [float(row[1]) for row in rows[1:]] == (np.arange(20_000) / 7).tolist()


@pytest.mark.parametrize("name", ["p.parquet", "p.XLSX", "p.json", "p.csv.zip"])
def test_a_format_that_is_not_written_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match="written as CSV"):
        write_predictions(tmp_path / name, predictions_of(["1"], t=category_of(["a"])))
    assert not list(tmp_path.iterdir())


def test_a_failure_while_writing_leaves_the_old_file(tmp_path):
    class Bad:
        def __str__(self) -> str:
            raise MemoryError

    (tmp_path / "p.csv").write_text("good")
    with pytest.raises(MemoryError):
        write_predictions(tmp_path / "p.csv", predictions_of(["1", Bad()], t=category_of(["a", "a"])))
    assert (tmp_path / "p.csv").read_text() == "good"
    assert [one.name for one in tmp_path.iterdir()] == ["p.csv"]


# --- formulas --------------------------------------------------------------------------------------

HOSTILE = ["=1+1", "@SUM(A1)", "+x", "-30-", "\t=1", "＝1+1"]


def test_files_for_machines_are_exact_and_name_the_cells(tmp_path):
    # Case 78.
    found = predictions_of(["=cmd", "b"], t=category_of(["@SUM(A1)", "ok"]), n=number_of([-0.25, 1]))
    (note,) = write_predictions(tmp_path / "p.csv", found)
    assert (tmp_path / "p.csv").read_bytes() == b"id,t,n\n=cmd,@SUM(A1),-0.25\nb,ok,1.0\n"
    assert "2 cells" in note and "row 2 id: '=cmd'" in note and "row 2 t: '@SUM(A1)'" in note
    assert "spreadsheet_safe" in note and "-0.25" not in note


def test_files_for_people_are_inert_and_numbers_untouched(tmp_path):
    ids = [*HOSTILE, "ok", "-5", "+3.5e2", "-0,25"]
    found = predictions_of(ids, n=number_of([-0.25] * len(ids)))
    (note,) = write_predictions(tmp_path / "p.csv", found, spreadsheet_safe=True)
    rows = read_of(tmp_path / "p.csv")[1:]
    assert [row[0] for row in rows] == ["'" + one for one in HOSTILE] + ["ok", "-5", "+3.5e2", "-0,25"]
    assert {row[1] for row in rows} == {"-0.25"}
    assert "apostrophe" in note


def test_names_of_columns_are_cells_too(tmp_path):
    found = predictions_of(["1"], **{"=t": category_of(["a"])})
    assert "row 1" in write_predictions(tmp_path / "p.csv", found)[0]
    assert read_of(tmp_path / "p.csv")[0] == ["id", "=t"]
    write_predictions(tmp_path / "p.csv", found, spreadsheet_safe=True)
    assert read_of(tmp_path / "p.csv")[0] == ["id", "'=t"]


def test_many_formulas_are_listed_up_to_ten(tmp_path):
    (note,) = write_predictions(tmp_path / "p.csv", predictions_of(["=x"] * 30, n=number_of([1] * 30)))
    assert note.startswith("30 cells") and note.count("row ") == 10 and "and 20 more" in note


# --- other tables ----------------------------------------------------------------------------------


def _recommendations(**changes) -> Recommendations:
    values = {
        "users": text_of(["007", "007", "9"]),
        "items": text_of(["a", "b", "a"]),
        "names": text_of(["-30-", "Sun, Moon", ""]),
        "rank": np.array([1, 2, 1]),
        "score": np.array([4.1, 3.25, -0.1], dtype=np.float32),
        "deviation": np.array([0.5, math.nan, math.nan], dtype=np.float32),
        "known_user": np.array([True, True, False]),
        "reasons": ((("Sun", 0.314), ("=x", -0.1)), (), ()),
    }
    return Recommendations(**{**values, **changes})


def test_recommendations_are_lines_of_user_and_rank(tmp_path):
    (note,) = write_recommendations(tmp_path / "r.csv", _recommendations())
    assert read_of(tmp_path / "r.csv") == [
        ["user", "item", "name", "rank", "score", "deviation", "known_user", "reasons"],
        ["007", "a", "-30-", "1", "4.1", "0.5", "1", "Sun (0.31); =x (-0.10)"],
        ["007", "b", "Sun, Moon", "2", "3.25", "", "1", ""],
        ["9", "a", "", "1", "-0.1", "", "0", ""],
    ]
    assert "1 cells" in note and "'-30-'" in note
    write_recommendations(tmp_path / "r.csv", _recommendations(reasons=()), spreadsheet_safe=True)
    rows = read_of(tmp_path / "r.csv")
    assert rows[0][-1] == "known_user" and rows[1][2] == "'-30-" and rows[3][4] == "-0.1"


def test_pairs_keep_their_order_and_say_what_is_known(tmp_path):
    pairs = PairPredictions(
        users=text_of(["1", "x"]),
        items=text_of(["12", "y"]),
        score=np.array([3.5, 3.0], dtype=np.float32),
        deviation=np.array([math.nan, math.nan], dtype=np.float32),
        known_user=np.array([True, False]),
        known_item=np.array([True, False]),
        item_state=text_of(["rated", "unknown"]),
    )
    write_pairs(tmp_path / "p.csv", pairs)
    assert (tmp_path / "p.csv").read_text() == (
        "user,item,score,deviation,known_user,known_item,item_state\n1,12,3.5,,1,1,rated\nx,y,3.0,,0,0,unknown\n"
    )


def test_neighbours_are_lines_of_asked_and_rank(tmp_path):
    found = Neighbours(
        asked=text_of(["a"]),
        found=text_of(["b"]),
        names=text_of(["B"]),
        rank=np.array([1]),
        cosine=np.array([0.5], np.float32),
    )
    write_neighbours(tmp_path / "n.csv", found)
    assert (tmp_path / "n.csv").read_text() == "asked,found,name,rank,cosine\na,b,B,1,0.5\n"
