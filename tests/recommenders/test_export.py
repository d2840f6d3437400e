"""Recommenders leave as graphs that score as the run does, and as arrays with a documented formula."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from tenfold.cli.main import app
from tenfold.errors import RunError
from tenfold.files import scorers
from tenfold.recommenders import export as exporting
from tenfold.recommenders.run import RecommenderRun
from tenfold.runs.options import ExportOptions
from tenfold.runs.registry import load_run

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(GOLDEN, tmp_path_factory.mktemp("export") / "kept"))
    rng = np.random.default_rng(0)
    pairs = zip(rng.integers(0, 30, 300).tolist(), rng.integers(0, 12, 300).tolist(), strict=True)
    lines = ["user,item", *(f"u{u},m{i}" for u, i in sorted(set(pairs)) if (u + i) % 3)]
    (folder / "taken.csv").write_text("\n".join(lines))
    words = (
        f"fit {folder}/taken.csv --user user --item item --kind implicit -o {folder}/runs/ease --no-report"
    )
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, done.output
    return folder


def scores_of(path: Path, **feeds: object) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.array(value, object) for name, value in feeds.items()})[0]


@pytest.mark.parametrize("name", ["gibbs", "als", "sgd", "ratings_blend"])
def test_pairs_are_scored_as_the_run_scores_them(
    name: str, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kept)
    done = CliRunner().invoke(app, f"export runs/{name} -o new/{name}.onnx --json".split())
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["check"]["rows"] > 3 and told["check"]["largest_difference"] < 1e-5
    run = cast(RecommenderRun, load_run(f"runs/{name}"))
    users, items = [*run.interactions.users[:5], "nobody"], [*run.interactions.items[:5], "nothing"]
    wanted = run.predict_pairs(users, items).score
    made = scores_of(Path(f"new/{name}.onnx"), **dict(zip(told["inputs"], (users, items), strict=True)))
    np.testing.assert_allclose(made.ravel(), wanted, rtol=1e-6)


def test_the_documented_formula_gives_the_scores(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept)
    for name in ("gibbs", "sgd"):
        run = cast(RecommenderRun, load_run(f"runs/{name}"))
        run.export(f"new/{name}.onnx")
        with np.load(f"new/{name}.npz", allow_pickle=False) as kept_arrays:
            a = {key: kept_arrays[key] for key in kept_arrays.files}
        user = {word: row for row, word in enumerate(a["users"], start=1)}
        item = {word: row for row, word in enumerate(a["items"], start=1)}
        for u, i in [(str(a["users"][0]), str(a["items"][1])), ("nobody", str(a["items"][0]))]:
            row, column = user.get(u, 0), item.get(i, 0)
            z = float(a["mean"] + a["user_bias"][row] + a["item_bias"][column])
            z += float(a["user_factors"][row].astype(float) @ a["item_factors"][column].astype(float))
            if "sigmoid_range" in a:
                low, high = a["sigmoid_range"]
                z = low + (high - low) / (1 + np.exp(-z))
            score = np.clip(z, *a["scale"])
            assert score == pytest.approx(float(run.predict_pairs([u], [i]).score[0]), rel=1e-5)


def test_events_are_scored_for_lists(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept)
    run = cast(RecommenderRun, load_run("runs/ease"))
    told = run.export("new/ease.onnx")
    assert told["check"]["largest_difference"] < 1e-5
    items = json.loads(Path("new/ease.json").read_text("utf-8"))["items"]
    known = run.interactions
    taken = [str(known.items[i]) for i in known.seen_items[known.seen_start[3] : known.seen_start[4]]]
    # Given twice, in another order, with something unknown: it counts once.
    interest = scores_of(Path("new/ease.onnx"), item=[[*taken[::-1], taken[0], "nothing"]])[0]
    order = [items[i] for i in np.argsort(-interest, kind="stable") if items[i] not in taken]
    wanted = run.recommend([str(known.users[3])], n=5)
    assert order[:5] == list(map(str, wanted.items))
    events = load_run("runs/events").export("new/events.onnx")
    assert events["check"]["largest_difference"] < 1e-5


def test_what_answers_otherwise_is_not_written(
    kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(kept)
    whole = exporting.factor_tables

    def spoilt(scorer: object, weight: float = 1.0) -> scorers.FactorTables:
        tables = whole(scorer, weight)  # type: ignore[arg-type]
        tables.item_bias[1] += 0.01
        return tables

    monkeypatch.setattr(exporting, "factor_tables", spoilt)
    with pytest.raises(RunError, match="differ from the run's"):
        load_run("runs/gibbs").export(tmp_path / "a.onnx", ExportOptions(table="ratings.csv"))
    assert not list(tmp_path.iterdir())
