"""What a message may advise: options that the running command has, and takes for the data at hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z_-]*[a-z]")
#: What precedes the sentence in a line of an error.
_LABEL = re.compile(r"^\s*(?:(?:fix|found|parts)\s+|- )?")
#: Between two ways of mending one fault.
_OR = re.compile(r"(; or |; |, or )")
_ASIDE = re.compile(r"\s*\([^()]*\)")


@dataclass(frozen=True)
class Offer:
    """command: that runs.  options: that it takes, as typed.  owners: any option -> a command that has it.
    withheld: options that the data at hand exclude.  keys: options that are keys of `file` instead."""

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


#: Fields whose option has another name.
_FLAGS = {"start": "--from"}


def option(name: str) -> str:
    """A field as the user writes it: ``--plain-weight`` while a command runs, ``plain_weight`` in Python."""
    flag, offer = _FLAGS.get(name, "--" + name.replace("_", "-")), _offer.get()
    return flag if offer is not None and flag in offer.owners else name


def withhold(names: Iterable[str], file: str = "") -> None:
    """Advise none of these options from now on: they are of other data (``time_format``: ``--time-format``).

    file: holds keys of these names instead.
    """
    offer = _offer.get()
    if offer is not None:
        refused = frozenset("--" + name.replace("_", "-") for name in names)
        keys, file = (refused, file) if file else (offer.keys - refused, offer.file)
        left, held = offer.options - refused, offer.withheld | (refused & offer.options)
        _offer.set(replace(offer, options=left, withheld=held, keys=keys, file=file))


def advice(text: str) -> str:
    """The message without remedies that the running command does not offer.

    Such an alternative is left out, a key of the command's file is called so, and where nothing else is left
    the command that has the option is named. Without a command, from Python, the text stays as it is.
    """
    offer = _offer.get()
    if offer is None or "--" not in text:
        return text
    return "\n".join(_line(line, offer) for line in text.split("\n"))


def wanting(text: str, offer: Offer) -> list[str]:
    """Options in a line of text that the command lacks; in ``tenfold fit ... --resume`` it is another's."""
    missing = []
    for match in _OPTION.finditer(text):
        spelled = match[0].replace("_", "-")
        before = re.split(r"; |, or |(?<!\.)\. ", text[: match.start()])[-1]
        if spelled in offer.owners and spelled not in offer.options and not re.search(r"tenfold \w+", before):
            missing.append(match[0])
    return missing


def _line(line: str, offer: Offer) -> str:
    for name in wanting(line, offer):
        if name in offer.keys:
            key = f"{name[2:].replace('-', '_')} ({offer.file})"
            line = re.sub(rf"(?<![\w-]){name}\b", key, line, count=1)
    if not wanting(line, offer):
        return line
    label = line[: _LABEL.match(line).end()]  # type: ignore[union-attr]
    text = _ASIDE.sub(lambda aside: "" if wanting(aside[0], offer) else aside[0], line[len(label) :])
    parts = _OR.split(text)
    kept = [index for index in range(0, len(parts), 2) if not wanting(parts[index], offer)]
    # A message's own sentence stays, whatever it names; of a remedy, the part that helps.
    if kept and (label.strip() == "fix" or 0 in kept):
        return label + parts[kept[0]] + "".join(parts[index - 1] + parts[index] for index in kept[1:])
    missing = list(dict.fromkeys(wanting(text, offer)))
    owners = dict.fromkeys(
        "these data" if name in offer.withheld else f"tenfold {offer.owners[name]}"
        for name in (flag.replace("_", "-") for flag in missing)
    )
    several = "are options" if len(missing) > 1 else "is an option"
    several = several.replace(" ", " not ", 1) if [*owners] == ["these data"] else several
    return f"{label}{text} ({' and '.join(missing)} {several} of {' and '.join(owners)})"
