"""The figures of a comparison, each with words for who cannot see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from medistill.report.canvas import (
    HAIR,
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
from medistill.report.markup import Html
from medistill.report.rivals.account import ALONE, Ranking, Row, Standing
from medistill.report.rivals.tables import place
from medistill.report.wording import inside, metric, significant, value_of
from medistill.spreads import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Point:
    """A network in the plane of cost and quality.

    Args:
        name: What it is.
        cost: In the unit of the axis.
        value: Of the metric.
        series: Number of its colour and marker; that of its kind.
        front: Whether nothing is both cheaper and better.
        folder: Where it lies, in that of the comparison; empty for what no run made.
    """

    name: str
    cost: float
    value: float
    series: int
    front: bool
    folder: str = ""


def forest(standing: Standing, name: str, reference: str = ALONE) -> Html:
    """Each entry's mean with its interval, and the seeds' deviation as a thicker line."""
    rows = _entries(standing, name, reference)
    scale = 100 if metric(name).percent else 1

    def draw(axes: "Axes") -> None:
        for y, (colour, _, found) in enumerate(rows):
            _spread(axes, y, found, scale, colour)
        named_rows(axes, [short(label) for _, label, _ in rows])
        axes.set_xlabel(_axis(name))

    told = ", ".join(f"{label} {value_of(name, found.mean)}" for _, label, found in rows)
    alt = f"{metric(name).words} on {place(standing)}: {told}."
    return drawn(draw, alt, size=(4.6, 0.75 + 0.24 * len(rows)))


def ranks(ranking: Ranking) -> Html:
    """Demšar's diagram: average ranks on a line, and bars over those that are not told apart."""
    names = list(ranking.averages)
    half = (len(names) + 1) // 2
    below = -0.45 * (len(ranking.cliques) + 1)

    def draw(axes: "Axes") -> None:
        _scale(axes, len(names))
        for line, name in enumerate(names[:half]):
            _pointer(axes, name, ranking.averages[name], below - line - 0.5, 0.75, "right")
        for line, name in enumerate(names[half:][::-1]):
            end = len(names) + 0.25
            _pointer(axes, name, ranking.averages[name], below - line - 0.5, end, "left")
        for line, clique in enumerate(ranking.cliques):
            found = [ranking.averages[name] for name in clique]
            _bar(axes, -0.45 * (line + 1), min(found) - 0.05, max(found) + 0.05)
        top = 1.2 if ranking.difference is None else _critical(axes, ranking.difference)
        axes.set_ylim(below - half, top)
        axes.set_xlim(-0.35 * len(names), 1.4 * len(names) + 1)

    told = ", ".join(f"{name} {rank:.2f}" for name, rank in ranking.averages.items())
    groups = "; ".join(" and ".join(clique) for clique in ranking.cliques)
    alt = f"Average ranks, lower is better: {told}."
    alt += f" Not told apart: {groups}." if groups else ""
    return drawn(draw, alt, size=(6.2, 1.0 + 0.3 * half + 0.14 * len(ranking.cliques)))


def sizes(
    lines: Mapping[str, Sequence[tuple[int, Spread]]],
    name: str,
    title: str,
    samples: str,
    shown: Sequence[str],
) -> Html:
    """The metric against the number of training samples, a line for each entry.

    Args:
        lines: By label: numbers of samples, and what was reached with them.
        name: Of the metric.
        title: What it is about, for who cannot see it.
        samples: What they are, in words.
        shown: Labels that stand out; a dozen colours would be told apart by nobody.
    """
    scale = 100 if metric(name).percent else 1

    def draw(axes: "Axes") -> None:
        # By the order of `shown`: what is in several figures looks alike in them.
        known = [label for label in shown if label in lines]
        for number, label in enumerate(known):
            _course(axes, number, label, lines[label], scale)
        others = [points for label, points in lines.items() if label not in shown]
        for number, points in enumerate(others):
            _quietly(axes, None if number else "others", points, scale)
        axes.set(xscale="log", xlabel=f"training {samples}", ylabel=_axis(name))
        ticks = sorted({count for count, _ in chain(*lines.values())})
        axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
        axes.minorticks_off()
        legend(axes, 3)

    told = "; ".join(f"{label} {_by_number(name, points)}" for label, points in lines.items())
    return drawn(draw, f"{metric(name).words} by training {samples} on {title}: {told}.")


def _by_number(name: str, points: Sequence[tuple[int, Spread]]) -> str:
    return ", ".join(f"{value_of(name, spread.mean)} with {count}" for count, spread in points)


