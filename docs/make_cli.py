"""Write docs/cli.md from the commands themselves: ``python docs/make_cli.py``."""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# Command line

<!-- Written by docs/make_cli.py from the commands themselves; `make docs` writes it anew. -->
"""
WORDS = {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "Path": "PATH"}


def cli_page(command: Any, name: str = "tenfold") -> str:
    """The whole page for a command and its sub-commands, as Markdown."""
    commands = list(_walk(command, name))
    lines = [HEAD]
    if inspect.cleandoc(command.help or ""):
        lines.append(_prose(command.help) + "\n")
    lines += ["| command | what it does |", "|---|---|"]
    for full, one in commands:
        summary = _prose(one.help).partition("\n\n")[0].replace("\n", " ")
        lines.append(f"| [`{full}`](#{full.replace(' ', '-')}) | {_cell(summary)} |")
    lines.append("")
    for full, one in commands:
        lines += _section(full, one)
    return "\n".join(lines).rstrip() + "\n"


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
    for word, one in (below or {}).items():
        if not one.hidden:
            yield from _walk(one, f"{name} {word}")


def _section(full: str, command: Any) -> Iterator[str]:
    shown = [one for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    words = [_argument(one) for one in arguments] + (["[OPTIONS]"] if options else [])
    yield f"## {full}\n"
    yield _prose(command.help) + "\n"
    yield f"    {full} {' '.join(words)}".rstrip() + "\n"
    if arguments:
        yield "| argument | what it is |\n|---|---|"
        yield from (f"| `{one.name.upper()}` | {_cell(one.help)} |" for one in arguments)
        yield ""
    if options:
        # Options whose help already says their default need no column for it.
        rows = [[_spelling(one), _cell(one.help), _default(one)] for one in options]
        columns = 3 if any(row[2] for row in rows) else 2
        heads = ["option", "what it does", "default"][:columns]
        yield from (_row(row[:columns]) for row in [heads, ["---"] * columns, *rows])
        yield ""


def _argument(one: Any) -> str:
    word = one.name.upper() + ("..." if one.nargs == -1 else "")
    return word if one.required else f"[{word}]"


def _spelling(one: Any) -> str:
    names = sorted(one.opts, key=len, reverse=True) + list(one.secondary_opts)
    kind = "" if getattr(one, "is_flag", False) else f" {_kind(one)}"
    again = ", may be repeated" if getattr(one, "multiple", False) else ""
    return ", ".join(f"`{name}{kind}`" for name in names).replace("|", "\\|") + again


def _kind(one: Any) -> str:
    """What one writes after an option: ``COL=DIR``, ``squish|crop|pad``, ``INTEGER``."""
    if one.metavar:
        return one.metavar
    described = getattr(one, "type_descriptor", None)
    if described is None:  # the typer that builds on click
        choices = getattr(one.type, "choices", None)
        return "|".join(map(str, choices)) if choices else one.type.name.upper().replace("FLOAT", "NUMBER")
    kind = described.annotation
    kinds = [one for one in typing.get_args(kind) if one is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, kinds))
    if kinds:  # optional, or a list of
        kind = kinds[0]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(str(member.value) for member in kind)
    return WORDS.get(getattr(kind, "__name__", ""), "TEXT")


def _default(one: Any) -> str:
    value = one.default.value if isinstance(one.default, enum.Enum) else one.default
    if one.required:
        return "required"
    if callable(value) or value in (None, "", (), []) or value is False:
        return ""
    if value is True:
        return "on"
    return f"`{value}`"


def _prose(text: str | None) -> str:
    return inspect.cleandoc((text or "").replace("\b", "").partition("\f")[0])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str | None) -> str:
    return " ".join(_prose(text).split()).replace("|", "\\|")


def main() -> None:
    """Write the page."""
    import typer

    from tenfold.cli.main import app

    PAGE.write_text(cli_page(typer.main.get_command(app)), "utf-8")


if __name__ == "__main__":
    main()
