"""Decoupled distillation: methods.md §2.11."""

import pytest
import torch
from torch.testing import assert_close

from medistill.errors import Advice, UserError
from medistill.losses.divergence import decoupled_kl
from medistill.losses.supervised import cross_entropy
from medistill.methods.dkd import Dkd
from tests.tiny import tiny_batch, tiny_student, tiny_teacher


def test_its_terms_are_the_losses_of_the_same_names() -> None:
    batch, teacher = tiny_batch(), tiny_teacher(logits=True)
    method = Dkd(tiny_student(), teacher, labels=0.5, target=2.0, others=3.0, temperature=2.0)
    method.eval()
    logits = method.student(batch.images).logits
    target, others = decoupled_kl(logits, teacher(batch).logits, batch.targets, 2.0)
    losses = method.losses(batch, 0.5)
    assert_close(losses["labels"], 0.5 * cross_entropy(logits, batch.targets, batch.weights))
    assert_close(losses["target"], 2 * target)
    assert_close(losses["others"], 3 * others)


def test_both_imitations_rise_through_the_first_20_of_240_epochs() -> None:
    batch, method = tiny_batch(), Dkd(tiny_student(), tiny_teacher(logits=True)).eval()
    start, half, full, end = (method.losses(batch, epoch / 240) for epoch in (0, 10, 20, 240))
    for term in ("target", "others"):
        assert start[term] == 0
        assert_close(half[term], full[term] / 2)
        assert end[term] == full[term] > 0
    assert start["labels"] == end["labels"] > 0


def test_without_a_warm_up_they_are_whole_at_once() -> None:
    batch, method = tiny_batch(), Dkd(tiny_student(), tiny_teacher(logits=True), warm_up=0.0)
    first, last = (method.eval().losses(batch, moment) for moment in (0.0, 1.0))
    assert first == last


def test_two_classes_are_advised_against_and_still_trained() -> None:
    with pytest.warns(Advice, match=r"^dkd: with two classes its term `others` is 0"):
        method = Dkd(tiny_student(classes=2), tiny_teacher(logits=True, classes=2))
    batch = tiny_batch()
    batch.targets.remainder_(2)
    losses = method.losses(batch, 0.5)
    assert losses["others"] == 0
    assert torch.stack(list(losses.values())).isfinite().all()


def test_a_teacher_without_logits_is_refused_by_the_name_of_the_method() -> None:
    with pytest.raises(UserError, match="dkd needs a teacher that judges the student's 3 classes"):
        Dkd(tiny_student(), tiny_teacher())
