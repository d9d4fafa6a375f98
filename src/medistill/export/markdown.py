"""Pieces of a text in Markdown."""

from collections.abc import Iterable, Sequence


def listed(names: Iterable[str]) -> str:
    """Names one after the other."""
    return ", ".join(names)


def section(title: str, *paragraphs: str) -> str:
    """Paragraphs under a title; empty ones are left out."""
    return "\n\n".join([f"## {title}", *(text for text in paragraphs if text)])


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under a head."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
