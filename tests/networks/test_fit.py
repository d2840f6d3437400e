"""A network run from a table to a folder and back, as a person would use it from Python."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import tenfold
from photos import QUICK, write_photo, write_photos, write_table
from tenfold.data.tables.table import read_parquet_columns
from tenfold.errors import ImageError, RunError, SchemaError, TrainingError
from tenfold.events import StepEnded
from tenfold.metrics import error_rate
from tenfold.networks.score import compare_to_linear
from tenfold.recipe import RatingNetworkRecipe, Recipe
from tenfold.runs.options import FitOptions, Machine, Reading
from tenfold.runs.registry import job_for
from tenfold.schema import (
    CategoryTarget,
    IdColumn,
    ImageColumn,
    NumberColumn,
    RatingTarget,
    Schema,
    UndecidedTarget,
)


def schema_of(folder: Path, *targets: str, **values: object) -> Schema:
    return Schema(
        inputs=(ImageColumn(name="id", folder=str(folder / "photos")),),
        targets=tuple(UndecidedTarget(name=name) for name in targets or ("label",)),
        **values,
    )


def quick(**values: object) -> Recipe:
    return Recipe(**{**QUICK.model_dump(), **values})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("trained")
    columns = write_photos(folder, 90)
    table = write_table(folder / "train.csv", columns)
    notes: list[str] = []
    run = tenfold.fit(
        schema_of(folder, "label", "size"), QUICK, table, run=folder / "run", on_note=notes.append
    )
    return folder, run, notes


def test_it_learns_what_can_be_learnt_and_no_more(trained) -> None:
    _, run, _ = trained
    assert run.scores["label"]["error_rate"] <= 0.06
    assert run.scores["label"]["majority_error_rate"] > 0.5
    assert 0.2 < run.scores["size"]["error_rate"] < 0.8  # a coin: the colour says nothing of it


def test_what_was_decided_is_said_once(trained) -> None:
    _, run, notes = trained
    text = "\n".join(notes)
    for part in ("label: 3 classes: bird, cat, dog", "72 train, 18 validation", "parameters", "device cpu"):
        assert text.count(part) == 1, part
    assert run.about["notes"] == notes


def test_validation_file_agrees_with_the_printed_scores(trained) -> None:
    _, run, _ = trained
    found = read_parquet_columns(run.path / "validation.parquet")
    assert len(found["id"]) == 18
    predicted, label = np.asarray(found["label:predicted"]), np.asarray(found["label"])
    assert error_rate(label, predicted) == run.scores["label"]["error_rate"]
    total = sum(np.asarray(found[f"label:{name}"], dtype=float) for name in ("bird", "cat", "dog"))
    assert total == pytest.approx(np.ones(18))


def test_the_run_folder_is_complete(trained) -> None:
    _, run, _ = trained
    names = {entry.name for entry in run.path.iterdir()}
    assert names == {
        "encoding.json", "history.jsonl", "recipe.toml", "report.html", "run.json", "schema.toml",
        "validation.parquet", "weights.safetensors",
    }  # fmt: skip
    assert len(run.history) == 8
    assert json.loads((run.path / "encoding.json").read_text())["mean"] == list(run.encoding.mean)


def test_one_answer_per_row_in_order_whatever_the_reading(trained, tmp_path: Path) -> None:
    folder, run, _ = trained
    order = [f"{number:04d}.png" for number in (7, 3, 50, 3, 11, 88, 0)]
    table = write_table(tmp_path / "test.csv", {"id": order})
    plain = run.predict(table)
    assert plain.ids.tolist() == order
    assert plain.targets["label"].values.tolist() == ["dog", "cat", "bird", "cat", "bird", "dog", "cat"]
    for reading in (Reading(workers=0), Reading(workers=4)):
        again = run.predict(table, reading=reading)
        assert np.array_equal(again.targets["label"].probabilities, plain.targets["label"].probabilities)
    # A row's answer does not depend on the rows beside it.
    alone = run.predict({"id": ["0050.png"]})
    assert np.array_equal(alone.targets["label"].probabilities[0], plain.targets["label"].probabilities[2])


def test_views_average_probabilities_and_one_view_is_the_plain_one(trained) -> None:
    _, run, _ = trained
    rows = {"id": ["0001.png", "0002.png"]}
    one, two = run.predict(rows, views=1), run.predict(rows, views=2)
    assert np.array_equal(
        one.targets["label"].probabilities, run.predict(rows).targets["label"].probabilities
    )
    assert two.targets["label"].probabilities.sum(1) == pytest.approx(np.ones(2))


def test_a_folder_of_pictures_needs_no_labels(trained, tmp_path: Path) -> None:
    _, run, _ = trained
    for number, label in enumerate(("dog", "cat", "bird")):
        write_photo(tmp_path / "new" / f"{number}.png", label, 500 + number)
    write_photo(tmp_path / "new" / "sub" / "3.png", "cat", 504)
    for name in (".DS_Store", "Thumbs.db", "._a.png"):
        (tmp_path / "new" / name).write_bytes(b"x")
    found = run.predict(tmp_path / "new")
    assert found.ids.tolist() == ["0.png", "1.png", "2.png", "sub/3.png"]
    assert found.targets["label"].values.tolist() == ["dog", "cat", "bird", "cat"]


def test_trouble_in_one_row_stays_in_that_row(trained, tmp_path: Path) -> None:
    folder, run, _ = trained
    names = [f"{number:04d}.png" for number in range(10)]
    for name in names:
        (tmp_path / name).write_bytes((folder / "photos" / name).read_bytes())
    (tmp_path / names[3]).write_bytes((tmp_path / names[3]).read_bytes()[:200])
    (tmp_path / names[6]).unlink()
    table = write_table(tmp_path / "test.csv", {"id": names})
    folders = {"id": str(tmp_path)}
    with pytest.raises(ImageError) as raised:
        run.predict(table, reading=Reading(folders=folders))
    assert "line 5" in str(raised.value) and "line 8" in str(raised.value)
    found = run.predict(table, reading=Reading(folders=folders, skip_bad=True))
    whole = run.predict({"id": names})
    assert np.flatnonzero(found.failed).tolist() == [3, 6]
    good = [row for row in range(10) if row not in (3, 6)]
    for row in good:
        assert np.array_equal(
            found.targets["label"].probabilities[row], whole.targets["label"].probabilities[row]
        )
    assert found.targets["label"].values[3] == "" and np.isnan(found.targets["label"].probabilities[3]).all()


def test_evaluate_counts_strangers_as_wrong_and_leaves_missing_out(trained, tmp_path: Path) -> None:
    _, run, _ = trained
    table = {
        "id": ["0000.png", "0001.png", "0002.png", "0003.png"],
        "label": ["cat", "dog", "fox", ""],
        "size": [""] * 4,
    }
    scores = run.evaluate(table)
    assert scores["rows"] == 4
    assert scores["targets"]["label"]["error_rate"] == pytest.approx(1 / 3)
    assert scores["targets"]["label"]["scored"] == 3
    assert np.isnan(scores["targets"]["size"]["error_rate"])


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 40)
    table = write_table(tmp_path / "train.csv", columns)
    weights = []
    for number, workers in enumerate((0, 3)):
        run = tenfold.fit(
            schema_of(tmp_path), quick(epochs=2, augment="light", dropout=0.2), table,
            run=tmp_path / f"run{number}", reading=Reading(workers=workers),
        )  # fmt: skip
        weights.append((run.path / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize("arch", ["test_convnext", "test_resnet"])
def test_the_plan_never_changes_the_answer(tmp_path: Path, arch: str) -> None:
    columns = write_photos(tmp_path, 60)
    table = write_table(tmp_path / "train.csv", {**columns, "size": [*columns["size"][:30], *[""] * 30]})
    states = []
    for micro_batch in (5, 64):
        run = tenfold.fit(
            schema_of(tmp_path, "label", "size"),
            quick(epochs=2, arch=arch, precision="float64", batch_size=64, dropout=0.3, drop_path=0.1),
            table,
            run=tmp_path / f"run{micro_batch}",
            machine=Machine(micro_batch=micro_batch),
        )
        states.append(load_file(run.path / "weights.safetensors"))
    assert states[0]["last.weight"].dtype == np.float64
    worst = max(float(np.abs(value - states[1][name]).max()) for name, value in states[0].items())
    assert worst < 1e-10


def test_missing_labels_train_the_other_target(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 36)
    colour = ["1" if number % 2 else "0" for number in range(36)]
    for row in (2, 9, 20):
        colour[row] = ""
    shape = ["round" if number % 3 else "square" for number in range(36)]
    shape[1] = ""
    table = write_table(tmp_path / "train.csv", {"id": columns["id"], "colour": colour, "shape": shape})
    notes: list[str] = []
    run = tenfold.fit(
        schema_of(tmp_path, "colour", "shape"),
        quick(epochs=1),
        table,
        run=tmp_path / "run",
        on_note=notes.append,
    )
    assert run.encoding.classes == {"colour": ("0", "1"), "shape": ("round", "square")}
    assert "colour: 3 of 36 labels missing" in notes
    assert set(run.predict(table).targets["colour"].values) <= {"0", "1"}


def test_edited_labels_and_pictures_are_noticed(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 24, ("cat", "dog"))
    table = write_table(tmp_path / "train.csv", columns)
    first = tenfold.fit(schema_of(tmp_path), quick(epochs=1), table, run=tmp_path / "run")
    assert first.encoding.classes["label"] == ("cat", "dog")
    stamp = os.stat(table)
    columns["label"][0] = "fox"
    write_table(table, columns)
    os.utime(table, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    second = tenfold.fit(schema_of(tmp_path), quick(epochs=1), table, run=tmp_path / "run")
    assert second.encoding.classes["label"] == ("cat", "dog", "fox")


def test_repeats_stay_on_one_side_and_contradictions_are_named(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 20, ("cat", "dog"))
    ids, labels = columns["id"] * 2, columns["label"] * 2
    ids.append("0000.png")
    labels.append("dog")
    table = write_table(tmp_path / "train.csv", {"id": ids, "label": labels})
    notes: list[str] = []
    run = tenfold.fit(schema_of(tmp_path), quick(epochs=1), table, run=tmp_path / "run", on_note=notes.append)
    text = "\n".join(notes)
    assert "more than once" in text and "0000.png: cat, dog" in text
    held = set(np.asarray(read_parquet_columns(run.path / "validation.parquet")["row"]).tolist())
    sides = {name: {row in held for row in range(41) if ids[row] == name} for name in set(ids)}
    assert all(len(side) == 1 for side in sides.values())


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 40)
    columns["sender"] = [str(number // 5) for number in range(40)]
    table = write_table(tmp_path / "train.csv", columns)
    run = tenfold.fit(schema_of(tmp_path, group=("sender",)), quick(epochs=1), table, run=tmp_path / "run")
    held = np.asarray(read_parquet_columns(run.path / "validation.parquet")["row"])
    assert len(held) and len(set(held // 5)) * 5 == len(held)


def test_the_table_may_state_the_split(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 30)
    columns["is_valid"] = ["1" if number >= 24 else "0" for number in range(30)]
    table = write_table(tmp_path / "train.csv", columns)
    run = tenfold.fit(schema_of(tmp_path, split="is_valid"), quick(epochs=1), table, run=tmp_path / "run")
    held = np.asarray(read_parquet_columns(run.path / "validation.parquet")["row"])
    assert held.tolist() == list(range(24, 30))


def test_balanced_weights_and_row_weights_run(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 30, ("cat", "cat", "cat", "dog"))
    columns["weight"] = [str(1 + number % 3) for number in range(30)]
    table = write_table(tmp_path / "train.csv", columns)
    run = tenfold.fit(
        schema_of(tmp_path, weight="weight"), quick(class_weights="balanced"), table, run=tmp_path / "run"
    )
    assert run.scores["label"]["error_rate"] <= 0.2


def test_nothing_held_out_is_allowed(tmp_path: Path) -> None:
    table = write_table(tmp_path / "train.csv", write_photos(tmp_path, 20))
    run = tenfold.fit(schema_of(tmp_path), quick(epochs=1, valid=0.0), table, run=tmp_path / "run")
    assert run.scores == {} and run.about["train_rows"] == 20


def test_every_bad_picture_is_named_before_training(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 30)
    (tmp_path / "photos" / "0007.png").write_bytes(b"")
    (tmp_path / "photos" / "0012.png").write_bytes(b"GIF87a nonsense")
    columns["id"][20] = "nowhere.png"
    table = write_table(tmp_path / "train.csv", columns)
    events: list[dict] = []
    with pytest.raises(ImageError) as raised:
        tenfold.fit(schema_of(tmp_path), QUICK, table, run=tmp_path / "run", on_progress=events.append)
    text = str(raised.value)
    assert "line 22" in text and "nowhere.png" in text
    assert not any(isinstance(event, StepEnded) for event in events)
    assert not list(tmp_path.glob("run*"))
    run = tenfold.fit(
        schema_of(tmp_path), quick(epochs=1), table, run=tmp_path / "run", reading=Reading(skip_bad=True)
    )
    assert run.about["rows"] == 27


@pytest.mark.parametrize(
    ("targets", "match"),
    [(("lable",), "did you mean 'label'"), (("empty",), "no label"), (("same",), "one class")],
)
def test_targets_that_cannot_be_learnt_are_refused(tmp_path: Path, targets: tuple, match: str) -> None:
    columns = {**write_photos(tmp_path, 12), "empty": [""] * 12, "same": ["x"] * 12}
    table = write_table(tmp_path / "train.csv", columns)
    with pytest.raises(SchemaError, match=match):
        tenfold.fit(schema_of(tmp_path, *targets), QUICK, table, run=tmp_path / "run")


def test_classes_can_be_given(tmp_path: Path) -> None:
    columns = write_photos(tmp_path, 20, ("cat", "dog"))
    table = write_table(tmp_path / "train.csv", columns)
    target = CategoryTarget(name="label", classes=("dog", "fox", "cat"))
    schema = Schema(inputs=schema_of(tmp_path).inputs, targets=(target,))
    run = tenfold.fit(schema, quick(epochs=1), table, run=tmp_path / "run")
    assert run.predict(table).targets["label"].probabilities.shape == (20, 3)
    narrow = CategoryTarget(name="label", classes=("dog", "fox"))
    with pytest.raises(SchemaError, match="'cat': 10 rows"):
        tenfold.fit(Schema(inputs=schema.inputs, targets=(narrow,)), QUICK, table, run=tmp_path / "other")


def test_a_rate_beyond_reason_ends_with_advice(tmp_path: Path) -> None:
    table = write_table(tmp_path / "train.csv", write_photos(tmp_path, 30))
    with pytest.raises(TrainingError, match="lower --lr"):
        tenfold.fit(schema_of(tmp_path), quick(lr=1e30, clip_norm=0.0), table, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume(tmp_path: Path) -> None:
    table = write_table(tmp_path / "train.csv", write_photos(tmp_path, 40))
    whole = tenfold.fit(schema_of(tmp_path), quick(epochs=3), table, run=tmp_path / "whole")

    def stop(event: dict) -> None:
        if isinstance(event, StepEnded) and event.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tenfold.fit(schema_of(tmp_path), quick(epochs=3), table, run=tmp_path / "run", on_progress=stop)
    with pytest.raises(RunError, match="recipe.batch_size: 16 -> 8"):
        tenfold.fit(
            schema_of(tmp_path), quick(epochs=3, batch_size=8), table, run=tmp_path / "run", resume=True
        )
    run = tenfold.fit(schema_of(tmp_path), quick(epochs=3), table, run=tmp_path / "run", resume=True)
    assert (run.path / "weights.safetensors").read_bytes() == (
        whole.path / "weights.safetensors"
    ).read_bytes()
    notes: list[str] = []
    again = tenfold.fit(
        schema_of(tmp_path), quick(epochs=3), table, run=tmp_path / "run", resume=True, on_note=notes.append
    )
    assert "finished already" in notes[-1] and again.path == run.path
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {"photos", "run", "train.csv", "whole", ".tenfold-runs.jsonl"}


def test_two_runs_leave_no_memory_behind(tmp_path: Path) -> None:
    import gc

    from tenfold.nn.network import Network

    def networks() -> int:
        gc.collect()
        return sum(type(thing) is Network for thing in gc.get_objects())

    before = networks()  # other tests of this process may keep runs that have answered
    table = write_table(tmp_path / "train.csv", write_photos(tmp_path, 24))
    for _ in range(2):
        tenfold.fit(schema_of(tmp_path), quick(epochs=1), table, run=tmp_path / "run")
    assert networks() <= before


def test_the_plan_of_two_columns_of_pictures_counts_two_backbones(tmp_path: Path) -> None:
    columns: dict[str, list[str]] = write_photos(tmp_path, 12)
    columns["other"] = columns["id"][::-1]
    folder = str(tmp_path / "photos")
    parts = []
    for names in (("id",), ("id", "other")):
        schema = Schema(
            inputs=tuple(ImageColumn(name=name, folder=folder) for name in names),
            targets=(CategoryTarget(name="label"),),
            id="id" if len(names) > 1 else None,
        )
        run = tenfold.fit(
            schema,
            quick(epochs=1),
            columns,
            run=tmp_path / f"run{len(names)}",
            # A CPU's memory is the host's: nothing is moved there, and a note says so.
            machine=Machine(budget="3GiB", offload=len(names) > 1),
        )
        told = any("offload saves nothing" in note for note in run.about["notes"])
        assert told == (len(names) > 1) and "offload" not in run.about["plan"]
        parts.append(run.about["plan"]["parts"])
        weights = load_file(run.path / "weights.safetensors")
        assert parts[-1]["weights"] >= sum(value.nbytes for value in weights.values()) * 0.99
    assert parts[1]["weights"] > 1.9 * parts[0]["weights"]


def test_every_training_counts_its_peak_memory_from_its_own_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr("tenfold.networks.fit.reset_peak", lambda device: begun.append(device.type))
    monkeypatch.setattr("tenfold.networks.fit.peak_bytes", lambda device: 7)
    cells = Schema(inputs=(NumberColumn(name="x"),), targets=(CategoryTarget(name="y"),))
    stars = Schema(inputs=(IdColumn(name="u"), IdColumn(name="i")), targets=(RatingTarget(name="r"),))
    options = FitOptions(machine=Machine(device="cpu"))
    for schema, recipe in ((cells, Recipe()), (stars, RatingNetworkRecipe())):
        with job_for(schema, recipe, {}, options).machine() as peak:
            assert peak() == 7
    assert begun == ["cpu", "cpu"]


def test_the_linear_layer_that_it_starts_from_is_told(tmp_path: Path) -> None:
    columns, notes = write_photos(tmp_path, 40), []
    recipe = quick(fit_head=True, frozen_epochs=0, epochs=1)
    run = tenfold.fit(schema_of(tmp_path), recipe, columns, run=tmp_path / "run", on_note=notes.append)
    floor = run.record.linear["label"]["error_rate"]
    assert any(f"a linear layer on frozen features: {floor:.1%} wrong" in note for note in notes)
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "label, a linear layer on frozen features:" in page
    assert Recipe.from_toml((tmp_path / "run" / "recipe.toml").read_text()).fit_head is True
    assert any("BatchNorm layers, " in note for note in notes)
    # 32 training rows in batches of the recipe's size.
    steps = -(-32 // recipe.batch_size)
    assert any(note.startswith(f"{steps} optimizer steps of ") for note in notes)


def test_a_score_below_the_linear_layer_is_told() -> None:
    floor = {"a": {"error_rate": 0.25}, "b": {"micro_f1": 0.5}, "c": {"rmse": 2.0}, "d": {}}
    worse = {"a": {"error_rate": 0.3}, "b": {"micro_f1": 0.4}, "c": {"rmse": 1.0}, "d": {}}
    notes = compare_to_linear(floor, worse)
    words = "a: 30.0% wrong; a linear layer on frozen features: 25.0% wrong, which is better"
    assert notes[0].startswith(words)
    assert "which is better" in notes[1] and notes[2].endswith("RMSE 2") and len(notes) == 3


def test_an_earlier_epoch_that_was_clearly_better_is_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    table = {"x": draw.normal(size=60), "z": draw.normal(size=60), "y": draw.choice(["a", "b"], 60)}

    def notes(keep: str) -> list[str]:
        run = tenfold.fit(
            *(table, None),
            number=["x", "z"],
            target="y",
            run=tmp_path / keep,
            quiet=True,
            keep=keep,
            epochs=60,
            lr=0.03,
            dropout=0.0,
            body_dropout=0.0,
            weight_decay=0.0,
        )
        return [note for note in run.record.values["notes"] if "epoch" in note and "best" in note]

    # Labels at random: the more is learned by heart, the worse.
    (told,) = notes("last")
    assert "was better by mean" in told and told.endswith("--keep best keeps it")
    (kept,) = notes("best")
    assert kept.startswith("kept: epoch") and kept.split()[2].strip(",") == told.split()[1]
