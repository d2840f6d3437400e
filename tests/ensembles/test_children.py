"""Processes: an answer, a refusal, a death, and a stop."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tenfold.ensembles import children
from tenfold.ensembles.children import Child, Children, ask
from tenfold.errors import TrainingError
from tenfold.events import NoteAdded, StageBegan


def script(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let children run this instead of a training."""
    start = subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        return start([sys.executable, "-c", text], **options)

    monkeypatch.setattr(children.subprocess, "Popen", popen)


def test_what_it_says_is_told_and_its_answer_returned(monkeypatch, tmp_path: Path) -> None:
    script(
        monkeypatch,
        "import json, sys; asked = json.load(sys.stdin); print('no json');"
        "print(json.dumps({'event': 'note', 'text': asked['task']}));"
        "print(json.dumps({'event': 'done', 'x': 1}))",
    )
    heard: list[Any] = []
    errors = tmp_path / "logs" / "one.txt"
    assert ask({"task": "check"}, errors, lambda name, event: heard.append(event))["x"] == 1
    assert NoteAdded("check") in heard and not errors.exists()


def test_a_refusal_keeps_its_problems(monkeypatch, tmp_path: Path) -> None:
    script(
        monkeypatch,
        "import json;"
        "print(json.dumps({'event': 'failed', 'message': 'no', 'problems': ['a', 'b']})); exit(2)",
    )
    with pytest.raises(TrainingError) as caught:
        ask({"task": "check"}, tmp_path / "one.txt", lambda name, event: None)
    assert caught.value.headline == "no" and caught.value.problems == ("a", "b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit('it broke')", "it broke"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "run out of memory"),
        ("exit(3)", "code 3: it said nothing"),
    ],
)
def test_a_death_says_how(monkeypatch, tmp_path: Path, text: str, said: str) -> None:
    script(monkeypatch, text)
    with Children(lambda name, event: None) as running:
        running.start("one", {"task": "fit"}, tmp_path / "one.txt")
        assert said in running.next_finished().failure()


def test_leaving_the_block_stops_all(monkeypatch, tmp_path: Path) -> None:
    script(
        monkeypatch,
        "import signal, time, pathlib\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"place = pathlib.Path({str(tmp_path / 'stopped')!r})\n"
        'try:\n    print(\'{"event": "stage", "name": "ready"}\', flush=True)\n'
        "    time.sleep(60)\nexcept KeyboardInterrupt:\n    place.touch()\n",
    )
    heard: list[Any] = []
    with pytest.raises(KeyboardInterrupt), Children(lambda name, event: heard.append(event)) as running:
        child = running.start("one", {}, tmp_path / "one.txt")

        def stop(name: str, event: Any) -> None:
            if event == StageBegan("ready"):
                raise KeyboardInterrupt

        running._tell = stop
        running.next_finished()
    assert (tmp_path / "stopped").exists() and child.process.poll() is not None


def test_a_stubborn_one_is_killed(monkeypatch, tmp_path: Path) -> None:
    script(
        monkeypatch,
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        'print(\'{"event": "ready"}\', flush=True); time.sleep(60)',
    )
    monkeypatch.setattr(children, "PATIENCE", 0.3)
    running = Children(lambda name, event: None)
    child = running.start("one", {}, tmp_path / "one.txt")
    while running._lines.empty():
        time.sleep(0.05)
    running.stop()
    assert child.process.returncode == -9 and not running.running


def test_what_has_finished_has_no_failure(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert Child("one", process, tmp_path / "x", answer={"event": "done"}).failure() == ""
