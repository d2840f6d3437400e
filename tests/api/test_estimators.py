"""scikit-learn's estimators: its own checks, its tools, and answers that are those of the run."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import tenfold
from tenfold.api.estimators import check_order
from tenfold.errors import LabelError, SchemaError, TenfoldError

pandas = pytest.importorskip("pandas")

#: scikit-learn's checks that cannot hold, and why.
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "rows are trained in batches: a row twice makes other batches than a row of weight 2"
    ),
}


@pytest.fixture(scope="module")
def passengers() -> pandas.DataFrame:
    return tenfold.sample("passengers", rows=300).to_frame()


@pytest.fixture(scope="module")
def fitted(passengers: pandas.DataFrame) -> tenfold.TableModel:
    X = passengers[["sex", "class", "age", "fare", "port"]]
    return tenfold.TableModel(epochs=10, lr=0.01).fit(X, passengers.survived)


# --- scikit-learn's own checks


@pytest.mark.parametrize("task", ["classification", pytest.param("regression", marks=pytest.mark.slow)])
def test_scikit_learns_own_checks_pass_but_for_those_named(task: str) -> None:
    model = tenfold.TableModel(task, epochs=12, lr=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(model, expected_failed_checks=EXPECTED, on_fail=None)
    failed = {one["check_name"]: one["exception"] for one in results if one["status"] == "failed"}
    assert failed == {}
    assert sum(one["status"] == "passed" for one in results) > 45
    assert {one["check_name"] for one in results if one["status"] == "xfail"} <= set(EXPECTED)


def test_the_models_say_what_they_are() -> None:
    assert is_classifier(tenfold.TableModel()) and is_regressor(tenfold.TableModel("regression"))
    assert is_classifier(tenfold.ImageClassifier()) and is_regressor(tenfold.Recommender())
    assert hasattr(tenfold.TableModel(), "predict_proba")
    assert not hasattr(tenfold.TableModel("regression"), "predict_proba")


@pytest.mark.parametrize("kind", [tenfold.TableModel, tenfold.ImageClassifier, tenfold.Recommender])
def test_parameters_come_and_go(kind: type) -> None:
    model = kind()
    for name, value in model.get_params().items():
        assert getattr(model, name) is value
    other = clone(model.set_params(random_state=7, quiet=False))
    assert other.random_state == 7 and other is not model and not hasattr(other, "run_")
    assert repr(other) == f"{kind.__name__}(quiet=False, random_state=7)"


# --- tables


def test_answers_are_those_of_the_run(fitted: tenfold.TableModel, passengers: pandas.DataFrame) -> None:
    X = passengers[["sex", "class", "age", "fare", "port"]]
    answer = fitted.run_.predict(X).targets["survived"]
    np.testing.assert_array_equal(fitted.predict(X), answer.values)
    order = [answer.classes.index(str(word)) for word in fitted.classes_]
    np.testing.assert_array_equal(fitted.predict_proba(X), answer.probabilities[:, order])
    assert fitted.score(X, passengers.survived) == (answer.values == passengers.survived).mean() > 0.8
    assert list(fitted.feature_names_in_) == list(X.columns) and fitted.n_features_in_ == 5


@pytest.mark.metamorphic(
    "an array and a frame of the same cells are joined by position, as scikit-learn does"
)
def test_frames_and_arrays_have_the_same_answers(
    fitted: tenfold.TableModel, passengers: pandas.DataFrame
) -> None:
    rows = passengers[["sex", "class", "age", "fare", "port"]][:20]
    wanted = fitted.predict_proba(rows)
    with pytest.warns(UserWarning, match="feature names"):
        np.testing.assert_array_equal(fitted.predict_proba(rows.to_numpy(object)), wanted)
    with pytest.raises(ValueError, match="same order"):
        fitted.predict(rows[["class", "sex", "age", "fare", "port"]])
    with pytest.raises(SchemaError, match="'sex' more than once"):
        fitted.predict(pandas.concat([rows, rows[["sex"]]], axis=1))
    # A column that is written in another way in every row is not answered in silence.
    with pytest.warns(UserWarning, match="no value of sex was seen in training, and all count as unknown"):
        fitted.predict(rows.assign(sex=rows.sex.str.upper()))


def test_labels_keep_their_type_and_their_order() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    for labels in (np.array([30, 4, -1]), np.array([True, False, True]), np.array(["b", " ", "a"])):
        y = labels[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)]
        model = tenfold.TableModel(epochs=2).fit(X, y)
        np.testing.assert_array_equal(model.classes_, np.unique(y))
        assert model.predict(X).dtype == y.dtype and set(model.predict(X)) <= set(y)
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_numbers_may_be_categories_and_texts_always_are() -> None:
    rng = np.random.default_rng(0)
    code = rng.integers(0, 6, 300)
    y = (code % 2).astype(str)
    as_numbers = tenfold.TableModel(epochs=10, lr=0.01).fit(code[:, None], y)
    as_words = clone(as_numbers).set_params(categories=[0]).fit(code[:, None], y)
    assert [column.kind for column in as_numbers.run_.schema.inputs] == ["number"]
    assert [column.kind for column in as_words.run_.schema.inputs] == ["category"]
    assert as_words.score(code[:, None], y) == 1
    with pytest.raises(SchemaError, match="categories names 'age'"):
        clone(as_numbers).set_params(categories=["age"]).fit(code[:, None], y)


def test_weights_count(passengers: pandas.DataFrame) -> None:
    X, y = np.zeros((60, 1)), np.array([0, 1] * 30)
    X[::2] += np.arange(30)[:, None] / 1000
    for favoured in (0, 1):
        weights = np.where(y == favoured, 50.0, 1.0)
        assert (
            tenfold.TableModel(epochs=5, lr=0.01).fit(X, y, weights).predict_proba(X)[:, favoured].mean()
            > 0.6
        )


def test_scikit_learns_tools(passengers: pandas.DataFrame) -> None:
    X, y = passengers[["sex", "age"]], passengers.survived
    scores = cross_val_score(tenfold.TableModel(epochs=8, lr=0.01), X, y, cv=2)
    assert scores.shape == (2,) and scores.min() > 0.6
    pipe = make_pipeline(
        FunctionTransformer(lambda frame: frame[["sex"]]), tenfold.TableModel(epochs=8, lr=0.01)
    )
    assert pipe.fit(X, y).score(X, y) > 0.6
    search = GridSearchCV(tenfold.TableModel(epochs=8), {"lr": [1e-6, 0.02]}, cv=2).fit(X, y)
    assert search.best_params_ == {"lr": 0.02} and hasattr(search.best_estimator_, "run_")


def test_copies_carry_the_run_and_clean_up_after_themselves(
    fitted: tenfold.TableModel, passengers: pandas.DataFrame
) -> None:
    import pickle

    X = passengers[["sex", "class", "age", "fare", "port"]]
    wanted = fitted.predict_proba(X)
    for copied in (lambda: pickle.loads(pickle.dumps(fitted)), lambda: copy.deepcopy(fitted)):
        other = copied()
        np.testing.assert_array_equal(other.predict_proba(X), wanted)
        folder = other.run_.path
        assert folder != fitted.run_.path and folder.is_dir()
        del other
        gc.collect()
        assert not folder.exists()


def test_a_given_folder_stays_with_a_report(tmp_path: Path, passengers: pandas.DataFrame) -> None:
    model = tenfold.TableModel(epochs=2, valid=0.2, run=tmp_path / "run")
    model.fit(passengers[["age"]], passengers.survived)
    del model
    gc.collect()
    run = tenfold.load_run(tmp_path / "run", tenfold.NetworkRun)
    assert (tmp_path / "run" / "report.html").exists() and run.scores["survived"]["scored"] == 60


def test_a_failed_fit_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(TenfoldError):
        tenfold.TableModel(recipe=tenfold.Recipe(weights="x.pth")).fit(np.zeros((9, 1)), [0, 1, 2] * 3)
    assert list(tmp_path.iterdir()) == []


def test_quiet_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = np.arange(20.0)[:, None], [0, 1] * 10
    tenfold.TableModel(epochs=1).fit(X, y)
    assert capsys.readouterr().err == ""
    tenfold.TableModel(epochs=1, quiet=False).fit(X, y)
    assert "\n  1  " in capsys.readouterr().err


def test_equal_seeds_give_equal_answers_and_others_do_not() -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = X[:, 0] > 0
    first, again, other = (
        tenfold.TableModel(epochs=2, random_state=seed).fit(X, y).predict_proba(X) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (tenfold.TableModel("classify"), "task = 'classify'"),
        (tenfold.TableModel(recipe=tenfold.Recipe(mixup=0.2)), "mixup"),
    ],
)
def test_what_cannot_be_is_refused(model: tenfold.TableModel, said: str) -> None:
    with pytest.raises(TenfoldError, match=said):
        model.fit(np.zeros((9, 1)), [0, 1, 2] * 3)


@pytest.mark.parametrize("kind", [tenfold.TableModel, tenfold.ImageClassifier, tenfold.Recommender])
def test_labels_in_another_order_than_their_rows_are_refused(kind: type) -> None:
    rows = pandas.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [2.0, 3.0, 4.0, 5.0]}, index=list("wxyz"))
    shuffled = pandas.Series([0, 1, 0, 1], index=list("xwzy"))
    with pytest.raises(LabelError, match="X and y have the same index in another order"):
        kind().fit(rows, shuffled)
    # Labels with an index of their own are joined by position, as scikit-learn does.
    check_order(rows, y=shuffled.reset_index(drop=True), sample_weight=None)
    check_order(rows, y=shuffled.loc[rows.index])
    check_order(rows.to_numpy(), y=shuffled)


def test_numbers_as_classes_are_pointed_out() -> None:
    with pytest.raises(ValueError, match="regression target"):
        tenfold.TableModel().fit(np.zeros((9, 1)), np.linspace(0, 1, 9))


# --- pictures


def test_pictures_from_files_frames_and_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.array([0, 1] * 20)
    pixels = np.zeros((40, 16, 16, 3), dtype=np.uint8)
    pixels[y == 1] = 200
    pixels += rng.integers(0, 30, pixels.shape, dtype=np.uint8)
    recipe = tenfold.Recipe(frozen_epochs=0, augment="off", dropout=0, drop_path=0, body_lr=1.0)
    model = tenfold.ImageClassifier(
        "test_resnet", weights="none", image_size=32, epochs=4, lr=0.01, batch_size=8, recipe=recipe
    )
    by_pixels = clone(model).fit(pixels, y)
    assert by_pixels.score(pixels, y) == 1.0
    from tenfold.data.images.decode import encode_png

    for number, picture in enumerate(pixels):
        (tmp_path / f"{number:06d}.png").write_bytes(encode_png(picture))
    paths = [str(tmp_path / f"{number:06d}.png") for number in range(40)]
    # The same pictures, whichever way they come, have the same answers.
    wanted = by_pixels.predict_proba(pixels[:6])
    np.testing.assert_array_equal(by_pixels.predict_proba(paths[:6]), wanted)
    np.testing.assert_array_equal(by_pixels.predict_proba(pandas.DataFrame({"file": paths[:6]})), wanted)
    inside = clone(by_pixels).set_params(folder=tmp_path)
    inside.run_, inside.classes_ = by_pixels.run_, by_pixels.classes_
    inside._words, inside._target = by_pixels._words, by_pixels._target
    np.testing.assert_array_equal(inside.predict_proba([Path(path).name for path in paths[:6]]), wanted)
    with pytest.raises(SchemaError, match="uint8"):
        by_pixels.predict(pixels.astype(float))


# --- ratings


def test_ratings_and_lists() -> None:
    films = tenfold.sample("films", rows=1500).to_frame()
    X, y = films[["user", "film"]], films.stars
    model = tenfold.Recommender(factors=4, recipe=tenfold.FactorRecipe(sweeps=30)).fit(X[:1350], y[:1350])
    assert model.score(X[1350:], y[1350:]) > 0.2
    np.testing.assert_array_equal(model.predict(X[:9]), model.run_.predict(X[:9]).score.astype(float))
    np.testing.assert_array_equal(model.predict(X[:9].to_numpy()), model.predict(X[:9]))
    assert len(model.recommend("u1", n=4)) == 4 and len(model.similar(films.film[0], n=3)) == 3
    ranked = tenfold.Recommender("als", factors=4).fit(X[:500])
    assert ranked.run_.interactions.implicit
    with pytest.raises(SchemaError, match="3 columns"):
        model.predict(films)
    # Users in the place of items would be answered without a word.
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X[["film", "user"]])


def test_importing_tenfold_does_not_load_scikit_learn() -> None:
    code = "import tenfold, sys; tenfold.fit; tenfold.load_run; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
