"""Read a page as a visitor does: its text, its tags, and whether they close."""

from html.parser import HTMLParser
from pathlib import Path

VOID = {"img", "meta", "br", "hr"}
UNSEEN = {"style", "script", "svg"}
BREAKS = {"p", "h1", "h2", "h3", "tr", "li", "figcaption", "caption", "summary", "pre", "dl", "dt"}


class Reader(HTMLParser):
    """Text without style and figures, every tag with its attributes, and what did not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.unbalanced: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        self.pieces.append("\n" if tag in BREAKS else " " if tag in ("td", "th", "dd") else "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not UNSEEN & set(self.open):
            self.pieces.append(data)

    @property
    def text(self) -> str:
        """What stands on the page, one line a row or paragraph."""
        lines = (" ".join(line.split()) for line in "".join(self.pieces).splitlines())
        return "\n".join(line for line in lines if line) + "\n"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every tag of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


def read(page: Path | str) -> Reader:
    """A page that was read to its end."""
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8") if isinstance(page, Path) else page)
    reader.close()
    return reader
