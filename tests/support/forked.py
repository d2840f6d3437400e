"""Commands in forks of one process that has loaded everything already: tenths of a second instead of seconds.

A fork can be killed at any moment, and can be told to come to grief at the k-th event of those that change
the disk: a file opened for writing, renamed, removed or flushed, a folder made or removed.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Events of `sys.addaudithook` that change the disk, beside opening for writing.
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
#: Longest that one command may take, in seconds: whoever takes longer hangs.
LONGEST = 120.0


@dataclass(frozen=True)
class Done:
    """How a command ended. code: its exit code, or minus the signal that ended it."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def tidy(self) -> bool:
        """Whether it ended as a command may: well, or with an error by name and without a traceback."""
        if "Traceback" in self.err + self.out:
            return False
        return self.code == 0 or (self.code in (1, 2, 130) and bool(self.err.strip()))

    def told(self) -> str:
        """The command and how it ended, for a person."""
        return f"tenfold {' '.join(self.words)}\n    exit {self.code}: {self.err.strip()[-900:]}"


def load_everything() -> None:
    """Import all of tenfold, so that forks need not. Nothing is trained: threads do not survive a fork."""
    import tenfold

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(tenfold.__path__, "tenfold."):
            if module.name != "tenfold.__main__":
                importlib.import_module(module.name)
        for name in (
            "pyarrow.parquet",
            "pyarrow.csv",
            "sklearn.metrics",
            "timm.models",
        ):
            importlib.import_module(name)


class Fork:
    """A command in a fork of this process, in a session of its own."""

    def __init__(self, words: Sequence[str], cwd: Path, prepare: Callable[[], None] | None = None) -> None:
        self.words = tuple(map(str, words))
        # Pipes and no files, which a disk could refuse.
        self._said, theirs = zip(*(_wide_pipe() for _ in range(2)), strict=True)
        self.began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            leave(lambda: _command(self.words, cwd, theirs, prepare))
        for handle in theirs:
            os.close(handle)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self) -> Done:
        """Wait for its end."""
        until = self.began + LONGEST
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > until:
                self.kill()
                os.waitpid(self.pid, 0)
                raise AssertionError(f"hangs: tenfold {' '.join(self.words)}")
            time.sleep(0.002)
        out, err = (_all_of(handle) for handle in self._said)
        return Done(self.words, os.waitstatus_to_exitcode(status), out, err, time.monotonic() - self.began)


def _wide_pipe() -> tuple[int, int]:
    """A pipe that takes whatever a command says before anybody reads it."""
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.set_blocking(reads, False)
    return reads, writes


def _all_of(handle: int) -> str:
    """What is in a pipe, which some member of an ensemble may still hold open."""
    parts = []
    try:
        while part := os.read(handle, 1 << 16):
            parts.append(part)
    except BlockingIOError:
        pass
    os.close(handle)
    return b"".join(parts).decode("utf-8", "replace")


def end_orphans(place: Path) -> None:
    """Kill what still runs in a folder: members of an ensemble that was killed are sessions of their own."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        there = [one for one in Path("/proc").iterdir() if one.name.isdecimal() and _is_in(one, place)]
        if not there:
            return
        for one in there:
            with suppress(ProcessLookupError):
                os.kill(int(one.name), signal.SIGKILL)
        time.sleep(0.01)


def _is_in(process: Path, place: Path) -> bool:
    try:
        return Path(os.readlink(process / "cwd")) == place.resolve()
    except OSError:
        return False


def run(words: Sequence[str], cwd: Path, prepare: Callable[[], None] | None = None) -> Done:
    """One command to its end. prepare: called in the fork before the command."""
    return Fork(words, cwd, prepare).wait()


def run_well(words: Sequence[str], cwd: Path) -> Done:
    """One command that must succeed."""
    done = run(words, cwd)
    if done.code:
        raise AssertionError(done.told())
    return done


def leave(work: Callable[[], int]) -> None:
    """Do the work in this fork, and end it without any of its parent's endings."""
    code = 70
    try:
        code = work()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        os._exit(code)


def _command(words: Sequence[str], cwd: Path, says: Sequence[int], prepare: Callable[[], None] | None) -> int:
    os.setsid()
    os.chdir(cwd)
    for number, handle in zip((1, 2), says, strict=True):
        os.dup2(handle, number)
        os.close(handle)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    os.environ["TENFOLD_CACHE"] = str(cwd / "cache")
    sys.argv = ["tenfold", *words]
    import tenfold.ensembles.children
    from tenfold.cli.main import main

    tenfold.ensembles.children.subprocess = _Subprocess  # type: ignore[assignment]
    if prepare is not None:
        prepare()
    main()
    return 0


