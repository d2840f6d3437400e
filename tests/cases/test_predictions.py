"""Kinds of fault reported in public: predictions, blends, ensembles and folds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tenfold
from photos import QUICK, write_photos
from tenfold.cli.screen import show_compared
from tenfold.data.split.holdout import kfold
from tenfold.data.tables.table import read_parquet_columns, read_table, write_parquet
from tenfold.ensembles.blend import blend_runs
from tenfold.ensembles.evaluate import evaluate_blend
from tenfold.ensembles.joined import blend_of
from tenfold.ensembles.networks import NetworkEnsemble
from tenfold.ensembles.weights import blended, by_name, joined_classes
from tenfold.errors import ImageError, OutputError, RecipeError, RunError, SplitError, TenfoldError
from tenfold.files.submission import write_submission
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.runs.described import sealed
from tenfold.runs.folder import RunFolder, file_digest
from tenfold.runs.options import Reading
from tenfold.runs.record import RunRecord
from tenfold.runs.registry import load_run
from tenfold.runs.run import Member
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    IdColumn,
    ImageColumn,
    NumberColumn,
    NumberTarget,
    RatingTarget,
    Schema,
)
from tenfold.studies.compare import compare_targets
from tenfold.studies.trials import Trial, Tuned
from tenfold.studies.tune import tune
from tenfold.values import Predictions, TargetPrediction

Columns = dict[str, list[Any]]
X, Z = NumberColumn(name="x"), NumberColumn(name="z")
SCHEMA = Schema(inputs=(X, Z), targets=(CategoryTarget(name="label"),))


def table(rows: int = 80) -> Columns:
    """Rows whose class follows from x, nearly; every second one is held out where `part` says so."""
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, rows)).round(3)
    label = np.where(x + rng.normal(size=rows) * 0.3 > 0, "a", "b")
    return {
        "id": [f"r{row}" for row in range(rows)],
        "x": x.tolist(),
        "z": z.tolist(),
        "label": label.tolist(),
        "size": [round(float(one), 3) for one in x + z],
        "part": [str(row % 2) for row in range(rows)],
    }


def taken(columns: Columns, order: Any) -> Columns:
    return {name: [cells[row] for row in order] for name, cells in columns.items()}


def shuffled(columns: Columns) -> Columns:
    return taken(columns, np.random.default_rng(1).permutation(len(columns["id"])))


class Place:
    """Runs of small tables, each trained once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fit(
        self, name: str, columns: Columns, *, named: bool = True, skip: bool = False, **changes: Any
    ) -> Any:
        """A run of these rows. named: by their ids.  changes: of the recipe, and `split` of the schema."""
        path = self.folder / name
        if path.exists():
            return load_run(path)
        schema = changes.pop("schema", SCHEMA)
        columns_of = {name: changes.pop(name, None) for name in ("split", "weight")}
        schema = schema.model_copy(update={"id": "id" if named else None, **columns_of})
        recipe = Recipe(**{"epochs": 3, "valid": 0.5, "split_seed": 7, "seed": 1, **changes})
        return tenfold.fit(schema, recipe, columns, run=path, reading=Reading(skip_bad=skip))

    def blend(self, *runs: Any, **options: Any) -> Any:
        name = "-".join(run.path.name for run in runs)
        return blend_runs([run.path for run in runs], output=self.folder / f"blend-{name}", **options)

    def copy(self, run: Any, name: str, change: Callable[[dict[str, Any]], None] | None = None) -> Any:
        """A copy of a run, perhaps with other held-out rows, and checksums that agree."""
        path = self.folder / name
        shutil.copytree(run.path, path)
        about = json.loads((path / "run.json").read_text("utf-8"))
        if change is not None:
            columns = read_parquet_columns(path / "validation.parquet")
            held = {one: np.asarray(cells, dtype=object) for one, cells in columns.items()}
            held = {one: np.array(cells.tolist()) if one == "row" else cells for one, cells in held.items()}
            change(held)
            write_parquet(path / "validation.parquet", held)
            about["files"]["validation.parquet"] = file_digest(path / "validation.parquet")
            about.pop("fingerprint")
        (path / "run.json").write_text(json.dumps(sealed(about)), "utf-8")
        return load_run(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("blends"))


def member_scores(blend: Any) -> list[dict[str, Any]]:
    return [one["scores"]["label"] for one in blend.about["members"]]


def held_rows(blend: Any) -> dict[str, list[Any]]:
    found = read_parquet_columns(blend.path / "oof.parquet")
    return {name: list(cells) for name, cells in found.items()}


