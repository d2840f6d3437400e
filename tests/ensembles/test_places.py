"""Where trainings run."""

from __future__ import annotations

from pathlib import Path

from tenfold.ensembles.children import Children
from tenfold.ensembles.places import tasks_on


def test_without_an_address_they_are_processes_here_and_one_can_be_ended(tmp_path: Path) -> None:
    told: list[str] = []
    with tasks_on(None, lambda name, event: told.append(name)) as tasks:
        assert isinstance(tasks, Children) and tasks.next_finished() is None
        tasks.start("one", {"task": "none"}, tmp_path / "one.txt")
        tasks.cancel("one")
        assert not tasks.running and tasks.next_finished() is None
        tasks.start("two", {"task": "none"}, tmp_path / "two.txt")
        ended = tasks.next_finished()
        assert ended is not None and ended.name == "two" and "KeyError" in ended.failure()
