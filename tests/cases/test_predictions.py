"""Kinds of fault reported in public: predictions, blends, ensembles and folds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold.data.table import read_parquet_columns, write_parquet
from tenfold.errors import RecipeError, RunError
from tenfold.jobs.blendruns import blend_runs
from tenfold.jobs.compare import compare_targets
from tenfold.jobs.inputs import Reading
from tenfold.jobs.predict import load_run
from tenfold.jobs.trials import Trial, Tuned
from tenfold.jobs.tune import tune
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, NumberColumn, NumberTarget, Schema
from tenfold.screen import show_compared
from tenfold.store.described import sealed
from tenfold.store.run import file_digest

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
            columns, _ = read_parquet_columns(path / "validation.parquet")
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
    found, _ = read_parquet_columns(blend.path / "oof.parquet")
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


# --- scores that are not defined -----------------------------------------------------------------------


def compared(columns: Columns, **changes: Any) -> Any:
    schema = Schema(
        inputs=(X, Z), targets=(CategoryTarget(name="label"), NumberTarget(name="size")), **changes
    )
    return compare_targets(schema, Recipe(epochs=1, seed=1), columns, folds=3)


@pytest.mark.case("folds", "a fold without a score leaves the mean of the others, and their number is said")
def test_the_mean_is_of_the_folds_that_have_a_score(capsys: pytest.CaptureFixture[str]) -> None:
    # By time, the last third has no size at all.
    columns = {**table(30), "when": [f"2020-01-{row + 1:02d}" for row in range(30)]}
    columns["size"] = [size if row < 20 else None for row, size in enumerate(columns["size"])]
    found = compared(columns, time="when").record()
    size, label = (found["targets"][name]["scores"] for name in ("size", "label"))
    there = [
        one["alone"]["rmse"]
        for one in found["targets"]["size"]["per_fold"]
        if one["alone"]["rmse"] == one["alone"]["rmse"]
    ]
    assert len(there) == 2 and size["rmse"]["alone"] == pytest.approx(np.mean(there))
    assert size["rmse"]["pairs"] == 2 and label["error_rate"]["pairs"] == 3
    assert size["rmse"]["together"] - size["rmse"]["alone"] == pytest.approx(size["rmse"]["difference"])
    show_compared(found)
    said = capsys.readouterr().out
    assert "nan" not in said and "size, RMSE: 2 of 3 pairs" in said


@pytest.mark.case("folds", "neighbour: seeds of a value that failed are not averaged away in a search")
def test_a_value_that_fails_with_one_seed_does_not_win() -> None:
    def trial(value: float, seed: int, score: float) -> Trial:
        return Trial(value, seed, score, {"y": {"rmse": score}}, 0.0, "" if score == score else "it failed")

    trials = [trial(1, 1, 0.5), trial(1, 2, 0.7), trial(2, 1, 0.1), trial(2, 2, float("nan"))]
    found = Tuned("lr", "y:rmse", False, 1, tuple(trials), 10, 5, 0.0)
    assert found.best == 1 and [one.mean for one in found.settings] == pytest.approx([0.6, 0.1])
    assert [one.defined for one in found.settings] == [2, 1]
    said = " ".join(found.verdict())
    assert "2 (1 of 2)" in said and "nan" not in said
    assert found.record()["settings"][1]["targets"]["y"]["rmse"] == pytest.approx(0.1)


@pytest.mark.case("monitor", "a score that the validation rows cannot have is refused before training")
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
