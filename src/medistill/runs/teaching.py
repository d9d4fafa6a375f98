"""The teacher of a run: its network, the cache of what it says, and its probe."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain

import torch
from torch import Tensor

from medistill.assemble import Foundation, features_file, freeze, views
from medistill.data.dataset import Dataset
from medistill.data.loading import AS_IT_IS, Loader, Views
from medistill.data.opening import Opened
from medistill.data.order import IN_ORDER
from medistill.evaluation.predict import Predictions
from medistill.models.adapters.base import AdaptedEncoder
from medistill.models.networks import Encoder, Student
from medistill.models.probes import Probe, fit_probe
from medistill.models.teachers import Cached, Frozen, Precomputed, Probed, Teacher
from medistill.models.weights import digest
from medistill.recipe import Recipe, TeacherSource
from medistill.results import RunFolder
from medistill.runs.answers import Questions, kept_answers
from medistill.runs.console import Console
from medistill.training.devices import place, placed
from medistill.types import Batch

CACHING_BATCH = 64


@dataclass(frozen=True)
class Teaching:
    """A teacher as methods meet it, and what it is made of.

    Args:
        teacher: Cached and probed where that is possible.
        asked: The same, asked anew: for images that are in no cache.
        probe: Fitted on its features for the run's one task, or the head with which it came when
            that judges the same classes; None for several tasks, or no labels.
    """

    teacher: Teacher
    asked: Teacher
    probe: Probe | None

    def predict(self, batches: Iterable[Batch], device: torch.device) -> Predictions:
        """What the teacher's probe says of some images."""
        parts = []
        for batch in batches:
            logits = self.asked(placed(batch, device)).logits
            assert logits is not None, "a teacher without a probe has no logits"
            parts.append((batch.samples, batch.targets, logits.cpu()))
        return Predictions(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


class Classroom:
    """Where the teacher of a run is made ready.

    Args:
        recipe: Says which teacher, and which views it will be asked about.
        source: The recipe's teacher section.
        opened: The roots of the run.
        device: Where the teacher computes.
        console: Shows the progress of the one pass through it.
    """

    def __init__(
        self,
        recipe: Recipe,
        source: TeacherSource,
        opened: Sequence[Opened],
        device: torch.device,
        console: Console,
    ) -> None:
        self.recipe = recipe
        self.source = source
        self.views = views(recipe)
        self.size = recipe.data.size
        self.opened = opened
        self.datasets = [one.dataset for one in opened]
        self.device = device
        self.console = console

    def teach(self, foundation: Foundation | None, student: Student, run: RunFolder) -> Teaching:
        """Ask the teacher once for every image and view, then fit its probe, or take its own head.

        Args:
            foundation: Its network; None when the teacher is a file of features.
            student: Whose maps the teacher's will be compared with.
            run: Keeps the probe.
        """
        asked: Teacher
        teacher: Teacher
        if foundation is None:
            asked = teacher = self._precomputed()
        else:
            place(foundation.encoder, self.device)
            frozen = freeze(self.recipe, foundation, student)
            asked, teacher = frozen, self._cached(frozen) if self.source.cache else frozen
        probe = self._probe(teacher, foundation, run)
        if probe is None:
            return Teaching(teacher, asked, None)
        return Teaching(Probed(teacher, probe), Probed(asked, probe), probe)

    def _precomputed(self) -> Precomputed:
        # Of several roots each has its name before its paths: two may hold a file of one name.
        several = len(self.opened) > 1
        sources = [
            f"{one.dataset.task.name}/{sample.source}" if several else sample.source
            for one in self.opened
            for sample in one.samples
        ]
        return Precomputed.open(features_file(self.source), sources, views=self.views.count)

    def _cached(self, frozen: Frozen) -> Cached:
        # Of all training images, so that runs on fractions of them share one cache.
        undivided = [dataset.undivided() for dataset in self.datasets]
        training = self._loader("train", self.views, undivided)
        validation = self._loader("validation")

        def batches() -> Iterator[Batch]:
            asked = chain(validation.every_view(), training.every_view())
            return (placed(batch, self.device) for batch in asked)

        count = self.views.count
        rows = len(training.samples) * count + len(validation.samples)
        cache = kept_answers(
            frozen,
            Questions(batches, rows, samples=training.rows, views=count),
            facts=self._facts(frozen, undivided),
            store=self.recipe.data.store,
            console=self.console,
        )
        return Cached(cache, source=frozen)

    def _facts(self, frozen: Frozen, datasets: Sequence[Dataset]) -> tuple[object, ...]:
        """All that decides what the teacher says of a (sample, view)."""
        encoder = frozen.encoder
        assert isinstance(encoder, Encoder)
        facts: tuple[object, ...] = (
            digest(encoder), asdict(encoder.backbone.spec), encoder.mean, encoder.std,
            encoder.size, frozen.grid, self.size, asdict(self.views),
            [dataset.store.key for dataset in datasets],
            [d.splits[part].tolist() for d in datasets for part in ("train", "validation")],
        )  # fmt: skip
        if isinstance(encoder, AdaptedEncoder):
            facts += (encoder.adapters,)
        if encoder.stretch:  # added only then, so that caches of before are found again
            facts += ("stretch",)
        if frozen.scales == "all":
            # What the limits make of the maps, not the limits: students of one shape share a cache.
            facts += (frozen.scales, frozen.map_shapes)
        return facts

    def _probe(
        self, teacher: Teacher, foundation: Foundation | None, run: RunFolder
    ) -> Probe | None:
        """The teacher's own head for the one task, or logistic regression on its features."""
        if len(self.datasets) != 1 or self.datasets[0].task.kind == "unlabelled":
            return None
        if run.probe.exists():
            return Probe.load(run.probe)
        classes = self.datasets[0].task.classes
        validation = self._features(teacher, self._loader("validation"))
        head = foundation.head if foundation and foundation.classes == classes else None
        if head is not None:
            probe, name, note = Probe.of(head, *validation), "own head", ""
        else:
            train = self._features(teacher, self._loader("train", self.views))
            probe = fit_probe(*train, *validation, len(classes))
            name, note = "probe", f", strength {probe.strength:g}"
        probe.save(run.probe)
        self.console.say(f"teacher ({name}): {probe.accuracy:.1%} of validation right{note}")
        return probe

    def _features(self, teacher: Teacher, loader: Loader) -> tuple[Tensor, Tensor]:
        """Features and targets of all views of a split."""
        features, targets = [], []
        for batch in loader.every_view():
            features.append(teacher(placed(batch, self.device)).features.cpu())
            targets.append(batch.targets)
        return torch.cat(features), torch.cat(targets)

    def _loader(
        self, split: str, shown: Views = AS_IT_IS, datasets: Sequence[Dataset] | None = None
    ) -> Loader:
        chosen = datasets or self.datasets
        return Loader(chosen, split, batch_size=CACHING_BATCH, order=IN_ORDER, views=shown)
