"""Distillation from a stronger teacher: methods.md §2.12."""

import pytest
import torch
from torch.testing import assert_close

from medistill.errors import Advice, UserError
from medistill.losses.divergence import decorrelation
from medistill.losses.supervised import cross_entropy
from medistill.methods.dist import Dist
from tests.tiny import tiny_batch, tiny_student, tiny_teacher


def test_its_terms_are_the_correlations_of_softened_rows_and_columns() -> None:
    batch, teacher = tiny_batch(), tiny_teacher(logits=True)
    method = Dist(tiny_student(), teacher, labels=0.5, classes=2.0, samples=3.0, temperature=2.0)
    method.eval()
    logits = method.student(batch.images).logits
    own, wanted = ((each / 2).softmax(1) for each in (logits, teacher(batch).logits))
    losses = method.losses(batch, 0.5)
    assert_close(losses["labels"], 0.5 * cross_entropy(logits, batch.targets, batch.weights))
    assert_close(losses["classes"], 4 * 2 * decorrelation(own, wanted))
    assert_close(losses["samples"], 4 * 3 * decorrelation(own.T, wanted.T))


def test_a_student_that_says_the_same_has_nothing_to_learn_but_the_labels() -> None:
    teacher = tiny_teacher(logits=True)
    losses = Dist(teacher.encoder, teacher).eval().losses(tiny_batch(), 0.5)
    # eps in the denominator leaves some 1e-7, divided by the small spread of untrained logits.
    assert losses["classes"] < 1e-3 and losses["samples"] < 1e-3 < losses["labels"]


def test_two_classes_are_advised_against_and_teach_by_the_samples() -> None:
    with pytest.warns(Advice, match=r"^dist: with two classes its term `classes`"):
        method = Dist(tiny_student(classes=2), tiny_teacher(logits=True, classes=2))
    batch = tiny_batch()
    batch.targets.remainder_(2)
    slopes = {}
    for term in ("classes", "samples"):
        method.zero_grad()
        method.losses(batch, 0.5)[term].backward()
        slopes[term] = method.student.head.weight.grad.norm()
    assert slopes["classes"] < 1e-3 * slopes["samples"]


def test_a_teacher_of_other_classes_is_refused_by_the_name_of_the_method() -> None:
    with pytest.raises(UserError, match=r"dist needs a teacher .* 5 classes, but it has 3"):
        Dist(tiny_student(classes=5), tiny_teacher(logits=True))


def test_a_constant_student_gets_no_infinite_gradient() -> None:
    method = Dist(tiny_student(), tiny_teacher(logits=True))
    torch.nn.init.zeros_(method.student.head.weight)
    torch.nn.init.zeros_(method.student.head.bias)
    method.backward(method.losses(tiny_batch(), 0.5))
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())
