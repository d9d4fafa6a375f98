"""Knowledge Factorization (KF): what tasks have in common, and what is each one's own."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from medistill.losses.collective import whole_batch
from medistill.losses.divergence import softened_kl
from medistill.losses.information import infomax, infomin, released_infomax
from medistill.methods._classifying import featuring
from medistill.methods._settings import Weight
from medistill.methods._tasks import Heads, batch_mean, counts_of, refuse_unlabelled, rows_of
from medistill.methods.base import Method
from medistill.models.backbones.base import build_backbone
from medistill.models.backbones.pair import Branch, Pair
from medistill.models.deployed import SHARED
from medistill.models.judges import NOBODY, Judges
from medistill.models.networks import Encoder, Student
from medistill.models.teachers import Teacher
from medistill.types import Batch, Task

TEMPERATURE = 10.0
ESTIMATORS = {"corrected": infomax, "released": released_infomax}


class KnowledgeFactorization(Method):
    """One common network that imitates the teacher, and beside it a small network per task.

    The sum of both features is judged, and both are deployed. A teacher that judges the very tasks,
    as a run of `universal_pretraining` on the same roots does, has its predictions imitated too.
    A sample that is its task's only one in a batch teaches the common network alone.

    Args:
        student: The common network; its own head is left aside.
        teacher: Frozen; the common features tell of its pooled ones.
        tasks: In the order of `Batch.tasks`.
        judges: What the teacher says of the tasks themselves.
        task_network: Backbone of each task's own network, named as a student's; it starts at
            random.
        own: Weight of the loss of each task's own features, judged without the common ones.
        infomax: Weight of what the common features tell of the teacher's.
        infomin: Weight of what a task's own features tell of an image at all.
        estimator: Of the information on the teacher: corrected, or with the authors' means.
        logits: Weight of the imitation of the teacher's predictions, where it judges the tasks.
    """

    aliases: ClassVar[tuple[str, ...]] = ("kf",)
    apart: ClassVar[bool] = True
    paper: ClassVar[str] = "Yang et al., Factorizing Knowledge in Neural Networks, ECCV 2022"

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        tasks: tuple[Task, ...],
        judges: Judges = NOBODY,
        *,
        task_network: str = "torchvision/shufflenet_v2_x0_5",
        own: Weight = 1.0,
        infomax: Weight = 1.0,
        infomin: Weight = 1e-3,
        estimator: Literal["corrected", "released"] = "corrected",
        logits: Weight = 0.1,
    ) -> None:
        super().__init__()
        refuse_unlabelled(self, tasks)
        width = student.width
        self.encoder = student.encoder
        self.teacher = teacher
        self.judges = judges
        self.logits = logits
        self.own = own
        self.infomax = infomax
        self.infomin = infomin
        self.bound = ESTIMATORS[estimator]
        self.branches = nn.ModuleList(Branch(build_backbone(task_network), width) for _ in tasks)
        self.heads = Heads(width, tasks)
        self.own_heads = Heads(width, tasks)
        self.carry = nn.Sequential(
            nn.Linear(teacher.width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
        )

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Labels by the joint features and by the own ones, information, and predictions."""
        counts = counts_of(batch, len(self.branches))
        common, taught = self.encoder(batch.images), self.teacher(batch).features
        own, spread = self._own(batch, counts, tuple(common.maps[-1].shape[2:]))
        joint = common.features + own
        agreement = self.bound(whole_batch(common.features), whole_batch(self.carry(taught)))
        # A lone sample has no features of its own, and heads learn from none that will be deployed.
        rows = (torch.tensor(counts, device=own.device)[batch.tasks] > 1).nonzero().flatten()
        kept = batch.at(rows)
        terms = {
            "labels": batch_mean(self.heads(joint[rows], kept), kept),
            "own": self.own * batch_mean(self.own_heads(own[rows], kept), kept),
            "infomax": self.infomax * agreement,
            "infomin": self.infomin * spread,
        }
        if self.logits and self.judges:
            terms["logits"] = self.logits * self._unlike(joint, taught, batch, counts)
        return terms

    def deploy(self) -> dict[str, nn.Module]:
        """For each task one plain network: the common backbone and its own, whose maps add up.

        The common one alone is a start for tasks that none of them fits.
        """
        networks = self.heads.on([self._joined(branch) for branch in self.branches])
        return {**networks, SHARED: featuring(self.encoder)}

    def _own(
        self, batch: Batch, counts: Sequence[int], space: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Each sample's features by its task's own network, and their divergence from noise."""
        images = self.encoder.prepared(batch.images)
        own = images.new_zeros(len(batch), self.encoder.width)
        spread = own.new_zeros(())
        for place, samples in _with_several(counts):
            rows = rows_of(batch, place)
            features = self.branches[place](images[rows], space).flatten(2).mean(2)
            own = own.index_add(0, rows, features.to(own.dtype))
            spread = spread + samples * infomin(whole_batch(features))
        return own, spread / max(sum(samples for _, samples in _with_several(counts)), 1)

    def _unlike(self, joint: Tensor, taught: Tensor, batch: Batch, counts: Sequence[int]) -> Tensor:
        """Divergence of what the joint features say from what the teacher says of the tasks."""
        total, seen = taught.new_zeros(()), 0
        for place, samples in _with_several(counts):
            rows = rows_of(batch, place)
            wanted = self.judges(place, taught[rows])
            if wanted is not None:
                said = self.heads.linears[place](joint[rows])
                total = total + samples * softened_kl(said, wanted, TEMPERATURE)
                seen += samples
        return total / max(seen, 1)

    def _joined(self, branch: nn.Module) -> Encoder:
        assert isinstance(branch, Branch)
        encoder = self.encoder
        pair = Pair.of(encoder.backbone, branch)
        return Encoder(
            pair, mean=encoder.mean, std=encoder.std, stretch=encoder.stretch, size=encoder.size
        )


def _with_several(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Places of the tasks that have two samples or more, and how many."""
    return ((place, samples) for place, samples in enumerate(counts) if samples > 1)
