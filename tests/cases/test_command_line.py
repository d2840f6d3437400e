"""Kinds of fault of a command line: streams that fail, names that a terminal would obey, wrong arguments."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tenfold
import tenfold.cli.main
from tenfold.cli.commands import OPTIONS, app
from tenfold.cli.console import Outlet, print_json, say, tell
from tenfold.cli.progress import Display
from tenfold.cli.screen import show_records, show_rows, show_scores
from tenfold.errors import RecipeError, SchemaError, printable
from tenfold.events import ImagesRead
from tenfold.recipe import Recipe

TENFOLD = f"{sys.executable} -m tenfold"
#: What moves a cursor, colours, rings, turns the reading order; and rich's own markup.
EVIL = "a\x1b[31mb\x07c\x9b2Jd\x7fe\u202ef\u2066g[red]h[/red]\r"
SEEN = "a\\x1b[31mb\\x07c\\x9b2Jd\\x7fe\\u202ef\\u2066g[red]h[/red]\\r"


def test_what_a_terminal_would_obey_is_shown_instead(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(EVIL) == SEEN and printable("é\t图\n\u200f") == "é\t图\n\u200f"
    tell(EVIL)
    say(EVIL)
    show_rows({EVIL: [EVIL, "two\nlines"]})
    show_scores({EVIL: {"error_rate": 0.5, "log_loss": 1.0, "scored": 2}})
    show_records([{"title": EVIL, EVIL: 1.0}])
    with Display() as display:
        display.note(EVIL)
        display.progress(ImagesRead(EVIL, 1, 2))
    said = capsys.readouterr()
    told = said.out + said.err
    assert told.count(SEEN) >= 7 and "two\\nlines" in told
    assert not set(told) & set("\x1b\x07\x9b\x7f\u202e\u2066\r")
    error = str(SchemaError(f"no column {EVIL}", problems=[EVIL], found=EVIL, fix="rename it"))
    assert error.count(SEEN) == 3 and not set(error) & set("\x1b\x9b\u202e\r")


def test_json_has_no_sign_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    print_json({EVIL: [EVIL, "é"]})
    out = capsys.readouterr().out
    assert json.loads(out) == {EVIL: [EVIL, "é"]} and "é" in out
    assert not set(out) & set("\x1b\x07\x9b\x7f\u202e\u2066\r")


class Full(io.StringIO):
    """A stream on a full disk, whose file number is somebody's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.tries = number, 0

    def fileno(self) -> int:
        return self.number

    def flush(self) -> None:
        self.tries += 1
        raise OSError(28, "No space left on device")


def test_a_stream_that_fails_ends_nothing() -> None:
    number = os.open(os.devnull, os.O_WRONLY)
    full = Full(number)
    outlet = Outlet(full)
    assert outlet.write("a") == 1
    outlet.flush()
    assert isinstance(outlet.fault, OSError) and full.tries == 1
    os.close(number)


@pytest.mark.parametrize(
    ("redirected", "code", "said"),
    [
        (">/dev/full", 2, "standard output cannot be written: No space left on device"),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("2>/dev/full >/dev/null", 0, ""),
        ("| head -n 1", 0, ""),
    ],
)
def test_the_answer_is_given_whoever_listens(redirected: str, code: int, said: str, tmp_path: Path) -> None:
    words = f"set -o pipefail; {TENFOLD} ensemble --example {redirected}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_no_file_becomes_standard_output(tmp_path: Path) -> None:
    script = (
        "from tenfold.cli.console import take_any_text, tell; take_any_text(); "
        "file = open('table.csv', 'w'); tell('words'); file.write('rows'); file.close()"
    )
    words = f'{sys.executable} -c "{script}" >&- 2>&-'
    done = subprocess.run(["bash", "-c", words], cwd=tmp_path, check=False)
    assert done.returncode == 0 and (tmp_path / "table.csv").read_text("utf-8") == "rows"


GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything that a file name may lead to, with a run of ratings and one of a table."""
    folder = Path(shutil.copytree(GOLDEN / "runs", tmp_path_factory.mktemp("place") / "here"))
    for table in GOLDEN.glob("*.csv"):
        shutil.copy(table, folder)
    (folder / "folder").mkdir()
    (folder / "empty.csv").touch()
    (folder / "bytes.csv").write_bytes(bytes(range(128, 256)) * 4)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    return folder


def ask(words: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """What a command line ends with and says, run in this process there."""
    monkeypatch.chdir(place)
    done = CliRunner().invoke(app, words.split())
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, done.output


NO_FILES = {
    "missing.csv": ("missing.csv",),
    "folder": ("folder",),
    "empty.csv": ("empty",),
    "bytes.csv": ("not UTF-8", "has no rows"),
    "loop": ("Too many levels of symbolic links",),
    "pipe": ("pipe is a pipe, not a file",),
    "/dev/null": ("/dev/null is a device, not a file",),
    "table.csv/inside": ("Not a directory",),
}
#: Where a file is read: {} is its name.
READERS = (
    "fit {} --number x --target y -o out",
    "fit {} --user u --item i --target r -o out",
    "fit ratings.csv --user user --item item --target rating --item-table {} --item-name t -o out",
    "tune wd {} --number x --target y",
    "compare {} --number x --target y --target z",
    "lr {} --number x --target y",
    "predict gibbs {}",
    "evaluate gibbs {}",
    "recommend gibbs --ratings {}",
    "predict table {} -o out.csv",
    "predict table table.csv --like {} -o out.csv",
)


@pytest.mark.parametrize("words", READERS)
def test_what_is_no_file_is_called_so(words: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, said in NO_FILES.items():
        code, told = ask(words.format(name), place, monkeypatch)
        assert code == 2 and any(one in told for one in said), told
        assert "fix " in told
    assert not (place / "out").exists() and not (place / "out.csv").exists()


RUNS = {
    "missing": "missing does not exist",
    "folder": "folder holds no run",
    "table.csv": "table.csv is a file, not a run",
    "gibbs/run.json": "gibbs/run.json is a file, not a run",
}


@pytest.mark.parametrize(
    "words",
    [
        "predict {} table.csv -o out.csv",
        "evaluate {} table.csv",
        "recommend {} --user 1",
        "similar {} --item 1",
        "inspect {}",
        "explain {} -o out.xlsx",
        "report {} -o out.html",
        "blend {} gibbs -o out",
    ],
)
def test_what_is_no_run_is_called_so(words: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, said in RUNS.items():
        code, told = ask(words.format(name), place, monkeypatch)
        assert code == 2 and said in told and "fix " in told, told


@pytest.mark.parametrize("command", ["recommend {} --user 1", "similar {}", "inspect {}"])
def test_a_run_of_another_kind(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = ask(command.format("table"), place, monkeypatch)
    assert code == 2 and "table is not a run of ratings" in told and "tenfold fit TABLE --user" in told


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_wrong_option_and_no_argument(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = ask(f"{name} --nope", place, monkeypatch)
    assert code == 2 and "No such option: --nope" in told
    if name != "demo":
        code, told = ask(name, place, monkeypatch)
        assert code == 2 and ("Missing argument" in told or "fix " in told), told


@pytest.mark.parametrize("output", ["table.csv/x", "/proc/x/y", "folder"])
@pytest.mark.parametrize(
    "words",
    [
        "recommend gibbs --all -o {}",
        "similar gibbs -o {}",
        "inspect gibbs -o {}",
        "report gibbs -o {}",
        "predict gibbs ratings.csv -o {}",
    ],
)
def test_a_place_that_cannot_be_written(
    words: str, output: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, told = ask(words.format(output), place, monkeypatch)
    assert code == 2 and output in told and "fix " in told, told


@pytest.mark.parametrize(
    "words",
    [
        "predict gibbs ratings.csv -o ratings.csv",
        "predict table table.csv --like table.csv -o ./table.csv",
        "predict table table.csv --like sample.csv -o link.csv",
        "recommend gibbs --ratings ratings.csv -o ratings.csv",
        "predict gibbs ratings.csv -o gibbs/run.json",
        "similar gibbs -o gibbs/factors.safetensors",
        "runs --made table.csv -o table.csv",
    ],
)
def test_no_command_writes_over_what_it_reads(
    words: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "sample.csv").write_text("id,y\n1,a\n", encoding="utf-8")
    if not (place / "link.csv").exists():
        (place / "link.csv").symlink_to("sample.csv")
    weights = next((place / "gibbs").glob("*.safetensors"))
    words = words.replace("gibbs/factors.safetensors", f"gibbs/{weights.name}")
    before = {path: path.read_bytes() for path in place.glob("*.csv")} | {weights: weights.read_bytes()}
    code, told = ask(words, place, monkeypatch)
    assert code == 2 and "is read by this command, and would be lost" in told
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("command", ["-m tenfold plan test_resnet", "-m tenfold --help"])
def test_a_ctrl_c_at_the_start_is_quiet(command: str, tmp_path: Path) -> None:
    # An interrupt that is there when the first module of the command line is loaded.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'tenfold.cli.options':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
    )
    done = subprocess.run(
        [sys.executable, *command.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_version_is_told() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0 and done.output == f"tenfold {tenfold.__version__}\n"


@pytest.mark.case("V9", "~/ behind an option's = or in a job file is the home folder, not a folder called ~")
def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home" / "data").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    rows = "".join(f"{one},{'ab'[one % 2]}\n" for one in range(20))
    (tmp_path / "home" / "data" / "t.csv").write_text("x,y\n" + rows)
    (tmp_path / "here" / "job.toml").write_text(
        'table = "~/data/t.csv"\noutput = "~/runs/job"\n[schema]\n'
        'inputs = [{name = "x", kind = "number"}]\ntargets = [{name = "y", kind = "category"}]\n'
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    few = ["--epochs", "1", "--no-report"]
    typed = ["fit", "~/data/t.csv", "--number", "x", "--target", "y", "--output=~/runs/typed", *few]
    for words in (
        typed,
        ["fit", "job.toml", *few],
        ["predict", "~/runs/typed", "~/data/t.csv", "-o", "~/p.csv"],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    assert sorted(one.name for one in (tmp_path / "here").iterdir()) == ["job.toml"]
    assert sorted(one.name for one in (tmp_path / "home").iterdir()) == ["data", "p.csv", "runs"]
    # A folder of that name is somebody's.
    (tmp_path / "here" / "~").mkdir()
    assert CliRunner().invoke(app, ["predict", "~/runs/typed", "t.csv", "-o", "p.csv"]).exit_code == 2


@pytest.mark.case("V10", "true in the place of a number of a recipe is refused, and is not 1")
def test_switches_in_the_place_of_numbers() -> None:
    for name in ("epochs", "lr", "seed", "batch_size", "mixup"):
        with pytest.raises(RecipeError, match="cannot be made") as refused:
            Recipe.from_toml(f"{name} = true\n")
        assert refused.value.problems == (f"{name}: true is not a number",)
    assert Recipe.from_toml("familiarity = false\nfold = [1, 5]\n").familiarity is False
