"""Pictures, ratings and passengers with known answers, drawn from a seed.

For demos, tests and benchmarks: nothing is downloaded, and what is to be found is known. All of it is
invented; equal seeds give equal arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DISEASES", "VARIETIES", "draw_leaves", "draw_ratings"]

#: float32: (pictures, height, width), or (pictures, 3, height, width) with colours from 0 to 1.
Pixels = NDArray[Any]
Rng = np.random.Generator

DISEASES = ("blast", "blight", "healthy", "rust")
VARIETIES = ("Kestrel", "Marlow", "Sable", "Tarn")

#: How often a variety (row) has a disease (column). Each is prone to one, so that knowing the variety helps.
PRONE = np.array(
    [[0.40, 0.15, 0.25, 0.20], [0.15, 0.40, 0.25, 0.20], [0.15, 0.20, 0.25, 0.40], [0.22, 0.22, 0.34, 0.22]]
)

#: Per variety: half width and two exponents of the outline t^a (1 - t)^b, depth of its teeth, number and
#: slope of side veins, and two colours (red, green, blue).
SHAPES = np.array(
    [
        # width  a     b     teeth  veins slope   colour of the blade  colour of the veins
        [0.25, 0.75, 0.85, 0.000, 13.0, 1.60, 0.28, 0.52, 0.18, 0.50, 0.66, 0.30],
        [0.46, 0.45, 1.00, 0.000, 7.0, 0.90, 0.20, 0.44, 0.27, 0.72, 0.80, 0.70],
        [0.42, 1.05, 0.45, 0.000, 6.0, 0.70, 0.44, 0.57, 0.20, 0.70, 0.72, 0.34],
        [0.35, 0.65, 0.70, 0.075, 9.0, 1.10, 0.26, 0.44, 0.16, 0.58, 0.30, 0.24],
    ],
    dtype=np.float32,
)

#: Pictures drawn at once: few enough for their arrays to stay in the processor's cache.
CHUNK = 16


def draw_leaves(n: int, *, seed: int, size: int = 96) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Pictures of leaves on a cluttered ground, and a table with two targets.

    Returns (n, size, size, 3) uint8 and the columns `image_id` (text), `disease` and `variety` (text, the
    targets) and `age_days` (int64). Each variety has its outline, veins and green, each disease its marks;
    light, angle, age and severity vary so much that some leaves cannot be told apart.
    """
    rng = np.random.default_rng(seed)
    variety = rng.integers(0, len(VARIETIES), n)
    disease = (PRONE[variety].cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, len(DISEASES) - 1)
    age = np.clip(rng.normal(60, 18, n), 15, 120)
    # Older leaves have been ill for longer; the youngest marks can hardly be seen.
    severity = np.clip(rng.beta(2.0, 1.3, n) * (0.6 + age / 110), 0.12, 1).astype(np.float32)
    images = np.empty((n, size, size, 3), dtype=np.uint8)
    for start in range(0, n, CHUNK):
        part = slice(start, min(start + CHUNK, n))
        images[part] = _draw_chunk(rng, variety[part], disease[part], severity[part], age[part], size)
    columns = {
        "image_id": np.array([f"leaf_{one:05d}.png" for one in range(1, n + 1)], dtype=object),
        "disease": np.array(DISEASES, dtype=object)[disease],
        "variety": np.array(VARIETIES, dtype=object)[variety],
        "age_days": np.round(age).astype(np.int64),
    }
    return images, columns


