"""Which rows train and which are held out: groups, copies of pictures, time and folds, all together."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import tenfold
from asked import fit_alone
from photos import COLOURS, QUICK, write_table
from tenfold.cli.main import app
from tenfold.cli.progress import EpochTable
from tenfold.cli.screen import figure
from tenfold.data.images.decode import encode_png
from tenfold.data.tables.table import read_table
from tenfold.data.tables.times import read_times
from tenfold.ensembles.blend import blend_runs
from tenfold.errors import TenfoldError
from tenfold.events import EpochEnded
from tenfold.metrics import error_rate
from tenfold.networks.prepare import TrainingWork, prepare_training
from tenfold.networks.run import NetworkRun
from tenfold.recipe import FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.runs.job import Notes
from tenfold.runs.options import Reading
from tenfold.schema import IdColumn, ImageColumn, NumberColumn, RatingTarget, Schema, parse_targets

#: Every way of splitting that the recipe and the schema have, but a column that states it.
WAYS = {
    "random": ({}, {}),
    "fold": ({}, {"fold": (2, 3)}),
    "time": ({"time": "taken"}, {}),
    "fold of time": ({"time": "taken"}, {"fold": (2, 3)}),
}


def noisy(label: str, seed: int, size: int = 32) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-8, 8, (size, size, 3))
    return (np.array(COLOURS[label]) + noise).clip(0, 255).astype(np.uint8)


def patients(folder: Path, rows: int = 40, copies: int = 10) -> dict[str, list[str]]:
    """Rows of eight patients on days in random order; the last pictures are byte copies of the first."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    days = np.random.default_rng(0).permutation(rows)
    kinds = ["cat" if row % (rows - copies) % 2 else "dog" for row in range(rows)]
    for row in range(rows):
        original = row % (rows - copies)
        (folder / "photos" / f"{row:02d}.png").write_bytes(encode_png(noisy(kinds[row], original)))
    return {
        "file": [f"{row:02d}.png" for row in range(rows)],
        "label": kinds,
        "patient": [f"P{row % 8}" for row in range(rows)],
        "taken": [str(np.datetime64("2021-01-01") + int(day)) for day in days],
    }


def prepare(
    folder: Path, columns: dict, recipe: dict | None = None, **values: object
) -> tuple[TrainingWork, str]:
    table = write_table(folder / "train.csv", columns)
    schema = Schema(
        inputs=(ImageColumn(name="file", folder=str(folder / "photos")),),
        targets=parse_targets(["label"]),
        **values,
    )
    notes = Notes(None)
    chosen = Recipe(**{**QUICK.model_dump(), **(recipe or {})})
    return prepare_training(schema, chosen, str(table), Reading(), notes), "\n".join(notes.lines)


def sides(work: TrainingWork, cells: list[str]) -> tuple[set[str], set[str]]:
    values = np.array(cells, dtype=object)
    return set(values[work.split.train]), set(values[work.split.valid])


# --- T1: groups and time -----------------------------------------------------------------------------


@pytest.mark.case("T1", "groups stay whole in every way of splitting, and the screen says what was done")
@pytest.mark.parametrize("way", WAYS)
def test_groups_stay_whole(tmp_path: Path, way: str) -> None:
    columns = patients(tmp_path, copies=0)
    schema, recipe = WAYS[way]
    work, text = prepare(tmp_path, columns, recipe, group=("patient",), **schema)
    train, valid = sides(work, columns["patient"])
    assert train and valid and train.isdisjoint(valid)
    assert "rows of one patient stay on one side of the split" in text and "picture" not in text
    if "time" in schema:
        # A group is as old as its newest row: nothing that trains is from after the cut.
        taken = np.array(columns["taken"])
        newest = {one: max(taken[np.array(columns["patient"]) == one]) for one in train | valid}
        assert max(newest[one] for one in train) < min(newest[one] for one in valid)


@pytest.mark.case("T1", "neighbour: a group that reaches over the cut is held out whole, and counted")
def test_rows_older_than_the_cut_are_counted(tmp_path: Path) -> None:
    columns = patients(tmp_path, rows=10, copies=0)
    columns["taken"] = [f"2021-01-{day:02d}" for day in range(1, 11)]
    columns["patient"] = ["a", "b", "c", "d", "e", "f", "g", "h", "a", "i"]
    work, text = prepare(tmp_path, columns, group=("patient",), time="taken")
    assert work.split.valid.tolist() == [0, 8, 9]
    assert (
        "7 rows before, 3 held out, 1 of which are earlier and of a group that reaches over the cut" in text
    )


@pytest.mark.case("T1", "neighbour: groups that all reach to the same day cannot be cut by time")
def test_groups_of_one_last_day_are_refused(tmp_path: Path) -> None:
    columns = patients(tmp_path, rows=8, copies=0)
    columns |= {"patient": list("abababab"), "taken": ["2021-01-01"] * 6 + ["2021-01-02"] * 2}
    with pytest.raises(TenfoldError, match="all groups reach to the same"):
        prepare(tmp_path, columns, group=("patient",), time="taken")


@pytest.mark.case("T1", "copies of a picture stay on one side in every way of splitting")
@pytest.mark.parametrize("way", WAYS)
def test_copies_stay_together(tmp_path: Path, way: str) -> None:
    columns = patients(tmp_path)
    schema, recipe = WAYS[way]
    work, text = prepare(tmp_path, columns, recipe, **schema)
    train, valid = sides(work, [str(row % 30) for row in range(40)])
    assert train and valid and train.isdisjoint(valid)
    assert "20 rows show 10 pictures more than once" in text
    assert "a picture's rows stay on one side of the split" in text


