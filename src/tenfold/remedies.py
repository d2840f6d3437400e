"""What a message may advise: options that the running command has, and takes for the data at hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z_-]*[a-z]")
#: What begins a line of an error, and is no part of its sentence.
_LABEL = re.compile(r"^\s*(?:(?:fix|found|parts)\s+|- )?")
#: Between two ways of mending one fault.
_OR = re.compile(r"(; or |; |, or )")
_ASIDE = re.compile(r"\s*\([^()]*\)")


@dataclass(frozen=True)
class Offer:
    """command: that runs.  options: that it takes, as typed.  owners: any option -> a command that has it.
    withheld: that it has, but not for the data at hand.  keys: what stands in a file, said to be `file`."""

    command: str
    options: frozenset[str]
    owners: Mapping[str, str]
    withheld: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    file: str = ""


_offer: ContextVar[Offer | None] = ContextVar("offer", default=None)


@contextmanager
def offering(offer: Offer) -> Iterator[None]:
    """While this command runs, `advice` names its options only."""
    token = _offer.set(offer)
    try:
        yield
    finally:
        _offer.reset(token)


def withhold(names: Iterable[str], file: str = "") -> None:
    """From now on these options are refused, since of other data (``time_format`` is ``--time-format``).

    file: holds keys of these names instead.
    """
    offer = _offer.get()
    if offer is not None:
        refused = frozenset("--" + name.replace("_", "-") for name in names)
        keys, file = (refused, file) if file else (offer.keys - refused, offer.file)
        left, held = offer.options - refused, offer.withheld | (refused & offer.options)
        _offer.set(replace(offer, options=left, withheld=held, keys=keys, file=file))


def advice(text: str) -> str:
    """A message without ways of mending that the running command has not: an alternative is left out, a
    key of its file is called so, and where nothing else is left, the command is named that has the option.

    Without a command, from Python, the text stays as it is.
    """
    offer = _offer.get()
    if offer is None or "--" not in text:
        return text
    return "\n".join(_line(line, offer) for line in text.split("\n"))


def wanting(text: str, offer: Offer) -> list[str]:
    """Options in a line of text that the command has not; ``tenfold fit ... --resume`` is another's."""
    found = []
    for match in _OPTION.finditer(text):
        spelled = match[0].replace("_", "-")
        before = re.split(r"; |, or |(?<!\.)\. ", text[: match.start()])[-1]
        if spelled in offer.owners and spelled not in offer.options and not re.search(r"tenfold \w+", before):
            found.append(match[0])
    return found


def _line(line: str, offer: Offer) -> str:
    missing = wanting(line, offer)
    for name in missing:
        if name in offer.keys:
            line = re.sub(
                rf"(?<![\w-]){name}\b", name[2:].replace("-", "_") + f" ({offer.file})", line, count=1
            )
    if not (missing := wanting(line, offer)):
        return line
    label = _LABEL.match(line)[0]  # type: ignore[index]
    text = _ASIDE.sub(lambda found: "" if wanting(found[0], offer) else found[0], line[len(label) :])
    parts = _OR.split(text)
    kept = [place for place in range(0, len(parts), 2) if not wanting(parts[place], offer)]
    # A message's own sentence stays, whatever it names; of a remedy, the part that helps.
    if kept and (label.strip() == "fix" or 0 in kept):
        text = parts[kept[0]] + "".join(parts[place - 1] + parts[place] for place in kept[1:])
        return label + text
    missing = list(dict.fromkeys(wanting(text, offer)))
    owners = dict.fromkeys(
        "these data" if name in offer.withheld else f"tenfold {offer.owners[name]}"
        for name in (one.replace("_", "-") for one in missing)
    )
    several = "are options" if len(missing) > 1 else "is an option"
    several = several.replace(" ", " not ", 1) if [*owners] == ["these data"] else several
    return f"{label}{text} ({' and '.join(missing)} {several} of {' and '.join(owners)})"
