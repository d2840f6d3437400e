"""What a billion ratings and a hundred million photos would take, by arithmetic from measured rates.

    python bench/scale.py [--ratings 1e9] [--photos 1e8] [--machines 8] [--gigabits 10]

Nothing is trained. Every rate was measured on a small case, and its line says where; times grow with the
rows, which holds for every sweep and epoch, but was not measured at this size. Prints the tables of
docs/scale.md.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

GIB, HOUR, DAY = 2.0**30, 3600.0, 86400.0

#: Seconds of processors to a rating (bench/results/ratings.md, "A large log": 4 million ratings).
READ, INDEX, SGD_EPOCH = 0.4 / 4e6, 0.8 / 4e6, 1.3 / (4e6 * 2)
#: Seconds of processors to a rating and sweep: MovieLens 1M, 0.9 million ratings, 400 sweeps in 48.0 s
#: (bench/results/ratings.md); and to a rating of a whole fit by `als` (6.6 s; bench/results/updates.md).
GIBBS_SWEEP, ALS_FIT = 48.0 / (0.9e6 * 400), 6.6 / 0.9e6
#: Most memory to a rating while it is fitted: 0.49 GiB, less the 0.08 GiB before, for 4 million.
RATING_BYTES = (0.49 - 0.08) * GIB / 4e6
#: Ratings to a user, and items, of that log.
PER_USER, ITEMS = 210, 17_770

#: Seconds to a photo: EfficientNet-Lite0 at 224 px on 2 threads of a CPU, 128 photos in 4.80 s
#: (bench/results/training.md); resnet50 at 224 px in bfloat16 on an H200, 2.15 times a bare step of 40 ms for
#: 64 photos (bench/results/card.md).
CPU_PHOTO, CARD_PHOTO = 4.80 / 128, 2.15 * 0.040 / 64
#: Bytes of a decoded photo, and of resnet50's gradients in float32; photos to a step on a card.
PHOTO_BYTES, GRADIENT_BYTES, STEP = 224 * 224 * 3, 25.6e6 * 4, 64
#: Seconds in which 2 threads of a CPU decode a photo: 400 in 0.4 s (bench/results/ensembles.md).
DECODED = 0.4 / 400
#: Bytes of an id in memory: a Python string of 12 letters and its place in an array.
ID_BYTES = 61 + 8


@dataclass(frozen=True)
class Asked:
    """How much of what, and on how many machines that a network of some gigabits a second joins."""

    ratings: float
    photos: float
    machines: int
    gigabits: float

    @property
    def network(self) -> float:
        """Bytes a second between two machines."""
        return self.gigabits * 1e9 / 8


def duration(seconds: float) -> str:
    """``3.1 h``."""
    for unit, name in ((DAY, "days"), (HOUR, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.3g} s"


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def ratings_table(asked: Asked) -> str:
    """Time and memory of each step, on one processor core."""
    count, users = asked.ratings, asked.ratings / PER_USER
    steps = (
        ("read a Parquet file", READ * count, ""),
        ("number the ids", INDEX * count, f"{RATING_BYTES * count / GIB:,.0f} GiB"),
        ("`sgd`, one epoch", SGD_EPOCH * count, "the same"),
        ("`sgd`, 20 epochs", 20 * SGD_EPOCH * count, "the same"),
        ("`als`, a whole fit", ALS_FIT * count, "the same"),
        ("`gibbs`, one sweep", GIBBS_SWEEP * count, "the same"),
        ("`gibbs`, 400 sweeps", 400 * GIBBS_SWEEP * count, "the same"),
    )
    rows = [(name, duration(seconds), most) for name, seconds, most in steps]
    for factors in (32, 128):
        size = (users + ITEMS) * (factors + 1) * 4 / GIB
        rows.append((f"the model, {factors} factors", "", f"{size:,.1f} GiB"))
    return table((f"{count:.0e} ratings, {users:,.0f} users", "one core", "memory"), rows)


def spark_table(asked: Asked) -> str:
    """What each sweep of ALS moves between machines: every machine gets the factors that it does not hold."""
    users, rest = asked.ratings / PER_USER, (asked.machines - 1) / asked.machines
    rows = []
    for factors in (32, 128):
        moved = (users + ITEMS) * factors * 4 * rest
        rows.append((str(factors), f"{moved / GIB:,.2f} GiB", duration(moved / asked.network)))
    memory = RATING_BYTES * asked.ratings / asked.machines / GIB
    heads = ("factors", "to each machine, a sweep", f"at {asked.gigabits:g} Gbit/s")
    return table(heads, rows) + f"\n\nRatings take {memory:,.0f} GiB on each of {asked.machines} machines."


def photos_table(asked: Asked) -> str:
    """Time of an epoch, and what has to be read for it."""
    places = (
        ("EfficientNet-Lite0, 2 threads of a CPU", CPU_PHOTO, 1),
        ("resnet50, one H200", CARD_PHOTO, 1),
        (f"resnet50, {asked.machines} H200, network aside", CARD_PHOTO, asked.machines),
    )
    rows = [
        (name, duration(seconds * asked.photos / many), f"{many / seconds * PHOTO_BYTES / 1e6:,.0f} MB/s")
        for name, seconds, many in places
    ]
    return table((f"an epoch of {asked.photos:.0e} photos at 224 px", "time", "decoded photos read"), rows)


def network_table(asked: Asked) -> str:
    """What a ring moves to add up gradients: each machine sends and gets 2 (n - 1) / n of their bytes.

    They are added when the backward pass has ended, so that the seconds add up, too.
    """
    moved, computed = 2 * (asked.machines - 1) / asked.machines * GRADIENT_BYTES, CARD_PHOTO * STEP
    rows = []
    for gigabits in (1, 10, 25, 100):
        seconds = moved * 8 / (gigabits * 1e9)
        longer = (seconds + computed) / computed
        rows.append((f"{gigabits} Gbit/s", duration(seconds), f"{longer:.2f} times", f"{1 / longer:.0%}"))
    heads = (
        f"{asked.machines} machines, {STEP} photos each a step of {computed * 1e3:.0f} ms",
        "gradients",
        "a step",
        "of the cards is used",
    )
    return table(heads, rows)


def split_table() -> str:
    """What each device holds of a large network, its gradients, AdamW's moments and the averaged weights."""
    rows = []
    for parameters in (0.3e9, 1e9, 2e9):
        whole = 4 * parameters / GIB
        held = [whole * 5, *(whole * (2 + 3 / parts) for parts in (4, 8)), *(whole * 5 / n for n in (4, 8))]
        rows.append((f"{parameters / 1e9:g} billion parameters", *(f"{size:,.1f} GiB" for size in held)))
    ways = (f"{parts} with `--{way}`" for way in ("shard", "shard-weights") for parts in (4, 8))
    return table(("activations aside", "alone", *ways), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ratings", type=float, default=1e9)
    parser.add_argument("--photos", type=float, default=1e8)
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--gigabits", type=float, default=10.0)
    asked = Asked(**vars(parser.parse_args()))
    tables = ratings_table(asked), spark_table(asked), photos_table(asked), network_table(asked)
    print(*tables, split_table(), sep="\n\n")
    stored, ids = asked.photos * PHOTO_BYTES / 1e12, asked.photos * ID_BYTES / GIB
    once = duration(DECODED * asked.photos)
    print(f"\nDecoded once: {once} on 2 threads, {stored:,.1f} TB. Ids in memory: {ids:,.1f} GiB.")


if __name__ == "__main__":
    main()