# --- P4: held-out rows of a blend are joined by what they are ------------------------------------------


def changed_tables() -> dict[str, tuple[Columns, bool]]:
    """The same rows in other tables, and whether bad ones are skipped."""
    plain = table()
    more = {name: [{"id": "new"}.get(name, cells[0]), *cells] for name, cells in plain.items()}
    bad = {**plain, "x": ["oops" if row == 3 else cell for row, cell in enumerate(plain["x"])]}
    return {"order": (shuffled(plain), False), "more": (more, False), "bad": (bad, True)}


@pytest.mark.case("P4", "members of a blend are joined by id or by content, never by row number")
@pytest.mark.parametrize("named", [True, False], ids=["id", "noid"])
@pytest.mark.parametrize("how", ["order", "more", "bad"])
def test_a_member_of_a_blend_scores_as_its_run_does(place: Place, how: str, named: bool) -> None:
    other, skip = changed_tables()[how]
    runs = [
        place.fit(f"plain-{named}", table(), named=named),
        place.fit(f"{how}-{named}", other, named=named, skip=skip),
    ]
    blend = place.blend(*runs, method="best")
    for run, own in zip(runs, member_scores(blend), strict=True):
        assert own["error_rate"] == pytest.approx(run.scores["label"]["error_rate"])
        assert own["log_loss"] == pytest.approx(run.scores["label"]["log_loss"])
    found = held_rows(blend)
    answered = [~np.isnan(np.array(found[f"label:a@{run.path.name}"], dtype=float)) for run in runs]
    assert [int(one.sum()) for one in answered] == [run.about["valid_rows"] for run in runs]
    assert 0 < (answered[0] & answered[1]).sum() < min(one.sum() for one in answered)
    names = found["id"]
    if named:
        labels = dict(zip(table()["id"], table()["label"], strict=True)) | {"new": table()["label"][0]}
        assert len(set(names)) == len(names) and found["label"] == [labels[name] for name in names]


@pytest.mark.case("P4", "neighbour: a pair of wrong labels for one id is refused by name")
@pytest.mark.parametrize("target", ["label", "size"])
def test_labels_that_contradict_each_other_are_refused(place: Place, target: str) -> None:
    kind = CategoryTarget(name="label") if target == "label" else NumberTarget(name="size")
    schema = Schema(inputs=(X, Z), targets=(kind,))
    other = table()
    row = 3
    other[target] = [*other[target]]
    other[target][row] = {"a": "b", "b": "a"}[other["label"][row]] if target == "label" else 7.5
    runs = [
        place.fit(f"{target}-said", table(), schema=schema, split="part"),
        place.fit(f"{target}-other", other, schema=schema, split="part"),
    ]
    with pytest.raises(RunError, match="labels of 1 held-out row") as caught:
        place.blend(*runs)
    assert f"row r3, {target}: " in str(caught.value) and f"in {target}-other" in str(caught.value)


@pytest.mark.case("P4", "neighbour: tables without a common row are refused, with the count")
@pytest.mark.parametrize("named", [True, False], ids=["id", "noid"])
def test_runs_whose_rows_do_not_meet_are_refused(place: Place, named: bool) -> None:
    halves = [taken(table(), range(start, start + 40)) for start in (0, 40)]
    runs = [place.fit(f"half{at}-{named}", half, named=named) for at, half in enumerate(halves)]
    with pytest.raises(RunError, match="no rows in common") as caught:
        place.blend(*runs)
    assert "0 of its 20 held-out rows" in str(caught.value)


@pytest.mark.case("P4", "neighbour: an id that stands in several rows is joined by id and content")
def test_repeated_ids_are_joined_by_what_their_rows_hold(place: Place) -> None:
    twice = {**table(), "id": [f"r{row // 2}" for row in range(80)]}
    runs = [place.fit("twice", twice), place.fit("twice-order", shuffled(twice))]
    blend = place.blend(*runs)
    for run, own in zip(runs, member_scores(blend), strict=True):
        assert own["log_loss"] == pytest.approx(run.scores["label"]["log_loss"])


@pytest.mark.case("P4", "neighbour: rows that are equal in everything are counted, not melted together")
def test_equal_rows_stay_as_many_as_they_are(place: Place) -> None:
    plain = table(20)
    twins = {name: cells * 4 for name, cells in plain.items()}
    runs = [place.fit("twins", twins, named=False), place.fit("twins-order", shuffled(twins), named=False)]
    blend = place.blend(*runs)
    for run, own in zip(runs, member_scores(blend), strict=True):
        assert own["scored"] == 40 == run.about["valid_rows"]
        assert own["log_loss"] == pytest.approx(run.scores["label"]["log_loss"])


