"""Teachers: a role that a network plays, not a kind of network.

All answer `teacher(batch) -> Output`, and no method knows which it holds. None is an `nn.Module`,
so a teacher never enters a method's `parameters()`, `state_dict()` or `train()`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.models.cache_rows import map_names
from medistill.models.caching import FeatureCache
from medistill.models.probes import Probe
from medistill.models.scales import averaged, smaller
from medistill.types import Batch, Output

Scales = Literal["last", "all"]


@runtime_checkable
class Teacher(Protocol):
    """Gives its float32 output for a batch, without gradients."""

    @property
    def width(self) -> int:
        """Length of its pooled features."""

    @property
    def map_shape(self) -> tuple[int, ...] | None:
        """`(channels, *space)` of the last map it yields; None when it yields vectors alone."""

    @property
    def map_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The same of every map it yields, fine to coarse, as in `Output.maps`."""

    @property
    def classes(self) -> int | None:
        """How many logits it gives; None when it gives none."""

    def __call__(self, batch: Batch) -> Output: ...


class Frozen:
    """A network in evaluation mode, run anew for every batch; its statistics never move.

    Its widths are measured on one blank image.

    Args:
        encoder: From images in [0, 1] to `Output`; it normalises, and resizes, for itself.
        grid: Edge of the grid to which the last map is averaged; 1 yields pooled vectors alone,
            None the map as it is.
        scales: Whether it yields its last map alone or those of all scales.
        limits: Of `scales` "all", the largest `space` of each map that is looked at, fine to
            coarse. Others are left out, paired from the coarsest, and all but the last averaged
            to these sizes where they are larger; None, or no limits, leave maps as they are.
        image_shape: `(channels, *space)` of the images of the data.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        grid: int | None = None,
        scales: Scales = "last",
        limits: Sequence[tuple[int, ...] | None] = (),
        image_shape: tuple[int, ...] = (3, 224, 224),
    ) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.grid = grid
        self.scales = scales
        self.limits = tuple(limits)
        tensor = next(encoder.parameters(), torch.zeros(()))
        whole = self._run(torch.zeros(1, *image_shape, device=tensor.device))
        self._refuse_finer_grid(whole)
        blank = self._averaged(whole)
        self.width: int = blank.features.shape[1]
        self.map_shapes = tuple(tuple(each.shape[1:]) for each in blank.maps)
        self.map_shape = _last(self.map_shapes)
        self.classes = None if blank.logits is None else blank.logits.shape[1]

    def __call__(self, batch: Batch) -> Output:
        return self._averaged(self._run(batch.images))

    @torch.no_grad()
    def _run(self, images: Tensor) -> Output:
        if self.encoder.training:
            self.encoder.eval()
        output: Output = self.encoder(images)
        logits = None if output.logits is None else output.logits.float()
        # `-0:` of no limits is all of them.
        asked = output.maps[-1 if self.scales == "last" else -len(self.limits) :]
        return Output(logits, output.features.float(), tuple(each.float() for each in asked))

    def _averaged(self, output: Output) -> Output:
        if self.grid == 1 or not output.maps:
            return output._replace(maps=())
        *finer, last = output.maps
        if self.limits:
            finer = self._within_limits(finer)
        if self.grid is not None:
            last = averaged(last, [self.grid] * (last.ndim - 2))
        return output._replace(maps=(*finer, last))

    def _within_limits(self, finer: Sequence[Tensor]) -> list[Tensor]:
        """All maps but the last, none finer than its limit."""
        limits = self.limits[-len(finer) - 1 : -1]
        sizes = [limit or m.shape[2:] for m, limit in zip(finer, limits, strict=True)]
        return [averaged(m, smaller(m.shape[2:], s)) for m, s in zip(finer, sizes, strict=True)]

    def _refuse_finer_grid(self, output: Output) -> None:
        if self.grid is None or not output.maps:
            return
        space = output.maps[-1].shape[2:]
        if not 1 <= self.grid <= min(space):
            size = "x".join(map(str, space))
            raise UserError(
                f"teacher.grid {self.grid} does not fit the teacher's map of {size}. "
                f"Set it between 1 (pooled vectors alone) and {min(space)}."
            )


class Cached:
    """Outputs of a frozen teacher, read from disk; a batch needs only `samples` and `views`.

    Args:
        cache: What it said.
        source: The teacher itself, for whoever must have its network; none is asked here.
    """

    def __init__(self, cache: FeatureCache, *, source: Frozen | None = None) -> None:
        self.cache = cache
        self.source = source
        self.width: int = cache.shapes["features"][0]
        self.map_shapes = tuple(cache.shapes[name] for name in map_names(cache.shapes))
        self.map_shape = _last(self.map_shapes)
        self.classes = cache.shapes["logits"][0] if "logits" in cache.shapes else None

    def __call__(self, batch: Batch) -> Output:
        return self.cache.gather(batch.samples, batch.views, batch.images.device)


class Precomputed:
    """Features that came from elsewhere: a teacher whose weights nobody gives out.

    The file is safetensors: a tensor `features`, of shape (rows, width), (rows, views, width) or
    (rows, channels, *space), and a metadata entry `paths`, the JSON list of each row's path
    relative to the data's root. `save_features` writes one.

    A file that holds one view of each image is used for all views: its features are then those of
    the image as it is, while the student sees it augmented. A file with several views must hold as
    many as are asked for.

    Args:
        features: The file's tensor, in one of the shapes above.
        rows: Its row for each sample of the whole data.
        name: How errors call it.
    """

    def __init__(
        self, features: Tensor, rows: Int[Tensor, " samples"], *, name: str = "teacher features"
    ) -> None:
        self.features = features
        self.rows = rows
        self.name = name
        self.map_shapes = (tuple(features.shape[1:]),) if features.ndim > 3 else ()
        self.map_shape = _last(self.map_shapes)
        self.width: int = features.shape[1] if self.map_shape else features.shape[-1]
        self.views = features.shape[1] if features.ndim == 3 else 1
        self.classes: int | None = None

    @classmethod
    def open(cls, file: Path, sources: Sequence[str], *, views: int = 1) -> "Precomputed":
        """Reads a file for these samples, and refuses it at once if anything is missing.

        Args:
            file: The safetensors file; rows that no sample names do no harm.
            sources: Relative paths of all samples of the whole data, in order.
            views: How many views training will ask for.
        """
        features, paths = _read_features(file)
        rows = {_plain(path): row for row, path in enumerate(paths)}
        _refuse_absent(sources, rows, file)
        wanted = torch.tensor([rows[_plain(source)] for source in sources], dtype=torch.long)
        teacher = cls(features, wanted, name=str(file))
        teacher._refuse_non_finite(sources)
        teacher._refuse_views(views)
        return teacher

    def __call__(self, batch: Batch) -> Output:
        # The features stay on the CPU: the file may be larger than the memory of a GPU.
        rows = self.rows[batch.samples.cpu()]
        if self.views > 1:
            views = batch.views.cpu()
            self._refuse_views(int(views.max()) + 1)
            found = self.features[rows, views]
        else:
            found = self.features[rows]
        found = found.to(batch.images.device).float()
        if self.map_shape:
            return Output(None, found.flatten(2).mean(2), (found,))
        return Output(None, found.flatten(1))

    def _refuse_views(self, asked: int) -> None:
        if 1 < self.views < asked:
            raise UserError(
                f"{self.name} holds {self.views} views of each image, but {asked} are asked for. "
                f"Set data.views to {self.views}, or give a file with one view."
            )

    def _refuse_non_finite(self, sources: Sequence[str]) -> None:
        # Row by row: the file may be larger than memory
        wrong = [s for s, row in enumerate(self.rows) if not self.features[row].isfinite().all()]
        if wrong:
            raise UserError(
                f"{self.name}: {len(wrong)} rows hold NaN or infinity, the first that of "
                f"{sources[wrong[0]]}. Compute them again."
            )


class Probed:
    """Another teacher with the logits of a probe that was fitted on its features."""

    def __init__(self, teacher: Teacher, probe: Probe) -> None:
        self.teacher = teacher
        self.probe = probe
        self.width = teacher.width
        self.map_shape = teacher.map_shape
        self.map_shapes = teacher.map_shapes
        self.classes: int | None = probe.classes

    def __call__(self, batch: Batch) -> Output:
        output = self.teacher(batch)
        return output._replace(logits=self.probe.logits(output.features))


def save_features(file: Path, features: Float[Tensor, "rows ..."], paths: Sequence[str]) -> None:
    """Writes the file that `Precomputed` reads.

    Args:
        file: Where it goes, by custom with the suffix `.safetensors`.
        features: (rows, width), (rows, views, width) or (rows, channels, *space); any float type.
        paths: Path of each row's image relative to the data's root, with forward slashes.
    """
    if len(features) != len(paths):
        raise UserError(f"{file}: {len(features)} rows of features, but {len(paths)} paths.")
    metadata = {"paths": json.dumps([_plain(path) for path in paths])}
    save_file({"features": features.contiguous()}, file, metadata)


def _last(shapes: tuple[tuple[int, ...], ...]) -> tuple[int, ...] | None:
    return shapes[-1] if shapes else None


def _read_features(file: Path) -> tuple[Tensor, list[str]]:
    if not file.is_file():
        raise UserError(f"teacher features {file} not found (looked in {file.resolve().parent}).")
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            features = stored.get_tensor("features") if "features" in stored.keys() else None  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{file} is no readable safetensors file: {error}.") from error
    if features is None or features.ndim < 2 or not features.is_floating_point():
        raise UserError(
            f"{file} needs a float tensor 'features' of shape (rows, width), (rows, views, width) "
            "or (rows, channels, height, width)."
        )
    return features, _read_paths(file, metadata, len(features))


def _refuse_absent(sources: Sequence[str], rows: Mapping[str, int], file: Path) -> None:
    absent = [source for source in sources if _plain(source) not in rows]
    if absent:
        raise UserError(
            f"{file}: {len(absent)} of {len(sources)} images have no row "
            f"({', '.join(absent[:3])}{', ...' if absent[3:] else ''}). Add them to the file."
        )


def _read_paths(file: Path, metadata: dict[str, str], rows: int) -> list[str]:
    paths = _stored_paths(file, metadata)
    if len(paths) != rows:
        raise UserError(f"{file} holds {rows} rows of features, but {len(paths)} paths.")
    if len(set(map(_plain, paths))) < rows:
        twice = next(p for i, p in enumerate(paths) if _plain(p) in map(_plain, paths[:i]))
        raise UserError(f"{file} names {twice} twice. Keep one row for each image.")
    return paths


def _stored_paths(file: Path, metadata: dict[str, str]) -> list[str]:
    try:
        return [str(path) for path in json.loads(metadata["paths"])]
    except (KeyError, ValueError, TypeError):
        raise UserError(
            f"{file} has no metadata entry 'paths' with a JSON list of relative paths. "
            "medistill.models.teachers.save_features writes it."
        ) from None


def _plain(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")
