"""Several processes on one training: the same weights as one process, whatever their number."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tenfold.engine.ranks import ONE_RANK, Ranks, check_devices, rank_device
from tenfold.engine.step import FIRST_SCALE
from tenfold.errors import RecipeError
from training import largest_difference

SUPPORT = Path(__file__).parents[1] / "support"
#: float64 after several steps, as for micro-batches.
EXACT = 1e-10
SEVERAL = pytest.mark.parametrize("count", [2, 3])
#: Every rank keeps the whole optimizer, or its part of it, or also of the weights.
SPLIT = pytest.mark.parametrize("split", ["", "-shard", "-weights"])


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each case of `ranked.py` came to by 1, 2 and 3 processes."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(SUPPORT / "ranked.py"), str(folder)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def result(played: Path, count: int, case: str, split: str = "") -> Any:
    return torch.load(played / f"{count}-{case}{split}.pt", weights_only=False)


def same_losses(one: Any, other: Any) -> bool:
    """Whether all numbers of two nested records are the same to rounding."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_losses(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_losses, one, other))
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (one != one and other != other)
    return one == other


@SPLIT
@SEVERAL
@pytest.mark.parametrize(
    "case",
    [
        "missing_labels",
        "other_numbers_of_passes",
        "hardly_any_label",
        "a_batch_of_one_row",
        "norms_in_groups",
        "fewer_groups_than_ranks",
        "every_kind",
        "cells_alone",
        "taught",
    ],
)
def test_the_same_weights_as_one_process(played: Path, case: str, count: int, split: str) -> None:
    if split == "-weights" and case == "cells_alone":
        assert "no blocks whose weights could be split" in result(played, count, case, split)
        return
    one, several = result(played, 1, case), result(played, count, case, split)
    assert largest_difference(one["state"], several["state"]) < EXACT
    assert same_losses(one.get("losses"), several.get("losses"))


@SPLIT
@SEVERAL
def test_a_whole_training_with_averaged_weights_and_validation(played: Path, count: int, split: str) -> None:
    one, several = result(played, 1, "whole_training"), result(played, count, "whole_training", split)
    assert largest_difference(one["state"], several["state"]) < EXACT
    assert same_losses(one["history"], several["history"]) and one["kept"] == several["kept"]
    assert len(one["history"]) == 3 and one["history"][-1]["valid"]


@SPLIT
@SEVERAL
def test_a_training_that_fails_ends_with_its_last_good_weights(played: Path, count: int, split: str) -> None:
    one, several = result(played, 1, "spoilt"), result(played, count, "spoilt", split)
    assert largest_difference(one["state"], several["state"]) < EXACT
    assert one["stopped"] == several["stopped"] == "spoilt" and one["kept"] == several["kept"]


@pytest.mark.parametrize(("count", "split"), [(1, ""), (3, ""), (3, "-shard"), (3, "-weights")])
def test_resumed_by_another_number_of_ranks(played: Path, count: int, split: str) -> None:
    whole, resumed = result(played, 1, "whole_training"), result(played, count, "resumed", split)
    assert largest_difference(whole["state"], resumed["state"]) < EXACT
    assert same_losses(whole["history"], resumed["history"])


@SPLIT
@SEVERAL
def test_out_of_memory_on_one_rank_is_so_on_all(played: Path, count: int, split: str) -> None:
    one, several = result(played, 1, "out_of_memory"), result(played, count, "out_of_memory", split)
    assert largest_difference(one["state"], several["state"]) < EXACT
    # 8 and 5 rows of the batch, halved twice; rank 0, which tells, had enough memory.
    assert several["micro_batch"] == {2: 2, 3: 1}[count] and one["micro_batch"] == 16
    assert [f"memory ran out on rank {count - 1}" in note for note in several["notes"]] == [True, True]


@SEVERAL
def test_out_of_memory_within_a_split_block_is_so_on_all(played: Path, count: int) -> None:
    one, several = result(played, 1, "out_of_memory"), result(played, count, "short_in_a_layer", "-weights")
    assert largest_difference(one["state"], several["state"]) < EXACT
    assert [f"memory ran out on rank {count - 1}" in note for note in several["notes"]] == [True, True]


@SPLIT
@SEVERAL
def test_never_enough_memory(played: Path, count: int, split: str) -> None:
    said = result(played, count, "never_enough_memory", split)
    assert "smallest possible micro-batch, 1 rows" in said and f"rank {count - 1}" in said