@pytest.mark.case("T1", "copies that link groups are told, with the groups and the pictures")
@pytest.mark.parametrize("way", WAYS)
def test_linked_groups_are_told(tmp_path: Path, way: str) -> None:
    columns = patients(tmp_path)
    schema, recipe = WAYS[way]
    # Row 30 shows what row 0 shows, and so P6 and P0 are one; all in all the even ones and the odd ones are.
    if way == "time":
        work, text = prepare(tmp_path, columns, recipe, group=("patient",), **schema)
        train, valid = sides(work, [str(row % 2) for row in range(40)])
        assert len(train) == len(valid) == 1 and train != valid
    else:
        with pytest.raises(TenfoldError) as caught:
            prepare(tmp_path, columns, recipe, group=("patient",), **schema)
        text = str(caught.value)
    assert "8 groups of column 'patient' are 2 for the split, since rows of several show one picture" in text
    assert "P0 and P6 by 00.png, 30.png" in text and "and 0 more" not in text
    assert "each has a class that no other has" not in text or "no group can be held out" in text


@pytest.mark.case("T1", "neighbour: a stated split that parts copies or groups says which")
def test_a_stated_split_says_what_straddles(tmp_path: Path) -> None:
    columns = patients(tmp_path)
    columns["held"] = ["1" if row >= 30 else "0" for row in range(40)]
    _, text = prepare(tmp_path, columns, split="held", group=("patient",))
    assert "10 pictures of column 'file' stand on both sides" in text
    assert "8 values of column 'patient' stand on both sides" in text
    assert "on one side" not in text
    columns["held"] = ["1" if row % 30 >= 25 else "0" for row in range(40)]
    _, text = prepare(tmp_path, columns, split="held")
    assert "a picture's rows stay on one side of the split" in text and "both sides" not in text


@pytest.mark.case("N9", "a picture in one column of held-out rows and in another of training rows is told")
def test_a_picture_in_two_columns_is_told(tmp_path: Path) -> None:
    columns = patients(tmp_path, rows=10, copies=0)
    columns["other"] = [*columns["file"][1:], columns["file"][0]]
    columns["held"] = ["1" if row < 2 else "0" for row in range(10)]
    folder = str(tmp_path / "photos")
    schema = Schema(
        inputs=tuple(ImageColumn(name=name, folder=folder) for name in ("file", "other")),
        targets=parse_targets(["label"]),
        split="held",
    )
    notes = Notes(None)
    prepare_training(schema, QUICK, columns, Reading(), notes)
    told = [one for one in notes.lines if "side" in one]
    # Row 1's second picture is row 2's first; row 0's first is row 9's second.
    both = "stand on both sides of the split, so that its score is too good"
    assert told == [
        f"1 pictures of column 'file' {both}: 00.png",
        f"1 pictures of column 'other' {both}: 02.png",
    ]


@pytest.mark.case("T1", "neighbour: where nothing is held out, nothing is promised of sides")
def test_no_split_promises_nothing(tmp_path: Path) -> None:
    _, text = prepare(tmp_path, patients(tmp_path), {"valid": 0.0}, group=("patient",))
    assert "no rows are held out" in text and "side" not in text


def saved(pixels: np.ndarray, kind: str, **how: object) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, kind, **how)
        return file.getvalue()


