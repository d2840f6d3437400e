"""Graphs of ONNX as files: compared to the last digit, written whole, described."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from tenfold.errors import OutputError, RunError
from tenfold.files.graph import (
    GraphInput,
    GraphOutput,
    _difference,
    check_graph_path,
    describe_graph,
    refuse_difference,
    write_graph,
)


def test_numbers_are_compared_by_their_size_and_nan_is_nan() -> None:
    assert _difference(np.array([1e6 + 1]), np.array([1e6])) == pytest.approx(1e-6)
    assert _difference(np.array([0.25]), np.array([0.5])) == 0.25
    assert _difference(np.array([np.nan]), np.array([np.nan])) == 0.0
    assert _difference(np.array([np.inf]), np.array([np.inf])) == 0.0
    for strange in ([np.nan], [np.inf], [0.5, 0.5]):
        assert _difference(np.array(strange), np.array([0.5])) > 1e300


def test_a_difference_that_is_no_number_is_refused() -> None:
    refuse_difference(9e-6, "rows")
    for far in (1e-5, float("nan"), float("inf")):
        with pytest.raises(RunError, match="nothing was written"):
            refuse_difference(far, "3 rows")


def test_a_graph_is_written_with_its_checksum_beside_it(tmp_path: Path) -> None:
    described = write_graph(tmp_path / "new" / "a.onnx", b"model", {"format": 1, "run": "größer"})
    beside = json.loads(described.read_text("utf-8"))
    assert beside["sha256"] == hashlib.sha256(b"model").hexdigest() and beside["run"] == "größer"
    assert beside["graph"] == "a.onnx" and (tmp_path / "new" / "a.onnx").read_bytes() == b"model"
    with pytest.raises(OutputError, match="written as"):
        check_graph_path(tmp_path / "a.pb")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_full_disk_leaves_neither_a_graph_nor_a_description(tmp_path: Path) -> None:
    import resource

    write_graph(tmp_path / "old.onnx", b"old", {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        for name in ("old.onnx", "new.onnx"):
            with pytest.raises(OutputError, match="cannot be written"):
                write_graph(tmp_path / name, b"m" * 5000, {})
            with pytest.raises(OutputError, match="cannot be written"):
                write_graph(tmp_path / name, b"m", {"about": "a" * 5000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_inputs_and_outputs_are_described() -> None:
    inputs = [GraphInput("photo", "picture"), GraphInput("job", "text", words=("", "smith"))]
    told = describe_graph(inputs, [GraphOutput("label", "category", ("no", "yes"))])
    assert told["inputs"] == [
        {"name": "photo", "kind": "picture", "type": "uint8", "shape": ["rows", "height", "width", 3]},
        {"name": "job", "kind": "text", "type": "string", "shape": ["rows"], "words": ["", "smith"]},
    ]
    assert told["outputs"] == [{"name": "label", "kind": "category", "classes": ("no", "yes")}]
