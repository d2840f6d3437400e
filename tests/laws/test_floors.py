"""The import law: a file imports from lower floors, or from files listed before it in its own room."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch

import pytest

from laws.source import ROOT, Import, assert_none, find_module, read_imports, read_sources


def read_house() -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """The house as docs/architecture.md draws it: (floor, room, its files in order), lowest floor first.

    Within a room a file may import those listed before it. No file may be unlisted.
    """
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms: dict[tuple[int, str], list[str]] = {}
    for floor, file in re.findall(r"^\| F(\d) \| `([\w/]+)\.py` \|", page, re.MULTILINE):
        room, _, name = file.rpartition("/")
        rooms.setdefault((int(floor), room), []).append(name)
    return tuple((floor, room, tuple(files)) for (floor, room), files in sorted(rooms.items(), key=_floor))


def _floor(entry: tuple[tuple[int, str], list[str]]) -> int:
    return entry[0][0]


HOUSE = read_house()

#: What a file may import beside the standard library. One library, one room, unless it is a language of
#: its own (numpy, torch, shapes).
LIBRARIES = {
    "numpy": ("*",),
    "jaxtyping": ("nn/*", "engine/*"),
    "torch": ("nn/*", "engine/*", "store/weights"),  # store: PyTorch's own file format
    "torchvision": ("nn/*",),
    "timm": ("nn/encoders",),
    "numba": ("collab/kernels",),
    "threadpoolctl": ("collab/scale",),
    "pyarrow": ("data/columns", "data/delimited", "data/table"),
    "PIL": ("data/images",),
    "pillow_heif": ("data/images",),
    "pydantic": ("schema", "recipe", "members"),
    "tomli_w": ("schema",),
    "sklearn": ("metrics", "out/figures", "jobs/*"),
    "safetensors": ("store/*",),
    "jinja2": ("out/report",),
    "plotly": ("out/figures",),
    "xlsxwriter": ("out/workbook",),
    "typer": ("options", "commands", "cli*"),
    "rich": ("screen*",),
    "ray": ("jobs/cluster",),
    "kaggle": ("jobs/kaggle",),
}

#: Loads for seconds; whoever is not of the neural wing reaches it inside a function, if at all.
HEAVY = "torch"
NEURAL = ("nn/*", "engine/*", "jobs/net*", "jobs/pairs*", "jobs/rates", "jobs/plan")

DISTRIBUTIONS = {
    "PIL": "pillow",
    "pillow_heif": "pillow-heif",
    "sklearn": "scikit-learn",
    "tomli_w": "tomli-w",
}


def places() -> dict[str, tuple[int, str, int]]:
    """File -> floor, room and place in the room."""
    return {
        f"{room}/{file}" if room else file: (floor, room, place)
        for floor, room, files in HOUSE
        for place, file in enumerate(files)
    }


def allowed(file: str, target: str) -> bool:
    """May `file` import `target`, both files of the package?"""
    known = places()
    if target.endswith("/__init__"):  # a room's own file: empty, so nothing but the room matters
        room = target.removesuffix("/__init__")
        return any(allowed(file, other) for other in known if known[other][1] == room)
    if target not in known or file not in known:
        return False
    floor, room, place = known[file]
    below, other, earlier = known[target]
    if room == other and floor == below:
        return earlier < place
    if floor == below:
        return target == "metrics"  # the one file of F1 that its folders may use
    if room == "engine" and other == "collab":
        return False  # the wings meet in jobs, not before
    return below < floor


def check_house(sources: Mapping[str, str]) -> list[str]:
    """Every breach of the import law, one a line."""
    faults = []
    for file, source in sources.items():
        rooms = {f"{room}/__init__" for _, room, _ in HOUSE if room}
        if file not in places() and file not in rooms:
            faults.append(f"{file}.py has no place in the house: add it to the table of docs/architecture.md")
            continue
        for one in read_imports(source, file):
            fault = _fault(file, one, sources)
            if fault:
                faults.append(f"{file}.py:{one.line}: {one.text()}: {fault}")
    return faults + _check_weight(sources)


def _fault(file: str, one: Import, sources: Mapping[str, str]) -> str:
    if file.endswith("/__init__") and one.target != "__future__":
        return "a room's __init__.py imports nothing, or whoever takes one file of it loads all"
    if one.target == "?":
        return (
            "" if file == "__init__" else "import_module needs a constant name, so that this law can read it"
        )
    target = find_module(one, sources)
    if target is not None:
        if target not in sources:
            return f"there is no {target}.py"
        return (
            "" if allowed(file, target) else f"{target}.py is not below {file}.py, nor before it in its room"
        )
    library = one.target.split(".")[0]
    if library in sys.stdlib_module_names:
        return ""
    if library not in LIBRARIES:
        return f"{library} is no dependency of tenfold"
    if not any(fnmatch(file, pattern) for pattern in LIBRARIES[library]):
        return f"{library} lives in {', '.join(LIBRARIES[library])} only"
    return ""


def _check_weight(sources: Mapping[str, str]) -> list[str]:
    """Files outside the neural wing that load torch as they are imported, with the way it gets there."""
    loads = {
        file: [one for one in read_imports(source, file) if one.when == "load"]
        for file, source in sources.items()
    }

    def way(start: str) -> tuple[str, ...]:
        found, waiting = {start}, [(start,)]
        while waiting:
            trail = waiting.pop(0)
            for one in loads.get(trail[-1], ()):
                if one.target.split(".")[0] == HEAVY:
                    return (*trail, HEAVY)
                target = find_module(one, sources)
                if target is not None and target not in found:
                    found.add(target)
                    waiting.append((*trail, target))
        return ()

    outside = [file for file in sources if not any(fnmatch(file, pattern) for pattern in NEURAL)]
    ways = [way(file) for file in outside]
    return [f"{' -> '.join(found)}: import it where it is used" for found in ways if found]


def test_every_import_of_the_package_obeys_the_house() -> None:
    assert_none(check_house(read_sources()))


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("schema", "from tenfold.recipe import Recipe", "recipe.py is not below schema.py"),
        ("data/table", "from tenfold.data import images", "not below data/table.py, nor before it"),
        ("data/table", "import tenfold.jobs.fit", "jobs/fit.py is not below"),
        ("data/table", "from ..engine import train", "engine/train.py is not below"),
        ("data/table", "def read():\n    from tenfold.store.run import save", "store/run.py is not below"),
        ("out/tables", "if TYPE_CHECKING:\n    import tenfold.data.table", "data/table.py is not below"),
        ("metrics", "from tenfold.data.table import Table", "data/table.py is not below"),
        ("collab/sgd", "from tenfold.nn.heads import Head", "nn/heads.py is not below"),
        ("collab/sgd", "import torch", "torch lives in nn/*, engine/*"),
        ("collab/sgd", "def fit():\n    import torch.nn as nn", "torch lives in nn/*, engine/*"),
        ("engine/train", "from tenfold.collab.sgd import fit_sgd", "collab/sgd.py is not below"),
        ("nn/heads", "import importlib\nimportlib.import_module('timm')", "timm lives in nn/encoders only"),
        ("nn/heads", "import importlib\nimportlib.import_module(name)", "needs a constant name"),
        ("errors", "from tenfold import Schema", "__init__.py is not below errors.py"),
        ("errors", "import pandas", "pandas is no dependency"),
        ("errors", "from tenfold.erors import listed", "there is no erors.py"),
        ("data/__init__", "from tenfold.data.table import Table", "__init__.py imports nothing"),
        ("data/utils", "", "has no place in the house"),
        (
            "jobs/fit",
            "from tenfold.engine.train import fit_network",
            "engine/train -> torch: import it where",
        ),
        ("cli", "from tenfold.jobs.fit import fit", "cli -> jobs/fit -> engine/train -> torch"),
    ],
)
def test_a_breach_is_found(file: str, source: str, fault: str) -> None:
    house = dict.fromkeys(places(), "") | {f"{room}/__init__": "" for _, room, _ in HOUSE if room}
    house["engine/train"] = "import torch"
    house["jobs/fit"] = "from tenfold.engine import train" if file == "cli" else ""
    found = [line for line in check_house({**house, file: source}) if fault in line]
    assert found and all(file in line for line in found)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("data/encode", "from tenfold.data.table import Table\nfrom tenfold import metrics, errors"),
        ("jobs/fit", "def fit():\n    from tenfold.engine.train import fit_network"),
        (
            "engine/train",
            "import torch\nfrom tenfold.nn import heads\nfrom tenfold.store.run import save_run",
        ),
        ("cli", "import typer\nimport tenfold.jobs.fit"),
    ],
)
def test_what_the_house_allows_is_allowed(file: str, source: str) -> None:
    house = dict.fromkeys(places(), "") | {f"{room}/__init__": "" for _, room, _ in HOUSE if room}
    assert check_house({**house, "engine/train": "import torch", file: source}) == []


def test_the_map_names_every_room_and_no_file_twice() -> None:
    files = [f"{room}/{file}" for _, room, names in HOUSE for file in names]
    assert len(files) > 100 and len(set(files)) == len(files)


def test_every_dependency_is_declared_and_has_its_room() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["ray"], *extras["heic"], *extras["kaggle"]]
    declared = {re.split(r"[^\w-]", line)[0] for line in lines}
    assert declared == {DISTRIBUTIONS.get(library, library) for library in LIBRARIES}