def turned(pixels: np.ndarray) -> bytes:
    """The same upright picture, stored lying, with the tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(np.rot90(pixels), "PNG", exif=exif)


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[:, :, :1], 3, axis=2)


#: What a copy is written as; the pictures of which they are copies are PNG files.
COPIES = {
    "BMP": lambda pixels: saved(pixels, "BMP"),
    "TIFF": lambda pixels: saved(pixels, "TIFF", compression="tiff_lzw"),
    "WEBP": lambda pixels: saved(pixels, "WEBP", lossless=True),
    "PPM": lambda pixels: saved(pixels, "PPM"),
    "PNG": lambda pixels: saved(pixels, "PNG", compress_level=1),
    "turned": turned,
    "alpha": lambda pixels: saved(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]), "PNG"),
}


@pytest.mark.case(
    "T1", "the same pixels in another lossless format, or turned with a tag, are the same picture"
)
def test_the_same_pixels_are_one_picture(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    names = []
    for number in range(10):
        label = ("cat", "dog")[number % 2]
        (tmp_path / "photos" / f"{number}.png").write_bytes(encode_png(noisy(label, number)))
        names.append(f"{number}.png")
    for number, (kind, write) in enumerate(COPIES.items()):
        (tmp_path / "photos" / f"{number}-{kind}").write_bytes(
            write(noisy(("cat", "dog")[number % 2], number))
        )
        names.append(f"{number}-{kind}")
    columns = {"file": names, "label": [("cat", "dog")[int(name[0]) % 2] for name in names]}
    for fold in (1, 2, 3):
        work, text = prepare(tmp_path, columns, {"fold": (fold, 3)})
        train, valid = sides(work, [name[0] for name in names])
        assert train.isdisjoint(valid)
    assert f"{2 * len(COPIES)} rows show {len(COPIES)} pictures more than once" in text


@pytest.mark.case(
    "T1", "neighbour: a JPEG and what it decodes to as PNG, though the JPEG is read at half its size"
)
def test_a_jpeg_and_its_pixels_are_one_picture(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    names = []
    for number in range(8):
        jpeg = saved(noisy(("cat", "dog")[number % 2], number, size=160), "JPEG", quality=90)
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(jpeg)
        with Image.open(io.BytesIO(jpeg)) as image:
            (tmp_path / "photos" / f"{number}.png").write_bytes(saved(np.asarray(image), "PNG"))
        names += [f"{number}.jpg", f"{number}.png"]
    # The same JPEG with a comment is another file and the same picture.
    jpeg = (tmp_path / "photos" / "0.jpg").read_bytes()
    (tmp_path / "photos" / "0-said.jpg").write_bytes(jpeg[:2] + b"\xff\xfe\x00\x06noon" + jpeg[2:])
    names.append("0-said.jpg")
    columns = {"file": names, "label": [("cat", "dog")[int(name[0]) % 2] for name in names]}
    for _ in range(2):  # the second time from the cache
        work, text = prepare(tmp_path, columns)
        train, valid = sides(work, [name[0] for name in names])
        assert train.isdisjoint(valid) and "17 rows show 8 pictures more than once" in text


@pytest.mark.case("T1", "neighbour: pictures that differ in one pixel are two")
def test_one_pixel_is_a_difference(tmp_path: Path) -> None:
    columns = patients(tmp_path, rows=10, copies=0)
    pixels = noisy(columns["label"][0], 0)
    pixels[0, 0, 0] ^= 1
    (tmp_path / "photos" / "08.png").write_bytes(encode_png(pixels))
    _, text = prepare(tmp_path, columns)
    assert "more than once" not in text


# --- C7: numbers of single precision -----------------------------------------------------------------


def prepare_number(source: object, target: str) -> tuple[TrainingWork, str]:
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=parse_targets([target]))
    notes = Notes(None)
    return prepare_training(schema, Recipe(seed=1), source, Reading(), notes), "\n".join(notes.lines)


@pytest.mark.case("C7", "float32 of Parquet against a bounded number of tenths: 4.9 is 4.9")
@pytest.mark.metamorphic("a table of tenths as CSV, or as float32 or float16 in Parquet, gives the same run")
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_single_precision_is_as_it_is_written(tmp_path: Path, kind: str) -> None:
    y = np.array([0.1, 4.9, 0.3, 2.7, 1.1, 3.3, 4.7, 0.7, 2.2, 1.9, 0.1, 4.9])
    x = np.round(np.linspace(-1, 1, 12), 2)
    text = write_table(tmp_path / "t.csv", {"x": x, "y": y})
    table = pa.table({"x": x.astype(kind), "y": y.astype(kind)})
    parquet.write_table(table, tmp_path / "t.parquet")
    written, _ = prepare_number(str(text), "y:number[0.1,4.9]")
    read, _ = prepare_number(str(tmp_path / "t.parquet"), "y:number[0.1,4.9]")
    assert read.examples.labels["y"].tolist() == y.tolist() == written.examples.labels["y"].tolist()
    assert read.encoding.targets == written.encoding.targets
    assert read_table(str(tmp_path / "t.parquet")).text("y").tolist() == [str(one) for one in y]
    assert (
        read.identity["data"].split() and (read.examples.columns["x"] == written.examples.columns["x"]).all()
    )


@pytest.mark.case("C7", "neighbour: a float32 that really leaves the range is refused, with its row")
def test_single_precision_out_of_range(tmp_path: Path) -> None:
    table = pa.table({"x": np.arange(4.0), "y": np.array([0.1, 4.9, 4.95, 2.0], dtype=np.float32)})
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(TenfoldError, match=r"row 3, column y: '4.95'"):
        prepare_number(str(tmp_path / "t.parquet"), "y:number[0.1,4.9]")


# --- T3: row weights in scores -----------------------------------------------------------------------

WEIGHED = ("kind", "grade", "some", "tags", "size")


def weighed_columns() -> dict[str, list]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=60)
    kinds = np.where(x + rng.normal(size=60) > 0, "a", "b")
    grades = np.clip(np.round(x + rng.normal(size=60)) + 2, 1, 3).astype(int)
    return {
        "x": x.round(3).tolist(),
        "kind": kinds.tolist(),
        "grade": grades.tolist(),
        "some": [("a", "b", "none")[one] for one in rng.integers(0, 3, 60)],
        "p": (kinds == "a").astype(int).tolist(),
        "q": rng.integers(0, 2, 60).tolist(),
        "size": (3 * x + rng.normal(size=60)).round(2).tolist(),
        "held": [int(row >= 30) for row in range(60)],
        "w": [(0, 1, 2, 3)[row % 4] for row in range(60)],
    }


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> NetworkRun:
    """A run with a target of every kind, whose rows have weights."""
    folder = tmp_path_factory.mktemp("weighed")
    schema = Schema(
        inputs=(NumberColumn(name="x"),),
        targets=parse_targets(
            ["kind", "grade:ordered", "some:open[none=none]", "tags=p,q:multilabel", "size:number"]
        ),
        split="held",
        weight="w",
    )
    recipe = Recipe(epochs=3, seed=1, calibrate_probabilities=True)
    return fit_alone(
        schema, recipe, str(write_table(folder / "t.csv", weighed_columns())), run=folder / "run"
    )


def rows_of(columns: dict[str, list], rows: np.ndarray | list[int], *without: str) -> dict[str, list]:
    return {name: [cells[row] for row in rows] for name, cells in columns.items() if name not in without}


def same_scores(one: Any, other: Any) -> bool:
    """Equal but for the last digits and the counts of rows."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(
            same_scores(one[name], other[name]) for name in one if name not in ("scored", "rows")
        )
    return one == other or bool(np.isclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True))


@pytest.mark.case("T3", "validation scores are weighted by the column of weights, and say so")
def test_validation_scores_are_weighted(weighed: NetworkRun) -> None:
    columns = weighed_columns()
    found = weighed.evaluate(rows_of(columns, range(30, 60)))
    assert set(found["targets"]) == set(WEIGHED) and found["weighted_by"] == "w"
    assert same_scores(found["targets"], weighed.scores)
    assert weighed.scores["kind"]["scored"] == 23  # of 30, without those of weight 0
    assert weighed.summary["weighted_by"] == "w"
    assert "scores are weighted by w" in weighed.about["notes"]
    last = weighed.history[-1]["valid"]["size"]["rmse"]
    assert last == pytest.approx(weighed.scores["size"]["rmse"])


