"""Synthetic pictures and ratings with known answers, drawn from a seed.

For demos, tests and benchmarks: nothing is downloaded. Equal seeds give equal arrays.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

#: float32: (pictures, height, width), or (pictures, 3, height, width) with colours from 0 to 1.
Pixels = NDArray[np.floating]
Ints = NDArray[np.int64]
Rng = np.random.Generator

DISEASES = ("blast", "blight", "healthy", "rust")
VARIETIES = ("Kestrel", "Marlow", "Sable", "Tarn")

#: Probability of a disease (column) given the variety (row). The variety helps to predict the disease.
PRONE = np.array(
    [[0.40, 0.15, 0.25, 0.20], [0.15, 0.40, 0.25, 0.20], [0.15, 0.20, 0.25, 0.40], [0.22, 0.22, 0.34, 0.22]]
)

#: Per variety: half width and two exponents of the outline t^a (1 - t)^b, number of side veins, and colour
#: (red, green, blue).
SHAPES = np.array(
    [
        [0.25, 0.75, 0.85, 13.0, 0.28, 0.52, 0.18],
        [0.46, 0.45, 1.00, 7.0, 0.20, 0.44, 0.27],
        [0.42, 1.05, 0.45, 6.0, 0.44, 0.57, 0.20],
        [0.35, 0.65, 0.70, 9.0, 0.26, 0.44, 0.16],
    ],
    dtype=np.float32,
)

#: Pictures drawn at once, so that their arrays fit into the processor's cache.
CHUNK = 16


def draw_leaves(
    n: int, *, seed: int, size: int = 96
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.object_ | np.int64]]]:
    """Pictures of leaves on cluttered soil, and a table with two targets.

    Returns (n, size, size, 3) uint8 and the columns `image_id` (text), `disease` and `variety` (text, the
    targets) and `age_days` (int64). Each variety has its outline, veins and green, each disease its marks;
    light, angle, age and severity vary so much that some leaves cannot be distinguished.
    """
    rng = np.random.default_rng(seed)
    variety = rng.integers(0, len(VARIETIES), n)
    disease = (PRONE[variety].cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, len(DISEASES) - 1)
    age = np.clip(rng.normal(60, 18, n), 15, 120)
    # Older leaves have been ill for longer; early marks are hardly visible.
    severity = np.clip(rng.beta(2.0, 1.3, n) * (0.6 + age / 110), 0.12, 1).astype(np.float32)
    images = np.empty((n, size, size, 3), dtype=np.uint8)
    for start in range(0, n, CHUNK):
        part = slice(start, min(start + CHUNK, n))
        images[part] = _draw_chunk(rng, variety[part], disease[part], severity[part], size)
    columns = {
        "image_id": np.array([f"leaf_{number:05d}.png" for number in range(1, n + 1)], dtype=object),
        "disease": np.array(DISEASES, dtype=object)[disease],
        "variety": np.array(VARIETIES, dtype=object)[variety],
        "age_days": np.round(age).astype(np.int64),
    }
    return images, columns


def _draw_chunk(rng: Rng, variety: Ints, disease: Ints, severity: Pixels, size: int) -> NDArray[np.uint8]:
    n = len(variety)
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    x, y = axis[None, None, :], axis[None, :, None]
    soil = np.array([0.40, 0.36, 0.26]) * rng.uniform(0.5, 1.6, (n, 1)) + rng.uniform(-0.08, 0.08, (n, 3))
    image = (
        soil[..., None, None] * (1 + 0.35 * _noise(rng, n, size, 4) + 0.3 * _noise(rng, n, size, 14))[:, None]
    )
    image = image.astype(np.float32)

    # Leaf coordinates: t from 0 at the stalk to 1 at the tip, v across.
    angle, length = _uniform(rng, n, -np.pi, np.pi), _uniform(rng, n, 0.70, 1.05)
    dx, dy = x - _uniform(rng, n, -0.22, 0.22), y - _uniform(rng, n, -0.22, 0.22)
    t = ((dx * np.cos(angle) + dy * np.sin(angle)) / length + 1) / 2
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / length
    change = 1 + 0.08 * rng.standard_normal((n, SHAPES.shape[1], 1, 1), dtype=np.float32)
    wide, a, b, veins, *colour = (SHAPES[variety][:, :, None, None] * change).swapaxes(0, 1)
    inner, top = np.clip(t, 1e-4, 1 - 1e-4), a / (a + b)  # t^a (1 - t)^b is highest at the top
    width = np.exp(a * np.log(inner / top) + b * np.log((1 - inner) / (1 - top))) * wide
    depth = np.where((t > 0) & (t < 1), width, -1) - np.abs(v)  # distance from the edge, about

    surface = np.stack(colour, axis=1) * (1 + 0.1 * _noise(rng, n, size, 9))[:, None]
    line = np.minimum(np.abs((t * veins - np.abs(v) * veins) % 1 - 0.5) / veins, np.abs(v) * 0.6)
    _paint(surface, np.clip(1.2 - line / 0.016, 0, 1), (0.66, 0.70, 0.45), _uniform(rng, n, 0.2, 0.7))
    _marks(rng, surface, disease, severity, t, v, depth)
    image += np.clip(depth * size / 2 + 0.5, 0, 1)[:, None] * (surface - image)

    # Light from one side, exposure, white balance and noise.
    light = (1 + _uniform(rng, n, -0.3, 0.3) * x + _uniform(rng, n, -0.3, 0.3) * y) * _uniform(
        rng, n, 0.65, 1.3
    )
    image *= light[:, None] * rng.uniform(0.91, 1.09, (n, 3, 1, 1)).astype(np.float32)
    image += rng.standard_normal(image.shape, dtype=np.float32) * _uniform(rng, n, 0.005, 0.04)[:, None]
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)


def _uniform(rng: Rng, n: int, low: float, high: float) -> Pixels:
    """One number per picture, shaped to meet (pictures, height, width)."""
    return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)


def _noise(rng: Rng, n: int, size: int, cells: int) -> Pixels:
    """Smooth noise of about -1 to 1, with bumps of size / cells pixels."""
    grid = rng.standard_normal((n, cells + 2, cells + 2), dtype=np.float32)
    position = (np.arange(size, dtype=np.float32) + 0.5) * (cells / size)
    # Linear between the cells, as a matrix product for all pictures at once.
    spread = np.clip(1 - np.abs(position[:, None] - np.arange(cells + 2)), 0, 1)
    return spread @ grid @ spread.T


def _paint(image: Pixels, mask: Pixels, colour: tuple[float, float, float], opacity: float | Pixels) -> None:
    """Lay a colour over the images where the mask is."""
    tone = np.array(colour, np.float32)[:, None, None]
    image += np.asarray(mask * opacity, np.float32)[:, None] * (tone - image)


def _marks(
    rng: Rng, surface: Pixels, disease: Ints, severity: Pixels, t: Pixels, v: Pixels, depth: Pixels
) -> None:
    """Paint each ill leaf's marks over its surface."""
    for name, paint in (("rust", _rust), ("blast", _blast), ("blight", _blight)):
        rows = np.flatnonzero(disease == DISEASES.index(name))
        if len(rows):
            some = surface[rows]
            paint(rng, some, severity[rows][:, None, None], t[rows], v[rows], depth[rows])
            surface[rows] = some


