"""What the README and the docs show does run, and prints what they say it prints."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from command import tenfold
from laws.pages import Block, read_blocks
from laws.source import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SHELLS = ("bash", "sh", "console")


class Page:
    """One page as it runs: a folder, a namespace, and what was printed last."""

    def __init__(self, name: str, folder: Path, **allowed: bool) -> None:
        self.name = name
        self.folder = folder
        self.allowed = allowed  # slow=, real=
        self.namespace: dict[str, Any] = {"__name__": "__page__"}
        self.printed: str | None = ""  # None: the block before did not run here

    def run(self, block: Block) -> None:
        """Run or check one block; an AssertionError or the block's own error says what is wrong."""
        if block.tag == "output":
            where = f"{self.name}:{block.line}"
            if self.printed is not None:
                assert self.printed.split() == block.code.split(), f"{where}: prints\n{self.printed}"
        elif block.tag == "skip" or not self.allowed.get(block.tag, True):
            self.printed = None
        elif block.language in ("python", "py"):
            self.printed = self._run_python(block)
        elif block.language in SHELLS and block.tag:
            self.printed = self._run_shell(block)
        elif block.language == "toml":
            tomllib.loads(block.code)

    def _run_python(self, block: Block) -> str:
        # Blank lines in front, so that a traceback counts as the page does.
        code = compile("\n" * (block.line - 1) + block.code, self.name, "exec", dont_inherit=True)
        printed = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(printed):
            exec(code, self.namespace)
        return printed.getvalue()

    def _run_shell(self, block: Block) -> str:
        lines = [line.removeprefix("$ ") for line in block.code.splitlines()]
        commands = [shlex.split(line) for line in "\n".join(lines).replace("\\\n", "").splitlines()]
        if all(words and words[0] == "tenfold" and not set(words) & {"|", ">", "<"} for words in commands):
            # In forks of a process that has loaded the libraries: a command then takes what its work takes.
            return "".join(tenfold(*words[1:], cwd=self.folder).stdout for words in commands)
        bash = shutil.which("bash")
        if bash is None:
            pytest.skip("no bash here")
        here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [bash, "-euo", "pipefail", "-c", "\n".join(lines)],
            cwd=self.folder,
            env={**os.environ, "PATH": here, "COLUMNS": "120", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{self.name}:{block.line}: exit code {done.returncode}\n{done.stderr}"
        return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_page_runs(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from conftest import DATA  # where TENFOLD_DATA points

    blocks = read_blocks(page.read_text("utf-8"))
    slow = bool(request.config.getoption("--slow"))
    running = Page(page.relative_to(ROOT).as_posix(), tmp_path, slow=slow, real=DATA.is_dir() and slow)
    for block in blocks:
        running.run(block)


def run_text(text: str, folder: Path) -> Page:
    page = Page("page.md", folder)
    for block in read_blocks(text):
        page.run(block)
    return page


def test_blocks_share_a_folder_and_a_namespace(tmp_path: Path) -> None:
    text = """
```python
from pathlib import Path
Path("a.txt").write_text("seven")
x = 7
```
<!-- test: run -->
```bash
cat a.txt
```
<!-- test: output -->
```text
seven
```
```python
print(x * 6)
```
<!-- test: output -->
```text
42
```
"""
    run_text(text, tmp_path)
    assert (tmp_path / "a.txt").read_text() == "seven"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\n1 / 0\n```", ZeroDivisionError),
        ("```python\nprint(1)\n```\n<!-- test: output -->\n```\n2\n```", AssertionError),
        ("<!-- test: run -->\n```bash\nfalse\n```", AssertionError),
        ("<!-- test: run -->\n```bash\nfalse | cat\n```", AssertionError),
        ("```toml\na = \n```", tomllib.TOMLDecodeError),
        ("<!-- test: runn -->\n```bash\nls\n```", ValueError),
        ("<!-- test: run -->\n\n```bash\nls\n```", ValueError),
        ("<!-- test: skip -->\n```python\n1\n```", ValueError),
        ("```python\n1", ValueError),
    ],
)
def test_a_page_that_does_not_run_is_found(text: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        run_text(text, tmp_path)


def test_what_is_not_to_run_does_not(tmp_path: Path) -> None:
    skipped = "<!-- test: skip: needs a card -->\n```python\n1 / 0\n```\n<!-- test: output -->\n```\n7\n```"
    run_text(f"```bash\nfalse\n```\n{skipped}", tmp_path)


def test_an_error_points_at_the_line_of_the_page(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_text("words\n\n```python\nx = 0\n1 / x\n```", tmp_path)
    last = caught.traceback[-1]
    assert (Path(str(last.path)).name, last.lineno + 1) == ("page.md", 5)
