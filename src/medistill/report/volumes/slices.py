"""Slices of a volume with the outlines of truth and prediction; matplotlib comes late."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from medistill.case_results import CaseResult, Labels, mask_of
from medistill.results import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["worst", "typical"]

# Bright enough on black, and as far from one another as so many can be.
OUTLINES: Final = (
    "#ffb000", "#4fc3ff", "#ff6f91", "#7bd850", "#c9a0ff", "#ffe66b",
    "#3fe0c5", "#ff8a3d", "#9fb4ff", "#f5a6e0", "#c3e88d", "#ff5555",
)  # fmt: skip
# Which axes of (right, front, up) a plane shows across and upwards; seen from the feet, the front
# and the left, as radiologists do: the patient's right is on the left.
PLANES: Final = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
MARGIN_MM: Final = 15.0
WIDTH, HEIGHT, GAP = 900, 400, 6  # pixels: of all planes together at most, and between them
DOTS: Final = 100  # an inch


@dataclass(frozen=True)
class Shown:
    """A case that is worth a picture.

    Args:
        kind: Why: among the worst, or the one in the middle of all.
        case: Its result.
    """

    kind: Kind
    case: CaseResult


@dataclass(frozen=True)
class Plane:
    """One slice, ready to be drawn.

    Args:
        image: Grey values, across and upwards.
        truth: A mask of each class.
        prediction: Likewise.
        size_mm: Of the slice, across and upwards.
    """

    image: Float[np.ndarray, "u v"]
    truth: Sequence[Bool[np.ndarray, "u v"]]
    prediction: Sequence[Bool[np.ndarray, "u v"]]
    size_mm: tuple[float, float]


def shown_cases(cases: Sequence[CaseResult], worst: int = 5) -> list[Shown]:
    """The worst cases by their mean Dice, and the middle one: errors alone would mislead.

    Args:
        cases: Of one task and split.
        worst: How many at most.
    """
    order = sorted(cases, key=lambda case: case.dice)
    poor, rest = order[:worst], order[worst:]
    typical = [order[len(order) // 2]] if len(order) > 2 * worst else rest[:1]
    return [*(Shown("worst", one) for one in poor), *(Shown("typical", one) for one in typical)]


def index_entry(shown: Shown, file: str, colours: Mapping[str, str], number: int) -> dict[str, Any]:
    """What `slices/index.json` says of a picture.

    Args:
        shown: Whose slices they are.
        file: Name of the picture in that folder.
        colours: As `render_slices` gave them.
        number: Of the case in `cases.csv`: its digest may be that of another one too.
    """
    case = shown.case
    return {
        "file": file, "task": case.task, "split": case.split, "case": number,
        "sample": case.sample, "kind": shown.kind, "colours": dict(colours),
    }  # fmt: skip


def render_slices(
    image: Float[np.ndarray, "x y z"],
    truth: Labels,
    prediction: Labels,
    classes: Sequence[str],
    spacing_mm: tuple[float, float, float],
    path: Path,
) -> dict[str, str]:
    """Draw the three planes in which truth and prediction disagree most.

    The prediction is a solid line, the truth a dashed one around a tint, in the class's colour.

    Args:
        image: Its axes go to the right, to the front and up, as those of prepared volumes do.
        truth: On the same grid.
        prediction: On the same grid.
        classes: Names of the classes.
        spacing_mm: Of the voxels, along each axis.
        path: A PNG file.

    Returns:
        Colours of the classes that are somewhere in the volume.
    """
    masks = {
        name: (mask_of(truth, place), mask_of(prediction, place))
        for place, name in enumerate(classes)
    }
    seen = {name: both for name, both in masks.items() if both[0].any() or both[1].any()}
    colours = {
        name: OUTLINES[place % len(OUTLINES)] for place, name in enumerate(classes) if name in seen
    }
    _write(list(_planes(image, list(seen.values()), spacing_mm)), list(colours.values()), path)
    return colours


def _planes(
    image: Float[np.ndarray, "x y z"],
    masks: Sequence[tuple[Bool[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"]]],
    spacing_mm: tuple[float, float, float],
) -> Iterator[Plane]:
    """Each plane where most voxels are wrong, around all that was or should have been found."""
    wrong, held = np.zeros(image.shape, np.int32), np.zeros(image.shape, bool)
    for truth, prediction in masks:
        wrong += truth ^ prediction
        held |= truth | prediction
    box, volume = _box(held, spacing_mm), stretched(image)
    for shown in PLANES.values():
        (axis,) = {0, 1, 2} - set(shown)
        place = _most(wrong if wrong.any() else held, axis)
        cut = tuple(place if a == axis else box[a] for a in range(3))
        size = [(box[a].stop - box[a].start) * spacing_mm[a] for a in shown]
        truths, predictions = ([one[side][cut] for one in masks] for side in (0, 1))
        yield Plane(volume[cut], truths, predictions, (size[0], size[1]))


def stretched(image: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "x y z"]:
    """Grey values in [0, 1], the outermost hundredths of what is not background cut off."""
    # A volume that was cropped to its body still holds corners of one value: air.
    body = image[image > image.min()]
    low, high = np.percentile(body, [1, 99]) if body.size else (image.min(), image.max())
    return np.asarray(np.clip((image.astype(float) - low) / max(high - low, 1e-6), 0, 1))


def _box(
    held: Bool[np.ndarray, "x y z"], spacing_mm: tuple[float, float, float]
) -> tuple[slice, slice, slice]:
    found = []
    for axis, step in enumerate(spacing_mm):
        places = np.flatnonzero(held.any(axis=tuple({0, 1, 2} - {axis})))
        first, last = (places[0], places[-1]) if len(places) else (0, held.shape[axis] - 1)
        margin = int(np.ceil(MARGIN_MM / step))
        found.append(slice(max(0, int(first) - margin), int(last) + margin + 1))
    ends = [slice(s.start, min(s.stop, side)) for s, side in zip(found, held.shape, strict=True)]
    return ends[0], ends[1], ends[2]


def _most(where: Int[np.ndarray, "x y z"] | Bool[np.ndarray, "x y z"], axis: int) -> int:
    """Where along an axis the most is; the middle where nothing is."""
    amounts = where.sum(axis=tuple({0, 1, 2} - {axis}))
    return int(amounts.argmax()) if amounts.any() else len(amounts) // 2


def _write(planes: Sequence[Plane], colours: Sequence[str], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across, upwards = zip(*(plane.size_mm for plane in planes), strict=True)
    scale = min((WIDTH - 2 * GAP) / sum(across), HEIGHT / max(upwards))
    wide = [side * scale for side in across]
    tall = max(upwards) * scale
    full = sum(wide) + GAP * (len(planes) - 1)
    figure = Figure(figsize=(full / DOTS, tall / DOTS), facecolor="black")
    FigureCanvasAgg(figure)
    left = 0.0
    for plane, width in zip(planes, wide, strict=True):
        high = plane.size_mm[1] * scale / tall
        _draw(figure.add_axes((left / full, (1 - high) / 2, width / full, high)), plane, colours)
        left += width + GAP
    with replacing(path) as draft:
        figure.savefig(draft, dpi=DOTS, facecolor="black", metadata={"Software": None})


def _draw(axes: "Axes", plane: Plane, colours: Sequence[str]) -> None:
    """Grey values under the outlines of every class."""
    wide, tall = plane.image.shape
    # Mirrored from side to side: the first voxels are on the right of the picture.
    axes.imshow(
        plane.image.T, cmap="gray", vmin=0, vmax=1, origin="lower", aspect="auto",
        interpolation="bilinear",
    )  # fmt: skip
    # An empty voxel all around closes the outline of what is cut off by the border.
    grid = (np.arange(-1, wide + 1), np.arange(-1, tall + 1))
    for truth, prediction, colour in zip(plane.truth, plane.prediction, colours, strict=True):
        true, said = (np.pad(mask, 1).T.astype(float) for mask in (truth, prediction))
        if true.any():
            axes.contourf(*grid, true, [0.5, 2], colors=[colour], alpha=0.16)
            axes.contour(*grid, true, [0.5], colors=[colour], linewidths=1.1, linestyles="dashed")
        if said.any():
            axes.contour(*grid, said, [0.5], colors=[colour], linewidths=1.5)
    axes.set(xlim=(wide - 0.5, -0.5), ylim=(-0.5, tall - 0.5))
    axes.set_axis_off()
