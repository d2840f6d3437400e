"""An ensemble leaves as a single graph, whatever sizes of pictures its members take."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from tenfold.ensembles.export import export_ensemble
from tenfold.ensembles.joined import blend_of
from tenfold.ensembles.networks import NetworkEnsemble
from tenfold.errors import RecipeError
from tenfold.networks.run import NetworkRun
from tenfold.runs.options import ExportOptions
from tenfold.runs.record import RunRecord
from tenfold.runs.registry import load_run
from tenfold.runs.run import Member

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path_factory.mktemp("export") / "kept"))


@pytest.mark.parametrize("name", ["blend", "ensemble"])
def test_members_answer_together(name: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept)
    told = load_run(f"runs/{name}").export(f"new/{name}.onnx", table="table.csv")
    assert told["check"]["rows"] == 32 and told["check"]["largest_difference"] < 1e-5
    assert told["outputs"] == ["label", "yield"]


def test_members_that_take_pictures_of_other_sizes(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept)
    first = cast(NetworkRun, load_run("runs/photos"))
    other = replace(
        first, encoding=first.encoding.model_copy(update={"image_size": (40, 56), "resize": "pad"})
    )
    members = [Member("one", 3.0, (first,)), Member("two", 1.0, (other,))]
    blend = blend_of(Path("blended"), members, RunRecord({}))
    told = export_ensemble(blend, "new/sizes.onnx", ExportOptions(table="photos.csv"))
    assert told["check"]["photos"] == 8 and told["check"]["photos_difference"] < 1e-5
    # A server's graphs, one of each member, answer as the layers do.
    photos = sorted(Path("photos").glob("*.png"))[:2]
    ensemble = NetworkEnsemble(**vars(blend))
    plain = ensemble.predict([*photos]).targets["disease"]
    ensemble.quicken("cpu")
    networks = [one.__dict__["_network"][1] for one in (first, other)]
    assert all(network.traced is not None for network in networks)
    quick = ensemble.predict([*photos]).targets["disease"]
    np.testing.assert_allclose(quick.probabilities, plain.probabilities, atol=1e-6)
    with pytest.raises(RecipeError, match="pictures of .* in different ways"):
        export_ensemble(blend, "new/none.onnx", ExportOptions(table="photos.csv", resize=False))
    assert not Path("new/none.onnx").exists()
