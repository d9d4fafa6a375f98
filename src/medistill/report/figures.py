"""The figures of a report, each with words for who cannot see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float

from medistill.report.canvas import (
    INK,
    MARKERS,
    MUTED,
    PAPER,
    SERIES,
    drawn,
    legend,
    look,
    named_rows,
    short,
)
from medistill.report.curves import BINS, Bin, Roc
from medistill.report.markup import Html
from medistill.report.wording import MINUS, counted, listed, metric, said
from medistill.results import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTTED = 15  # up to so many epochs each is a dot
PANEL: Final = (3.0, 3.05)  # inches
# Panels stand side by side: their axes begin and end alike, whatever the legends above them.
PANEL_BOX: Final = (0.17, 0.135, 0.8, 0.8 * 3.0 / 3.05)
DOT: Final[dict[str, Any]] = {
    "marker": "o",
    "markersize": 7,
    "markeredgecolor": PAPER,
    "markeredgewidth": 1.2,
}


@dataclass(frozen=True)
class Line:
    """A quantity over the epochs; NaN where it was not measured.

    Args:
        name: As the legend calls it.
        epochs: Where it was measured.
        values: What was.
    """

    name: str
    epochs: Sequence[int]
    values: Sequence[float]


def lines(told: Sequence[Line], label: str, chosen: int | None = None) -> Html:
    """Quantities over the epochs, the chosen epoch marked."""

    def draw(axes: "Axes") -> None:
        for number, line in enumerate(told):
            _line(axes, number, line, chosen)
        if chosen is not None:
            axes.axvline(chosen, color=MUTED, linewidth=0.8, linestyle=":", zorder=0)
        axes.set(xlabel="epoch", ylabel=label)
        axes.locator_params(axis="x", integer=True)
        if len(told) > 1:
            legend(axes, 3)

    ends = listed(map(_course, told))
    at = "" if chosen is None else f" The chosen epoch is {chosen}."
    return drawn(draw, f"{label[:1].upper()}{label[1:]} over the epochs: {ends}.{at}")


def intervals(rows: Mapping[str, Sequence[tuple[int, str, Estimate]]]) -> Html:
    """Values with their intervals, by metric: one mark for each network.

    Args:
        rows: By metric, for each network its series, its name and its estimate.
    """

    def draw(axes: "Axes") -> None:
        named: set[int] = set()
        for place, found in enumerate(rows.values()):
            for step, (series, name, estimate) in enumerate(found):
                y = place + 0.8 * (step - (len(found) - 1) / 2) / max(4, len(found))
                _mark(axes, y, series, estimate, None if series in named else name)
                named.add(series)
        named_rows(axes, [metric(key).words for key in rows])
        legend(axes)

    alt = ". ".join(
        f"{metric(key).words}: {', '.join(f'{name} {said(key, e)}' for _, name, e in found)}"
        for key, found in rows.items()
    )
    most = max((len(found) for found in rows.values()), default=1)
    return drawn(draw, alt + ".", size=(3.9, 0.7 + len(rows) * (0.25 + 0.12 * most)))


def roc_curves(curves: Sequence[Roc], point: tuple[float, float] | None = None) -> Html:
    """ROC curves on one square, and the operating point of the first."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7, linestyle=":")
        for curve in curves:
            name = f"{short(curve.name)} {curve.area:.3f}"
            axes.plot(curve.alarms, curve.hits, label=name, clip_on=False, **look(curve.series))
        if point is not None:
            dot = {"linestyle": "", "label": "threshold", "clip_on": False, "zorder": 5, **DOT}
            axes.plot(*point, color=INK, **dot)
        _square(axes, f"false alarms (1 {MINUS} specificity)", "sensitivity")
        axes.legend(loc="lower right", borderaxespad=0.6)

    areas = ", ".join(f"{curve.name} {curve.area:.3f}" for curve in curves)
    alt = f"ROC curves; area under the curve: {areas}."
    if point is not None:
        alt += f" The threshold finds {point[1]:.0%} with {point[0]:.0%} false alarms."
    return drawn(draw, alt, size=PANEL, box=PANEL_BOX)


