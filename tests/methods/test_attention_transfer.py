"""Attention transfer at every stage: methods.md §2.3."""

import torch
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.losses.supervised import cross_entropy
from medistill.methods.attention_transfer import AttentionTransfer
from medistill.models.networks import Student
from medistill.models.teachers import Frozen
from tests.tiny import SIZE, Telling, tiny_batch, tiny_student


def attended(maps: torch.Tensor, edge: int) -> torch.Tensor:
    return F.normalize(F.adaptive_avg_pool2d(maps, edge).pow(2).mean(1).flatten(1), dim=1)


def test_its_terms_are_the_formulas_over_all_stages_at_the_smaller_size() -> None:
    # Grids as a transformer's: all of one size, larger than the student's last and smaller than
    # its first.
    teacher, batch = Telling(*(torch.randn(8, 5, 4, 4) for _ in range(4))), tiny_batch()
    method = AttentionTransfer(tiny_student(), teacher, labels=0.5, imitation=10.0).eval()
    output = method.student(batch.images)
    expected = 0.0
    for own, offered, edge in zip(output.maps, teacher.maps[-2:], (4, 3), strict=True):
        expected += (attended(own, edge) - attended(offered, edge)).pow(2).mean()
    losses = method.losses(batch, 0.0)
    assert_close(losses["imitation"], 10 * torch.as_tensor(expected))
    labels = cross_entropy(output.logits, batch.targets, batch.weights)
    assert_close(losses["labels"], 0.5 * labels)


def test_a_student_that_looks_where_its_teacher_looks_has_nothing_to_imitate() -> None:
    student = tiny_student().eval()
    frozen = Frozen(Student(student.encoder, 3), scales="all", image_shape=(3, SIZE, SIZE))
    imitation = AttentionTransfer(student, frozen).losses(tiny_batch(), 0.0)["imitation"]
    assert imitation == 0


def test_its_gradient_reaches_every_stage_of_the_student() -> None:
    teacher = Telling(torch.rand(8, 5, 6, 6), torch.rand(8, 7, 3, 3))
    method = AttentionTransfer(tiny_student(), teacher)
    method.losses(tiny_batch(), 0.0)["imitation"].backward()
    convolutions = [p for p in method.student.encoder.parameters() if p.ndim == 4]
    assert all(p.grad is not None and p.grad.any() for p in convolutions)
    assert method.student.head.weight.grad is None