def older(held: dict[str, Any]) -> None:
    held.pop("fingerprint")


@pytest.mark.case("P4", "neighbour: runs without fingerprints, as earlier versions wrote them")
def test_runs_of_earlier_versions_are_joined_where_that_is_sure(place: Place) -> None:
    plain, again = (place.fit(f"old{seed}", table(), named=False, seed=seed) for seed in (1, 2))
    moved = place.fit("old-order", shuffled(table()), named=False)
    old = [place.copy(run, f"{run.path.name}-bare", older) for run in (plain, again, moved)]
    with pytest.raises(RunError, match="kept no fingerprints") as caught:
        place.blend(old[0], old[2])
    assert "old1-bare, old-order-bare" in str(caught.value) and "tenfold fit" in str(caught.value)
    # One table and one split: the number of a row says enough.
    blend = place.blend(*old[:2])
    assert [one["log_loss"] for one in member_scores(blend)] == pytest.approx(
        [run.scores["label"]["log_loss"] for run in (plain, again)]
    )
    # Ids say enough, too.
    named = [place.fit("old-id", table()), place.fit("old-id-order", shuffled(table()))]
    bare = [place.copy(run, f"{run.path.name}-bare", older) for run in named]
    assert [one["log_loss"] for one in member_scores(place.blend(*bare))] == pytest.approx(
        [run.scores["label"]["log_loss"] for run in named]
    )


@pytest.mark.metamorphic("a blend of a run with itself is the run: scores, thresholds and predictions")
@pytest.mark.parametrize("method", ["weights", "greedy", "convex"])
def test_a_blend_of_a_run_with_itself_is_the_run(place: Place, method: str) -> None:
    run = place.fit("plain-True", table())
    copy = load_run(place.folder / "copy") if (place.folder / "copy").exists() else place.copy(run, "copy")
    blend = place.blend(run, copy, method=method)
    assert blend.scores["label"] == pytest.approx(run.scores["label"])
    assert member_scores(blend)[0] == pytest.approx(member_scores(blend)[1])
    assert sum(blend.weights["label"].values()) == pytest.approx(1)
    asked = {name: table()[name] for name in ("id", "x", "z")}
    own, mixed = (one.predict(asked).targets["label"] for one in (run, blend))
    assert own.probabilities == pytest.approx(mixed.probabilities, abs=1e-7)
    assert list(own.values) == list(mixed.values)


@pytest.mark.metamorphic("members of the same table in another row order blend as in the same order")
@pytest.mark.parametrize("named", [True, False], ids=["id", "noid"])
def test_the_order_of_a_members_table_does_not_matter(place: Place, named: bool) -> None:
    # Networks of one seed that hardly train answer a row alike, wherever it stands.
    first = place.fit(f"start-{named}", table(), named=named, split="part", lr=1e-9, seed=1)
    blends = [
        place.blend(
            first, place.fit(f"second{at}-{named}", rows, named=named, split="part", lr=1e-9, seed=2),
            method="best",
        )
        for at, rows in enumerate((table(), shuffled(table())))
    ]  # fmt: skip
    one, other = blends
    for name in ("error_rate", "log_loss", "scored"):
        assert one.scores["label"][name] == pytest.approx(other.scores["label"][name])
    assert [*one.weights["label"].values()] == pytest.approx([*other.weights["label"].values()])
    for name in ("id", "row", "label") if named else ("row", "label"):
        assert held_rows(one)[name] == held_rows(other)[name]


@pytest.mark.metamorphic(
    "a blend of a run of weighted rows with itself is the run, whose scores are weighted"
)
def test_a_blend_of_weighted_rows_weighs_them(place: Place) -> None:
    weighted = {**table(), "w": [float(row % 3) for row in range(80)]}
    run = place.fit("weighted", weighted, weight="w")
    blend = place.blend(run, place.copy(run, "weighted-copy"), method="convex")
    assert blend.scores["label"] == pytest.approx(run.scores["label"])
    assert blend.summary["weighted_by"] == run.summary["weighted_by"] == "w"
    plain = place.fit("weightless", weighted)
    assert plain.scores["label"]["log_loss"] != pytest.approx(run.scores["label"]["log_loss"])


