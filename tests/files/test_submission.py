"""Sample submissions filled in: rows by id, and only what the sample's own cells want."""

from __future__ import annotations

import math

import pytest

from predicted import category_of, number_of, predictions_of, read_of
from tenfold.errors import OutputError, SchemaError
from tenfold.files.submission import write_submission

#: Case 55: ten ids in an order of their own.
SAMPLE_IDS = ["900", "892", "901", "893", "899", "894", "898", "895", "897", "896"]


def _sample(folder, rows: str, name: str = "sample_submission.csv"):
    path = folder / name
    path.write_bytes(rows.encode())
    return path


def _titanic(folder):
    return _sample(folder, "PassengerId,Survived\n" + "".join(f"{one},0\n" for one in SAMPLE_IDS))


@pytest.mark.parametrize("words", [("0", "1"), ("0.0", "1.0"), ("False", "True")])
def test_the_submission_is_the_sample_filled_in(tmp_path, words):
    ids = [str(one) for one in range(892, 902)]
    found = predictions_of(ids, Survived=category_of([words[int(one) % 2] for one in ids], words))
    assert write_submission(tmp_path / "out" / "s.csv", found, like=_titanic(tmp_path)) == ()
    text = (tmp_path / "out" / "s.csv").read_text()
    assert text == "PassengerId,Survived\n" + "".join(f"{one},{int(one) % 2}\n" for one in SAMPLE_IDS)


def test_numbers_take_the_look_only_where_they_have_it(tmp_path):
    like = _sample(tmp_path, "id,count,price\n1,0,0\n2,0,0\n")
    found = predictions_of(["2", "1"], count=number_of([3.0, 4.0]), price=number_of([2.5, 3.0]))
    write_submission(tmp_path / "s.csv", found, like=like)
    assert (tmp_path / "s.csv").read_text() == "id,count,price\n1,4,3\n2,3,2.5\n"


def test_an_id_without_a_prediction_stops_by_name_or_is_filled(tmp_path):
    like = _titanic(tmp_path)
    ids = [one for one in SAMPLE_IDS if one != "894"]
    found = predictions_of(
        ids, failed=[0], reasons={0: "cut file"}, Survived=category_of(["1"] * 9, ("0", "1"))
    )
    with pytest.raises(OutputError) as caught:
        write_submission(tmp_path / "s.csv", found, like=like)
    text = str(caught.value)
    assert "2 of 10 ids of sample_submission.csv have no prediction" in text
    assert "line 7: id '894' is not among the predicted rows" in text
    assert "line 2: id '900' could not be predicted: cut file" in text
    assert not (tmp_path / "s.csv").exists()

    notes = write_submission(tmp_path / "s.csv", found, like=like, fill_missing=0)
    rows = dict(read_of(tmp_path / "s.csv")[1:])
    assert rows["894"] == rows["900"] == "0" and rows["892"] == "1"
    assert "2 of 10 rows are filled in" in notes[0] and "'894'" in notes[0]


def test_predicted_ids_that_the_sample_lacks_are_named(tmp_path):
    like = _sample(tmp_path, "id,t\na,1\n")
    (note,) = write_submission(
        tmp_path / "s.csv", predictions_of(["a", "b", "c"], t=category_of(["1", "2", "1"])), like=like
    )
    assert note == "2 predicted ids are not in sample_submission.csv: b, c"


def test_an_answer_that_is_not_a_number_is_not_submitted(tmp_path):
    like = _sample(tmp_path, "id,t\na,0\n")
    with pytest.raises(OutputError, match="no prediction") as caught:
        write_submission(tmp_path / "s.csv", predictions_of(["a"], t=number_of([math.nan])), like=like)
    assert "not a number" in str(caught.value)


def test_wide_samples_hold_probabilities(tmp_path):
    like = _sample(tmp_path, "image,rust,healthy\n2,0.5,0.5\n1,0.5,0.5\n")
    found = predictions_of(
        ["1", "2"], t=category_of(["rust", "healthy"], ["healthy", "rust"], [[0.25, 0.75], [1, 0]])
    )
    assert write_submission(tmp_path / "s.csv", found, like=like) == ()
    assert (tmp_path / "s.csv").read_text() == "image,rust,healthy\n2,0.0,1.0\n1,0.75,0.25\n"


def test_wide_samples_of_two_targets_and_a_missing_class(tmp_path):
    like = _sample(tmp_path, "id,a_x,b:x,a_y\n1,0.5,0.5,0.5\n")
    found = predictions_of(
        ["1"], a=category_of(["x"], ("x", "y", "z"), [[0.5, 0.3, 0.2]]), b=category_of(["x"], ("x",), [[1]])
    )
    (note,) = write_submission(tmp_path / "s.csv", found, like=like)
    assert (tmp_path / "s.csv").read_text() == "id,a_x,b:x,a_y\n1,0.5,1.0,0.3\n"
    assert note == "a: classes without a column in sample_submission.csv: z"


def test_several_targets_fill_their_own_columns(tmp_path):
    like = _sample(tmp_path, "id,Variety,disease\n2,?,?\n1,?,?\n")
    found = predictions_of(
        ["1", "2"], disease=category_of(["rust", "blast"]), variety=category_of(["v1", "v2"])
    )
    write_submission(tmp_path / "s.csv", found, like=like)
    assert (tmp_path / "s.csv").read_text() == "id,Variety,disease\n2,v2,blast\n1,v1,rust\n"


def test_one_column_takes_the_one_target_and_says_so(tmp_path):
    like = _sample(tmp_path, "image_id,label\n1,\n")
    (note,) = write_submission(
        tmp_path / "s.csv", predictions_of(["1"], disease=category_of(["rust"])), like=like
    )
    assert note == "column 'label' is filled with 'disease'"
    assert (tmp_path / "s.csv").read_text() == "image_id,label\n1,rust\n"


