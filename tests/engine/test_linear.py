"""A linear layer on frozen features: as good as scikit-learn's, and where training starts from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from tenfold.engine import linear
from tenfold.engine.linear import fit_head, fit_linear
from tenfold.engine.train import Trained, fit_network
from tenfold.errors import RecipeError
from tenfold.nn.heads import build_head
from tenfold.nn.network import Network, build_network
from tenfold.recipe import Recipe, with_defaults_for
from tenfold.schema import CategoryTarget, NumberTarget
from tenfold.targets.base import TargetStats
from tenfold.values import MemoryPlan
from training import (
    KIND_CLASSES,
    SCHEMA,
    cells_schema,
    kinds_schema,
    make_encoding,
    make_examples,
    make_kinds,
    make_training,
)

RECIPE = Recipe(
    arch="test_efficientnet",
    weights="none",
    image_size=32,
    batch_size=16,
    epochs=1,
    frozen_epochs=0,
    fit_head=True,
)
CPU = torch.device("cpu")


def make_features(rows: int = 200, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    features = (rng.normal(size=(rows, width)) * [1, 10, 0.1, 1, 1, 1] + 3).astype(np.float32)
    noisy = (features[:, :3] - 3) / [1, 10, 0.1] + rng.normal(size=(rows, 3))
    return features, noisy.argmax(1)


@pytest.mark.parametrize("strength", [0.1, 0.003])
def test_the_weights_are_those_of_logistic_regression(
    monkeypatch: pytest.MonkeyPatch, strength: float
) -> None:
    monkeypatch.setattr(linear, "STRENGTHS", (strength,))
    features, labels = make_features()
    head = build_head(CategoryTarget(name="y"), ("a", "b", "c"), label_smoothing=0.1)
    found = fit_linear([head], features, {"y": labels}, {"y": np.ones(200)}, seed=0)
    scaled = (features - features.mean(0)) / features.std(0)
    model = LogisticRegression(C=1 / (strength * 200), max_iter=10_000, tol=1e-10).fit(scaled, labels)
    chance = torch.softmax(found.raw(features), 1).numpy()
    np.testing.assert_allclose(chance, model.predict_proba(scaled), atol=1e-3)


def test_a_number_is_fitted_by_ridge_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "STRENGTHS", (0.1,))
    features, _ = make_features()
    labels = features @ np.arange(6) + np.random.default_rng(2).normal(size=200)
    stats = TargetStats(mean=float(labels.mean()), deviation=float(labels.std()))
    head = build_head(NumberTarget(name="y"), (), stats)
    found = fit_linear([head], features, {"y": labels}, {"y": np.ones(200)}, seed=0)
    scaled = (features - features.mean(0)) / features.std(0)
    # The loss is the mean square and half the strength times the weights' squares.
    model = Ridge(alpha=0.05 * 200).fit(scaled, (labels - labels.mean()) / labels.std())
    np.testing.assert_allclose(found.raw(features)[:, 0].numpy(), model.predict(scaled), atol=1e-4)


def test_a_missing_label_and_a_constant_feature_count_nothing() -> None:
    features, labels = make_features()
    features[:, 5] = 7.0
    weights = np.ones(200)
    weights[::4] = 0.0
    other = np.where(weights > 0, labels, 2 - labels)
    head = build_head(CategoryTarget(name="y"), ("a", "b", "c"))
    one, two = (fit_linear([head], features, {"y": y}, {"y": weights}, seed=0) for y in (labels, other))
    assert torch.equal(one.weight, two.weight)
    assert torch.isfinite(one.weight).all()


def test_every_kind_of_target_is_fitted() -> None:
    recipe = RECIPE.model_copy(update={"weights": "none"})
    training = make_training(recipe, micro_batch=16, schema=kinds_schema())
    examples = make_kinds(60, missing=0.2)
    told: list[tuple[int, int]] = []
    fit_head(
        training.network,
        examples,
        np.arange(48),
        training.preparation,
        seed=0,
        workers=0,
        on_rows=lambda done, total: told.append((done, total)),
    )
    assert told == sorted(told) and told[-1] == (48, 48)
    assert torch.isfinite(training.network.last.weight).all()
    assert set(KIND_CLASSES) <= {head.name for head in training.network.heads}


def train(recipe: Recipe, epochs: int = 1) -> tuple[Network, Trained]:
    recipe = with_defaults_for(recipe.model_copy(update={"epochs": epochs}), SCHEMA)
    encoding = make_encoding(recipe)
    network, _ = build_network(encoding, SCHEMA, recipe, fetch=False)
    trained = fit_network(
        network,
        encoding,
        make_examples(60),
        train=np.arange(40),
        valid=np.arange(40, 60),
        recipe=recipe,
        plan=MemoryPlan(micro_batch=16, workers=0),
        device=CPU,
        precision="float32",
    )
    return network, trained


def test_training_starts_from_the_fitted_layer() -> None:
    still = replace_rate(RECIPE, 1e-12)
    frozen = still.model_copy(update={"batchnorm_group": "frozen"})
    network, trained = train(frozen)
    assert {"disease", "variety"} == trained.linear.keys()
    for name, scores in trained.linear.items():
        assert trained.history[0].valid[name]["log_loss"] == pytest.approx(scores["log_loss"], rel=1e-5)
    # Of the features as they are, whatever statistics training will have.
    assert train(still)[1].linear == trained.linear
    untrained, without = train(replace_rate(RECIPE.model_copy(update={"fit_head": False}), 1e-12))
    assert without.linear == {}
    assert float(network.last.weight.detach().abs().max()) > 1e-3
    assert float(untrained.last.weight.detach().abs().max()) < 1e-3


def replace_rate(recipe: Recipe, lr: float) -> Recipe:
    return Recipe(**{**recipe.model_dump(), "lr": lr, "fit_head": recipe.fit_head})


def test_when_the_head_is_fitted() -> None:
    pretrained = Recipe(weights="lite0.pth")
    assert with_defaults_for(pretrained, SCHEMA).fit_head is True
    assert with_defaults_for(pretrained, SCHEMA).frozen_epochs == 0
    for recipe in (Recipe(weights="none"), Recipe(weights="a.pth", frozen_epochs=2)):
        settled = with_defaults_for(recipe, SCHEMA)
        assert not settled.fit_head and settled.frozen_epochs == recipe.frozen_epochs
        assert "fit_head" not in settled.model_dump()
    assert not with_defaults_for(pretrained, cells_schema(pictures=True)).fit_head
    with pytest.raises(RecipeError, match="fit_head"):
        with_defaults_for(Recipe(fit_head=True, frozen_epochs=1), SCHEMA)
    once = with_defaults_for(pretrained, SCHEMA)
    assert with_defaults_for(once, SCHEMA) == once
    assert Recipe.from_toml(once.to_toml()).fit_head


def test_very_many_classes_are_fitted_without_inner_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = make_features()
    head = build_head(CategoryTarget(name="y"), ("a", "b", "c"))
    known = {"y": labels}, {"y": np.ones(200)}
    folds = fit_linear([head], features, *known, seed=0).strengths["y"]
    monkeypatch.setattr(linear, "MOST_PRODUCTS", 1000)
    assert folds < linear.USUAL_STRENGTH == fit_linear([head], features, *known, seed=0).strengths["y"]
    network, _ = train(RECIPE)
    monkeypatch.setattr(linear, "MOST_PRODUCTS", 3 * network.last.weight.numel())
    training = make_training(RECIPE, micro_batch=16)
    seen: list[int] = []
    plain = linear.kept_features

    def count(
        cache: None, network: Network, examples: object, rows: np.ndarray, *given: object, **more: object
    ) -> object:
        seen.append(len(rows))
        return plain(cache, network, examples, rows, *given, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(linear, "kept_features", count)
    fit_head(training.network, make_examples(60), np.arange(48), training.preparation, seed=0, workers=0)
    assert seen == [3]