# --- children of an ensemble, forked, too ---------------------------------------------------------------


class _Popen:
    """What `ensembles.children` needs of `subprocess.Popen`: a member's process, as a fork of this one."""

    def __init__(self, words: Sequence[str], *, stdin: int, stdout: int, stderr: Any, **_: Any) -> None:
        theirs_in, mine_in = os.pipe()
        mine_out, theirs_out = os.pipe()
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self.pid = os.fork()
        if not self.pid:
            leave(lambda: self._member(theirs_in, theirs_out, stderr.fileno()))
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin, self.stdout = os.fdopen(mine_in, "wb"), os.fdopen(mine_out, "rb")

    @staticmethod
    def _member(stdin: int, stdout: int, stderr: int) -> int:
        os.setsid()
        for number, handle in enumerate((stdin, stdout, stderr)):
            os.dup2(handle, number)
        os.closerange(3, 256)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", closefd=False)
            for number, mode in ((0, "r"), (1, "w"), (2, "w"))
        )
        from tenfold.ensembles.worker import main

        return main()

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (timeout if timeout is not None else LONGEST)
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("member", timeout or LONGEST)
            time.sleep(0.005)
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


class _Subprocess:
    PIPE, DEVNULL, TimeoutExpired, Popen = (
        subprocess.PIPE,
        subprocess.DEVNULL,
        subprocess.TimeoutExpired,
        _Popen,
    )


# --- events ---------------------------------------------------------------------------------------------


def watch(act: Callable[[int, str, str], None], *, reading: bool = False) -> Callable[[], None]:
    """What a fork does before its command: `act` is told of each event's number (from 0), name and place.

    Events are those that change the disk under the current folder; with `reading`, files opened there for
    reading instead. What `act` raises is what the command sees in the event's place.
    """

    def prepare() -> None:
        here, count = os.getcwd() + os.sep, 0

        def touch(what: str, path: Any) -> None:
            nonlocal count
            count += 1
            act(count - 1, what, os.path.relpath(path, here) if isinstance(path, str) else str(path))

        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event != "open" and (reading or event not in CHANGES):
                return
            if event == "open" and (not isinstance(args[2], int) or bool(args[2] & WRITING) == reading):
                return
            place = args[0]
            if isinstance(place, bytes):
                place = os.fsdecode(place)
            if isinstance(place, str) and (os.path.abspath(place) + os.sep).startswith(here):
                touch(event, os.path.abspath(place))

        sys.addaudithook(hook)
        flush = os.fsync

        def fsync(handle: Any) -> None:
            if not reading:
                touch("fsync", "a file")
            flush(handle)

        os.fsync = fsync

    return prepare


def count_events(words: Sequence[str], cwd: Path, *, reading: bool = False) -> list[str]:
    """What the events of a command are, in order; it must succeed."""
    log = cwd / ".events"
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def act(number: int, what: str, path: str) -> None:
        os.write(handle, f"{what} {path}\n".encode())

    done = run(words, cwd, watch(act, reading=reading))
    os.close(handle)
    if done.code:
        raise AssertionError(done.told())
    found = log.read_text().splitlines()
    log.unlink()
    return found


def killed_at(event: int) -> Callable[[], None]:
    """The fork is killed as the event of that number begins."""

    def act(number: int, what: str, path: str) -> None:
        if number == event:
            os.kill(os.getpid(), signal.SIGKILL)

    return watch(act)


def failing_at(event: int, code: int, *, lasting: bool = False, reading: bool = False) -> Callable[[], None]:
    """The event of that number, or with `lasting` this and all later ones, end in this error."""

    def act(number: int, what: str, path: str) -> None:
        # A full disk still lets files go.
        if code == errno.ENOSPC and what in ("os.remove", "os.rmdir", "os.rename"):
            return
        if number == event or (lasting and number > event):
            raise OSError(code, os.strerror(code), path)

    return watch(act, reading=reading)


def limited_to(size: int, *, kill: bool) -> Callable[[], None]:
    """No file may grow beyond that many bytes: a write that would, fails, or ends the fork."""

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kill else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return prepare