@SPLIT
@SEVERAL
def test_half_precision_overflows_in_one_part_and_no_part_is_updated(
    played: Path, count: int, split: str
) -> None:
    one, several = (result(played, n, "half_overflows", of) for n, of in ((1, ""), (count, split)))
    assert one["updated"] == several["updated"] == [True, False, True, True]
    assert one["scale"] == several["scale"] == FIRST_SCALE / 2
    assert largest_difference(one["state"], several["state"]) < 5e-3


def test_parts_are_whole_groups_and_all_rows() -> None:
    for count in (1, 2, 3, 5):
        for groups in ((1,) * 7, (4, 4, 3), (16,), (1, 1)):
            parts = [Ranks(number, count).part(groups) for number in range(count)]
            assert [row for part, _ in parts for row in range(part.start, part.stop)] == [*range(sum(groups))]
            assert tuple(size for _, own in parts for size in own) == groups
            assert all(part.stop - part.start == sum(own) for part, own in parts)
            assert sum(Ranks(0, count).largest_part(groups)) == max(sum(own) for _, own in parts)
    assert ONE_RANK.part((4, 4)) == (slice(0, 8), (4, 4))


def test_one_process_is_left_alone() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    with ONE_RANK.together():
        ONE_RANK.reserve([parameter])
        ONE_RANK.add_gradients([parameter])
    assert parameter.grad is None and ONE_RANK.add([2.0]) == [2.0] and ONE_RANK.most(3, 1) == [3, 1]
    assert ONE_RANK.from_first("a") == "a" and ONE_RANK.to_first("a") == ["a"] and not ONE_RANK.any(False)


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    check_devices(64, torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(2, torch.device("cuda"))
    with pytest.raises(RecipeError, match="3 devices of kind 'cuda' are asked for, and this machine has 2"):
        check_devices(3, torch.device("cuda"))
    with pytest.raises(RecipeError, match="this machine has 1"):
        check_devices(2, torch.device("mps"))
    assert rank_device("cpu") == torch.device("cpu")
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert rank_device("cpu") == torch.device("cpu")
    with pytest.raises(RecipeError, match="--device cuda:1 is one device, and there are 2 ranks"):
        rank_device("cuda:1")


def test_only_the_first_rank_writes_and_decodes(played: Path) -> None:
    # `ranked.command` fails where another rank decodes a picture.
    one, two = played / "photos1", played / "photos2"
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    weights = [load_file(run / "weights.safetensors") for run in (one, two)]
    assert all(np.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in weights[0])
    records = [json.loads((run / "run.json").read_text()) for run in (one, two)]
    assert "ranks" not in records[0] and records[1]["ranks"] == 2
    shared = "2 devices share each batch of 8 rows: 4 to 4 rows each"
    split = ", and of the weights and gradients of blocks, which are 98% of all"
    assert shared in records[1]["notes"] and shared not in records[0]["notes"]
    told = [any(note.endswith(split) for note in record["notes"]) for record in records]
    assert told == [False, True]
    assert [record["plan"]["checkpoint"] for record in records] == told
    for record in records:
        assert record["extra_rows"] == 6 and record["without_extra"]["label"]["scored"] == 3
        assert any(note.startswith("probe: predicted peak") for note in record["notes"])
    alone = [load_file(f"{run}-labels/weights.safetensors") for run in (one, two)]
    assert all(np.allclose(alone[0][name], alone[1][name], atol=1e-4) for name in alone[0])
    assert not list(played.glob("photos*.part"))
    lines = (played / ".tenfold-runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["run"] for line in lines] == ["photos2", "photos1", "limited"]


def test_ranks_take_as_many_epochs_as_the_first_one_plans_for_a_limit(played: Path) -> None:
    record = json.loads((played / "limited" / "run.json").read_text())
    assert any(note.startswith(f"time limit 30s: {record['epochs']} epochs") for note in record["notes"])
    assert len((played / "limited" / "history.jsonl").read_text().splitlines()) == record["epochs"] > 0
    parts = record["plan"]["parts"]
    assert 0.5 <= parts["averaged weights"] / parts["weights"] < 1 and parts["gradients"] == parts["weights"]
    assert parts["optimizer"] == 2 * parts["averaged weights"]
    # None fits into a hundredth of a second: all ranks end.
    assert not (played / "late").exists()
