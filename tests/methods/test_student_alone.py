"""The student alone."""

import torch
from torch.nn import functional as F
from torch.testing import assert_close

from medistill.methods.student_alone import StudentAlone
from tests.tiny import tiny_batch, tiny_student


def test_its_loss_is_cross_entropy_whatever_the_progress() -> None:
    batch, method = tiny_batch(), StudentAlone(tiny_student()).eval()
    expected = F.cross_entropy(method.student(batch.images).logits, batch.targets)
    for progress in (0.0, 0.7):
        assert_close(method.losses(batch, progress), {"labels": expected})


def test_its_loss_follows_the_weights_of_the_samples() -> None:
    batch, method = tiny_batch(), StudentAlone(tiny_student()).eval()
    batch.weights[1:] = 0
    first = F.cross_entropy(method.student(batch.images).logits[:1], batch.targets[:1])
    assert_close(method.losses(batch, 0.0)["labels"], first)


def test_what_it_deploys_is_the_student() -> None:
    student = tiny_student()
    assert StudentAlone(student).deploy() == {"all": student}
    assert isinstance(student.head, torch.nn.Linear)