def _draw_chunk(
    rng: Rng, variety: NDArray[Any], disease: NDArray[Any], severity: Pixels, age: NDArray[Any], size: int
) -> NDArray[np.uint8]:
    n = len(variety)
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    x, y = axis[None, None, :], axis[None, :, None]
    image = _ground(rng, n, size, x, y)

    # Leaf coordinates: t from 0 at the stalk to 1 at the tip, v across.
    angle, length = _uniform(rng, n, -np.pi, np.pi), _uniform(rng, n, 0.70, 1.05)
    dx, dy = x - _uniform(rng, n, -0.22, 0.22), y - _uniform(rng, n, -0.22, 0.22)
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / length
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / length
    v = v - _uniform(rng, n, -0.22, 0.22) * (1 - u * u)
    t = (u + 1) / 2
    change = 1 + 0.08 * rng.standard_normal((n, SHAPES.shape[1], 1, 1), dtype=np.float32)
    shape = SHAPES[variety][:, :, None, None] * change
    width = _outline(shape, t, _uniform(rng, n, 0, 1))
    pixel = 2 / (size * length)
    depth = width - np.abs(v)  # distance from the edge, about
    leaf = np.clip(depth / (1.2 * pixel) + 0.5, 0, 1)
    shade = np.clip(1 + depth * 5, 0, 1) ** 2 * _uniform(rng, n, 0.1, 0.6)
    image *= (1 - shade)[:, None]
    stalk = np.clip((0.022 - np.abs(v)) / pixel + 0.5, 0, 1) * ((t > -0.14) & (t < 0.05))
    _paint(image, stalk, np.array([0.38, 0.42, 0.20], np.float32), 1)

    surface = _surface(rng, shape, t, v, width, pixel, age)
    _marks(rng, surface, disease, severity, t, v, width, depth)
    _blemishes(rng, surface, x, y, depth, age)
    image += leaf[:, None] * (surface - image)
    return _photograph(rng, image, x, y)


def _uniform(rng: Rng, n: int, low: float, high: float) -> Pixels:
    """One number per picture, shaped to meet (pictures, height, width)."""
    return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)


def _noise(rng: Rng, n: int, size: int, cells: int) -> Pixels:
    """Smooth noise of about -1 to 1, with bumps of size / cells pixels."""
    grid = rng.standard_normal((n, cells + 3, cells + 3), dtype=np.float32)
    place = (np.arange(size, dtype=np.float32) + 0.5) * (cells / size)
    cell = place.astype(np.int64)
    part = place - cell
    # Quadratic B-splines: smooth, and a matrix product for all pictures at once.
    spread = np.zeros((size, cells + 3), dtype=np.float32)
    rows = np.arange(size)
    spread[rows, cell] = (1 - part) ** 2 / 2
    spread[rows, cell + 1] = 0.5 + part * (1 - part)
    spread[rows, cell + 2] = part**2 / 2
    return spread @ grid @ spread.T


def _paint(image: Pixels, mask: Pixels, colour: NDArray[Any], opacity: Any) -> None:
    """Lay a colour, (3,) or (pictures, 3), over the images where the mask is."""
    tone = np.asarray(colour, np.float32)[..., None, None]
    image += np.asarray(mask * opacity, np.float32)[:, None] * (tone - image)


def _ground(rng: Rng, n: int, size: int, x: Pixels, y: Pixels) -> Pixels:
    """Soil, straw, stone or grass, with other leaves and blades out of focus."""
    dark = np.array([[0.25, 0.18, 0.12], [0.45, 0.38, 0.22], [0.36, 0.36, 0.36], [0.12, 0.22, 0.10]])
    light = np.array([[0.48, 0.36, 0.26], [0.72, 0.64, 0.42], [0.66, 0.65, 0.62], [0.35, 0.48, 0.22]])
    kind = rng.integers(0, len(dark), n)
    grain = (
        0.5 + 0.5 * _noise(rng, n, size, 4) + 0.25 * _noise(rng, n, size, 14) + 0.2 * _noise(rng, n, size, 41)
    )
    grain = np.clip(grain, 0, 1)[:, None]
    low, high = (one[kind][..., None, None].astype(np.float32) for one in (dark, light))
    image = low + (high - low) * grain
    for _ in range(3):
        angle, long, wide = (
            _uniform(rng, n, 0, np.pi),
            _uniform(rng, n, 0.3, 1.4),
            _uniform(rng, n, 0.03, 0.3),
        )
        dx, dy = x - _uniform(rng, n, -1.2, 1.2), y - _uniform(rng, n, -1.2, 1.2)
        across = (dy * np.cos(angle) - dx * np.sin(angle)) / wide
        along = (dx * np.cos(angle) + dy * np.sin(angle)) / long
        blade = np.clip((1 - across * across - along * along) * _uniform(rng, n, 0.8, 4), 0, 1)
        green = np.array([0.30, 0.42, 0.18]) * rng.uniform(0.5, 1.5, (n, 1)) + rng.uniform(
            -0.08, 0.08, (n, 3)
        )
        _paint(image, blade, green, _uniform(rng, n, 0.2, 0.95))
    return image