@pytest.mark.case("T3", "neighbour: evaluate says when the table has no column of weights")
def test_evaluate_without_the_column_says_so(weighed: NetworkRun) -> None:
    notes: list[str] = []
    found = weighed.evaluate(rows_of(weighed_columns(), range(30, 60), "w"), on_note=notes.append)
    assert "weighted_by" not in found and any("scores are not weighted" in note for note in notes)
    assert not same_scores(found["targets"], weighed.scores)


@pytest.mark.metamorphic("a row of weight 2 scores as the row twice, one of weight 0 as if it were not there")
def test_a_weight_is_a_number_of_rows(weighed: NetworkRun) -> None:
    columns = weighed_columns()
    repeated = np.repeat(np.arange(60), columns["w"])
    plain = weighed.evaluate(rows_of(columns, repeated, "w"))
    assert same_scores(weighed.evaluate(columns)["targets"], plain["targets"])


@pytest.mark.metamorphic("all row weights times ten change no score")
def test_weights_are_relative(weighed: NetworkRun) -> None:
    columns = weighed_columns()
    tenfold = {**columns, "w": [10 * one for one in columns["w"]]}
    huge = {**columns, "w": [one * 1e307 for one in columns["w"]]}
    found = weighed.evaluate(columns)["targets"]
    assert same_scores(found, weighed.evaluate(tenfold)["targets"])
    assert same_scores(found, weighed.evaluate(huge)["targets"])


@pytest.mark.case(
    "T3", "neighbour: weights that are all 0, or below it, are refused by name in evaluate, too"
)
@pytest.mark.parametrize(("cell", "said"), [(0, "every row has weight 0"), (-1, "needs numbers from 0 up")])
def test_weights_that_are_none(weighed: NetworkRun, cell: int, said: str) -> None:
    with pytest.raises(TenfoldError, match=said):
        weighed.evaluate({**weighed_columns(), "w": [cell] * 60})


@pytest.mark.case(
    "T3", "patience and keep best look at weighted scores: wrong labels of weight 0 spoil nothing"
)
def test_patience_is_weighted(tmp_path: Path) -> None:
    columns = rows_of(weighed_columns(), range(60), "w")
    wrong = {name: list(cells) for name, cells in columns.items()}
    # Every held-out row once more with the other label, which does not count.
    for name in wrong:
        wrong[name] += columns[name][30:]
    wrong["kind"][60:] = ["a" if one == "b" else "b" for one in columns["kind"][30:]]
    wrong["w"] = [1] * 60 + [0] * 30
    schema = Schema(
        inputs=(NumberColumn(name="x"),), targets=parse_targets(["kind"]), split="held", weight="w"
    )
    recipe = Recipe(epochs=6, seed=1, keep="best")
    runs = [
        fit_alone(schema, recipe, {**source, "w": source.get("w", [1] * 60)}, run=tmp_path / name)
        for name, source in (("right", columns), ("wrong", wrong))
    ]
    assert same_scores(runs[0].scores, runs[1].scores) and runs[1].scores["kind"]["error_rate"] < 0.4
    assert runs[0].about["kept_epoch"] == runs[1].about["kept_epoch"]
    assert runs[0].about["majority"] == runs[1].about["majority"]


@pytest.mark.case("T3", "neighbour: a blend's weights and scores, and those of its members, are weighted")
def test_a_blend_is_weighted(weighed: NetworkRun, tmp_path: Path) -> None:
    other = fit_alone(weighed.schema, Recipe(epochs=3, seed=2), weighed_columns(), run=tmp_path / "other")
    blend = blend_runs([weighed.path, other.path], output=tmp_path / "blend", method="best")
    assert blend.summary["weighted_by"] == "w"
    scores = {one["name"]: one["scores"] for one in blend.about["members"]}
    assert same_scores(scores["run"]["kind"]["error_rate"], weighed.scores["kind"]["error_rate"])
    assert same_scores(scores["other"]["size"]["rmse"], other.scores["size"]["rmse"])
    found = blend.evaluate(rows_of(weighed_columns(), range(30, 60)))
    assert found["weighted_by"] == "w" and set(found["targets"]) == set(WEIGHED)
    assert found["targets"]["kind"]["scored"] == blend.scores["kind"]["scored"] == 23


@pytest.mark.case("T3", "neighbour: ratings know no row weights, groups or stated split, and refuse them")
@pytest.mark.parametrize("use", [{"weight": "w"}, {"group": ("w",)}, {"split": "w"}])
@pytest.mark.parametrize("recipe", [FactorRecipe(), RatingNetworkRecipe(body="dot")])
def test_ratings_know_no_weights(
    use: dict, recipe: FactorRecipe | RatingNetworkRecipe, tmp_path: Path
) -> None:
    schema = Schema(inputs=(IdColumn(name="u"), IdColumn(name="i")), targets=(RatingTarget(name="r"),), **use)
    table = {"u": [*"aabb"], "i": [*"xyxy"], "r": [1, 2, 3, 4], "w": [0, 1, 0, 1]}
    with pytest.raises(TenfoldError, match=f"{next(iter(use))}: the schema of ratings has no such use"):
        tenfold.fit(schema, recipe, table, run=tmp_path / "run")


@pytest.mark.case("T3", "neighbour: tables about users and items are refused where nothing is rated")
def test_networks_know_no_side_tables() -> None:
    with pytest.raises(TenfoldError, match="user_table: the schema of a network"):
        prepare_table({"kind": [*"abab"]}, ["kind"], user_table="users.csv")


# --- labels that no training row has -----------------------------------------------------------------


