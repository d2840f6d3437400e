"""How a finished run gets its name: links, folders that have to stay, others' files, and stops anywhere."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.errors import RunError
from tenfold.runs import place as place_module
from tenfold.runs.folder import begin_run, has_finished, making_run, read_run
from tenfold.runs.place import find_paths

IDENTITY = {"data": "abc"}


def make(path: Path, text: str, *, resume: bool = False, trained: list[str] | None = None) -> Path:
    """A run as a job makes one: trained unless it has finished or its checkpoint is there; then written."""
    with making_run(path, resume=resume) as folder:
        if resume and has_finished(folder, IDENTITY, "training"):
            return folder.final
        if folder.read_checkpoint(IDENTITY, "training") is None:
            if trained is not None:
                trained.append(text)
            folder.write_checkpoint({"w": np.arange(3.0)}, {"identity": IDENTITY})
        folder.write_text("schema.toml", text)
        folder.write_arrays("weights.safetensors", {"w": np.arange(3.0)}, {})
        folder.finish({"kind": "test", "identity": IDENTITY})
        return folder.final


def said(path: Path) -> str:
    folder, _ = read_run(path)
    names = {one.name for one in folder.iterdir()}
    assert names >= {"schema.toml", "weights.safetensors", "run.json"}
    assert not names & {"lock", "checkpoint.safetensors"} and not [one for one in names if ".tmp" in one]
    return (folder / "schema.toml").read_text()


class Stopped(BaseException):
    """A process that is gone: nothing is cleaned up."""


def stop_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int, error: BaseException) -> None:
    """Let the given call of an operation fail; a `Stopped` lets nothing succeed any more."""
    module, attribute = name.rsplit(".", 1)
    owner: Any = {"os": os, "place": place_module}[module]
    real, calls = getattr(owner, attribute), [0]

    def fails(*given: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call or (isinstance(error, Stopped) and calls[0] > call):
            raise error
        return real(*given, **options)

    monkeypatch.setattr(owner, attribute, fails)


FULL = OSError(errno.ENOSPC, "No space left on device")
#: Each call of `os.replace` while a run is written: checkpoint, schema, weights, run.json, and the two names.
MOMENTS = [(f"os.{name}", call) for name in ("replace", "fsync") for call in range(2, 7)]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt(), Stopped()], ids=["full", "ctrl-c", "killed"])
@pytest.mark.parametrize(("name", "call"), MOMENTS)
def test_wherever_the_end_is_stopped_resume_finishes_without_training_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: int, error: BaseException, older: bool
) -> None:
    if older:
        make(tmp_path / "run", "older")
    stop_at(monkeypatch, name, call, error)
    if isinstance(error, Stopped):
        monkeypatch.setattr("tenfold.runs.folder.RunFolder.leave", lambda self: self.close() or "")
    try:
        make(tmp_path / "run", "newer")
    except (RunError, KeyboardInterrupt, Stopped):
        pass
    monkeypatch.undo()
    trained: list[str] = []
    make(tmp_path / "run", "newer", resume=True, trained=trained)
    assert trained == [] and said(tmp_path / "run") == "newer"
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_at_the_end_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, "os.replace", 4, FULL)
    with pytest.raises(RunError, match="No space left") as caught:
        make(tmp_path / "run", "newer")
    assert "--resume finishes without training again" in caught.value.labels["fix"]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV])
@pytest.mark.parametrize("older", [False, True])
def test_a_folder_that_cannot_be_renamed_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, older: bool
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    if older:
        make(run, "older")
        (run / "mine.csv").write_text("mine")
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if run in (Path(source), Path(target)):
            raise OSError(code, "no")
        if code == errno.EXDEV and Path(source).parent != Path(target).parent:
            raise OSError(code, "another device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    inode = run.stat().st_ino
    make(run, "newer")
    assert said(run) == "newer" and run.stat().st_ino == inode
    assert [one.name for one in tmp_path.iterdir()] == ["run"]
    assert (run / "mine.csv").exists() == older


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt(), Stopped()], ids=["full", "ctrl-c", "killed"])
@pytest.mark.parametrize("call", range(1, 6))
def test_a_folder_that_has_to_stay_is_whole_or_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, call: int
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.chdir(run)  # the process stands in it
    make(Path("."), "older")
    assert said(run) == "older" and os.listdir(tmp_path) == ["run"]
    stop_at(monkeypatch, "place._move", call, error)
    if isinstance(error, Stopped):
        monkeypatch.setattr("tenfold.runs.folder.RunFolder.leave", lambda self: self.close() or "")
    stopped = False
    try:
        make(Path("."), "newer")
    except (RunError, KeyboardInterrupt, Stopped):
        stopped = True
    monkeypatch.undo()
    if stopped:
        with pytest.raises(RunError, match="has not finished"):
            read_run(run)
    trained: list[str] = []
    monkeypatch.chdir(run)
    make(run, "newer", resume=True, trained=trained)
    assert trained == [] and said(run) == "newer" and os.listdir(tmp_path) == ["run"]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a file system")
def test_a_mount_point_is_a_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from test_place import make, said\n"
        "run = Path(sys.argv[1])\n"
        "make(run, 'older'); make(run, 'newer'); assert said(run) == 'newer'"
    )
    script = 'mount -t tmpfs none "$0" || exit 77; mkdir "$0/lost+found"; exec "$1" -c "$2" "$0" "$3"'
    words = [str(tmp_path / "run"), sys.executable, code, str(Path(__file__).parent)]
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, *words], capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one_and_its_target_holds_the_run(tmp_path: Path, there: bool) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "run", tmp_path / "link"
    if there:
        target.mkdir()
    link.symlink_to(target)
    assert make(link, "one") == link and make(link, "two") == link
    assert link.is_symlink() and said(link) == said(target) == "two"
    assert os.listdir(tmp_path / "disk") == ["run"]


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(RunError, match="leads back to itself"):
        begin_run(tmp_path / "loop")


# --- other people's files ----------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["thesis.txt"], ["lock", "thesis.txt"], ["schema.toml"]])
@pytest.mark.parametrize("resume", [False, True])
def test_a_part_folder_of_somebody_else_is_refused_and_left_alone(
    tmp_path: Path, names: list[str], resume: bool
) -> None:
    (tmp_path / "run.part").mkdir()
    for name in names:
        (tmp_path / "run.part" / name).write_text("mine")
    with pytest.raises(RunError, match=r"run\.part is in the way") as caught:
        begin_run(tmp_path / "run", resume=resume)
    assert names[-1] in caught.value.labels["found"]
    assert sorted(os.listdir(tmp_path / "run.part")) == names and os.listdir(tmp_path) == ["run.part"]


def test_a_part_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.part").write_text("mine")
    with pytest.raises(RunError, match="in the way"):
        begin_run(tmp_path / "run")
    assert (tmp_path / "run.part").read_text() == "mine"


@pytest.mark.parametrize("own_run", [True, False])
def test_an_old_folder_of_somebody_else_stays(tmp_path: Path, own_run: bool) -> None:
    old = tmp_path / "run.old"
    if own_run:  # a copy of a run that somebody keeps
        make(old, "kept")
    else:
        old.mkdir()
        (old / "thesis.txt").write_text("mine")
    before = sorted(os.listdir(old))
    make(tmp_path / "run", "one")
    make(tmp_path / "run", "two")
    assert said(tmp_path / "run") == "two" and sorted(os.listdir(old)) == before
    assert sorted(os.listdir(tmp_path)) == ["run", "run.old"]


def test_files_that_somebody_put_beside_a_run_outlast_its_successor(tmp_path: Path) -> None:
    make(tmp_path / "run", "one")
    (tmp_path / "run" / "submission.csv").write_text("mine")
    (tmp_path / "run" / "more").mkdir()
    (tmp_path / "run" / "more" / "a.txt").write_text("mine")
    (tmp_path / "run" / "report.html").write_text("of the older run")
    make(tmp_path / "run", "two")
    assert said(tmp_path / "run") == "two" and (tmp_path / "run" / "more" / "a.txt").exists()
    assert (tmp_path / "run" / "submission.csv").exists()
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_run_json_of_somebody_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"scripts": {}}')
    (tmp_path / "run" / "main.py").write_text("mine")
    with pytest.raises(RunError, match="other files in it"):
        begin_run(tmp_path / "run")
    assert (tmp_path / "run" / "main.py").exists()


def test_a_run_does_not_take_the_place_of_an_ensemble(tmp_path: Path) -> None:
    (tmp_path / "run" / "members" / "one").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text('{"format": 1, "kind": "blend", "files": {}}')
    with pytest.raises(RunError, match="folder of an ensemble"):
        begin_run(tmp_path / "run")


def test_a_damaged_run_may_be_trained_again(tmp_path: Path) -> None:
    make(tmp_path / "run", "one")
    (tmp_path / "run" / "run.json").write_text("{")
    make(tmp_path / "run", "two")
    assert said(tmp_path / "run") == "two"


def test_what_systems_leave_in_folders_is_no_obstacle(tmp_path: Path) -> None:
    for name in ("run", "run.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".DS_Store").write_text("x")
    (tmp_path / "run.part" / "lock").write_text("")
    make(tmp_path / "run", "one")
    assert said(tmp_path / "run") == "one"


# --- what earlier versions left ----------------------------------------------------------------------


def older_part(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """`run.part` as an earlier version's kill left it: whole, but without its name."""
    made = make(tmp_path / "made", "newer")
    os.replace(made, tmp_path / "run.part")
    change(tmp_path / "run.part")


