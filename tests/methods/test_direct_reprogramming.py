"""Direct reprogramming: methods.md §1.4, two stages that leave each other alone."""

import copy

import pytest
import torch
from torch.testing import assert_close

from medistill.losses.divergence import softened_kl
from medistill.methods._settings import Reprogramming
from medistill.methods.direct_reprogramming import DirectReprogramming
from tests.tiny import tiny_batch, tiny_student, tiny_teacher


@pytest.fixture
def method() -> DirectReprogramming:
    dropping = Reprogramming(dropout=0.5)
    return DirectReprogramming(tiny_student(), tiny_teacher(), reprogramming=dropping)


def step(method: DirectReprogramming, progress: float) -> None:
    """One step as `fit` takes it: weight decay would move what has a gradient of zero."""
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2, weight_decay=0.1)
    method.train()
    optimizer.zero_grad(set_to_none=True)
    method.backward(method.losses(tiny_batch(), progress))
    optimizer.step()


def moved(method: DirectReprogramming, progress: float) -> set[str]:
    """Names of the parts whose parameters or statistics changed in one step."""
    before = copy.deepcopy(method.state_dict())
    step(method, progress)
    after = method.state_dict()
    return {k.split(".")[0] for k in after if not torch.equal(after[k], before[k])}


def test_each_of_its_two_stages_is_a_training_of_its_own(method: DirectReprogramming) -> None:
    assert method.stages == 2


def test_in_the_first_stage_phi_and_its_classifier_learn_alone(method: DirectReprogramming) -> None:
    assert set(method.losses(tiny_batch(), 0.49)) == {"reprogrammed"}
    assert moved(method, 0.0) == moved(method, 0.49) == {"reprogram", "classifier"}


def test_in_the_second_stage_the_student_alone_learns_and_no_statistic_of_phi_moves(
    method: DirectReprogramming,
) -> None:
    step(method, 0.2)
    assert set(method.losses(tiny_batch(), 0.5)) == {"student", "logits"}
    assert moved(method, 0.5) == moved(method, 0.99) == {"student"}


def test_the_settled_judgement_does_not_depend_on_the_batch_nor_on_dropout(
    method: DirectReprogramming,
) -> None:
    step(method, 0.2)
    batch = tiny_batch()
    method.train()
    assert torch.equal(method._settled(batch), method._settled(batch))


def test_the_first_stage_goes_on_in_training_mode_after_a_look_at_the_second(
    method: DirectReprogramming,
) -> None:
    step(method, 0.6)
    assert moved(method, 0.2) == {"reprogram", "classifier"}


def test_the_imitation_fades_within_the_second_half(method: DirectReprogramming) -> None:
    batch = tiny_batch()
    method.eval()
    student = method.student(batch.images).logits
    whole = softened_kl(student, method._settled(batch), 4.0)
    for progress, share in {0.5: 1.0, 0.75: 0.5, 1.0: 0.0}.items():
        assert_close(method.losses(batch, progress)["logits"], share * whole)


def test_the_student_judges_by_a_classifier_of_its_own(method: DirectReprogramming) -> None:
    (deployed,) = method.deploy().values()
    kept = {id(p) for p in deployed.parameters()}
    assert kept.isdisjoint(id(p) for p in method.classifier.parameters())
    assert kept.isdisjoint(id(p) for p in method.reprogram.parameters())
