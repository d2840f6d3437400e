"""A target's own loss: the same as the kind's where it is the same function, exact however a batch is cut,
and refused where it could not be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import own_losses
import tenfold
from tenfold.errors import RunError, SchemaError
from tenfold.nn.heads import build_head
from tenfold.runs.folder import read_arrays
from tenfold.targets.base import TargetStats

Target = tenfold.NumberTarget


@pytest.fixture(scope="module")
def cells() -> dict[str, list[object]]:
    rng = np.random.default_rng(0)
    size = rng.normal(size=120)
    return {
        "size": size.tolist(),
        "weight": (100 + 20 * size + rng.exponential(10, 120)).tolist(),
        "kind": np.where(size > 0.5, "large", np.where(size > -0.5, "middle", "small")).tolist(),
    }


def fitted(cells: dict, target: object, folder: Path, **choices: object) -> tenfold.NetworkRun:
    choices = {"epochs": 3, "hidden": (8,), "precision": "float64", "label_smoothing": 0, **choices}
    return tenfold.fit(cells, number="size", target=target, run=folder, quiet=True, report=False, **choices)


def weights_of(run: tenfold.Run) -> dict[str, np.ndarray]:
    return read_arrays(run.path / "weights.safetensors")[0]


@pytest.mark.parametrize(
    ("plain", "own", "scale"),
    [
        ("weight:number", tenfold.NumberTarget(name="weight", loss=own_losses.square), True),
        ("kind:category", tenfold.CategoryTarget(name="kind", loss=own_losses.cross_entropy), False),
        ("kind:open", tenfold.OpenTarget(name="kind", loss=own_losses.questions), False),
        (
            "kind:ordered[small,middle,large]",
            tenfold.OrderedTarget(
                name="kind", classes=("small", "middle", "large"), loss=own_losses.cross_entropy
            ),
            False,
        ),
    ],
)
def test_an_own_loss_that_is_the_kinds_own_gives_the_kinds_own_losses(
    plain: str, own: object, scale: bool
) -> None:
    from tenfold.schema import parse_target

    usual = parse_target(plain)
    classes = ("small", "middle", "large") if not scale else ()
    stats = TargetStats(mean=3.0, deviation=2.0)
    heads = [build_head(target, classes, stats) for target in (usual, own)]
    raw = torch.randn(6, heads[0].outputs, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2]) if not scale else torch.randn(6, dtype=torch.float64)
    weights = torch.tensor([1.0, 2, 0, 1, 1, 1], dtype=torch.float64)
    if heads[0].wide:
        weights = weights[:, None].expand(6, 3)
    first, second = (head.loss_sum(raw, labels, weights) for head in heads)
    # A number's own loss is in the label's unit, and the kind's in deviations.
    torch.testing.assert_close(second, first * (stats.deviation**2 if scale else 1), rtol=1e-12, atol=1e-12)


def test_the_cut_into_micro_batches_does_not_matter(cells: dict, tmp_path: Path) -> None:
    target = Target(name="weight", loss=own_losses.pinball)
    whole, cut = (fitted(cells, target, tmp_path / str(size), micro_batch=size, lr=0.01) for size in (96, 5))
    for name, value in weights_of(whole).items():
        np.testing.assert_allclose(weights_of(cut)[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_pinball_loss_learns_a_quantile_and_is_kept_by_its_name(cells: dict, tmp_path: Path) -> None:
    target = Target(name="weight", loss=own_losses.pinball, metric=own_losses.median_error)
    run = fitted(cells, target, tmp_path / "run", epochs=60, lr=0.05, hidden=(16,))
    answers = run.predict(cells).targets["weight"].values
    assert 0.8 < (answers > np.array(cells["weight"])).mean() < 0.97
    assert 'loss = "own_losses:pinball"' in (tmp_path / "run" / "schema.toml").read_text()
    assert run.scores["weight"]["median_error"] > 0
    again = tenfold.load_run(tmp_path / "run", tenfold.NetworkRun)
    assert again.schema.targets[0].loss == "own_losses:pinball"
    assert run.evaluate(cells)["targets"]["weight"]["median_error"] > 0
    with pytest.raises(RunError, match="has no formulas"):
        run.explain()
    run.write_page(tmp_path / "page.html")


def test_a_run_is_asked_without_importing_what_it_names(
    cells: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    target = tenfold.CategoryTarget(name="kind", loss=own_losses.cross_entropy, metric=own_losses.wrong)
    run = fitted(cells, target, tmp_path / "run")
    assert run.scores["kind"]["wrong"] == pytest.approx(run.scores["kind"]["error_rate"])
    monkeypatch.delitem(sys.modules, "own_losses")
    again = tenfold.load_run(tmp_path / "run", tenfold.NetworkRun)
    scores = again.evaluate(cells)["targets"]["kind"]
    assert "own_losses" not in sys.modules and "wrong" not in scores and "error_rate" in scores


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (own_losses.averaged, r"returns \(\) for"),
        (own_losses.column, r"returns \(8, 1\) for 8 rows"),
        (own_losses.mixed, "another loss where other rows are beside it"),
        (own_losses.detached, "does not depend on the outputs"),
        (own_losses.arrays, "returns ndarray"),
        ("own_losses:no_such", "has no function"),
        ("no_such_module:loss", "cannot be imported"),
    ],
)
def test_a_loss_that_could_not_be_exact_is_refused_before_training(
    loss: object, said: str, cells: dict, tmp_path: Path
) -> None:
    with pytest.raises(SchemaError, match=said):
        fitted(cells, Target(name="weight", loss=loss), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_metric_returns_a_number_and_knows_no_weights(cells: dict, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="returns str, not a number"):
        fitted(cells, Target(name="weight", metric=own_losses.words), tmp_path / "run")
    weighted = {**cells, "counts": [1.0, 2.0] * 60}
    with pytest.raises(SchemaError, match="knows no weights"):
        tenfold.fit(
            weighted, number="size", target=Target(name="weight", metric=own_losses.median_error),
            weight="counts", run=tmp_path / "run", quiet=True,
        )  # fmt: skip


def test_the_text_of_a_target_may_name_a_loss() -> None:
    target = tenfold.api.columns.parse_targets(["weight:number[0,500,loss=own_losses:pinball]"])[0]
    assert target == Target(name="weight", low=0, high=500, loss=own_losses.pinball)
