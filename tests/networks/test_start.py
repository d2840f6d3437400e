"""A training that starts from a finished run begins where that one ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from photos import QUICK, write_photos
from tenfold.errors import RecipeError, RunError, WeightsError
from tenfold.networks import timing
from tenfold.runs.history import read_history
from tenfold.schema import CategoryTarget, CountTarget, ImageColumn, NumberTarget, Schema

#: Steps so small that a network answers as it began.
STILL = {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0, "batch_size": 8, "augment": "off", "quiet": True}


def schema_of(folder: Path, *targets: Any) -> Schema:
    return Schema(inputs=[ImageColumn(name="id", folder=str(folder / "photos"))], targets=targets)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Any]:
    folder = tmp_path_factory.mktemp("start")
    columns: dict[str, Any] = {**write_photos(folder, 60), "weight": np.linspace(10, 50, 60)}
    columns["spots"] = np.arange(60) % 9
    targets = CategoryTarget(name="label"), NumberTarget(name="weight"), CountTarget(name="spots")
    schema = schema_of(folder, *targets)
    recipe = QUICK.model_copy(update={"epochs": 4})
    return folder, columns, tenfold.fit(schema, recipe, columns, run=folder / "runs/one", quiet=True)


def test_it_begins_with_the_answers_of_its_parent_whatever_the_labels_scale(parent: Any) -> None:
    folder, columns, one = parent
    known = one.predict(columns)
    # Other labels have another mean and deviation, and their order is another one.
    other = {**columns, "weight": columns["weight"][::-1] * 3 + 100, "spots": columns["spots"] * 5}
    two = tenfold.fit(one.schema, None, other, run=folder / "runs/two", start=str(one.path), **STILL)
    assert (two.recipe.arch, two.recipe.image_size) == (one.recipe.arch, one.recipe.image_size)
    again = two.predict(columns)
    assert np.allclose(again.targets["label"].probabilities, known.targets["label"].probabilities, atol=1e-4)
    for name in ("weight", "spots"):
        assert np.allclose(again.targets[name].values, known.targets[name].values, rtol=1e-3)
    assert any("3 of 3 classes of label are known" in note for note in two.record.values["notes"])
    lines = {line.run: line.parent for line in read_history(folder / "runs")}
    assert lines["two"] == "one"


def test_classes_are_kept_by_name_added_and_removed(parent: Any) -> None:
    folder, columns, one = parent
    known = one.predict(columns).targets["label"]
    names = known.classes
    # The first class is gone, a new one stands before the others.
    relabelled = [f"aaa {names[0]}" if label == names[0] else label for label in columns["label"]]
    table = {"id": columns["id"], "label": relabelled}
    two = tenfold.fit(
        schema_of(folder, CategoryTarget(name="label")),
        *(None, table),
        run=folder / "runs/three",
        start=str(one.path),
        **STILL,
    )
    answer = two.predict(columns).targets["label"]
    assert answer.classes == (f"aaa {names[0]}", *names[1:])
    assert known.probabilities is not None and answer.probabilities is not None
    odds = [
        np.log(chances[:, -1] / chances[:, -2]) for chances in (known.probabilities, answer.probabilities)
    ]
    assert np.allclose(*odds, atol=1e-3)
    (note,) = [note for note in two.record.values["notes"] if "classes of label are known" in note]
    assert f"new: aaa {names[0]}" in note and f"no longer there: {names[0]}" in note


@pytest.mark.metamorphic(
    "classes that a table spells in another form of Unicode, or as 1.0 for 1, keep their rows"
)
def test_a_class_in_another_form_is_the_same_class(parent: Any) -> None:
    folder, columns, one = parent
    schema = schema_of(folder, CategoryTarget(name="label"))
    own = {"start": str(one.path), **STILL}
    names = dict(zip(one.predict(columns).targets["label"].classes, ("1", "cafe\u0301", "3"), strict=True))
    first = {"id": columns["id"], "label": [names[label] for label in columns["label"]]}
    base = tenfold.fit(schema, None, first, run=folder / "runs/forms", **{**own, "lr": 1e-3})
    again = {"1": "1.0", "cafe\u0301": "caf\u00e9", "3": "3.0"}
    table = {"id": columns["id"], "label": [again[label] for label in first["label"]]}
    two = tenfold.fit(schema, None, table, run=folder / "runs/formed", **{**own, "start": str(base.path)})
    (note,) = [note for note in two.record.values["notes"] if "classes of label are known" in note]
    assert note.endswith("3 of 3 classes of label are known")
    was, now = (run.predict(columns).targets["label"] for run in (base, two))
    assert [again[name] for name in was.classes] == [*now.classes]
    assert np.allclose(was.probabilities, now.probabilities, atol=1e-4)
    # Another case may be another class: it starts anew, and that is said.
    loud = {"id": columns["id"], "label": [label.upper() for label in columns["label"]]}
    three = tenfold.fit(schema, None, loud, run=folder / "runs/loud", **own)
    said = " ".join(three.record.values["notes"])
    assert "0 of 3 classes" in said and "are not taken for each other" in said


def test_it_learns_on(parent: Any) -> None:
    folder, columns, one = parent
    wider = {name: values for name, values in columns.items() if name in ("id", "label")}
    run = tenfold.fit(
        schema_of(folder, CategoryTarget(name="label")),
        *(None, wider),
        run=folder / "runs/four",
        start=str(one.path),
        epochs=2,
        quiet=True,
    )
    assert run.scores["label"]["log_loss"] <= one.scores["label"]["log_loss"] + 0.05
    assert run.recipe.batchnorm_group == "frozen" and run.recipe.lr == 1e-3


def test_what_cannot_be_gone_on_from_is_refused(parent: Any, tmp_path: Path) -> None:
    folder, columns, one = parent
    own = {"run": tmp_path / "run", "quiet": True}
    with pytest.raises(RunError, match="lost"):
        tenfold.fit(one.schema, None, columns, start=str(folder / "runs/lost"), **own)
    with pytest.raises(RecipeError, match="say two things"):
        tenfold.fit(one.schema, None, columns, start=str(one.path), weights="none", **own)
    with pytest.raises(RecipeError, match="no input column in common"):
        tenfold.fit(
            {"x": [1.0, 2.0] * 9, "y": [1.0, 2.0] * 9},
            number="x",
            target="y:number",
            start=str(one.path),
            **own,
        )
    with pytest.raises(WeightsError, match="of another architecture") as refused:
        tenfold.fit(one.schema, None, columns, start=str(one.path), arch="test_vit", image_size=32, **own)
    assert one.recipe.arch in refused.value.labels["fix"]
    assert not (tmp_path / "run").exists()


def test_a_limit_of_time_leaves_its_identity_as_it_is(parent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, columns, one = parent
    monkeypatch.setattr(timing, "time_rows", lambda *_: timing.RowSeconds(1.0, 0.0))
    options: dict[str, Any] = {**STILL, "start": str(one.path)}
    del options["epochs"]
    # 48 rows of a second each.
    limited = tenfold.fit(one.schema, None, columns, run=folder / "runs/five", time_limit=80, **options)
    assert limited.recipe.epochs == 1
    again = tenfold.fit(one.schema, None, columns, run=folder / "runs/six", epochs=1, **options)
    assert limited.record.identity == again.record.identity
    assert (limited.path / "weights.safetensors").read_bytes() == (
        again.path / "weights.safetensors"
    ).read_bytes()


# --- tables ------------------------------------------------------------------------------------------

#: Steps so small that a network of a table answers as it began.
STILL_TABLE = {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0, "quiet": True, "report": False}


def passengers(rows: int = 90) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "port": rng.choice(["north", "south", "east"], rows).tolist(),
        "age": rng.normal(40, 12, rows).round(1),
        "fare": rng.exponential(30, rows).round(2),
        "held": [int(row % 5 == 0) for row in range(rows)],
    }
    likely = (columns["age"] > 40) ^ (np.array(columns["port"]) == "east")
    columns["lived"] = np.where(likely, "yes", "no").tolist()
    return columns


#: How the columns of the parent are named.
NAMED: dict[str, Any] = {"category": ["port"], "number": ["age", "fare"], "target": "lived", "split": "held"}


@pytest.fixture(scope="module", params=["mlp", "linear"])
def table(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Any]:
    folder = tmp_path_factory.mktemp("tables")
    columns = passengers()
    run = tenfold.fit(
        *(columns,),
        **NAMED,
        run=folder / "runs/one",
        epochs=6,
        seed=3,
        body=request.param,
        hidden=(8, 6),
        quiet=True,
        report=False,
    )
    return folder, columns, run


def begun(parent: Any, columns: dict[str, Any], name: str, **changes: Any) -> Any:
    folder, _, one = parent
    words = {**NAMED, **STILL_TABLE, **changes}
    start = words.pop("start", str(one.path))
    return tenfold.fit(columns, **words, run=folder / f"runs/{name}", start=start)


def chances(run: Any, columns: dict[str, Any], among: tuple[str, ...] = ()) -> np.ndarray:
    answer = run.predict(columns).targets["lived"]
    assert answer.probabilities is not None
    kept = answer.probabilities[:, [list(answer.classes).index(word) for word in among or answer.classes]]
    return kept / kept.sum(axis=1, keepdims=True)


def test_a_table_begins_with_the_answers_of_its_parent(table: Any) -> None:
    folder, columns, one = table
    # Other rows, in another scale and order of columns, with new values, gaps, a column and a class more.
    rng = np.random.default_rng(1)
    other = passengers(60)
    other["age"] = other["age"] + 7.0
    other["age"][3] = np.nan
    other["port"][:8] = ["west"] * 4 + ["", "only held out", "zzz", ""]
    other["berth"] = rng.choice(["up", "low"], 60).tolist()
    other["weight"] = rng.normal(70, 9, 60)
    other["lived"][:6] = ["unknown"] * 6
    changes = {"category": ["berth", "port"], "number": ["weight", "fare", "age"]}
    two = begun(table, other, "two", **changes)
    assert two.recipe.hidden == (8, 6) and two.recipe.body_for(two.schema) == one.recipe.body
    for rows in (other, {**columns, "berth": ["up"] * 90, "weight": [70.0] * 90}):
        np.testing.assert_allclose(chances(two, rows, ("no", "yes")), chances(one, rows), atol=1e-5)
    # Values of the parent that are not in this table are still known.
    less = {name: list(values) for name, values in columns.items()}
    less["port"] = ["north" if port == "east" else port for port in less["port"]]
    three = begun(table, less, "three")
    np.testing.assert_allclose(chances(three, columns), chances(one, columns), atol=1e-5)
    notes = "\n".join(two.record.notes)
    assert "does not know: berth, weight" in notes and "values that" in notes and "west, zzz" in notes
    assert "2 of 3 classes of lived are known; new: unknown" in notes
    lines = {line.run: line.parent for line in read_history(folder / "runs")}
    assert lines["two"] == "one"


def test_a_table_without_some_columns_keeps_the_others(table: Any) -> None:
    folder, columns, one = table
    two = begun(table, columns, "four", number=["age"])
    # A fare as the mean of the parent's training counts nothing there.
    mean = one.encoding.columns["fare"].mean
    without = {**columns, "fare": [mean] * len(columns["age"])}
    np.testing.assert_allclose(chances(two, columns), chances(one, without), atol=1e-5)
    assert any("had more columns: fare" in note for note in two.record.notes)


def test_it_goes_on_with_the_same_table(table: Any) -> None:
    folder, columns, one = table
    two = begun(table, columns, "five", start=str(one.path / "weights.safetensors"), epochs=20, lr=1e-3)
    assert two.recipe.start == str(one.path)
    assert not any("too good" in note for note in two.record.notes)
    assert two.scores["lived"]["log_loss"] <= one.scores["lived"]["log_loss"] + 0.05
    # With another split, rows that are scored now have trained the parent.
    other = {**columns, "held": [int(row % 5 == 1) for row in range(90)]}
    three = begun(table, other, "six")
    assert any(f"18 of 18 held-out rows trained {one.path}" in note for note in three.record.notes)


def test_columns_that_do_not_meet_are_refused_by_name(table: Any) -> None:
    folder, columns, one = table
    with pytest.raises(RecipeError, match="of other kinds here") as refused:
        begun(
            table, {**columns, "age": columns["age"].astype(str)}, "bad", category=["port", "age"], number=[]
        )
    assert "age is of kind category here, and of kind number in the run" in str(refused.value)
    with pytest.raises(RecipeError, match="no input column in common"):
        begun(table, {**columns, "other": columns["age"]}, "bad", category=[], number=["other"])
    body = "linear" if one.recipe.body == "mlp" else "mlp"
    with pytest.raises(RecipeError, match="its layers do not fit"):
        begun(table, columns, "bad", body=body)
    with pytest.raises(RecipeError, match="its layers do not fit"):
        begun(table, columns, "bad", embedding=7)
    if one.recipe.body == "mlp":
        with pytest.raises(RecipeError, match="its layers do not fit"):
            begun(table, columns, "bad", hidden=(9,))
    assert not (folder / "runs/bad").exists()


@pytest.mark.parametrize("edition", ["edition1", "edition2"])
def test_runs_of_every_edition_can_be_gone_on_from(edition: str, tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[1] / "golden" / edition
    kept = {
        file.parent.name
        for file in (source / "runs").glob("*/run.json")
        if '"kind": "network"' in file.read_text("utf-8")
    }
    assert {"table"} <= kept
    for name in sorted(kept):
        parent = tenfold.load_run(source / "runs" / name)
        schema = parent.schema
        images = [
            column.model_copy(update={"folder": str(source / "photos")}) if column.kind == "image" else column
            for column in schema.inputs
        ]
        schema = schema.model_copy(update={"inputs": tuple(images)})
        rows = source / ("photos.csv" if schema.images else "table.csv")
        run = tenfold.fit(schema, None, str(rows), run=tmp_path / name, start=str(parent.path), **STILL_TABLE)
        was, now = (one.predict(str(rows), reading=reading_of(source, schema)) for one in (parent, run))
        for target, answer in was.targets.items():
            if answer.probabilities is not None:
                assert answer.classes == now.targets[target].classes
                difference = np.abs(answer.probabilities - now.targets[target].probabilities).max()
                assert difference < 0.02, (name, target)


def reading_of(source: Path, schema: Schema) -> Any:
    return tenfold.Reading(folders={column.name: str(source / "photos") for column in schema.images})


def test_pictures_beside_columns_begin_as_their_parent(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photos: dict[str, Any] = {**write_photos(tmp_path, 24), "age": rng.normal(5, 2, 24)}
    words: dict[str, Any] = {"image": {"id": str(tmp_path / "photos")}, "target": "label", "seed": 1}
    quiet: dict[str, Any] = {"quiet": True, "report": False}
    choices: dict[str, Any] = {
        "arch": "test_resnet",
        "weights": "none",
        "image_size": 32,
        "epochs": 2,
        **quiet,
    }
    both = tenfold.fit(photos, **words, number="age", hidden=(8,), run=tmp_path / "runs/both", **choices)
    plain = tenfold.fit(photos, **words, run=tmp_path / "runs/plain", **choices)
    later = {**STILL, "start": str(both.path)}
    more = tenfold.fit(
        photos, **words, number="age", category="size", run=tmp_path / "runs/more", report=False, **later
    )
    # A run of pictures alone has a linear layer on their features, and so has what goes on from it.
    wider = tenfold.fit(
        *(photos,), **words, number="age", run=tmp_path / "runs/wider", report=False,
        **{**later, "start": str(plain.path)},
    )  # fmt: skip
    assert wider.recipe.body == "linear" and more.recipe.body_for(more.schema) == "mlp"
    for parent, child in ((both, more), (plain, wider)):
        known, answer = (run.predict(photos).targets["label"].probabilities for run in (parent, child))
        np.testing.assert_allclose(answer, known, atol=1e-4)
