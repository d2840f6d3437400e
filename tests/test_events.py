"""Events, and the lines of JSON that they come and go as."""

from __future__ import annotations

import json
from dataclasses import replace

from tenfold.events import EpochEnded, MembersChanged, NoteAdded, StepEnded, event_of


def test_a_line_of_json_gives_the_event_back() -> None:
    step = StepEnded(0, 2, "head", 1, 3, 0.1, {"label": 0.5})
    assert list(step.to_dict()) == ["event", "epoch", "epochs", "stage", "step", "steps", "rate", "losses"]
    epoch = EpochEnded(0, "all", 3, 9, 0.1, 8, 0, {}, {}, {"label": {"log_loss": 1.0}}, 7, 1.5)
    assert "updates" not in epoch.record()
    epoch = replace(epoch, epoch_steps=3, updates=2)
    assert list(epoch.record())[2:6] == ["steps", "epoch_steps", "updates", "rows"]
    for event in (step, epoch, NoteAdded("so")):
        assert event_of(json.loads(json.dumps(event.to_dict()))) == event


def test_what_is_not_an_event_is_none() -> None:
    assert event_of({"event": "done", "summary": {}}) is None
    assert event_of({}) is None and event_of(MembersChanged([]).to_dict()) is None
