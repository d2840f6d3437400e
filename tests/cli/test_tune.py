"""``tenfold tune`` and ``tenfold compare`` as a person types them: in a process of their own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from command import tenfold
from photos import QUICK_OPTIONS, write_photos, write_table
from tenfold.data.synthetic import draw_ratings


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    drawn = draw_ratings(60, 40, 900, seed=2)
    with open(folder / "ratings.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(
            [("user", "item", "stars"), *zip(drawn["user"], drawn["item"], drawn["rating"], strict=True)]
        )
    write_table(folder / "train.csv", write_photos(folder, 30))
    return folder


PAIRS = ("ratings.csv", "--user", "user", "--item", "item", "--target", "stars")
PHOTOS = ("train.csv", "--image", "id=photos", *QUICK_OPTIONS, "--epochs", 1)


def test_tuning_ratings_prints_a_table_and_a_picture(place: Path) -> None:
    done = tenfold("tune", "wd", *PAIRS, "--method", "als", "-o", "wd.html", cwd=place)
    assert "weight decay" in done.stdout and "best on the validation rows: --weight-decay" in done.stdout
    assert "3 seeds move the score" in done.stdout
    page = (place / "wd.html").read_text("utf-8")
    assert "Tuning weight decay" in page and "<script" in page
    assert 'src="http' not in page


def test_json_is_one_object(place: Path) -> None:
    words = ("--method", "sgd", "--values", "0.01,0.1", "--repeats", 2, "--json")
    found = json.loads(tenfold("tune", "wd", *PAIRS, *words, cwd=place).stdout)
    assert [one["value"] for one in found["settings"]] == [0.01, 0.06, 0.1]
    assert all(len(one["scores"]) == 2 for one in found["settings"])
    assert found["best"] in (0.01, 0.06, 0.1) and found["tuned"] == "weight_decay"
    assert found["output"] is None and found["seeds"] == [0, 1]


def test_tuning_a_network_of_ratings(place: Path) -> None:
    words = ("--body", "dot", "--epochs", 1, "--values", "0,10", "-o", "net.html", "--json")
    found = json.loads(tenfold("tune", "wd", *PAIRS, *words, cwd=place).stdout)
    assert [one["value"] for one in found["settings"]] == [0, 0.1, 10] and found["score"] == "rmse"
    assert (found["train_rows"], found["valid_rows"]) == (810, 90)
    assert "Tuning weight decay" in (place / "net.html").read_text("utf-8")


def test_a_search_writes_a_job_that_scores_the_same(place: Path) -> None:
    pytest.importorskip("optuna")
    words = (*PAIRS, "--method", "als", "--trials", 4, "--best", "best.toml", "-o", "search.html")
    found = json.loads(tenfold("tune", "factors,wd", *words, "--json", cwd=place).stdout)
    assert found["tuned"] == ["factors", "weight_decay"] and len(found["trials"]) == 4
    assert "Searching factors, weight decay" in (place / "search.html").read_text("utf-8")
    run = json.loads(tenfold("fit", "best.toml", "-o", "best", "--json", cwd=place).stdout)
    assert run["targets"]["stars"]["rmse"] == pytest.approx(found["best_score"], abs=1e-12)


def test_the_best_value_of_a_setting_is_written_as_a_job(place: Path) -> None:
    words = ("--target", "label", "--values", "0,0.1", "--best", "one.toml")
    done = tenfold("tune", "wd", *PHOTOS, *words, cwd=place)
    assert "job: one.toml" in done.stdout
    assert "weight_decay = " in (place / "one.toml").read_text("utf-8")


def test_gibbs_has_none(place: Path) -> None:
    done = tenfold("tune", "wd", *PAIRS, "--method", "gibbs", cwd=place, code=2)
    assert "gibbs has no weight decay to tune" in done.stderr and "--method als" in done.stderr


def test_tuning_a_network(place: Path) -> None:
    words = ("--target", "label", "--values", "0,0.1", "--json")
    found = json.loads(tenfold("tune", "wd", *PHOTOS, *words, cwd=place).stdout)
    assert [one["value"] for one in found["settings"]] == [0, 0.05, 0.1]
    assert found["score"] == "loss" and found["noise"] is None
    assert found["train_rows"] + found["valid_rows"] == 30
    assert "error_rate" in found["settings"][0]["targets"]["label"]


def test_comparing_targets(place: Path) -> None:
    words = (*PHOTOS, "--target", "label", "--target", "size", "--folds", 2)
    done = tenfold("compare", *words, cwd=place)
    for word in ("alone", "together", "95 % interval", "helps label", "helps size"):
        assert word in done.stdout
    found = json.loads(tenfold("compare", *words, "--of", "label", "--json", cwd=place).stdout)
    assert list(found["targets"]) == ["label"] and found["folds"] == 2
    one = found["targets"]["label"]
    assert set(one) >= {"answer", "alone", "together", "difference", "standard_error", "per_fold"}
    differences = [fold["difference"] for fold in one["per_fold"]]
    assert one["difference"] == pytest.approx(sum(differences) / 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", *PHOTOS, "--target", "label"), "give --target twice"),
        (("compare", *PHOTOS, "--target", "label", "--target", "sise"), "sise"),
        (("compare", *PAIRS), "tenfold tune"),
        (("compare", *PAIRS, "--body", "mlp"), "tenfold cross-validate"),
        (("tune", "factors", *PAIRS, "--body", "mlp"), "no factors to tune"),
        (("tune", "depth", *PHOTOS, "--target", "label"), "there is: wd, lr, factors"),
        (("tune", "wd", *PAIRS, "--method", "als", "--values", "big"), "'big' is not a number"),
        (("tune", "wd", *PAIRS, "--at-once", 2), "--at-once is not an option where"),
        (("tune", "wd,factors", *PAIRS, "--values", "1,2"), "--values is not an option of a search"),
        (("tune", "wd", *PAIRS, "--best", "ratings.csv"), "would be lost"),
        (("tune", "wd", *PAIRS, "--method", "als", "--image-size", "32"), "not an option of a training from"),
    ],
)
def test_mistakes_are_told(place: Path, words: tuple[object, ...], said: str) -> None:
    assert said in tenfold(*words, cwd=place, code=2).stderr


def test_methods_are_cross_validated_in_pairs(place: Path) -> None:
    words = ("--method", "als", "--method", "als:factors=2", "--epochs", 2, "--folds", 2)
    done = tenfold("cross-validate", *PAIRS, *words, cwd=place)
    lines = done.stdout.splitlines()
    assert lines[0].split() == "target score method mean deviation - als 95 % interval".split()
    assert lines[1].split()[:3] == ["stars", "RMSE", "als"] and lines[2].split()[0] == "als:factors=2"
    assert max(map(len, lines)) <= 80 and "2 folds of 900 rows" in lines[-1]
    done = tenfold("cross-validate", *PAIRS, "--method", "als", "--sweeps", 3, cwd=place, code=2)
    assert "--sweeps is not a choice of als" in done.stderr