def reliability_diagram(bins: Sequence[Bin], stated: str, came_true: str) -> Html:
    """What was stated against what came true, with the interval of each bin."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7, linestyle=":")
        x, low, high = zip(*((one.stated, one.low, one.high) for one in bins), strict=True)
        axes.vlines(x, low, high, color=SERIES[0], linewidth=1.2)
        counts = np.array([one.count for one in bins])
        share = [one.share for one in bins]
        # As many images, as much area.
        area = 12 + 60 * counts / counts.max()
        axes.scatter(
            x, share, area, SERIES[0], edgecolor=PAPER, linewidth=0.8, zorder=3, clip_on=False
        )
        _square(axes, stated, came_true)

    told = ", ".join(f"{b.stated:.0%} stated, {b.share:.0%} true ({b.count})" for b in bins)
    return drawn(draw, f"Reliability by bin: {told}.", size=PANEL, box=PANEL_BOX)


def histogram(
    groups: Mapping[str, tuple[str, Float[np.ndarray, " samples"]]],
    label: str,
    threshold: float | None = None,
) -> Html:
    """How probabilities are spread in each group, one over the other.

    Args:
        groups: Colour and probabilities by name.
        label: What the probabilities are of.
        threshold: To be marked.
    """

    def draw(axes: "Axes") -> None:
        edges = np.linspace(0, 1, 2 * BINS + 1).tolist()
        for name, (colour, values) in groups.items():
            axes.hist(values, edges, color=colour, alpha=0.3, label=name)
            axes.hist(values, edges, histtype="step", linewidth=1.2, edgecolor=colour)
        if threshold is not None:
            _threshold(axes, threshold)
        axes.set(xlim=(0, 1), xlabel=label, ylabel="images")
        axes.locator_params(axis="y", integer=True)
        axes.grid(visible=False, axis="x")
        legend(axes)

    told = "; ".join(
        f"{name}: {counted(len(values), 'image')}, median {np.median(values):.2f}"
        for name, (_, values) in groups.items()
        if len(values)
    )
    return drawn(draw, f"Histogram of the {label}. {told}.", size=PANEL, box=PANEL_BOX)


def _line(axes: "Axes", number: int, line: Line, chosen: int | None) -> None:
    known = np.isfinite(line.values)
    # A line through few points would hide how few they are.
    marker = "o" if len(line.epochs) <= DOTTED else ""
    x, y = np.array(line.epochs)[known], np.array(line.values)[known]
    axes.plot(x, y, label=line.name, marker=marker, **look(number))
    axes.plot(x[x == chosen], y[x == chosen], color=SERIES[number % len(SERIES)], **DOT)


def _mark(axes: "Axes", y: float, series: int, estimate: Estimate, label: str | None) -> None:
    value, low, high = (
        np.nan if end is None else end
        for end in (estimate["value"], estimate["low"], estimate["high"])
    )
    colour, marker = SERIES[series % len(SERIES)], MARKERS[series % len(MARKERS)]
    axes.hlines(y, low, high, color=colour, linewidth=1.5)
    axes.plot(value, y, color=colour, marker=marker, markersize=5, linestyle="", label=label)


def _threshold(axes: "Axes", threshold: float) -> None:
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=":")
    axes.annotate(
        "threshold", (threshold, 1), xycoords=("data", "axes fraction"), xytext=(2, 0),
        textcoords="offset points", rotation=90, verticalalignment="top", fontsize=7.5,
    )  # fmt: skip


def _square(axes: "Axes", x: str, y: str) -> None:
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=x, ylabel=y, xticks=ticks, yticks=ticks)


def _course(line: Line) -> str:
    known = [value for value in line.values if np.isfinite(value)]
    return (
        f"{line.name} from {known[0]:.3g} to {known[-1]:.3g}" if known else f"{line.name} unknown"
    )
