"""Whatever a message advises exists in the command that says it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

import pytest

import tenfold.cli.main  # noqa: F401 - the commands register themselves
from laws.source import assert_none, parse, read_sources
from tenfold.cli.commands import OPTIONS, offer_of
from tenfold.remedies import advice, offering, wanting

#: Files whose texts are no messages: what a browser reads, and what the commands say of their own options.
SILENT = ("reports/page", "cli/options")
KNOWN = frozenset(("--version",)).union(*OPTIONS.values())
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")


def read_messages(sources: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(place, text) of every text of the package that names an option; values in it are ``X``."""
    for file, source in sources.items():
        if file in SILENT:
            continue
        tree = parse(source)
        inside = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        words = {
            id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
        }  # docstrings, and texts that nobody reads
        for node in ast.walk(tree):
            if id(node) in inside | words:
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            if OPTION.search(text):
                yield f"{file}.py:{node.lineno}", text


MESSAGES = list(read_messages(read_sources()))


def strange_options(place: str, text: str) -> list[str]:
    """Options that no command has, and those that a command named before them has not."""
    faults = [f"{place}: no command has {name}" for name in OPTION.findall(text) if name not in KNOWN]
    for named in re.finditer(r"tenfold ([a-z]+)([^;`\n]*)", text):
        if named[1] in OPTIONS:
            strange = [one for one in OPTION.findall(named[2]) if one not in OPTIONS[named[1]]]
            faults += [f"{place}: tenfold {named[1]} has no {one}" for one in strange if one in KNOWN]
    return faults


def dead_advice(command: str, place: str, text: str) -> list[str]:
    """What is left of a text, as the command says it, that the command has not."""
    offer = offer_of(command)
    faults = []
    # The end, or the beginning, of a longer text.
    text = (
        f"mend it{text}" if text[:1] in ";," else f"{text}mend it" if text.endswith((", or ", "; ")) else text
    )
    for label in ("  fix    ", "  - ", ""):
        with offering(offer):
            said = advice(label + text)
        if not said.startswith(label) or not said.removeprefix(label).strip(" ;,.("):
            faults.append(f"{place}: nothing is left of {text!r} in tenfold {command}")
        for line in said.splitlines():
            for name in wanting(line, offer):
                if f"{name} is an option of tenfold" not in line and " are options of tenfold" not in line:
                    faults.append(f"{place}: tenfold {command} says {line!r} and has no {name}")
    return faults


def test_every_option_that_a_message_names_exists() -> None:
    assert len(MESSAGES) > 100
    assert_none([fault for place, text in MESSAGES for fault in strange_options(place, text)])


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_no_command_advises_what_it_has_not(command: str) -> None:
    assert_none([fault for place, text in MESSAGES for fault in dead_advice(command, place, text)])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("give --lable", "no command has --lable"),
        ("go on: tenfold tune TABLE --resume", "tenfold tune has no --resume"),
    ],
)
def test_a_dead_fix_is_found(text: str, fault: str) -> None:
    assert fault in strange_options("x.py:1", text)[0]