@pytest.mark.case("F5", "training rows without any label are refused: nothing would be learnt")
@pytest.mark.parametrize("targets", [["kind"], ["size:number"], ["size:number", "kind"]])
def test_labels_only_held_out_are_refused(targets: list[str]) -> None:
    columns = weighed_columns()
    columns["kind"][:30] = [""] * 30
    columns["size"][:30] = [None] * 30 if len(targets) == 1 else columns["size"][:30]
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=parse_targets(targets), split="held")
    name = targets[-1].split(":")[0]
    with pytest.raises(TenfoldError, match=f"target '{name}' has no label in any of 30 training rows"):
        prepare_training(schema, Recipe(seed=1), columns, Reading(), Notes(None))


@pytest.mark.case("F5", "neighbour: training labels that all have weight 0 are none")
def test_labels_of_weight_0_are_refused() -> None:
    columns = weighed_columns()
    columns["w"][:30] = [0] * 30
    schema = Schema(
        inputs=(NumberColumn(name="x"),), targets=parse_targets(["kind"]), split="held", weight="w"
    )
    with pytest.raises(TenfoldError, match=r"no label in any of 30 training rows of a weight above 0"):
        prepare_training(schema, Recipe(seed=1), columns, Reading(), Notes(None))


# --- T2 and 19: dates --------------------------------------------------------------------------------

DAYS = np.datetime64("2021-01-02") + 11 * np.random.default_rng(2).permutation(20)


def dated(cells: Any, time_format: str | None = None) -> tuple[TrainingWork, str]:
    columns = {"x": np.arange(20.0), "y": np.arange(20) % 7, "when": cells}
    schema = Schema(
        inputs=(NumberColumn(name="x"),),
        targets=parse_targets(["y:number"]),
        time="when",
        time_format=time_format,
    )
    notes = Notes(None)
    source = columns if isinstance(cells, list) else pa.table({**columns, "when": cells})
    return prepare_training(schema, Recipe(seed=1), source, Reading(), notes), "\n".join(notes.lines)


def spelled(pattern: str) -> list[str]:
    return [day.astype(object).strftime(pattern) for day in DAYS]


#: The same days, as a table may have them: cells, and the format where it has to be said.
WRITTEN = {
    "ISO": (spelled("%Y-%m-%d"), None),
    "with a zone": ([f"{day}T01:00:00+01:00" for day in DAYS], None),
    "day first": (spelled("%d/%m/%Y"), "%d/%m/%Y"),
    "month first": (spelled("%m/%d/%y"), "%m/%d/%y"),
    "digits": (spelled("%d%m%Y"), "%d%m%Y"),
    "seconds": ([int(day.astype("datetime64[s]").astype(int)) for day in DAYS], None),
    "milliseconds": ([int(day.astype("datetime64[ms]").astype(int)) for day in DAYS], None),
    "nanoseconds": (pa.array(DAYS.astype("datetime64[ns]")), None),
    "a time with a zone": (pa.array(DAYS.astype("datetime64[us]"), pa.timestamp("us", "Europe/Paris")), None),
    "a date": (pa.array(DAYS.astype("datetime64[D]")), None),
}


@pytest.mark.case(
    "T2", "dates beside any input split by time in whatever form, with --time-format where it is needed"
)
@pytest.mark.metamorphic("times written in another form give the same split")
@pytest.mark.parametrize("form", WRITTEN)
def test_dates_in_every_form(form: str) -> None:
    work, _ = dated(*WRITTEN[form])
    assert DAYS[work.split.train].max() < DAYS[work.split.valid].min() and len(work.split.valid) == 4


@pytest.mark.case("T2", "neighbour: what is not said is refused, and the remedy is one that pictures have")
@pytest.mark.parametrize(
    ("cells", "headline"),
    [
        (spelled("%d/%m/%Y"), "cannot tell the format of"),
        (spelled("%d%m%Y"), "cannot tell the format of"),
        ([*spelled("%Y-%m-%d")[:19], 1614556800], "the times mix dates and numbers"),
        ([*WRITTEN["seconds"][0][:19], 1614556800000], "the times mix seconds and milliseconds"),
    ],
)
@pytest.mark.case(
    "19", "dates and times: a form that cannot be told, or a mixture, is refused with example lines"
)
def test_times_that_cannot_be_told(cells: list, headline: str) -> None:
    with pytest.raises(TenfoldError) as caught:
        dated(cells)
    text = str(caught.value)
    assert headline in text and "row" in text
    assert "--time-format" in text and "leave out --time, and" in text and "--time none" not in text


@pytest.mark.case("19", "neighbour: ISO dates order as days do, and a user called 05112025 keeps the zero")
def test_iso_dates_order() -> None:
    times, _ = read_times(read_table({"t": ["2021-03-01", "2021-02-01T10:00:00Z"]}), "t")
    assert times.tolist() == [1614556800.0, 1612173600.0]
    assert read_table({"user": ["05112025", "04112025"]}).text("user").tolist() == ["05112025", "04112025"]


@pytest.mark.case(
    "T2", "neighbour: --time-format on the command line reaches the split, and stays with the run"
)
def test_time_format_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    days = spelled("%d/%m/%Y")
    write_table(tmp_path / "t.csv", {"x": range(20), "y": [row % 2 for row in range(20)], "when": days})
    asked = ["fit", "t.csv", "--number", "x", "--target", "y:category", "--time", "when", "--epochs", "1"]
    asked += ["--no-report", "-o", "run"]
    failed = CliRunner().invoke(app, asked)
    assert failed.exit_code == 2 and "--time-format" in failed.output
    done = CliRunner().invoke(app, [*asked, "--time-format", "%d/%m/%Y"])
    assert done.exit_code == 0, done.output
    assert Schema.from_toml((tmp_path / "run" / "schema.toml").read_text("utf-8")).time_format == "%d/%m/%Y"
    alone = CliRunner().invoke(app, [*asked[:6], "--time-format", "iso", "--no-report", "-o", "other"])
    assert alone.exit_code == 2 and "add --time COLUMN" in alone.output


