"""A network leaves as a graph that answers as the run does, or it is refused and nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tenfold.cli.main import app
from tenfold.data.encode import ColumnStats, Encoding
from tenfold.errors import DependencyError, ImageError, OutputError, RecipeError, RunError
from tenfold.files import graph as graphs
from tenfold.files.graph import GraphOutput, finished_graph, largest_difference
from tenfold.networks import export as exporting
from tenfold.networks.export import graph_inputs, traced
from tenfold.networks.run import NetworkRun
from tenfold.nn.augment import Views
from tenfold.nn.graph import AnswerGraph
from tenfold.nn.network import build_network
from tenfold.recipe import Recipe
from tenfold.runs.options import ExportOptions, Reading
from tenfold.runs.registry import load_run
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    CountTarget,
    ImageColumn,
    MultiLabelTarget,
    NumberColumn,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
    Schema,
)
from tenfold.targets.base import TargetStats

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path_factory.mktemp("export") / "kept"))


def session_of(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def test_photos_of_any_size_are_answered_as_the_run_answers(
    kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(kept)
    done = CliRunner().invoke(app, ["export", "runs/photos", "-o", str(tmp_path / "photos.onnx"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["check"]["rows"] and told["check"]["largest_difference"] < 1e-5
    assert told["check"]["photos"] and told["check"]["photos_difference"] < 1e-5
    run, session = load_run("runs/photos"), session_of(tmp_path / "photos.onnx")
    rng = np.random.default_rng(3)
    for height, width in [(50, 70), (31, 33), (20, 90)]:
        photos = rng.integers(0, 256, (3, height, width, 3)).astype(np.uint8)
        made = session.run(["disease"], {"image_id": photos})[0]
        wanted = run.predict([Image.fromarray(photo) for photo in photos]).targets["disease"]
        np.testing.assert_allclose(made, wanted.probabilities, atol=1e-6)
    # The description is in the graph, too, and its checksum is the graph's.
    beside = json.loads((tmp_path / "photos.json").read_text("utf-8"))
    inside = json.loads(session.get_modelmeta().custom_metadata_map["tenfold"])
    assert (
        inside["outputs"]
        == beside["outputs"]
        == [{"name": "disease", "kind": "category", "classes": list(run.encoding.classes["disease"])}]
    )


def test_a_graph_for_pictures_of_the_networks_size(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept)
    run = load_run("runs/photos")
    told = run.export("new/small.onnx", resize=False)
    assert "photos" not in told["check"] and told["check"]["largest_difference"] < 1e-5
    height, width = run.encoding.image_size
    assert session_of(Path("new/small.onnx")).get_inputs()[0].shape == ["rows", height, width, 3]


def test_cells_are_texts_and_numbers_as_they_are(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept)
    run = load_run("runs/table")
    done = CliRunner().invoke(app, "export runs/table -o new/table.onnx --table table.csv -n 20".split())
    assert done.exit_code == 0 and "largest difference on 20 rows" in done.output, done.output
    session = session_of(Path("new/table.onnx"))
    farm, height = ["nowhere", run.encoding.columns["farm"].words[0], ""], [1.0, np.nan, 1e9]
    made = session.run(None, {"farm": np.array(farm, object), "height": np.array(height)})
    wanted = run.predict({"id": ["a", "b", "c"], "farm": farm, "height": ["1", "", "1e9"]})
    np.testing.assert_allclose(made[0], wanted.targets["label"].probabilities, atol=1e-6)
    np.testing.assert_allclose(made[1][:, 0], wanted.targets["yield"].values.astype(float), rtol=1e-6)


def test_what_a_graph_cannot_do_is_refused_by_name(
    kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(kept)
    run = load_run("runs/photos")
    with pytest.raises(OutputError, match=r"written as \.onnx"):
        run.export(tmp_path / "model.pt")
    with pytest.raises(RecipeError, match="4 random views"):
        run.export(tmp_path / "a.onnx", tta=4)
    with pytest.raises(ImageError):
        run.export(tmp_path / "a.onnx", reading=Reading(folders={"image_id": str(tmp_path)}))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match="onnxruntime"):
        run.export(tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_answers_otherwise_is_not_written(
    kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(kept)
    old = tmp_path / "old.onnx"
    old.write_bytes(b"old")
    whole = exporting.load_network

    def spoilt(run: NetworkRun) -> torch.nn.Module:
        network = whole(run)
        with torch.no_grad():
            network.last.bias[0] += 1e-3
        return network

    monkeypatch.setattr(exporting, "load_network", spoilt)
    with pytest.raises(RunError, match="differ from the run's"):
        load_run("runs/photos").export(old)
    assert old.read_bytes() == b"old" and not old.with_suffix(".json").exists()
    monkeypatch.setattr(exporting, "load_network", whole)
    monkeypatch.setattr(graphs, "LARGEST", 1000)
    with pytest.raises(RunError, match="1,000 at most"):
        load_run("runs/photos").export(old)
    assert old.read_bytes() == b"old"


#: Sizes at which random weights are traced, by architecture: every family of the tests and of the lesson.
FAMILIES = {
    "test_resnet": (48, 32),
    "test_efficientnet": (48, 32),
    "test_convnext": (64, 64),
    "test_vit": (160, 160),
    "test_vit3": (160, 160),
    "test_nfnet": (64, 64),
    "test_maxvit": (224, 224),
    "test_coatnet": (224, 224),
    "test_mambaout": (64, 64),
    "resnet18": (48, 32),
    "tf_efficientnet_lite0": (32, 64),
    "mobilenetv3_small_050": (48, 32),
    "swin_tiny_patch4_window7_224": (64, 64),
    "swinv2_tiny_window8_256": (64, 64),
    "vit_tiny_patch16_224": (32, 32),
    "convnext_atto": (32, 64),
}


def scramble(network: torch.nn.Module) -> None:
    """Random weights in every layer, so that nothing in a graph is 0 or the same for all rows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("last."):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
        for name, value in network.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)