def _outline(shape: Pixels, t: Pixels, phase: Pixels) -> Pixels:
    """Half width of the leaf at t; below 0 before the stalk and beyond the tip."""
    wide, a, b, teeth = (shape[:, one] for one in range(4))
    inner = np.clip(t, 1e-4, 1 - 1e-4)
    top = a / (a + b)  # where t^a (1 - t)^b is highest
    width = np.exp(a * np.log(inner / top) + b * np.log((1 - inner) / (1 - top))) * wide
    saw = np.abs((t * 15 + phase) % 1 - 0.5) * 2
    width = width * (1 - teeth * 2 * saw) - teeth * saw * 0.5
    return np.where((t > 0) & (t < 1), width, -np.maximum(-t, t - 1) * 2)


def _surface(
    rng: Rng, shape: Pixels, t: Pixels, v: Pixels, width: Pixels, pixel: Pixels, age: NDArray[Any]
) -> Pixels:
    """The healthy leaf: green, veins, the shine of a curved blade, and the yellow of age."""
    n, size = t.shape[0], t.shape[1]
    colour = shape[:, 6:9] + rng.normal(0, 0.03, (n, 3, 1, 1)).astype(np.float32)
    mottle = 1 + 0.07 * _noise(rng, n, size, 9) + 0.05 * _noise(rng, n, size, 30)
    tilt = np.clip(v / np.maximum(width, 0.05), -1, 1)
    shine = mottle * (1 + _uniform(rng, n, -0.25, 0.25) * tilt - 0.15 * tilt * tilt)
    yellow = np.clip(_uniform(rng, n, -0.6, 0.35) + (age[:, None, None].astype(np.float32) - 60) / 90, 0, 0.6)
    aged = (yellow * np.clip(1.2 - (width - np.abs(v)) * 7, 0.2, 1))[:, None]
    surface = colour + aged * (np.array([0.62, 0.58, 0.20], np.float32)[:, None, None] - colour)
    surface *= shine[:, None]

    veins, slope = shape[:, 4], shape[:, 5]
    line = np.abs((t * veins - np.abs(v) * slope * veins) % 1 - 0.5) / veins
    side = np.clip(1.2 - line / np.maximum(0.012, pixel * 0.8), 0, 1)
    rib = np.clip((0.028 * (1.15 - t) - np.abs(v)) / pixel + 0.7, 0, 1)
    bright = shape[:, 9:12, 0, 0]
    _paint(surface, side, bright, _uniform(rng, n, 0.2, 0.6))
    _paint(surface, rib, bright, _uniform(rng, n, 0.5, 0.9))
    return surface


def _marks(
    rng: Rng,
    surface: Pixels,
    disease: NDArray[Any],
    severity: Pixels,
    t: Pixels,
    v: Pixels,
    width: Pixels,
    depth: Pixels,
) -> None:
    """Paint each ill leaf's marks over its surface."""
    painters = {"rust": _rust, "blast": _blast, "blight": _blight}
    for name, paint in painters.items():
        rows = np.flatnonzero(disease == DISEASES.index(name))
        if len(rows):
            some = surface[rows]
            paint(rng, some, severity[rows][:, None, None], t[rows], v[rows], width[rows], depth[rows])
            surface[rows] = some


def _spots(
    rng: Rng, a: Pixels, b: Pixels, chance: Pixels, radius: tuple[float, float]
) -> tuple[Pixels, Pixels]:
    """Distance from the centre of a spot in its radii, and a random number per spot.

    a, b: coordinates in cells. Each cell of 32 x 32 has a spot with the given chance, placed so that it stays
    within the cell: any number of spots costs the same.
    """
    n, cells = a.shape[0], 32
    column, row = np.floor(a).astype(np.int64) % cells, np.floor(b).astype(np.int64) % cells
    place = (column * cells + row).reshape(n, -1)
    draws = rng.random((4, n, cells * cells), dtype=np.float32)
    there, mid_a, mid_b, size = (np.take_along_axis(one, place, axis=1).reshape(a.shape) for one in draws)
    reach = radius[0] + (radius[1] - radius[0]) * size
    away = (a % 1 - (reach + (1 - 2 * reach) * mid_a)) ** 2 + (b % 1 - (reach + (1 - 2 * reach) * mid_b)) ** 2
    return np.where(there < chance, np.sqrt(away) / reach, 9), size


