"""The command line as a person types it: in a process of its own."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command import TENFOLD, tenfold
from photos import QUICK_OPTIONS, write_photo, write_photos, write_table
from tenfold.data.images.decode import encode_png


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    write_table(folder / "train.csv", write_photos(folder, 60))
    tenfold(
        "fit", "train.csv", "--image", "id=photos", "--target", "label", "--target", "size", *QUICK_OPTIONS,
        "-o", "runs/first", cwd=folder,
    )  # fmt: skip
    return folder


def test_json_is_one_object_with_the_documented_keys(place: Path) -> None:
    done = tenfold(
        "fit", "train.csv", "--image", "id=photos", "--target", "label", *QUICK_OPTIONS, "--epochs", 1,
        "-o", "runs/json", "--json", cwd=place,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert set(found) == {"run", "rows", "targets", "seconds", "peak_bytes"}
    assert set(found["targets"]["label"]) >= {"error_rate", "log_loss", "macro_f1", "majority_error_rate"}
    assert found["rows"] == 60 and found["peak_bytes"] > 1e7
    scored = json.loads(tenfold("evaluate", "runs/first", "train.csv", "--json", cwd=place).stdout)
    assert set(scored["targets"]) == {"label", "size"} and scored["rows"] == 60


def test_predictions_follow_the_table_and_the_sample(place: Path) -> None:
    ids = [f"{number:04d}.png" for number in (9, 2, 31, 2)]
    write_table(place / "test.csv", {"id": ids})
    tenfold("predict", "runs/first", "test.csv", "-o", "out.csv", "--probabilities", cwd=place)
    with open(place / "out.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == ids
    assert [row["label"] for row in rows] == ["cat", "bird", "dog", "bird"]
    assert sum(float(rows[0][f"label:{name}"]) for name in ("bird", "cat", "dog")) == pytest.approx(1)
    (place / "sample.csv").write_text("id,label\n0031.png,x\n0002.png,x\n0009.png,x\n")
    write_table(place / "once.csv", {"id": ids[:3]})
    tenfold("predict", "runs/first", "once.csv", "--like", "sample.csv", "-o", "sub.csv", cwd=place)
    assert (place / "sub.csv").read_text() == "id,label\n0031.png,dog\n0002.png,bird\n0009.png,cat\n"


def test_a_folder_whose_sub_folders_name_the_classes(place: Path) -> None:
    for number in range(24):
        label = ("cat", "dog")[number % 2]
        write_photo(place / "train_images" / label / f"{number}.png", label, number)
    tenfold("fit", "--image-folder", "train_images", *QUICK_OPTIONS, "-o", "runs/folder", cwd=place)
    done = tenfold("evaluate", "runs/folder", "train_images", "--json", cwd=place)
    assert json.loads(done.stdout)["targets"]["label"]["error_rate"] == 0.0
    tenfold("predict", "runs/folder", "photos", "-o", "folder.csv", cwd=place)
    assert len((place / "folder.csv").read_text().splitlines()) == 61


def test_a_job_file_says_the_same(place: Path) -> None:
    (place / "job.toml").write_text(
        'table = "train.csv"\noutput = "runs/job"\n\n'
        '[schema]\ninputs = [{kind = "image", name = "id", folder = "photos"}]\n'
        'targets = [{kind = "category", name = "label"}, {kind = "category", name = "size"}]\n\n'
        '[recipe]\narch = "test_resnet"\nweights = "none"\nimage_size = 32\nbatch_size = 16\nepochs = 8\n'
        "frozen_epochs = 0\nlr = 1e-2\nbody_lr = 1.0\naugment = 'off'\ndrop_path = 0.0\n"
        "dropout = 0.0\nseed = 1\n"
    )
    tenfold("fit", "job.toml", cwd=place)
    one, other = (place / f"runs/{name}/weights.safetensors" for name in ("first", "job"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--target", "lable"], ["no column 'lable'", "did you mean 'label'?"]),
        (["--target", "label:categry"], ["no kind 'categry'", "did you mean 'category'?"]),
        (["--target", "label", "--arch", "resnet_18"], ["did you mean 'resnet18'?"]),
        (["--target", "label", "--lr", "-1"], ["lr = -1", "greater than 0"]),
        (["--target", "label", "--resize", "stretch"], ["squish"]),
        (["--target", "label", "--epoch", "3"], ["--epoch"]),
        (["--target", "label", "--factors", "3"], ["--factors is not an option"]),
        (["--target", "label", "--views", "4"], ["upside down"]),
        (["--target", "label", "--weights", "lost.pth"], ["no weights file lost.pth"]),
        (["--target", "id"], ["used twice"]),
        ([], ["no target is given"]),
    ],
)
def test_mistakes_are_named_with_their_remedy(place: Path, words: list[str], texts: list[str]) -> None:
    options = [*QUICK_OPTIONS, *words]
    done = tenfold("fit", "train.csv", "--image", "id=photos", *options, "-o", "runs/x", cwd=place, code=2)
    for text in texts:
        assert text in done.stderr
    assert not (place / "runs/x").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["fit", "nowhere.csv", "--image", "id=photos", "--target", "label", "-o", "runs/x"], "nowhere.csv"),
        (["fit", "train.csv", "--image", "id=nowhere", "--target", "label", "-o", "runs/x"], "'nowhere'"),
        (["fit", "train.csv", "--image", "id", "--target", "label", "-o", "runs/x"], "COLUMN=FOLDER"),
        (["fit", "train.csv", "--image", "id=photos", "--target", "label"], "-o"),
        (["fit", "train.csv", "--image", "id=photos", "--target", "label", "-o", "photos"], "not a run"),
        (["predict", "runs/nowhere", "train.csv", "-o", "x.csv"], "does not exist"),
        (["predict", "photos", "train.csv", "-o", "x.csv"], "holds no run"),
        (["evaluate", "runs/first", "photos"], "no column 'label'"),
    ],
)
def test_what_is_not_there_is_named(place: Path, words: list[str], text: str) -> None:
    extra = QUICK_OPTIONS if words[0] == "fit" else []
    assert text in tenfold(*words, *extra, cwd=place, code=2).stderr


def test_names_reach_no_file_outside_the_folder(place: Path) -> None:
    (place / "secret.png").write_bytes((place / "photos" / "0000.png").read_bytes())
    rows = ["../secret.png", "/etc/hostname", "sub/../../secret.png"]
    write_table(place / "evil.csv", {"id": rows, "label": ["cat"] * 3})
    done = tenfold("predict", "runs/first", "evil.csv", "-o", "x.csv", cwd=place, code=2)
    assert done.stderr.count("outside") >= 3 and "line 2" in done.stderr and "--allow-outside" in done.stderr


def test_a_bad_row_can_be_skipped_and_shows_in_the_exit_code(place: Path) -> None:
    write_table(place / "half.csv", {"id": ["0001.png", "gone.png"]})
    tenfold("predict", "runs/first", "half.csv", "-o", "half_out.csv", cwd=place, code=2)
    assert not (place / "half_out.csv").exists()
    tenfold("predict", "runs/first", "half.csv", "-o", "half_out.csv", "--skip-bad", cwd=place, code=1)
    lines = (place / "half_out.csv").read_text().splitlines()
    assert len(lines) == 3 and lines[2].startswith("gone.png,,,1,")


def test_names_of_other_scripts_in_any_locale(tmp_path: Path) -> None:
    folder = tmp_path / "données" / "图片 é"
    columns = write_photos(folder, 20, ("cat", "dog"))
    (folder / "photos" / "0000.png").rename(folder / "photos" / "ß 1.png")
    columns["id"][0] = "ß 1.png"
    write_table(folder / "train.csv", columns)
    for locale in ("C", "C.UTF-8"):
        tenfold(
            "fit", "train.csv", "--image", "id=photos", "--target", "label", *QUICK_OPTIONS, "--epochs", 1,
            "-o", "résultats", cwd=folder, LC_ALL=locale, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0",
        )  # fmt: skip
        tenfold("predict", "résultats", "train.csv", "-o", "out.csv", cwd=folder, LC_ALL=locale)
        assert "ß 1.png" in (folder / "out.csv").read_text(encoding="utf-8")


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed_ends_with_the_same_weights(place: Path, how: signal.Signals) -> None:
    words = [
        "fit", "train.csv", "--image", "id=photos", "--target", "label", *QUICK_OPTIONS, "--epochs", "40",
    ]  # fmt: skip
    whole, run = f"runs/whole{how}", f"runs/killed{how}"
    tenfold(*words, "-o", whole, cwd=place)
    process = subprocess.Popen(
        [*TENFOLD, *words, "-o", run], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(place / f"{run}.part" / "checkpoint.safetensors", process)
    process.send_signal(how)
    _, errors = process.communicate()
    assert process.returncode != 0 and not (place / run).exists()
    if how == signal.SIGINT:
        assert process.returncode == 130 and "--resume" in errors and "Traceback" not in errors
    tenfold(*words, "-o", run, "--resume", cwd=place)
    one, other = (place / name / "weights.safetensors" for name in (whole, run))
    assert one.read_bytes() == other.read_bytes()


def test_help_and_tables_need_no_torch(place: Path) -> None:
    code = (
        "import sys, runpy; sys.argv = ['tenfold', *sys.argv[1:]]\n"
        "slow = {'torch', 'timm', 'numba', 'sklearn'}\n"
        "slow |= {'numpy', 'pyarrow'} if sys.argv[-1] == '--help' else set()\n"
        "try: runpy.run_module('tenfold', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)"
    )
    for words in (["--help"], ["fit", "--help"], ["fit", "nowhere.toml"], ["predict", "nowhere", "x"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=place, capture_output=True, text=True, check=True
        )
        assert done.stderr.splitlines()[-1] == "[]", words


def test_rate_finder_writes_a_curve(place: Path) -> None:
    done = tenfold(
        "lr", "train.csv", "--image", "id=photos", "--target", "label", *QUICK_OPTIONS, "--steps", 30,
        "-o", "lr.html", "--json", cwd=place,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert 1e-6 < found["steepest"] <= 1 and len(found["rates"]) == len(found["losses"])
    page = (place / "lr.html").read_text()
    assert "learning rate" in page and 'src="http' not in page


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    import zlib

    columns = write_photos(tmp_path, 12, ("cat", "dog"))
    small = encode_png(__import__("numpy").zeros((1, 1), dtype="uint8"))
    # The header alone says 20000 x 20000: a forged size in a one-pixel file.
    header = (20000).to_bytes(4, "big") * 2 + small[24:29]
    forged = small[:16] + header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big") + small[33:]
    (tmp_path / "photos" / "0003.png").write_bytes(forged)
    write_table(tmp_path / "train.csv", columns)
    done = tenfold(
        "fit", "train.csv", "--image", "id=photos", "--target", "label", *QUICK_OPTIONS, "-o", "run",
        cwd=tmp_path, code=2,
    )  # fmt: skip
    assert "400,000,000 pixels" in done.stderr and "--max-pixels" in done.stderr


# Kinds of targets


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with a column for each kind of target; what it says follows from the picture."""
    folder = tmp_path_factory.mktemp("kinds")
    columns: dict[str, list[object]] = dict(write_photos(folder, 90))
    places = [["cat", "dog", "bird"].index(str(label)) for label in columns["label"]]
    columns["price"] = [f"{10 * place + 0.5 * (row % 3)}" for row, place in enumerate(places)]
    columns["stars"] = [1 + 2 * place for place in places]
    columns["stage"] = [("early", "middle", "late")[place] for place in places]
    columns["tags"] = [
        ("legs|fur", "legs|fur|barks", "legs")[place] if row % 9 else "" for row, place in enumerate(places)
    ]
    columns["fur"] = [int(place < 2) for place in places]
    columns["wings"] = [int(place == 2) if row % 4 else "" for row, place in enumerate(places)]
    write_table(folder / "train.csv", columns)
    tenfold(
        "fit", "train.csv", "--image", "id=photos", "--target", "label:open", "--target", "price",
        "--target", "stars:number[1,5]", "--target", "stage:ordered[early<middle<late]",
        "--target", "tags:multilabel", "--label-separator", "|", "--target", "has=fur,wings:multilabel",
        *QUICK_OPTIONS, "--patience", "6", "--monitor", "label", "--task-weights", "learned",
        "--calibrate-probabilities", "-o", "run", cwd=folder,
    )  # fmt: skip
    return folder


