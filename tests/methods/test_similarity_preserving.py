"""Similarity-preserving distillation: methods.md §2.10."""

import torch
from torch.testing import assert_close

from medistill.methods.similarity_preserving import SimilarityPreserving
from tests.tiny import Telling, tiny_batch, tiny_student


def test_its_imitation_compares_the_flattened_last_maps_as_they_are() -> None:
    # Of another size and width than the student's: neither is brought to the other.
    teacher, batch = Telling(torch.randn(8, 5, 2, 4)), tiny_batch()
    method = SimilarityPreserving(tiny_student(), teacher, imitation=10.0).eval()
    found = []
    for maps in (method.student(batch.images).maps[-1].detach(), teacher.maps[-1]):
        gram = torch.tensor([[float((a * b).sum()) for b in maps] for a in maps])
        found.append(gram / gram.norm(dim=1, keepdim=True))
    expected = 10 * (found[0] - found[1]).square().sum() / 8**2
    assert_close(method.losses(batch, 0.0)["imitation"].detach(), expected)


def test_a_teacher_that_is_a_rotation_of_the_student_has_nothing_to_teach() -> None:
    student, batch = tiny_student().eval(), tiny_batch()
    maps = student(batch.images).maps[-1].detach()
    teacher = Telling(3 * maps.flip(1).roll(1, 2))
    imitation = SimilarityPreserving(student, teacher).losses(batch, 0.0)["imitation"]
    assert_close(imitation.detach(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_its_gradient_reaches_the_student_and_not_its_head() -> None:
    method = SimilarityPreserving(tiny_student(), Telling(torch.randn(8, 5, 2, 2)))
    method.losses(tiny_batch(), 0.0)["imitation"].backward()
    assert all(p.grad is not None for p in method.student.encoder.parameters())
    assert method.student.head.weight.grad is None
