"""Trainings in processes of their own: what is asked goes in as JSON, what happens comes out line by line."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from tenfold.errors import TenfoldError, TrainingError
from tenfold.events import Event, event_of
from tenfold.processes import module_command, module_environment

#: Seconds that a child may take to stop after it was asked to.
PATIENCE = 30.0
#: Lines of a child's standard error that are told when it died without a word.
LAST_LINES = 5

#: Told a child's name and its event; None for its answer, and now and then while all are silent.
Tell = Callable[[str, Event | None], None]


@dataclass
class Child:
    """One process, and the last thing that it said.

    answer: its ``done`` or ``failed`` event; {} while it runs, and where it died.
    """

    name: str
    process: subprocess.Popen[bytes]
    errors: Path
    started: float = field(default_factory=time.monotonic)
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.started

    def failure(self) -> str:
        """Why it did not finish, in one line; "" where it did."""
        if self.answer.get("event") == "done":
            return ""
        if self.answer.get("event") == "failed":
            problems = "; ".join(self.answer["problems"][:3])
            return f"{self.answer['message']}" + (f" ({problems})" if problems else "")
        code = self.process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            said = " (the system may have run out of memory)" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{said}"
        lines = self.errors.read_text("utf-8", "replace").splitlines() if self.errors.exists() else []
        last = " | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip())
        return f"its process ended with code {code}: {last or 'it said nothing'}"


class Children:
    """The processes that run now. Leaving the block ends those that still do."""

    def __init__(self, tell: Tell) -> None:
        self.running: dict[str, Child] = {}
        self._tell = tell
        self._said: Queue[tuple[Child, dict[str, Any] | None]] = Queue()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, request: Mapping[str, Any], errors: Path) -> Child:
        """Start a process on a request. errors: file for what it prints beside its answers."""
        errors.parent.mkdir(parents=True, exist_ok=True)
        with open(errors, "wb") as stream:
            # A session of its own: a Ctrl-C reaches it once, from here, and not twice.
            process = subprocess.Popen(
                module_command("tenfold.ensembles.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=module_environment(PYTHONIOENCODING="utf-8"),
                start_new_session=True,
            )
        child = Child(name, process, errors)
        self.running[name] = child
        threading.Thread(target=self._listen, args=(child, dict(request)), daemon=True).start()
        return child

    def _listen(self, child: Child, request: dict[str, Any]) -> None:
        process = child.process
        if process.stdin is not None and process.stdout is not None:
            try:
                process.stdin.write(json.dumps(request).encode())
                process.stdin.close()
            except OSError:
                pass  # it died at once; what it printed says why
            with process.stdout as lines:
                for line in lines:
                    try:
                        self._said.put((child, json.loads(line)))
                    except ValueError:
                        continue
        process.wait()
        self._said.put((child, None))

    def next_finished(self) -> Child:
        """Wait until one has ended, telling what they all say."""
        while True:
            try:
                child, line = self._said.get(timeout=0.5)
            except Empty:
                self._tell("", None)
                continue
            if line is None:
                self.running.pop(child.name, None)
                return child
            if line.get("event") in ("done", "failed"):
                child.answer = line
            self._tell(child.name, event_of(line))

    def stop(self) -> None:
        """Ask all to stop, as Ctrl-C does; whoever does not is killed."""
        for child in self.running.values():
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGINT)
        until = time.monotonic() + PATIENCE
        for child in self.running.values():
            try:
                child.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        self.running.clear()


def ask(request: Mapping[str, Any], errors: Path, tell: Tell) -> dict[str, Any]:
    """The answer of one process to one request.

    Raises TrainingError where it fails: what went wrong is then named.
    """
    with Children(tell) as children:
        name = str(request["task"])
        children.start(name, request, errors)
        child = children.next_finished()
    failure = child.failure()
    if failure:
        raise _error(child, failure)
    errors.unlink(missing_ok=True)
    return child.answer


def _error(child: Child, failure: str) -> TenfoldError:
    problems = child.answer.get("problems", [])
    headline = child.answer.get("message", failure)
    return TrainingError(headline, problems=problems)
