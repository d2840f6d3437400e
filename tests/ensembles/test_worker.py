"""One member in a process of its own: what it is asked, and the lines that it answers with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from photos import QUICK, write_photos, write_table


def ask(folder: Path, request: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "-m", "tenfold.ensembles.worker"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=folder,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def request_of(folder: Path, **more: Any) -> dict[str, Any]:
    write_table(folder / "train.csv", write_photos(folder, 12))
    schema = {
        "inputs": [{"kind": "image", "name": "id", "folder": "photos"}],
        "targets": [{"kind": "category", "name": "label"}],
    }
    return {"schema": schema, "table": "train.csv", "reading": {}, "machine": {}, **more}


def test_a_training_tells_its_stages_and_its_scores(tmp_path: Path) -> None:
    recipe = {**QUICK.model_dump(mode="json", exclude_unset=True), "epochs": 1}
    code, lines = ask(tmp_path, request_of(tmp_path, task="fit", recipe=recipe, run="one"))
    assert code == 0 and lines[-1]["event"] == "done"
    assert lines[-1]["summary"]["rows"] == 12 and (tmp_path / "one" / "run.json").exists()
    assert {"stage", "note", "epoch"} <= {line["event"] for line in lines}


def test_what_a_user_can_mend_ends_with_2(tmp_path: Path) -> None:
    request = request_of(tmp_path, task="fit", recipe={"arch": "test_resnet", "weights": "none"}, run="one")
    code, lines = ask(tmp_path, {**request, "table": "none.csv"})
    assert code == 2 and lines[-1]["event"] == "failed" and "none.csv" in lines[-1]["text"]