def test_every_kind_is_fitted_scored_and_predicted(kinds: Path) -> None:
    found = json.loads(tenfold("evaluate", "run", "train.csv", "--json", cwd=kinds).stdout)["targets"]
    assert found["label"]["error_rate"] <= 0.1 and found["stage"]["error_rate"] <= 0.15
    assert found["price"]["r2"] > 0.6 and found["stars"]["rmse"] < 1.2
    assert found["tags"]["micro_f1"] > 0.9 and set(found["tags"]["labels"]) == {"barks", "fur", "legs"}
    assert found["has"]["macro_ap"] > 0.9
    tenfold("predict", "run", "train.csv", "-o", "out.csv", cwd=kinds)
    lines = (kinds / "out.csv").read_text().splitlines()
    assert lines[0] == "id,label,price,stars,stage,tags,fur,wings" and len(lines) == 91
    assert {cell for line in lines[1:] for cell in line.split(",")[5].split("|")} <= {"barks", "fur", "legs"}
    text = tenfold("evaluate", "run", "train.csv", cwd=kinds).stdout
    assert all(word in text for word in ("RMSE", "R2", "micro F1", "ranks off", "kappa"))


def test_epochs_show_every_targets_scores(kinds: Path) -> None:
    done = tenfold(
        "fit", "train.csv", "--image", "id=photos", "--target", "label", "--target", "price:number",
        *QUICK_OPTIONS, "--epochs", 2, "--task-weights", "learned", "--keep", "best", "--json", "-o", "two",
        cwd=kinds,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("epoch  "))
    assert lines[at - 1].split() == ["label", "price"] and {"error", "RMSE", "R2"} <= set(lines[at].split())
    assert [line.split()[0] for line in lines[at + 1 : at + 3]] == ["1", "2"]
    assert max(map(len, lines[at - 1 : at + 3])) <= 80
    found = json.loads(done.stdout)
    assert found["epochs"] == 2 and found["kept_epoch"] in (1, 2)
    assert {"rmse", "mae", "r2", "mean_rmse", "scored"} <= set(found["targets"]["price"])


