"""How good a training is after an epoch: metrics of what it would deploy, and one number."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from medistill.data.dataset import Dataset
from medistill.data.loading import Loader
from medistill.data.order import IN_ORDER
from medistill.errors import Failure, UserError
from medistill.evaluation.judge import judge
from medistill.evaluation.predict import predict, tabulate
from medistill.evaluation.selection import merit
from medistill.methods.base import Method
from medistill.recipe import Training
from medistill.results import PredictionTable
from medistill.runs.together import agreed
from medistill.training.devices import placed

JUDGED = 256  # images in a batch of validation and test
LOSS = "loss"  # what a training without labels is judged by
LAST = "last"  # no choice: on a few validation images a metric's peak is mostly luck
SHOWN = ("accuracy", "balanced_accuracy", "auroc", "negative_log_likelihood")

Shown = dict[str, dict[str, float | None]]
"""Metric by name, of each task."""


@dataclass(frozen=True)
class Verdict:
    """What validation says of an epoch.

    Args:
        shown: Some metrics of each task, for the log.
        merit: The one number by which epochs are compared; higher is better.
    """

    shown: Shown
    merit: float


@dataclass(frozen=True)
class Validation:
    """The validation images of a run, and what they are asked.

    Args:
        datasets: The roots of the run.
        digests: Of the images of each.
        settings: Name the metric that chooses.
        device: Where to compute.
    """

    datasets: Sequence[Dataset]
    digests: Sequence[Sequence[str]]
    settings: Training
    device: torch.device

    def refuse_unknown_metric(self) -> None:
        """Find out before the training, and not after its first epoch.

        Raises:
            UserError: No metric has the name that the recipe says, or it is undefined on the labels
                of some task.
        """
        metric = self.settings.select
        if metric in (LOSS, LAST):
            return
        for dataset in self.datasets:
            table = _faultless(dataset)
            # Even one task without a value would leave the mean without, in every epoch.
            if len(table) and math.isinf(merit(judge(table, draws=0), metric)):
                raise UserError(
                    f"{dataset.task.name}: {metric} is undefined on its {len(table)} validation "
                    f"images, which do not show every class. Set training.select: {SHOWN[0]}, or "
                    "raise data.split.validation."
                )

    def criterion(self, method: Method) -> str:
        """What epochs are compared by: the recipe's metric, or the loss where nothing is labelled.

        Raises:
            UserError: There is nothing to compare them by.
        """
        networks = by_task(method.deploy(), self.datasets)
        empty = [d.task.name for d in self.datasets if not len(d.splits["validation"])]
        if empty if networks else len(empty) == len(self.datasets):
            raise UserError(
                f"{empty[0]}: there is no validation image to choose a checkpoint by. Add images, "
                "or raise data.split.validation."
            )
        return self.settings.select if networks else LOSS

    def verdict(self, method: Method, progress: float, criterion: str) -> Verdict:
        """Judge what the method would deploy now; every process asks, and all hear the same."""
        if criterion == LOSS:
            loss = self._loss(method, progress)
            return Verdict({"all": {LOSS: loss}}, -loss if math.isfinite(loss) else -math.inf)
        found = agreed(lambda: self._judged(method, criterion))
        assert found is not None
        return replace(found, merit=progress) if criterion == LAST else found

    def _judged(self, method: Method, metric: str) -> Verdict:
        networks = by_task(method.deploy(), self.datasets)
        found = {name: judge(self._table(name, n), draws=0) for name, n in networks.items()}
        chosen_by = SHOWN[0] if metric == LAST else metric
        merits = [merit(estimates, chosen_by) for estimates in found.values()]
        shown: Shown = {
            name: {metric: estimates[metric]["value"] for metric in SHOWN}
            for name, estimates in found.items()
        }
        return Verdict(shown, sum(merits) / len(merits))

    def _table(self, name: str, network: nn.Module) -> PredictionTable:
        place = [dataset.task.name for dataset in self.datasets].index(name)
        dataset = self.datasets[place]
        loader = Loader([dataset], "validation", batch_size=JUDGED, order=IN_ORDER)
        predictions = predict(network, loader.epoch(0), device=self.device)
        if not np.isfinite(predictions.logits).all():
            raise Failure(
                f"{name}: the student says NaN or infinity of validation images. The last "
                "checkpoint is intact. Lower training.learning_rate, or set training.gradient_clip."
            )
        return tabulate(
            predictions,
            task=name,
            split="validation",
            classes=dataset.task.classes,
            digests=self.digests[place],
            patients=dataset.patients,
        )

    @torch.no_grad()
    def _loss(self, method: Method, progress: float) -> float:
        """The method's own losses; they may gather from all processes, so each computes them."""
        size = self.settings.batch_size
        loader = Loader(self.datasets, "validation", batch_size=size, order=IN_ORDER)
        method.eval()
        total = seen = 0.0
        for batch in loader.epoch(0):
            losses = method.losses(placed(batch, self.device), progress)
            total += len(batch) * sum(loss.item() for loss in losses.values())
            seen += len(batch)
        return total / seen


def by_task(deployed: Mapping[str, nn.Module], datasets: Sequence[Dataset]) -> dict[str, nn.Module]:
    """What a method deploys, by the names of the recipe's roots; only what can be judged."""
    if "all" in deployed:
        return {datasets[0].task.name: deployed["all"]}
    labelled = [d.task.name for d in datasets if d.task.kind != "unlabelled"]
    return {name: deployed[name] for name in labelled if name in deployed}


def _faultless(dataset: Dataset) -> PredictionTable:
    """The labels of validation, and predictions as good as can be: what is undefined stays so."""
    task, targets = dataset.task, dataset.targets[dataset.splits["validation"]]
    known = targets[targets >= 0]
    return PredictionTable(
        task.name, "validation", task.classes, tuple(map(str, range(len(known)))),
        known, np.eye(len(task.classes), dtype=np.float32)[known], np.full(len(known), -1),
    )  # fmt: skip
