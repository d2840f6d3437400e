"""Ensembles, measured: what views and blends give on photos of coffee leaves, and what a process costs.

    python bench/ensembles.py scores --data ../shared/data/coffee-leaf --weights lite0.pth -o WORK
    python bench/ensembles.py costs --data ../shared/data/coffee-leaf -o WORK

`scores` trains three members on two folds, so that every row is predicted by networks that did not see it.
`costs` measures the fresh process per member, the memory of the whole tree of processes, and what it costs
to predict with four members that share a resize. Both together make bench/results/ensembles.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "ensembles.md"
RECIPE = """\
table = "{data}/train.csv"

[schema]
inputs = [{{ kind = "image", name = "image_id", folder = "{data}/images" }}]
targets = [{{ kind = "category", name = "stress" }}, {{ kind = "category", name = "severity" }}]

[ensemble]
folds = 2
blend = "best"

[recipe]
image_size = 64
batch_size = 16
epochs = 2
ema = 0.9
tta = 2
flip = "both"
seed = 1

[[member]]
name = "lite0-light"
arch = "tf_efficientnet_lite0"
weights = "{weights}"

[[member]]
name = "lite0-strong"
arch = "tf_efficientnet_lite0"
weights = "{weights}"
augment = "strong"
lr = 4e-3

[[member]]
name = "resnet10t"
arch = "resnet10t"
weights = "none"
frozen_epochs = 0
body_lr = 1.0
epochs = 3
"""
SMALL = """\
table = "{table}"

[schema]
inputs = [{{ kind = "image", name = "image_id", folder = "{data}/images" }}]
targets = [{{ kind = "category", name = "stress" }}]

[recipe]
weights = "none"
image_size = 160
frozen_epochs = 0
body_lr = 1.0
epochs = 1
batch_size = 32
views = 1

