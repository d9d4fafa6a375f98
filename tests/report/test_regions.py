"""A plane as a network divides it: every point in one colour, every class told."""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.report.regions import HUES, hues, plane
from medistill.report.wording import listed

from .reading import read

POINTS = st.lists(st.lists(st.integers(0, 11), min_size=4, max_size=4), min_size=4, max_size=4)
CLASSES = [f"kind {number}" for number in range(12)]


def drawn(points: list[list[int]], images: tuple[int, int, int] = (0, 1, 2)) -> dict[str, Any]:
    called = [" ".join(map(str, column)) for column in points]
    at = ([0, 0], [8, 0], [4, 4])
    marks = [{"at": p, "class": CLASSES[n]} for p, n in zip(at, images, strict=True)]
    return {"box": [[-1, -1], [9, 5]], "called": [called], "images": marks}


@given(st.integers(1, HUES))
def test_few_classes_have_the_colours_of_their_place(count: int) -> None:
    assert hues(drawn([[0]]), CLASSES[:count]) == list(range(count))


@given(POINTS, st.tuples(*[st.integers(0, 11)] * 3))
def test_of_many_no_two_share_a_colour_and_the_images_have_theirs(
    points: list[list[int]], images: tuple[int, int, int]
) -> None:
    known = hues(drawn(points, images), CLASSES)
    coloured = [hue for hue in known if hue is not None]
    assert len(known) == 12
    assert sorted(coloured) == list(range(len(coloured)))
    assert len(coloured) <= HUES
    assert all(known[number] is not None for number in images)


@given(POINTS)
def test_words_tell_every_class_the_most_frequent_first(points: list[list[int]]) -> None:
    found = drawn(points)
    svg = plane(found, found["called"][0], "rd", CLASSES, hues(found, CLASSES))
    (tag,) = read(svg).all("svg")
    told = re.findall(r"(\d+)% (kind \d+)", str(tag["aria-label"]))
    counts = Counter(one for column in points for one in column)
    assert {name: int(share) for share, name in told} == {
        CLASSES[one]: pytest.approx(100 * n / 16, abs=0.5) for one, n in counts.items()
    }
    shares = [int(share) for share, _ in told]
    assert shares == sorted(shares, reverse=True)


@given(POINTS)
def test_every_point_is_painted_once(points: list[list[int]]) -> None:
    found = drawn(points)
    svg = plane(found, found["called"][0], "rd", CLASSES, hues(found, CLASSES))
    covered: Counter[tuple[int, int]] = Counter()
    # Cells are 25 wide and 15 high: the box is 10 by 6, drawn 100 wide.
    for x, y, tall in re.findall(r"M([\d.]+) ([\d.]+)h25\.00v([\d.]+)h-25\.00z", svg):
        for step in range(round(float(tall) / 15)):
            covered[round(float(x) / 25), round(float(y) / 15) + step] += 1
    assert covered == Counter((x, y) for x in range(4) for y in range(4))


def test_names_cannot_become_markup() -> None:
    evil = '"><script>'
    found = drawn([[0, 0], [1, 1]], (0, 0, 0))
    for image in found["images"]:
        image["class"] = evil
    page = read(plane(found, found["called"][0], evil, [evil, "b"], [0, 1]))
    assert not page.all("script")
    assert listed([evil] * 3) in str(page.all("svg")[0]["aria-label"])


def test_one_point_fills_the_plane() -> None:
    found = drawn([[1]], (0, 1, 1))
    svg = plane(found, found["called"][0], "rd", CLASSES[:2], [0, 1])
    assert ' d="M0.00 0.00h100.00v60.00h-100.00z"' in svg
    assert "100% kind 1." in svg
