"""Rows go together only where nobody's answer depends on the rows of others."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold.errors import RatingsError, RecipeError, SchemaError
from tenfold.serving import served as serving
from tenfold.serving.limits import Limits
from tenfold.serving.served import Answered, Asked, Served, Upload

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Served:
    x = np.linspace(-1, 1, 40)
    run: Any = tenfold.fit(
        {"x": x, "kind": ["a", "b"] * 20, "y": 3 * x},
        number="x",
        category="kind",
        target="y:number",
        epochs=3,
        run=tmp_path_factory.mktemp("cells") / "run",
        quiet=True,
    )
    return Served("cells", run, Limits(max_rows=8))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("films")
    drawn = np.random.default_rng(0)
    pairs = [(f"u{user}", f"f{film}") for user in range(20) for film in range(12) if drawn.random() < 0.6]
    titles = folder / "titles.csv"
    titles.write_text(
        "film,title\n" + "".join(f"f{film},Film {film} the Great (19{film + 50})\n" for film in range(12))
    )
    run: Any = tenfold.fit(
        {
            "user": [user for user, _ in pairs],
            "film": [film for _, film in pairs],
            "stars": drawn.integers(1, 6, len(pairs)),
        },
        user="user",
        item="film",
        target="stars",
        item_table=str(titles),
        item_name="title",
        factors=2,
        sweeps=4,
        run=folder / "run",
        quiet=True,
    )
    return Served("films", run, Limits())


def rows_of(answer: Answered | Exception) -> list[dict[str, Any]]:
    assert isinstance(answer, Answered), answer
    return answer.rows


def test_batches_at_the_same_time(cells: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = shutil.copytree(GOLDEN / "runs" / "photos", cells.run.path.parent / "photos")
    for cores, lanes in [(1, 1), (2, 2), (64, 4)]:
        monkeypatch.setattr(serving, "CORES", cores)
        assert Served("photos", tenfold.load_run(photos), Limits(), "cpu").lanes == lanes
    assert cells.lanes == 1


def test_rows_of_one_form_are_answered_together_as_alone(cells: Served) -> None:
    asked = [
        cells.asked([{"x": value, "kind": kind}]) for value, kind in [(0.5, "a"), (-0.25, "b"), (0.1, "a")]
    ]
    assert len({one.key for one in asked}) == 1
    together = [rows_of(answer)[0] for answer in cells.predict(asked)]
    alone = [rows_of(cells.predict([one])[0])[0] for one in asked]
    assert [row["answers"]["y"] for row in together] == pytest.approx(
        [row["answers"]["y"] for row in alone], abs=1e-6
    )
    assert {row["row"] for row in (*together, *alone)} == {"1"}  # rows count in each request anew


@pytest.mark.metamorphic("what others ask at the same time changes no answer and no message")
def test_what_others_ask_changes_nothing(cells: Served) -> None:
    mine = cells.asked([{"x": "1,5", "kind": "a"}])
    cells_of_others = ("0,25", "2.5", 1, 2**60, None)
    others = [{"x": 0.5}, *({"x": cell, "kind": "a"} for cell in cells_of_others)]
    assert all(cells.asked([other]).key != mine.key for other in others)
    assert mine.key != cells.asked([{"x": "1,5", "kind": "a"}]).key
    # A message and a refusal go to whoever they are about.
    good, strange = cells.asked([{"x": 0.5, "kind": "a"}]), cells.asked([{"x": 0.5, "kind": "zebra"}])
    first, second = cells.predict([good, strange])
    assert isinstance(first, Answered) and isinstance(second, Answered)
    assert first.notes == () and "zebra" in " ".join(second.notes)
    words = cells.asked([{"x": "abc", "kind": "a"}]), cells.asked([{"x": "0.5", "kind": "a"}])
    assert words[0].key == words[1].key
    refused, answered = cells.predict(words)
    assert "abc" in str(refused) and rows_of(answered)[0]["answers"] == pytest.approx(
        first.rows[0]["answers"], abs=1e-6
    )


def test_what_cannot_be_asked_is_named(cells: Served) -> None:
    with pytest.raises(RecipeError, match="9 rows in a request"):
        cells.asked([{"x": 1, "kind": "a"}] * 9)
    with pytest.raises(SchemaError, match="row 2 is empty"):
        cells.asked([{"x": 1}, {}])
    with pytest.raises(SchemaError, match="reads no pictures"):
        cells.uploads([("file", Upload("a.jpg", b""))], {})
    with pytest.raises(SchemaError, match="lists no items"):
        cells.recommend("7", 3)
    assert cells.about()["columns"] == [
        {"name": "kind", "kind": "category", "values": ["a", "b"]},
        {"name": "x", "kind": "number", "typical": -0.02},
    ]


def test_a_list_follows_the_ratings(films: Served) -> None:
    plain = films.recommend("u3", 3)
    assert [row["user"] for row in plain.rows] == ["u3"] * 3 and plain.order and plain.rows[0]["reasons"]
    mine = films.recommend(None, 12, [("film 3 the great", 5.0), ("f4", 1.0)])
    listed = {row["item"] for row in mine.rows}
    assert len(listed) == 10 and not listed & {"f3", "f4"} and mine.rows[0]["user"] == "me"
    assert not any("known to no user" in note for note in mine.notes)
    assert films.recommend("u3", 3) == plain  # the run has learned nothing
    with pytest.raises(RatingsError, match="1 of 2 items are not known") as told:
        films.recommend(None, 3, [("f3", 5.0), ("Casablanca", 5.0)])
    assert "Casablanca" in str(told.value)
    with pytest.raises(RatingsError):
        films.recommend(None, 3, [("f3", 50.0)])


def test_users_and_items_are_searched(films: Served) -> None:
    assert [row["user"] for row in films.users("1", 3)] == ["u1", "u10", "u11"]
    assert [row["item"] for row in films.items("gre 7", 3)] == ["f7"]
    assert len(films.items("", 50)) == 12 and films.items("nothing", 5) == []
    best = films.rated("u3", 50)
    assert [row["rating"] for row in best] == sorted((row["rating"] for row in best), reverse=True)
    assert films.rated("nobody", 5) == [] and films.similar("f3", 2).rows[0]["asked"] == "f3"
    assert films.about()["learns"] and films.about()["scale"] == [1.0, 5.0]


def test_a_folder_that_another_run_takes_is_noticed(cells: Served, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(cells.run.path, tmp_path / "copy"))
    served = Served("copy", tenfold.load_run(copy), Limits())
    asked = served.asked([{"x": 0.5, "kind": "a"}])
    assert rows_of(served.predict([asked])[0])
    shutil.rmtree(copy)
    assert served.replaced and "copy was replaced" in str(served.predict([asked])[0])
    shutil.copytree(cells.run.path, copy)
    assert not served.replaced and rows_of(served.predict([asked])[0])  # the same run, copied again
    (copy / "run.json").write_text((copy / "run.json").read_text() + " ")
    assert served.replaced


def test_a_key_tells_rows_of_one_form() -> None:
    assert Asked(({"a": 1}, {"a": 2})).key == Asked(({"a": 3},)).key
    assert Asked(({"a": 1}, {"a": 2.5})).key != Asked(({"a": 1}, {"a": 2.5})).key
    assert Asked(({"a": True},)).key != Asked(({"a": 1},)).key


def test_a_picture_in_json_is_an_address_of_its_bytes(films: Served) -> None:
    from tenfold.serving.served import _picture

    data = base64.b64encode(b"bytes").decode()
    assert _picture("p", f"data:image/png;base64,{data}") == Upload("p", b"bytes")
    for wrong in ("/etc/passwd", "../x.png", "data:image/png;base64,%", 5, "http://host/p.png", None):
        with pytest.raises(SchemaError, match="p"):
            _picture("p", wrong)
