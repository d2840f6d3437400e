"""What the harnesses disturb: commands that write, the folder they find, and what they leave undisturbed."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forked import Done, count_events, run, run_well
from tiny import CELLS, FITS, Words, asked, fill, make_runs

#: Keys of JSON that rightly differ between two trainings of the same: times, dates, what was held in memory,
#: and the sums of files in which those stand.
OWN = {
    *("seconds", "overhead_seconds", "finished", "when", "peak_bytes", "measured_bytes", "predicted_bytes"),
    *("band_bytes", "parts", "digest", "sha256", "sum", "done"),
}
#: Files whose sums differ for the same reason.
TIMED = ("history.jsonl", "report.html", "run.json")
#: Notes about what was there before.
FOUND = re.compile(
    "unfinished run|holds a finished run|finished already|nothing is left|compared$"
    "|started from the beginning|had finished but for its name"
)
HISTORY = ".tenfold-runs.jsonl"
_FIGURES = re.compile(
    rb"\b\d[\d.,]* ?(?:s|ms|min|h|MiB|GiB)\b|\d{4}-\d\d-\d\d[T ]\d\d:\d\d[:\d.+Z]*|[+-][\d.]+%(?=</td>)"
)


@dataclass(frozen=True)
class Scene:
    """A command that writes, and the runs that must be there.

    target: the folder or file that it makes.  needs: runs of the base that it reads, or stands beside.
    over: an older one stands at the target.
    """

    name: str
    words: Words
    target: str
    needs: tuple[str, ...] = ()
    over: bool = False

    @property
    def fits(self) -> bool:
        return self.words[0] == "fit"


def scenes() -> dict[str, Scene]:
    """All of them, by name."""
    found = []
    for kind, words in FITS.items():
        needs = {"blend": ("table", "table2"), "stars": ("gibbs", "als")}.get(kind, ())
        for over in (False, True):
            name = f"{words[0]} {kind}" + (" over an older" if over else "")
            found.append(Scene(name, fill(words, out=f"runs/{kind}"), f"runs/{kind}", needs, over))
    for kind, command, ending in (
        ("table", "predict", "csv"),
        ("table", "like", "csv"),
        ("photos", "predict", "csv"),
        ("ensemble", "predict", "csv"),
        ("gibbs", "recommend", "csv"),
        ("mlp", "recommend", "csv"),
        ("table", "report", "html"),
        ("blend", "report", "html"),
        ("gibbs", "inspect", "html"),
        ("table", "explain", "xlsx"),
    ):
        needs = (kind, *{"blend": ("table", "table2")}.get(kind, ()))
        for over in (False, True):
            words = fill(asked(kind)[command], run=f"runs/{kind}", out="answers/found")
            name = f"{command} {kind}" + (" over an older" if over else "")
            found.append(Scene(name, words, f"answers/found.{ending}", needs, over))
    line = f"tune lr rows.csv --id id {CELLS} --epochs 1 --batch-size 16 --values 0.001,0.01 --repeats 1"
    for name, words, ending, needs in (
        ("export table", "export runs/table -o", "onnx", ("table",)),
        ("export gibbs", "export runs/gibbs -o", "onnx", ("gibbs",)),
        ("plan", "plan test_vit --image-size 32 --plot", "html", ()),
        ("tune", f"{line} -o", "html", ()),
        ("lr", f"lr rows.csv --id id {CELLS} --batch-size 16 -o", "html", ()),
    ):
        target = f"answers/found.{ending}"
        for over in (False, True):
            own = name + (" over an older" if over else "")
            found.append(Scene(own, [*words.split(), target], target, needs, over))
    return {scene.name: scene for scene in found}


@dataclass(frozen=True)
class Outcome:
    """What a scene leaves undisturbed, the seconds it takes, and its events (`forked.watch`) in order."""

    files: dict[str, bytes]
    seconds: float
    events: list[str]


@dataclass
class Stage:
    """Where scenes are played: a folder of finished runs, and one that each trial begins afresh.

    afresh: the same path in every trial, so that a path that is written down is no difference.
    """

    folder: Path
    known: dict[str, Outcome] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def place(self) -> Path:
        return self.folder / "trial"

    def build(self, wanted: Sequence[Scene]) -> None:
        """Make the runs that these scenes find."""
        kinds = {kind for scene in wanted for kind in (*scene.needs, *_own(scene))}
        # The second run of a table is made with the blend of both.
        kinds |= {"blend"} if "table2" in kinds else set()
        make_runs(self.base, run_well, [kind for kind in FITS if kind in kinds or not kinds])
        for scene in wanted:
            if scene.over and scene.words[0] in ("fit", "blend"):
                older = [*scene.words[:-1], f"older/{Path(scene.target).name}", *_otherwise(scene.words)]
                run_well(older, self.base)

    def begin(self, scene: Scene) -> Path:
        """The folder as the command finds it."""
        shutil.rmtree(self.place, ignore_errors=True)
        left_out = shutil.ignore_patterns("runs", "older", "cache")
        shutil.copytree(self.base, self.place, ignore=left_out)
        (self.place / "runs").mkdir()
        for kind in scene.needs:
            shutil.copytree(self.base / "runs" / kind, self.place / "runs" / kind)
        if scene.over:
            target = self.place / scene.target
            if scene.words[0] == "ensemble":
                shutil.copytree(self.base / scene.target, target)
                recipe = self.place / "ensemble.toml"
                recipe.write_text(recipe.read_text().replace("epochs = 1", "epochs = 3"))
            elif scene.words[0] in ("fit", "blend"):
                shutil.copytree(self.base / "older" / target.name, target)
            else:
                target.parent.mkdir()
                target.write_bytes(b"what stood here before\n")
        return self.place

    def undisturbed(self, scene: Scene) -> Outcome:
        """What the command leaves where nothing disturbs it."""
        if scene.name not in self.known:
            began = time.monotonic()
            events = count_events(scene.words, self.begin(scene))
            self.known[scene.name] = Outcome(snapshot(self.place), time.monotonic() - began, events)
        return self.known[scene.name]


def _own(scene: Scene) -> tuple[str, ...]:
    return ("ensemble",) if scene.words[0] == "ensemble" and scene.over else ()


def _otherwise(words: Sequence[str]) -> Words:
    """Options that make another run of the same kind."""
    if words[0] == "blend":
        return ["--weights", "1,5"] if "--method" not in words else ["--method", "weights"]
    return ["--seed", "5"]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file and folder under a folder, by name: its bytes, less what rightly differs. Not the cache."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] == "cache":
            continue
        found[name] = b"" if path.is_dir() else plain_bytes(path)
    return found


def plain_bytes(path: Path) -> bytes:
    """A file's bytes without times, dates and what was held in memory (`OWN`)."""
    data = path.read_bytes()
    if path.suffix in (".json", ".jsonl") and path.name != "encoding.json":
        try:
            lines = [json.loads(line) for line in (data.splitlines() if path.suffix == ".jsonl" else [data])]
        except ValueError:
            return b"torn: " + data
        if path.name == HISTORY:
            # A run that stopped before its line was written may have it twice.
            lines = [dict(pair) for pair in sorted({tuple(sorted(_entry(line).items())) for line in lines})]
        return json.dumps([_plain(line) for line in lines], sort_keys=True).encode()
    if path.suffix == ".html":
        return _plain_page(data)
    if path.suffix == ".xlsx":
        if not zipfile.is_zipfile(path):
            return b"torn: " + data
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            sheets = [name for name in sorted(book.namelist()) if name != "docProps/core.xml"]
            return b"".join(name.encode() + book.read(name) for name in sheets)
    return data


