"""A recipe with changes, trained and scored: names of folders, and trainings one after the other."""

from __future__ import annotations

import math

from tenfold.events import Event, StageBegan
from tenfold.recipe import FactorRecipe
from tenfold.studies.scored import PRUNED, Asked, Plan, Pruned, Work, run_here, run_name
from tenfold.studies.trials import Trial


def test_names_of_folders_hold_no_signs_of_paths() -> None:
    assert run_name({"lr": 1e-3}, 2) == "lr-0.001-seed-2"
    assert run_name({"weights": "../a b.pth", "lr": 0.1}, 0) == "weights-.._a_b.pth-lr-0.1-seed-0"


def test_works_are_sent_their_trials_and_a_listener_can_prune() -> None:
    def train(changes: object, seed: int, listener: object) -> tuple[float, dict[str, object]]:
        assert callable(listener)
        listener(StageBegan("training"))
        return float(seed), {}

    plan = Plan({}, {}, "rmse", False, 1, lambda changes, seed: FactorRecipe(), train, lambda: (0, 0))  # pyright: ignore[reportArgumentType]
    seen: dict[int, list[Trial]] = {0: [], 1: []}

    def work(number: int) -> Work:
        for seed in (1, 2):
            seen[number].append((yield Asked({"lr": 0.5}, seed)))

    def listen(number: int, event: Event) -> None:
        if number == 1:
            raise Pruned

    run_here(plan, [work(0), work(1)], listen)
    assert [trial.score for trial in seen[0]] == [1.0, 2.0] and seen[0][0].value == 0.5
    assert [trial.failed for trial in seen[1]] == [PRUNED, PRUNED] and math.isnan(seen[1][0].score)
