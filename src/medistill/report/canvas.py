"""Drawings as SVG inside a page: its fonts, its colours, light and dark; matplotlib comes late."""

import re
import warnings
from collections.abc import Callable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from medistill.report.markup import Html, element

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that nothing else has: in the page each becomes a variable, which follows light and dark.
INK, MUTED, HAIR, PAPER = "#010101", "#010102", "#010103", "#010104"
WIDE = (4.8, 2.8)
LONGEST = 18  # letters of a name in a legend
SERIES: Final = tuple(f"#01020{number}" for number in range(6))
DASHES: Final = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
MARKERS: Final = ("o", "D", "s", "^", "v", "P", "X")  # one more than colours: 84 looks
VARIABLES: Final = {
    INK: "ink", MUTED: "muted", HAIR: "hair", PAPER: "paper",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES)},
}  # fmt: skip
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text: the page's font, and readable at any size
    "text.parse_math": False,  # a class may be called $x$
    "font.size": 8.5,
    "font.family": "DejaVu Sans",  # for measuring only
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": HAIR,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "patch.linewidth": 0,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.borderpad": 0,
    "figure.facecolor": "none",
}


def look(number: int) -> dict[str, Any]:
    """Colour and dashes of a line: told apart without colour as well."""
    return {
        "color": SERIES[number % len(SERIES)],
        "linestyle": DASHES[number % len(DASHES)],
    }


def drawn(
    draw: Callable[["Axes"], None], alt: str, *, size: tuple[float, float] = WIDE,
    box: tuple[float, float, float, float] | None = None,
) -> Html:  # fmt: skip
    """What `draw` puts on one pair of axes.

    Args:
        draw: Given the axes.
        alt: What the picture tells, for who cannot see it.
        size: Width and height in inches, at 72 units of the drawing an inch.
        box: Left, bottom, width and height of the axes as shares of the picture; None to fit them.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    text = StringIO()
    # The salt keeps the names of shapes apart: all figures share the page.
    # Names of classes may hold letters that the measuring font lacks; the page's fonts have them.
    with rc_context({**STYLE, "svg.hashsalt": alt}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=size, layout=None if box else "constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_axes(box) if box else figure.add_subplot())
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _inline(text.getvalue(), alt, size[0])


def named_rows(axes: "Axes", names: Sequence[str]) -> None:
    """A row for each name, from above; what lies in it is marked by the caller."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.spines.left.set_visible(False)
    axes.grid(visible=False, axis="y")


def legend(axes: "Axes", columns: int = 2) -> None:
    """Names of the lines above the axes, out of their way."""
    handles, names = axes.get_legend_handles_labels()
    labels = [short(str(name)) for name in names]
    axes.legend(
        handles, labels, loc="lower left", bbox_to_anchor=(0, 1.03), ncols=columns,
        columnspacing=1.2, borderaxespad=0,
    )  # fmt: skip


def short(name: str) -> str:
    """A name that leaves room for others."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _inline(svg: str, alt: str, width: float) -> Html:
    """A file of matplotlib's as a part of a page."""
    # A page is no SVG file: the size comes from the page, the name space from the reader.
    box = re.search(r'viewBox="([^"]*)"', svg)
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    # Groups are named alike in every figure, and nothing refers to them.
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    # One property with the size before matplotlib 3.10, one of its own since.
    body = re.sub(r"(font: [\d.]+px |font-family: )[^;\"]*", r"\1var(--sans)", body)
    body = re.sub(r"\n\s*", "\n", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return element(
        "svg",
        Html(body.strip()),
        viewBox=box.group(1) if box else None,
        role="img",
        aria_label=alt,
        style=f"max-width:{width * 1.05:.2f}in",
    )