SLOW = ("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "test_maxvit")


@pytest.mark.parametrize(
    "arch", [pytest.param(arch, marks=pytest.mark.slow) if arch in SLOW else arch for arch in FAMILIES]
)
def test_families_of_networks(arch: str) -> None:
    size = FAMILIES[arch]
    schema = Schema(inputs=(ImageColumn(name="photo", folder="."),), targets=(CategoryTarget(name="sort"),))
    encoding = Encoding(classes={"sort": ("a", "b", "c")}, image_size=size)
    recipe = Recipe(arch=arch, weights="none", image_size=size)
    network, _ = build_network(encoding, schema, recipe, fetch=False)
    scramble(network)
    graph = AnswerGraph(network.eval(), encoding, schema, Views(), None).eval()
    inputs = graph_inputs(schema, encoding, ExportOptions(resize=False))
    model = finished_graph(traced(graph, inputs, [GraphOutput("sort", "category")]), inputs, {})
    pixels = np.random.default_rng(0).integers(0, 256, (3, *size, 3)).astype(np.uint8)
    with torch.no_grad():
        wanted = graph(torch.from_numpy(pixels))[0].numpy()
    assert np.ptp(wanted, axis=1).min() > 0.01
    assert largest_difference(model, {"photo": pixels}, {"sort": wanted}) < 1e-5


@pytest.mark.parametrize("limit", [0.0, 2.0], ids=["not fitted", "fitted"])
def test_every_kind_of_target_and_column_with_temperatures(limit: float) -> None:
    words = ("a", "b", "c")
    schema = Schema(
        inputs=(CategoryColumn(name="job"), NumberColumn(name="age"), NumberColumn(name="same")),
        targets=(
            CategoryTarget(name="sort"),
            OrderedTarget(name="grade", classes=words),
            OpenTarget(name="bear"),
            MultiLabelTarget(name="tags"),
            NumberTarget(name="tall"),
            NumberTarget(name="share", low=0.0, high=1.0),
            CountTarget(name="visits"),
        ),
    )
    warm = TargetStats(temperature=2.5)
    ends = TargetStats(mean=0.4, deviation=0.2, low=-0.1, high=1.1)
    encoding = Encoding(
        classes=dict.fromkeys(("sort", "grade", "bear", "tags"), words),
        targets={
            **dict.fromkeys(("sort", "grade", "bear", "tags"), warm),
            "tall": TargetStats(mean=170.0, deviation=9.0),
            "share": ends,
            "visits": TargetStats(mean=3.0),
        },
        columns={
            "job": ColumnStats(words=("", "7", "smith")),
            "age": ColumnStats(mean=40.0, deviation=12.0, gaps=True),
            "same": ColumnStats(mean=1.0, deviation=0.0),
        },
    )
    network, _ = build_network(encoding, schema, Recipe(hidden=(8,)), fetch=False)
    scramble(network)
    doubt = network.familiar["2"]
    doubt.limit.fill_(limit)
    for value in (doubt.centres, doubt.whitener):
        value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    graph = AnswerGraph(network.eval(), encoding, schema, Views(), None).eval()
    inputs = graph_inputs(schema, encoding, ExportOptions())
    outputs = [GraphOutput(head.name, head.kind) for head in network.heads]
    model = finished_graph(traced(graph, inputs, outputs), inputs, {})
    rows = {"age": np.array([30.0, np.nan, 500.0]), "same": np.array([1.0, 2.0, np.nan])}
    codes = torch.tensor([2, 1, 0])
    with torch.no_grad():
        made = graph(codes, *(torch.from_numpy(values) for values in rows.values()))
        cells = torch.stack([torch.tensor([-10 / 12, 0.0, 6.0]), torch.tensor([0.0, 1.0, 0.0])], dim=1)
        plain = network.answers({"column0": codes, "column1": cells, "column2": torch.zeros(3, 2)})
    wanted = {head.name: head.calibrated(own.numpy()) for head, own in zip(network.heads, plain, strict=True)}
    for own, name in zip(made, wanted, strict=True):
        np.testing.assert_allclose(own.numpy(), wanted[name], rtol=1e-9, atol=1e-9)
    for word in ("7", "7.0"):  # as the run reads it
        feeds = {"job": np.array([word, "", "unheard of"], object), **rows}
        assert largest_difference(model, feeds, wanted) < 1e-6