@pytest.mark.parametrize("before", ["run", "run.old", ""])
@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_had_finished_but_for_its_name_gets_it(tmp_path: Path, before: str, resume: bool) -> None:
    if before:
        make(tmp_path / before, "older")
    older_part(tmp_path, lambda part: (part / "lock").touch())
    folder, notes = begin_run(tmp_path / "run", resume=resume)
    assert "had finished but for its name" in notes[0]
    assert said(tmp_path / "run") == "newer"
    assert has_finished(folder, IDENTITY, "training")
    folder.leave()
    assert sorted(os.listdir(tmp_path)) == sorted({"run", before or "run"} | ({before} - {""}))


def test_a_checkpoint_alone_is_what_a_run_has_left_and_another_file_of_that_name_is_not(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt), making_run(tmp_path / "run") as folder:
        folder.write_checkpoint({"w": np.arange(3.0)}, {"identity": IDENTITY})
        raise KeyboardInterrupt
    (tmp_path / "run.part" / "lock").unlink()
    make(tmp_path / "run", "one", resume=True, trained=(trained := []))
    assert said(tmp_path / "run") == "one" and trained == []
    (tmp_path / "other.part").mkdir()
    (tmp_path / "other.part" / "checkpoint.safetensors").write_bytes(b"of another program")
    with pytest.raises(RunError, match="in the way"):
        begin_run(tmp_path / "other")


