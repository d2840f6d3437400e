"""How the Python reference reads tenfold's docstrings: ``name: meaning`` at a line's start is a list item."""

from __future__ import annotations

import re
from typing import Any

from griffe import Docstring, Extension, Object

#: Where a parameter or a field begins; two of them may share a line, after a full stop and two blanks.
ITEM = re.compile(r"^(\*?\w+(?:, \*?\w+)*): (?=\S)")


def listed(text: str) -> str:
    """The docstring as Markdown, with a list of its names."""
    lines: list[str] = []
    inside = code = False
    for line in re.sub(r"(?m)^(?! )(.*?[.)])  (?=\w+(?:, \w+)*: )", r"\1\n", text).splitlines():
        code = line.endswith("::") or (code and (not line.strip() or line.startswith(" ")))
        found = None if code else ITEM.match(line)
        if found and found[1] not in ("Raises", "Returns"):
            if lines and lines[-1].strip() and not inside:
                lines.append("")
            line, inside = f"- `{found[1]}`: {line[found.end() :]}", True
        elif inside and re.match("(Raises|Returns) ", line):
            lines, inside = [*lines, ""], False
        elif inside and line.strip():
            line = f"  {line.strip()}"
        else:
            inside = False
        lines.append("" if line.strip() == "::" else line.removesuffix(":") if line.endswith("::") else line)
    return "\n".join(lines)


class Names(Extension):
    """Reads every docstring in this way."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            value = listed(obj.docstring.value)
            obj.docstring = Docstring(value, lineno=obj.docstring.lineno, parent=obj)