# --- T6: targets of any size -------------------------------------------------------------------------


def sized(unit: float, **recipe: Any) -> NetworkRun:
    x = np.linspace(-1, 1, 60)
    columns = {
        "x": x,
        "y": unit * (3 + x + 0.1 * np.sin(40 * x)),
        "held": (np.arange(60) % 3 == 0).astype(int),
    }
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=parse_targets(["y:number"]), split="held")
    folder = Path(tempfile.mkdtemp())
    return fit_alone(schema, Recipe(epochs=4, seed=1, **recipe), columns, run=folder / "run")


@pytest.fixture(scope="module")
def baseline() -> NetworkRun:
    return sized(1.0)


@pytest.mark.case(
    "T6", "targets near 1e-9 and 1e200 are learnt as those near 1, and scores show their digits"
)
@pytest.mark.metamorphic(
    "number labels in another unit, a power of two of the old, give the same answers in that unit"
)
@pytest.mark.parametrize("exponent", [-900, -30, 664])
def test_numbers_of_any_size(baseline: NetworkRun, exponent: int) -> None:
    run = sized(2.0**exponent)
    for score in ("rmse", "mae", "mean_rmse"):
        assert run.scores["y"][score] == baseline.scores["y"][score] * 2.0**exponent
    assert run.scores["y"]["r2"] == baseline.scores["y"]["r2"] > 0
    shown = figure(run.scores["y"]["rmse"], digits=3)
    assert "e" in shown and float(shown) == pytest.approx(run.scores["y"]["rmse"], rel=0.01)
    last = EpochEnded(**{**run.history[-1], "valid": run.scores})
    assert shown in EpochTable(last, 80).lines(last)[0]


@pytest.mark.case("T6", "neighbour: numbers that leave no room to calculate in are refused with their row")
@pytest.mark.parametrize("cell", [1e308, -3e301])
def test_numbers_without_room(cell: float) -> None:
    columns = {"x": list(range(12)), "y": [*map(float, range(11)), cell]}
    with pytest.raises(TenfoldError, match=r"row 12, column y") as caught:
        prepare_number(columns, "y:number")
    assert "another unit" in str(caught.value)


@pytest.mark.case(
    "T6", "neighbour: a constant target is said to teach nothing, and answered with that number"
)
@pytest.mark.parametrize("value", [0.1, 1e-9, -1e200])
def test_a_constant_target(value: float) -> None:
    work, text = prepare_number({"x": list(range(12)), "y": [value] * 12}, "y:number")
    assert "nothing to learn" in text
    facts = work.encoding.targets["y"]
    assert facts.mean == pytest.approx(value) and facts.deviation == min(1.0, abs(facts.mean))


@pytest.mark.case("T6", "neighbour: infinities are no numbers")
def test_infinite_labels_are_refused() -> None:
    with pytest.raises(TenfoldError, match="inf"):
        prepare_number({"x": list(range(12)), "y": [*map(float, range(11)), float("inf")]}, "y:number")


# --- 7, 8, 15, 16, 17, 38, 46: labels and splits of the first list -----------------------------------


def prepare_table(
    columns: Any, targets: list[str], recipe: dict | None = None, **schema: Any
) -> tuple[TrainingWork, str]:
    """A table whose column x is the input; x is added where it is missing."""
    rows = len(next(iter(columns.values())))
    columns = {"x": [f"{row}.5" for row in range(rows)], **columns}
    made = Schema(inputs=(NumberColumn(name="x"),), targets=parse_targets(targets), **schema)
    notes = Notes(None)
    source = columns if not isinstance(columns, Path) else str(columns)
    work = prepare_training(made, Recipe(seed=1, **(recipe or {})), source, Reading(), notes)
    return work, "\n".join(notes.lines)


COLOURED = {
    "colour": ["1", "0", "", "1", "0", "1", "", "0", "1", "0", "", "1"],
    "shape": ["round", "", "square", "round", *["square", "round"] * 4],
}


@pytest.mark.case("7", "an empty label cell is missing for its target alone, and changes no class name")
def test_missing_labels_are_masked() -> None:
    work, text = prepare_table(COLOURED, ["colour:category", "shape"])
    assert work.encoding.classes == {"colour": ("0", "1"), "shape": ("round", "square")}
    assert "colour: 3 of 12 labels missing" in text
    assert work.examples.labels["colour"].tolist() == [1, 0, -1, 1, 0, 1, -1, 0, 1, 0, -1, 1]
    assert (work.examples.weights["colour"] == [one != "" for one in COLOURED["colour"]]).all()
    assert work.examples.weights["shape"][[2, 6, 10]].all() and not work.examples.weights["shape"][1]
    with pytest.raises(TenfoldError, match="column 'colour' .* has no label in any of 12 rows"):
        prepare_table({"colour": [""] * 12}, ["colour:category"])


@pytest.mark.case("7", "neighbour: whole numbers that a data frame holds as floats, since one is missing")
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_classes_of_a_float_column(kind: type) -> None:
    cells = np.array([float(one or "nan") for one in COLOURED["colour"]], dtype=kind)
    table = pa.table({"x": np.arange(12.0), "colour": pa.array(cells, from_pandas=True)})
    schema = Schema(inputs=(NumberColumn(name="x"),), targets=parse_targets(["colour:category"]))
    work = prepare_training(schema, Recipe(seed=1), table, Reading(), Notes(None))
    assert work.encoding.classes["colour"] == ("0", "1")
    assert work.network.heads[0].decode(np.array([[0.2, 0.8]])).values.tolist() == ["1"]


