"""Ensembles: trained once, gone on with, changed in part; and what is refused before any of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from safetensors.torch import save_file

from photos import write_photos, write_table
from tenfold.data.tables.jobfile import EnsembleFile, read_ensemble
from tenfold.data.tables.table import read_table
from tenfold.ensembles.train import Finished, check_recipe, train_ensemble
from tenfold.errors import RecipeError, RunError, TrainingError
from tenfold.events import MembersChanged
from tenfold.runs.history import read_history
from tenfold.runs.registry import load_run

RECIPE = """\
table = "{folder}/train.csv"
[schema]
inputs = [{{ kind = "image", name = "id", folder = "{folder}/photos" }}]
targets = [{{ kind = "category", name = "label" }}, {{ kind = "category", name = "size" }}]
[ensemble]
{how}
[recipe]
weights = "none"
image_size = 32
batch_size = 8
epochs = 1
frozen_epochs = 0
lr = 1e-2
body_lr = 1.0
drop_path = 0
dropout = 0
tta = 1
{members}
"""
MEMBERS = """
[[member]]
name = "plain"
arch = "test_resnet"
[[member]]
name = "crop"
arch = "test_resnet"
resize = "crop"
item_size = "40x48"
weight = 3
"""


def write_recipe(
    folder: Path, how: str = "folds = 2\nblend = 'best'", members: str = MEMBERS
) -> EnsembleFile:
    (folder / "recipe.toml").write_text(RECIPE.format(folder=folder, how=how, members=members))
    return read_ensemble(folder / "recipe.toml")


def train(folder: Path, file: EnsembleFile, **options: Any) -> tuple[Finished, list[str], list[Any]]:
    notes: list[str] = []
    events: list[Any] = []
    found = train_ensemble(
        file, output=folder / "top", on_note=notes.append, on_progress=events.append, **options
    )
    return found, notes, events


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished, list[str], list[Any]]:
    folder = tmp_path_factory.mktemp("ensemble")
    write_table(folder / "train.csv", write_photos(folder, 24))
    return folder, *train(folder, write_recipe(folder))


def test_every_row_is_held_out_once_and_the_table_says_what_was_printed(trained: Any) -> None:
    folder, found, notes, _ = trained
    table = read_table(folder / "top" / "oof.parquet")
    assert table.text("id").tolist() == [f"{row:04d}.png" for row in range(24)]
    assert table.numbers("row").tolist() == list(range(24))
    assert np.bincount(table.numbers("fold").astype(int)).tolist() == [0, 12, 12]
    assert not found.failed and found.summary["rows"] == 24
    wrong = (table.text("label") != table.text("label:predicted")).mean()
    assert wrong == pytest.approx(found.summary["targets"]["label"]["error_rate"])
    chance = np.column_stack([table.numbers(f"label:{name}") for name in ("bird", "cat", "dog")])
    assert chance.sum(axis=1) == pytest.approx(np.ones(24))
    right = np.array([["bird", "cat", "dog"].index(name) for name in table.text("label")])
    loss = -np.log(chance[np.arange(24), right]).mean()
    assert loss == pytest.approx(found.summary["targets"]["label"]["log_loss"])
    assert {"label:cat@plain", "size:big@crop"} <= set(table.names)
    assert any("loss on rows that chose no weights" in note for note in notes)


def test_both_scores_all_ways_and_every_member_are_told(trained: Any) -> None:
    _, found, _, events = trained
    summary = found.summary
    assert set(summary["blends"]["label"]) == {"weights", "greedy", "convex"}
    stated = summary["blends"]["label"]["weights"]["weights"]
    assert stated == {"plain": 0.25, "crop": 0.75}
    assert set(summary["without_views"]) == {"label", "size"}
    for member in summary["members"]:
        assert member["status"] == "finished" and len(member["runs"]) == 2
        assert member["scores"]["label"]["scored"] == 24
        assert 0 < member["overhead_seconds"]
    stages = {row.status for event in events if isinstance(event, MembersChanged) for row in event.rows}
    assert stages == {"waiting", "running", "finished"}


def test_its_page_is_of_the_blend_and_its_members(trained: Any) -> None:
    folder, _, _, _ = trained
    page = (folder / "top" / "report.html").read_text("utf-8")
    assert "2 members (test_resnet)" in page and "greedy" in page and "data:image/" in page
    # The columns of members in the table of held-out rows are no classes.
    assert "cat@plain" not in page and "crop-fold2" in page
    about = json.loads((folder / "top" / "run.json").read_text("utf-8"))
    assert about["classes"] == {"label": ["bird", "cat", "dog"], "size": ["big", "small"]}
    assert (folder / "top" / about["table"]).exists()


def test_run_again_it_does_nothing(trained: Any) -> None:
    folder, found, _, _ = trained
    before = (folder / "top" / "run.json").read_bytes()
    again, notes, _ = train(folder, write_recipe(folder))
    assert again.summary["targets"] == json.loads(json.dumps(found.summary["targets"]))
    assert "nothing is left to do" in notes and (folder / "top" / "run.json").read_bytes() == before


def test_what_was_stopped_before_its_page_has_it_the_next_time(trained: Any) -> None:
    folder, _, _, _ = trained
    page = folder / "top" / "report.html"
    page.unlink()
    train(folder, write_recipe(folder))
    assert "Members" in page.read_text("utf-8")


def test_prediction_is_the_weighted_mean_of_the_members(trained: Any) -> None:
    folder, found, _, _ = trained
    blend = load_run(folder / "top")
    rows = {"id": ["0003.png", "0001.png", "0003.png"]}
    answers = blend.predict(rows, members=True).targets
    weights = found.summary["weights"]["label"]
    mean = sum(weights[name] * answers[f"label@{name}"].probabilities for name in weights)
    assert answers["label"].probabilities == pytest.approx(mean)
    # Drawn from the row's name: wherever it stands, whatever stands beside it.
    assert (answers["label"].probabilities[0] == answers["label"].probabilities[2]).all()
    scores = blend.evaluate(str(folder / "train.csv"))
    assert set(scores["members"]) == {"plain", "crop"} and scores["targets"]["label"]["scored"] == 24


def test_members_and_ensemble_are_in_the_history(trained: Any) -> None:
    folder, _, _, _ = trained
    assert [one.run for one in read_history(folder) if one.kind == "blend"] == ["top"]
    assert len(read_history(folder / "top" / "members")) >= 4


def copied(trained: Any, tmp_path: Path) -> Path:
    shutil.copytree(trained[0] / "top", tmp_path / "top")
    for name in ("train.csv", "photos"):
        source = trained[0] / name
        (tmp_path / name).symlink_to(source)
    return tmp_path


def test_a_changed_member_is_trained_again_alone(trained: Any, tmp_path: Path) -> None:
    folder = copied(trained, tmp_path)
    file = write_recipe(trained[0], members=MEMBERS.replace('resize = "crop"', 'resize = "pad"'))
    found, notes, _ = train(folder, file)
    assert "plain-fold1 has finished already" in notes
    assert 'crop-fold1 is trained again: resize: "crop" -> "pad"' in notes
    assert not found.failed and len(found.summary["members"]) == 2


def test_a_failed_member_is_reported_and_the_others_are_blended(trained: Any, tmp_path: Path) -> None:
    folder = copied(trained, tmp_path)
    for fold in (1, 2):
        damaged = folder / "top" / "members" / f"crop-fold{fold}" / "weights.safetensors"
        damaged.write_bytes(damaged.read_bytes()[:100])
    # A file where the run's folder is to be made stops that member and no other.
    shutil.rmtree(folder / "top" / "members" / "crop-fold2")
    (folder / "top" / "members" / "crop-fold2").write_text("in the way")
    found, notes, _ = train(folder, write_recipe(trained[0]))
    assert found.failed == ("crop",)
    assert any(note.startswith("crop-fold1 is trained again") and "damaged" in note for note in notes)
    assert any(note.startswith("crop-fold2 failed") and "is a file" in note for note in notes)
    blend = load_run(folder / "top")
    assert [member.name for member in blend.members] == ["plain"]


def test_a_member_that_changes_after_the_blend_is_found(trained: Any, tmp_path: Path) -> None:
    folder = copied(trained, tmp_path)
    shutil.rmtree(folder / "top" / "members" / "plain-fold2")
    with pytest.raises(RunError, match="lacks members"):
        load_run(folder / "top")


@pytest.mark.parametrize(
    ("how", "members", "said"),
    [
        ("fold = 3", MEMBERS, "did you mean 'folds'?"),
        ("folds = 1", MEMBERS, "folds = 1"),
        ("blend = 'greedy'", MEMBERS, "each has a split of its own"),
        ("", "[[member]]\narch = 'test_resnet'\nepoch = 3", "did you mean 'epochs'?"),
    ],
)
def test_faults_of_the_recipe_are_refused(tmp_path: Path, how: str, members: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_recipe(write_recipe(tmp_path, how, members))
    assert said in str(caught.value)


def test_all_that_is_wrong_is_told_before_anything_trains(trained: Any, tmp_path: Path) -> None:
    members = """
