"""Figures as matplotlib holds them, without the time that it takes to write them out."""

import warnings
from types import ModuleType
from typing import Any

import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medistill.report.canvas import STYLE
from medistill.report.markup import Html, element


def sketch(patch: pytest.MonkeyPatch, *modules: ModuleType) -> list[Axes]:
    """The axes of every figure that these modules draw from now on."""
    found: list[Axes] = []

    def drawn(draw: Any, alt: str, **_: Any) -> Html:
        with rc_context(STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as on the canvas
            found.append(Figure().subplots())
            draw(found[-1])
        return element("svg", role="img", aria_label=alt)

    for module in modules:
        patch.setattr(module, "drawn", drawn)
    return found


def names(axes: Axes) -> list[str]:
    """What the legend of a figure says."""
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def rows(axes: Axes) -> list[str]:
    """What stands beside the rows of a figure."""
    return [label.get_text() for label in axes.get_yticklabels()]


def dots(axes: Axes) -> list[tuple[float, float]]:
    """Where marks of a single point stand, in the order in which they were drawn."""
    lines = [line for line in axes.lines if len(line.get_xdata()) == 1]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def texts(axes: Axes) -> list[str]:
    """Words in the figure."""
    return [text.get_text().strip() for text in axes.texts]