def test_a_sample_has_one_column_to_a_class(kinds: Path) -> None:
    ids = [f"{number:04d}.png" for number in (4, 1, 7)]
    (kinds / "sample.csv").write_text("id,legs,barks,tags\n" + "".join(f"{one},0.5,0.5,x\n" for one in ids))
    tenfold("predict", "run", "train.csv", "--like", "sample.csv", "-o", "filled.csv", cwd=kinds)
    rows = [line.split(",") for line in (kinds / "filled.csv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["id", *ids] and rows[0] == ["id", "legs", "barks", "tags"]
    assert all(0 <= float(row[1]) <= 1 and float(row[1]) > 0.5 and "legs" in row[3] for row in rows[1:])


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--target", "label:opne"], "did you mean 'open'?"),
        (["--target", "stage:ordered"], "ordered[early<late<middle]"),
        (["--target", "stars:number[1,4]"], "line 4, column stars: '5'"),
        (["--target", "label:two-class"], "has 3 classes, not two"),
        (["--target", "stars", "--target-type", "numbr"], "did you mean 'number'?"),
        (["--target", "label", "--class-weights", "label:cta=3"], "did you mean 'cat'?"),
        (["--target", "label", "--monitor", "lable"], "did you mean 'label'?"),
        (["--target", "label", "--patience", "2", "--valid", "0"], "needs validation rows"),
        (["--target", "label", "--label-separator", ";"], "belongs to a multilabel target"),
        (["--target", "fur,wing:multilabel"], "did you mean 'wings'?"),
        (["--target", "fur,price:multilabel"], "hold 0 and 1"),
    ],
)
def test_targets_that_make_no_sense_are_refused_in_words(kinds: Path, words: list[str], fault: str) -> None:
    done = tenfold(
        "fit", "train.csv", "--image", "id=photos", *words, *QUICK_OPTIONS, "-o", "no", cwd=kinds, code=2
    )
    assert fault in done.stderr and not (kinds / "no").exists()
