"""Memory by name: sizes in words, what cards have, and what a process takes before its first tensor."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tenfold.data.images.store import find_cache_folder
from tenfold.errors import RecipeError, did_you_mean

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Band:
    """A number of bytes that is known within bounds."""

    low: int
    expected: int
    high: int


@dataclass(frozen=True)
class Card:
    """A kind of GPU.

    size_gb: as it is sold.
    usable_bytes: what PyTorch finds there: the total capacity that its out-of-memory messages print, the
    lowest of those met in public reports where drivers differ.
    capability: compute capability, which decides the attention kernel and whether bfloat16 is native.
    processors: multiprocessors, from its datasheet.
    """

    name: str
    size_gb: int
    usable_bytes: int
    capability: tuple[int, int]
    processors: int


def _card(name: str, size_gb: int, usable_gib: float, major: int, minor: int, processors: int) -> Card:
    return Card(name, size_gb, int(usable_gib * GIB), (major, minor), processors)


CARDS = (
    _card("T4", 16, 14.56, 7, 5, 40),
    _card("P100", 16, 15.90, 6, 0, 56),
    _card("V100", 16, 15.77, 7, 0, 80),
    _card("V100-32GB", 32, 31.74, 7, 0, 80),
    _card("GTX 1080 Ti", 11, 10.91, 6, 1, 28),
    _card("RTX 2080 Ti", 11, 10.75, 7, 5, 68),
    _card("RTX 3060", 12, 11.75, 8, 6, 28),
    _card("RTX 3080", 10, 9.77, 8, 6, 68),
    _card("RTX 3090", 24, 23.68, 8, 6, 82),
    _card("RTX 4090", 24, 23.52, 8, 9, 128),
    _card("RTX A6000", 48, 47.40, 8, 6, 84),
    _card("A10G", 24, 22.05, 8, 6, 80),
    _card("L4", 24, 22.03, 8, 9, 58),
    _card("L40S", 48, 44.40, 8, 9, 142),
    _card("A100", 40, 39.38, 8, 0, 108),
    _card("A100-80GB", 80, 79.15, 8, 0, 108),
    _card("H100", 80, 79.10, 9, 0, 132),
    _card("H200", 141, 139.80, 9, 0, 132),
)

#: What a CUDA process holds beside its tensors: context, kernels, library handles. It depends on card,
#: driver and libraries, and is not to be known without them; `calibrate` reads it where there is a card.
#: With kernels loaded when first used (PyTorch from 1.13 on): 287,047,680 bytes after one operator
#: (PyTorch pull request 86509), about 300 and 400 MB (issues 107667 and 109888), 426 MiB for the bare
#: context of a recent card. A training loads more kernels than one operator: hence expected and high.
CUDA_CONTEXT = Band(287 * 1000 * 1000, 512 * MIB, 800 * MIB)
#: What a CPU process holds beside its tensors: the interpreter, PyTorch and timm. Measured by
#: `bench/memory_plan.py --context` (Python 3.11, PyTorch 2.14, Linux on x86-64).
CPU_CONTEXT = Band(300 * MIB, 420 * MIB, 600 * MIB)

_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([kmgt]?i?)b?(?:ytes?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """How much memory a process may use, and how that is known.

    card: the card that was named, else None.
    """

    size_bytes: int
    said: str
    card: Card | None = None


def parse_bytes(text: str | int) -> Budget:
    """A size (``16GiB``, ``15.5 GB``, ``800m``, 17179869184), a card's name (``T4``) or ``auto``.

    GB are 10^9 and GiB are 2^30 bytes. ``auto`` is the free memory of this machine's device, less a
    twentieth. Raises RecipeError that lists what can be said.
    """
    if isinstance(text, bool) or not isinstance(text, (str, int)):
        raise _not_a_budget(text)
    if isinstance(text, int):
        return _budget(text, str(text))
    words = " ".join(text.split())
    if words.casefold() == "auto":
        return _free_memory()
    card = find_card(words)
    if card is not None:
        return Budget(card.usable_bytes, f"{card.name}: {show_bytes(card.usable_bytes)} to use", card)
    match = _SIZE.fullmatch(words)
    if match is None or match[2].casefold() == "i":
        raise _not_a_budget(text)
    return _budget(int(float(match[1]) * _UNITS[match[2].casefold()]), words)


def find_card(name: str) -> Card | None:
    """The card of that name as people and drivers spell it: ``rtx3090``, ``Tesla T4``, ``A100-SXM4-40GB``."""
    plain = _plain(name)
    for card in CARDS:
        if plain in (_plain(card.name), _plain(f"{card.name}{card.size_gb}GB")):
            return card
    return None


def _plain(name: str) -> str:
    name = re.sub(r"nvidia|geforce|tesla|quadro|sxm\d*|pcie|hbm\d\w?", " ", name.casefold())
    return re.sub(r"[\s_-]+", "", name)


def show_bytes(size: float) -> str:
    """``9.8 GiB``; MiB below one GiB."""
    return f"{size / GIB:.1f} GiB" if abs(size) >= GIB else f"{size / MIB:.0f} MiB"


def _budget(size: int, said: str) -> Budget:
    if size < MIB:
        raise RecipeError(f"a budget of {said} is less than 1 MiB", fix="give it with a unit, e.g. 16GiB")
    return Budget(size, show_bytes(size))


def _not_a_budget(text: object) -> RecipeError:
    names = [card.name for card in CARDS]
    near = did_you_mean(str(text), names)
    return RecipeError(
        f"{text!r} is not a budget",
        found=f"a size such as 16GiB, 'auto', or a card: {', '.join(names)}",
        fix=near if near.startswith("did you mean") else "give a size with its unit, e.g. 16GiB",
    )


def _free_memory() -> Budget:
    import torch

    from tenfold.engine.device import system_memory

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        # What this process has reserved already is its own to use.
        free += torch.cuda.memory_reserved()
        name, about = torch.cuda.get_device_name(), torch.cuda.get_device_properties()
        card = find_card(name) or Card(name, 0, free, (about.major, about.minor), about.multi_processor_count)
    else:
        free, name, card = system_memory()[0], "the memory of this machine", None
    size = free - free // 20
    return Budget(size, f"{show_bytes(free)} free of {name}, less a twentieth", card)


def cache_folder() -> Path:
    """Where plans and calibrations are kept."""
    return find_cache_folder() / "memory"


def stored_context(device: str) -> int | None:
    """Return the bytes that `calibrate` measured for a device of that name, or None."""
    try:
        contexts = json.loads((cache_folder() / "contexts.json").read_text(encoding="utf-8"))
        return int(contexts[device])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never calibrated, or not readable: the named constants serve


def store_context(device: str, size_bytes: int) -> Path:
    """Keep the bytes that `calibrate` measured."""
    path = cache_folder() / "contexts.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    known[device] = size_bytes
    path.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
    return path
