"""Losses are sums, over known rows only, straight from raw outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tenfold.nn.heads import Head, build_head
from tenfold.schema import (
    CategoryTarget,
    CountTarget,
    MultiLabelTarget,
    NumberTarget,
    OpenTarget,
    OrderedTarget,
)
from tenfold.targets.base import TargetStats


def head(classes: int = 2, smoothing: float = 0.0) -> Head:
    return build_head(CategoryTarget(name="t"), tuple("abcdef"[:classes]), label_smoothing=smoothing)


def test_sum_of_cross_entropies() -> None:
    raw = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    weights = torch.ones(7, dtype=torch.float64)
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(raw, labels, reduction="sum", label_smoothing=smoothing)
        assert torch.allclose(head(3, smoothing).loss_sum(raw, labels, weights), expected)


def test_class_weights_keep_their_effect_at_any_cut() -> None:
    # Four rows, all outputs 0, labels 0 0 0 1, weights 1 and 9, divided by the batch's 12.
    raw = torch.zeros(4, 2, requires_grad=True)
    labels, weights = torch.tensor([0, 0, 0, 1]), torch.tensor([1.0, 1.0, 1.0, 9.0])
    for start in range(4):
        part = slice(start, start + 1)
        (head().loss_sum(raw[part], labels[part], weights[part]) / 12).backward()
    assert raw.grad is not None
    assert raw.grad[:, 1].tolist() == pytest.approx([0.0417, 0.0417, 0.0417, -0.375], abs=1e-4)


def test_missing_labels_add_nothing_not_even_nan() -> None:
    raw = torch.tensor([[0.0, 0.0], [float("nan"), float("inf")]], requires_grad=True)
    loss = head().loss_sum(raw, torch.tensor([0, 0]), torch.tensor([1.0, 0.0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.6931, abs=1e-4)
    assert raw.grad is not None
    assert raw.grad.tolist() == [[pytest.approx(-0.5), pytest.approx(0.5)], [0.0, 0.0]]


def test_no_known_label_gives_zero() -> None:
    raw = torch.zeros(3, 2, requires_grad=True)
    loss = head().loss_sum(raw, torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    loss.backward()
    assert loss.item() == 0.0
    assert raw.grad is not None and raw.grad.abs().sum() == 0


def test_large_outputs_stay_finite() -> None:
    raw = torch.tensor([[1e4, -1e4]])
    assert head().loss_sum(raw, torch.tensor([1]), torch.ones(1)).item() == pytest.approx(2e4)
    half = torch.tensor([[300.0, -300.0]], dtype=torch.float16)
    assert head().loss_sum(half, torch.tensor([1]), torch.ones(1)).item() == pytest.approx(600.0)


def test_probabilities_sum_to_one_and_decode_by_name() -> None:
    raw = torch.tensor([[8.0, 0.0, 0.0], [-3.0, 0.0, 1.0]])
    found = head(3).probabilities(raw).numpy()
    assert found.dtype == np.float64
    assert found.sum(1) == pytest.approx([1.0, 1.0], abs=1e-15)
    answer = head(3).decode(found)
    assert answer.values.tolist() == ["a", "c"]
    assert answer.classes == ("a", "b", "c")


# Questions, orders and numbers

GENERATOR = torch.Generator().manual_seed(3)


def every_head(smoothing: float = 0.0) -> dict[str, Head]:
    """One head per kind, with facts that are not the plain ones."""
    number = TargetStats(mean=3.0, deviation=1.5, low=0.5, high=5.5)
    classes = ("a", "b", "c", "d")
    made = {
        "category": (CategoryTarget(name="t"), classes, TargetStats()),
        "two": (CategoryTarget(name="t"), ("a", "b"), TargetStats()),
        "ordered": (OrderedTarget(name="t"), classes, TargetStats()),
        "open": (OpenTarget(name="t"), classes, TargetStats()),
        "multilabel": (MultiLabelTarget(name="t"), classes, TargetStats(separator=";")),
        "number": (NumberTarget(name="t"), (), TargetStats(mean=2000.0, deviation=0.5)),
        "bounded": (NumberTarget(name="t", low=1, high=5), (), number),
        "count": (CountTarget(name="t"), (), TargetStats(mean=3.0, deviation=2.0)),
    }
    return {
        name: build_head(target, classes, stats, label_smoothing=smoothing)
        for name, (target, classes, stats) in made.items()
    }


def some_labels(name: str, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and weights of a kind, some of them unknown."""
    rng = np.random.default_rng(5)
    weights = rng.random(rows) * (rng.random(rows) < 0.7)
    if name == "multilabel":
        known = rng.random((rows, 4)) * (rng.random((rows, 4)) < 0.7)
        return torch.from_numpy(rng.integers(0, 2, (rows, 4))), torch.from_numpy(known)
    if name == "open":
        return torch.from_numpy(rng.integers(0, 5, rows)), torch.from_numpy(weights[:, None] * np.ones(4))
    if name == "count":
        return torch.from_numpy(rng.poisson(2.0, rows).astype(float)), torch.from_numpy(weights)
    if name in ("number", "bounded"):
        return torch.from_numpy(rng.uniform(1, 5, rows)), torch.from_numpy(weights)
    return torch.from_numpy(rng.integers(0, 2 if name == "two" else 4, rows)), torch.from_numpy(weights)


