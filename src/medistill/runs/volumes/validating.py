"""How well volumes are outlined after an epoch: Dice of what would be deployed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from medistill.case_results import mask_of
from medistill.data.volumes.dataset import VolumeDataset
from medistill.data.volumes.drawing import Drawing
from medistill.data.volumes.patches import Patches, PatchLoader
from medistill.errors import UserError
from medistill.evaluation.metrics.overlap import dice
from medistill.methods.base import Method
from medistill.recipe import Recipe, Training
from medistill.runs.together import agreed
from medistill.runs.validating import LAST, LOSS, Verdict
from medistill.runs.volumes.outlining import Outliner, by_task, overlapping
from medistill.runs.volumes.sizing import Sides
from medistill.training.devices import placed

DICE = "dice"
WATCHED = 12  # volumes of each task at most: whole ones are slow, and every epoch asks


@dataclass(frozen=True)
class VolumeValidation:
    """The validation volumes of a run, and what they are asked.

    Up to twelve of each task are outlined as a whole on the grid of the training, by windows side
    by side; at the end of the run all of them are, on their own grid and with half overlap.

    Args:
        datasets: The roots of the run.
        recipe: Names what chooses a checkpoint.
        patch: Sides of a window.
        device: Where to compute.
    """

    datasets: Sequence[VolumeDataset]
    recipe: Recipe
    patch: Sides
    device: torch.device

    def refuse_unknown_metric(self) -> None:
        """Find out before the training, and not after its first epoch.

        Raises:
            UserError: Volumes are not judged by what the recipe names, or there are none to judge.
        """
        chosen, known = self.recipe.training.select, (DICE, LOSS, LAST)
        # The recipe's default is of classes.
        if chosen not in (*known, Training.model_fields["select"].default):
            raise UserError(
                f"training.select {chosen!r} cannot choose among segmentations; write "
                f"{', '.join(known)}."
            )
        for dataset in self.datasets:
            if not len(dataset.splits["validation"]):
                raise UserError(
                    f"{dataset.task.name}: there is no validation volume to choose a checkpoint "
                    "by. Add volumes, or raise data.split.validation."
                )

    def criterion(self, method: Method) -> str:
        """What epochs are compared by."""
        chosen = self.recipe.training.select
        return chosen if chosen in (LOSS, LAST) else DICE

    def verdict(self, method: Method, progress: float, criterion: str) -> Verdict:
        """Judge what the method would deploy now; every process asks, and all hear the same."""
        if criterion == LOSS:
            loss = self._loss(method, progress)
            return Verdict({"all": {LOSS: loss}}, -loss if math.isfinite(loss) else -math.inf)
        found = agreed(lambda: self._judged(method))
        assert found is not None
        return replace(found, merit=progress) if criterion == LAST else found

    def _judged(self, method: Method) -> Verdict:
        networks = by_task(method.deploy(), self.datasets)
        shown: dict[str, dict[str, float | None]] = {}
        for dataset in self.datasets:
            network = networks.get(dataset.task.name)
            if network is not None:
                outliner = Outliner(network, self.patch, self.device, overlap=0.0)
                shown[dataset.task.name] = {DICE: mean_dice(outliner, dataset)}
        means = [found[DICE] or 0.0 for found in shown.values()]
        return Verdict(shown, sum(means) / len(means))

    @torch.no_grad()
    def _loss(self, method: Method, progress: float) -> float:
        """The method's own losses on a patch of each validation volume."""
        size = self.recipe.training.batch_size
        volumes = sum(len(dataset.splits["validation"]) for dataset in self.datasets)
        loader = PatchLoader(
            self.datasets,
            "validation",
            drawing=Drawing(
                steps=max(1, volumes // size), batch_size=size, seed=self.recipe.training.seed
            ),
            patches=Patches(
                shape=self.patch, foreground=self.recipe.data.foreground, augment=False
            ),
        )
        method.eval()
        total = 0.0
        for batch in loader.epoch(0):
            losses = method.losses(placed(batch, self.device), progress)
            total += sum(loss.item() for loss in losses.values())
        return total / len(loader)


def mean_dice(outliner: Outliner, dataset: VolumeDataset) -> float:
    """Mean over the classes of their mean Dice over some validation volumes."""
    rows = dataset.splits["validation"]
    some = rows[np.linspace(0, len(rows) - 1, min(WATCHED, len(rows))).astype(int)]
    found: dict[int, list[float]] = {}
    for row in some.tolist():
        truth = dataset.volumes.label(row)
        said = outliner(dataset.volumes.image(row), per_class=overlapping(dataset, row))
        for place in dataset.known[row]:
            found.setdefault(place, []).append(dice(mask_of(said, place), mask_of(truth, place)))
    return float(np.mean([np.mean(values) for values in found.values()]))