def test_one_that_is_not_whole_is_not_given_a_name(tmp_path: Path) -> None:
    make(tmp_path / "run", "older")
    older_part(tmp_path, lambda part: (part / "weights.safetensors").write_bytes(b"x"))
    folder, _ = begin_run(tmp_path / "run", resume=True)
    assert said(tmp_path / "run") == "older" and not folder.file("run.json").exists()
    folder.close()


def test_temporaries_of_a_killed_write_go(tmp_path: Path) -> None:
    folder, _ = begin_run(tmp_path / "run")
    folder.write_checkpoint({"w": np.arange(3.0)}, {"identity": IDENTITY})
    folder.file(".checkpoint.safetensors.123.tmp").write_bytes(b"half")
    folder.close()
    again, _ = begin_run(tmp_path / "run", resume=True)
    assert sorted(os.listdir(again.path)) == ["checkpoint.safetensors", "lock"]
    again.file(".weights.safetensors.124.tmp").write_bytes(b"half")
    again.close()
    make(tmp_path / "run", "one", resume=True)
    assert sorted(os.listdir(tmp_path / "run")) == ["run.json", "schema.toml", "weights.safetensors"]


# --- one at a time -----------------------------------------------------------------------------------


def test_nobody_is_let_in_while_a_run_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from tenfold.runs.folder import begin_run\n"
        "try: begin_run(sys.argv[1]); print('let in')\n"
        "except Exception as error: print(error)"
    )
    words: list[str] = []

    def knock(*_: Any) -> None:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True
        )
        words.append(done.stdout)

    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == "run.json":
            knock()
        real(source, target)
        if Path(target) == tmp_path / "run":
            knock()

    monkeypatch.setattr(os, "replace", replace)
    make(tmp_path / "run", "one")
    assert len(words) == 2 and all("in use by another process" in word for word in words)
    assert said(tmp_path / "run") == "one"


def test_a_lock_that_was_renamed_away_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = begin_run(tmp_path / "run")
    real, done = place_module._locked, []

    def locked(handle: int) -> bool:
        if not done:  # the first finishes between the opening of its lock and the locking
            first.finish({"kind": "test", "identity": IDENTITY})
            done.append(first.final)
        return real(handle)

    monkeypatch.setattr(place_module, "_locked", locked)
    second, _ = begin_run(tmp_path / "run")
    assert (second.path / "lock").exists() and done
    assert os.path.samestat(os.fstat(second._lock), os.stat(second.path / "lock"))
    second.leave()


def test_a_file_system_without_locks_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    make(tmp_path / "run", "one")
    assert said(tmp_path / "run") == "one"


# --- what is left of an attempt ----------------------------------------------------------------------


def test_a_ctrl_c_says_what_is_kept(tmp_path: Path) -> None:
    for kept, words in ((False, "nothing was kept"), (True, "goes on from its last checkpoint")):
        with pytest.raises(KeyboardInterrupt) as caught, making_run(tmp_path / "run") as folder:
            if kept:
                folder.write_checkpoint({"w": np.arange(3.0)}, {"identity": IDENTITY})
            raise KeyboardInterrupt
        assert words in caught.value.__notes__[0]
        assert (tmp_path / "run.part").exists() == kept


def test_an_attempt_with_weights_is_never_thrown_away(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), making_run(tmp_path / "run") as folder:
        folder.write_arrays("weights.safetensors", {"w": np.arange(3.0)}, {})
        raise ValueError("x")
    assert (tmp_path / "run.part" / "weights.safetensors").exists()
    with pytest.raises(ValueError, match="x"), making_run(tmp_path / "other"):
        raise ValueError("x")
    assert not (tmp_path / "other.part").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_files_may_be_read_by_whom_the_umask_says(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        run = make(tmp_path / "run", "one")
    finally:
        os.umask(before)
    assert {one.stat().st_mode & 0o777 for one in run.iterdir()} == {0o666 & ~mask}


def test_a_name_with_dots_leads_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_paths(tmp_path / "a" / "b" / "..").final == tmp_path / "a"