@pytest.mark.case("8", "a class of one row trains, stays in the list and is named; a rare pair stops nothing")
def test_a_rare_class_stops_no_split() -> None:
    kinds = [*"aaaaaabbbbbc"]
    work, text = prepare_table({"kind": kinds}, ["kind"], {"valid": 0.25})
    assert kinds.index("c") in work.split.train and work.encoding.classes["kind"] == ("a", "b", "c")
    assert "kind: class c has 1 example: it cannot be in both parts" in text and len(work.split.valid) == 3
    pairs = {"one": [*"aaaaaabbbbbb"], "two": [*"xxxxxyyyyyyy"]}  # a and y meet once
    work, text = prepare_table(pairs, ["one", "two"], {"valid": 0.25})
    assert len(work.split.valid) == 3 and "cannot be in both parts" not in text


@pytest.mark.case("8", "neighbour: all rows of a class in one group, and folds that a class is too rare for")
def test_a_class_of_one_group_trains() -> None:
    columns = {"kind": [*"aaaaaabbbbbbcc"], "farm": [*"1234567890ABCC"]}
    work, text = prepare_table(columns, ["kind"], group=("farm",))
    assert {12, 13} <= set(work.split.train.tolist())
    assert "class c has 2 examples in one group: it cannot be in both parts" in text
    for fold in (1, 2, 3):
        work, text = prepare_table({"kind": [*"aaaaaabbbbbc"]}, ["kind"], {"fold": (fold, 3)})
        assert len(work.split.valid) == 4 and "trained without c" in text
        assert work.encoding.classes["kind"] == ("a", "b", "c")


