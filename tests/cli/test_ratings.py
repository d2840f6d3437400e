"""The ratings commands as a person types them: in a process of its own."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from command import tenfold as run_tenfold

QUICK = ("--sweeps", 40, "--factors", 4)


#: Wide enough for the tables that are read below.
tenfold = partial(run_tenfold, COLUMNS="200")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ratings of two camps, a catalogue, and a run fitted to them."""
    folder = tmp_path_factory.mktemp("ratings")
    rng = np.random.default_rng(0)
    lines = ["userId,movieId,rating,timestamp"]
    for user in range(1, 31):
        for item in rng.permutation(20)[:14] + 100:
            liked = user % 2 == item % 2
            lines.append(f"{user},{item},{4.5 if liked else 1.5},{1_300_000_000 + len(lines) * 3600}")
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    movies = ["movieId,title,genres"]
    movies += [
        f'{item},"Film, the {item}th",{"Even|Whole" if item % 2 == 0 else "Odd"}' for item in range(100, 121)
    ]
    (folder / "movies.csv").write_text("\n".join(movies) + "\n")
    done = tenfold(
        "fit", "ratings.csv", "--user", "userId", "--item", "movieId", "--target", "rating",
        "--item-table", "movies.csv", "--item-name", "title", *QUICK, "-o", "run", cwd=folder,
    )  # fmt: skip
    assert "scale 1.5 to 4.5" in done.stderr and "420 rows" in done.stdout
    return folder


def test_a_users_list_names_titles_and_reasons(place: Path) -> None:
    done = tenfold("recommend", "run", "--user", 4, "-n", 3, "--json", cwd=place)
    rows = json.loads(done.stdout)["rows"]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(row["user"] == "4" and row["name"] == f"Film, the {row['item']}th" for row in rows)
    assert int(rows[0]["item"]) % 2 == 0 and rows[0]["score"] > 3.5
    assert len(rows[0]["reasons"]) == 3 and set(rows[0]["reasons"][0]) == {"name", "moved"}
    shown = tenfold("recommend", "run", "--user", 4, "-n", 3, cwd=place).stdout
    assert all(row["name"] in shown for row in rows)


def test_everyones_lists_go_into_a_file_and_are_the_same(place: Path) -> None:
    tenfold("recommend", "run", "--all", "-n", 5, "-o", "recs.csv", cwd=place)
    with open(place / "recs.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    with open(place / "ratings.csv", newline="", encoding="utf-8") as stream:
        rated = {(row["userId"], row["movieId"]) for row in csv.DictReader(stream)}
    assert len(rows) == 30 * 5 and not {(row["user"], row["item"]) for row in rows} & rated
    alone = json.loads(tenfold("recommend", "run", "--user", 7, "-n", 5, "--json", cwd=place).stdout)["rows"]
    assert [row["item"] for row in alone] == [row["item"] for row in rows if row["user"] == "7"]


def test_a_new_user_from_a_file_of_a_few_ratings(place: Path) -> None:
    (place / "mine.csv").write_text("movieId,rating\n100,4.5\n101,1.5\n102,4.5\n103,1.5\n")
    done = tenfold("recommend", "run", "--ratings", "mine.csv", "-n", 4, "--json", cwd=place)
    rows = json.loads(done.stdout)["rows"]
    assert all(row["user"] == "me" and row["known_user"] and int(row["item"]) % 2 == 0 for row in rows)


def test_lists_can_be_filtered_and_never_filled_up(place: Path) -> None:
    odd = json.loads(
        tenfold(
            "recommend", "run", "--user", 4, "--where", "genres=Odd", "-n", 50, "--json", cwd=place
        ).stdout
    )["rows"]
    assert odd and all(int(row["item"]) % 2 for row in odd) and len({row["item"] for row in odd}) == len(odd)
    error = tenfold("recommend", "run", "--user", 4, "--where", "genres=odd", cwd=place, code=2).stderr
    assert "did you mean 'Odd'?" in error
    assert "1 item or more" in tenfold("recommend", "run", "--all", "-n", 0, cwd=place, code=2).stderr
    assert "for whom" in tenfold("recommend", "run", cwd=place, code=2).stderr


def test_pairs_from_a_file_and_from_the_line(place: Path) -> None:
    (place / "pairs.csv").write_text("userId,movieId\n4,100\n4,120\nnobody,100\n4,what\n")
    done = tenfold("predict", "run", "pairs.csv", "-o", "predicted.csv", cwd=place)
    assert "1 of 2 users unknown" in done.stderr and "4 rows" in done.stdout
    with open(place / "predicted.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["item_state"] for row in rows] == ["rated", "listed", "rated", "unknown"]
    assert all(1.5 <= float(row["score"]) <= 4.5 for row in rows)
    one = json.loads(tenfold("predict", "run", "--user", "4.0", "--item", 100, "--json", cwd=place).stdout)
    assert one["rows"][0]["score"] == float(rows[0]["score"]) and one["fallback"] == 0


def test_similar_items_are_those_of_the_same_camp(place: Path) -> None:
    found = json.loads(tenfold("similar", "run", "--item", 104, "-n", 4, "--json", cwd=place).stdout)["rows"]
    assert all(int(row["found"]) % 2 == 0 and row["cosine"] > 0.5 for row in found)
    assert "no ratings" in tenfold("similar", "run", "--item", 120, cwd=place, code=2).stderr


def test_evaluate_prints_the_four_keys_and_the_baselines(place: Path) -> None:
    (place / "test.csv").write_text("userId,movieId,rating\n4,100,4.5\n4,101,1.5\nnobody,100,3\n4,120,4\n")
    found = json.loads(tenfold("evaluate", "run", "test.csv", "--json", "--lists", 3, cwd=place).stdout)
    assert (found["scored"], found["fallback"]) == (4, 2) and found["rmse"] >= found["mae"] > 0
    assert found["lists"]["n"] == 3 and "biases" in found["baselines"]
    shown = tenfold("evaluate", "run", "test.csv", cwd=place)
    assert "global mean" in shown.stdout and "4 scored, 2 by fallback" in shown.stderr


def test_mistakes_are_told_with_file_line_and_remedy(place: Path) -> None:
    (place / "bad.csv").write_text("userId,movieId,rating\n1,2,3\n1,3,four\n,4,5\n")
    done = tenfold(
        "fit", "bad.csv", "--user", "userId", "--item", "movieId", *QUICK, "-o", "bad", cwd=place, code=2
    )
    assert "bad.csv" in done.stderr and "line 3, column rating: 'four'" in done.stderr
    assert "line 4, column userId" in done.stderr and "--skip-bad" in done.stderr
    assert not (place / "bad").exists()
    done = tenfold(
        "fit", "ratings.csv", "--user", "userId", "--item", "movieId", "--target", "rating", "--scale", 1, 4,
        *QUICK, "-o", "bad", cwd=place, code=2,
    )  # fmt: skip
    assert "ratings above 4, first at line" in done.stderr
    done = tenfold(
        "fit", "ratings.csv", "--user", "userid", "--item", "film", *QUICK, "-o", "bad", cwd=place, code=2
    )
    assert "has no column 'film'" in done.stderr and "movieId" in done.stderr


def test_ratings_never_wait_for_torch(place: Path) -> None:
    ask = (
        "import sys; from tenfold.runs.registry import load_run; run = load_run('run'); "
        "run.recommend('4'); "
        "run.similar('104'); print(*[name for name in ('torch', 'numba', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", ask], cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
