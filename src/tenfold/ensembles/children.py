"""Worker processes: a request goes in as JSON, events and the answer come out as lines of JSON."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from tenfold.errors import TrainingError
from tenfold.events import Event, event_of
from tenfold.processes import module_command, module_environment

#: Seconds that a child may take to stop when asked to.
PATIENCE = 30.0
#: Lines of a child's standard error that its failure quotes, when it gave no answer.
LAST_LINES = 5

#: Called with a child's name and its event; None for its answer, and now and then while all are silent.
Tell = Callable[[str, Event | None], None]


@dataclass(frozen=True)
class Needs:
    """What a task takes of a machine. threads: of its arithmetic; 0: as the machine has cores.

    memory_bytes: planned; 0 where it is not planned.
    """

    threads: int = 0
    memory_bytes: int = 0


@dataclass
class Child:
    """A process, and its answer: a ``done`` or ``failed`` event; {} while it runs, and if it died."""

    name: str
    process: subprocess.Popen[bytes]
    errors: Path
    started: float = field(default_factory=time.monotonic)
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def failure(self) -> str:
        """Return why it did not finish, in a line; "" if it did."""
        if self.answer.get("event") == "done":
            return ""
        if self.answer.get("event") == "failed":
            problems = "; ".join(self.answer["problems"][:3])
            return self.answer["message"] + (f" ({problems})" if problems else "")
        code = self.process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            why = " (the system may have run out of memory)" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{why}"
        lines = self.errors.read_text("utf-8", "replace").splitlines() if self.errors.exists() else []
        last = " | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip())
        return f"its process ended with code {code}: {last or 'it said nothing'}"


class Children:
    """The running processes. Leaving the block ends them."""

    def __init__(self, tell: Tell) -> None:
        self.running: dict[str, Child] = {}
        self._tell = tell
        self._lines: Queue[tuple[Child, dict[str, Any] | None]] = Queue()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, request: Mapping[str, object], errors: Path, needs: Needs = Needs()) -> Child:
        """Start a process on a request. errors: file for its standard error."""
        errors.parent.mkdir(parents=True, exist_ok=True)
        threads = {"OMP_NUM_THREADS": str(needs.threads)} if needs.threads else {}
        with open(errors, "wb") as stream:
            # Its own session: a Ctrl-C reaches it once, from here, and not twice.
            process = subprocess.Popen(
                module_command("tenfold.ensembles.worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=module_environment(PYTHONIOENCODING="utf-8", **threads),
                start_new_session=True,
            )
        child = Child(name, process, errors)
        self.running[name] = child
        threading.Thread(target=self._listen, args=(child, dict(request)), daemon=True).start()
        return child

    def _listen(self, child: Child, request: Mapping[str, object]) -> None:
        process = child.process
        if process.stdin is not None and process.stdout is not None:
            try:
                process.stdin.write(json.dumps(request).encode())
                process.stdin.close()
            except OSError:
                pass  # it died at once; its standard error says why
            with process.stdout as lines:
                for line in lines:
                    try:
                        self._lines.put((child, json.loads(line)))
                    except ValueError:
                        continue
        process.wait()
        self._lines.put((child, None))

    def next_finished(self) -> Child | None:
        """Wait until a process has ended, and pass on the events of all; None where none runs any more."""
        while self.running:
            try:
                child, line = self._lines.get(timeout=0.5)
            except Empty:
                self._tell("", None)
                continue
            if line is None:
                if self.running.pop(child.name, None) is not None:
                    return child
                continue
            if line.get("event") in ("done", "failed"):
                child.answer = line
            self._tell(child.name, event_of(line))
        return None

    def cancel(self, name: str) -> None:
        """End a process."""
        child = self.running.pop(name, None)
        if child is not None:
            _stop([child])

    def stop(self) -> None:
        """End all processes."""
        _stop(self.running.values())
        self.running.clear()


def _stop(children: Collection[Child]) -> None:
    """Ask processes to stop, as Ctrl-C does; kill those that do not."""
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGINT)
    until = time.monotonic() + PATIENCE
    for child in children:
        try:
            child.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def ask(request: Mapping[str, object], errors: Path, tell: Tell) -> Any:
    """Return the answer of a process to a request: see `ensembles.requests`.

    Raises TrainingError with the reason if it fails.
    """
    with Children(tell) as children:
        child = children.start(str(request["task"]), request, errors)
        children.next_finished()
    failure = child.failure()
    if failure:
        raise TrainingError(child.answer.get("message", failure), problems=child.answer.get("problems", []))
    errors.unlink(missing_ok=True)
    return child.answer
