"""The preset ``best``: its members, and the plan that a limit of time leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.ensembles import preset
from tenfold.ensembles.preset import EPOCHS, FAMILY, best_ensemble, train_best
from tenfold.ensembles.train import check_recipe
from tenfold.errors import RecipeError
from tenfold.members import expand
from tenfold.recipe import Recipe
from tenfold.runs.options import Machine, Reading
from tenfold.runs.registry import load_run
from tenfold.schema import CategoryTarget, IdColumn, ImageColumn, NumberColumn, RatingTarget, Schema

PHOTOS = Schema(inputs=[ImageColumn(name="id", folder="photos")], targets=[CategoryTarget(name="label")])
CELLS = Schema(inputs=[NumberColumn(name="x")], targets=[CategoryTarget(name="y")], split="held")


def test_photos_have_the_whole_family_in_folds_unless_an_architecture_is_given() -> None:
    how, members = check_recipe(best_ensemble(PHOTOS, Recipe(weights="package", flip="both"), "train.csv"))
    assert [(member.recipe.arch, member.recipe.image_size) for member in members] == [*FAMILY.items()]
    assert {(member.recipe.views, member.recipe.epochs) for member in members} == {(4, EPOCHS)}
    assert len(expand(members, how)) == 15 and len({member.recipe.split_seed for member in members}) == 1

    _, members = check_recipe(best_ensemble(PHOTOS, Recipe(arch="test_resnet", image_size=64), "train.csv"))
    assert [member.recipe.image_size for member in members] == [(64, 64), (96, 96)]
    _, members = check_recipe(best_ensemble(PHOTOS, Recipe(weights="mine.pth", epochs=3), "train.csv"))
    assert {(member.recipe.arch, member.recipe.epochs) for member in members} == {
        ("tf_efficientnet_lite0", 3)
    }
    how, members = check_recipe(best_ensemble(CELLS, Recipe(), "train.csv"))
    assert [member.recipe.hidden for member in members] == [*preset.BODIES] and how.folds == 0


def test_what_has_no_such_ensemble_is_refused() -> None:
    with pytest.raises(RecipeError, match="makes folds of its own"):
        best_ensemble(PHOTOS, Recipe(fold=(1, 5)), "train.csv")
    rated = Schema(
        inputs=[IdColumn(name="user"), IdColumn(name="item")], targets=[RatingTarget(name="stars")]
    )
    with pytest.raises(RecipeError, match="not for ratings"):
        best_ensemble(rated, Recipe(), "ratings.csv")


@pytest.mark.parametrize(
    "limit, trainings, epochs",
    # A member takes 10 s an epoch, and what is around it `OVERHEAD`.
    [
        (1e6, 15, EPOCHS),
        (15 * 190 / 0.8, 15, 17),
        (9 * 130 / 0.8, 9, 11),
        (3 * 120 / 0.8, 3, 10),
        (120, 1, 8),
    ],
)
def test_less_time_leaves_fewer_folds_then_fewer_members(
    limit: float, trainings: int, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: dict[str, Any], *_: object) -> dict[str, Any]:
        names = [member["name"] for member in request["members"]]
        return {"once": dict.fromkeys(names, 0.0), "epoch": dict.fromkeys(names, 10.0)}

    monkeypatch.setattr(preset, "ask", answer)
    file = best_ensemble(PHOTOS, Recipe(weights="package"), "train.csv")
    planned = preset._within(file, Recipe(), limit, Reading(), Machine(), lambda line: None)
    how, members = check_recipe(planned)
    assert (len(expand(members, how)), members[0].recipe.epochs) == (trainings, epochs)
    with pytest.raises(RecipeError, match="not even a single member fits"):
        preset._within(file, Recipe(), 15.0, Reading(), Machine(), lambda line: None)


def test_a_limited_ensemble_ends_in_a_run_and_goes_on_with_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    lines = ["x,y,held"] + [
        f"{x:.3f},{'ab'[int(x > 0)]},{int(n % 4 == 0)}" for n, x in enumerate(draw.normal(size=160))
    ]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    notes: list[str] = []
    options: dict[str, Any] = {"output": tmp_path / "best", "on_note": notes.append}
    recipe = Recipe(hidden=(8,), label_smoothing=0.0)
    made = train_best(CELLS, recipe, str(tmp_path / "train.csv"), time_limit=3600.0, **options)
    assert any("time limit: 1 members x 1 trainings" in note for note in notes)
    run = load_run(made.path)
    assert run.scores["y"]["error_rate"] < 0.35
    notes.clear()
    again = train_best(CELLS, recipe, str(tmp_path / "train.csv"), time_limit=30.0, **options)
    assert any("it goes on with these" in note for note in notes) and "nothing is left to do" in notes
    assert again.summary["members"] == made.summary["members"]
