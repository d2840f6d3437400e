"""Thresholds with the best F1, and temperatures that make sure answers as sure as they are right."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.targets.decisions import (
    binary_log_loss,
    class_temperature,
    question_calibration_error,
    question_temperature,
    tempered,
    tempered_questions,
    tune_thresholds,
)


def f1_at(chance: np.ndarray, yes: np.ndarray, cut: float) -> float:
    answer = chance >= cut
    return 2 * (answer & yes).sum() / (answer.sum() + yes.sum())


def test_no_cut_has_a_better_f1() -> None:
    rng = np.random.default_rng(0)
    yes = rng.random(200) < 0.3
    chance = np.clip(0.25 + 0.2 * yes + rng.normal(0, 0.1, 200), 0.001, 0.999)
    (cut,) = tune_thresholds(chance[:, None], yes.astype(np.int64)[:, None])
    best = max(f1_at(chance, yes, one) for one in np.linspace(0, 1, 2001))
    assert f1_at(chance, yes, cut) == pytest.approx(best)
    assert f1_at(chance, yes, cut) > f1_at(chance, yes, 0.5) + 0.1


def test_of_equal_cuts_the_nearest_to_one_half_is_taken() -> None:
    yes = np.array([1] * 6 + [0] * 6)
    apart = np.where(yes == 1, 0.9, 0.1)[:, None]
    assert tune_thresholds(apart, yes[:, None]).tolist() == [0.5]
    low = np.where(yes == 1, 0.3, 0.1)[:, None]
    assert tune_thresholds(low, yes[:, None]).tolist() == [pytest.approx(0.2)]


def test_few_yes_rows_and_unknown_ones_move_nothing() -> None:
    chance = np.array([[0.3], [0.3], [0.3], [0.3], [0.1], [0.2]])
    labels = np.array([[1], [1], [1], [1], [0], [-1]])
    assert tune_thresholds(chance, labels).tolist() == [0.5]


def test_none_stays_an_answer_however_low_a_cut_would_do() -> None:
    # One own row of 40 is unsure; F1 alone would let everything pass for its sake.
    chance = np.full((40, 1), 0.9)
    chance[0] = 0.02
    labels = np.ones((40, 1), dtype=np.int64)
    assert tune_thresholds(chance, labels)[0] < 0.02
    assert tune_thresholds(chance, labels, reject=True).tolist() == [0.5]
    # A network that has learnt little is sure of nothing; its thresholds follow.
    assert tune_thresholds(chance * 0.4, labels, reject=True)[0] == pytest.approx(0.8 * 0.36)


def test_a_temperature_divides_the_raw_outputs() -> None:
    raw = np.random.default_rng(1).normal(0, 3, (9, 4))

    def softmax(z: np.ndarray) -> np.ndarray:
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    assert tempered(softmax(raw), 2.5) == pytest.approx(softmax(raw / 2.5), abs=1e-12)
    assert tempered_questions(1 / (1 + np.exp(-raw)), 0.7) == pytest.approx(1 / (1 + np.exp(-raw / 0.7)))
    assert tempered(np.zeros((0, 3)), 2.0).shape == (0, 3)


def test_the_temperature_of_overconfident_answers_is_found() -> None:
    rng = np.random.default_rng(2)
    raw = rng.normal(0, 2, (4000, 3))
    truth = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in truth])
    # Answers that are three times as sure as they should be.
    assert class_temperature(tempered(truth, 1 / 3), labels) == pytest.approx(3.0, rel=0.1)
    chance = 1 / (1 + np.exp(-raw))
    asked = (rng.random(raw.shape) < chance).astype(np.int64)
    asked[:5] = -1
    assert question_temperature(tempered_questions(chance, 0.5), asked) == pytest.approx(2.0, rel=0.1)
    assert question_calibration_error(chance, asked) < question_calibration_error(
        tempered_questions(chance, 0.5), asked
    )


def test_rows_that_are_all_right_do_not_make_an_answer_certain() -> None:
    chance = np.tile([0.9, 0.1], (20, 1))
    temperature = class_temperature(chance, np.zeros(20, dtype=np.int64))
    assert 0.5 < temperature < 1 and tempered(chance, temperature)[0, 0] == pytest.approx(
        1 - 1 / 22, abs=1e-6
    )
    asked = np.array([[1, 0]] * 20)
    assert tempered_questions(chance, question_temperature(chance, asked))[0, 0] < 0.999


def test_binary_log_loss_of_five_pictures() -> None:
    chance = np.array([[0.9], [0.2], [0.6], [0.5], [0.1]])
    labels = np.array([[1], [0], [1], [-1], [0]])
    expected = -np.log([0.9, 0.8, 0.6, 0.9]).mean()
    assert binary_log_loss(chance, labels) == pytest.approx(expected)
    assert np.isnan(binary_log_loss(chance, np.full((5, 1), -1)))
