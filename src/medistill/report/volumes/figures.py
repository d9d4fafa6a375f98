"""How the scores of cases spread, and whether predicted volumes agree with true ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float

from medistill.report.canvas import INK, MUTED, PAPER, SERIES, drawn, named_rows, short
from medistill.report.markup import Html
from medistill.report.wording import MINUS, counted, metric, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTTED: Final = 80  # up to so many cases each is a dot; of more, only those far out
ROW, BESIDE = 0.42, 0.75  # inches: of a class, and of what stands around all of them
GOLDEN: Final = 0.618034  # its multiples spread evenly over a row
LIMITS: Final = 1.96  # standard deviations that hold 95 % of what is normal
PANEL: Final = (3.0, 2.7)


@dataclass(frozen=True)
class Agreement:
    """Predicted against true volumes of one class, after Bland and Altman, Lancet 1986.

    Args:
        means: Of truth and prediction, in millilitres.
        differences: Prediction minus truth.
    """

    means: Float[np.ndarray, " cases"]
    differences: Float[np.ndarray, " cases"]

    @property
    def bias(self) -> float:
        """Mean difference."""
        return float(self.differences.mean())

    @property
    def limits(self) -> tuple[float, float] | None:
        """Where 95 % of the differences lie, were they normal; None for a single case."""
        if len(self.differences) < 2:
            return None
        half = LIMITS * float(self.differences.std(ddof=1))
        return self.bias - half, self.bias + half


def spread(values: Mapping[str, Float[np.ndarray, " cases"]], key: str) -> Html:
    """A metric of every case, a row for each class: dots, quartiles and median.

    Args:
        values: By class, without undefined ones.
        key: Of the metric.
    """

    def draw(axes: "Axes") -> None:
        for row, found in enumerate(values.values()):
            _box(axes, row, found)
        named_rows(axes, [short(name) for name in values])
        axes.set(xlabel=_axis(key))
        if not metric(key).unit:
            axes.set_xlim(-0.02, 1.02)

    told = "; ".join(
        f"{name}: median {np.median(found):.2f}, from {found.min():.2f} to {found.max():.2f} over "
        f"{counted(len(found), 'case')}"
        for name, found in values.items()
    )
    size = (4.8, BESIDE + ROW * max(2, len(values)))
    return drawn(draw, f"{_axis(key)} of each case. {told}.", size=size)


def agreement(found: Agreement, name: str) -> Html:
    """Difference against mean of predicted and true volumes, with bias and limits of agreement."""

    def draw(axes: "Axes") -> None:
        axes.axhline(0, color=MUTED, linewidth=0.7, linestyle=":")
        axes.axhline(found.bias, color=INK, linewidth=1.1)
        for end in found.limits or ():
            axes.axhline(end, color=INK, linewidth=0.9, linestyle=(0, (5, 2)))
        axes.plot(
            found.means, found.differences, "o", color=SERIES[0], markersize=4.5,
            markeredgecolor=PAPER, markeredgewidth=0.7,
        )  # fmt: skip
        axes.set(xlabel="mean of both, ml", ylabel="predicted minus true, ml")
        axes.set_title(short(name), loc="left", fontsize=9, color=INK)
        axes.margins(y=0.12)
        axes.locator_params(axis="x", nbins=5)

    limits = found.limits
    within = f", limits {signed(limits[0])} to {signed(limits[1])}" if limits else ""
    alt = f"Volumes of {name}: predicted minus true, bias {signed(found.bias)}{within} millilitres."
    return drawn(draw, alt, size=PANEL)


def signed(value: float) -> str:
    """A difference with its sign and three digits that count."""
    text = significant(abs(value))
    if float(text.replace(",", "")) == 0:
        return "0"
    return f"{'+' if value > 0 else MINUS}{text}"


def _box(axes: "Axes", row: int, found: Float[np.ndarray, " cases"]) -> None:
    few = len(found) <= DOTTED
    axes.boxplot(
        [found], positions=[row], orientation="horizontal", widths=0.5, showfliers=not few,
        boxprops={"color": MUTED, "linewidth": 0.8}, medianprops={"color": INK},
        whiskerprops={"color": MUTED, "linewidth": 0.8, "linestyle": ":" if few else "-"},
        capprops={"linewidth": 0}, flierprops={"marker": ".", "markeredgecolor": SERIES[0]},
    )  # fmt: skip
    if few:
        lifted = row + 0.36 * ((GOLDEN * np.arange(len(found))) % 1 - 0.5)
        axes.scatter(found, lifted, 11, SERIES[0], alpha=0.75, linewidth=0, zorder=3)


def _axis(key: str) -> str:
    about = metric(key)
    return f"{about.words}, {about.unit}" if about.unit else about.words
