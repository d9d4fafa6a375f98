"""The figures of an analysis as files of their own, for slides and papers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Int

from medistill.report.evidence import Document
from medistill.report.regions import Hues, hues
from medistill.results import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The page's colours by day; a file does not know what it is laid on.
LIGHT: Final = ("#0067a5", "#c8500a", "#00785a", "#a8488b", "#8f6a00", "#4b5aa8")
REST: Final = "#5d6266"
DOTS: Final = 200  # an inch
PANEL: Final = 2.6  # inches
LOOK: Final[dict[Any, Any]] = {"font.size": 8.5, "text.parse_math": False, "axes.linewidth": 0.6}


def plane_plate(found: Document, classes: Sequence[str], path: Path) -> None:
    """Write one plane as each network divides it, side by side.

    Args:
        found: The boundaries of an analysis.
        classes: Names of the classes.
        path: A PNG file.
    """
    drawn, known = found["plane"], hues(found["plane"], classes)
    (left, low), (right, high) = drawn["box"]
    height = PANEL * (high - low) / (right - left)
    names = found["names"]

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name, called in zip(panels, names, drawn["called"], strict=True):
            points = np.array([line.split() for line in called], int)
            axes.imshow(
                _painted(points, known), origin="lower", extent=(left, right, low, high),
                interpolation="nearest",
            )  # fmt: skip
            for image in drawn["images"]:
                colour = _colour(known[classes.index(image["class"])])
                axes.plot(*image["at"], "o", color=colour, markersize=7, markeredgecolor="white")
            axes.set_title(name, fontsize=9)
            axes.set(xticks=[], yticks=[])
        figure.legend(
            handles=_key(classes, known), loc="outside lower center", ncols=4, frameon=False
        )

    _write(draw, path, (len(names) * (PANEL + 0.15), height + 0.7))


def similarity_plate(found: Document, path: Path) -> None:
    """Write the CKA of every pair of networks as a matrix with its numbers.

    Args:
        found: The similarity of an analysis.
        path: A PNG file.
    """
    names, values = found["names"], np.array(found["cka"], float)

    def draw(figure: "Figure") -> None:
        axes: Axes = figure.subplots()
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1.6)  # numbers stay readable on the darkest
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center")
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(f"linear CKA, {found['images']} images", fontsize=9)

    side = 1.6 + 0.65 * len(names)
    _write(draw, path, (side + 0.4, side))


def _write(draw: Any, path: Path, size: tuple[float, float]) -> None:
    import warnings

    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Names of classes may hold letters that the font lacks: a box stands for each.
    with rc_context(LOOK), warnings.catch_warnings(action="ignore"), replacing(path) as draft:
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(draft, dpi=DOTS, facecolor="white", metadata={"Software": None})


def _painted(points: Int[np.ndarray, "side side"], known: Hues) -> Any:
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(_colour(hue)) for hue in known])
    # Half of the colour, as on the page; the transpose puts what lies across along the x-axis.
    return 0.5 + 0.5 * palette[points.T]


def _key(classes: Sequence[str], known: Hues) -> list[Any]:
    from matplotlib.lines import Line2D

    named = {name: hue for name, hue in zip(classes, known, strict=True) if hue is not None}
    rest = {"other classes": None} if len(named) < len(classes) else {}
    return [
        Line2D([], [], marker="o", linestyle="", color=_colour(hue), label=name)
        for name, hue in {**named, **rest}.items()
    ]


def _colour(hue: int | None) -> str:
    return REST if hue is None else LIGHT[hue]
