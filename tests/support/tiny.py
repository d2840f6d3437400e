"""One tiny run of every kind, each made by the command that a person would type: for the harnesses."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from photos import write_photos, write_table

Words = list[str]
#: Runs one command line in a folder, and raises where it fails.
Runner = Callable[[Sequence[str], Path], object]

CELLS = "--category job --number age --target label --target tall:number"
NETWORK = "--epochs 3 --batch-size 16 --hidden 8 --seed 1"
PHOTOS = (
    "--arch test_resnet --weights none --image-size 32 --batch-size 8 --epochs 2 --frozen-epochs 1 --seed 1"
)
STARS = "ratings.csv --user user --item item --target stars --item-table items.csv --item-name title"
#: The command that makes a run of each kind; ``{out}`` is the run's folder.
FITS: dict[str, Words] = {
    kind: shlex.split(f"{line} -o {{out}}")
    for kind, line in {
        "table": f"fit rows.csv --id id {CELLS} {NETWORK}",
        "photos": f"fit photos.csv --image id=photos --target label {PHOTOS}",
        "gibbs": f"fit {STARS} --method gibbs --factors 2 --sweeps 4 --valid 0.2",
        "als": f"fit {STARS} --method als --factors 2 --epochs 2 --valid 0.2",
        "sgd": f"fit {STARS} --method sgd --factors 2 --epochs 2 --valid 0.2",
        "events": "fit events.csv --user user --item item --kind implicit --factors 2 --epochs 2 --valid 0.2",
        "dot": f"fit {STARS} --body dot --embedding 3 --epochs 2 --batch-size 32 --valid 0.2",
        "mlp": f"fit {STARS} --body mlp --hidden 4 --embedding 3 --epochs 2 --batch-size 32 --valid 0.2",
        "blend": "blend runs/table runs/table2 --method best",
        "stars": "blend runs/gibbs runs/als --weights 2,1",
        "ensemble": "ensemble ensemble.toml",
    }.items()
}
#: A second run of a table, for a blend: the same rows and split, other weights.
SECOND = [{"3": "2"}.get(word, word) for word in FITS["table"]]
#: What a run of a kind is asked, by the command's name; ``{run}`` is its folder, ``{out}`` a file.
NETWORK_ASKED = {
    "predict": "predict {run} {table} --probabilities -o {out}.csv",
    "like": "predict {run} {table} --like {sample} -o {out}.csv",
    "evaluate": "evaluate {run} {table} --json",
    "explain": "explain {run} -n 3 -o {out}.xlsx --json",
    "report": "report {run} -o {out}.html",
}
RATINGS_ASKED = {
    "predict": "predict {run} {table} -o {out}.csv",
    "evaluate": "evaluate {run} {table} --lists 3 --json",
    "recommend": "recommend {run} --all -n 3 -o {out}.csv",
    "similar": "similar {run} -n 2 -o {out}.csv",
    "inspect": "inspect {run} -n 4 -o {out}.html --json",
    "explain": "explain {run} -n 4 -o {out}.xlsx --json",
    "report": "report {run} -o {out}.html",
}
RATINGS = ("gibbs", "als", "sgd", "events", "dot", "mlp", "stars")
#: What some kinds lack: factors to look into, lists to score, ratings to predict.
_LACKS = {
    "stars": ("similar", "inspect", "explain"),
    "events": ("predict",),
    "dot": ("inspect",),
    "mlp": ("inspect",),
}
_TABLES = {
    "photos": "photos.csv",
    "events": "events.csv",
    **dict.fromkeys(("table", "blend", "ensemble"), "rows.csv"),
}

_ENSEMBLE = """\
table = "rows.csv"
[schema]
id = "id"
inputs = [{ kind = "category", name = "job" }, { kind = "number", name = "age" }]
targets = [{ kind = "category", name = "label" }]
[ensemble]
split = "same"
blend = "best"
[recipe]
batch_size = 16
epochs = 2
hidden = [8]
[[member]]
name = "one"
[[member]]
name = "two"
epochs = 1
"""


def asked(kind: str) -> dict[str, Words]:
    """Every command that opens a run of a kind, by its name."""
    lines = dict(RATINGS_ASKED if kind in RATINGS else NETWORK_ASKED)
    if kind in ("dot", "mlp", "stars"):
        lines["evaluate"] = lines["evaluate"].replace(" --lists 3", "")
    places = {
        "table": _TABLES.get(kind, "ratings.csv"),
        "sample": f"sample_{'photos' if kind == 'photos' else 'rows'}.csv",
    }
    return {
        name: _filled(shlex.split(line), places)
        for name, line in lines.items()
        if name not in _LACKS.get(kind, ())
    }


def fill(words: Iterable[str], **places: object) -> Words:
    """The words with the places' names filled in."""
    return _filled(words, places)


def _filled(words: Iterable[str], places: Mapping[str, object]) -> Words:
    found = list(words)
    for name, value in places.items():
        found = [word.replace(f"{{{name}}}", str(value)) for word in found]
    return found


def write_data(folder: Path) -> None:
    """The tables, pictures and files that the commands of `FITS` and `asked` name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = 40
    job = rng.choice(["clerk", "farmer", "smith"], rows)
    age = rng.integers(20, 60, rows)
    label = np.where((job == "farmer") ^ (age > 40), "rich", "poor")
    tall = (age / 10 + rng.normal(0, 0.1, rows)).round(2)
    names = [f"p{row:02d}" for row in range(rows)]
    write_table(folder / "rows.csv", {"id": names, "job": job, "age": age, "label": label, "tall": tall})
    write_table(folder / "photos.csv", write_photos(folder, 16))
    write_table(folder / "sample_rows.csv", {"id": names[::-1], "label": ["x"] * rows})
    write_table(
        folder / "sample_photos.csv", {"id": [f"{row:04d}.png" for row in (3, 1, 2)], "label": ["x"] * 3}
    )
    (folder / "ensemble.toml").write_text(_ENSEMBLE)
    pairs = [(u, i) for u in range(12) for i in range(8) if rng.random() < 0.7]
    with open(folder / "ratings.csv", "w", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["user", "item", "stars"])
        lines.writerows((f"u{u:02d}", f"m{i}", 5 - 3 * ((u + i) % 2) - (u % 3 == 0)) for u, i in pairs)
    write_table(
        folder / "items.csv", {"item": [f"m{i}" for i in range(8)], "title": [f"Film {i}" for i in range(8)]}
    )
    write_table(
        folder / "events.csv",
        {
            "user": [f"u{u:02d}" for u, i in pairs if (u + i) % 2],
            "item": [f"m{i}" for u, i in pairs if (u + i) % 2],
        },
    )


def make_runs(folder: Path, run: Runner, kinds: Iterable[str] = tuple(FITS)) -> dict[str, Path]:
    """Write the data and make a run of every kind under ``folder/runs``; returns kind -> run folder."""
    write_data(folder)
    for kind in kinds:
        if kind == "blend":
            run(fill(SECOND, out="runs/table2"), folder)
        run(fill(FITS[kind], out=f"runs/{kind}"), folder)
    return {kind: folder / "runs" / kind for kind in kinds}