KINDS = tuple(every_head())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_loss_is_a_sum_of_its_rows(name: str, smoothing: float) -> None:
    head = every_head(smoothing)[name]
    raw = torch.randn(9, head.outputs, generator=GENERATOR, dtype=torch.float64)
    labels, weights = some_labels(name, 9)
    whole = head.loss_sum(raw, labels, weights)
    rows = [head.loss_sum(raw[r : r + 1], labels[r : r + 1], weights[r : r + 1]) for r in range(9)]
    assert whole.item() == pytest.approx(sum(rows).item(), rel=1e-12) and whole > 0


@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_known_adds_nothing_not_even_nan_of_any_kind(name: str) -> None:
    head = every_head()[name]
    raw = torch.randn(6, head.outputs, generator=GENERATOR)
    labels, weights = some_labels(name, 6)
    weights[2:] = 0
    raw[2:] = float("nan")
    raw.requires_grad_()
    loss = head.loss_sum(raw, labels, weights)
    loss.backward()
    assert torch.isfinite(loss) and raw.grad is not None and raw.grad[2:].abs().sum() == 0
    nothing = head.loss_sum(raw, labels, torch.zeros_like(weights))
    nothing.backward()
    assert nothing.item() == 0.0


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("size", [50.0, 2e4])
def test_large_outputs_of_any_kind_have_finite_losses_and_gradients(name: str, size: float) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        head = every_head(0.1)[name]
        raw = torch.full((4, head.outputs), size, dtype=dtype)
        raw[1::2] *= -1
        raw.requires_grad_()
        labels, _ = some_labels(name, 4)
        weights = torch.ones(4, 4) if name in ("open", "multilabel") else torch.ones(4)
        # A mean that is millions too high has a gradient that half precision holds in a batch's mean only.
        weights = weights / 1000 if name == "count" else weights
        loss = head.loss_sum(raw, labels, weights)
        loss.backward()
        assert loss.dtype == torch.float32 and torch.isfinite(loss)
        assert raw.grad is not None and torch.isfinite(raw.grad).all()


def test_questions_cost_binary_cross_entropy() -> None:
    heads = every_head()
    raw = torch.randn(5, 4, generator=GENERATOR, dtype=torch.float64)
    labels = torch.tensor([0, 1, 3, 4, 2])  # 4 is none of the four
    asked = F.one_hot(labels, 5)[:, :4].double()
    ones = torch.ones(5, 4, dtype=torch.float64)
    expected = -(asked * torch.sigmoid(raw).log() + (1 - asked) * (1 - torch.sigmoid(raw)).log()).sum()
    assert heads["open"].loss_sum(raw, labels, ones).item() == pytest.approx(expected.item())
    assert heads["multilabel"].loss_sum(raw, asked.long(), ones).item() == pytest.approx(expected.item())


def test_smoothing_of_questions_moves_the_answers() -> None:
    heads = every_head(0.2)
    raw, ones = torch.zeros(1, 4, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64)
    raw.requires_grad_()
    # The gradient at 0 is 1/2 - t: of "open" t = 0.8 + 0.05 and 0.05, of tags 0.9 and 0.1.
    heads["open"].loss_sum(raw, torch.tensor([1]), ones).backward()
    assert raw.grad is not None
    assert (0.5 - raw.grad).tolist() == [pytest.approx([0.05, 0.85, 0.05, 0.05])]
    raw.grad = None
    heads["multilabel"].loss_sum(raw, torch.tensor([[0, 1, 1, 0]]), ones).backward()
    assert (0.5 - raw.grad).tolist() == [pytest.approx([0.1, 0.9, 0.9, 0.1])]


