"""How the laws read the pages: fenced blocks of code, and the comment that says what to do with one.

    <!-- test: run -->              run this shell block (Python blocks always run)
    <!-- test: output -->           what this block shows is what the block before it prints
    <!-- test: slow -->             run it with --slow only
    <!-- test: real -->             run it with --slow where the real data sets are
    <!-- test: skip: the reason --> do not run this Python block

The comment stands on the line before the fence. A page's blocks run in order, share one temporary folder
and, if they are Python, one namespace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TAG = re.compile(r"<!--\s*test:\s*(\w+)(?::\s*(.*?))?\s*-->\s*$")
TAGS = ("run", "output", "slow", "real", "skip")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its code, the line where that starts, and its tag."""

    language: str
    code: str
    line: int
    tag: str
    reason: str


def read_blocks(page: str) -> list[Block]:
    """All fenced blocks of a Markdown page, in order.

    Raises ValueError for a tag that is unknown, that no fence follows, or that skips without a reason.
    """
    blocks: list[Block] = []
    fence, indent, language, start, tag, reason = "", "", "", 0, "", ""
    code: list[str] = []
    for number, line in enumerate(page.splitlines(), 1):
        found = re.match(r"(\s*)(`{3,}|~{3,})\s*(\w*)", line)
        if fence:
            if line.strip() == fence:
                blocks.append(Block(language, "\n".join(code), start, tag, reason))
                fence, tag, reason, code = "", "", "", []
            else:
                code.append(line.removeprefix(indent))
        elif found:
            indent, fence, language = found[1], found[2], found[3]
            start = number + 1
        elif tag:
            raise ValueError(f"line {number}: a test comment stands on the line before its code block")
        elif told := TAG.search(line):
            tag, reason = told[1], told[2] or ""
            if tag not in TAGS or (tag == "skip" and not reason):
                raise ValueError(f"line {number}: {line.strip()}: say one of {', '.join(TAGS)}: reason")
    if fence or tag:
        raise ValueError(f"line {start}: a code block that does not end, or a test comment without one")
    return blocks
