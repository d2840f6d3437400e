"""Probabilities of rows, the same whatever stands beside them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.data.encode import Examples
from tenfold.engine.batches import Preparation
from tenfold.engine.predict import ROWS_AT_ONCE, predict_features, predict_views
from tenfold.nn.augment import Views
from tenfold.nn.heads import CategoryHead
from tenfold.nn.network import Network
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget
from training import Pictures, make_encoding, make_examples, make_training

RECIPE = Recipe(arch="test_resnet", weights="none", image_size=32, batchnorm_group=4, dropout=0.5, seed=1)


def predictor(rows: int = 37, precision: str = "float32"):
    training = make_training(RECIPE, micro_batch=4, precision=precision)
    examples = make_examples(rows)

    def predict(index, **options):
        return predict_views(
            training.network, examples, np.asarray(index, np.int64), training.preparation, **options
        )[0]

    return predict, training, examples


def test_one_row_of_answers_per_row_in_the_order_asked() -> None:
    predict, _, _ = predictor()
    whole = predict(range(37))
    assert {name: found.shape for name, found in whole.items()} == {"disease": (37, 3), "variety": (37, 2)}
    assert whole["disease"].dtype == np.float64
    assert whole["disease"].sum(axis=1) == pytest.approx(np.ones(37), abs=1e-12)
    index = [30, 2, 2, 17, 0]
    for workers in (0, 1, 4):
        part = predict(index, workers=workers)
        assert all(np.array_equal(part[name], found[index]) for name, found in whole.items())


@pytest.mark.parametrize("size", [1, 2, 5, 16, 17])
def test_a_rows_answer_does_not_depend_on_its_neighbours(size: int) -> None:
    predict, _, _ = predictor()
    whole = predict(range(37))["disease"]
    parts = [predict(range(start, min(37, start + size)))["disease"] for start in range(0, 37, size)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_no_rows_give_answers_of_the_right_width() -> None:
    predict, _, _ = predictor()
    assert {name: found.shape for name, found in predict([]).items()} == {
        "disease": (0, 3),
        "variety": (0, 2),
    }


@pytest.mark.parametrize("training_mode", [True, False])
def test_the_network_is_left_as_it_was(training_mode: bool) -> None:
    predict, training, _ = predictor()
    training.network.train(training_mode)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    state = torch.get_rng_state()
    assert np.array_equal(predict(range(20))["disease"], predict(range(20))["disease"])  # no dropout
    assert training.network.training is training_mode
    assert all(torch.equal(value, before[name]) for name, value in training.network.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_a_picture_that_cannot_be_read_leaves_the_network_as_it_was() -> None:
    predict, training, examples = predictor()
    training.network.train()

    def read(rows: np.ndarray) -> np.ndarray:
        raise OSError("gone")

    object.__setattr__(examples.images[0], "read", read)
    with pytest.raises(OSError, match="gone"):
        predict(range(20))
    assert training.network.training


def test_progress_counts_rows() -> None:
    predict, _, _ = predictor()
    done: list[int] = []
    predict(range(37), on_rows=done.append)
    assert done == [ROWS_AT_ONCE["cpu"], 2 * ROWS_AT_ONCE["cpu"], 37]


class OneHead(Network):
    """A network of one head that makes its raw outputs by rule."""

    def __init__(self) -> None:
        super().__init__({}, 1, [CategoryHead(CategoryTarget(name="side"), ("one", "two"))], 0.0)

    def answers(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        return [self.heads[0].probabilities(self(inputs)[0])]


class Brightness(OneHead):
    """Raw outputs (8, 0) for a picture that is bright at its left, (-3, 0) for its mirror picture."""

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        left = inputs["image0"][:, 0, 0, 0] > 0.5
        raw = torch.where(left, 8.0, -3.0)
        return (torch.stack([raw, torch.zeros_like(raw)], 1),)


def test_views_average_probabilities_and_not_raw_outputs() -> None:
    pixels = np.zeros((3, 4, 4, 3), dtype=np.uint8)
    pixels[0, :, :2] = 255
    encoding = make_encoding(RECIPE).model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
    preparation = Preparation(encoding, torch.device("cpu"), torch.float32, channels_last=False)
    examples = Examples(np.array(["a", "b", "c"], dtype=object), (Pictures(pixels),), {}, {})

    def chances(views: int) -> list[float]:
        found = predict_views(Brightness(), examples, np.arange(3), preparation, views=Views(views))[0]
        assert found["side"].sum(axis=1) == pytest.approx(np.ones(3))
        return found["side"][:, 0].tolist()

    bright, dark = 1 / (1 + np.exp(-8.0)), 1 / (1 + np.exp(3.0))
    assert chances(1) == pytest.approx([bright, dark, dark], abs=1e-6)
    # The mean of the raw outputs would be 2.5, and the probability 0.92.
    assert chances(2) == pytest.approx([(bright + dark) / 2, dark, dark], abs=1e-6)
    assert chances(4) == pytest.approx([(bright + dark) / 2, dark, dark], abs=1e-6)
    # Three views with outputs 8, -3 and -3, averaged by the same rule.
    head = Brightness().heads[0]
    views = torch.tensor([[8.0, 0.0], [-3.0, 0.0], [-3.0, 0.0]])
    mean = head.probabilities(views).mean(0)
    assert mean.tolist() == pytest.approx([0.3648, 0.6352], abs=5e-5)


def test_several_pictures_to_a_row() -> None:
    class Difference(OneHead):
        def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
            front, back = inputs["image0"].mean((1, 2, 3)), inputs["image1"].mean((1, 2, 3))
            return (torch.stack([front, back], 1) * 100,)

    pixels = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    pixels[1] = 255
    encoding = make_encoding(RECIPE).model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
    preparation = Preparation(encoding, torch.device("cpu"), torch.float32, channels_last=False)
    images = (Pictures(pixels), Pictures(pixels[::-1].copy()))
    examples = Examples(np.array(["a", "b"], dtype=object), images, {}, {})
    found = predict_views(Difference(), examples, np.arange(2), preparation, views=Views(2))[0]
    assert found["side"].argmax(axis=1).tolist() == [1, 0]


def test_doubles_stay_doubles() -> None:
    single, double = predictor(5)[0](range(5)), predictor(5, "float64")[0](range(5))
    difference = np.abs(single["disease"] - double["disease"]).max()
    assert 0 < difference < 1e-5


def test_features_are_those_of_the_last_layer_whatever_stands_beside_a_row() -> None:
    training = make_training(RECIPE, micro_batch=8, precision="float32")
    examples = make_examples(21)
    found = predict_features(training.network, examples, np.arange(21), training.preparation)
    assert found.shape == (21, training.network.last.in_features)
    again = predict_features(training.network, examples, np.array([20, 3]), training.preparation)
    assert np.array_equal(again, found[[20, 3]])
    chance = predict_views(training.network, examples, np.arange(21), training.preparation)[0]["disease"]
    training.network.eval()
    raw = training.network.raw(torch.from_numpy(found))[0]
    expected = training.network.heads[0].probabilities(raw).detach().numpy()
    assert np.allclose(expected, chance, atol=1e-5)
    assert predict_features(training.network, examples, np.arange(0), training.preparation).shape[0] == 0
