"""What `tenfold serve` refuses before it listens."""

from __future__ import annotations

from pathlib import Path

from command import tenfold
from tenfold.serving.server import bind

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2"


def test_what_cannot_be_served_is_named() -> None:
    assert (
        "did you mean 'runs/als'?" in tenfold("serve", "runs/alz", "--port", "0", cwd=GOLDEN, code=2).stderr
    )
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        said = tenfold("serve", "runs/als", "--port", port, cwd=GOLDEN, code=2).stderr
        assert f"port {port} of 127.0.0.1 is in use" in said and "--port 0" in said
    assert "--max-rows = 0" in tenfold("serve", "runs/als", "--max-rows", "0", cwd=GOLDEN, code=2).stderr
