"""Knowledge Factorization (KF): what tasks have in common, and what is each one's own."""

from itertools import compress, count
from typing import ClassVar, Literal

from torch import Tensor, nn

from medistill.losses.collective import whole_batch
from medistill.losses.information import infomax, infomin, released_infomax
from medistill.methods._classifying import featuring
from medistill.methods._settings import Weight
from medistill.methods._tasks import Heads, batch_mean, refuse_unlabelled, rows_of, several
from medistill.methods.base import Method
from medistill.models.backbones.base import build_backbone
from medistill.models.backbones.pair import Branch, Pair
from medistill.models.deployed import SHARED
from medistill.models.networks import Encoder, Student
from medistill.models.teachers import Teacher
from medistill.types import Batch, Task

ESTIMATORS = {"corrected": infomax, "released": released_infomax}


class KnowledgeFactorization(Method):
    """One common network that imitates the teacher, and beside it a small network per task.

    The sum of both features is judged, and both are deployed. The paper's imitation of a teacher's
    logits, of weight 0.1, is left out: a foundation model judges none of the tasks.

    Args:
        student: The common network; its own head is left aside.
        teacher: Frozen; the common features tell of its pooled ones.
        tasks: In the order of `Batch.tasks`.
        task_network: Backbone of each task's own network, named as a student's; it starts at
            random.
        own: Weight of the loss of each task's own features, judged without the common ones.
        infomax: Weight of what the common features tell of the teacher's.
        infomin: Weight of what a task's own features tell of an image at all.
        estimator: Of the information on the teacher: corrected, or with the authors' means.
    """

    aliases: ClassVar[tuple[str, ...]] = ("kf",)
    paper: ClassVar[str] = "Yang et al., Factorizing Knowledge in Neural Networks, ECCV 2022"

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        tasks: tuple[Task, ...],
        *,
        task_network: str = "torchvision/shufflenet_v2_x0_5",
        own: Weight = 1.0,
        infomax: Weight = 1.0,
        infomin: Weight = 1e-3,
        estimator: Literal["corrected", "released"] = "corrected",
    ) -> None:
        super().__init__()
        refuse_unlabelled(self, tasks)
        width = student.width
        self.encoder = student.encoder
        self.teacher = teacher
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
        """Labels by the joint features and by the own ones, and the two terms on information."""
        common = self.encoder(batch.images)
        own, spread = self._own(batch, tuple(common.maps[-1].shape[2:]))
        carried = whole_batch(self.carry(self.teacher(batch).features))
        agreement = self.bound(whole_batch(common.features), carried)
        return {
            "labels": batch_mean(self.heads(common.features + own, batch), batch),
            "own": self.own * batch_mean(self.own_heads(own, batch), batch),
            "infomax": self.infomax * agreement,
            "infomin": self.infomin * spread,
        }

    def deploy(self) -> dict[str, nn.Module]:
        """For each task one plain network: the common backbone and its own, whose maps add up.

        The common one alone is a start for tasks that none of them fits.
        """
        networks = self.heads.on([self._joined(branch) for branch in self.branches])
        return {**networks, SHARED: featuring(self.encoder)}

    def _own(self, batch: Batch, space: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Each sample's features by its task's own network, and their divergence from noise.

        A sample that is its task's only one in the batch has none of its own.
        """
        images = self.encoder.prepared(batch.images)
        own = images.new_zeros(len(batch), self.encoder.width)
        spread, seen = own.new_zeros(()), 0
        for place in compress(count(), several(batch, len(self.branches))):
            rows = rows_of(batch, place)
            features = self.branches[place](images[rows], space).flatten(2).mean(2)
            own = own.index_add(0, rows, features.to(own.dtype))
            everyone = whole_batch(features)
            spread = spread + len(everyone) * infomin(everyone)
            seen += len(everyone)
        return own, spread / max(seen, 1)

    def _joined(self, branch: nn.Module) -> Encoder:
        assert isinstance(branch, Branch)
        encoder = self.encoder
        pair = Pair.of(encoder.backbone, branch)
        return Encoder(
            pair, mean=encoder.mean, std=encoder.std, stretch=encoder.stretch, size=encoder.size
        )