def test_ordered_classes_have_probabilities_that_sum_to_one_and_a_loss_that_fits_them() -> None:
    head = every_head()["ordered"]
    raw = torch.randn(6, 3, generator=GENERATOR, dtype=torch.float64)
    s = torch.sigmoid(raw)
    by_hand = torch.stack(
        [1 - s[:, 0], s[:, 0] * (1 - s[:, 1]), s[:, 0] * s[:, 1] * (1 - s[:, 2]), s.prod(dim=1)], 1
    )
    found = head.probabilities(raw)
    assert torch.allclose(found, by_hand, atol=1e-14)
    labels = torch.tensor([0, 1, 2, 3, 1, 0])
    expected = -by_hand[torch.arange(6), labels].log().sum()
    assert head.loss_sum(raw, labels, torch.ones(6).double()).item() == pytest.approx(expected.item())


def test_the_answer_of_ordered_classes_is_the_median() -> None:
    head = every_head()["ordered"]
    # The single most probable class is at the far end; the median is nearer to all.
    chance = np.array([[0.4, 0.05, 0.3, 0.25], [1.0, 0, 0, 0], [0, 0, 0, 1.0], [0.1, 0.2, 0.3, 0.4]])
    assert head.decode(chance).values.tolist() == ["c", "a", "d", "c"]
    far = [float((np.abs(np.arange(4)[:, None] - np.arange(4)) @ chance[0])[k]) for k in range(4)]
    assert int(np.argmin(far)) == 2


def test_numbers_are_standardised_and_come_back_in_their_unit() -> None:
    head = every_head()["number"]
    raw = torch.tensor([[0.0], [2.0]])
    # 2000.25 is half a deviation above the mean.
    labels = torch.tensor([2000.25, 2000.25], dtype=torch.float64)
    assert head.loss_sum(raw, labels, torch.ones(2)).item() == pytest.approx(0.25 + 2.25)
    assert head.probabilities(raw).tolist() == [[2000.0], [2001.0]]
    assert head.decode(np.array([[2000.0], [2001.0]])).values.tolist() == [2000.0, 2001.0]


def test_a_bounded_number_reaches_its_ends_and_never_leaves_them() -> None:
    head = every_head()["bounded"]
    raw = torch.tensor([[-50.0], [0.0], [50.0], [math.log(4.5 / 0.5)]], dtype=torch.float64)
    assert head.probabilities(raw)[:, 0].tolist() == pytest.approx([1.0, 3.0, 5.0, 5.0])
    # 5 is met by a finite output, which is why the sigmoid goes to 5.5.
    loss = head.loss_sum(raw[3:], torch.tensor([5.0], dtype=torch.float64), torch.ones(1))
    assert loss.item() == pytest.approx(0.0, abs=1e-20)


def test_huber_is_squared_near_zero_and_straight_far_away() -> None:
    target = NumberTarget(name="t")
    raw, labels, ones = torch.tensor([[0.5], [10.0]]), torch.zeros(2).double(), torch.ones(2)
    square = build_head(target)
    huber = build_head(target, huber=True)
    assert square.loss_sum(raw, labels, ones).item() == pytest.approx(100.25)
    assert huber.loss_sum(raw, labels, ones).item() == pytest.approx(0.25 + 2 * 9.5)


def test_none_of_the_classes_and_several_of_them_are_answers() -> None:
    heads = every_head()
    chance = np.array([[0.9, 0.6, 0.1, 0.2], [0.1, 0.2, 0.3, 0.4]])
    assert heads["open"].decode(chance).values.tolist() == ["a", ""]
    answer = heads["multilabel"].decode(chance)
    assert answer.values.tolist() == [("a", "b"), ()] and answer.separator == ";"
    named = build_head(
        OpenTarget(name="t", none="other"),
        ("a", "b"),
        TargetStats(thresholds=(0.95, 0.2)),
    )
    # Thresholds decide first: the more probable class is not sure enough.
    found = named.decode(np.array([[0.9, 0.3], [0.9, 0.1]]))
    assert found.values.tolist() == ["b", "other"] and found.thresholds == (0.95, 0.2)


def test_a_row_without_any_yes_has_a_tuple_of_its_own() -> None:
    answer = every_head()["multilabel"].decode(np.zeros((3, 4)))
    assert answer.values.shape == (3,) and answer.values.tolist() == [(), (), ()]