def _rust(rng: Rng, surface: Pixels, severity: Pixels, t: Pixels, v: Pixels, depth: Pixels) -> None:
    """Many small round orange pustules, one per cell of a grid on the leaf."""
    a, b = t * 13, v * 6.5 + 20
    cell = np.floor(a).astype(np.int64) % 32 * 32 + np.floor(b).astype(np.int64) % 32
    draws = rng.random((len(t), 32 * 32), dtype=np.float32)
    chance = np.take_along_axis(draws, cell.reshape(len(t), -1), axis=1).reshape(t.shape)
    away = np.hypot(a % 1 - 0.5, b % 1 - 0.5) / 0.42
    _paint(
        surface,
        np.clip(2.6 * (1 - away), 0, 1) * (chance < severity * 0.7),
        (0.66, 0.33, 0.10),
        0.85,
    )


def _blast(rng: Rng, surface: Pixels, severity: Pixels, t: Pixels, v: Pixels, depth: Pixels) -> None:
    """A few spindles along the veins: grey within, brown at the rim."""
    rim, core = np.zeros_like(t), np.zeros_like(t)
    for spindle in range(6):
        long = _uniform(rng, len(t), 0.07, 0.13) * (0.5 + 0.8 * severity)
        beside = np.abs((v - _uniform(rng, len(t), -0.26, 0.26)) / (long * 0.75)) ** 1.3
        away = np.abs((t - _uniform(rng, len(t), 0.12, 0.88)) / long) + beside
        drawn = severity > spindle / 6.5
        rim = np.maximum(rim, np.clip(3.5 * (1.05 - away), 0, 1) * drawn)
        core = np.maximum(core, np.clip(4.0 * (0.60 - away), 0, 1) * drawn)
    _paint(surface, rim, (0.40, 0.25, 0.12), 0.85)
    _paint(surface, core, (0.68, 0.66, 0.60), 0.9)


