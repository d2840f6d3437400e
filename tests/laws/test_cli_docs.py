"""docs/cli.md is what the commands say today, and every command says something."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from laws.pages import Block, read_blocks
from laws.source import ROOT, SRC, assert_none, load_script

GENERATOR = ROOT / "docs" / "make_cli.py"


def load_generator() -> Any:
    return load_script(GENERATOR)


def load_command() -> Any:
    from tenfold.cli.main import app

    return typer.main.get_command(app)


def commands_of(command: Any, name: str = "tenfold") -> dict[str, Any]:
    below = getattr(command, "commands", {})
    found = {name: command}
    for word, one in below.items():
        found |= commands_of(one, f"{name} {word}")
    return found


def check_use(line: str, commands: dict[str, Any]) -> str:
    """What is wrong with a command line of a page: a command or an option that does not exist."""
    words = shlex.split(line, comments=True)
    name = words.pop(0)
    while words and f"{name} {words[0]}" in commands:
        name = f"{name} {words.pop(0)}"
    command = commands[name]
    known = {"--help"} | {spelling for one in command.params for spelling in (*one.opts, *one.secondary_opts)}
    if getattr(command, "commands", None) and words and not words[0].startswith("-"):
        return f"there is no command {name} {words[0]}"
    wrong = [word for word in words if word[0] == "-" and len(word) > 1 and not word[1:2].isdigit()]
    wrong = [word.partition("=")[0] for word in wrong]
    wrong = [word for word in wrong if word not in known]
    return f"{name} has no option {wrong[0]}" if wrong else ""


def used_lines(block: Block) -> list[tuple[int, str]]:
    """The tenfold commands of a shell block with their line numbers; a trailing backslash goes on."""
    lines, whole, start = [], "", block.line
    for number, line in enumerate(block.code.splitlines(), block.line):
        start = start if whole else number
        whole += line.removesuffix("\\").lstrip(" ") if whole else line.removesuffix("\\").removeprefix("$ ")
        if not line.endswith("\\"):
            if whole.startswith("tenfold "):
                lines.append((start, whole))
            whole = ""
    return lines


def test_the_page_is_fresh() -> None:
    written = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert written == load_generator().cli_page(load_command()), "run: make docs"


def test_every_command_and_option_says_what_it_does() -> None:
    commands = commands_of(load_command())
    mute = [name for name, one in commands.items() if not (one.help or "").strip()]
    for name, command in commands.items():
        own = {"--help", "--install-completion", "--show-completion"}
        mute += [
            f"{name}: {one.name}"
            for one in command.params
            if not own & set(one.opts) and not (one.help or "").strip()
        ]
    assert_none([f"{one} has no help" for one in mute])


def test_the_pages_use_only_commands_and_options_that_exist() -> None:
    commands = commands_of(load_command())
    faults = []
    for page in sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")]):
        for block in read_blocks(page.read_text("utf-8")):
            if block.language in ("bash", "sh", "console", ""):
                for number, line in used_lines(block):
                    fault = check_use(line, commands)
                    if fault:
                        faults.append(f"{page.relative_to(ROOT)}:{number}: {fault}")
    assert_none(faults)


#: Code within a line of text.
INLINE = re.compile(r"`([^`\n]+)`")
#: Options of other programs that the pages name.
FOREIGN = {
    "--help",
    "--slow",
    "--index-url",
    "--no-index",
    "--find-links",
    "--kills",
    "--faults",
    "--files",
    "--all",
    "--nproc-per-node",
}


def check_inline(page: str, commands: dict[str, Any]) -> list[str]:
    """Options and commands within a page's text that do not exist; of a row of a table with another
    library's way in it, the last cell, which has tenfold's.
    """
    known = {spelling for one in commands.values() for param in one.params for spelling in param.opts}
    known |= {
        spelling for one in commands.values() for param in one.params for spelling in param.secondary_opts
    }
    faults = []
    foreign = False
    for number, line in enumerate(re.sub(r"(?ms)^```.*?^```", _blank, page).splitlines(), 1):
        foreign = (foreign or "| tenfold |" in line) and line.startswith("|")
        text = line.rstrip("| ").rpartition(" | ")[2] if foreign else line
        for code in INLINE.findall(text.replace("\\|", "/")):
            if code.startswith("tenfold ") and (fault := check_use(_joined(code), commands)):
                faults.append(f"{number}: {fault}")
            elif code.startswith("--"):
                words = [word.partition("=")[0].rstrip(",") for word in code.split()]
                wrong = [word for word in words if word.startswith("--") and word not in known | FOREIGN]
                faults += [f"{number}: there is no option {word}" for word in wrong]
    return faults


def _blank(block: re.Match[str]) -> str:
    return "\n" * block[0].count("\n")


def _joined(code: str) -> str:
    return code.replace("...", "x").replace("'", "").replace('"', "")


def test_options_named_within_the_text_exist() -> None:
    commands = commands_of(load_command())
    faults = []
    for page in sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")]):
        faults += [
            f"{page.relative_to(ROOT)}:{one}" for one in check_inline(page.read_text("utf-8"), commands)
        ]
    assert_none(faults)


def test_public_names_within_the_text_exist() -> None:
    import tenfold

    used = re.compile(r"(?<![\w/.-])tenfold\.([A-Za-z_]\w*)\b(?!\.\w+:)")
    faults = []
    for page in [ROOT / "README.md", ROOT / "docs/coming-from.md", ROOT / "docs/how-to.md"]:
        for name in used.findall(page.read_text("utf-8")):
            if name not in tenfold.__all__:
                faults.append(f"{page.name}: there is no tenfold.{name}")
    assert_none(faults)


@pytest.mark.parametrize(
    ("page", "faults"),
    [
        ("use `--lr 0.1` and `--image a=b`", []),
        ("use `--rate 0.1`", ["1: there is no option --rate"]),
        ("a\n`tenfold fit t.csv --rate 1`", ["2: tenfold fit has no option --rate"]),
        ("```bash\nother --flag\n```\nuse `--rate`", ["4: there is no option --rate"]),
        (
            "| timm | tenfold |\n|---|---|\n| `--rate` | `--lr` |\n\n`--rate`",
            ["5: there is no option --rate"],
        ),
    ],
)
def test_an_option_in_the_text_that_does_not_exist_is_found(page: str, faults: list[str]) -> None:
    assert check_inline(page, commands_of(_sample())) == faults


def _sample() -> Any:
    app = typer.Typer(help="The tool.")

    @app.command()
    def fit(
        table: Annotated[Path, typer.Argument(metavar="TABLE", help="a table, or a folder")],
        rate: Annotated[
            float,
            typer.Option("--lr", metavar="NUMBER", help="highest | of the head", rich_help_panel="Training"),
        ] = 0.1,
        image: Annotated[list[str] | None, typer.Option(metavar="COL=DIR", help="pictures")] = None,
        json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    ) -> None:
        """Train on a table.

        The second paragraph.

        \b
        Examples:
          tenfold fit t.csv
        """

    @app.command(hidden=True)
    def worker() -> None:
        """Not for people."""

    @app.command()
    def runs() -> None:
        """List the runs."""

    return typer.main.get_command(app)


def test_the_generator_shows_commands_examples_arguments_and_options_in_panels() -> None:
    page = load_generator().cli_page(_sample())
    assert "| [`tenfold fit`](#tenfold-fit) | Train on a table. |" in page
    assert "    tenfold fit TABLE [OPTIONS]\n" in page
    assert "| `TABLE` | a table, or a folder |" in page
    assert "```bash\ntenfold fit t.csv\n```\n" in page
    assert "| training | what it does |\n|---|---|\n| `--lr NUMBER` | highest \\| of the head |" in page
    assert "| `--image COL=DIR`, may be repeated | pictures |" in page
    assert "| `--json` | print JSON |" in page
    assert "The second paragraph." in page and "worker" not in page


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("tenfold fit t.csv --lr 0.1 --image a=b --json # go", ""),
        ("tenfold fit t.csv --learning-rate 0.1", "tenfold fit has no option --learning-rate"),
        ("tenfold fitt t.csv", "there is no command tenfold fitt"),
        ("tenfold fit t.csv --lr=-1 -2 -", ""),
        ("tenfold --help", ""),
    ],
)
def test_a_use_of_what_does_not_exist_is_found(line: str, fault: str) -> None:
    assert check_use(line, commands_of(_sample())) == fault


def test_commands_are_joined_over_lines() -> None:
    block = Block("bash", "pip install tenfold\n$ tenfold fit t.csv \\\n    --lr 0.1\nls", 10, "", "")
    assert used_lines(block) == [(11, "tenfold fit t.csv --lr 0.1")]


def test_quoted_messages_are_still_in_the_program() -> None:
    # Texts may be cut over several lines of the source.
    text = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text("utf-8") for path in SRC.rglob("*.py")))
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    quoted = re.findall(r"(?m)^### `([^`]+)`$", page)
    assert len(quoted) > 15
    assert_none([f"no message says {words!r}" for words in quoted if words not in text])