def test_two_outputs_of_two_classes_are_the_sigmoid_of_their_difference() -> None:
    raw = torch.randn(5, 2, generator=GENERATOR, dtype=torch.float64)
    found = every_head()["two"].probabilities(raw)[:, 1]
    assert torch.allclose(found, torch.sigmoid(raw[:, 1] - raw[:, 0]), atol=1e-15)


@pytest.mark.parametrize("name", ["category", "ordered", "open", "multilabel"])
def test_a_stored_temperature_is_applied(name: str) -> None:
    head = every_head()[name]
    raw = torch.randn(5, head.outputs, generator=GENERATOR, dtype=torch.float64)
    plain = head.probabilities(raw).numpy()
    assert head.calibrated(plain) is plain
    head.stats = head.stats.model_copy(update={"temperature": 4.0})
    flat = head.calibrated(plain)
    assert np.abs(flat - 0.5).sum() < np.abs(plain - 0.5).sum() or name in ("category", "ordered")
    if name in ("category", "ordered"):
        assert flat.sum(axis=1) == pytest.approx(np.ones(5)) and flat.max() < plain.max()


def test_a_count_costs_poissons_deviance_with_twice_the_gradient_of_torchs_loss() -> None:
    head = every_head()["count"]
    raw = torch.tensor([[0.0], [1.5], [-2.0], [0.7]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0.0, 2.0, 7.0, 6.0], dtype=torch.float64)
    weights = torch.tensor([1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    mean = 3.0 * raw[:, 0].exp()
    likelihood = F.poisson_nll_loss(mean.log(), labels, reduction="none")
    wanted = 2 * (weights * (likelihood + torch.xlogy(labels, labels) - labels)).sum()
    loss = head.loss_sum(raw, labels, weights)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-12)
    [own], [torchs] = torch.autograd.grad(loss, raw), torch.autograd.grad((weights * likelihood).sum(), raw)
    assert torch.allclose(own, 2 * torchs, rtol=1e-12, atol=0)
    assert torch.allclose(head.probabilities(raw)[:, 0], mean)


def test_a_counts_loss_and_gradient_keep_their_digits_in_single_precision() -> None:
    head = build_head(CountTarget(name="t"), (), TargetStats(mean=1e6))
    raw = torch.tensor([[1e-4]], requires_grad=True)
    loss = head.loss_sum(raw, torch.tensor([1e6], dtype=torch.float64), torch.ones(1))
    loss.backward()
    # 2 y (exp(u) - 1 - u), about y u^2; its gradient 2 y (exp(u) - 1).
    assert loss.item() == pytest.approx(1e6 * 1e-8, rel=1e-2)
    assert raw.grad is not None and raw.grad.item() == pytest.approx(2e6 * math.expm1(1e-4), rel=1e-4)
    # Where every label is 0 there is no mean to start from.
    assert build_head(CountTarget(name="t")).probabilities(torch.zeros(1, 1)).item() == 1.0


def test_soft_labels_weigh_every_answer_by_its_probability() -> None:
    words = ("a", "b", "c")
    raw = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = torch.softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double(), dim=1)

    def loss(head: Head, outputs: torch.Tensor) -> float:
        sets = head.soft_labels(given)
        return sum(float(head.loss_sum(outputs, labels, shares)) for labels, shares in sets)

    sort = build_head(CategoryTarget(name="x"), words)
    wanted = -(given * torch.log_softmax(raw, dim=1)).sum()
    assert loss(sort, raw) == pytest.approx(float(wanted))
    grade = build_head(OrderedTarget(name="x", classes=words), words)
    wanted = -(given * grade.probabilities(raw[:, :2]).log()).sum()
    assert loss(grade, raw[:, :2]) == pytest.approx(float(wanted))
    questions = torch.nn.functional.binary_cross_entropy_with_logits(raw, given, reduction="sum")
    for target in (MultiLabelTarget(name="x"), OpenTarget(name="x")):
        assert loss(build_head(target, words), raw) == pytest.approx(float(questions))
    tall = build_head(NumberTarget(name="x"), (), TargetStats(mean=3.0, deviation=2.0))
    [(labels, shares)] = tall.soft_labels(given[:, :1] * 10)
    assert labels.tolist() == (given[:, 0] * 10).tolist() and shares.tolist() == [1.0] * 5
