"""Every kind of target from a table to a run, its predictions and its scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as peer

import tenfold
from photos import QUICK, write_table
from tenfold.data.encode import Encoding
from tenfold.data.images.decode import encode_png
from tenfold.data.tables.table import read_parquet_columns, read_table
from tenfold.errors import SchemaError
from tenfold.files.submission import write_submission
from tenfold.files.tables import write_predictions
from tenfold.networks.run import NetworkRun
from tenfold.networks.score import ValidationResult, _calibrate
from tenfold.nn.heads import build_head
from tenfold.recipe import Recipe
from tenfold.runs.options import Reading
from tenfold.runs.registry import load_run
from tenfold.schema import ImageColumn, OrderedTarget, Schema, parse_target
from tenfold.targets.base import TargetStats

COLOURS = {"red": (210, 30, 30), "green": (30, 210, 30), "blue": (30, 30, 210)}
GRADES = ("poor", "low", "fair", "good", "best")
KINDS = (
    "colour:open",
    "price",
    "stars:number[1,5]",
    "grade:ordered[poor<low<fair<good<best]",
    "tags:multilabel",
    "signs=is red,is bright:multilabel",
    "bright:two-class",
)


def write_pictures(folder: Path, rows: int, *, seed: int = 0) -> dict[str, list[object]]:
    """Pictures of one of three colours at one of five levels, and the columns that say so."""
    rng = np.random.default_rng(seed)
    table: dict[str, list[object]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for row in range(rows):
        colour, level = list(COLOURS)[row % 3], int(rng.integers(0, 5))
        pixels = np.array(COLOURS[colour]) * (0.3 + 0.15 * level) + rng.integers(-6, 6, (32, 32, 3))
        name = f"{seed}-{row:03d}.png"
        (folder / name).write_bytes(encode_png(pixels.clip(0, 255).astype(np.uint8)))
        tags = [colour, *(["bright"] if level >= 3 else []), *(["dim"] if level <= 1 else [])]
        cells = {
            "id": name,
            "colour": colour,
            "price": f"{10 + 5 * level + rng.normal() / 10:.2f}",
            "stars": level + 1,
            "grade": GRADES[level],
            "tags": ";".join(tags) if row % 8 else "",
            "is red": int(colour == "red"),
            "is bright": int(level >= 3) if row % 5 else "",
            "bright": int(level >= 3),
        }
        for column, cell in cells.items():
            table.setdefault(column, []).append(cell)
    return table


def schema_of(folder: Path, *targets: str) -> Schema:
    return Schema(
        inputs=(ImageColumn(name="id", folder=str(folder)),), targets=tuple(map(parse_target, targets))
    )


def quick(**values: object) -> Recipe:
    return Recipe(**{**QUICK.model_dump(), **values})


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NetworkRun]:
    """One run with a target of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    table = write_table(folder / "train.csv", write_pictures(folder / "photos", 150))
    recipe = quick(
        epochs=10, task_weights="learned", calibrate_probabilities=True, patience=8, views=2, mixup=0.1
    )
    return folder, tenfold.fit(schema_of(folder / "photos", *KINDS), recipe, table, run=folder / "run")


def test_every_kind_is_learnt(every: tuple[Path, NetworkRun]) -> None:
    scores = every[1].scores
    assert scores["colour"]["error_rate"] <= 0.1 and scores["colour"]["none_rate"] <= 0.1
    assert scores["price"]["r2"] > 0.5 and scores["price"]["rmse"] < 0.75 * scores["price"]["mean_rmse"]
    assert scores["stars"]["r2"] > 0.5
    assert scores["grade"]["rank_error"] < 0.9 and scores["grade"]["quadratic_kappa"] > 0.6
    assert scores["tags"]["micro_f1"] > 0.85 and scores["signs"]["macro_ap"] > 0.9
    assert scores["tags"]["subset_accuracy"] > scores["tags"]["majority_subset_accuracy"] + 0.3
    assert scores["bright"]["auc"] > 0.9


def test_the_run_holds_what_decides_and_is_the_same_when_opened_again(
    every: tuple[Path, NetworkRun],
) -> None:
    folder, run = every
    again = load_run(run.path)
    assert again.encoding == run.encoding and again.scores == run.scores
    facts = run.encoding.targets
    assert len(facts["tags"].thresholds) == 5 and facts["tags"].separator == ";"
    assert (facts["stars"].low, facts["stars"].high) == (0.5, 5.5)
    assert facts["price"].deviation > 3 and facts["colour"].temperature != 1.0
    assert run.summary["kept_epoch"] <= run.summary["epochs"] <= 10
    assert set(run.summary["calibration"]) == {"colour", "grade", "tags", "signs", "bright"}
    weights = run.history[-1]["task_weights"]
    assert set(weights) == {"colour", "price", "stars", "grade", "tags", "signs", "bright"}
    assert len({round(one, 6) for one in weights.values()}) > 3


