"""The example is a recipe that passes every check that needs no data."""

from __future__ import annotations

from pathlib import Path

from tenfold.data.tables.jobfile import read_ensemble
from tenfold.ensembles.example import EXAMPLE
from tenfold.ensembles.train import check_recipe
from tenfold.nn.encoders import check_architecture


def test_the_example_has_the_members_of_the_lesson(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(EXAMPLE)
    how, members = check_recipe(read_ensemble(tmp_path / "recipe.toml"))
    assert how.blend == "weights" and len(members) == 8
    for member in members:
        check_architecture(member.recipe.arch)
    assert {member.recipe.arch.partition(".")[0] for member in members} == {
        "convnext_large",
        "vit_large_patch16_224",
        "swin_large_patch4_window7_224",
        "swinv2_large_window12_192",
    }
    weights = {member.weight for member in members if member.recipe.arch.startswith("vit")}
    assert weights == {2.0} and all(member.recipe.tta == 4 for member in members)
    assert (320, 224) in {member.recipe.image_size for member in members}