@pytest.mark.metamorphic(
    "members whose tables differ in a unit are pointed out; the order of the rows is not"
)
def test_members_of_other_units_are_pointed_out(place: Place) -> None:
    plain = table()
    metres = place.fit("metres", plain)
    other = place.fit("millimetres", {**plain, "x": [1000 * float(cell) for cell in plain["x"]]})
    said = "held-out rows have other inputs in a member's table than in another's"

    def notes(*runs: Any) -> str:
        heard: list[str] = []
        place.blend(*runs, on_note=heard.append)
        return " ".join(heard)

    assert said in notes(metres, other)
    assert said not in notes(metres, place.fit("turned", shuffled(plain)))


# --- scores that are not defined -----------------------------------------------------------------------


def compared(columns: Columns, **changes: Any) -> Any:
    schema = Schema(
        inputs=(X, Z), targets=(CategoryTarget(name="label"), NumberTarget(name="size")), **changes
    )
    return compare_targets(schema, Recipe(epochs=1, seed=1), columns, folds=3)


@pytest.mark.case("F3", "a fold without a score leaves the mean of the others, and their number is said")
def test_the_mean_is_of_the_folds_that_have_a_score(capsys: pytest.CaptureFixture[str]) -> None:
    # By time, the last third has no size at all.
    columns = {**table(30), "when": [f"2020-01-{row + 1:02d}" for row in range(30)]}
    columns["size"] = [size if row < 20 else None for row, size in enumerate(columns["size"])]
    made = compared(columns, time="when")
    found = made.record()
    size, label = (found["targets"][name]["scores"] for name in ("size", "label"))
    there = [
        one["alone"]["rmse"]
        for one in found["targets"]["size"]["per_fold"]
        if one["alone"]["rmse"] == one["alone"]["rmse"]
    ]
    assert len(there) == 2 and size["rmse"]["alone"] == pytest.approx(np.mean(there))
    assert size["rmse"]["pairs"] == 2 and label["error_rate"]["pairs"] == 3
    assert size["rmse"]["together"] - size["rmse"]["alone"] == pytest.approx(size["rmse"]["difference"])
    show_compared(made)
    said = capsys.readouterr().out
    assert "nan" not in said and "size, RMSE: 2 of 3 pairs" in said


@pytest.mark.case("F3", "neighbour: seeds of a value that failed are not averaged away in a search")
def test_a_value_that_fails_with_one_seed_does_not_win() -> None:
    def trial(value: float, seed: int, score: float) -> Trial:
        return Trial(value, seed, score, {"y": {"rmse": score}}, 0.0, "" if score == score else "it failed")

    trials = [trial(1, 1, 0.5), trial(1, 2, 0.7), trial(2, 1, 0.1), trial(2, 2, float("nan"))]
    found = Tuned("lr", "y:rmse", False, 1, tuple(trials), 10, 5, 0.0)
    assert found.best == 1 and [one.mean for one in found.settings] == pytest.approx([0.6, 0.1])
    assert [one.defined for one in found.settings] == [2, 1]
    said = " ".join(found.conclusions())
    assert "2 (1 of 2)" in said and "nan" not in said
    assert found.record()["settings"][1]["targets"]["y"]["rmse"] == pytest.approx(0.1)


@pytest.mark.case("F4", "a score that the validation rows cannot have is refused before training")
def test_a_monitor_that_is_never_defined_is_refused(place: Place) -> None:
    columns = {**table(), "part": ["1" if row < 5 else "0" for row in range(80)]}
    columns["label"] = ["a" if row < 5 else label for row, label in enumerate(columns["label"])]
    asked = {"split": "part", "patience": 2, "epochs": 5}
    with pytest.raises(RecipeError, match="label:auc is not defined on the 5 validation rows") as caught:
        place.fit("auc", columns, monitor="label:auc", **asked)
    assert "--monitor" in str(caught.value)
    # neighbour: the loss of one class is defined, and so is AUC without patience.
    assert place.fit("loss", columns, monitor="label", **asked).scores["label"]["scored"] == 5
    assert np.isnan(place.fit("calm", columns, monitor="label:auc", split="part").scores["label"]["auc"])


# --- trainings of many seeds, in a folder that stays --------------------------------------------------


@pytest.mark.case("P7", "a folder of other rows is refused with options that the command has")
def test_a_search_goes_on_in_its_folder_with_the_same_rows_only(tmp_path: Path) -> None:
    asked = {"values": [0.01], "runs": tmp_path / "kept"}
    recipe = Recipe(epochs=1, lr=0.02)
    tune("lr", SCHEMA, recipe, table(20), **asked)
    with pytest.raises(RunError) as caught:
        tune("lr", SCHEMA, recipe, shuffled(table(20)), **asked)
    assert (
        "--runs" in str(caught.value)
        and "-o" not in str(caught.value).split()
        and "--resume" not in str(caught.value)
    )


