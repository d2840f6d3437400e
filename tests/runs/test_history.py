"""The history: every run, what changed since its parent, leaderboard scores, and whose a submission is."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import RunError
from tenfold.runs.described import sealed
from tenfold.runs.history import (
    FILE,
    find_maker,
    main_score,
    read_history,
    record_run,
    record_score,
    record_submission,
)


def make_run(
    folder: Path,
    when: str,
    error: float | None,
    data: str = "d",
    target: str = "label",
    more: dict[str, Any] | None = None,
    **recipe: Any,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "format": 1,
        "kind": "network",
        "finished": f"2026-01-0{when}T00:00:00+00:00",
        "versions": {"tenfold": "0.1"},
        "targets": {target: {"error_rate": error, "labels": {"a": 1}}},
        "identity": {"data": data, "recipe": {"epochs": 3, "seed": 1, **recipe}},
        "seconds": 2.0,
        "peak_bytes": 1 << 30,
        "files": {},
        **(more or {}),
    }
    (folder / "run.json").write_text(json.dumps(sealed(about)))
    return folder


def test_runs_come_best_first_with_what_changed_and_the_gain(tmp_path: Path) -> None:
    record_run(make_run(tmp_path / "one", "1", 0.3))
    record_run(make_run(tmp_path / "two", "2", 0.1, epochs=9))
    record_run(make_run(tmp_path / "three", "3", 0.2, data="other", epochs=9, seed=2))
    found = read_history(tmp_path)
    assert [one.run for one in found] == ["two", "three", "one"]
    two, three, one = found
    assert two.parent == "one" and two.changed == ("epochs: 3 -> 9",) and two.gain == pytest.approx(0.2)
    # Of other rows the score is another thing, and no gain.
    assert three.parent == "two" and math.isnan(three.gain)
    assert "no gain can be told" in three.changed[0] and "split" in three.changed[0]
    assert one.parent == "" and math.isnan(one.gain)
    record = two.record()
    assert (record["seed"], record["recipe"]["epochs"], record["data"], record["version"]) == (
        1,
        9,
        "d",
        "0.1",
    )
    assert record["targets"]["label"] == {"error_rate": 0.1}


def test_a_run_that_was_replaced_or_removed_stays_in_the_history(tmp_path: Path) -> None:
    record_run(make_run(tmp_path / "one", "1", 0.3))
    record_run(make_run(tmp_path / "one", "2", 0.2, epochs=5))
    record_run(tmp_path / "one")  # nothing new
    found = read_history(tmp_path)
    assert [(one.run, one.there) for one in found] == [("one", True), ("one", False)]
    assert found[0].changed == ("epochs: 3 -> 5",)


def test_runs_without_a_history_are_found_in_their_folders(tmp_path: Path) -> None:
    make_run(tmp_path / "old", "1", 0.3)
    (tmp_path / "no run").mkdir()
    assert [one.run for one in read_history(tmp_path)] == ["old"]
    assert not (tmp_path / FILE).exists()
    with pytest.raises(RunError, match="no folder"):
        read_history(tmp_path / "none")


def test_many_names_that_only_one_run_has_are_counted(tmp_path: Path) -> None:
    record_run(make_run(tmp_path / "one", "1", 0.3, a=1, b=2, c=3, d=4, e=5))
    record_run(make_run(tmp_path / "two", "2", 0.1, epochs=9))
    record_run(make_run(tmp_path / "three", "3", 0.05, epochs=9, f=1))
    three, two, _ = read_history(tmp_path)
    assert two.changed == ("epochs: 3 -> 9", "5 fields that one of them lacks")
    assert three.changed == ("f: null -> 1",)


def test_only_another_seed_is_said_too(tmp_path: Path) -> None:
    record_run(make_run(tmp_path / "one", "1", 0.3))
    record_run(make_run(tmp_path / "two", "2", 0.25, seed=4))
    assert read_history(tmp_path)[0].changed == ("seed: 1 -> 4",)


def test_runs_of_other_targets_are_no_rivals(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "1", 0.3)
    make_run(tmp_path / "b", "2", 0.01, target="other")
    make_run(tmp_path / "c", "3", 0.2)
    found = read_history(tmp_path)
    assert [one.run for one in found] == ["c", "a", "b"]
    assert found[0].parent == "a" and found[2].parent == ""


def test_a_line_that_was_cut_off_spoils_nothing(tmp_path: Path) -> None:
    record_run(make_run(tmp_path / "one", "1", 0.3))
    with open(tmp_path / FILE, "a") as stream:
        stream.write('{"event": "run", "ru')
    assert len(read_history(tmp_path)) == 1


def test_leaderboard_scores_belong_to_the_run_as_it_was(tmp_path: Path) -> None:
    make_run(tmp_path / "one", "1", 0.3)
    assert record_score(tmp_path / "one", 0.9876) == "one: leaderboard 0.9876"
    record_score(tmp_path / "one", 0.99)
    assert read_history(tmp_path)[0].leaderboard == (0.9876, 0.99)
    record_run(make_run(tmp_path / "one", "2", 0.2))
    assert [one.leaderboard for one in read_history(tmp_path)] == [(), (0.9876, 0.99)]
    with pytest.raises(RunError) as caught:
        record_score(tmp_path / "onee", 0.5)
    assert "did you mean 'one'?" in str(caught.value)
    with pytest.raises(RunError, match="not a score"):
        record_score(tmp_path / "one", math.nan)


def test_a_submission_is_tied_to_its_run_by_its_bytes(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "one", "1", 0.3)
    file = tmp_path / "sub.csv"
    file.write_text("id,label\n1,a\n")
    assert record_submission(tmp_path / "runs" / "one", file) == []
    (tmp_path / "elsewhere.csv").write_bytes(file.read_bytes())
    assert find_maker(tmp_path / "elsewhere.csv", tmp_path / "runs")[0]["run"] == "one"
    assert read_history(tmp_path / "runs")[0].submissions[0]["file"] == str(file)
    file.write_text("id,label\n1,b\n")
    with pytest.raises(RunError, match="no run"):
        find_maker(file, tmp_path / "runs")
    with pytest.raises(RunError, match="no file"):
        find_maker(tmp_path / "none.csv", tmp_path / "runs")


def test_one_figure_for_all_targets() -> None:
    assert main_score({"a": {"error_rate": 0.2}, "b": {"micro_f1": 0.7}}) == pytest.approx(0.25)
    assert main_score({"a": {"rmse": 3.0, "mean_rmse": 6.0}}) == 0.5
    assert main_score({"a": {"rmse": 0.9}}) == 0.9
    assert main_score({"a": {"lists": {"ndcg": 0.75}}}) == 0.25
    assert math.isnan(main_score({})) and math.isnan(main_score({"a": {"error_rate": None}}))


def test_a_folder_that_takes_no_history_is_said_and_stops_nothing(tmp_path: Path) -> None:
    make_run(tmp_path / "one", "1", 0.3)
    (tmp_path / FILE).mkdir()
    notes = record_run(tmp_path / "one")
    assert len(notes) == 1 and "cannot be written" in notes[0]


@pytest.mark.case("B3", "a gain is told between runs of the same rows, labels and split only")
def test_the_parent_is_the_last_run_of_the_same_rows(tmp_path: Path) -> None:
    make_run(tmp_path / "time", "1", 0.4, data="a", more={"fingerprint": {"scored": "by time"}})
    make_run(tmp_path / "random", "2", 0.1, data="b", more={"fingerprint": {"scored": "random"}})
    make_run(tmp_path / "again", "3", 0.3, data="c", more={"fingerprint": {"scored": "by time"}})
    found = {one.run: one for one in read_history(tmp_path)}
    assert found["random"].parent == "time" and math.isnan(found["random"].gain)
    assert found["random"].changed == ("other rows, labels or split: no gain can be told",)
    # Another column, or an item table, changes what is trained on, but not what is scored.
    assert found["again"].parent == "time" and found["again"].gain == pytest.approx(0.1)
    assert found["again"].changed == ("other columns, pictures or side tables",)


@pytest.mark.case("B3", "neighbour: runs without a score come last and are nobody's parent across tables")
def test_runs_without_a_score_come_last(tmp_path: Path) -> None:
    bare: dict[str, Any] = {"targets": {}}
    for day, (name, data) in enumerate((("a", "x"), ("b", "y"), ("c", "x"), ("d", "z")), start=1):
        make_run(tmp_path / name, str(day), 0.0, data=data, more=bare)
    make_run(tmp_path / "scored", "5", 0.9)
    make_run(tmp_path / "undefined", "6", None)
    found = read_history(tmp_path)
    assert found[0].run == "scored" and {one.parent for one in found} == {"", "a"}
    assert next(one for one in found if one.run == "c").parent == "a"


@pytest.mark.case("B3", "neighbour: RMSE and NDCG of one target are not subtracted")
def test_scores_of_another_kind_are_no_rivals(tmp_path: Path) -> None:
    for day, scores in enumerate(({"rmse": 0.9}, {"lists": {"ndcg": 0.4}}, {"rmse": 0.8}), start=1):
        make_run(tmp_path / f"r{day}", str(day), 0.0, more={"targets": {"rating": scores}})
    found = {one.run: one for one in read_history(tmp_path)}
    assert found["r2"].parent == "" and found["r3"].parent == "r1"
    assert found["r3"].gain == pytest.approx(0.1)


@pytest.mark.case("B3", "neighbour: a blend is compared with runs that held out the same rows")
def test_a_blend_has_the_rows_of_its_members(tmp_path: Path) -> None:
    for day, name in enumerate(("one", "two"), start=1):
        make_run(tmp_path / name, str(day), 0.3, more={"fingerprint": {"scored": "same"}})
    other = make_run(tmp_path / "other", "3", 0.2, more={"fingerprint": {"scored": "else"}})
    for day, (name, runs) in enumerate((("same", ["one", "two"]), ("mixed", ["one", other.name])), start=4):
        members = [{"name": run, "runs": [{"path": f"../{run}"}]} for run in runs]
        more = {"kind": "blend", "members": members, "identity": {"data": "mark"}}
        make_run(tmp_path / name, str(day), 0.1, more=more)
    found = {one.run: one for one in read_history(tmp_path)}
    assert found["same"].parent == "two" and found["same"].gain == pytest.approx(0.2)
    assert math.isnan(found["mixed"].gain) and "split" in "".join(found["mixed"].changed)


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    record_run(make_run(tmp_path / "one", "1", 0.3))
    with open(tmp_path / FILE, "a") as stream:
        stream.write('{"event": "run", "ru')
    record_run(make_run(tmp_path / "two", "2", 0.1))
    for name in ("one", "two"):
        (tmp_path / name / "run.json").unlink()
    notes: list[str] = []
    assert [one.run for one in read_history(tmp_path, on_note=notes.append)] == ["two", "one"]
    assert len(notes) == 1 and "line 2, is left out: it is not whole" in notes[0]


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": "x"}, {"targets": None}, {"targets": {"a": 1}}, {"finished": 3}, {"recipe": []},
        {"run": None}, {"digest": 4}, {"members": "x"}, {"version": None}, {"peak_bytes": "x"}, {"kind": {}},
    ],
)  # fmt: skip
def test_a_line_with_odd_fields_is_named_and_left_out(tmp_path: Path, change: dict[str, Any]) -> None:
    record_run(make_run(tmp_path / "one", "1", 0.3))
    record_run(make_run(tmp_path / "two", "2", 0.1))
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    del lines[0]["sum"]  # as earlier versions wrote them
    lacking = {name: value for name, value in lines[0].items() if name not in change}
    for odd in ({**lines[0], **change}, lacking):
        (tmp_path / FILE).write_text(json.dumps(odd) + "\n" + json.dumps(lines[1]) + "\n")
        (tmp_path / "one" / "run.json").unlink(missing_ok=True)
        notes: list[str] = []
        found = read_history(tmp_path, on_note=notes.append)
        if odd is lacking and "members" in change:
            assert len(found) == 2 and not notes
        else:
            assert [one.run for one in found] == ["two"]
            assert "line 1, is left out" in notes[0] and next(iter(change)) in notes[0]


@pytest.mark.parametrize("event", ["score", "submission"])
def test_scores_and_submissions_without_their_fields_are_left_out(tmp_path: Path, event: str) -> None:
    record_run(make_run(tmp_path / "one", "1", 0.3))
    digest = json.loads((tmp_path / FILE).read_text())["digest"]
    with open(tmp_path / FILE, "a") as stream:
        for more in ({}, {"value": "x", "file": 3, "sha256": None, "when": None}):
            stream.write(json.dumps({"event": event, "run": "one", "digest": digest, **more}) + "\n")
        stream.write("[1]\n3\n" + "[" * 100_000 + "\n")
    notes: list[str] = []
    [one] = read_history(tmp_path, on_note=notes.append)
    assert one.leaderboard == () and one.submissions == () and len(notes) == 5
    (tmp_path / "file.csv").write_text("x")
    with pytest.raises(RunError, match="has made"):
        find_maker(tmp_path / "file.csv", tmp_path)


def test_names_with_odd_line_ends_stay_one_line(tmp_path: Path) -> None:
    record_run(make_run(tmp_path / "a\u2028b\x85c", "1", 0.3, data="x\x0b"))
    (tmp_path / "a\u2028b\x85c" / "run.json").unlink()
    assert [one.run for one in read_history(tmp_path)] == ["a\u2028b\x85c"]


def test_lines_of_many_processes_do_not_mix(tmp_path: Path) -> None:
    make_run(tmp_path / "one", "1", 0.3)
    code = (
        "import sys; from tenfold.runs.history import record_score\n"
        "for value in range(40): record_score(sys.argv[1], value)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "one")]
    running = [subprocess.Popen(words) for _ in range(2)]
    assert [one.wait() for one in running] == [0, 0]
    notes: list[str] = []
    [one] = read_history(tmp_path, on_note=notes.append)
    assert sorted(one.leaderboard) == sorted([*range(40)] * 2) and not notes


def test_a_value_that_was_changed_is_told_by_the_sum_of_its_line(tmp_path: Path) -> None:
    make_run(tmp_path / "one", "1", 0.3)
    record_score(tmp_path / "one", 0.75)
    file = tmp_path / FILE
    file.write_text(file.read_text().replace("0.75", "0.95"))
    notes: list[str] = []
    [one] = read_history(tmp_path, on_note=notes.append)
    assert one.leaderboard == () and len(notes) == 1 and "line 2, is left out: its values" in notes[0]
    # Lines of earlier versions have no sum.
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text(
        "".join(json.dumps({name: line[name] for name in line if name != "sum"}) + "\n" for line in lines)
    )
    assert read_history(tmp_path)[0].leaderboard == (0.95,)


def test_a_full_disk_leaves_no_half_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_run(make_run(tmp_path / "one", "1", 0.3))
    before = (tmp_path / FILE).read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, text: real(handle, text[:20]))
    assert "No space left" in record_run(make_run(tmp_path / "two", "2", 0.1))[0]
    monkeypatch.undo()
    assert (tmp_path / FILE).read_bytes() == before


def test_a_damaged_ensemble_is_named_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "top" / "members").mkdir(parents=True)
    for name in ("run.json", "schema.toml", "oof.parquet", "lock"):
        (tmp_path / "top" / name).write_text("{")
    notes: list[str] = []
    assert read_history(tmp_path, on_note=notes.append) == ()
    assert len(notes) == 1 and notes[0].startswith("top is left out")


@pytest.mark.parametrize("damage", ["cut", "folder"])
def test_a_recorded_run_that_cannot_be_read_any_more_is_named(tmp_path: Path, damage: str) -> None:
    file = make_run(tmp_path / "one", "1", 0.3) / "run.json"
    assert record_run(tmp_path / "one") == []
    text = file.read_text()
    file.unlink()
    file.write_text(text[: len(text) // 2]) if damage == "cut" else file.mkdir()
    notes: list[str] = []
    (one,) = read_history(tmp_path, on_note=notes.append)
    assert not one.there and len(notes) == 1
    assert notes[0].startswith("one is listed as it was when it finished: ")


def test_a_submission_without_its_run_is_mended_by_the_next(tmp_path: Path) -> None:
    made = tmp_path / "made.csv"
    made.write_text("id,label\n1,a\n")
    run = make_run(tmp_path / "one", "1", 0.3)
    assert record_submission(run, made) == []
    file = tmp_path / FILE
    file.write_text(file.read_text().splitlines(keepends=True)[-1])  # the run's own line had no room
    assert record_submission(run, made) == []
    events = [json.loads(line)["event"] for line in file.read_text().splitlines()]
    assert events == ["submission", "run", "submission"]


def test_a_damaged_run_is_named_and_left_out(tmp_path: Path) -> None:
    file = make_run(tmp_path / "one", "1", 0.3) / "run.json"
    file.write_text(file.read_text().replace("0.3", "0.1"))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "run.json").write_text("{}")
    (tmp_path / "project" / "main.py").write_text("")
    notes: list[str] = []
    assert read_history(tmp_path, on_note=notes.append) == ()
    assert len(notes) == 1 and notes[0].startswith("one is left out") and "damaged" in notes[0]
