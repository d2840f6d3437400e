"""Messages of a training are kept, and logged once."""

from __future__ import annotations

from tenfold.runs.job import Notes, log_all


def test_messages_are_kept_in_their_order_and_logged_as_they_come() -> None:
    heard: list[str] = []
    notes = Notes(heard.append)
    notes.add(["one", "two"])
    notes.tell("of this process")
    assert notes.lines == ["one", "two"] and heard == ["one", "two", "of this process"]


def test_nobody_has_to_listen() -> None:
    Notes().add(["one"])
    log_all(None, ["one"])
