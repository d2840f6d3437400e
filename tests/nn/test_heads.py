"""Losses are sums, over known rows only, straight from raw outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tenfold.nn.heads import CategoryHead


def head(classes: int = 2, smoothing: float = 0.0) -> CategoryHead:
    return CategoryHead("t", tuple("abcdef"[:classes]), label_smoothing=smoothing)


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
