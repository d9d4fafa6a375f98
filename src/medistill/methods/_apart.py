"""Trainings side by side that share nothing but their batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from itertools import compress, count
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medistill.methods._tasks import present, several, share_of
from medistill.methods.base import Method
from medistill.types import Batch


class Apart(Method):
    """One method per task, each on the samples of its task alone.

    One that has no sample in a batch keeps its gradients at None and stays as it is; so does one
    with a single sample, unless none has more: then batch norms use their running statistics. Each
    loss is the mean over a task's own samples, so that a task learns as if it were trained alone,
    on batches of as many samples as the mixed batch holds of it.

    Args:
        methods: In the order of `Batch.tasks`, each of one task.
    """

    apart: ClassVar[bool] = True

    def __init__(self, methods: Sequence[Method]) -> None:
        super().__init__()
        self.methods = nn.ModuleList(methods)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Each term, summed over the tasks."""
        totals: dict[str, Tensor] = {}
        enough = several(batch, len(self.methods))
        alone = not any(enough)
        taking_part = present(batch, len(self.methods)) if alone else enough
        with resting_norms(self) if alone else nullcontext():
            # A share is empty where only another process has samples of the task: their batch norms
            # wait for each other.
            for place in compress(count(), taking_part):
                method = self.methods[place]
                assert isinstance(method, Method)
                for name, loss in method.losses(share_of(batch, place), progress).items():
                    totals[name] = totals[name] + loss if name in totals else loss
        return totals

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


@contextmanager
def resting_norms(network: nn.Module) -> Iterator[None]:
    """Inside, batch norms judge by their running statistics, which stay as they are.

    A lone sample has no statistics of its own: over a map of one pixel a batch norm refuses it.
    """
    resting = [each for each in network.modules() if isinstance(each, _BatchNorm) and each.training]
    for norm in resting:
        norm.training = False
    try:
        yield
    finally:
        for norm in resting:
            norm.training = True
