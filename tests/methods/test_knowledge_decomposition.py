"""LoRKD and LoRKD*: methods.md §4.4 to 4.6, 4.8 and 8.1."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.assemble import method_settings
from medistill.errors import UserError
from medistill.losses.divergence import feature_kl
from medistill.methods._objectives import Imitated, Labels
from medistill.methods._ranks import Experts
from medistill.methods.knowledge_decomposition import KnowledgeDecomposition
from medistill.models.backbones.base import build_backbone
from medistill.models.networks import Encoder, Student
from medistill.recipe import validate
from medistill.types import Batch, Task
from tests.structure import SHUFFLENET, tasks_of
from tests.tiny import tiny_batch, tiny_student, tiny_tasks, tiny_teacher

WARM, LATER = 0.05, 0.5
STAR = Experts(allocation="loss_reduction")


def decomposed(tasks: tuple[Task, ...] | None = None, **settings: Any) -> KnowledgeDecomposition:
    return KnowledgeDecomposition(
        tiny_student(), tiny_teacher(), tasks or tiny_tasks(), **settings
    ).eval()


def told(method: KnowledgeDecomposition) -> KnowledgeDecomposition:
    """With experts that change something."""
    for one in method.decomposed.experts:
        torch.nn.init.normal_(one.numbers, std=0.3)
    return method


def regions() -> tuple[Task, ...]:
    """Three tasks of two regions."""
    lung, breast = tiny_tasks()
    chest = replace(lung, name="chest", region="thorax")
    return replace(lung, region="thorax"), breast, chest


def gradients(method: KnowledgeDecomposition) -> list[bool]:
    """Which experts have one."""
    return [one.numbers.grad is not None for one in method.decomposed.experts]


@pytest.fixture
def batch() -> Batch:
    return tiny_batch()


class TestLosses:
    def test_they_are_equation_9(self, batch: Batch) -> None:
        method = told(decomposed(imitation=0.3))
        losses = method.losses(batch, LATER)
        networks = list(method.deploy().values())[:2]
        outputs = [networks[t](i[None]) for t, i in zip(batch.tasks, batch.images, strict=True)]
        logits = torch.cat([output.logits for output in outputs])
        assert_close(losses["labels"], F.cross_entropy(logits, batch.targets))
        features = method.objective.project(torch.cat([output.features for output in outputs]))
        wanted = method.teacher(batch).features
        assert_close(losses["imitation"], 0.3 * feature_kl(features, wanted, 10.0))

    def test_the_weight_of_classes_is_1(self, batch: Batch) -> None:
        assert decomposed().imitation == 1.0

    def test_as_the_authors_scripts_run_nothing_is_imitated(self, batch: Batch) -> None:
        method = decomposed(imitation=0.0)
        method.teacher = None  # nobody asks it
        assert list(method.losses(batch, LATER)) == ["labels"]

    @pytest.mark.parametrize(
        ("loss", "by_hand"),
        [
            ("mse", lambda a, b: F.mse_loss(a, b)),
            ("cos", lambda a, b: 1 - F.cosine_similarity(a, b).mean()),
            ("kl", lambda a, b: 9 * F.kl_div(
                F.log_softmax(a / 3, 1), F.softmax(b / 3, 1), reduction="batchmean")),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("projection", ["student", "fixed_teacher"])
    def test_features_can_be_compared_in_other_ways(
        self, loss: Any, by_hand: Any, projection: Any, batch: Batch
    ) -> None:
        imitated = Imitated(loss=loss, projection=projection, temperature=3.0)
        method = decomposed(imitated=imitated)
        own = method.deploy()["shared"].encoder(batch.images).features
        wanted = method.teacher(batch).features
        a, b = method.objective.project(own), method.objective.carry(wanted)
        assert a.shape[1] == (8 if projection == "student" else 6)
        assert_close(method.losses(batch, WARM)["imitation"], by_hand(a, b))

    def test_a_projection_on_the_teachers_side_never_learns(self, batch: Batch) -> None:
        method = decomposed(imitated=Imitated(projection="fixed_teacher"))
        method.backward(method.losses(batch, LATER))
        assert method.objective.carry.weight.grad is None
        assert "objective.carry.weight" in method.state_dict()

    def test_the_temperature_divides_the_logits(self, batch: Batch) -> None:
        method = decomposed(labels=Labels(temperature=4.0))
        softer = method.losses(batch, WARM)["labels"]
        for linear in method.objective.heads.linears:
            linear.load_state_dict({n: t / 4 for n, t in linear.state_dict().items()})
        method.objective.settings = Labels()
        assert_close(method.losses(batch, WARM)["labels"], softer)

    def test_a_joint_head_tells_the_classes_of_all_tasks_apart(self, batch: Batch) -> None:
        batch.targets[3] = -1
        method = decomposed(labels=Labels(global_head=0.5))
        found = method.losses(batch, WARM)["labels"]
        features = method.deploy()["shared"].encoder(batch.images).features
        targets = torch.where(batch.targets < 0, -1, batch.targets + 3 * batch.tasks)
        joint = F.cross_entropy(method.objective.joint(features), targets, ignore_index=-1)
        method.objective.joint = None
        assert_close(found, method.losses(batch, WARM)["labels"] + 0.5 * joint)

    def test_images_without_labels_are_imitated_all_the_same(self, batch: Batch) -> None:
        lung, breast = tiny_tasks()
        loose = replace(breast, kind="unlabelled", classes=())
        batch.targets[batch.tasks == 1] = -1
        method = decomposed((lung, loose)).train()
        method.backward(method.losses(batch, LATER))
        assert gradients(method) == [True, True]
        assert list(method.deploy()) == ["lung", "shared"]


class TestExperts:
    def test_they_rest_in_the_warm_up(self, batch: Batch) -> None:
        method = decomposed().train()
        method.backward(method.losses(batch, WARM))
        assert gradients(method) == [False, False]
        method.backward(method.losses(batch, 0.1))
        assert gradients(method) == [True, True]

    def test_without_a_warm_up_they_learn_at_once(self, batch: Batch) -> None:
        method = decomposed(warmup=0.0).train()
        method.backward(method.losses(batch, 0.0))
        assert gradients(method) == [True, True]

    def test_an_absent_one_stays_as_it_is(self, batch: Batch) -> None:
        batch.tasks[:] = 1
        method = decomposed().train()
        method.backward(method.losses(batch, LATER))
        assert gradients(method) == [False, True]

    def test_or_gets_a_gradient_of_zero_as_in_the_authors_code(self, batch: Batch) -> None:
        batch.tasks[:] = 1
        method = decomposed(experts=Experts(absent="zero_gradient")).train()
        method.backward(method.losses(batch, LATER))
        absent, present = (one.numbers.grad for one in method.decomposed.experts)
        assert not absent.any() and present.any()

    def test_tasks_of_one_region_share_theirs(self, batch: Batch) -> None:
        method = told(decomposed(regions()))
        assert len(method.decomposed.experts) == 2
        networks = method.deploy()
        assert networks["lung"].encoder is networks["chest"].encoder
        assert networks["lung"].head is not networks["chest"].head
        batch.tasks[:] = torch.arange(8) % 3
        images = batch.images[batch.tasks == 2]
        with method.decomposed.routing.to(torch.zeros(len(images), dtype=torch.long)):
            routed = method.decomposed(images).features
        assert_close(networks["chest"](images).features, routed, rtol=1e-5, atol=1e-6)

    def test_each_learns_from_its_own_tasks_and_the_backbone_from_all(self) -> None:
        backbone = build_backbone("torchvision/shufflenet_v2_x0_5")
        student = Student(Encoder(backbone), 3)
        method = KnowledgeDecomposition(student, tiny_teacher(), tiny_tasks(), imitation=0.0)
        method = told(method).double()
        # In evaluation, for batch norms mix tasks; the losses' float32 is all that rounds.
        batch = tiny_batch(6)
        batch = replace(batch, images=F.interpolate(batch.images, size=32).double())

        def pulled(rows: Tensor) -> list[Tensor | None]:
            method.eval().zero_grad()
            part = batch.at(rows)
            # Sums, not means: what several parts say then adds up.
            (method.losses(part, LATER)["labels"] * len(part)).backward()
            return [None if p.grad is None else p.grad.clone() for p in kept]

        shared = list(method.decomposed.shared.parameters())
        kept = [*shared, *method.decomposed.experts.parameters()]
        whole = pulled(torch.arange(6))
        parts = [pulled((batch.tasks == task).nonzero().flatten()) for task in (0, 1)]
        for place in range(len(shared)):
            assert_close(whole[place], parts[0][place] + parts[1][place], rtol=1e-4, atol=1e-6)
        assert_close(whole[-2], parts[0][-2], rtol=1e-4, atol=1e-6)
        assert_close(whole[-1], parts[1][-1], rtol=1e-4, atol=1e-6)
        assert parts[0][-1] is None and parts[1][-2] is None


class TestUnequalRanks:
    def trained(self, batch: Batch) -> KnowledgeDecomposition:
        """Through a warm-up in which the loss of the second task alone falls."""
        method = decomposed(experts=STAR).train()
        for weight in (1.0, 0.1):
            one, other = method.objective.heads.linears
            torch.nn.init.zeros_(one.weight), torch.nn.init.zeros_(one.bias)
            torch.nn.init.zeros_(other.weight)
            other.bias.data = torch.tensor([0.0, 0.0, 0.0]) - weight * F.one_hot(torch.tensor(0), 3)
            batch.targets[batch.tasks == 1] = 0
            method.losses(batch, WARM)
        return method

    def test_ranks_follow_what_was_learnt_in_the_warm_up(self, batch: Batch) -> None:
        method = self.trained(batch)
        before = list(method.decomposed.experts.parameters())
        assert method.decomposed.ranks == [8, 8]
        method.losses(batch, LATER)
        # One loss stays and the other falls: 0 and 2 times the mean, squared.
        assert method.decomposed.ranks == [2, 32]
        now = list(method.decomposed.experts.parameters())
        assert not any(p is q for p in before for q in now)

    def test_they_change_once(self, batch: Batch) -> None:
        method = self.trained(batch)
        method.losses(batch, LATER)
        kept = list(method.decomposed.experts)
        method.losses(batch, WARM)
        method.losses(batch, LATER)
        assert all(a is b for a, b in zip(kept, method.decomposed.experts, strict=True))

    def test_what_is_only_judged_is_not_noted(self, batch: Batch) -> None:
        method = decomposed(experts=STAR)
        method.losses(batch, WARM)
        assert method.record.close() == [None, None]

    def test_an_earlier_state_brings_the_equal_ranks_back(self, batch: Batch) -> None:
        method = self.trained(batch)
        earlier = dict(method.state_dict())
        method.losses(batch, LATER)
        method.load_state_dict(earlier)
        assert method.decomposed.ranks == [8, 8] and method.record.open

    @pytest.mark.parametrize(
        ("experts", "scales"),
        [
            (Experts(), [2.0, 2.0]),
            (Experts(rank=4), [4.0, 4.0]),
            (replace(STAR, rank=4), [2.0, 2.0]),
            (Experts(rank=4, scaling="fixed"), [2.0, 2.0]),
        ],
    )
    def test_scales_are_those_of_the_authors(self, experts: Experts, scales: list[float]) -> None:
        method = decomposed(experts=experts)
        assert [one.scale(1) for one in method.decomposed.experts] == scales


class TestDeployment:
    def test_experts_are_folded_and_the_backbone_is_there_too(self, batch: Batch) -> None:
        method = told(decomposed())
        networks = method.deploy()
        assert list(networks) == ["lung", "breast", "shared"]
        lung, breast, shared = (n.encoder(batch.images).features for n in networks.values())
        assert not torch.allclose(lung, breast) and not torch.allclose(lung, shared)
        with method.decomposed.routing.to(None):
            assert_close(shared, method.decomposed(batch.images).features)

    @pytest.mark.parametrize("projection", ["student", "fixed_teacher"])
    def test_the_backbone_says_what_it_learnt_to_imitate(
        self, projection: Any, batch: Batch
    ) -> None:
        method = decomposed(imitated=Imitated(projection=projection))
        shared = method.deploy()["shared"]
        found = shared(batch.images)
        assert_close(found.logits, method.objective.project(found.features))

    def test_the_papers_counts(self) -> None:
        student = Student(Encoder(build_backbone(SHUFFLENET)), 2)
        method = KnowledgeDecomposition(student, tiny_teacher(), tasks_of(11))
        assert sum(p.numel() for p in method.decomposed.parameters()) == 2_206_380
        deployed = method.deploy()["t0"]
        assert sum(p.numel() for p in deployed.encoder.parameters()) == 1_253_604


class TestRefusals:
    def test_a_warm_up_of_the_whole_training_would_leave_experts_as_they_are(self) -> None:
        document = {"data": {"root": "x"}, "method": {"name": "lorkd", "warmup": 1.0}}
        with pytest.raises(UserError, match=r"^method\.warmup = 1\.0: Input should be less than 1"):
            method_settings(validate(document))

    def test_ranks_need_a_warm_up_to_be_read_off(self) -> None:
        with pytest.raises(UserError, match=r"warmup is 0\. Set it to 0\.1"):
            decomposed(experts=STAR, warmup=0.0)

    def test_bounds_must_leave_a_rank(self) -> None:
        with pytest.raises(UserError, match="max_rank 2 is below min_rank 4"):
            decomposed(experts=Experts(min_rank=4, max_rank=2))

    def test_some_task_must_have_labels(self) -> None:
        loose = tuple(replace(t, kind="unlabelled", classes=()) for t in tiny_tasks())
        with pytest.raises(UserError, match=r"labels of one kind.*lung: unlabelled"):
            decomposed(loose)

    def test_a_loss_of_masks_has_no_place(self) -> None:
        with pytest.raises(UserError, match="literal compares masks"):
            decomposed(imitated=Imitated(loss="literal"))
