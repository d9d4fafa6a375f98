"""HTML by construction: whatever is not markup already is escaped."""

from collections.abc import Iterable
from html import escape

VOID = frozenset({"img", "meta", "br", "hr"})


class Html(str):
    """Text that is markup: it goes into a page as it is.

    Only this package's own tags and figures may become it; what a file says stays `str`, and is
    escaped when it meets a tag.
    """

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | int | None) -> Html:
    """A tag around its children.

    Args:
        tag: Its name.
        children: Markup as it is, other text escaped.
        attributes: Escaped; those that are None are left out. `class_` is class, `aria_label` is
            aria-label.
    """
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        # A trailing underscore lets Python's own words be names: class_.
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Html(f"<{tag}{said}>")
    return Html(f"<{tag}{said}>{together(children)}</{tag}>")


def together(parts: Iterable[str], between: str = "") -> Html:
    """Parts one after the other, those that are no markup escaped."""
    return Html(between.join(part if isinstance(part, Html) else escape(part) for part in parts))


def number(text: str) -> Html:
    """A number with its unit, which no line break takes apart."""
    return element("span", text, class_="n")


def figure(picture: Html, *caption: str) -> Html:
    """A picture above its caption."""
    return element("figure", picture, element("figcaption", *caption))


def folded(summary: str, *children: str) -> Html:
    """What is shown when asked for."""
    return element("details", element("summary", summary), *children)