@pytest.mark.case("P7", "neighbour: seeds that there are not are refused before the first training")
@pytest.mark.parametrize("many", [tune, compare_targets])
def test_seeds_beyond_the_last_are_refused_at_once(many: Any) -> None:
    schema = Schema(inputs=(X, Z), targets=(CategoryTarget(name="label"), NumberTarget(name="size")))
    heard: list[Any] = []
    words = ("lr",) if many is tune else ()
    with pytest.raises(RecipeError, match="2 repeats ask for seeds above 9223372036854775807"):
        many(*words, schema, Recipe(epochs=1, seed=2**63 - 1), table(20), repeats=2, on_progress=heard.append)
    assert not heard


# --- kinds of the first list: order, classes, views, unseen values, folds -----------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A quick run of coloured pictures, and the folder that they lie in."""
    folder = tmp_path_factory.mktemp("photos")
    columns = write_photos(folder, 12)
    image = ImageColumn(name="id", folder=str(folder / "photos"))
    schema = Schema(inputs=(image,), targets=(CategoryTarget(name="label"),))
    recipe = Recipe(**{**QUICK.model_dump(), "epochs": 1, "flip": "horizontal", "valid": 0.25})
    return tenfold.fit(schema, recipe, columns, run=folder / "run"), folder / "photos"


@pytest.mark.case(
    "47", "one answer to each row, in the table's order, whatever the workers and the neighbours"
)
def test_answers_come_in_the_order_of_the_rows(photos: Any) -> None:
    run, _ = photos
    ids = ["0007.png", "0003.png", "0010.png", "0003.png", "0001.png"]
    found = [run.predict({"id": ids}, reading=Reading(workers=count), tta=2) for count in (0, 2)]
    assert [list(one.ids) for one in found] == [ids, ids]
    first, second = (one.targets["label"].probabilities for one in found)
    assert (first == second).all() and (first[1] == first[3]).all()
    alone = [run.predict({"id": [name]}, tta=2).targets["label"].probabilities[0] for name in ids]
    assert (first == np.stack(alone)).all()


@pytest.mark.case("47", "neighbour: cells of a table")
def test_answers_of_cells_come_in_the_order_of_the_rows(place: Place) -> None:
    run = place.fit("plain-True", table())
    rows = taken(table(), [5, 3, 70, 3, 0])
    found = run.predict(rows)
    assert list(found.ids) == rows["id"]
    alone = [run.predict(taken(rows, [row])).targets["label"].probabilities[0] for row in range(5)]
    assert (found.targets["label"].probabilities == np.stack(alone)).all()


@pytest.mark.case("48", "members' classes are joined by name, whatever their order")
def test_classes_are_joined_by_name(place: Place) -> None:
    names, said = joined_classes({"one": ("bird", "cat", "dog"), "two": ("dog", "cat", "bird")})
    given = [
        by_name(np.array([answers]), own, names)
        for answers, own in (
            ([0.7, 0.2, 0.1], ("bird", "cat", "dog")),
            ([0.1, 0.2, 0.7], ("dog", "cat", "bird")),
        )
    ]
    mixed = blended(np.stack(given), np.array([0.5, 0.5]))[0]
    assert dict(zip(names, mixed, strict=True)) == pytest.approx({"bird": 0.7, "cat": 0.2, "dog": 0.1})
    # neighbour: a test table without one of the classes is scored by name.
    run = place.fit("plain-True", table())
    only = taken(table(), [row for row, label in enumerate(table()["label"]) if label == "b"])
    wrong = [one != "b" for one in run.predict(only).targets["label"].values]
    assert run.evaluate(only)["targets"]["label"]["error_rate"] == pytest.approx(np.mean(wrong))


@pytest.mark.case("49", "views, folds and members: the mean of probabilities, and not of outputs")
def test_the_mean_is_of_probabilities(photos: Any) -> None:
    logits = np.array([[8.0, 0.0], [-3.0, 0.0], [-3.0, 0.0]])
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert blended(chance[:, None], np.ones(3))[0] == pytest.approx([0.3648, 0.6352], abs=1e-4)
    # neighbour: the plain view alone, said in two ways, is the plain answer.
    run, _ = photos
    asked = {"id": ["0001.png", "0002.png"]}
    plain = run.predict(asked).targets["label"].probabilities
    same = run.predict(asked, tta=2, plain_weight=1.0).targets["label"].probabilities
    assert (plain == same).all() and plain.sum(axis=1) == pytest.approx(1)