[[member]]
arch = "test_resnett"
[[member]]
arch = "test_vit"
image_size = 33
[[member]]
arch = "test_resnet"
weights = "nowhere.pth"
"""
    file = write_recipe(trained[0], "", members)
    with pytest.raises(RecipeError) as caught:
        train_ensemble(file, output=tmp_path / "top")
    text = str(caught.value)
    assert "did you mean 'test_resnet'?" in text and "refuses 33x33" in text and "nowhere.pth" in text
    assert not (tmp_path / "top" / "members").exists()


def test_wrong_columns_are_refused_likewise(trained: Any, tmp_path: Path) -> None:
    file = write_recipe(trained[0])
    schema = file.schema.model_dump()
    schema["targets"][0]["name"] = "lable"
    wrong = EnsembleFile(file.table, "", type(file.schema)(**schema), file.how, file.sections)
    with pytest.raises(RecipeError) as caught:
        train_ensemble(wrong, output=tmp_path / "top")
    assert "no column 'lable'" in str(caught.value) and "did you mean 'label'?" in str(caught.value)


def test_where_no_member_can_be_trained_there_is_no_blend(trained: Any, tmp_path: Path) -> None:
    file = write_recipe(trained[0], "", "[[member]]\narch = 'test_resnet'\nname = 'one'")
    (tmp_path / "top" / "members").mkdir(parents=True)
    (tmp_path / "top" / "run.json").write_text(json.dumps({"kind": "blend"}))
    (tmp_path / "top" / "members" / "one").write_text("in the way")
    with pytest.raises(TrainingError, match="no member could be trained"):
        train_ensemble(file, output=tmp_path / "top")


@pytest.mark.parametrize("jobs", ["0", "two", "-1", ""])
def test_members_at_once_are_a_number(tmp_path: Path, jobs: str) -> None:
    write_table(tmp_path / "train.csv", {"id": ["a"]})
    with pytest.raises(RecipeError, match="--jobs"):
        train_ensemble(write_recipe(tmp_path), output=tmp_path / "top", jobs=jobs)


def test_a_member_from_a_fitted_head_is_known_again(tmp_path: Path) -> None:
    """What follows from the number of its rows is no difference."""
    write_table(tmp_path / "train.csv", write_photos(tmp_path, 24))
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    members = f"""
[[member]]
name = "fitted"
arch = "test_resnet"
weights = "{tmp_path}/weights.safetensors"
"""
    file = write_recipe(tmp_path, how="", members=members)
    train(tmp_path, file)
    assert load_run(tmp_path / "top" / "members" / "fitted").recipe.batchnorm_group == "frozen"
    _, notes, _ = train(tmp_path, file)
    assert "fitted has finished already" in notes and "nothing is left to do" in notes