def test_the_caller_may_say_what_fills_a_column(tmp_path):
    like = _sample(tmp_path, "id,p,usage\n1,0.5,Public\n")
    found = predictions_of(["1"], Survived=category_of(["1"], ("0", "1"), [[0.2, 0.8]]))
    (note,) = write_submission(
        tmp_path / "s.csv", found, like=like, columns={"p": "Survived:1", "usage": None}
    )
    assert (tmp_path / "s.csv").read_text() == "id,p,usage\n1,0.8,Public\n"
    assert "'usage' is kept" in note
    with pytest.raises(SchemaError, match="no column 'q'"):
        write_submission(tmp_path / "s.csv", found, like=like, columns={"q": None})


def test_columns_that_nothing_fills_are_named(tmp_path):
    like = _sample(tmp_path, "id,disaese,variety\n1,a,b\n")
    found = predictions_of(["1"], disease=category_of(["rust"]), variety=category_of(["v1"]))
    with pytest.raises(SchemaError) as caught:
        write_submission(tmp_path / "s.csv", found, like=like)
    assert "column 'disaese'" in str(caught.value) and "did you mean 'disease'?" in str(caught.value)
    assert "disease (rust)" in str(caught.value)


def test_a_class_name_of_two_targets_is_no_guess(tmp_path):
    like = _sample(tmp_path, "id,x\n1,0.5\n")
    found = predictions_of(["1"], a=category_of(["x"]), b=category_of(["x"]))
    with pytest.raises(SchemaError):
        write_submission(tmp_path / "s.csv", found, like=like)


def test_the_id_column_is_the_one_that_holds_ids(tmp_path):
    like = _sample(tmp_path, "row,image,label\n0,b.png,1\n1,a.png,1\n")
    found = predictions_of(["a.png", "b.png"], label=category_of(["1", "2"]))
    notes = write_submission(tmp_path / "s.csv", found, like=like, columns={"row": None})
    assert (tmp_path / "s.csv").read_text() == "row,image,label\n0,b.png,2\n1,a.png,1\n"
    assert len(notes) == 1
    with pytest.raises(OutputError, match="no id of sample_submission.csv"):
        write_submission(tmp_path / "s.csv", found, like=like, id_column="label")


def test_a_column_of_zeros_is_no_id_column(tmp_path):
    like = _sample(tmp_path, "id,t\na,0\nb,0\nc,0\n")
    with pytest.raises(OutputError, match="no id of") as caught:
        write_submission(tmp_path / "s.csv", predictions_of(["0", "1"], t=category_of(["x", "y"])), like=like)
    assert "sample: a, b, c" in str(caught.value) and "predicted: 0, 1" in str(caught.value)


def test_pictures_are_found_without_their_endings(tmp_path):
    like = _sample(tmp_path, "id,t\n7,x\n0012,x\n")
    notes = write_submission(
        tmp_path / "s.csv",
        predictions_of(["test/0012.jpg", "test/7.jpg"], t=category_of(["a", "b"])),
        like=like,
    )
    assert (tmp_path / "s.csv").read_text() == "id,t\n7,b\n0012,a\n"
    assert "without folder and ending" in notes[0]


def test_doubled_ids_are_joined_in_their_order(tmp_path):
    like = _sample(tmp_path, "id,t\na,?\nb,?\na,?\n")
    found = predictions_of(["b", "a", "a"], t=category_of(["x", "y", "z"]))
    write_submission(tmp_path / "s.csv", found, like=like)
    assert (tmp_path / "s.csv").read_text() == "id,t\na,y\nb,x\na,z\n"


def test_an_id_doubled_on_one_side_needs_one_answer(tmp_path):
    once = _sample(tmp_path, "id,t\na,?\nb,?\n", "once.csv")
    alike = predictions_of(["a", "a", "b"], t=category_of(["x", "x", "y"]))
    write_submission(tmp_path / "s.csv", alike, like=once)
    assert (tmp_path / "s.csv").read_text() == "id,t\na,x\nb,y\n"
    differing = predictions_of(["a", "a", "b"], t=category_of(["x", "z", "y"]))
    with pytest.raises(OutputError, match="cannot be joined") as caught:
        write_submission(tmp_path / "s.csv", differing, like=once)
    assert "'a'" in str(caught.value) and "2 times in the predictions" in str(caught.value)
    twice = _sample(tmp_path, "id,t\na,?\na,?\n", "twice.csv")
    write_submission(tmp_path / "s.csv", predictions_of(["a"], t=category_of(["x"])), like=twice)
    assert (tmp_path / "s.csv").read_text() == "id,t\na,x\na,x\n"


def test_a_submission_is_exact_and_warns_of_formulas(tmp_path):
    like = _sample(tmp_path, "id,t\n=cmd,?\n")
    (note,) = write_submission(tmp_path / "s.csv", predictions_of(["=cmd"], t=category_of(["@x"])), like=like)
    assert (tmp_path / "s.csv").read_bytes() == b"id,t\n=cmd,@x\n"
    assert "2 cells" in note and "row 2 t: '@x'" in note


def test_a_refused_submission_leaves_the_old_one(tmp_path):
    (tmp_path / "s.csv").write_text("good")
    with pytest.raises(OutputError):
        write_submission(
            tmp_path / "s.csv", predictions_of(["x"], Survived=category_of(["1"])), like=_titanic(tmp_path)
        )
    assert (tmp_path / "s.csv").read_text() == "good"
