"""Distillation of softened logits: methods.md §2.1."""

import pytest
import torch
from torch.testing import assert_close

from medistill.errors import UserError
from medistill.losses.divergence import softened_kl
from medistill.losses.supervised import cross_entropy
from medistill.methods.logit_distillation import LogitDistillation
from medistill.types import Batch, Output
from tests.tiny import tiny_batch, tiny_student, tiny_teacher


class Judge:
    """A teacher that says what it was told to."""

    width, map_shape, map_shapes, classes = 4, None, (), 3

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def __call__(self, batch: Batch) -> Output:
        return Output(self.logits, torch.zeros(len(batch), 4))


def test_its_terms_are_the_losses_of_the_same_names() -> None:
    batch, wanted = tiny_batch(), torch.randn(8, 3)
    method = LogitDistillation(
        tiny_student(), Judge(wanted), labels=0.1, imitation=0.9, temperature=2.0
    ).eval()
    logits = method.student(batch.images).logits
    losses = method.losses(batch, 0.3)
    labels = cross_entropy(logits, batch.targets, batch.weights)
    assert_close(losses["labels"], 0.1 * labels)
    assert_close(losses["imitation"], 0.9 * softened_kl(logits, wanted, 2.0))


def test_a_student_that_agrees_has_nothing_to_imitate() -> None:
    batch, student = tiny_batch(), tiny_student().eval()
    agreed = student(batch.images).logits.detach()
    assert LogitDistillation(student, Judge(agreed)).losses(batch, 0.0)["imitation"] == 0


def test_the_imitation_stays_by_default_and_fades_on_request() -> None:
    batch, judge = tiny_batch(), Judge(torch.randn(8, 3))
    plain = LogitDistillation(tiny_student(), judge).eval()
    fading = LogitDistillation(plain.student, judge, faded_to=0.0).eval()
    first = plain.losses(batch, 0.0)
    assert plain.losses(batch, 1.0)["imitation"] == first["imitation"]
    assert_close(fading.losses(batch, 0.25)["imitation"], 0.75 * first["imitation"])


def test_a_teacher_without_logits_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="gives features alone") as caught:
        LogitDistillation(tiny_student(), tiny_teacher())
    assert "\n" not in str(caught.value)


def test_a_teacher_of_other_classes_is_refused_with_both_numbers() -> None:
    with pytest.raises(UserError, match=r"5 classes.*has 3"):
        LogitDistillation(tiny_student(classes=5), Judge(torch.zeros(8, 3)))