def _rust(
    rng: Rng, surface: Pixels, severity: Pixels, t: Pixels, v: Pixels, width: Pixels, depth: Pixels
) -> None:
    """Many small round orange pustules with a yellow halo, in patches."""
    n, size = t.shape[0], t.shape[1]
    patch = np.clip(0.55 + 0.8 * _noise(rng, n, size, 3), 0, 1)
    away, tone = _spots(rng, t * 13 + 20, v * 6.5 + 20, severity * patch * 0.95, (0.22, 0.46))
    _paint(surface, np.clip(2.0 - away, 0, 1), np.array([0.72, 0.66, 0.22]), 0.35 + 0.3 * severity)
    _paint(surface, np.clip(2.6 * (0.95 - away), 0, 1), np.array([0.66, 0.33, 0.10]), 0.55 + 0.4 * tone)


def _blast(
    rng: Rng, surface: Pixels, severity: Pixels, t: Pixels, v: Pixels, width: Pixels, depth: Pixels
) -> None:
    """A few spindles along the veins: grey within, brown at the rim."""
    n = t.shape[0]
    rim, core = np.zeros_like(t), np.zeros_like(t)
    for one in range(6):
        middle = _uniform(rng, n, 0.12, 0.88)
        beside = _uniform(rng, n, -0.26, 0.26)
        long = _uniform(rng, n, 0.07, 0.13) * (0.5 + 0.8 * severity)
        away = np.abs((t - middle) / long) + np.abs((v - beside) / (long * 0.75)) ** 1.3
        there = severity > one / 6.5
        rim = np.maximum(rim, np.clip(3.5 * (1.05 - away), 0, 1) * there)
        core = np.maximum(core, np.clip(4.0 * (0.60 - away), 0, 1) * there)
    _paint(surface, rim, np.array([0.40, 0.25, 0.12]), 0.85)
    _paint(surface, core, np.array([0.68, 0.66, 0.60]), 0.9)


def _blight(
    rng: Rng, surface: Pixels, severity: Pixels, t: Pixels, v: Pixels, width: Pixels, depth: Pixels
) -> None:
    """One or two large brown areas that grow inwards from the edge, with rings and a yellow front."""
    n, size = t.shape[0], t.shape[1]
    wobble = 0.13 * _noise(rng, n, size, 7)
    for chance in (1.0, 0.4):
        middle = np.where(rng.random((n, 1, 1)) < 0.35, 1.0, _uniform(rng, n, 0.15, 0.9)).astype(np.float32)
        side = np.sign(_uniform(rng, n, -1, 1)) * np.where(middle == 1, 0, 0.34).astype(np.float32)
        away = np.hypot((t - middle) * 2, v - side) + wobble * (0.5 + severity)
        front = (0.12 + 0.62 * severity) * (rng.random((n, 1, 1)) < chance) - away
        ring = 0.5 + 0.5 * np.sin(away * 42)
        _paint(surface, np.clip((front + 0.09) * 12, 0, 1), np.array([0.70, 0.64, 0.26]), 0.6)
        _paint(surface, np.clip(front * 16, 0, 1), np.array([0.42, 0.29, 0.16]), 0.92 - 0.25 * ring)


def _blemishes(rng: Rng, surface: Pixels, x: Pixels, y: Pixels, depth: Pixels, age: NDArray[Any]) -> None:
    """What any leaf may have: specks of dirt, dried edges and a glare of the sky."""
    n, size = depth.shape[0], depth.shape[1]
    turn = _uniform(rng, n, 0, np.pi)
    a, b = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    away, tone = _spots(rng, a * 5 + 20, b * 5 + 20, _uniform(rng, n, -0.15, 0.22), (0.06, 0.24))
    dirt = np.array([0.24, 0.19, 0.13]) * rng.uniform(0.6, 1.9, (n, 1)) + rng.uniform(0, 0.12, (n, 3))
    _paint(surface, np.clip(2.5 * (1 - away), 0, 1), dirt, 0.4 + 0.5 * tone)
    dry = np.clip((0.035 + 0.04 * _noise(rng, n, size, 6) - depth) * 30, 0, 1) * (
        _uniform(rng, n, 0, 1) < 0.35
    )
    _paint(surface, dry, np.array([0.52, 0.42, 0.24]), 0.75)
    glare = np.clip(_noise(rng, n, size, 4) - _uniform(rng, n, 0.5, 1.6), 0, 1)
    _paint(surface, glare, np.array([0.88, 0.92, 0.90]), 0.7)