def _plain_page(data: bytes) -> bytes:
    """A page without times, the chart of the memory, and the notes of what was there before."""
    data = re.sub(
        rb'<figure class="chart">.*?</figure>',
        lambda chart: b"" if b'"name":"measured"' in chart[0] else chart[0],
        data,
        flags=re.S,
    )
    data = re.sub(
        rb"<li>(.*?)</li>", lambda note: b"" if FOUND.search(note[1].decode()) else note[0], data, flags=re.S
    )
    data = re.sub(rb'(?<=<div class="big">)\d+(?= <small>(?:seconds|minutes)</small>)', b"#", data)
    # Of members: the seconds of each, and its memory.
    data = re.sub(
        rb"(<td>(?:un)?finished</td>.*?)(?:<td class=\"number\">[^<]*</td>){2}(?=</tr>)", rb"\1", data
    )
    return re.sub(rb"\d+ things? that w", b"# things that w", _FIGURES.sub(b"#", data))


def _entry(line: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: json.dumps(_plain(line[name]), sort_keys=True)
        for name in ("event", "run", "kind")
        if name in line
    }


def _notes(notes: Sequence[Any]) -> list[str]:
    return [_FIGURES.sub(b"#", str(note).encode()).decode() for note in notes if not FOUND.search(str(note))]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _notes(inner) if name == "notes" else _plain(inner)
            for name, inner in value.items()
            if name not in OWN and not (isinstance(inner, str) and name.endswith(TIMED))
        }
    return [_plain(one) for one in value] if isinstance(value, list) else value


def differences(expected: Mapping[str, bytes], found: Mapping[str, bytes]) -> list[str]:
    """What differs between two snapshots, a line to a file."""
    lines = [f"{name} is missing" for name in expected if name not in found]
    lines += [f"{name} is left behind" for name in found if name not in expected]
    return lines + [
        f"{name} differs: {where(data, found[name])}"
        for name, data in expected.items()
        if name in found and data != found[name]
    ]


def where(one: bytes, other: bytes) -> str:
    """Where two texts part, with some of either."""
    at = next((place for place, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    return " -> ".join(repr(data[max(0, at - 40) : at + 60]) for data in (one, other))


def untouched(before: Mapping[str, bytes], after: Mapping[str, bytes], scene: Scene) -> list[str]:
    """What a command changed of files that are not its own: beside its target and the history."""
    own = (scene.target, HISTORY)
    kept = {name: data for name, data in before.items() if not name.startswith(own) and HISTORY not in name}
    return [line for line in differences(kept, after) if not line.endswith("behind")]


#: What says that a training that had a checkpoint was begun from nothing.
LOST = ("started from the beginning", "started anew")


def again(scene: Scene, place: Path, *, resume: bool) -> Done:
    """The command once more, with ``--resume`` where it has one."""
    words = [*scene.words, "--resume"] if resume and scene.fits else scene.words
    done = run(words, place)
    if done.code == 2 and resume and "is of another" in done.err and scene.over:
        # What had begun held nothing yet, so that what is there to go on with is the older run.
        done = run(scene.words, place)
    return done
