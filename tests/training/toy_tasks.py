"""Methods of several tasks on batches that hold, miss and divide them, for one process or two."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from toy_training import Noise

from medistill.methods._ranks import Experts
from medistill.methods.aligned_mtl import AlignedMtl
from medistill.methods.base import Method
from medistill.methods.knowledge_decomposition import KnowledgeDecomposition
from medistill.methods.knowledge_factorization import KnowledgeFactorization
from medistill.methods.mgda import Mgda
from medistill.methods.moco_mtl import MocoMtl
from medistill.methods.multi_task_distillation import MultiTaskDistillation
from medistill.methods.pcgrad import Pcgrad
from medistill.methods.single_task import SingleTask
from medistill.methods.single_task_distillation import SingleTaskDistillation
from medistill.methods.uncertainty_weighting import UncertaintyWeighting
from medistill.models.judges import Judges
from medistill.models.teachers import Frozen
from medistill.types import Batch, Task
from tests.tiny import tiny_judges, tiny_student, tiny_teacher

CLASSES = ("a", "b", "c")
TASKS = tuple(Task(name, "classification", CLASSES, 24) for name in ("lung", "breast", "skin"))
# Of eight samples the first process takes the even ones. First each process has a task of its own
# and skin is nowhere; then all is mixed; then breast is nowhere, and skin in one process alone.
DEALT = ([0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 2, 2, 1, 0, 0, 2], [0, 0, 0, 2, 0, 2, 0, 0])


class Mixed(Noise):
    """Random images of three tasks."""

    def epoch(self, number: int) -> Iterator[Batch]:
        for batch, tasks in zip(super().epoch(number), DEALT, strict=False):
            yield replace(batch, tasks=torch.tensor(tasks)[self.share])


def known_teacher() -> Frozen:
    """No state holds a teacher: it is the same in every process."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return tiny_teacher()


def labels_alone(kind: type[Method], **settings: float) -> Method:
    """A method that takes no teacher."""
    return kind(tiny_student(), TASKS, **settings)


def taught(kind: type[Method], **settings: Any) -> Method:
    """A method that takes one."""
    return kind(tiny_student(), known_teacher(), TASKS, **settings)


BUILDS: dict[str, Callable[[], Method]] = {
    "aligned": partial(labels_alone, AlignedMtl),
    "mgda": partial(labels_alone, Mgda),
    "moco": partial(labels_alone, MocoMtl),
    "moco of libmtl": partial(labels_alone, MocoMtl, simplex="softmax", normalised=True),
    "pcgrad": partial(labels_alone, Pcgrad),
    "uncertainty": partial(labels_alone, UncertaintyWeighting),
    "single": partial(labels_alone, SingleTask),
    "single taught": partial(taught, SingleTaskDistillation),
    "multi taught": partial(taught, MultiTaskDistillation),
    "factorization": partial(
        taught,
        KnowledgeFactorization,
        judges=Judges((*tiny_judges().heads, None)),
        task_network="timm/test_resnet",
    ),
    "decomposition": partial(taught, KnowledgeDecomposition, warmup=0.0),
    # After half the steps its experts change their ranks, and an optimiser its parameters.
    "decomposition unequal": partial(
        taught,
        KnowledgeDecomposition,
        warmup=0.5,
        experts=Experts(allocation="loss_reduction", rank=4),
    ),
}
# Batch norms over two or three pixels multiply roundings a thousandfold with every step.
STEPS = dict.fromkeys(BUILDS, 3) | {"factorization": 1}