def decks() -> tuple[Schema, Columns]:
    rng = np.random.default_rng(0)
    columns = {
        "deck": ["ABC"[row % 3] for row in range(40)],
        "fare": rng.normal(size=40).round(2).tolist(),
        "age": [None if row % 5 == 0 else float(row) for row in range(40)],
        "blank": [None] * 40,
        "label": ["yes" if row % 3 == 1 else "no" for row in range(40)],
    }
    inputs = (CategoryColumn(name="deck"), *(NumberColumn(name=name) for name in ("fare", "age")))
    return Schema(inputs=inputs, targets=(CategoryTarget(name="label"),)), columns


@pytest.mark.case("50", "a value that training never saw has an answer, and is named")
def test_unseen_values_are_unknown(place: Place) -> None:
    schema, columns = decks()
    run = place.fit("decks", columns, schema=schema, named=False)
    notes: list[str] = []
    rows = {"deck": ["T", None, "a", "Q"], "fare": [0.5] * 4, "age": [3.0] * 4}
    chance = run.predict(rows, on_note=notes.append).targets["label"].probabilities
    assert np.isfinite(chance).all() and any("deck" in note and "T" in note for note in notes)
    # neighbour: every unseen value is the same unknown.
    assert (chance[0] == chance[2]).all() and (chance[0] == chance[3]).all()


@pytest.mark.case("51", "a cell that is empty in the test table only is filled by what training knows")
def test_empty_cells_do_not_depend_on_their_neighbours(place: Place) -> None:
    schema, columns = decks()
    run = place.fit("decks", columns, schema=schema, named=False)
    rows = {"deck": ["A", "B", "C"], "fare": [9.0, 8.0, None], "age": [3.0, None, 5.0]}
    chance = run.predict(rows).targets["label"].probabilities
    alone = run.predict(taken(rows, [2])).targets["label"].probabilities
    assert np.isfinite(chance).all() and (chance[2] == alone[0]).all()
    # neighbour: a column that is blank in training says nothing, and is named.
    wider = schema.model_copy(update={"inputs": (*schema.inputs, NumberColumn(name="blank"))})
    wide = place.fit("blank", columns, schema=wider, named=False)
    assert "blank is empty in every training row: nothing is learnt from it" in wide.about["notes"]
    assert np.isfinite(
        wide.predict({**rows, "blank": [7.0, None, None]}).targets["label"].probabilities
    ).all()


@pytest.fixture(scope="module")
def thirds(place: Place) -> Any:
    """Three folds of twelve rows, of which one class has one row."""
    columns = taken({**table(12), "label": [*"aaaaaabbbbbc"]}, [3, 0, 11, 7, 6, 1, 9, 2, 10, 4, 8, 5])
    runs = tuple(place.fit(f"third{fold}", columns, fold=(fold, 3), split_seed=0) for fold in (1, 2, 3))
    blend = blend_of(place.folder, [Member("all", 1.0, runs)], RunRecord({}))
    (place.folder / "thirds").mkdir()
    judged = evaluate_blend(blend)
    judged.write_answers(RunFolder(place.folder / "thirds", place.folder / "thirds", -1))
    return columns, runs, judged, read_table(place.folder / "thirds" / "oof.parquet")


@pytest.mark.case("52", "a fold that trained without a class answers with all of them, and it is said")
def test_folds_have_all_classes(thirds: Any) -> None:
    _, runs, _, found = thirds
    held = next(run for run in runs if "c" in read_table(run.path / "validation.parquet").text("label"))
    fold = held.recipe.fold[0]
    assert f"label: fold {fold} trained without c" in held.about["notes"]
    assert len({run.encoding.classes["label"] for run in runs}) == 1
    sums = sum(found.numbers(f"label:{name}") for name in "abc")
    assert found.rows == 12 and sums == pytest.approx(np.ones(12))


def told_of(run: Any, columns: Columns) -> list[str]:
    notes: list[str] = []
    run.evaluate(columns, on_note=notes.append)
    return [one for one in notes if "trained on" in one]


