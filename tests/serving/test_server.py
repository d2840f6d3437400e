"""The process: its port, its names, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from command import TENFOLD
from tenfold.errors import MachineError, RunError
from tenfold.serving.limits import Limits
from tenfold.serving.server import bind, open_served

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2"


def test_a_port_in_use_is_named() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            MachineError, match=f"port {port} of 127.0.0.1 is in use by another program"
        ) as told:
            bind("127.0.0.1", port)
        assert "--port 0" in str(told.value)
    with pytest.raises(MachineError, match="no port 70000"):
        bind("127.0.0.1", 70000)
    with pytest.raises(MachineError, match="no.such.host"):
        bind("no.such.host.invalid", 0)


def test_two_runs_of_a_name_are_refused() -> None:
    paths = [str(GOLDEN / "runs" / "als"), str(GOLDEN.parent / "edition1" / "runs" / "als")]
    with pytest.raises(RunError, match="two runs are called als"):
        open_served(paths, Limits())


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_server_starts_answers_and_ends() -> None:
    words = [*TENFOLD, "serve", "runs/als", "--port", "0"]
    server = subprocess.Popen(words, cwd=GOLDEN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = line.split()[3]
        with urllib.request.urlopen(f"{address}/recommend/u0?n=2", timeout=30) as answer:
            assert len(json.load(answer)["rows"]) == 2
        port = int(address.rpartition(":")[2])
        # Whoever goes before the request is whole is no fault of the server's.
        with socket.create_connection(("127.0.0.1", port)) as cut:
            cut.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
            cut.sendall(b"content-length: 1000\r\n\r\n{")
        counted = ""
        for _ in range(100):
            with urllib.request.urlopen(f"{address}/metrics", timeout=30) as answer:
                counted = answer.read().decode()
            if 'path="/predict"' in counted:
                break
            time.sleep(0.1)
        assert 'path="/predict",status="499"' in counted and 'status="500"' not in counted
        # A connection that is open and asks nothing keeps nobody.
        with socket.create_connection(("127.0.0.1", port)):
            server.send_signal(signal.SIGTERM)
            _, errors = server.communicate(timeout=30)
        assert "Traceback" not in errors and server.returncode in (0, -signal.SIGTERM)
    finally:
        server.kill()
        server.wait()


def test_without_its_packages_serving_says_what_to_install(tmp_path: Path) -> None:
    hidden = tmp_path / "fastapi.py"
    hidden.write_text("raise ImportError('hidden', name='fastapi')")
    words = [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv.pop(1)); "
             "from tenfold.cli.main import main; main()", str(tmp_path), "serve", "runs/als"]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'tenfold[serve]'" in done.stderr
