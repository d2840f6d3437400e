"""Trainings on a Ray cluster of several nodes on this machine: the bytes that they have here."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from photos import write_photos, write_table
from tenfold.data.synthetic import draw_ratings
from tenfold.data.tables.jobfile import EnsembleFile, read_ensemble
from tenfold.ensembles.children import Needs
from tenfold.ensembles.cluster import RayTasks
from tenfold.ensembles.train import train_ensemble
from tenfold.errors import DependencyError, SchemaError
from tenfold.events import Event, MembersChanged
from tenfold.recipe import FactorRecipe, Recipe
from tenfold.runs.registry import load_run
from tenfold.schema import CategoryTarget, IdColumn, NumberColumn, RatingTarget, Schema
from tenfold.studies.compare import compare_targets
from tenfold.studies.search import search
from tenfold.studies.tune import tune

ray = pytest.importorskip("ray")
pytestmark = [
    # Ray's own threads and files end when they end.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(600),
]
RATINGS = Schema(
    inputs=(IdColumn(name="user"), IdColumn(name="item")), targets=(RatingTarget(name="rating"),)
)
STORE = {"object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    try:
        made = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE}
        )
        lost = [made.add_node(num_cpus=2, **STORE), made.add_node(num_cpus=2, **STORE)]
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        pytest.skip("this machine is so busy that Ray's nodes do not start within half a minute")
    made.lost = lost  # pyright: ignore[reportAttributeAccessIssue]
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cluster")
    write_table(made / "train.csv", write_photos(made, 24))
    found = draw_ratings(60, 40, 900, seed=4)
    write_table(made / "ratings.csv", {name: list(found[name]) for name in ("user", "item", "rating")})
    a = np.random.default_rng(0).normal(size=120).round(4)
    cells = {"a": list(a), "y": ["far" if abs(x) > 0.6 else "near" for x in a], "z": ["p", "q"] * 60}
    write_table(made / "cells.csv", cells)
    return made


RECIPE = """\
table = "{folder}/train.csv"
[schema]
inputs = [{{ kind = "image", name = "id", folder = "{folder}/photos" }}]
targets = [{{ kind = "category", name = "label" }}, {{ kind = "category", name = "size" }}]
[recipe]
arch = "test_resnet"
weights = "none"
image_size = 32
batch_size = 8
epochs = {epochs}
frozen_epochs = 0
[[member]]
name = "plain"
[[member]]
name = "crop"
resize = "crop"
item_size = "40x48"
"""


RATED = """\
table = "{folder}/ratings.csv"
[schema]
inputs = [{{ kind = "id", name = "user" }}, {{ kind = "id", name = "item" }}]
targets = [{{ kind = "rating", name = "rating" }}]
[recipe]
valid = 0.2
factors = 4
[[member]]
name = "long"
method = "gibbs"
sweeps = 3000
[[member]]
name = "short"
method = "als"
"""


def ensemble(folder: Path, text: str, epochs: int = 1) -> EnsembleFile:
    (folder / "recipe.toml").write_text(text.format(folder=folder, epochs=epochs))
    return read_ensemble(folder / "recipe.toml")


#: What tells when, how fast and how large, and nothing else.
MEASURED = ("finished", "seconds", "peak_bytes", "overhead_seconds", "sha256", "files", "plan", "notes")


#: Files that hold such figures.
TIMED = {"run.json", "report.html", "history.jsonl"}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(own) for name, own in value.items() if name not in MEASURED}
    return [plain(own) for own in value] if isinstance(value, list) else value


def same_runs(one: Path, two: Path) -> int:
    """Compare the folders of runs: all files but those that hold times, and the records without them."""
    runs = sorted(path.parent.relative_to(one) for path in one.glob("*/run.json"))
    assert runs == sorted(path.parent.relative_to(two) for path in two.glob("*/run.json")) and runs
    for run in runs:
        first, second = load_run(one / run), load_run(two / run)  # their sums are checked
        assert plain(dict(first.record.values)) == plain(dict(second.record.values))
        files = [{path.name for path in (folder / run).iterdir()} - TIMED for folder in (one, two)]
        assert files[0] == files[1]
        for name in files[0]:
            assert (one / run / name).read_bytes() == (two / run / name).read_bytes(), (run, name)
    return len(runs)


@pytest.mark.metamorphic(
    "members trained on other machines, one of which is lost, have the bytes of local ones"
)
@pytest.mark.parametrize(
    ("text", "begun"),
    [(RATED, "starting gibbs"), pytest.param(RECIPE, "epoch", marks=pytest.mark.slow)],
    ids=["ratings", "photos"],
)
def test_an_ensemble_on_nodes_of_which_one_is_lost_is_the_local_one(
    cluster: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, begun: str
) -> None:
    file = ensemble(folder, text, epochs=60)  # long enough to lose the node in the middle
    train_ensemble(file, output=tmp_path / "here")
    running = threading.Event()
    nodes: dict[str, str] = {}
    first: list[str] = []
    while len(cluster.lost) < 2:
        cluster.lost.append(cluster.add_node(num_cpus=2, **STORE))
    hear = RayTasks._hear

    def heard(self: RayTasks, name: str, line: dict[str, object]) -> None:
        hear(self, name, line)
        nodes.update({task.name: task.node for task in self.running.values()})

    def watch(event: Event) -> None:
        for row in event.rows if isinstance(event, MembersChanged) else ():
            if begun in row.stage and not running.is_set():
                first.append(row.member)
                running.set()

    def lose() -> None:
        running.wait(300)
        # The node that trains this member; the other one is left.
        gone = next(node for node in cluster.lost if node.node_id == nodes[first[0]])
        cluster.lost.remove(gone)
        cluster.remove_node(gone)

    monkeypatch.setattr(RayTasks, "_hear", heard)
    killer = threading.Thread(target=lose)
    killer.start()
    notes: list[str] = []
    done = train_ensemble(
        file, output=tmp_path / "there", on=cluster.address, on_progress=watch, on_note=notes.append
    )
    killer.join()
    assert done.failed == ()
    assert same_runs(tmp_path / "here" / "members", tmp_path / "there" / "members") == 2
    assert any("its node was lost, and it runs again" in note for note in notes)
    here, there = load_run(tmp_path / "here"), load_run(tmp_path / "there")
    assert here.scores == there.scores and there.record.values["table"] == file.table
    # A second time there is nothing to do.
    again: list[str] = []
    train_ensemble(file, output=tmp_path / "there", on=cluster.address, on_note=again.append)
    assert "nothing is left to do" in again


def test_the_trials_of_ratings_are_the_local_ones(cluster: Any, folder: Path) -> None:
    als, table = FactorRecipe(method="als", factors=4, epochs=3), str(folder / "ratings.csv")
    own = [tune("wd", RATINGS, als, table, values=(0.1,), repeats=2, on=on) for on in (None, cluster.address)]
    assert [(t.value, t.seed, t.score, t.targets) for t in own[0].trials] == [
        (t.value, t.seed, t.score, t.targets) for t in own[1].trials
    ]


@pytest.mark.slow
def test_a_search_and_a_comparison_of_networks(cluster: Any, folder: Path, tmp_path: Path) -> None:
    cells = Schema(inputs=(NumberColumn(name="a"),), targets=(CategoryTarget(name="y"),))
    recipe, table = Recipe(epochs=4, lr=0.02, hidden=(16,), seed=1), str(folder / "cells.csv")
    how: dict[str, Any] = {"trials": 8, "at_once": 4, "within": ["lr=1e-6:0.05"]}
    here = search(["lr"], cells, recipe, table, **how)
    there = search(["lr"], cells, recipe, table, on=cluster.address, **how)
    assert [(t.choices, t.status, repr(t.score), repr(t.targets)) for t in here.trials] == [
        (t.choices, t.status, repr(t.score), repr(t.targets)) for t in there.trials
    ]
    both = cells.model_copy(update={"targets": (*cells.targets, CategoryTarget(name="z"))})
    with_z: dict[str, Any] = {"of": ["y"], "folds": 2}
    recipe = Recipe(epochs=1, hidden=(8,))
    alone = compare_targets(both, recipe, table, runs=tmp_path / "here", **with_z)
    far = compare_targets(both, recipe, table, runs=tmp_path / "there", on=cluster.address, **with_z)
    assert alone.targets == far.targets
    assert same_runs(tmp_path / "here", tmp_path / "there") == 4


def test_what_goes_wrong_on_a_node_is_told(cluster: Any, tmp_path: Path) -> None:
    als, found = FactorRecipe(method="als", factors=4, epochs=3), draw_ratings(20, 10, 80, seed=1)
    drawn = {name: found[name] for name in ("user", "item", "rating")}
    with pytest.raises(SchemaError, match="a table in memory"):
        tune("wd", RATINGS, als, drawn, values=(0.1,), on=cluster.address)
    # The node's copy of the table is what is read there.
    from tenfold.ensembles.requests import FitRequest

    table = tmp_path / "bad.csv"
    table.write_text("user,item,rating\nu,i,3\nu,j,much\n")
    request = FitRequest(schema=RATINGS, table=str(table), recipe=als, run=str(tmp_path / "run"))
    with RayTasks(cluster.address, lambda name, event: None) as tasks:
        tasks.start("one", request.to_json(), tmp_path / "log", Needs(threads=1))
        ended = tasks.next_finished()
        assert ended is not None and "bad.csv" in ended.failure() and tasks.next_finished() is None
        tasks.start(
            "two", {**request.to_json(), "table": str(tmp_path / "none.csv")}, tmp_path / "log", Needs()
        )
        ended = tasks.next_finished()
        assert ended is not None and "cannot be sent" in ended.failure()
        token = tasks._token
    assert not list(Path(tempfile.gettempdir()).glob(f"tenfold-{token}-*"))


def test_without_a_cluster_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from tenfold.ensembles.cluster import _connect

    def refuse(**how: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nMore lines.")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(DependencyError, match="no Ray cluster answers at 'auto'") as caught:
        _connect("auto")
    assert caught.value.labels["found"] == "Could not find any running Ray instance."
    assert "RAY_AUTH_MODE" not in str(caught.value)
    with pytest.raises(DependencyError, match="RAY_AUTH_MODE=token"):
        _connect("ray://somewhere:10001")