@pytest.mark.case("N8", "who scores a run on the table of its training is told that the scores are too good")
def test_scores_of_rows_that_were_trained_on(thirds: Any, photos: Any) -> None:
    columns, runs, _, _ = thirds
    for rows in (columns, shuffled(columns)):
        assert told_of(runs[0], rows) == ["8 of 12 rows were trained on: their scores are too good"]
    assert told_of(runs[0], {**columns, "x": [5.5, *columns["x"][1:]]}) == []
    assert told_of(runs[0], {name: cells[:8] for name, cells in columns.items()}) == []
    run, folder = photos
    names = sorted(path.name for path in folder.iterdir())
    seen = {"id": names, "label": [run.encoding.classes["label"][0]] * len(names)}
    assert told_of(run, seen) == ["9 of 12 rows were trained on: their scores are too good"]


@pytest.mark.case("N8", "neighbour: a blend, whose members were trained on different rows of the table")
def test_scores_of_rows_that_members_were_trained_on(thirds: Any, place: Place) -> None:
    columns, runs, _, _ = thirds
    joined = blend_of(place.folder, [Member("all", 1.0, runs)], RunRecord({}))
    blend = NetworkEnsemble(**vars(joined))
    told = "members were trained on up to 8 of these 12 rows: scores are too good"
    assert told_of(blend, columns) == [told]


@pytest.mark.case("57", "held-out answers of folds stand in the order of the table, each row once")
def test_held_out_rows_of_folds_are_in_the_order_of_the_table(thirds: Any) -> None:
    columns, runs, judged, found = thirds
    assert found.text("id").tolist() == columns["id"] and found.text("label").tolist() == columns["label"]
    assert found.numbers("row").tolist() == list(range(12)) and set(found.numbers("fold")) == {1, 2, 3}
    for run in runs:
        own = read_table(run.path / "validation.parquet")
        rows = own.numbers("row").astype(int)
        assert (found.numbers("fold")[rows] == run.recipe.fold[0]).all()
        assert found.numbers("label:a")[rows] == pytest.approx(own.numbers("label:a"))
    wrong = found.text("label") != found.text("label:predicted")
    assert judged.scores["label"]["error_rate"] == pytest.approx(wrong.mean())


@pytest.mark.case("57", "neighbour: a filtered frame, whose index does not count from 0")
def test_the_index_of_a_frame_is_no_row_number(place: Place) -> None:
    # Arrow's filter leaves pieces with places of their own, as the index of any filtered frame.
    frame = pa.table(table(24)).slice(4)
    frame = frame.filter(pa.array([row % 3 > 0 for row in range(20)]))
    run = place.fit("frame", frame)
    held = read_table(run.path / "validation.parquet")
    rows = held.numbers("row").astype(int)
    for name in ("id", "label"):
        assert held.text(name).tolist() == [frame[name].to_pylist()[row] for row in rows]


@pytest.mark.case("53", "a picture that cannot be read stops by name, or leaves its own row empty")
def test_a_bad_picture_stays_in_its_row(photos: Any, tmp_path: Path) -> None:
    run, folder = photos
    shutil.copytree(folder, tmp_path / "photos")
    ids = [f"{row:04d}.png" for row in range(10)]
    for name, cut in ((ids[4], 40), (ids[6], 0)):
        path = tmp_path / "photos" / name
        path.write_bytes(path.read_bytes()[:cut]) if cut else path.unlink()
    folders = {"id": str(tmp_path / "photos")}
    with pytest.raises(ImageError) as caught:
        run.predict({"id": ids}, reading=Reading(folders=folders))
    assert ids[4] in str(caught.value) and ids[6] in str(caught.value)
    found = run.predict({"id": ids}, reading=Reading(folders=folders, skip_bad=True))
    assert list(found.ids) == ids and np.flatnonzero(found.failed).tolist() == [4, 6]
    whole = run.predict({"id": ids}, reading=Reading(folders={"id": str(folder)}))
    good = np.flatnonzero(~found.failed)
    # neighbour: the others have the answers that they have without it.
    assert (found.targets["label"].probabilities[good] == whole.targets["label"].probabilities[good]).all()


@pytest.mark.case("54", "answers are joined to a sample by id; what does not meet is named")
def test_answers_are_joined_by_id(tmp_path: Path) -> None:
    like, out = tmp_path / "sample.csv", tmp_path / "out.csv"
    like.write_text("id,p\n2,0.5\n1,0.5\n")

    def answers(*ids: str) -> Predictions:
        target = TargetPrediction("number", (), None, np.arange(len(ids)) / 4 + 0.5)
        return Predictions(np.array(ids, dtype=object), {"p": target}, np.zeros(len(ids), dtype=bool))

    assert write_submission(out, answers("1", "2"), like=like) == ()
    assert out.read_text() == "id,p\n2,0.75\n1,0.5\n"
    (note,) = write_submission(out, answers("3", "2", "1"), like=like)
    assert "not in sample.csv: 3" in note and out.read_text() == "id,p\n2,0.75\n1,1.0\n"
    with pytest.raises(OutputError, match="id '2' is not among the predicted rows"):
        write_submission(out, answers("1", "3"), like=like)
    with pytest.raises(OutputError, match="id '1' is there 1 times in the sample, and 2 times"):
        write_submission(out, answers("1", "1", "2"), like=like)


