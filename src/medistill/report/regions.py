"""A plane through three images, as a network divides it, drawn in the page's colours."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from medistill.report.evidence import Document
from medistill.report.markup import Html, element
from medistill.report.wording import listed

HUES: Final = 6  # that the page's colours tell apart
WIDTH: Final = 100.0
DOT: Final = 2.6

Hues = Sequence[int | None]
"""The series that colours each class; None for classes that share the colour of the rest."""


def hues(drawn: Document, classes: Sequence[str]) -> list[int | None]:
    """Colours for classes; of more than there are colours, for the most frequent in the plane."""
    if len(classes) <= HUES:
        return list(range(len(classes)))
    counts = Counter(one for called in drawn["called"] for line in called for one in _parsed(line))
    for image in drawn["images"]:
        counts[classes.index(image["class"])] += counts.total()  # these must be told apart
    frequent = sorted(place for place, _ in counts.most_common(HUES))
    return [frequent.index(place) if place in frequent else None for place in range(len(classes))]


def plane(
    drawn: Document, called: Sequence[str], name: str, classes: Sequence[str], known: Hues
) -> Html:
    """How one network divides the plane.

    Args:
        drawn: The box of the plane, and where its three images lie.
        called: A line for each column of points, from left to right; its numbers are the classes
            of the points, from below.
        name: Of the network.
        classes: Their names.
        known: Their colours.
    """
    columns = [_parsed(line) for line in called]
    (left, low), (right, high) = drawn["box"]
    height = WIDTH * (high - low) / (right - left)
    cell = (WIDTH / len(columns), height / len(columns))
    regions = [
        element("path", d="".join(_runs(columns, one, cell)), fill_opacity="0.5",
                style=f"fill:{_colour(known[one])}")
        for one in sorted({one for column in columns for one in column})
    ]  # fmt: skip
    # Points stand in the middle of their cells, the outermost ones on the edges of the box.
    inner = (len(columns) - 1) / len(columns)
    dots = []
    for image in drawn["images"]:
        x, y = image["at"]
        across, up = inner * (x - left) / (right - left), inner * (y - low) / (high - low)
        colour = _colour(known[classes.index(image["class"])])
        dots.append(
            element("circle", cx=f"{cell[0] / 2 + WIDTH * across:.2f}", r=f"{DOT}",
                    cy=f"{height - cell[1] / 2 - height * up:.2f}",
                    style=f"fill:{colour};stroke:var(--paper)")
        )  # fmt: skip
    return element(
        "svg", element("g", *regions, shape_rendering="crispEdges"), *dots,
        viewBox=f"0 0 {WIDTH:g} {height:.2f}", role="img",
        aria_label=_told(columns, name, classes, drawn),
    )  # fmt: skip


def _parsed(line: str) -> list[int]:
    return [int(one) for one in line.split()]


def _runs(columns: Sequence[Sequence[int]], one: int, cell: tuple[float, float]) -> Iterator[str]:
    """A rectangle for each run of points of one class in a column."""
    wide, tall = cell
    for number, column in enumerate(columns):
        below = 0
        for called, run in groupby(column):
            length = len(list(run))
            if called == one:
                top = tall * (len(column) - below - length)
                yield f"M{number * wide:.2f} {top:.2f}h{wide:.2f}v{tall * length:.2f}h-{wide:.2f}z"
            below += length


def _colour(series: int | None) -> str:
    return "var(--muted)" if series is None else f"var(--series-{series})"


def _told(
    columns: Sequence[Sequence[int]], name: str, classes: Sequence[str], drawn: Document
) -> str:
    counts = Counter(one for column in columns for one in column)
    shares = [f"{n / counts.total():.0%} {classes[one]}" for one, n in counts.most_common()]
    images = listed([image["class"] for image in drawn["images"]])
    return f"Plane through images of {images}, as {name} calls its points: {listed(shares)}."
