"""What events weigh, also in models of earlier versions."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.collab.events import event_regression, event_weights
from tenfold.values import Extra


def test_an_event_of_middling_strength_weighs_one() -> None:
    assert event_weights(np.array([0.0, 5.0, 15.0]), 1 / 5).tolist() == pytest.approx([0, 1, 2])


def test_models_of_earlier_versions_keep_their_regression() -> None:
    """Hu, Koren and Volinsky 2008, equation 4: all items count with confidence 1."""
    gram = np.array([[2.0, 0.5], [0.5, 1.0]])
    strength = np.array([1.0, 3.0])
    old = event_regression(Extra(weight_decay=2.0, confidence=5.0), strength, gram, 7)
    assert old[0].tolist() == [5, 15] and old[1].tolist() == [6, 16]
    assert old[2] == pytest.approx(gram + 2 * np.eye(2))
    new = event_regression(Extra(weight_decay=0.1, confidence=1.0, unobserved=0.5), strength, gram, 7)
    assert new[0].tolist() == new[1].tolist() == [1, 2]
    assert new[2] == pytest.approx(0.5 * gram + 0.1 * (2 + 0.5 * 7) * np.eye(2))
