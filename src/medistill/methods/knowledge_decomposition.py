"""Low-Rank Knowledge Decomposition (LoRKD): one light backbone, and a low-rank expert a region."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from medistill.errors import UserError
from medistill.losses.collective import whole_batch_mean
from medistill.methods._kinds import objective_of
from medistill.methods._objectives import AS_PROPOSED, PLAIN_LABELS, Imitated, Labels
from medistill.methods._ranks import ALL_EQUAL, Experts, LossRecord
from medistill.methods._settings import Weight
from medistill.methods.base import Method
from medistill.models.deployed import SHARED
from medistill.models.lowrank.experts import expert, with_experts
from medistill.models.teachers import Teacher
from medistill.types import Batch, Task

WarmUp = Annotated[float, Field(ge=0, lt=1)]  # in a whole training experts would never learn


class KnowledgeDecomposition(Method):
    """Backbone that all tasks train, with an expert for each region that its own tasks train.

    Tasks of one region share an expert, and each has a head of its own. Batches are mixed. Folded
    into the backbone, an expert costs nothing: what is deployed is as large as the student.

    Args:
        student: A classifier, whose own head is left aside, or a segmenter.
        teacher: The frozen foundation model, whose features or masks are imitated.
        tasks: In the order of `Batch.tasks`; at least one with labels.
        experts: Their size.
        warmup: Share of the training in which the experts rest and change nothing; below 1.
        imitation: Weight of the imitation: the paper's β. By default 1, and 0.1 for masks.
        imitated: How the teacher is imitated.
        labels: How they are learnt.
    """

    aliases: ClassVar[tuple[str, ...]] = ("lorkd",)
    called: ClassVar[str] = "LoRKD"
    paper: ClassVar[str] = (
        "Zhou et al., Low-Rank Knowledge Decomposition for Medical Foundation Models, CVPR 2024; "
        "LoRKD* is of its extension, arXiv 2409.19540"
    )
    volumes: ClassVar[bool] = True

    expert_of: Tensor

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher,
        tasks: tuple[Task, ...],
        *,
        experts: Experts = ALL_EQUAL,
        warmup: WarmUp = 0.1,
        imitation: Weight | None = None,
        imitated: Imitated = AS_PROPOSED,
        labels: Labels = PLAIN_LABELS,
    ) -> None:
        super().__init__()
        _refuse(experts, warmup)
        self.teacher = teacher
        self.settings = experts
        self.warmup = warmup
        self.objective = objective_of(student, teacher, tasks, imitated=imitated, labels=labels)
        self.imitation = self.objective.imitation_weight if imitation is None else imitation
        regions = list(dict.fromkeys(task.region for task in tasks))
        places = torch.tensor([regions.index(task.region) for task in tasks])
        self.register_buffer("expert_of", places, persistent=False)
        self.decomposed = with_experts(
            self.objective.network,
            [experts.rank] * len(regions),
            alpha=experts.alpha,
            scaling=experts.scaled,
            multiples=self.objective.multiples,
        )
        self.record = LossRecord(len(regions), open=experts.unequal)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Equation 9 of the paper, or 7 and 8 where masks are learnt."""
        warming = progress < self.warmup
        if not warming and self.record.open:
            self.decomposed.renew(self.settings.allocated(self.record.close()))
        # New experts change nothing: left out, they are spared their arithmetic.
        route = None if warming else self.expert_of[batch.tasks]
        with self.decomposed.routing.to(route):
            output = self.decomposed(*self.objective.inputs(batch))
        judged = self.objective.labels(output, batch)
        if warming and self.training:
            self.record.add(judged, self.expert_of[judged.tasks])
        terms = {"labels": whole_batch_mean(judged.each, judged.weights)}
        if self.imitation:
            distance = self.objective.imitation(output, batch, self.teacher(batch))
            terms["imitation"] = self.imitation * distance
        if not warming and self.settings.absent == "zero_gradient":
            terms["labels"] = terms["labels"] + self._nothing()
        return terms

    def deploy(self) -> dict[str, nn.Module]:
        """For each task the backbone with its expert folded in; and the backbone as it is."""
        folded = [expert(self.decomposed, place) for place in range(self.record.experts)]
        networks = self.objective.networks([folded[place] for place in self.expert_of.tolist()])
        return {**networks, SHARED: self.objective.shared(expert(self.decomposed, None))}

    def _nothing(self) -> Tensor:
        """Zero, by way of all experts."""
        return torch.stack([0 * each.sum() for each in self.decomposed.experts.parameters()]).sum()


def _refuse(experts: Experts, warmup: float) -> None:
    """Refuse what contradicts itself.

    Raises:
        UserError: There is nothing to read ranks from, or no rank to choose.
    """
    if experts.allocation == "loss_reduction" and not warmup:
        raise UserError(
            "method.experts.allocation loss_reduction reads the ranks off the warm-up, but "
            "method.warmup is 0. Set it to 0.1, or choose equal ranks."
        )
    if experts.max_rank is not None and experts.max_rank < experts.min_rank:
        raise UserError(
            f"method.experts.max_rank {experts.max_rank} is below min_rank {experts.min_rank}: no "
            "rank is left. Raise the one or lower the other."
        )