def plane(points: Sequence[Point], name: str, cost: str, unit: str) -> Html:
    """Quality against cost; the front, where nothing is both cheaper and better, is joined."""
    scale = 100 if metric(name).percent else 1
    front = sorted((p for p in points if p.front), key=lambda point: point.cost)

    def draw(axes: "Axes") -> None:
        x, y = [p.cost for p in front], [scale * p.value for p in front]
        axes.step(x, y, where="post", color=MUTED, linewidth=0.9, linestyle=":")
        for point in points:
            axes.plot(
                point.cost, scale * point.value, linestyle="", markersize=6,
                marker=MARKERS[point.series % len(MARKERS)],
                color=SERIES[point.series % len(SERIES)] if point.front else HAIR,
                markeredgecolor=MUTED if not point.front else PAPER, markeredgewidth=0.7,
            )  # fmt: skip
        # Names of neighbours would cover each other; the caption tells whose number it is.
        for number, point in enumerate(front, 1):
            axes.annotate(
                str(number), (point.cost, scale * point.value), xytext=(-4, 4),
                textcoords="offset points", fontsize=8.5, ha="right",
            )  # fmt: skip
        axes.set(xscale="log", xlabel=f"{cost} ({unit})", ylabel=_axis(name))
        _plain(axes)
        axes.margins(0.18)

    told = ", ".join(
        f"{p.name} {value_of(name, p.value)} at {significant(p.cost)} {unit}" for p in front
    )
    return drawn(draw, f"{metric(name).words} against {cost}; the front: {told}.", size=(3.9, 2.9))


def _entries(standing: Standing, name: str, reference: str) -> list[tuple[str, str, Spread]]:
    """Colour, label and values of all that have the metric, the teacher's probe last."""
    rows = [
        (_kind(row, reference), row.label, row.metrics[name])
        for row in standing.rows
        if name in row.metrics
    ]
    if name in standing.probe:
        rows.append((MUTED, "teacher (probe)", standing.probe[name]))
    return rows


def _spread(axes: "Axes", y: int, found: Spread, scale: int, colour: str) -> None:
    """A mean, the line of its interval, and the thicker one of the seeds."""
    if found.low is not None and found.high is not None:
        axes.hlines(y, scale * found.low, scale * found.high, color=colour, linewidth=1.1)
    if found.sd:
        near, far = (scale * (found.mean + side * found.sd) for side in (-1, 1))
        axes.hlines(y, near, far, color=colour, linewidth=4, alpha=0.35)
    axes.plot(scale * found.mean, y, "o", color=colour, markersize=5)


def _course(
    axes: "Axes", number: int, label: str, points: Sequence[tuple[int, Spread]], scale: int
) -> None:
    """An entry's means over the number of images, with the deviations of the seeds."""
    x = [count for count, _ in points]
    y = [scale * found.mean for _, found in points]
    axes.plot(x, y, label=label, marker=MARKERS[number % len(MARKERS)], **look(number))
    error = [scale * (found.sd or 0) for _, found in points]
    axes.errorbar(x, y, error, fmt="none", ecolor=SERIES[number % len(SERIES)], elinewidth=0.8)


def _quietly(
    axes: "Axes", label: str | None, points: Sequence[tuple[int, Spread]], scale: int
) -> None:
    """Means that are there to be seen past; the table tells whose they are."""
    x, y = [count for count, _ in points], [scale * found.mean for _, found in points]
    axes.plot(x, y, label=label, color=MUTED, linewidth=0.7, alpha=0.5, zorder=1)


def _scale(axes: "Axes", count: int) -> None:
    """The line of all ranks that there may be."""
    axes.set_axis_off()
    axes.hlines(0, 1, count, color=INK, linewidth=1)
    for tick in range(1, count + 1):
        axes.vlines(tick, 0, 0.25, color=INK, linewidth=0.8)
        axes.text(tick, 0.4, str(tick), ha="center", va="bottom", fontsize=8)


def _critical(axes: "Axes", difference: float) -> float:
    """A bar as long as the difference that tells ranks apart; where the picture then ends."""
    _bar(axes, 1.5, 1.0, 1.0 + difference)
    said = f"critical difference {difference:.2f}"
    axes.text(1, 1.75, said, ha="left", va="bottom", fontsize=8)
    return 2.6


def _pointer(axes: "Axes", name: str, rank: float, y: float, end: float, side: str) -> None:
    """A line from a rank to its name, which stands beyond the line's end."""
    axes.plot([rank, rank, end], [0, y, y], color=MUTED, linewidth=0.8)
    text = f"{short(name)} {rank:.2f} " if side == "right" else f" {rank:.2f} {short(name)}"
    axes.text(end, y, text, ha=side, va="center", fontsize=8.5)


def _bar(axes: "Axes", y: float, start: float, end: float) -> None:
    axes.hlines(y, start, end, color=SERIES[0], linewidth=3.5)


def _plain(axes: "Axes") -> None:
    """Ticks of a logarithmic axis in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _kind(row: Row, reference: str) -> str:
    if not row.student:
        return MUTED
    return SERIES[1] if row.entry == reference else SERIES[0]


def _axis(name: str) -> str:
    return f"{inside(name)}{' (%)' if metric(name).percent else ''}"
