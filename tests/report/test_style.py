"""The look of a page: every word has its rule, and every colour can be read on its paper."""

import re
from pathlib import Path

import pytest

import medistill.report
from medistill.report.style import STYLE

SOURCES = sorted(Path(medistill.report.__file__).parent.rglob("*.py"))
# Sides of a page: by day and on paper; `light-dark(...)` would hold both at once.
BLOCKS = re.findall(r":root\s*{([^}]*)}", STYLE)
TEXT = ("ink", "muted", "alert", "series-0")  # links are of the first series


def colours(block: str) -> dict[str, str]:
    return {name: _long(value) for name, value in re.findall(r"--([\w-]+):\s*(#\w{3,6})", block)}


def _long(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(2 * letter for letter in colour[1:])


def luminance(colour: str) -> float:
    """Of sRGB, as WCAG 2.1 defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_there_are_three_sides_day_night_and_paper() -> None:
    assert [bool(colours(block)) for block in BLOCKS] == [True] * 3


@pytest.mark.parametrize("side", range(3))
@pytest.mark.parametrize("name", TEXT)
def test_text_can_be_read_on_the_paper_of_every_side(name: str, side: int) -> None:
    known = colours(BLOCKS[side])
    # WCAG 2.1 asks 4.5 of text.
    assert contrast(known[name], known["paper"]) >= 4.5


@pytest.mark.parametrize("side", range(3))
@pytest.mark.parametrize("number", range(6))
def test_lines_can_be_seen_on_the_paper_of_every_side(number: int, side: int) -> None:
    known = colours(BLOCKS[side])
    # WCAG 2.1 asks 3 of what is no text.
    assert contrast(known[f"series-{number}"], known["paper"]) >= 3


@pytest.mark.parametrize("side", range(3))
def test_series_have_colours_of_their_own(side: int) -> None:
    known = colours(BLOCKS[side])
    assert len({known[f"series-{number}"] for number in range(6)}) == 6


def test_braces_close() -> None:
    assert STYLE.count("{") == STYLE.count("}")


def test_nothing_is_fetched() -> None:
    assert not re.search(r"url\(|@import|https?:", STYLE)


def test_every_class_that_the_page_uses_has_a_rule() -> None:
    used = {
        name
        for source in SOURCES
        for words in re.findall(r'class_="([a-z ]+)"', source.read_text(encoding="utf-8"))
        for name in words.split()
    }
    assert len(used) > 20
    assert [name for name in sorted(used) if not re.search(rf"\.{name}\b", STYLE)] == []


def test_every_variable_that_is_asked_for_is_given() -> None:
    given = set(re.findall(r"--([\w-]+):", STYLE)) | {"share", "outline"}  # these by the elements
    assert set(re.findall(r"var\(--([\w-]+)\)", STYLE)) <= given