def test_what_calibration_does_is_said_in_notes_and_on_the_page(every: tuple[Path, NetworkRun]) -> None:
    _, run = every
    page = (run.path / "report.html").read_text("utf-8")
    for name, found in run.summary["calibration"].items():
        assert f"{name} was calibrated, temperature {found['temperature']:.3f}" in page
        assert f"{found['ece_before']:.4f} before, {found['ece_after']:.4f} after" in page
        worse = found["ece_after"] > found["ece_before"]
        assert (f"{name}: that is not better" in "\n".join(run.about["notes"])) == worse


def test_answers_of_ordered_classes_that_calibration_moves_are_counted() -> None:
    head = build_head(
        OrderedTarget(name="grade", classes=("a", "b", "c")), ("a", "b", "c"), TargetStats()
    )  # fmt: skip
    # Sure of "a" and often wrong: a large temperature makes the three alike, and the median is then "b".
    chance = np.tile([0.98, 0.01, 0.01], (40, 1))
    labels = np.arange(40) % 3
    verdict = ValidationResult(Encoding(classes={"grade": ("a", "b", "c")}, targets={"grade": TargetStats()}))
    _calibrate(verdict, head, chance, labels)
    assert verdict.calibration["grade"]["temperature"] > 3
    assert any("40 of 40 answers change, since the median class moves" in note for note in verdict.notes)


def test_scores_are_those_of_the_written_validation_rows(every: tuple[Path, NetworkRun]) -> None:
    folder, run = every
    rows = read_parquet_columns(run.path / "validation.parquet")
    scores = run.scores
    assert scores["price"]["rmse"] == pytest.approx(
        peer.root_mean_squared_error(rows["price"], rows["price:predicted"])
    )
    assert scores["colour"]["error_rate"] == np.mean(rows["colour"] != rows["colour:predicted"])
    assert scores["grade"]["error_rate"] == np.mean(rows["grade"] != rows["grade:predicted"])
    known = np.array([one is not None for one in rows["tags"]])
    assert scores["tags"]["scored"] == known.sum() < len(known)
    same = [a == b for a, b in zip(rows["tags"], rows["tags:predicted"], strict=True) if a is not None]
    assert scores["tags"]["subset_accuracy"] == pytest.approx(np.mean(same))
    chance = np.stack([rows[f"grade:{name}"] for name in GRADES], axis=1)
    assert chance.sum(axis=1) == pytest.approx(np.ones(len(chance)))
    there = ~np.isnan(rows["is bright"])
    assert 0 < there.sum() < len(there) and set(rows["is bright:predicted"]) <= {0, 1}


def test_evaluation_of_the_training_table_knows_every_kind(every: tuple[Path, NetworkRun]) -> None:
    folder, run = every
    found = run.evaluate(folder / "train.csv")
    for name, scores in run.scores.items():
        assert set(found["targets"][name]) == set(scores)
    json.dumps(found)
    assert found["targets"]["price"]["r2"] > 0.5


def test_answers_are_in_the_words_of_the_table(every: tuple[Path, NetworkRun], tmp_path: Path) -> None:
    folder, run = every
    found = run.predict(folder / "train.csv")
    write_predictions(tmp_path / "out.csv", found, id_name="id", probabilities=True)
    out, table = read_table(tmp_path / "out.csv"), read_table(folder / "train.csv")
    wanted = ["id", "colour", "price", "stars", "grade", "tags", "is red", "is bright", "bright"]
    assert [name for name in out.names if ":" not in name] == wanted
    assert set(out.text("is red")) == {"0", "1"} and "signs:is red" in out.names
    assert set(out.text("grade")) <= set(GRADES) and "stars:1" not in out.names
    assert 1 <= out.numbers("stars").min() and out.numbers("stars").max() <= 5
    pairs = zip(out.text("tags"), table.text("tags"), strict=True)
    same = [set(answer.split(";")) == set(label.split(";")) for answer, label in pairs if label]
    assert np.mean(same) > 0.7


