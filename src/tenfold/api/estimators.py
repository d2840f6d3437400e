"""scikit-learn's estimators over the same runs; the only room of scikit-learn.

Each writes a run, into a temporary folder that goes with the estimator's `run_`, or into `run`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags, Tags, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from tenfold.api.progress import showing
from tenfold.data.images.decode import encode_png
from tenfold.data.tables.table import Table
from tenfold.errors import LabelError, SchemaError, shortened
from tenfold.recipe import AnyRecipe, FactorRecipe, RatingNetworkRecipe, Recipe
from tenfold.runs.fitting import fit as fit_run
from tenfold.runs.options import Machine
from tenfold.runs.registry import load_run
from tenfold.runs.run import Run
from tenfold.schema import (
    CategoryColumn,
    CategoryTarget,
    IdColumn,
    ImageColumn,
    NumberColumn,
    NumberTarget,
    RatingTarget,
    Schema,
)
from tenfold.values import (
    Neighbours,
    PairPredictions,
    Predictions,
    Recommendations,
    cell_text,
    other_spelling,
)

if TYPE_CHECKING:
    from tenfold.networks.run import NetworkRun

Cells = Mapping[str, NDArray[np.generic]]

#: scikit-learn's own checks, whose types say less than they take.
_validated: Any = validate_data
_checked: Any = check_array


def check_order(X: object, **others: object) -> None:
    """Check that pandas data with the same index labels have them in the same order.

    scikit-learn joins rows by position, so shuffled labels would be learned without a word.
    Raises LabelError.
    """
    index = getattr(X, "index", None)
    for name, other in others.items():
        own = getattr(other, "index", None)
        if not hasattr(own, "isin") or not hasattr(index, "isin") or own.equals(index):  # pyright: ignore
            continue
        if len(own) == len(index) and own.is_unique and index.is_unique and own.isin(index).all():  # pyright: ignore
            raise LabelError(
                f"X and {name} have the same index in another order, and rows are joined by position",
                fix=f"{name} = {name}.loc[X.index], or {name}.to_numpy() if the positions are right",
            )


class RunEstimator(BaseEstimator):
    """What the estimators share: a recipe from parameters, a run in a folder, copies that carry it.

    run_: the run that was fitted, a `tenfold.Run`; its folder is `run`, or a temporary one that is removed
        with it.
    """

    recipe: AnyRecipe | None
    run: str | os.PathLike[str] | None
    quiet: bool
    device: str
    random_state: int | np.random.RandomState | None
    run_: Run

    #: Parameters that are fields of the recipe.
    _choices = ("epochs", "lr", "weight_decay", "batch_size", "valid")

    def _recipe(self, kind: type[AnyRecipe]) -> AnyRecipe:
        """The recipe with the parameters that are given."""
        before = (
            {}
            if self.recipe is None
            else {name: getattr(self.recipe, name) for name in self.recipe.model_fields_set}
        )
        given = {name: value for name in self._choices if (value := getattr(self, name)) is not None}
        state = self.random_state
        if state is not None or "seed" not in before:
            whole = isinstance(state, int | np.integer)
            given["seed"] = int(state) if whole else int(check_random_state(state).randint(2**31 - 1))  # pyright: ignore
        return (kind if self.recipe is None else type(self.recipe))(**{**before, **given})

    def _train(self, schema: Schema, recipe: AnyRecipe, table: object) -> None:
        kept = self.run is not None
        home = None if kept else tempfile.mkdtemp(prefix="tenfold-run-")
        try:
            with showing(self.quiet) as (listener, log):
                self.run_ = fit_run(
                    schema,
                    recipe,
                    table,
                    run=Path(home) / "run" if home else self.run,
                    report=kept,
                    history=kept,
                    machine=Machine(device=self.device),
                    on_progress=listener,
                    on_note=log,
                )
        except BaseException:
            if home:
                shutil.rmtree(home, ignore_errors=True)
            raise
        if home:
            weakref.finalize(self.run_, shutil.rmtree, home, ignore_errors=True)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(cast(dict[str, Any], super().__getstate__()))
        if "run_" in state:
            # A copy has to answer in another process or on another machine, where the folder is not.
            folder = state["run_"].path
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            state["run_"] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        files = state.pop("run_", None)
        super().__setstate__(state)
        if files is not None:
            home = Path(tempfile.mkdtemp(prefix="tenfold-run-"))
            for name, content in files.items():
                path = home / "run" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.run_ = load_run(home / "run")
            weakref.finalize(self.run_, shutil.rmtree, home, ignore_errors=True)


class _Answers(RunEstimator):
    """What classifiers and regressors of rows share."""

    classes_: NDArray[np.generic]
    _target: str
    _words: tuple[str, ...]

    @abstractmethod
    def _predictions(self, X: object) -> Predictions: ...

    def _labels(self, y: NDArray[np.generic]) -> NDArray[np.generic]:
        """The classes of labels as texts, which are unique; keeps the classes themselves."""
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise LabelError(
                f"y has 1 class, {self.classes_[0]!r}: there is nothing to tell apart",
                fix="give rows of 2 classes or more",
            )
        words = [cell_text(label) for label in self.classes_.tolist()]
        if len({*words} - {""}) < len(words):
            words = [f"class {number}" for number in range(len(words))]
        self._words = tuple(words)
        return np.array(words, dtype=object)[codes]

    def _answer(self, X: object) -> tuple[Predictions, NDArray[np.float64] | None]:
        check_is_fitted(self, "run_")
        made = self._predictions(X)
        answer = made.targets[self._target]
        chances = answer.probabilities
        if chances is None:
            return made, None
        order = [answer.classes.index(word) for word in self._words]
        return made, chances[:, order]

    def _classified(self, X: object) -> NDArray[np.generic]:
        _, chances = self._answer(X)
        assert chances is not None
        return self.classes_[chances.argmax(axis=1)]


def _is_classifier(model: TableModel) -> bool:
    return model.task != "regression"


class TableModel(_Answers):
    """A small neural network of numbers and categories, as a scikit-learn classifier or regressor.

    ::

        model = tenfold.TableModel(epochs=20)
        cross_val_score(model, df[["sex", "age", "fare"]], df["survived"])
        tenfold.TableModel(task="regression").fit(X, y).predict(X_new)

    task: ``classification`` or ``regression``.
    epochs, lr, weight_decay, batch_size, hidden, dropout: fields of `tenfold.Recipe`; None for its defaults.
    valid: fraction of the rows held out to score the run and its report; 0 trains on all of them.
    categories: columns to take as categories although they hold numbers, by name or position. Columns of
        texts and of booleans always are categories. Missing cells may stand anywhere.
    recipe: a `tenfold.Recipe` with all other choices; the parameters above replace its fields.
    random_state: the seed.  device: ``auto``, ``cpu``, ``cuda``.
    run: the run folder to make, with a report; a temporary folder by default.
    quiet: show no progress.

    classes_: the labels.  n_features_in_, feature_names_in_: as scikit-learn has them.
    run_: the `tenfold.NetworkRun`: ``model.run_.confusion()``, ``model.run_.show()``.
    """

    _choices = (*RunEstimator._choices, "hidden", "dropout")

    def __init__(
        self,
        task: str = "classification",
        *,
        epochs: int | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        batch_size: int | None = None,
        hidden: Sequence[int] | None = None,
        dropout: float | None = None,
        valid: float = 0.0,
        categories: Sequence[str | int] = (),
        recipe: Recipe | None = None,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        run: str | os.PathLike[str] | None = None,
        quiet: bool = True,
    ) -> None:
        self.task = task
        self.epochs = epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.hidden = hidden
        self.dropout = dropout
        self.valid = valid
        self.categories = categories
        self.recipe = recipe
        self.random_state = random_state
        self.device = device
        self.run = run
        self.quiet = quiet

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if _is_classifier(self):
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        else:
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = True
        return tags

    def fit(self, X: object, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on rows (rows, columns), a data frame or an array, and their labels or numbers y (rows,).

        sample_weight: (rows,) what each row counts in the loss.
        """
        if self.task not in ("classification", "regression"):
            raise SchemaError(f"task = {self.task!r}", fix="give task='classification' or task='regression'")
        if y is None:
            raise LabelError("fit requires y to be passed, but the target y is None", fix="fit(X, y)")
        check_order(X, y=y, sample_weight=sample_weight)
        cells, answers = self._cells(X, y)
        assert answers is not None
        names = list(cells)
        kinds = self._kinds(cells)
        self._target = _free(getattr(y, "name", None) or "target", names)
        if _is_classifier(self):
            labels = self._labels(answers)
            target: CategoryTarget | NumberTarget = CategoryTarget(name=self._target, classes=self._words)
        else:
            labels = np.asarray(answers, dtype=np.float64)
            target = NumberTarget(name=self._target)
        inputs = tuple(
            CategoryColumn(name=name) if name in kinds else NumberColumn(name=name) for name in names
        )
        table = {**cells, self._target: labels}
        weight = None
        if sample_weight is not None:
            weight = _free("weight", [*table])
            table[weight] = _checked_weights(sample_weight, answers)
        self._train(Schema(inputs=inputs, targets=(target,), weight=weight), self._recipe(Recipe), table)
        return self

    def predict(self, X: object) -> NDArray[np.generic]:
        """(rows,) the labels, as y had them, or the numbers."""
        if _is_classifier(self):
            return self._classified(X)
        made, _ = self._answer(X)
        return np.asarray(made.targets[self._target].values, dtype=np.float64)

    @available_if(_is_classifier)
    def predict_proba(self, X: object) -> NDArray[np.float64]:
        """(rows, classes) the probabilities, in the order of `classes_`."""
        _, chances = self._answer(X)
        assert chances is not None
        return chances

    def score(self, X: object, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The fraction of right labels; of numbers R2."""
        check_order(X, y=y, sample_weight=sample_weight)
        rate = accuracy_score if _is_classifier(self) else r2_score
        return float(rate(y, self.predict(X), sample_weight=sample_weight))

    def _predictions(self, X: object) -> Predictions:
        cells, _ = self._cells(X)
        self._warn_of_other_words(cells)
        made = self.run_.predict(cells, device=self.device)
        assert isinstance(made, Predictions)
        return made

    def _warn_of_other_words(self, cells: Cells) -> None:
        """Warn of columns of categories that have no value of training in any of several rows."""
        for name, facts in cast("NetworkRun", self.run_).encoding.columns.items():
            words = {*map(cell_text, cells[name].tolist())} - {""} if facts.words and name in cells else set()
            known = {*facts.words, *map(other_spelling, facts.words)}
            if len(words) > 1 and not words & known:
                warnings.warn(
                    f"no value of {name} was seen in training, and all count as unknown: "
                    f"{shortened(sorted(words))}; training had {shortened(facts.words)}",
                    stacklevel=4,
                )

    def _cells(
        self, X: object, y: ArrayLike | None = None
    ) -> tuple[dict[str, NDArray[np.generic]], NDArray[np.generic] | None]:
        """The columns of X by name, and y (rows,), checked as scikit-learn checks them."""
        reset = y is not None
        if _is_frame(X):
            cells = _frame_columns(X)
            _validated(self, X, skip_check_array=True, reset=reset)
            answers = None
            if y is not None:
                answers = _checked_answers(y, numeric=not _is_classifier(self))
                check_consistent_length(X, answers)
            return self._named(cells, reset), answers
        how = {"dtype": None, "ensure_all_finite": "allow-nan", "reset": reset}
        if y is None:
            array, answers = _validated(self, X, **how), None
        else:
            array, answers = _validated(
                self, X, y, y_numeric=not _is_classifier(self), ensure_min_samples=2, **how
            )
        cells = {f"x{number}": array[:, number] for number in range(array.shape[1])}
        return self._named(cells, reset), answers

    def _named(self, cells: dict[str, NDArray[np.generic]], reset: bool) -> dict[str, NDArray[np.generic]]:
        """The columns by their names in `fit`: an array and a frame are joined by position, as scikit-learn
        joins them, which has checked names and counts, and warned of the other form."""
        if reset:
            self._columns = tuple(cells)
        return dict(zip(getattr(self, "_columns", tuple(cells)), cells.values(), strict=True))

    def _kinds(self, cells: Cells) -> set[str]:
        """The columns that hold categories."""
        names = list(cells)
        asked = set()
        for column in self.categories:
            name = names[column] if isinstance(column, int) and column < len(names) else str(column)
            if name not in names:
                raise SchemaError(
                    f"categories names {column!r}, which is not a column of X",
                    found=", ".join(names),
                    fix="give names or positions of columns of X",
                )
            asked.add(name)
        return asked | {name for name, column in cells.items() if not _holds_numbers(column)}


class ImageClassifier(ClassifierMixin, _Answers):
    """A network of pictures, as a scikit-learn classifier.

    ::

        model = tenfold.ImageClassifier("resnet18", epochs=3).fit(paths, labels)
        model.predict_proba(["new/1.jpg", "new/2.jpg"])

    X is a list of picture files, a data frame of one column of them, or pixels: uint8 of
    (pictures, height, width) or (pictures, height, width, 3).

    arch: an architecture of timm.  weights: ``hub`` (timm's pretrained), ``none``, or a file.
    image_size: pixels of a side, or (height, width).
    epochs, lr, weight_decay, batch_size: fields of `tenfold.Recipe`; None for its defaults.
    valid: fraction of the pictures held out to score the run and its report; 0 trains on all of them.
    folder: where relative names of files start.
    recipe, random_state, device, run, quiet: as of `TableModel`.

    classes_: the labels.  run_: the `tenfold.NetworkRun`.
    """

    _choices = (*RunEstimator._choices, "arch", "weights", "image_size")

    def __init__(
        self,
        arch: str | None = None,
        *,
        weights: str | None = None,
        image_size: int | tuple[int, int] | None = None,
        epochs: int | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        batch_size: int | None = None,
        valid: float = 0.0,
        folder: str | os.PathLike[str] | None = None,
        recipe: Recipe | None = None,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        run: str | os.PathLike[str] | None = None,
        quiet: bool = True,
    ) -> None:
        self.arch = arch
        self.weights = weights
        self.image_size = image_size
        self.epochs = epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.valid = valid
        self.folder = folder
        self.recipe = recipe
        self.random_state = random_state
        self.device = device
        self.run = run
        self.quiet = quiet

    def fit(self, X: object, y: ArrayLike) -> Self:
        """Train on pictures and their labels y (pictures,)."""
        check_order(X, y=y)
        answers = _checked_answers(y, numeric=False)
        labels = self._labels(answers)
        self._target = _free(getattr(y, "name", None) or "label", ["picture"])
        with _pictures(X, self.folder) as pictures:
            check_consistent_length(pictures.names, answers)
            schema = Schema(
                inputs=(ImageColumn(name="picture", folder=pictures.folder),),
                targets=(CategoryTarget(name=self._target, classes=self._words),),
            )
            table = {"picture": pictures.names, self._target: labels}
            self._train(schema, self._recipe(Recipe), table)
        return self

    def predict(self, X: object) -> NDArray[np.generic]:
        """(pictures,) the labels, as y had them."""
        return self._classified(X)

    def predict_proba(self, X: object) -> NDArray[np.float64]:
        """(pictures, classes) the probabilities, in the order of `classes_`."""
        _, chances = self._answer(X)
        assert chances is not None
        return chances

    def _predictions(self, X: object) -> Predictions:
        with _pictures(X, self.folder) as pictures:
            made = self.run_.predict({"picture": pictures.names}, image=pictures.folder, device=self.device)
        assert isinstance(made, Predictions)
        return made


class Recommender(RegressorMixin, RunEstimator):
    """Factors of users and items, as a scikit-learn regressor of ratings.

    ::

        model = tenfold.Recommender().fit(df[["user", "film"]], df["stars"])
        model.predict(df[["user", "film"]])
        model.recommend("u7", n=5)

    X has two columns: users, and then items. y are the ratings; without y each row is an event, and the model
    ranks. Users and items that training never saw get an answer, too.

    method, factors, sweeps: fields of `tenfold.FactorRecipe`; None for its defaults.
    valid: fraction of the ratings held out to score the run and its report.
    recipe: a `tenfold.FactorRecipe`, or a `tenfold.RatingNetworkRecipe`, with all other choices.
    random_state, device, run, quiet: as of `TableModel`.

    run_: the `tenfold.RecommenderRun`.
    """

    _choices = ("method", "factors", "valid")

    def __init__(
        self,
        method: str | None = None,
        *,
        factors: int | None = None,
        valid: float = 0.0,
        recipe: FactorRecipe | RatingNetworkRecipe | None = None,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        run: str | os.PathLike[str] | None = None,
        quiet: bool = True,
    ) -> None:
        self.method = method
        self.factors = factors
        self.valid = valid
        self.recipe = recipe
        self.random_state = random_state
        self.device = device
        self.run = run
        self.quiet = quiet

    def fit(self, X: object, y: ArrayLike | None = None) -> Self:
        """Fit to pairs X (rows, 2) of users and items, and their ratings y (rows,), or events without y."""
        check_order(X, y=y)
        pairs = self._checked_pairs(X, reset=True)
        rating = None
        if y is not None:
            rating = _free(getattr(y, "name", None) or "rating", list(pairs))
            answers = _checked_answers(y, numeric=True)
            check_consistent_length(next(iter(pairs.values())), answers)
            pairs[rating] = answers
        user, item = list(pairs)[:2]
        schema = Schema(
            inputs=(IdColumn(name=user), IdColumn(name=item)), targets=(RatingTarget(name=rating),)
        )
        self._train(schema, self._recipe(FactorRecipe), pairs)
        return self

    def predict(self, X: object) -> NDArray[np.float64]:
        """(rows,) the expected ratings of pairs; of a model of events scores that rank only."""
        check_is_fitted(self, "run_")
        names = [column.name for column in self.run_.schema.ids[:2]]
        pairs = self._checked_pairs(X, reset=False)
        made = self.run_.predict(dict(zip(names, pairs.values(), strict=True)))
        assert isinstance(made, PairPredictions)
        return made.score.astype(np.float64)

    def _checked_pairs(self, X: object, *, reset: bool) -> dict[str, NDArray[np.generic]]:
        """The columns of users and of items by name; a frame whose names are not those of `fit`, in their
        order, is refused as by scikit-learn: swapped columns would be answered without a word."""
        pairs = _pairs(X)
        if reset or (_is_frame(X) and hasattr(self, "feature_names_in_")):
            _validated(self, X if _is_frame(X) else np.empty((0, 2)), skip_check_array=True, reset=reset)
        return pairs

    def recommend(self, users: object = None, *, n: int = 10, **options: Any) -> Recommendations:
        """The n items of highest score for each user; options: of `tenfold.RecommenderRun.recommend`."""
        check_is_fitted(self, "run_")
        return self.run_.recommend(users, n=n, **options)  # pyright: ignore[reportAttributeAccessIssue]

    def similar(self, items: object = None, *, n: int = 10) -> Neighbours:
        """The n items nearest to each item."""
        check_is_fitted(self, "run_")
        return self.run_.similar(items, n=n)  # pyright: ignore[reportAttributeAccessIssue]


# --- X and y ------------------------------------------------------------------------------------------


def _is_frame(X: object) -> bool:
    return hasattr(X, "columns") and hasattr(X, "__getitem__") and not isinstance(X, Table)


def _frame_columns(X: Any) -> dict[str, NDArray[np.generic]]:
    """The columns of a data frame by name."""
    names = list(X.columns)
    twice = [name for name in names if [*map(str, names)].count(str(name)) > 1]
    if twice:
        raise SchemaError(f"X has the column {twice[0]!r} more than once", fix="name each column otherwise")
    return {str(name): np.asarray(X[name]) for name in names}


def _holds_numbers(column: NDArray[np.generic]) -> bool:
    if column.dtype.kind in "iuf":
        return True
    if column.dtype.kind != "O":
        return False
    known = [cell for cell in column.tolist() if cell is not None and cell == cell]
    numbers = (int, float, np.integer, np.floating)
    return bool(known) and all(isinstance(cell, numbers) and not isinstance(cell, bool) for cell in known)


def _checked_answers(y: ArrayLike, *, numeric: bool) -> NDArray[np.generic]:
    array = column_or_1d(y, warn=True)
    dtype = np.float64 if numeric else None
    return _checked(array, ensure_2d=False, dtype=dtype, input_name="y", ensure_min_samples=1)


def _checked_weights(weights: ArrayLike, answers: NDArray[np.generic]) -> NDArray[np.float64]:
    array = _checked(weights, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    array = np.full(len(answers), array) if array.ndim == 0 else array
    if array.shape != answers.shape:
        raise LabelError(
            f"sample_weight has the shape {array.shape}, and y {answers.shape}", fix="give a weight per row"
        )
    if (array < 0).any() or not array.any():
        what = "a number below 0" if (array < 0).any() else "zeros alone: no row counts"
        raise LabelError(f"sample_weight has {what}", fix="give weights of 0 or more, and not all 0")
    return array


def _free(name: object, taken: Sequence[str]) -> str:
    text = str(name)
    while text in taken:
        text += "_"
    return text


@dataclass(frozen=True)
class _Pictures:
    """Names of files, and the folder that they are in."""

    names: NDArray[np.object_]
    folder: str


@contextmanager
def _pictures(X: object, folder: str | os.PathLike[str] | None) -> Iterator[_Pictures]:
    """Pictures as files; pixels are written to a folder that is removed at the end."""
    if isinstance(X, np.ndarray) and X.ndim >= 3:
        if X.dtype != np.uint8 or X.ndim > 4 or (X.ndim == 4 and X.shape[3] != 3):
            raise SchemaError(
                f"pixels of shape {X.shape} and type {X.dtype}",
                fix="give uint8 of (pictures, height, width) or (pictures, height, width, 3)",
            )
        pixels = X if X.ndim == 4 else np.repeat(X[..., None], 3, axis=3)
        with tempfile.TemporaryDirectory(prefix="tenfold-pictures-") as place:
            names = [f"{number:06d}.png" for number in range(len(pixels))]
            for name, picture in zip(names, pixels, strict=True):
                (Path(place) / name).write_bytes(encode_png(np.ascontiguousarray(picture)))
            yield _Pictures(np.array(names, dtype=object), place)
        return
    if _is_frame(X):
        names = list(X.columns)  # pyright: ignore
        if len(names) != 1:
            raise SchemaError(
                "X has the columns " + ", ".join(map(str, names)), fix="give one column of picture files"
            )
        X = _frame_columns(X)[str(names[0])]
    files = [os.fspath(name) for name in np.asarray(X, dtype=object).ravel().tolist()]
    if not files:
        raise LabelError("X has 0 pictures", fix="give picture files")
    if folder is not None:
        yield _Pictures(np.array(files, dtype=object), os.fspath(folder))
        return
    whole = [os.path.abspath(name) for name in files]
    above = os.path.commonpath([os.path.dirname(name) for name in whole])
    yield _Pictures(np.array([os.path.relpath(name, above) for name in whole], dtype=object), above)


def _pairs(X: object) -> dict[str, NDArray[np.generic]]:
    """The columns of users and of items by name."""
    if _is_frame(X):
        columns = _frame_columns(X)
    else:
        array = _checked(X, dtype=None, ensure_all_finite=False)
        names = ["user", "item"] if array.shape[1] == 2 else [f"x{at}" for at in range(array.shape[1])]
        columns = {name: array[:, at] for at, name in enumerate(names)}
    if len(columns) != 2:
        raise SchemaError(
            f"X has {len(columns)} columns: {', '.join(columns)}",
            fix="give users and items: df[['user', 'film']]",
        )
    return columns
