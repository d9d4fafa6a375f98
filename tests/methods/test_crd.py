"""Contrastive representation distillation: methods.md §2.6."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.methods.crd import Crd
from medistill.types import Batch, Task
from tests.tiny import tiny_batch, tiny_student, tiny_tasks, tiny_teacher


def built(**settings: float) -> Crd:
    return Crd(tiny_student(), tiny_teacher(), tiny_tasks(), **settings)


def of(batch: Batch, samples: Tensor, targets: Tensor) -> Batch:
    return replace(batch, samples=samples, targets=targets)


class Naive:
    """The paper's losses, one sample and one entry at a time."""

    def __init__(self, method: Crd) -> None:
        self.method = method
        own, theirs = method.memory.rows.double().unbind()
        self.banks = {"student": list(own), "teacher": list(theirs)}
        self.known: dict[int, int] = {}
        self.z: dict[str, Tensor] = {}

    @torch.no_grad()
    def step(self, batch: Batch) -> float:
        method, n = self.method, len(self.banks["student"])
        anchors = {
            "student": method.embed(method.student(batch.images).features),
            "teacher": method.embed_wanted(method.teacher(batch).features),
        }
        anchors = {side: (v / v.norm(dim=1, keepdim=True)).double() for side, v in anchors.items()}
        samples, targets = batch.samples.tolist(), batch.targets.tolist()
        self.known |= dict(zip(samples, targets, strict=True))
        total = 0.0
        for side, other in (("student", "teacher"), ("teacher", "student")):
            each = []
            for v, sample, target in zip(anchors[side], samples, targets, strict=True):
                noise = [j for j, known in self.known.items() if known != target]
                rows = torch.stack([self.banks[other][j] for j in [sample, *noise]])
                each.append((rows @ v / 0.07).exp())
            # Over all B(K + 1) entries of the first batch, then constant.
            z = self.z.setdefault(side, n * torch.cat(each).mean())
            for entries in each:
                h, m = entries / z, len(entries) - 1
                total += -(h[0] / (h[0] + m / n)).log()
                total += -(m / n / (h[1:] + m / n)).log().sum()
        for side, bank in self.banks.items():
            for v, sample in zip(anchors[side], samples, strict=True):
                moved = 0.5 * bank[sample] + 0.5 * v
                bank[sample] = moved / moved.norm()
        return float(total) / len(batch)


def test_its_contrast_is_the_papers_over_several_batches() -> None:
    method = built(contrast=1.0)
    naive = Naive(method)
    for seed in range(4):
        torch.manual_seed(seed)
        samples = torch.randperm(16)[:8]
        batch = of(tiny_batch(), samples, samples % 3)
        # Batch statistics would move between the two passes.
        method.student.eval()
        found = method.losses(batch, 0.5)["contrast"].item()
        # The sum over some ten thousand float32 exponentials of up to 1/0.07.
        assert found == pytest.approx(naive.step(batch), rel=1e-4)
        banks = torch.stack([torch.stack(naive.banks[side]) for side in ("student", "teacher")])
        assert_close(method.memory.rows.double(), banks, atol=1e-6, rtol=0)


def test_renewed_rows_have_norm_1_and_the_others_are_as_they_began() -> None:
    method, batch = built(), tiny_batch()
    before = method.memory.rows.clone()
    bound = (3 / 128) ** 0.5
    assert before.abs().max() <= bound and not torch.allclose(before.norm(dim=2), torch.ones(2, 16))
    method.losses(of(batch, torch.arange(8, 16), batch.targets), 0.5)
    norms = method.memory.rows[:, 8:].norm(dim=2)
    assert_close(norms, torch.ones(2, 8))
    assert torch.equal(method.memory.rows[:, :8], before[:, :8])


def test_the_loss_is_that_of_the_memory_before_its_renewal() -> None:
    method, batch = built(), tiny_batch()
    method.student.eval()
    again = copy.deepcopy(method)
    again.memory.renew = lambda *_: None  # type: ignore[method-assign]
    assert method.losses(batch, 0.5) == again.losses(batch, 0.5)
    assert method.losses(batch, 0.5) != again.losses(batch, 0.5)


