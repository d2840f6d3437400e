"""The import law: a file imports from its own floor or a lower one, and imports never run in a circle."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch

import pytest

from laws.source import ROOT, Import, assert_none, find_module, read_imports, read_sources


def read_house() -> dict[str, int]:
    """The house as docs/architecture.md draws it: file -> floor. No file may be unlisted."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    listed = re.findall(r"^\| F(\d) \| `([\w/]+)\.py` \|", page, re.MULTILINE)
    return {file: int(floor) for floor, file in listed}


HOUSE = read_house()
ROOMS = {file.rpartition("/")[0] for file in HOUSE} - {""} | {"data"}

#: What a file may import beside the standard library. One library, one room, unless it is a language of
#: its own (numpy, torch, shapes).
LIBRARIES = {
    "numpy": ("*",),
    "jaxtyping": ("nn/*", "engine/*", "memory/*"),
    "torch": (
        "nn/*",
        "engine/*",
        "memory/*",
        "networks/*",
        "runs/weights",
    ),  # runs: PyTorch's own file format
    "torchvision": ("nn/*",),
    "timm": ("nn/encoders", "engine/optim"),
    "huggingface_hub": ("nn/encoders",),
    "numba": ("collab/kernels",),
    "threadpoolctl": ("collab/scale",),
    "pandas": ("frames",),
    "sklearn": ("api/estimators",),
    "pyarrow": ("data/tables/*",),
    "PIL": ("data/images/decode", "data/images/profiles"),
    "pillow_heif": ("data/images/decode",),
    "pydantic": ("schema", "recipe", "members", "serving/app"),
    "tomli_w": ("schema",),
    "safetensors": ("runs/*",),
    "jinja2": ("reports/html",),
    "xlsxwriter": ("workbooks/workbook",),
    "typer": ("cli/*",),
    "rich": ("cli/console", "cli/progress"),
    "kaggle": ("studies/kaggle",),
    "optuna": ("studies/proposals",),
    "pyspark": ("recommenders/spark",),
    "ray": ("ensembles/cluster",),
    "onnx": ("files/graph", "files/scorers"),
    "onnxruntime": ("files/graph",),
    "fastapi": ("serving/app", "serving/limits"),
    "fastapi_offline": ("serving/app",),
    "prometheus_client": ("serving/app",),
    "python_multipart": (),  # fastapi reads forms with it
    "uvicorn": ("serving/server",),
}

#: Import by a name that is not a constant: the public names, the table of the kinds of runs, and a user's own
#: losses.
BY_NAME = ("__init__", "runs/registry", "functions")

#: Loads for seconds; whoever is not of the neural wing reaches it inside a function, if at all.
HEAVY = "torch"
NEURAL = (
    *("nn/*", "engine/*", "memory/*", "recommenders/network*", "recommenders/explain"),
    *(
        f"networks/{file}"
        for file in (
            "alike",
            "predict",
            "prepare",
            "score",
            "rows",
            "explain",
            "export",
            "extra",
            "plan",
            "fit",
            "launch",
            "rates",
            "start",
            "teacher",
            "timing",
        )
    ),
    *(f"ensembles/{file}" for file in ("predict", "evaluate", "soup", "explain", "export", "tasks")),
)

DISTRIBUTIONS = {
    "huggingface_hub": "huggingface-hub",
    "PIL": "pillow",
    "pillow_heif": "pillow-heif",
    "sklearn": "scikit-learn",
    "tomli_w": "tomli-w",
    "fastapi_offline": "fastapi-offline",
    "prometheus_client": "prometheus-client",
    "python_multipart": "python-multipart",
}


def allowed(file: str, target: str) -> bool:
    """May `file` import `target`, both files of the package? Circles are looked for by themselves."""
    if target.endswith("/__init__"):  # a room's own file: empty, so nothing but the room matters
        room = target.removesuffix("__init__")
        return any(allowed(file, other) for other in HOUSE if other.startswith(room))
    if target not in HOUSE or file not in HOUSE:
        return False
    floors, rooms = (HOUSE[file], HOUSE[target]), (file.split("/")[0], target.split("/")[0])
    if rooms[1] == "collab" and rooms[0] in ("nn", "engine", "memory"):
        return False  # the networks' rooms and those of factor models meet in recommenders/, not before
    if rooms == ("collab", "nn"):
        return False
    return floors[1] <= floors[0]


def check_house(sources: Mapping[str, str]) -> list[str]:
    """Every breach of the import law, one a line."""
    faults = []
    for file, source in sources.items():
        if file not in HOUSE and file not in {f"{room}/__init__" for room in ROOMS}:
            faults.append(f"{file}.py has no place in the house: add it to the table of docs/architecture.md")
            continue
        for one in read_imports(source, file):
            fault = _fault(file, one, sources)
            if fault:
                faults.append(f"{file}.py:{one.line}: {one.text()}: {fault}")
    return faults + _check_circles(sources) + _check_weight(sources)


