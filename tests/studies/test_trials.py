"""What many trainings say together: the best, its noise, and who is not told apart from it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tenfold.errors import TrainingError
from tenfold.events import EpochEnded, Event, SweepEnded
from tenfold.studies.trials import RunsFolder, Trial, Tuned, mean_scores, without_epochs


def tuned(scores: dict[float, list[float]], *, higher: bool = False) -> Tuned:
    trials = tuple(
        Trial(value, seed, score) for value, some in scores.items() for seed, score in enumerate(some)
    )
    return Tuned("weight_decay", "rmse", higher, 0.1, trials, 90, 10, 1.0)


def test_the_best_is_the_lowest_mean_or_the_highest() -> None:
    scores = {0.0: [1.0, 0.8], 0.1: [0.7, 0.9], 1.0: [2.0, 2.0]}
    assert tuned(scores).best == 0.1
    assert tuned(scores, higher=True).best == 1.0
    assert tuned({1.0: [0.5], 0.01: [0.5]}).best == 0.01  # of equals the smallest
    assert tuned({0.1: [0.5], 0.01: [0.5]}).best == 0.1  # but before that the recipe's own


def test_a_value_is_near_within_a_hundredth() -> None:
    found = {one.value: one for one in tuned({0.0: [1.0], 0.1: [1.009], 1.0: [1.02]}).settings}
    assert [found[value].near for value in (0.0, 0.1, 1.0)] == [True, True, False]
    assert found[1.0].behind == pytest.approx(0.02)
    higher = {one.value: one for one in tuned({0.0: [1.0], 0.1: [0.995], 1.0: [0.9]}, higher=True).settings}
    assert [higher[value].near for value in (0.0, 0.1, 1.0)] == [True, True, False]
    assert higher[1.0].behind == pytest.approx(0.1)


def test_seeds_say_what_is_told_apart() -> None:
    found = tuned({0.0: [1.00, 1.02], 0.1: [1.01, 1.0], 1.0: [1.2, 1.2], 2.0: [5.0, 9.0]})
    # Only 0 and 0.1 are near the best: variances 2e-4 and 5e-5.
    assert found.noise == pytest.approx(math.sqrt((2e-4 + 5e-5) / 2))
    assert found.resolution == pytest.approx(2 * found.noise)
    assert [one.even for one in found.settings] == [True, True, False, False]
    text = " ".join(found.conclusions())
    assert "2 seeds move the score by 0.0112: 0 is as good, as far as they tell" in text


def test_one_seed_says_nothing_of_chance() -> None:
    found = tuned({0.0: [1.0], 0.1: [0.9]})
    assert math.isnan(found.noise) and not any(one.even for one in found.settings)
    assert "--repeats 3" in " ".join(found.conclusions())


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({0.01: [3.0], 0.1: [2.0], 1.0: [1.0]}, "largest"),
        ({0.01: [1.0], 0.1: [2.0], 1.0: [3.0]}, "smallest"),
        ({0.01: [3.0], 0.1: [1.0], 1.0: [3.0]}, ""),
        ({0.0: [1.0], 0.1: [2.0], 1.0: [3.0]}, ""),  # there is nothing beyond nought
        ({0.01: [1.000], 0.1: [1.001], 1.0: [1.002]}, ""),  # nor where it is flat
    ],
)
def test_the_best_at_an_end_is_told(scores: dict[float, list[float]], said: str) -> None:
    text = " ".join(tuned(scores).conclusions())
    assert (f"the {said} value tried" in text) if said else ("value tried" not in text)


def test_what_failed_is_not_best_and_all_failing_is_an_error() -> None:
    failed = Trial(1.0, 0, math.nan, failed="the loss is not finite")
    good = Tuned("lr", "loss", False, 0.1, (Trial(0.1, 0, 0.5), failed), 1, 1, 0.0)
    assert good.best == 0.1
    assert good.record()["settings"][1]["failed"] == "the loss is not finite"
    with pytest.raises(TrainingError, match="no value") as caught:
        _ = Tuned("lr", "loss", False, 0.1, (failed,), 1, 1, 0.0).best
    assert "the loss is not finite" in str(caught.value)


def test_a_record_has_what_is_documented() -> None:
    record = tuned({0.0: [1.0], 0.1: [0.9]}).record()
    assert set(record) == {
        "tuned", "score", "higher_is_better", "best", "recipe_value", "settings", "noise", "resolution",
        "seeds", "train_rows", "valid_rows", "verdict", "seconds", "notes",
    }  # fmt: skip
    assert set(record["settings"][0]) == {
        "value", "mean", "deviation", "behind", "defined", "near", "even", "scores", "targets", "seconds",
        "failed",
    }  # fmt: skip


def test_means_are_of_plain_numbers() -> None:
    one = {"label": {"error_rate": 0.1, "scored": 10, "baselines": {"x": 1}}}
    two = {"label": {"error_rate": 0.3, "scored": 10, "baselines": {"x": 2}}}
    assert mean_scores([one, two]) == {"label": {"error_rate": 0.2, "scored": 10.0}}
    assert mean_scores([{}, one])["label"]["error_rate"] == 0.1


def test_trainings_go_with_the_block_or_stay_where_they_are_wanted(tmp_path: Path) -> None:
    place = RunsFolder(None)
    with place:
        there = place.path
        assert there.is_dir()
    assert not there.exists()
    kept = RunsFolder(tmp_path / "kept")
    with kept:
        (kept.path / "run").mkdir(parents=True)
    assert (tmp_path / "kept" / "run").is_dir()


def test_epochs_are_not_told_of_each_training() -> None:
    told: list[Event] = []
    tell = without_epochs(told.append)
    assert tell is not None
    epoch = EpochEnded(0, "all", 1, 8, 0.1, 8, 0, {}, {}, {}, 0, 1.0)
    for event in (epoch, SweepEnded(1, 2)):
        tell(event)
    assert told == [SweepEnded(1, 2)]
    assert without_epochs(None) is None


def test_beyond_an_end_that_failed_there_is_nothing_to_look_for() -> None:
    failed = Trial(0.0, 0, math.nan, failed="no numbers")
    found = Tuned(
        "weight_decay", "rmse", False, None, (failed, Trial(0.1, 0, 1.0), Trial(1, 0, 2.0)), 9, 1, 0.0
    )
    assert "value tried" not in " ".join(found.conclusions())