def test_a_sample_that_stands_twice_in_a_batch_is_remembered_by_its_mean() -> None:
    memory = built().memory
    embeddings = torch.nn.functional.normalize(torch.randn(2, 3, 128), dim=2)
    old = memory.rows[:, 5].clone()
    memory.renew(torch.tensor([5, 2, 5]), embeddings)
    moved = 0.5 * old + 0.25 * (embeddings[:, 0] + embeddings[:, 2])
    assert_close(memory.rows[:, 5], moved / moved.norm(dim=1, keepdim=True))


class TestNoise:
    def test_is_what_training_showed_of_other_classes(self) -> None:
        memory = built().memory
        assert not memory.others(torch.tensor([0, 1])).any()
        memory.meet(torch.tensor([1, 4, 6]), torch.tensor([0, 1, 0]))
        found = memory.others(torch.tensor([0, 2]))
        assert found.nonzero().tolist() == [[0, 4], [1, 1], [1, 4], [1, 6]]

    def test_of_a_sample_without_a_label_is_every_other(self) -> None:
        method, batch = built(), tiny_batch()
        method.losses(of(batch, batch.samples, torch.tensor([0, 0, 1, -1, -1, 1, 2, 2])), 0.5)
        known = method.memory.classes[:8]
        assert known[[0, 1, 2, 5, 6, 7]].tolist() == [0, 0, 1, 1, 2, 2]
        others = method.memory.others(known[3:5])
        assert others.nonzero()[:, 1].tolist() == [0, 1, 2, 4, 5, 6, 7, 0, 1, 2, 3, 5, 6, 7]

    def test_is_drawn_anew_where_there_is_more_than_asked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn = []

        def record(pairs: Tensor, scores: Tensor, noise: Tensor) -> Tensor:
            drawn.append(noise)
            return pairs

        monkeypatch.setattr("medistill.methods.crd.noise_contrast", record)
        method, batch = built(noise=2), tiny_batch()
        for _ in range(100):
            method.losses(batch, 0.5)
        each = torch.stack(drawn).float()
        allowed = batch.targets[:, None] != batch.targets
        assert (each.sum(2) == 2).all()
        assert not each[:, :, :8][:, ~allowed].any() and not each[:, :, 8:].any()
        # 100 draws of 2 of 5 or 6, used for both networks: 0.16 is 3.3 standard deviations.
        share = 2 / allowed.sum(1, keepdim=True) * allowed
        assert_close(each[:, :, :8].mean(0), share, atol=0.16, rtol=0)

    def test_may_be_absent_from_a_whole_batch(self) -> None:
        method, batch = built(), tiny_batch()
        losses = method.losses(of(batch, batch.samples, torch.zeros_like(batch.targets)), 0.5)
        method.backward(losses)
        assert losses["contrast"] == 0
        assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


def test_validation_leaves_the_memory_alone() -> None:
    method, batch = built(), tiny_batch()
    method.losses(batch, 0.5)
    before = copy.deepcopy(method.memory.state_dict())
    fresh = of(batch, torch.arange(8, 16), batch.targets)
    assert method.eval().losses(fresh, 0.5)["contrast"].isfinite()
    assert_close(dict(method.memory.state_dict()), dict(before), rtol=0, atol=0)


def test_the_constants_are_those_of_the_first_batch() -> None:
    method = built()
    constants = []
    for _ in range(3):
        method.losses(tiny_batch(), 0.5)
        constants.append(method.memory.constants.clone())
    assert (constants[0] > 0).all() and constants[0][0] != constants[0][1]
    assert torch.equal(constants[0], constants[2])


def test_tasks_that_ask_for_the_same_classes_share_one_student_and_one_memory() -> None:
    method = built()
    lung, breast = method.deploy().values()
    assert lung is breast and method.memory.rows.shape == (2, 16, 128)


def test_tasks_of_other_classes_are_refused_by_their_names() -> None:
    tasks = (*tiny_tasks(), Task("skin", "classification", ("naevus", "melanoma"), 4))
    with pytest.raises(UserError, match="skin has other classes than lung"):
        Crd(tiny_student(), tiny_teacher(), tasks)
