"""A factor model as named arrays and JSON metadata, and back, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import LISTED, RunError
from tenfold.values import Extra, FactorModel, Interactions, TimeSpans, id_text

__all__ = [
    "FORMAT",
    "Packed",
    "pack_factor_model",
    "pack_interactions",
    "unpack_factor_model",
    "unpack_interactions",
]

#: Arrays by name, of whatever types a file has.
Arrays = Mapping[str, NDArray[np.generic]]
#: Arrays by name, and metadata for JSON.
Packed = tuple[dict[str, NDArray[np.generic]], dict[str, object]]
#: Version of this layout (docs/formats.md).
FORMAT = 1

#: Array -> its type and what its axes count, in the order of `FactorModel`.
LAYOUT: dict[str, tuple[type, tuple[str, ...]]] = {
    "user_bias": (np.float32, ("users",)),
    "item_bias": (np.float32, ("items",)),
    "user_factors": (np.float32, ("users", "factors")),
    "item_factors": (np.float32, ("items", "factors")),
    "seen_start": (np.int64, ("users+1",)),
    "seen_items": (np.uint32, ("seen",)),
    "seen_ratings": (np.float32, ("seen",)),
}
TEXTS = ("users", "items", "item_names.ids", "item_names.titles")
EXTRA = "extra."
#: Among the extra arrays, what belongs to `Interactions`.
HELD, UNRATED = ("held_users", "held_items"), ("listed_items", "listed_users")
TIMES = "seen_times"
#: Fields of `Extra` that are numbers and that are arrays; fields of `TimeSpans` with an array per level.
NUMBERS = ("weight_decay", "spread", "confidence", "unobserved")
ARRAYS = tuple(field.name for field in fields(Extra) if field.name not in (*NUMBERS, "times"))
SPANS = ("start", "part", "shift")


def pack_factor_model(model: FactorModel) -> Packed:
    """Arrays and metadata of a model. Texts are UTF-8 bytes with offsets."""
    columns = (model.users, model.items, list(model.item_names), list(model.item_names.values()))
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, texts in zip(TEXTS, columns, strict=True):
        arrays[f"{name}.bytes"], arrays[f"{name}.offsets"] = _pack_texts(texts)
    for name, (kind, _) in LAYOUT.items():
        arrays[name] = np.ascontiguousarray(getattr(model, name), dtype=kind)
    arrays |= {EXTRA + name: np.asarray(array, order="C") for name, array in _extra_arrays(model).items()}
    metadata: dict[str, object] = {
        "format": FORMAT,
        "method": model.method,
        "mean": float(model.mean),
        "scale": [float(end) for end in model.scale],
        "sigmoid_range": None if model.sigmoid_range is None else [float(end) for end in model.sigmoid_range],
        "implicit": bool(model.implicit),
        "noise_precision": float(model.noise_precision),
        "notes": list(model.notes),
    }
    return arrays, metadata


def unpack_factor_model(arrays: Arrays, metadata: Mapping[str, object]) -> FactorModel:
    """The model of `pack_factor_model`. Raises RunError if its format is later or it is damaged."""
    version = metadata.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RunError("this is not a factor model", found=f"format {version!r}", fix="give a ratings run")
    if version > FORMAT:
        raise RunError(
            f"the factor model has format {version}, this version of tenfold reads up to {FORMAT}",
            fix="use the version of tenfold that made it, or a later version",
        )
    problems = _faults(arrays, metadata)
    if problems:
        raise _damaged(problems)
    users, items, ids, titles = (_unpack_texts(arrays, name) for name in TEXTS)
    users, items, ids = (_one_spelling(texts) for texts in (users, items, ids))
    sizes = {"users": len(users), "items": len(items), "users+1": len(users) + 1}
    problems = _misfits(arrays, sizes)
    if len(ids) != len(titles):
        problems.append(f"{len(ids)} listed items have {len(titles)} titles")
    if problems:
        raise _damaged(problems)
    about = dict[str, Any](metadata)
    further: dict[str, Any] = {
        name.removeprefix(EXTRA): arrays[name] for name in arrays if name.startswith(EXTRA)
    }
    low_high = about["sigmoid_range"]
    layout: dict[str, Any] = {name: arrays[name] for name in LAYOUT}
    return FactorModel(
        method=str(about["method"]),
        users=users,
        items=items,
        mean=float(about["mean"]),
        scale=(float(about["scale"][0]), float(about["scale"][1])),
        sigmoid_range=None if low_high is None else (float(low_high[0]), float(low_high[1])),
        item_names=dict(zip(ids, titles, strict=True)),
        implicit=bool(about["implicit"]),
        noise_precision=float(about["noise_precision"]),
        listed_items=int(further.get(UNRATED[0], [0])[0]),
        listed_users=int(further.get(UNRATED[1], [0])[0]),
        held_users=further.get(HELD[0]),
        held_items=further.get(HELD[1]),
        seen_times=further.get(TIMES),
        extra=_extra_of(further),
        notes=tuple(map(str, about["notes"])),
        **layout,
    )


def _extra_arrays(model: FactorModel) -> dict[str, NDArray[np.generic]]:
    """Arrays of a model beside its layout, by their names in files."""
    extra = model.extra
    values: dict[str, Any] = {name: getattr(extra, name) for name in (*NUMBERS, *ARRAYS)}
    values |= {name: getattr(model, name) for name in (*HELD, TIMES)}
    values |= {name: [getattr(model, name)] for name in UNRATED if getattr(model, name)}
    if extra.times is not None:
        values["time_lengths"] = extra.times.lengths
        for level in range(len(extra.times.lengths)):
            values |= {f"time_{part}.{level}": getattr(extra.times, part)[level] for part in SPANS}
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def _extra_of(arrays: Arrays) -> Extra:
    """The opposite of `_extra_arrays`; unknown names are left out."""
    given: dict[str, Any] = dict(arrays)
    values = {name: given[name] for name in ARRAYS if name in given}
    values |= {name: float(given[name]) for name in NUMBERS if name in given}
    if "time_lengths" in given:
        levels = range(len(given["time_lengths"]))
        spans = (tuple(given[f"time_{part}.{level}"] for level in levels) for part in SPANS)
        values["times"] = TimeSpans(given["time_lengths"], *spans)
    return Extra(**values)


def pack_interactions(
    known: Interactions, users: NDArray[np.float32], items: NDArray[np.float32], *, method: str = "network"
) -> Packed:
    """As `pack_factor_model`, for interactions and vectors (users, n) and (items, n), as embeddings.

    The biases of the layout are 0 here.
    """
    shared = {field.name: getattr(known, field.name) for field in fields(Interactions)}
    model = FactorModel(
        **shared,
        method=method,
        mean=float(known.seen_ratings.mean()),
        user_bias=np.zeros(len(known.users), np.float32),
        item_bias=np.zeros(len(known.items), np.float32),
        user_factors=users,
        item_factors=items,
        sigmoid_range=None,
    )
    return pack_factor_model(model)


def unpack_interactions(
    arrays: Arrays, metadata: Mapping[str, object]
) -> tuple[Interactions, dict[str, NDArray[np.float32]]]:
    """Interactions and embeddings, by side, of `pack_interactions`."""
    model = unpack_factor_model(arrays, metadata)
    known = Interactions(**{field.name: getattr(model, field.name) for field in fields(Interactions)})
    return known, {"user": model.user_factors, "item": model.item_factors}


def _pack_texts(texts: Sequence[str] | NDArray[np.object_]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    # A text from a damaged file name may hold lone surrogates, which plain UTF-8 refuses.
    encoded = [str(text).encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def _unpack_texts(arrays: Arrays, name: str) -> NDArray[np.object_]:
    offsets = np.asarray(arrays[f"{name}.offsets"]).tolist()
    packed = np.asarray(arrays[f"{name}.bytes"]).tobytes()
    try:
        return np.array([packed[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(offsets)], object)
    except UnicodeDecodeError as error:
        raise _damaged([f"{name} is not UTF-8: {error}"]) from None


def _one_spelling(ids: NDArray[np.object_]) -> NDArray[np.object_]:
    """Ids as `values.id_text` spells them today: earlier versions kept every Unicode form as it came.

    An id stays as it was if its new spelling is taken: by an id that had it, or by an earlier one.
    """
    taken: set[str] | None = None
    for index, name in enumerate(ids):
        spelled = name if name.isascii() else id_text(name)
        if spelled != name and spelled:
            taken = set(ids) if taken is None else taken
            if spelled not in taken:
                ids[index] = spelled
                taken.add(spelled)
    return ids


def _faults(arrays: Arrays, metadata: Mapping[str, object]) -> list[str]:
    """Problems: what is missing or of the wrong type."""
    words = ("method", "mean", "scale", "sigmoid_range", "implicit", "noise_precision", "notes")
    problems = [f"{word} is missing" for word in words if word not in metadata]
    for word in ("scale", "sigmoid_range"):
        value = metadata.get(word)
        if value is not None and not (isinstance(value, Sequence) and len(value) == 2):
            problems.append(f"{word} is {value!r}, not two numbers")
    if metadata.get("scale", ()) is None:
        problems.append("scale is missing")
    for word in ("mean", "noise_precision"):
        value = metadata.get(word, 0.0)
        if not isinstance(value, int | float) or not math.isfinite(value):
            problems.append(f"{word} is {value!r}, not a finite number")
    wanted = {name: kind for name, (kind, _) in LAYOUT.items()}
    for name in TEXTS:
        wanted |= {f"{name}.bytes": np.uint8, f"{name}.offsets": np.int64}
    for name, kind in wanted.items():
        if name not in arrays:
            problems.append(f"array {name} is missing")
        elif arrays[name].dtype != kind:
            problems.append(f"array {name} holds {arrays[name].dtype}, not {np.dtype(kind)}")
        elif name.endswith(".offsets"):
            problems += _bad_offsets(arrays, name)
    return problems


def _bad_offsets(arrays: Arrays, name: str) -> list[str]:
    offsets = arrays[name]
    texts = arrays.get(name.removesuffix("offsets") + "bytes")
    length = -1 if texts is None else texts.size
    good = offsets.ndim == 1 and len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == length
    return (
        [] if good and (np.diff(offsets) >= 0).all() else [f"array {name} does not cut its bytes into texts"]
    )


def _misfits(arrays: Arrays, sizes: dict[str, int]) -> list[str]:
    """Problems: arrays with shapes, indices or numbers that contradict each other."""
    problems = []
    for name, (kind, axes) in LAYOUT.items():
        array = arrays[name]
        if array.ndim != len(axes):
            problems.append(f"array {name} has {array.ndim} axes, not {len(axes)}")
            continue
        for size, axis in zip(array.shape, axes, strict=True):
            if sizes.setdefault(axis, size) != size:
                problems.append(f"array {name} has {size} {axis}, not {sizes[axis]}")
        if kind is np.float32 and not np.isfinite(array).all():
            problems.append(f"array {name} holds numbers that are not finite")
    if problems:
        return problems
    start, seen = arrays["seen_start"], arrays["seen_items"]
    if start[0] != 0 or start[-1] != len(seen) or (np.diff(start) < 0).any():
        problems.append("array seen_start does not cut seen_items into a list per user")
    if len(seen) and int(seen.max()) >= sizes["items"]:
        problems.append("array seen_items names items that are not there")
    times = arrays.get(EXTRA + TIMES)
    if times is not None and (times.dtype != np.float64 or times.shape != seen.shape):
        problems.append(f"array {TIMES} is not a number for each of seen_items")
    return problems


def _damaged(problems: list[str]) -> RunError:
    return RunError(
        "the factor model is damaged",
        problems=problems[:LISTED],
        fix="fit again, or restore the run's folder",
    )
