"""The code blocks of a page, each with what the HTML comments right above it say."""

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\s*$")
_MARK = re.compile(r"^<!-- ([\w-]+)(?:: (.*?))? -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        language: What stands after the fence; empty for none.
        text: What stands between the fences.
        where: Page and line, for a message.
        marks: By name, the comments right above it; `not-run`, `file: NAME`, `with: SETTINGS`.
    """

    language: str
    text: str
    where: str
    marks: dict[str, str]


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in its order."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    inside: list[str] | None = None
    language, start = "", 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence, mark = _FENCE.match(line), _MARK.match(line)
        if inside is not None and line == "```":
            text = "\n".join(inside) + "\n"
            found.append(Block(language, text, f"{page.name}:{start}", marks))
            inside, marks = None, {}
        elif inside is not None:
            inside.append(line)
        elif fence:
            inside, language, start = [], fence[1], number
        elif mark:
            marks = {**marks, mark[1]: mark[2] or ""}
        elif line:
            marks = {}
    return found


def page_mark(page: Path, name: str) -> str | None:
    """What a comment above the page's first heading says."""
    head = page.read_text(encoding="utf-8").partition("\n# ")[0].splitlines()
    marks = [mark for line in head if (mark := _MARK.match(line))]
    return next((mark[2] for mark in marks if mark[1] == name), None)
