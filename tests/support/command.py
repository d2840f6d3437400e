"""``tenfold`` as a person types it: in a process of its own.

Most of what a command costs is loading libraries. So the processes are forks of one that has loaded them and
has done nothing else; a command that is given an environment of its own is started from nothing.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

TENFOLD = [sys.executable, "-m", "tenfold"]


def tenfold(*words: object, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it there, expect that exit code, and never a traceback."""
    command = [*TENFOLD, *map(str, words)]
    if environment or not hasattr(os, "memfd_create"):
        surroundings = {**os.environ, **environment}
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=surroundings)
    else:
        done = _forked(command, cwd)
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def _forked(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    server = _server()
    assert server.stdin and server.stdout
    asked = {"words": command[len(TENFOLD) :], "cwd": str(cwd), "environment": dict(os.environ)}
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    found = json.loads(server.stdout.readline())
    return subprocess.CompletedProcess(command, found["code"], found["out"], found["err"])


@cache
def _server() -> subprocess.Popen[str]:
    words = [sys.executable, __file__]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    return server


# --- in the process that forks ------------------------------------------------------------------------


def _serve() -> None:
    """One line of JSON in, one command, one line of JSON out."""
    from forked import load_everything

    load_everything()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    said = [os.memfd_create(name) for name in ("out", "err")]
    pid = os.fork()
    if not pid:
        _become(asked, said)
    _, status = os.waitpid(pid, 0)
    out, err = (Path(f"/proc/self/fd/{handle}").read_text("utf-8", "replace") for handle in said)
    for handle in said:
        os.close(handle)
    return {"code": os.waitstatus_to_exitcode(status), "out": out, "err": err}


def _become(asked: dict[str, Any], said: list[int]) -> None:
    """Be that command, to its end."""
    from forked import leave

    def work() -> int:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, handle in zip((1, 2), said, strict=True):
            os.dup2(handle, number)
            os.close(handle)
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["cwd"])
        sys.argv = ["tenfold", *asked["words"]]
        from tenfold.cli.main import main

        main()
        return 0

    leave(work)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _serve()
