"""Write docs/cli.md from the commands themselves: ``python docs/make_cli.py``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# Command line

<!-- Written by docs/make_cli.py from the commands themselves; `make docs` writes it anew. -->
"""
SHELL = """\
## Completion

`tenfold --install-completion` teaches your shell (bash, zsh, fish or PowerShell) to complete commands,
options and their values with the Tab key; open a new shell afterwards. `tenfold --show-completion` prints the
script instead.
"""


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
    lines += ["", SHELL]
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
    text, _, examples = (command.help or "").partition("\b\nExamples:\n")
    panels: dict[str, list[Any]] = {}
    for one in command.params:
        if not getattr(one, "hidden", False) and one.name != "help":
            panels.setdefault(one.rich_help_panel or f"{one.param_type_name.title()}s", []).append(one)
    words = [_argument(one) for one in command.params if one.param_type_name == "argument"]
    yield f"## {full}\n"
    yield _prose(text) + "\n"
    yield f"    {' '.join([full, *words, '[OPTIONS]'])}\n"
    if examples:
        yield f"```bash\n{inspect.cleandoc(examples)}\n```\n"
    for panel, parameters in panels.items():
        head = "argument" if panel == "Arguments" else "option" if panel == "Options" else panel.lower()
        yield f"| {head} | what it does |\n|---|---|"
        yield from (f"| {_spelling(one)} | {_cell(one.help)} |" for one in parameters)
        yield ""


def _argument(one: Any) -> str:
    word = one.metavar + ("..." if one.nargs == -1 else "")
    return word if one.required else f"[{word}]"


def _spelling(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"`{one.metavar}`"
    names = sorted(one.opts, key=len, reverse=True) + list(one.secondary_opts)
    again = ", may be repeated" if getattr(one, "multiple", False) else ""
    return _cell(", ".join(f"`{name} {one.metavar or ''}".rstrip() + "`" for name in names)) + again


def _prose(text: str | None) -> str:
    return inspect.cleandoc((text or "").replace("\b", "").partition("\f")[0])


def _cell(text: str | None) -> str:
    return " ".join(_prose(text).split()).replace("|", "\\|")


def main() -> None:
    """Write the page."""
    import typer

    from tenfold.cli.main import app

    PAGE.write_text(cli_page(typer.main.get_command(app)), "utf-8")


if __name__ == "__main__":
    main()