def _photograph(rng: Rng, image: Pixels, x: Pixels, y: Pixels) -> NDArray[np.uint8]:
    """Light from one side, exposure, white balance, focus and noise."""
    n = image.shape[0]
    light = 1 + _uniform(rng, n, -0.3, 0.3) * x + _uniform(rng, n, -0.3, 0.3) * y
    image *= (light * _uniform(rng, n, 0.62, 1.3))[:, None]
    image *= rng.uniform(0.91, 1.09, (n, 3, 1, 1)).astype(np.float32)
    blur = _uniform(rng, n, 0, 0.27)[:, None]
    for axis in (2, 3):
        beside = np.roll(image, 1, axis) + np.roll(image, -1, axis)
        image *= 1 - 2 * blur
        image += blur * beside
    image += rng.standard_normal(image.shape, dtype=np.float32) * _uniform(rng, n, 0.005, 0.035)[:, None]
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(0, 2, 3, 1)


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


def draw_ratings(
    users: int,
    items: int,
    ratings: int,
    *,
    seed: int,
    factors: int = 5,
    noise: float = 0.4,
    step: float = 1.0,
) -> dict[str, Any]:
    """Ratings of invented films, 1 to 5 stars, by people whose taste is known.

    rating = mean + b_u + c_i + p_u . q_i + noise, rounded to `step` and cut to the scale. Films come in
    series of one to three parts ("Copper Lighthouse", "Copper Lighthouse 2"): parts of one series share
    almost all their factors, so that the nearest neighbour of a film is known.

    Returns `user`, `item` (text), `rating` (float32) and `time` (int64 seconds since 1970), one entry per
    rating, each pair once, in order of time; `users` and `items` (ids), `titles` (per item), `series` (per
    item, a number), and the truth: `mean`, `user_bias`, `item_bias`, `user_factors`, `item_factors`.
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
    for factor in range(factors):  # one factor at a time: no second table of ratings x factors
        score += user_factors[user, factor] * item_factors[item, factor]
    rating = np.clip(np.round(score / step) * step, 1, 5).astype(np.float32)
    # People come once and rate in the days that follow.
    time = (
        1_420_070_400
        + rng.integers(0, 94_608_000, users)[user]
        + rng.exponential(864_000, ratings).astype(int)
    )
    order = np.argsort(time, kind="stable")
    user, item = user[order], item[order]
    ids = {
        "users": np.array([f"u{one}" for one in range(1, users + 1)], dtype=object),
        "items": np.array([f"m{one}" for one in range(1, items + 1)], dtype=object),
    }
    return {
        "user": ids["users"][user],
        "item": ids["items"][item],
        "rating": rating[order],
        "time": time[order].astype(np.int64),
        **ids,
        "titles": titles,
        "series": series,
        "mean": mean,
        "user_bias": user_bias,
        "item_bias": item_bias,
        "user_factors": user_factors,
        "item_factors": item_factors,
    }


def _draw_pairs(rng: Rng, users: int, items: int, ratings: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Different pairs: a quarter drawn evenly, the rest by how busy a user and how popular an item is."""
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
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]  # numpy's own unique is slower by far
        # The most popular pairs are soon used up: from here on drawing is more even.
        busy, popular = busy**0.8, popular**0.8
    keys = rng.permutation(keys)[:ratings]
    return keys // items, keys % items


def _titles(rng: Rng, series: NDArray[Any]) -> NDArray[np.object_]:
    """A title per item, each once; parts of a series are numbered."""
    order = rng.permutation(len(FIRST) * len(SECOND))
    titles, part = [], 0
    for item, one in enumerate(series.tolist()):
        part = part + 1 if item and series[item - 1] == one else 1
        tale, turn = order[one % len(order)], one // len(order)
        name = f"{FIRST[tale // len(SECOND)]} {SECOND[tale % len(SECOND)]}"
        name += f" of the {SECOND[turn % len(SECOND)]}" * (turn > 0) + f" {turn // len(SECOND)}" * (
            turn >= len(SECOND)
        )
        titles.append(name if part == 1 else f"{name} {part}")
    return np.array(titles, dtype=object)