def _blight(rng: Rng, surface: Pixels, severity: Pixels, t: Pixels, v: Pixels, depth: Pixels) -> None:
    """A large brown area that grows inwards from the edge, with rings and a yellow front."""
    n = len(t)
    middle, side = _uniform(rng, n, 0.15, 1.0), np.sign(_uniform(rng, n, -1, 1)) * np.float32(0.34)
    away = np.hypot((t - middle) * 2, v - side) + 0.13 * _noise(rng, n, t.shape[1], 7) * (0.5 + severity)
    front = 0.12 + 0.62 * severity - away
    _paint(surface, np.clip((front + 0.09) * 12, 0, 1), (0.70, 0.64, 0.26), 0.6)
    brown = 0.8 - 0.12 * np.sin(away * 42)
    _paint(surface, np.clip(front * 16, 0, 1), (0.42, 0.29, 0.16), brown)


# --- ratings ---------------------------------------------------------------------------------------

FIRST = (
    "Amber Autumn Blue Broken Copper Crimson Distant Early Eleventh Empty Final Frozen Gentle Golden Hidden "
    "Hollow Iron Last Little Lonely Lost Midnight Northern Painted Paper Quiet Restless Second Secret Silent "
    "Silver Slow Southern Stolen Sunken Unknown Velvet Wandering Winter Wooden"
).split()
SECOND = (
    "Anchor Archive Bakery Bridge Carousel Clockmaker Compass Courier Dancer Ferry Garden Harbour Hotel "
    "Island Kingdom Lantern Letter Lighthouse Map Mirror Mountain Neighbour Orchard Orchestra Passenger "
    "Photograph Piano Promise Railway River Shadow Ship Station Stranger Summer Theatre Train Valley "
    "Visitor Watchmaker"
).split()


class DrawnRatings(TypedDict):
    """Drawn ratings, an entry per rating, and their true parameters (see `draw_ratings`)."""

    user: NDArray[np.object_]
    item: NDArray[np.object_]
    rating: NDArray[np.float32]
    time: NDArray[np.int64]
    users: NDArray[np.object_]
    items: NDArray[np.object_]
    titles: NDArray[np.object_]
    series: NDArray[np.int64]
    mean: float
    user_bias: NDArray[np.float64]
    item_bias: NDArray[np.float64]
    user_factors: NDArray[np.float64]
    item_factors: NDArray[np.float64]


def draw_ratings(
    users: int,
    items: int,
    ratings: int,
    *,
    seed: int,
    factors: int = 5,
    noise: float = 0.4,
    step: float = 1.0,
) -> DrawnRatings:
    """Ratings of invented films, 1 to 5 stars, drawn from known factors.

    rating = mean + b_u + c_i + p_u . q_i + noise, rounded to `step` and clipped to the scale. Films come in
    series of one to three parts ("Copper Lighthouse", "Copper Lighthouse 2"): parts of a series have almost
    equal factors, so that the nearest neighbour of a film is known.

    Returns `user`, `item` (text), `rating` (float32) and `time` (int64 seconds since 1970), an entry per
    rating, each pair once, in order of time; `users` and `items` (ids), `titles` (per item), `series` (per
    item, a number), and the true `mean`, `user_bias`, `item_bias`, `user_factors`, `item_factors`.
    """
    if not 1 <= ratings <= 0.6 * users * items:
        raise ValueError(f"{users} users and {items} items have room for {int(0.6 * users * items)} ratings")
    rng = np.random.default_rng(seed)
    series = np.repeat(np.arange(items), rng.choice([1, 1, 2, 3], items))[:items]
    titles = _titles(rng, series)
    centre = rng.normal(0, 1, (items, factors))[series]
    item_factors = (centre + rng.normal(0, 0.05, (items, factors))) / factors**0.25
    user_factors = rng.normal(0, 1, (users, factors)) / factors**0.25
    user_bias, item_bias, mean = rng.normal(0, 0.4, users), rng.normal(0, 0.45, items), 3.5

    user, item = _draw_pairs(rng, users, items, ratings)
    score = mean + user_bias[user] + item_bias[item] + noise * rng.standard_normal(ratings)
    for factor in range(factors):  # factor by factor: no second table of ratings x factors
        score += user_factors[user, factor] * item_factors[item, factor]
    rating = np.clip(np.round(score / step) * step, 1, 5).astype(np.float32)
    # Users rate in the days after their first rating.
    time = (
        1_420_070_400
        + rng.integers(0, 94_608_000, users)[user]
        + rng.exponential(864_000, ratings).astype(int)
    )
    order = np.argsort(time, kind="stable")
    user, item = user[order], item[order]
    user_ids = np.array([f"u{number}" for number in range(1, users + 1)], dtype=object)
    item_ids = np.array([f"m{number}" for number in range(1, items + 1)], dtype=object)
    return {
        "user": user_ids[user],
        "item": item_ids[item],
        "rating": rating[order],
        "time": time[order].astype(np.int64),
        "users": user_ids,
        "items": item_ids,
        "titles": titles,
        "series": series,
        "mean": mean,
        "user_bias": user_bias,
        "item_bias": item_bias,
        "user_factors": user_factors,
        "item_factors": item_factors,
    }


