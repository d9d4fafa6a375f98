"""Knowledge Factorization: methods.md §5 and §8.1."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from medistill.losses.divergence import softened_kl
from medistill.losses.information import infomax, infomin
from medistill.methods._tasks import share_of
from medistill.methods.knowledge_factorization import KnowledgeFactorization
from medistill.models.deployed import SHARED
from medistill.models.judges import NOBODY, Judges
from medistill.types import Batch
from tests.structure import on_meta, parameters, tasks_of
from tests.tiny import tiny_batch, tiny_student, tiny_tasks, tiny_teacher

SMALL = "timm/test_resnet"


def factorised(judges: Judges = NOBODY, **settings: float) -> KnowledgeFactorization:
    return KnowledgeFactorization(
        tiny_student(), tiny_teacher(), tiny_tasks(), judges, task_network=SMALL, **settings
    ).eval()


@pytest.fixture
def batch() -> Batch:
    return tiny_batch()


def test_what_it_deploys_judges_as_it_was_trained(batch: Batch) -> None:
    method = factorised()
    labels = method.losses(batch, 0.5)["labels"]
    networks = list(method.deploy().values())
    each = [
        torch.nn.functional.cross_entropy(
            networks[task](batch.images[row : row + 1]).logits, target[None]
        )
        for row, (task, target) in enumerate(zip(batch.tasks, batch.targets, strict=True))
    ]
    assert_close(torch.stack(each).mean(), labels)


def test_tasks_share_the_common_network_and_nothing_else() -> None:
    method = factorised()
    lung, breast, _ = ({id(p) for p in each.parameters()} for each in method.deploy().values())
    assert lung & breast == {id(p) for p in method.encoder.parameters()}


def test_the_common_network_alone_is_deployed_as_a_start(batch: Batch) -> None:
    method = factorised().eval()
    shared = method.deploy()[SHARED]
    assert shared.encoder is method.encoder
    assert_close(shared(batch.images).logits, method.encoder(batch.images).features)


def test_the_terms_are_the_papers(batch: Batch) -> None:
    method = factorised(infomax=0.3, infomin=0.2)
    losses = method.losses(batch, 0.5)
    common = method.encoder(batch.images)
    carried = method.carry(method.teacher(batch).features)
    assert_close(losses["infomax"], 0.3 * infomax(common.features, carried))
    images = method.encoder.prepared(batch.images)
    own = [
        branch(images[batch.tasks == task], common.maps[-1].shape[2:]).flatten(2).mean(2)
        for task, branch in enumerate(method.branches)
    ]
    assert_close(losses["infomin"], 0.2 * (infomin(own[0]) + infomin(own[1])) / 2)


def test_only_the_joint_networks_and_the_terms_with_weight_count(batch: Batch) -> None:
    losses = factorised(own=0.0, infomax=0.0, infomin=0.0).losses(batch, 0.5)
    assert_close(sum(losses.values()), losses["labels"])


def test_the_network_of_a_task_that_is_absent_stays_as_it_is(batch: Batch) -> None:
    batch.tasks[:] = 1
    method = factorised().train()
    method.backward(method.losses(batch, 0.5))
    lung, breast = method.branches
    assert all(p.grad is None for p in lung.parameters())
    assert all(p.grad is not None for p in breast.parameters())


def test_a_lone_sample_of_a_task_teaches_none_of_what_is_deployed_for_it(batch: Batch) -> None:
    batch.tasks[:] = torch.tensor([1, 0, 0, 0, 0, 0, 0, 0])
    head = torch.nn.Linear(8, 3)
    method = factorised(Judges((head, head))).train()
    losses = method.losses(batch, 0.5)
    assert all(loss.isfinite() for loss in losses.values())
    method.backward(losses)
    for part in (method.heads.linears, method.own_heads.linears, method.branches):
        assert all(p.grad is not None for p in part[0].parameters())
        assert all(p.grad is None for p in part[1].parameters())
    # The rest of the batch is judged as it would be without it.
    rest = method.eval().losses(batch.at(slice(1, None)), 0.5)
    whole = method.losses(batch, 0.5)
    assert all(torch.equal(whole[name], rest[name]) for name in ("labels", "own", "logits"))


def test_where_every_sample_is_alone_only_the_common_network_learns() -> None:
    batch, method = tiny_batch(2), factorised().train()
    losses = method.losses(batch, 0.5)
    assert all(loss.isfinite() for loss in losses.values())
    method.backward(losses)
    assert all(p.grad is None for p in [*method.heads.parameters(), *method.branches.parameters()])
    assert all(p.grad is not None for p in method.encoder.parameters())


def test_a_teacher_that_judges_a_task_has_its_predictions_imitated(batch: Batch) -> None:
    head = torch.nn.Linear(8, 3)
    method = factorised(Judges((None, head)), logits=0.3)
    own = share_of(batch, 1)
    said = method.deploy()["breast"](own.images).logits
    wanted = head(method.teacher(own).features)
    found = method.losses(batch, 0.5)["logits"]
    assert_close(found, 0.3 * softened_kl(said, wanted, 10.0))
    found.backward()
    assert head.weight.grad is None
    assert not any(id(head.weight) == id(p) for p in method.parameters())


@pytest.mark.parametrize(
    ("heads", "weight"), [((), 0.1), ((None, None), 0.1), ((torch.nn.Linear(8, 3), None), 0.0)]
)
def test_a_teacher_that_judges_nothing_leaves_no_term(
    batch: Batch, heads: Any, weight: float
) -> None:
    assert "logits" not in factorised(Judges(heads), logits=weight).losses(batch, 0.5)


def test_the_papers_counts() -> None:
    teacher = tiny_teacher()
    method = on_meta(lambda s: KnowledgeFactorization(s, teacher, tasks_of(11)))
    assert parameters(method, without=("heads", "own_heads", "carry")) == 5_013_316
    with torch.device("meta"):
        deployed = method.deploy()["t0"]
    assert sum(p.numel() for p in deployed.encoder.parameters()) == 1_595_396
