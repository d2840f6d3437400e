"""The metrics against hand-made cases, against scikit-learn, and against a slow second writing."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from tenfold import metrics

RNG = np.random.default_rng(5)


def _softmax(rows: int, classes: int) -> np.ndarray:
    raw = np.exp(RNG.normal(size=(rows, classes)) * 2)
    return raw / raw.sum(axis=1, keepdims=True)


# --- missing labels --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "there"),
    [
        ([0, -1, 2], [True, False, True]),
        ([1.5, math.nan, 0.0], [True, False, True]),
        (np.array(["a", "", None, "nan"], dtype=object), [True, False, False, True]),
        (np.array([1, 2], dtype=np.uint32), [True, True]),
        (np.array([True, False]), [True, True]),
        ([], []),
    ],
)
def test_known_tells_missing_from_present(labels, there):
    assert metrics.known(labels).tolist() == there


def test_a_mask_leaves_out_more_and_must_fit():
    assert metrics.known([0, -1, 2], mask=[False, True, True]).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="mask has shape"):
        metrics.known([0, 1], mask=[True])


@pytest.mark.parametrize(
    "value",
    [
        metrics.error_rate([-1, -1], [0, 1]),
        metrics.log_loss([[0.5, 0.5]], [-1]),
        metrics.macro_f1([-1], [0]),
        metrics.majority_error_rate([0, 0], [-1]),
        metrics.majority_error_rate([-1], [0]),
        metrics.auc([0.1, 0.2], [-1, -1]),
        metrics.rmse([math.nan], [1.0]),
        metrics.mae([], []),
        metrics.expected_calibration_error([[0.5, 0.5]], [-1]),
        metrics.error_rate([0, 1], [0, 0], weights=[0, 0]),
    ],
)
def test_no_labels_is_nan_and_said(value):
    assert math.isnan(value)
    assert metrics.score_text(value) == "no labels"


def test_a_score_is_printed_with_its_digits():
    assert metrics.score_text(0.125) == "0.1250"
    assert metrics.score_text(0.0, digits=2) == "0.00"


def test_missing_labels_do_not_count():
    # Case 33: one known label of four, both classes equally likely: log 2.
    half = np.full((4, 2), 0.5)
    assert metrics.log_loss(half, [0, -1, -1, -1]) == pytest.approx(0.6931, abs=5e-5)
    assert metrics.error_rate([0, -1, 1], [0, 0, 0]) == 0.5


# --- classes ---------------------------------------------------------------------------------------


def test_error_rate_is_over_all_rows_at_once():
    # Case 38: right on eight, wrong on the ninth; a mean of batch means of 4, 4, 1 would be 1/3.
    assert metrics.error_rate([0] * 9, [0] * 8 + [1]) == pytest.approx(1 / 9)


def test_error_rate_joins_names_and_counts_unanswered_rows():
    labels = np.array(["cat", "dog", "90", ""], dtype=object)
    assert metrics.error_rate(labels, np.array(["cat", "", "90", "x"], dtype=object)) == pytest.approx(1 / 3)
    assert metrics.error_rate([0, 1], [-1, 1]) == 0.5


def test_a_class_the_model_does_not_have_is_wrong_at_a_finite_price():
    # Case 58: class 2 occurs only in validation; the model has classes 0 and 1.
    chance = np.array([[0.9, 0.1], [0.2, 0.8]])
    scores = metrics.category_scores(chance, [0, 2], train_labels=[0, 0, 1])
    assert scores["error_rate"] == 0.5
    assert scores["log_loss"] == pytest.approx((-math.log(0.9) - math.log(metrics.SMALLEST)) / 2)
    assert scores["macro_f1"] == pytest.approx((1 + 0 + 0) / 3)
    assert scores["scored"] == 2


def test_category_scores_follow_the_probabilities_or_the_given_answer():
    chance = np.array([[0.9, 0.1], [0.6, 0.4], [math.nan, math.nan]])
    assert metrics.category_scores(chance, [0, 1, -1])["error_rate"] == 0.5
    assert metrics.category_scores(chance, [0, 1, -1], predicted=[0, 1, 0])["error_rate"] == 0
    failed = metrics.category_scores(chance, [0, 1, 0])
    assert failed["error_rate"] == pytest.approx(2 / 3) and math.isnan(failed["log_loss"])


def test_the_majority_is_that_of_training():
    # Validation's own majority (1) would give 0.25.
    assert metrics.majority_error_rate([0, 0, 1, -1], [1, 1, 1, 0]) == 0.75
    assert metrics.majority_class(np.array(["b", "a", "b", ""], dtype=object)) == "b"
    assert metrics.majority_class([2, 1, 1, 2]) == 1


@pytest.mark.parametrize("weighted", [False, True])
def test_class_metrics_equal_scikit_learn(weighted):
    from sklearn.metrics import f1_score, log_loss, roc_auc_score, zero_one_loss

    rows, classes = 300, 5
    chance, labels = _softmax(rows, classes), RNG.integers(0, classes, rows)
    labels[labels == 3] = 2  # a class that only predictions have
    predicted = chance.argmax(axis=1)
    weights = RNG.uniform(0.1, 3, rows) if weighted else None
    assert metrics.error_rate(labels, predicted, weights=weights) == pytest.approx(
        zero_one_loss(labels, predicted, sample_weight=weights)
    )
    assert metrics.log_loss(chance, labels, weights=weights) == pytest.approx(
        log_loss(labels, chance, labels=range(classes), sample_weight=weights)
    )
    assert metrics.macro_f1(labels, predicted, weights=weights) == pytest.approx(
        f1_score(labels, predicted, average="macro", sample_weight=weights)
    )
    binary = (labels > 1).astype(int)
    scores = np.round(chance[:, 0], 1)  # with ties
    assert metrics.auc(scores, binary, weights=weights) == pytest.approx(
        roc_auc_score(binary, scores, sample_weight=weights)
    )


def test_macro_f1_takes_names_and_a_missing_answer_is_no_class():
    labels = np.array(["a", "a", "b"], dtype=object)
    assert metrics.macro_f1(labels, labels) == 1
    # a: 1 hit, 2 labels, 1 answer -> 2/3; b: 1.
    assert metrics.macro_f1(labels, np.array(["a", "", "b"], dtype=object)) == pytest.approx((2 / 3 + 1) / 2)


def test_auc_of_one_class_is_nan():
    assert math.isnan(metrics.auc([0.1, 0.9], [1, 1]))
    assert metrics.auc([0.1, 0.9], [0, 1]) == 1


def test_confusion_matrix_counts_rows_by_label_and_prediction():
    table = metrics.confusion_matrix([0, 0, 1, 2, -1, 3], [0, 1, 1, -1, 0, 0], classes=3)
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_calibration_error_by_hand():
    # Two bins: (0.5, 1]: confidences 0.6 and 0.8, one of two right.
    chance = np.array([[0.6, 0.4], [0.2, 0.8]])
    assert metrics.expected_calibration_error(chance, [0, 0], bins=2) == pytest.approx(0.2)
    confidence, right, total = metrics.calibration_bins(chance, [0, 0], bins=2)
    assert math.isnan(confidence[0]) and confidence[1] == pytest.approx(0.7)
    assert right[1] == 0.5 and total.tolist() == [0, 2]
    assert metrics.expected_calibration_error(np.eye(3), [0, 1, 2]) == 0


def test_calibrated_probabilities_have_a_small_error():
    chance = _softmax(20_000, 4)
    labels = (chance.cumsum(axis=1) < RNG.uniform(size=(20_000, 1))).sum(axis=1)
    assert metrics.expected_calibration_error(chance, labels) < 0.015
    sharper = chance**3 / (chance**3).sum(axis=1, keepdims=True)
    assert metrics.expected_calibration_error(sharper, labels) > 0.1


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.error_rate([0, 1], [0]),
        lambda: metrics.log_loss([0.5, 0.5], [0, 1]),
        lambda: metrics.error_rate([0, 1], [0, 1], weights=[1]),
        lambda: metrics.error_rate([0, 1], [0, 1], weights=[1, -1]),
        lambda: metrics.error_rate([0, 1], [0, 1], weights=[1, math.nan]),
        lambda: metrics.calibration_bins([[1.0]], [0], bins=0),
        lambda: metrics.ranking_scores([[1]], [[1]], n=0),
        lambda: metrics.ranking_scores([[1]], [[1], [2]], n=1),
    ],
)
def test_what_does_not_fit_together_is_refused(call):
    with pytest.raises(ValueError):
        call()


# --- numbers ---------------------------------------------------------------------------------------


def test_rmse_and_mae_by_hand():
    assert metrics.rmse([1, 2, math.nan], [2, 4, 9]) == pytest.approx(math.sqrt(2.5))
    assert metrics.mae([1, 2, math.nan], [2, 4, 9]) == pytest.approx(1.5)
    assert metrics.mae([0, 0], [1, 3], weights=[3, 1]) == pytest.approx(1.5)
    assert metrics.mae(np.array([1], dtype=np.uint32), np.array([2], dtype=np.uint32)) == 1


def test_a_rating_score_says_on_how_many_pairs_it_stands():
    # Case 62: errors 1 and 2 on the known pairs, two pairs answered by a fallback that is right.
    scores = metrics.number_scores([4, 3, 3, 3], [5, 1, 3, 3], fallback=[False, False, True, True])
    assert scores["rmse"] == pytest.approx(math.sqrt(5 / 4))
    assert (scores["scored"], scores["fallback"], scores["unscored"]) == (4, 2, 0)
    skipped = metrics.number_scores([4, 3, 3, 3, math.nan], [5, 1, math.nan, math.inf, 2])
    assert skipped["rmse"] == pytest.approx(math.sqrt(5 / 2)) and skipped["mae"] == 1.5
    assert (skipped["scored"], skipped["unscored"]) == (2, 2)


# --- ranked lists ----------------------------------------------------------------------------------


def test_training_items_are_taken_out_first():
    # Case 75.
    ranked, seen, relevant = [[1, 2, 3, 4, 5]], [[1, 2, 3]], [[4]]
    scores = metrics.ranking_scores(ranked, relevant, n=3, seen=seen, items=10)
    assert scores["hit"] == 1 and scores["recall"] == 1 and scores["ndcg"] == 1
    assert scores["precision"] == pytest.approx(1 / 3)
    assert scores["coverage"] == pytest.approx(2 / 10)  # 4 and 5 are in the list
    assert scores["users"] == 1


def test_users_without_test_items_are_not_averaged_in():
    ranked = [[0, 1], [1, 2], [2, 0]]
    relevant = [[0], [], [5]]
    scores = metrics.ranking_scores(ranked, relevant, n=2)
    assert scores["precision"] == pytest.approx((1 / 2 + 0) / 2)
    assert scores["recall"] == scores["hit"] == 0.5
    # A test item that was seen in training cannot be recommended, so its user is not tested either.
    assert math.isnan(metrics.ranking_scores([[0]], [[0]], n=1, seen=[[0]])["recall"])
    assert metrics.ranking_scores([[0]], [[]], n=1)["users"] == 0


def test_repeats_and_padding_take_no_place():
    assert metrics.ranking_scores([[-1, 7, 7, 8, -1]], [[7, 8]], n=2)["precision"] == 1
    assert metrics.ranking_scores([[7, 7]], [[7, 7]], n=2)["recall"] == 1
    assert metrics.ranking_scores([[]], [[7]], n=2)["precision"] == 0
    assert metrics.ranking_scores([[3]], [[3]], n=4)["precision"] == 0.25


def test_ndcg_discounts_by_rank():
    assert metrics.ranking_scores([[9, 4]], [[4]], n=2)["ndcg"] == pytest.approx(1 / math.log2(3))
    best = 1 + 1 / math.log2(3)
    assert metrics.ranking_scores([[4, 9, 5]], [[4, 5]], n=3)["ndcg"] == pytest.approx((1 + 1 / 2) / best)
    assert metrics.ranking_scores([[4]], [[4, 5, 6]], n=1)["ndcg"] == 1


def test_coverage_counts_every_users_list():
    ranked = [[0, 1, 2], [0, 3, 4]]
    for seen, items in ((None, 3), ([[0], []], 4)):
        scores = metrics.ranking_scores(ranked, [[], []], n=2, items=10, seen=seen)
        assert scores["coverage"] == pytest.approx(items / 10)
    assert math.isnan(metrics.ranking_scores([[]], [[]], n=1, items=0)["coverage"])


def _slow_scores(ranked, relevant, seen, n, items):
    sums, users, covered = np.zeros(5), 0, set()
    for ranks, truth, gone in zip(ranked, relevant, seen, strict=True):
        row = []
        for item in ranks:
            if item >= 0 and item not in gone and item not in row:
                row.append(item)
        row, truth = row[:n], set(truth) - set(gone)
        covered |= set(row)
        if truth:
            hits = [item in truth for item in row]
            dcg = sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit)
            ideal = sum(1 / math.log2(place + 2) for place in range(min(n, len(truth))))
            first = 1 / (hits.index(True) + 1) if any(hits) else 0
            sums += [sum(hits) / n, sum(hits) / len(truth), any(hits), dcg / ideal, first]
            users += 1
    return [*(sums / users), len(covered) / items, users]


def test_ranking_equals_a_slow_second_writing():
    users, items, n = 60, 30, 5
    ranked = [RNG.integers(-1, items, 15) for _ in range(users)]
    relevant = [RNG.integers(0, items, RNG.integers(0, 6)) for _ in range(users)]
    seen = [RNG.integers(0, items, RNG.integers(0, 10)) for _ in range(users)]
    fast = metrics.ranking_scores(ranked, relevant, n=n, seen=seen, items=items)
    slow = _slow_scores(ranked, relevant, [set(one.tolist()) for one in seen], n, items)
    assert list(fast.values()) == pytest.approx(slow)
    again = metrics.ranking_scores(
        metrics.ItemLists.of(ranked), relevant, n=n, seen=metrics.ItemLists.of(seen), items=items
    )
    assert again == fast


def test_ndcg_equals_scikit_learn():
    from sklearn.metrics import ndcg_score

    users, items, n = 20, 12, 4
    scores = RNG.normal(size=(users, items))
    truth = RNG.uniform(size=(users, items)) < 0.3
    truth[:, 0] = True
    ranked = np.argsort(-scores, axis=1)
    relevant = [np.flatnonzero(row) for row in truth]
    ndcg = metrics.ranking_scores(list(ranked), relevant, n=n)["ndcg"]
    assert ndcg == pytest.approx(ndcg_score(truth, scores, k=n))


def test_importing_the_metrics_loads_no_heavy_library():
    code = (
        "import sys, tenfold.metrics; print([m for m in ('sklearn', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_first_hit_and_how_rare_the_listed_items_are() -> None:
    taken = np.array([0.5, 0.25, 0.0, 0.125])
    scores = metrics.ranking_scores([[0, 1], [3, 2], [1, 0]], [[1], [3], [3]], n=2, taken=taken)
    assert scores["mrr"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    # An item that nobody took counts as the rarest one.
    assert scores["novelty"] == pytest.approx((1 + 2 + 3 + 3 + 2 + 1) / 6)
    assert "novelty" not in metrics.ranking_scores([[0]], [[0]], n=1)
    turned = metrics.ranking_scores([[1, 0], [2, 3], [0, 1]], [[1], [3], [3]], n=2, taken=taken)
    assert turned["novelty"] == scores["novelty"] and turned["mrr"] == pytest.approx((1 + 1 / 2) / 3)