@pytest.mark.case("58", "a class that only held-out rows have is named, and counts as wrong")
def test_a_class_of_the_held_out_rows_alone(place: Place) -> None:
    columns = table(40)
    columns["label"] = ["z" if row == 3 else label for row, label in enumerate(columns["label"])]
    run = place.fit("lonely", columns, split="part")
    assert "label: class z occurs only in validation (1 row)" in run.about["notes"]
    assert "z" in run.encoding.classes["label"] and run.scores["label"]["scored"] == 20
    # neighbour: a target whose labels are all in held-out rows teaches nothing, and is refused.
    size = Schema(inputs=(X, Z), targets=(CategoryTarget(name="label"), NumberTarget(name="size")))
    columns["size"] = [
        one if part == "1" else None for one, part in zip(columns["size"], columns["part"], strict=True)
    ]
    with pytest.raises(TenfoldError, match="size"):
        place.fit("untaught", columns, schema=size, split="part")


@pytest.mark.case("59", "as many folds as were asked for, with even classes")
def test_folds_are_as_many_as_asked() -> None:
    labels = np.repeat(np.arange(8), 7)
    dealt = kfold(56, folds=8, seed=0, labels={"y": labels}, classes={"y": tuple("abcdefgh")}).fold
    counts = np.array([np.bincount(labels[dealt == fold], minlength=8) for fold in range(8)])
    assert set(dealt) == set(range(8)) and (counts.max(axis=0) - counts.min(axis=0) <= 1).all()
    # neighbour: fewer groups than folds are an error, never fewer folds.
    with pytest.raises(SplitError):
        kfold(
            56, folds=8, seed=0, labels={"y": labels}, groups=[np.array([str(row % 5) for row in range(56)])]
        )


# --- blends of ratings ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stars(place: Place) -> Any:
    """A run of ratings, and the table that it was fitted to."""
    rng = np.random.default_rng(0)
    rows: Columns = {
        "user": [f"u{row % 12}" for row in range(120)],
        "item": [f"i{(row * 7 + row // 12) % 20}" for row in range(120)],
        "rating": rng.integers(1, 6, 120).tolist(),
    }
    schema = Schema(
        inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
    )
    recipe = FactorRecipe(method="als", factors=2, epochs=3, valid=0.2)
    return tenfold.fit(schema, recipe, rows, run=place.folder / "stars"), rows


@pytest.mark.metamorphic("a blend of a run of ratings with itself is the run: predictions, lists and scores")
def test_a_blend_of_ratings_with_themselves_is_the_run(place: Place, stars: Any) -> None:
    run, rows = stars
    shutil.copytree(run.path, place.folder / "stars-copy")
    blend = place.blend(run, load_run(place.folder / "stars-copy"))
    assert blend.predict(rows).score == pytest.approx(run.predict(rows).score, abs=1e-6)
    assert list(blend.recommend(["u1"], n=5).items) == list(run.recommend(["u1"], n=5).items)
    own, mixed = (one.evaluate(rows) for one in (run, blend))
    assert mixed["rmse"] == pytest.approx(own["rmse"]) and mixed["baselines"] == own["baselines"]


@pytest.mark.case("P4", "neighbour: a blend of ratings whose members read other columns is refused")
def test_members_that_read_other_columns_are_refused(place: Place, stars: Any) -> None:
    run, rows = stars
    schema = Schema(
        inputs=(IdColumn(name="who"), IdColumn(name="what")), targets=(RatingTarget(name="rating"),)
    )
    named = {"who": rows["user"], "what": rows["item"], "rating": rows["rating"]}
    other = tenfold.fit(
        schema, FactorRecipe(method="als", factors=2, epochs=3), named, run=place.folder / "other-stars"
    )
    blend = place.blend(run, other)
    with pytest.raises(RunError, match="other users and items"):
        blend.predict({**named, "user": rows["user"][::-1], "item": rows["item"]})
    both = {**named, "user": rows["user"], "item": rows["item"]}
    assert np.isfinite(blend.predict(both).score).all()