def test_a_sample_submission_is_filled_by_any_kind(every: tuple[Path, NetworkRun], tmp_path: Path) -> None:
    folder, run = every
    found = run.predict(folder / "train.csv")
    ids = found.ids[:3]
    sample = tmp_path / "sample.csv"
    sample.write_text("id,price,tags,red,green,blue\n" + "".join(f"{one},0,x,0.5,0.5,0.5\n" for one in ids))
    # "red" is a class of two targets: only its full name says which.
    with pytest.raises(SchemaError, match="do not fill"):
        write_submission(tmp_path / "out.csv", found, like=sample)
    columns = {name: f"colour:{name}" for name in ("red", "green", "blue")}
    write_submission(tmp_path / "out.csv", found, like=sample, columns=columns)
    out = read_table(tmp_path / "out.csv")
    chance = found.targets["colour"].probabilities
    assert chance is not None
    assert out.numbers("red").tolist() == pytest.approx(chance[:3, 2].tolist())
    assert out.text("tags").tolist() == [";".join(one) for one in found.targets["tags"].values[:3]]


def test_a_row_that_cannot_be_read_has_no_answer_of_any_kind(
    every: tuple[Path, NetworkRun], tmp_path: Path
) -> None:
    _, run = every
    found = run.predict({"id": ["0-001.png", "gone.png"]}, reading=Reading(skip_bad=True))
    assert found.failed.tolist() == [False, True]
    assert found.targets["tags"].values[1] == () and np.isnan(found.targets["price"].values[1])
    write_predictions(tmp_path / "out.csv", found)
    assert read_table(tmp_path / "out.csv").text("is red").tolist()[1] == ""


def test_a_picture_of_another_kind_is_none_of_the_classes(tmp_path: Path) -> None:
    # The lesson's cat, shown to a classifier of bears: softmax must name a bear, one-vs-rest need not.
    columns = write_pictures(tmp_path / "photos", 120)
    table = write_table(tmp_path / "train.csv", {"id": columns["id"], "colour": columns["colour"]})
    more = write_pictures(tmp_path / "more", 90, seed=7)
    others = tmp_path / "others"
    others.mkdir()
    rng = np.random.default_rng(9)
    for name, colour in {
        "grey": 128,
        "white": 240,
        "yellow": (210, 210, 30),
        "purple": (150, 30, 150),
    }.items():
        pixels = np.ones((32, 32, 3)) * colour + rng.integers(-6, 6, (32, 32, 3))
        (others / f"{name}.png").write_bytes(encode_png(pixels.clip(0, 255).astype(np.uint8)))
    (others / "noise.png").write_bytes(encode_png(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)))
    answers, doubts = {}, {}
    for kind in ("category", "open"):
        run = tenfold.fit(
            schema_of(tmp_path / "photos", f"colour:{kind}"), quick(epochs=10), table, run=tmp_path / kind
        )
        assert run.scores["colour"]["error_rate"] <= 0.05
        answers[kind] = run.predict(others).targets["colour"].values.tolist()
        known = run.predict(tmp_path / "more")
        right = dict(zip(more["id"], more["colour"], strict=True))
        doubts[kind] = np.mean(
            [right[one] != said for one, said in zip(known.ids, known.targets["colour"].values)]
        )
        strangers = {"id": [f"{name}.png" for name in ("grey", "noise", "yellow")], "colour": ["grey"] * 3}
        folders = Reading(folders={"id": str(others)})
        doubts[f"{kind} strangers"] = run.evaluate(strangers, reading=folders)["targets"]["colour"][
            "error_rate"
        ]
    # A stranger's label is no class: named by softmax it is wrong, and right where the answer is none.
    assert doubts["category strangers"] == 1.0 and doubts["open strangers"] == 0.0
    assert set(answers["category"]) <= set(COLOURS) and answers["open"] == [""] * 5
    # New pictures of the old kinds are still named.
    assert doubts["open"] <= 0.06


def test_without_familiarity_or_rows_nothing_is_doubted(tmp_path: Path) -> None:
    columns = write_pictures(tmp_path / "photos", 12)
    table = write_table(tmp_path / "train.csv", {"id": columns["id"], "colour": columns["colour"]})
    schema = schema_of(tmp_path / "photos", "colour:open")
    plain = tenfold.fit(schema, quick(epochs=1, familiarity=False), table, run=tmp_path / "plain")
    small = tenfold.fit(schema, quick(epochs=1), table, run=tmp_path / "small")
    assert any("too few rows to say" in note for note in small.about["notes"])
    one, other = (run.predict(tmp_path / "photos").targets["colour"].probabilities for run in (plain, small))
    assert np.array_equal(one, other)
