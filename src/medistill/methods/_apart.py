"""Trainings side by side that share nothing but their batches."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import compress, count

from torch import Tensor, nn

from medistill.methods._tasks import present, several, share_of
from medistill.methods.base import Method
from medistill.types import Batch


class Apart(Method):
    """One method per task, each on the samples of its task alone.

    One that has no sample in a batch keeps its gradients at None and stays as it is; so does one
    with a single sample, unless none has more. Each loss is
    the mean over a task's own samples, so that a task learns as if it were trained alone, on
    batches of as many samples as the mixed batch holds of it.

    Args:
        methods: In the order of `Batch.tasks`, each of one task.
    """

    def __init__(self, methods: Sequence[Method]) -> None:
        super().__init__()
        self.methods = nn.ModuleList(methods)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Each term, summed over the tasks."""
        totals: dict[str, Tensor] = {}
        # A share is empty where only another process has samples of the task: their batch norms
        # wait for each other.
        for place in compress(count(), self._taking_part(batch)):
            method = self.methods[place]
            assert isinstance(method, Method)
            for name, loss in method.losses(share_of(batch, place), progress).items():
                totals[name] = totals[name] + loss if name in totals else loss
        return totals

    def _taking_part(self, batch: Batch) -> list[bool]:
        enough = several(batch, len(self.methods))
        return enough if any(enough) else present(batch, len(self.methods))

    def deploy(self) -> dict[str, nn.Module]:
        """What each of them deploys."""
        networks: dict[str, nn.Module] = {}
        for method in self.methods:
            assert isinstance(method, Method)
            networks |= method.deploy()
        return networks


def alike(student: nn.Module) -> nn.Module:
    """A student that starts as another does, and shares nothing with it."""
    return deepcopy(student)