[[grid]]
arch = ["test_resnet", "test_efficientnet"]
seed = [1, 2]
"""


def resident_bytes(root: int) -> tuple[int, int]:
    """Memory of a process and all below it, and of the largest one of them, from /proc."""
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            status = Path(f"/proc/{entry}/status").read_text()
        except OSError:
            continue
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        parents[int(entry)] = int(fields["PPid"])
        sizes[int(entry)] = int(fields.get("VmRSS", "0 kB").split()[0]) * 1024
    tree = {root}
    while True:
        more = {child for child, parent in parents.items() if parent in tree} - tree
        if not more:
            break
        tree |= more
    each = [sizes.get(one, 0) for one in tree]
    return sum(each), max(each)


def run(command: list[str], log: Path) -> dict[str, Any]:
    """Run a command, and watch the memory of its tree of processes."""
    peak = {"tree": 0, "largest": 0}
    started = time.monotonic()
    with open(log, "wb") as stream:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            tree, largest = resident_bytes(process.pid)
            peak["tree"] = max(peak["tree"], tree)
            peak["largest"] = max(peak["largest"], largest)

    threading.Thread(target=watch, daemon=True).start()
    assert process.stdout is not None
    text = process.stdout.read().decode()
    code = process.wait()
    done.set()
    if code not in (0, 1):
        raise SystemExit(f"{' '.join(command)} ended with {code}:\n{log.read_text()[-3000:]}")
    return {"json": json.loads(text), "seconds": time.monotonic() - started, **peak}


def tenfold(*words: str) -> list[str]:
    """The command line of a tenfold command."""
    return [sys.executable, "-m", "tenfold", *words]


def scores(data: Path, weights: str, work: Path) -> dict[str, Any]:
    """Train the three members on two folds, and blend them."""
    work.mkdir(parents=True, exist_ok=True)
    recipe = work / "recipe.toml"
    recipe.write_text(RECIPE.format(data=data, weights=weights))
    found = run(tenfold("ensemble", str(recipe), "-o", str(work / "top"), "--json"), work / "scores.log")
    members = {}
    for one in found["json"]["members"]:
        plain: dict[str, list[float]] = {}
        views: dict[str, list[float]] = {}
        for kept in one["runs"]:
            about = json.loads((work / "top" / kept["path"] / "run.json").read_text())
            for name in about["targets"]:
                views.setdefault(name, []).append(about["targets"][name]["log_loss"])
                plain.setdefault(name, []).append(about["without_views"][name]["log_loss"])
        members[one["name"]] = {"scores": one["scores"], "views": views, "plain": plain}
    summary = found["json"]
    kept = ("targets", "without_views", "weights", "blends", "rows")
    return {
        "members": members,
        **{name: summary[name] for name in kept},
        "seconds": found["seconds"],
        "tree": found["tree"],
        "largest": found["largest"],
        "member_peak": max(one["peak_bytes"] for one in summary["members"]),
        "load": os.getloadavg()[1],
    }


def costs(data: Path, work: Path) -> dict[str, Any]:
    """The fresh process per member, and four members that share their pictures at prediction."""
    from tenfold.networks.inputs import prepare_rows, read_source
    from tenfold.networks.predict import answer_rows
    from tenfold.runs.options import PredictOptions, Reading
    from tenfold.runs.registry import load_run

    work.mkdir(parents=True, exist_ok=True)
    lines = (data / "train.csv").read_text().splitlines()
    table, test = work / "train.csv", work / "test.csv"
    table.write_text("\n".join([lines[0], *lines[1:301]]) + "\n")
    test.write_text("\n".join([lines[0], *lines[301:701]]) + "\n")
    recipe = work / "small.toml"
    recipe.write_text(SMALL.format(data=data, table=table))
    trained = run(tenfold("ensemble", str(recipe), "-o", str(work / "small"), "--json"), work / "costs.log")
    units = json.loads((work / "small" / "run.json").read_text())["members"]
    overheads = [one["overhead_seconds"] for one in units]
    blend = load_run(work / "small")
    runs = [member.runs[0] for member in blend.members]
    with tempfile.TemporaryDirectory() as cold:
        reading = Reading(cache=cold)
        started = time.perf_counter()
        table, reading = read_source(test, blend.schema, reading)
        rows = prepare_rows(table, blend.schema, runs[0].encoding, reading, targets=False)
        decoding = time.perf_counter() - started
        forward = 0.0
        for one in runs:
            started = time.perf_counter()
            answer_rows(one, rows, PredictOptions(reading=reading))
            forward += time.perf_counter() - started
    with tempfile.TemporaryDirectory() as cold:
        started = time.perf_counter()
        blend.predict(test, reading=Reading(cache=cold))
        whole = time.perf_counter() - started
    return {
        "overheads": overheads,
        "decoding": decoding,
        "forward": forward,
        "whole": whole,
        "rows": len(rows.ids),
        "tree": trained["tree"],
        "member_peak": max(one["peak_bytes"] for one in units),
        "load": os.getloadavg()[1],
    }


def page(work: Path) -> str:
    """Both results as Markdown."""
    lines = ["# Ensembles", "", "Made by `python bench/ensembles.py`. The machine (2 cores) was shared.", ""]
    found = work / "scores.json"
    if found.exists():
        lines += _scores_page(json.loads(found.read_text()))
    found = work / "costs.json"
    if found.exists():
        lines += _costs_page(json.loads(found.read_text()))
    return "\n".join(lines) + "\n"


def _scores_page(found: dict[str, Any]) -> list[str]:
    lines = [
        f"## Three members, two folds: {found['rows']} photos of coffee leaves, two targets",
        "",
        "Out of fold: every row is predicted by networks that did not train on it. Learned weights are "
        "scored by nested folds.",
        "",
        "| | stress log loss | stress error | severity log loss | severity error |",
        "|---|---|---|---|---|",
    ]

    def row(name: str, scores: dict[str, Any]) -> str:
        cells = [
            f"{scores[target][key]:.4f}" if key == "log_loss" else f"{scores[target][key]:.1%}"
            for target in ("stress", "severity")
            for key in ("log_loss", "error_rate")
        ]
        return f"| {name} | {' | '.join(cells)} |"

    lines += [row(name, one["scores"]) for name, one in found["members"].items()]
    for way in ("weights", "greedy", "convex"):
        if way in found["blends"]["stress"]:
            each = {target: found["blends"][target][way]["scores"] for target in ("stress", "severity")}
            lines.append(row(f"blend, {'equal weights' if way == 'weights' else way}", each))
    lines.append(row("**the blend taken**", found["targets"]))
    lines.append(row("the same without views", found["without_views"]))
    lines += ["", "Weights learned from all rows:", ""]
    for target, weights in found["weights"].items():
        lines.append(f"- {target}: " + ", ".join(f"{name} {value:.2f}" for name, value in weights.items()))
    lines += [
        "",
        "Mean log loss over folds of each member, plain view alone -> with two augmented views:",
        "",
    ]
    for name, one in found["members"].items():
        told = [
            f"{target} {sum(plain) / len(plain):.4f} -> {sum(views) / len(views):.4f}"
            for target, plain in one["plain"].items()
            for views in [one["views"][target]]
        ]
        lines.append(f"- {name}: {', '.join(told)}")
    lines += [
        "",
        f"{found['seconds'] / 60:.0f} minutes at a load average of {found['load']:.1f}. Largest memory of "
        f"the whole tree of processes: {found['tree'] / 2**20:.0f} MiB; of its largest member alone "
        f"{found['member_peak'] / 2**20:.0f} MiB, as that process says itself.",
        "",
    ]
    return lines


def _costs_page(found: dict[str, Any]) -> list[str]:
    most = max(found["overheads"])
    decodings = (found["whole"] - found["forward"]) / found["decoding"]
    return [
        "## What it costs",
        "",
        f"- A fresh process per member: {most:.1f} s at most over {len(found['overheads'])} members (its "
        "whole life less what its training takes).",
        f"- Memory of the whole tree while four small members train: {found['tree'] / 2**20:.0f} MiB; of "
        f"the largest member {found['member_peak'] / 2**20:.0f} MiB.",
        f"- Four members that share a resize, {found['rows']} photos, empty cache: {found['whole']:.1f} s. "
        f"The four forward passes alone take {found['forward']:.1f} s and one decoding "
        f"{found['decoding']:.1f} s, so that it cost four forward passes and {decodings:.2f} decodings.",
        f"- Load average while measured: {found['load']:.1f}.",
        "",
    ]


def main() -> None:
    """Measure one part, and write the page from both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("scores", "costs"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", default="")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    data = given.data.resolve()
    part = scores(data, given.weights, given.output) if given.part == "scores" else costs(data, given.output)
    (given.output / f"{given.part}.json").write_text(json.dumps(part, indent=1))
    RESULTS.write_text(page(given.output))


if __name__ == "__main__":
    main()