def _fault(file: str, one: Import, sources: Mapping[str, str]) -> str:
    if file.endswith("/__init__") and one.target != "__future__":
        return "a room's __init__.py imports nothing, or whoever takes one file of it loads all"
    if one.target == "?":
        return "" if file in BY_NAME else "import_module needs a constant name, so that this law can read it"
    target = find_module(one, sources)
    if target is not None:
        if target not in sources:
            return f"there is no {target}.py"
        return "" if allowed(file, target) else f"{target}.py is above {file}.py"
    library = one.target.split(".")[0]
    if library in sys.stdlib_module_names:
        return ""
    if library not in LIBRARIES:
        return f"{library} is no dependency of tenfold"
    if not any(fnmatch(file, pattern) for pattern in LIBRARIES[library]):
        return f"{library} lives in {', '.join(LIBRARIES[library])} only"
    return ""


def _check_circles(sources: Mapping[str, str]) -> list[str]:
    """Imports that come back to the file that they start from; lazy ones and those for types count, too."""
    reached = {
        file: sorted(
            {
                target
                for one in read_imports(source, file)
                if (target := find_module(one, sources)) in sources and target != file
            }
        )
        for file, source in sources.items()
    }
    done: set[str] = set()
    faults = []

    def walk(file: str, trail: tuple[str, ...]) -> None:
        if file in trail:
            faults.append(f"{' -> '.join((*trail[trail.index(file) :], file))}: a circle of imports")
        elif file not in done:
            for target in reached[file]:
                walk(target, (*trail, file))
            done.add(file)

    for file in reached:
        walk(file, ())
    return faults


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
        ("data/tables/table", "import tenfold.networks.fit", "networks/fit.py is above"),
        ("data/tables/table", "from ..nn import heads", "there is no data/nn"),
        ("data/tables/table", "from ...nn import heads", "nn/heads.py is above"),
        ("metrics", "from tenfold.data.tables.table import Table", "data/tables/table.py is above"),
        ("runs/folder", "def read():\n    from tenfold.engine.train import fit", "engine/train.py is above"),
        (
            "files/tables",
            "if TYPE_CHECKING:\n    import tenfold.reports.notebook",
            "reports/notebook.py is above",
        ),
        ("collab/sgd", "from tenfold.nn.heads import Head", "nn/heads.py is above"),
        ("collab/sgd", "import torch", "torch lives in nn/*, engine/*"),
        ("collab/sgd", "def fit():\n    import torch.nn as nn", "torch lives in nn/*, engine/*"),
        ("engine/train", "from tenfold.collab.sgd import fit_sgd", "collab/sgd.py is above"),
        ("nn/heads", "import importlib\nimportlib.import_module('timm')", "timm lives in nn/encoders"),
        ("nn/heads", "import importlib\nimportlib.import_module(name)", "needs a constant name"),
        ("errors", "from tenfold import Schema", "__init__.py is above errors.py"),
        ("errors", "import polars", "polars is no dependency"),
        ("errors", "from tenfold.erors import listed", "there is no erors.py"),
        ("data/__init__", "from tenfold.data.tables.table import Table", "__init__.py imports nothing"),
        ("data/utils", "", "has no place in the house"),
        (
            "reports/parts",
            "from tenfold.engine.train import fit_network",
            "engine/train -> torch: import it where",
        ),
        (
            "cli/main",
            "from tenfold.reports import parts",
            "cli/main -> reports/parts -> engine/train -> torch",
        ),
        (
            "engine/train",
            "def f():\n    from tenfold.reports import notebook",
            "reports/notebook.py is above",
        ),
        ("nn/heads", "def f():\n    from tenfold.nn import network", "nn/heads -> nn/network -> nn/heads"),
    ],
)
def test_a_breach_is_found(file: str, source: str, fault: str) -> None:
    house = dict.fromkeys(HOUSE, "") | {f"{room}/__init__": "" for room in ROOMS}
    house["engine/train"] = "import torch"
    house["nn/network"] = "from tenfold.nn.heads import Head"
    house["reports/parts"] = "from tenfold.engine import train" if file.startswith("cli/") else ""
    found = [line for line in check_house({**house, file: source}) if fault in line]
    assert found and all(file in line for line in found)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("data/encode", "from tenfold.data.tables.table import Table\nfrom tenfold import metrics, errors"),
        ("networks/fit", "def fit():\n    from tenfold.engine.train import fit_network"),
        (
            "engine/train",
            "import torch\nfrom tenfold.nn import heads\nfrom tenfold.runs.folder import save_run",
        ),
        ("cli/main", "import typer\nimport tenfold.runs.fitting"),
    ],
)
def test_what_the_house_allows_is_allowed(file: str, source: str) -> None:
    house = dict.fromkeys(HOUSE, "") | {f"{room}/__init__": "" for room in ROOMS}
    assert check_house({**house, "engine/train": "import torch", file: source}) == []


def test_the_map_names_the_files_that_exist_and_no_others() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    files = re.findall(r"^\| F\d \| `([\w/]+)\.py` \|", page, re.MULTILINE)
    assert len(set(files)) == len(files) and set(files) <= set(read_sources())


def test_a_room_has_at_least_three_files() -> None:
    rooms = [room for room in ROOMS if not any(other.startswith(f"{room}/") for other in ROOMS)]
    sizes = {room: sum(file.rpartition("/")[0] == room for file in HOUSE) for room in rooms}
    assert [room for room, files in sizes.items() if files < 3] == []


def test_every_dependency_is_declared_and_has_its_room() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in extras if name != "dev" for line in extras[name])]
    declared = {re.split(r"[^\w-]", line)[0] for line in lines}
    assert declared == {DISTRIBUTIONS.get(library, library) for library in LIBRARIES}