@pytest.mark.case("15", "outer blanks never matter; look-alikes and single rows are pointed out")
def test_labels_are_cleaned_and_pointed_out(tmp_path: Path) -> None:
    lines = [
        "x, label",
        "1, cat",
        "2,cat ",
        "3,Cat",
        "4,dog",
        "5,.3",
        *(f"{row},dog" for row in range(6, 13)),
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    work, text = prepare_number(str(tmp_path / "t.csv"), "label:category")
    assert set(work.encoding.classes["label"]) == {"cat", "Cat", "dog", ".3"}
    assert (work.examples.labels["label"] == work.encoding.classes["label"].index("cat")).sum() == 2
    assert "look-alikes Cat / cat" in text or "look-alikes cat / Cat" in text
    assert "1 row only: .3, Cat" in text or "1 row only: Cat, .3" in text


@pytest.mark.case("15", "neighbour: blanks, and two forms of an accent, make no second group")
def test_groups_are_cleaned() -> None:
    farms = ["Höf", "Ho\u0308f ", " Höf", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
    work, text = prepare_table({"kind": [*"abab" * 3], "farm": farms}, ["kind"], group=("farm",))
    assert "12 rows in 10 groups" in text and "look-alikes" not in text
    assert len({0, 1, 2} & set(work.split.valid.tolist())) in (0, 3)
    _, text = prepare_table(
        {"kind": [*"abab" * 3], "farm": ["Höf", "höf", *farms[2:]]}, ["kind"], group=("farm",)
    )
    assert "farm: look-alikes Höf / höf are different groups" in text


@pytest.mark.case("16", "repeats of a picture stay together and are counted; contradicting labels are named")
def test_repeats_are_counted_and_contradictions_named(tmp_path: Path) -> None:
    columns = patients(tmp_path, rows=20, copies=0)
    twice = {name: [*columns[name], *columns[name]] for name in ("file", "label")}
    twice["label"][0] = "dog" if columns["label"][0] == "cat" else "cat"
    work, text = prepare(tmp_path, twice)
    train, valid = sides(work, twice["file"])
    assert train.isdisjoint(valid) and "40 rows show 20 pictures more than once" in text
    assert "label: 1 pictures have labels that contradict each other" in text and "00.png: cat, dog" in text


@pytest.mark.case("16", "neighbour: the same picture under two ids with two labels is a contradiction, too")
def test_two_names_of_one_picture_contradict(tmp_path: Path) -> None:
    columns = patients(tmp_path, rows=20, copies=4)
    columns["label"][16] = "dog" if columns["label"][0] == "cat" else "cat"
    _, text = prepare(tmp_path, columns)
    assert "1 pictures have labels that contradict each other" in text and "00.png: cat, dog" in text


@pytest.mark.case("17", "what numbers were taken for is said, or asked for; names keep the file's text")
def test_the_kind_of_a_target_is_said_or_asked_for(tmp_path: Path) -> None:
    grades = [str(row % 5) for row in range(200)]
    ages = [str(20 + row % 70) for row in range(200)]
    with pytest.raises(TenfoldError) as caught:
        prepare_table({"age": ages}, ["age"])
    assert "70 different" in str(caught.value) and "age:number" in str(caught.value)
    for order in (grades, grades[::-1], grades[:30]):
        work, text = prepare_table({"grade": order}, ["grade"])
        assert "grade: 5 classes: 0, 1, 2, 3, 4" in text and work.encoding.classes["grade"] == (*"01234",)
    work, _ = prepare_table({"grade": grades}, ["grade:number"])
    assert work.encoding.classes == {}
    work, _ = prepare_table({"grade": [f"{one}.0" for one in grades]}, ["grade:category"])
    assert work.encoding.classes["grade"] == ("0.0", "1.0", "2.0", "3.0", "4.0")


@pytest.mark.case("17", "neighbour: 0 and 1 are two classes without being asked")
def test_two_numbers_are_classes() -> None:
    work, text = prepare_table({"sick": [str(row % 2) for row in range(40)]}, ["sick"])
    assert work.encoding.classes["sick"] == ("0", "1") and "sick: 2 classes: 0, 1" in text


@pytest.mark.case("38", "a score is of all rows at once, and that of the predictions' file")
def test_scores_are_of_all_rows(weighed: NetworkRun) -> None:
    assert error_rate([0] * 9, [0] * 8 + [1]) == pytest.approx(1 / 9)
    columns = rows_of(weighed_columns(), range(9), "w")
    found = weighed.evaluate(columns)["targets"]
    answers = weighed.predict(columns).targets
    assert found["kind"]["error_rate"] == np.mean(answers["kind"].values != np.array(columns["kind"]))
    assert found["size"]["mae"] == pytest.approx(np.abs(answers["size"].values - columns["size"]).mean())


@pytest.mark.case("38", "neighbour: evaluate in parts of any size gives the same answers")
def test_answers_do_not_depend_on_the_rows_beside(weighed: NetworkRun) -> None:
    columns = rows_of(weighed_columns(), range(9))
    whole = weighed.predict(columns).targets["kind"].probabilities
    alone = [weighed.predict(rows_of(columns, [row])).targets["kind"].probabilities[0] for row in range(9)]
    np.testing.assert_allclose(whole, np.array(alone), rtol=1e-6)


@pytest.mark.case("46", "balanced weights of a class that the training rows lack are finite, and it is named")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_balanced_weights_without_a_class(smoothing: float) -> None:
    columns = {"kind": [*"aaaaccbbb"], "held": [*"000000111"]}
    recipe = {"class_weights": "balanced", "label_smoothing": smoothing}
    work, text = prepare_table(columns, ["kind"], recipe, split="held")
    weights = work.encoding.targets["kind"].yes_weights
    assert weights == (0.5, 1.0, 1.0) and "class 'b' has no training row; its weight stays 1" in text
    train = torch.from_numpy(work.split.train)
    loss = work.network.heads[0].loss_sum(
        torch.zeros(6, 3),
        torch.from_numpy(work.examples.labels["kind"])[train],
        torch.from_numpy(work.examples.weights["kind"])[train].float(),
    )
    assert loss.item() == pytest.approx(4 * np.log(3))


@pytest.mark.case("46", "neighbour: so are those of tags that nobody, or everybody, has")
def test_balanced_weights_of_tags() -> None:
    columns = {"p": [*"110000"], "q": [*"000000"], "r": [*"111111"], "held": [*"000011"]}
    work, _ = prepare_table(columns, ["p,q,r:multilabel"], {"class_weights": "balanced"}, split="held")
    facts = work.encoding.targets["p,q,r"]
    assert len(facts.yes_weights) == len(facts.no_weights) == 3
    assert np.isfinite([*facts.yes_weights, *facts.no_weights]).all()


# --- changes of the table that must not matter -------------------------------------------------------


@pytest.mark.metamorphic("rows in another order: a split by time or by a column holds out the same rows")
@pytest.mark.parametrize("way", [{"split": "held"}, {"time": "when"}, {"time": "when", "group": ("farm",)}])
def test_row_order_and_stated_splits(way: dict) -> None:
    rng = np.random.default_rng(4)
    columns = {
        "x": [str(one) for one in range(40)],
        "kind": [*"abcd" * 10],
        "when": [str(np.datetime64("2020-01-01") + int(day)) for day in rng.permutation(40)],
        "farm": [str(one) for one in rng.integers(0, 15, 40)],
        "held": [*"00010" * 8],
    }
    held = []
    for order in (np.arange(40), rng.permutation(40)):
        work, _ = prepare_table(rows_of(columns, order), ["kind"], **way)
        held.append(set(order[work.split.valid].tolist()))
    assert held[0] == held[1]


def test_times_beside_a_stated_split_are_not_used_in_silence() -> None:
    columns = {"x": [*range(20)], "kind": [*"ab" * 10], "when": [*range(20)], "held": [*"01100" * 4]}
    _, text = prepare_table(columns, ["kind"], split="held", time="when")
    assert "when is not used: held says the split" in text


@pytest.mark.metamorphic("columns in another order, or copied under another name, give the same run")
@pytest.mark.parametrize("way", [{}, {"group": ("farm",)}])
def test_columns_that_nobody_asked_for(way: dict) -> None:
    columns = {
        "x": [str(one) for one in range(24)],
        "kind": [*"abcd" * 6],
        "farm": [str(one % 9) for one in range(24)],
    }
    copied = {"again": columns["kind"], **dict(reversed(columns.items())), "more": columns["farm"]}
    first, _ = prepare_table(columns, ["kind"], **way)
    second, _ = prepare_table(copied, ["kind"], **way)
    assert first.identity == second.identity


@pytest.mark.metamorphic("groups under other names hold out the same rows")
def test_names_of_groups() -> None:
    columns = {"kind": [*"abcd" * 6], "farm": [str(one % 9) for one in range(24)]}
    renamed = {**columns, "farm": [f"farm {9 - int(one)}" for one in columns["farm"]]}
    first, second = (prepare_table(one, ["kind"], group=("farm",))[0] for one in (columns, renamed))
    assert first.split.valid.tolist() == second.split.valid.tolist()


@pytest.mark.metamorphic("all times later by a constant, or in another unit, cut at the same row")
def test_times_moved() -> None:
    columns = {
        "kind": [*"abcd" * 6],
        "when": [str(1_600_000_000 + 86_400 * ((7 * one) % 24)) for one in range(24)],
    }
    later = {**columns, "when": [str(int(one) + 5_000_000) for one in columns["when"]]}
    finer = {**columns, "when": [f"{one}000" for one in columns["when"]]}
    first, *others = (prepare_table(one, ["kind"], time="when")[0] for one in (columns, later, finer))
    assert all(first.split.valid.tolist() == other.split.valid.tolist() for other in others)