def _draw_pairs(rng: Rng, users: int, items: int, ratings: int) -> tuple[Ints, Ints]:
    """Different pairs: a quarter uniform, the rest by the activity of users and the popularity of items."""
    busy, popular = rng.lognormal(0, 0.7, users), rng.lognormal(0, 0.9, items)
    keys = np.zeros(0, dtype=np.int64)
    while len(keys) < ratings:
        many = int(1.2 * (ratings - len(keys))) + 100
        even = many // 4
        user = np.concatenate(
            [rng.integers(0, users, even), rng.choice(users, many - even, p=busy / busy.sum())]
        )
        item = np.concatenate(
            [rng.integers(0, items, even), rng.choice(items, many - even, p=popular / popular.sum())]
        )
        keys = np.sort(np.concatenate([keys, user * np.int64(items) + item]))
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]  # np.unique is far slower
        # The most popular pairs are used up early: the next round is more uniform.
        busy, popular = busy**0.8, popular**0.8
    keys = rng.permutation(keys)[:ratings]
    return keys // items, keys % items


def _titles(rng: Rng, series: Ints) -> NDArray[np.object_]:
    """A unique title per item; parts of a series are numbered."""
    order = rng.permutation(len(FIRST) * len(SECOND))
    titles, part = [], 0
    for item, number in enumerate(series.tolist()):
        part = part + 1 if item and series[item - 1] == number else 1
        tale, turn = order[number % len(order)], number // len(order)
        name = f"{FIRST[tale // len(SECOND)]} {SECOND[tale % len(SECOND)]}"
        name += f" of the {SECOND[turn % len(SECOND)]}" * (turn > 0) + f" {turn // len(SECOND)}" * (
            turn >= len(SECOND)
        )
        titles.append(name if part == 1 else f"{name} {part}")
    return np.array(titles, dtype=object)


# --- passengers ------------------------------------------------------------------------------------

GIVEN = (
    "Ada Bela Clara Dov Edda Farid Greta Hugo Ines Jonas Kaja Lev Mira Nils Olga Pavel Rosa Sven Tova Uri"
).split()
FAMILY = "Alder Birch Cole Drake Ember Fisk Grove Hale Ibsen Juniper Knox Lund Marsh North Oakes Pike".split()


def draw_passengers(n: int, *, seed: int) -> dict[str, NDArray[np.object_ | np.int64 | np.float64]]:
    """A table of passengers of an invented ship, of whom some survived.

    Returns `name` (text, each once), `sex` (``female`` or ``male``), `class` (``1`` to ``3``), `port` (text,
    2 % missing), `age` (float64 years, 15 % missing, NaN), `relatives` (int64), `fare` (float64) and
    `survived` (``no`` or ``yes``). The log odds of a yes are -2.2, + 4.4 for women, + 2.6, 0.6 or -1.0 by
    class, - 0.05 for each year of age above 25, and + 2.0 for children below 10.
    """
    rng = np.random.default_rng(seed)
    female = rng.random(n) < 0.4
    level = rng.choice(3, n, p=[0.25, 0.22, 0.53])
    age = np.clip(rng.gamma(5.0, 6.0, n) + 4 * (2 - level), 0.5, 80).round(1)
    relatives = rng.poisson(np.where(age < 14, 2.2, 0.6))
    fare = (np.array([60.0, 20.0, 10.0])[level] * rng.lognormal(0, 0.45, n) * (1 + 0.3 * relatives)).round(2)
    port = np.array(["Sandhaven", "Quayle", "Cherbay"], dtype=object)[rng.choice(3, n, p=[0.7, 0.1, 0.2])]
    odds = -2.2 + 4.4 * female + np.array([2.6, 0.6, -1.0])[level] - 0.05 * (age - 25) + 2.0 * (age < 10)
    survived = rng.random(n) < 1 / (1 + np.exp(-odds))
    names = [f"{GIVEN[number % 20]} {FAMILY[number // 20 % 16]} {number // 320 + 1}" for number in range(n)]
    return {
        "name": np.array(names, dtype=object)[rng.permutation(n)],
        "sex": np.where(female, "female", "male").astype(object),
        "class": (level + 1).astype(str).astype(object),
        "port": np.where(rng.random(n) < 0.02, "", port).astype(object),
        "age": np.where(rng.random(n) < 0.15, np.nan, age),
        "relatives": relatives.astype(np.int64),
        "fare": fare,
        "survived": np.where(survived, "yes", "no").astype(object),
    }
