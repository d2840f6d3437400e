"""``tenfold`` as a person types it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TENFOLD = [sys.executable, "-m", "tenfold"]


def tenfold(*words: object, cwd: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it there, expect that exit code, and never a traceback."""
    done = subprocess.run(
        [*TENFOLD, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done
